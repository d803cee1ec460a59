//! The calibration targets of the radio model (section 11) that the link level can show, each as a test.
//!
//! | target | here |
//! | --- | --- |
//! | C1, C3, C6 distribution times by throttle | measured |
//! | C2, C5 `ideal` and `poor` | measured, with the loss of the preset instead of the throttle's |
//! | C4 their ratio | measured |
//! | C7, C8, C9 scene latency | the table that latency is drawn from, not measured |
//! | C10 use of the channel at the gateway | no: relays and their collisions are not simulated at this level |
//! | C11 residual loss | the table that losses are drawn from |
//! | C12 1,000 nodes in four stages | measured |
//! | C13 preset `zephyr` | measured to 100 nodes; the distributor sends to one node as to a group, without waits |
//! | C14 missed scenes | no: at this level every light hears its scene |
//!
//! What is not shown here needs the air level (section 12).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::VirtualRack;
use crate::air_level::{Air, Building, Handed, Landing};
use crate::link_air::{LinkLevel, loss_threshold};
use crate::{place, scenes};
use hil_model::{Action, Event, Fact, Seed, Span, Time};
use hil_rack::Rack as _;
use hil_scenario::{BindOptions, Forge, Plan, bind, source};
use rstest::rstest;

/// One floor, 100 targets, 512 KiB (section 11).
const FLOOR: &str = "title: One floor
rack: { nodes: 100, floors: 1, gateways: 1, thread-every: 0, image-size: 512 KiB }
campaign: { stages: [{ take: rest }] }
expect: [{ campaign: completed }]
";

/// A building of ten floors under the product's stages, without their soak. A gateway serves one group of at most 100 at a
/// time, so that as many groups as there are gateways are served at once.
fn building(gateways: u8) -> String {
    format!(
        "title: Ten floors
rack: {{ nodes: 1000, floors: 10, gateways: {gateways}, thread-every: 0, image-size: 512 KiB }}
campaign: {{ stages: [{{ take: 20 }}, {{ take: 100 }}, {{ take: 250 }}, {{ take: rest }}] }}
expect: [{{ campaign: completed }}]
"
    )
}

/// An air that loses every segment with the same probability at any throttle.
#[derive(Debug)]
struct Preset(LinkLevel);

impl Air for Preset {
    fn set_throttle(&mut self, _: usize, _: u16) {}

    fn begin_train(&mut self, gateway: usize, nodes: &[u16]) {
        self.0.begin_train(gateway, nodes);
    }

    fn carry(&mut self, now: Time, message: &Handed<'_>, landings: &mut Vec<Landing>) {
        self.0.carry(now, message, landings);
    }
}

fn preset(plan: &Plan, loss: f64) -> Preset {
    let provision = &plan.provision;
    let building = Building {
        seed: provision.seed,
        gateways: provision.fleet.gateways().into_iter().map(|id| (id, 1_000)).collect(),
        budgets: place::link_budgets(&provision.fleet, provision.seed),
        segment_interval: provision.profile.segment_interval,
    };
    Preset(LinkLevel::with_loss(building, loss))
}

fn plan(text: &str, seed: u64) -> Plan {
    let scenario = source::read("calibration/test", "calibration.yaml", text).unwrap().remove(0);
    let rack = VirtualRack::new();
    bind(&scenario, rack.manifest(), Seed(seed), &Forge::new(), BindOptions::default()).unwrap()
}

/// Runs the campaign of `plan` until an event that `ends` it; the times of that event and of the first distribution.
fn span(
    rack: &mut VirtualRack,
    plan: &Plan,
    change: impl Fn(&mut hil_model::CampaignPolicy),
    ends: impl Fn(&Event) -> bool,
) -> f64 {
    for timed in &plan.actions {
        let mut action = timed.action.clone();
        if let Action::StartCampaign { policy, .. } = &mut action {
            change(policy);
        }
        rack.apply(&action, None).unwrap();
    }
    let limit = Time::ZERO + Span::hours(12);
    let mut began = None;
    loop {
        let seen = rack.observe(limit).unwrap();
        for event in &seen.events {
            if matches!(event.fact, Fact::DistributionStarted { .. }) {
                began = began.or(Some(event.at));
            }
            if ends(event) {
                return event.at.since(began.unwrap()).0 as f64 / 60e9;
            }
        }
        assert!(seen.now < limit, "it did not end");
    }
}

