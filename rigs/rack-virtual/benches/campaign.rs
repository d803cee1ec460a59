//! How fast whole campaigns go: `cargo bench -p rack-virtual --bench campaign`. Targets: 512 KiB to 100 nodes in at most
//! 100 ms; 1,000 nodes in four stages with 24 h and 12 h of soak in at most 5 s and 256 MB.
//!
//! A figure counts only if the work was done: every chunk was handled by every node, and each node's running bank, read by
//! probe, is the candidate's octet for octet.

use std::sync::atomic::AtomicBool;

use divan::Bencher;
use hil_engine::run_plan;
use hil_model::fact::Moment;
use hil_model::{Fact, Seed};
use hil_rack::Rack as _;
use hil_scenario::{BindOptions, Forge, Plan, bind, source};
use rack_virtual::VirtualRack;

fn main() {
    divan::main();
}

/// One stage, no soak: the distribution itself, with install, trial and confirmation.
const ONE_STAGE: &str = "\
title: 512 KiB to 100 nodes
rack: { nodes: 100, floors: 1, gateways: 1, thread-every: 0, image-size: 512 KiB }
campaign: { stages: [{ take: rest }] }
expect: [{ campaign: completed }]
";

/// The product's policy, 39.8 h of rack time.
const THOUSAND: &str = "\
title: 1,000 nodes under the product's policy
rack: { nodes: 1000, floors: 10, gateways: 1, thread-every: 0, image-size: 512 KiB, traffic: building }
expect: [{ campaign: completed }]
";

fn plan(text: &str) -> Plan {
    let scenarios = source::read("bench/campaign", "campaign.yaml", text).expect("the scenario reads");
    let rack = VirtualRack::new();
    bind(&scenarios[0], rack.manifest(), Seed(1), &Forge::new(), BindOptions::default()).expect("the scenario binds")
}

/// Runs the plan, and counts it only if all was done.
fn campaign(plan: &Plan) -> usize {
    let mut rack = VirtualRack::new();
    let outcome = run_plan(plan, &mut rack, &mut |_| {}, &AtomicBool::new(false));
    let candidate = plan.labelled(Plan::CANDIDATE).expect("there is a candidate");
    let nodes = plan.targets.len() as u64;
    let chunks = u64::from(candidate.size.div_ceil(u32::from(plan.provision.profile.chunk_size)));
    let (mut delivered, mut updated, mut completed) = (0, 0, false);
    for event in outcome.ledger.events() {
        match &event.fact {
            Fact::AirUse { deliveries, .. } => delivered += deliveries,
            Fact::Banks { moment: Moment::Final, a, .. } => updated += u64::from(Some(a.digest) == candidate.bank_a),
            Fact::CampaignEnded { completed: done } => completed = *done,
            _ => {}
        }
    }
    assert!(completed, "the campaign did not complete");
    assert!(delivered >= nodes * chunks, "{delivered} deliveries for {nodes} nodes and {chunks} chunks");
    assert_eq!(updated, nodes, "nodes whose running bank is the candidate's");
    outcome.ledger.events().len()
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn half_a_mebibyte_to_100_nodes(bencher: Bencher<'_, '_>) {
    let plan = plan(ONE_STAGE);
    bencher.bench_local(|| campaign(&plan));
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn thousand_nodes_in_four_stages(bencher: Bencher<'_, '_>) {
    let plan = plan(THOUSAND);
    bencher.bench_local(|| campaign(&plan));
}