/// Minutes from the start of the distribution to the end of its last block, pooled over five seeds.
fn minutes(throttle_permille: u16, segment_interval_ms: u64, loss: Option<f64>) -> f64 {
    let seeds = 1..=5;
    let runs = seeds.clone().count() as f64;
    let each = seeds.map(|seed| {
        let mut plan = plan(FLOOR, seed);
        plan.provision.profile.segment_interval = Span::millis(segment_interval_ms);
        let mut rack = VirtualRack::new();
        rack.prepare(&plan.provision).unwrap();
        if let Some(loss) = loss {
            rack.change_air(|_| Box::new(preset(&plan, loss)));
        }
        let blocks = plan.labelled(Plan::CANDIDATE).unwrap().size.div_ceil(1 << plan.provision.profile.block_size_log);
        let last = |event: &Event| matches!(event.fact, Fact::BlockDone { block, .. } if block + 1 == blocks);
        span(&mut rack, &plan, |policy| policy.throttle_permille = throttle_permille, last)
    });
    each.sum::<f64>() / runs
}

#[rstest]
#[case::c1_full_channel(1_000, 10, None, 8.0, 12.0)]
#[case::c2_ideal(1_000, 10, Some(0.0), 7.6, 8.4)]
#[case::c3_default_throttle(400, 10, None, 17.0, 19.0)]
#[case::c5_poor(1_000, 10, Some(3.1e-4), 8.0, 12.6)]
#[case::c6_four_fifths(800, 10, None, 8.0, 10.5)]
#[case::c6_one_fifth(200, 10, None, 34.0, 38.0)]
#[case::c13_zephyr(1_000, 60, None, 44.7, 46.7)]
fn half_a_mebibyte_to_a_floor_takes_what_the_model_says(
    #[case] throttle: u16,
    #[case] segment_interval_ms: u64,
    #[case] loss: Option<f64>,
    #[case] low: f64,
    #[case] high: f64,
) {
    let took = minutes(throttle, segment_interval_ms, loss);
    assert!((low..=high).contains(&took), "{took:.2} min, want {low} to {high}");
}

#[test]
fn c4_the_default_throttle_costs_a_factor() {
    let ratio = minutes(400, 10, None) / minutes(1_000, 10, Some(0.0));
    assert!((ratio - 2.25).abs() <= 0.15, "{ratio:.3}");
}

#[test]
fn c7_to_c9_latency_is_drawn_from_a_table_within_the_targets() {
    let [p50, p95, p99] = scenes::quantiles(0).map(|us| us / 1_000);
    assert!((180..=210).contains(&p50) && (180..=220).contains(&p95) && p99 <= 230, "C7: {p50}, {p95}, {p99}");
    let [_, p95, p99] = scenes::quantiles(1_000).map(|us| us / 1_000);
    assert!((350..=600).contains(&p95) && (480..=720).contains(&p99), "C8: {p95}, {p99}");
    let [_, p95, _] = scenes::quantiles(400).map(|us| us / 1_000);
    assert!(p95 <= 250, "C9: {p95}");
}

#[rstest]
#[case(1_000, 5e-5, 5e-4)]
#[case(800, 0.0, 5e-5)]
#[case(400, 0.0, 5e-6)]
fn c11_losses_are_drawn_from_a_table_within_the_targets(#[case] throttle: u16, #[case] low: f64, #[case] high: f64) {
    let loss = f64::from(loss_threshold(throttle)) / 4_294_967_296.0;
    assert!((low..=high).contains(&loss), "{loss:e}");
}

#[rstest]
#[case::one_group_at_once(1)]
#[case::two(2)]
fn c12_a_thousand_nodes_are_delivered_in_two_to_four_hours(#[case] concurrency: u8) {
    let plan = plan(&building(concurrency), 1);
    let mut rack = VirtualRack::new();
    rack.prepare(&plan.provision).unwrap();
    let ended = |event: &Event| matches!(event.fact, Fact::CampaignEnded { completed: true });
    let hours = span(&mut rack, &plan, |policy| policy.concurrency = concurrency, ended) / 60.0;
    assert!((2.0..=4.0).contains(&hours), "{hours:.2} h");
}
