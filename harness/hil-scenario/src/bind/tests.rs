//! What binding refuses and where it says so; what a rack that lacks something is told.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::testing;
use hil_model::{Action, When};
use rstest::rstest;

fn scenario(text: &str) -> Scenario {
    crate::source::read("t/x", "x.yaml", text).unwrap_or_else(|e| panic!("{e:#?}\n{text}")).remove(0)
}

fn bound(text: &str, manifest: &RackManifest) -> Result<Plan, BindError> {
    bind(&scenario(text), manifest, Seed(7), &testing::forge(), BindOptions::default())
}

fn complaint(text: &str) -> String {
    match bound(text, &testing::manifest()) {
        Ok(_) => "no complaint".to_owned(),
        Err(error) => error.to_string(),
    }
}

const GOOD: &str = "\
title: A rule of the product
campaign: { stages: [{ take: 8, soak: 10 min }, { take: rest }] }
faults:
  - corrupt-block: { nodes: n03, block: first, what: bit }
timeline:
  - when: { after: campaign-paused }
    do: { operator: resume }
expect:
  - outcome: { nodes: all, is: updated }
";

#[rstest]
#[case(
    "nodes: n03",
    "nodes: n99",
    "x.yaml:4:22: faults[0].corrupt-block.nodes: there is no node n99; the fleet ends at n24"
)]
#[case(
    "block: first",
    "block: 16",
    "x.yaml:4:34: faults[0].corrupt-block.block: there is no such block; the image has 16, counted from 0"
)]
#[case("take: 8", "take: 25", "x.yaml:2:24: campaign.stages[0].take: takes 25 nodes where 24 of 24 are left")]
#[case("take: 8", "take: rest", "x.yaml:2:24: campaign.stages[0].take: `rest` leaves nothing for the stages after it")]
#[case("campaign: {", "campaign: { throttle: 0 %,", "x.yaml:2:13: campaign.throttle: nothing would ever be sent")]
#[case(
    "campaign: {",
    "campaign: { concurrency: 3,",
    "x.yaml:2:13: campaign.concurrency: 1 or 2 groups are served at once"
)]
#[case(
    "campaign: {",
    "campaign: { targets: n25,",
    "x.yaml:2:13: campaign.targets: there is no node n25; the fleet ends at n24"
)]
#[case("{ after: campaign-paused }", "{ nth: 2 }", "x.yaml:6:5: timeline[0].when: give `at` or `after`")]
#[case(
    "{ after: campaign-paused }",
    "{ at: 1 s, nth: 2 }",
    "x.yaml:6:5: timeline[0].when: `nth` and `delay` go with `after`"
)]
#[case(
    "{ after: campaign-paused }",
    "{ at: 30 h }",
    "is over before the soaks (10 min in all) or the last timed action"
)]
#[case(
    "{ after: campaign-paused }",
    "{ after: { reset: n77 } }",
    "x.yaml:6:13: timeline[0].when.after: there is no node n77"
)]
#[case(
    "nodes: all, is: updated",
    "nodes: all, is: updated, reason: x",
    "x.yaml:9:41: expect[0].outcome.reason: only a rejection has a reason"
)]
#[case(
    "outcome: { nodes: all, is: updated }",
    "outcomes: { updated: 25 }",
    "x.yaml:9:5: expect[0].outcomes: 25 nodes in all; the campaign addresses 24"
)]
#[case(
    "outcome: { nodes: all, is: updated }",
    "event: { fact: campaign-pause }",
    "no fact is called \"campaign-pause\"; did you mean \"campaign-paused\"?"
)]
#[case(
    "expect:\n  - outcome: { nodes: all, is: updated }",
    "expect: []",
    "x.yaml:8:1: expect: a scenario expects something"
)]
#[case(
    "title:",
    "canary: { composition: skips-signature, must-break: oracle-10 }\ntitle:",
    "x.yaml:1:41: canary.must-break: there is no rule \"oracle-10\"; write `oracle-1` to `oracle-9`, or `expect[0]`"
)]
#[case("title:", "rack: { nodes: 0 }\ntitle:", "x.yaml:1:9: rack.nodes: 0 is outside 1 to 2000")]
#[case(
    "title:",
    "rack: { image-size: 512 B }\ntitle:",
    "x.yaml:1:9: rack.image-size: cannot forge the image: an image of 512 bytes has no room"
)]
#[case(
    "title:",
    "rack: { image-size: 4000 MiB }\ntitle:",
    "x.yaml:1:9: rack.image-size: 4194304000 octets do not fit the board's slot of 589824"
)]
fn a_scenario_that_contradicts_itself_is_told_where(#[case] from: &str, #[case] to: &str, #[case] want: &str) {
    let text = GOOD.replacen(from, to, 1);
    let found = complaint(&text);
    assert!(found.contains(want), "{found}\nlacks {want}\n{text}");
}

#[rstest]
#[case(
    "bad-signature: { how: header-bit, layer: update-start }",
    "bad-signature.how: metadata cannot be broken in this way"
)]
#[case("bad-signature: { how: wrong-key, nodes: n03 }", "bad-signature.nodes: one package goes to all nodes")]
#[case("bad-signature: { how: wrong-key, layer: boot }", "`layer: boot` needs `nodes`")]
#[case("missing-migration: { how: handler-fails, layer: boot, nodes: n03 }", "no layer refuses it")]
#[case("missing-migration: { how: no-handler, nodes: n03 }", "`nodes` goes with `layer: boot`")]
#[case("withhold-confirmation: { how: never-sent, nodes: n03 }", "leave `nodes` out")]
#[case("withhold-confirmation: { how: never-heard }", "lacks `nodes`")]
#[case("withhold-confirmation: { how: { until-before-grace: 2 min }, nodes: n03 }", "the grace period is only 2 min")]
#[case("downgrade: { counter: 16777216 }", "no downgrade")]
#[case("tampered-image: { how: oversize, at: 4000000000 }", "goes up to 1048576")]
#[case("tampered-image: { how: truncate }", "unknown tamper \"truncate\"; did you mean \"truncated\"?")]
#[case("tampered-metadata: { how: other-hush }", "did you mean \"other-hash\"?")]
#[case("message: { kind: chunk, nodes: n03, effect: { reorder: 17 } }", "1 to 16 later messages can overtake")]
#[case("message: { kind: chunk, nodes: n03, effect: drop, limit: 0 }", "nothing would happen")]
#[case("gateway-restart: { gateway: 2, when: { at: 1 s }, down: 1 s }", "the fleet has no gateway 2")]
#[case("wrong-board: { layer: boot }", "`update-start` or `verifying`")]
fn a_fault_that_cannot_be_is_told_where(#[case] fault: &str, #[case] want: &str) {
    let text = format!("title: t\nfaults:\n  - {fault}\nexpect: [{{ campaign: completed }}]\n");
    let found = complaint(&text);
    assert!(found.starts_with("x.yaml:3:") && found.contains(want), "{found}\nlacks {want}");
}

#[test]
fn two_faults_cannot_shape_the_same_thing() {
    let text = "title: t\nfaults:\n  - bad-signature: { how: wrong-key }\n  - wrong-board: {}\nexpect: [{ campaign: completed }]\n";
    assert!(complaint(text).starts_with("x.yaml:4:5: faults[1].wrong-board: another fault breaks the image already"));
    let text = "title: t\nfaults:\n  - degraded-firmware: {}\n  - withhold-confirmation: { how: crash-loop }\nexpect: [{ campaign: completed }]\n";
    assert!(complaint(text).contains("misbehaves already"));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text =
        GOOD.replace("nodes: n03", "nodes: n99").replace("nodes: all", "nodes: n98").replace("take: 8", "take: 80");
    assert_eq!(complaint(&text).lines().count(), 3, "{}", complaint(&text));
}

#[test]
fn a_mistake_inherited_by_every_variant_is_placed_in_the_base() {
    let text = GOOD.replace("n03", "n99")
        + "variants:\n  - name: one\n    title: x\n  - name: two\n    faults: [{ corrupt-block: { nodes: n98, block: 1, what: bit } }]\n";
    let scenarios = crate::source::read("t/x", "x.yaml", &text).unwrap();
    let place = |scenario| {
        let error = bind(scenario, &testing::manifest(), Seed(1), &testing::forge(), BindOptions::default());
        error.unwrap_err().to_string()
    };
    assert!(place(&scenarios[0]).starts_with("x.yaml:4:22:"), "{}", place(&scenarios[0]));
    assert!(place(&scenarios[1]).starts_with("x.yaml:14:33:"), "{}", place(&scenarios[1]));
}

mod racks {
    use super::*;
    use hil_model::{Profile, RackKind};

    /// Four boards that are what they are.
    fn small() -> RackManifest {
        let lacking = [Capability::LargeFleet, Capability::VirtualTime, Capability::AirPerReceiver, Capability::Thread];
        RackManifest {
            name: "small".to_owned(),
            kind: RackKind::Emulated,
            capabilities: Capability::ALL.iter().copied().filter(|c| !lacking.contains(c)).collect(),
            profile: Profile {
                board: "mk-node-emulated".to_owned(),
                image_size: 32 * 1024,
                grace: Span::secs(8),
                ..Profile::default()
            },
            fleet: Fleet::building(4, 1, 1, 0, 9),
        }
    }

    const SMALL: &str =
        "title: t\ncampaign: { stages: [{ take: rest }] }\nexpect: [{ outcome: { nodes: all, is: updated } }]\n";

    #[test]
    fn sizes_paces_and_grace_come_from_the_rack() {
        let plan = bound(SMALL, &small()).unwrap();
        assert_eq!(
            (plan.limits.grace, plan.provision.grace, plan.policy.grace),
            (Span::secs(8), Span::secs(8), Span::secs(8))
        );
        assert_eq!(plan.images[0].size, 32 * 1024);
        assert_eq!(plan.targets.len(), 4);
        let text = SMALL.replace("campaign: {", "campaign: { grace: 30 s,");
        assert_eq!(bound(&text, &small()).unwrap().limits.grace, Span::secs(30));
    }

    #[test]
    fn every_node_holds_the_configuration_that_runs() {
        let plan = bound(&SMALL.replace("campaign:", "running: { config-version: 3 }\ncampaign:"), &small()).unwrap();
        assert!(plan.provision.fleet.nodes.iter().all(|node| node.config_version == 3));
        assert_eq!(plan.images[1].config_version, 3, "the candidate is made for the same unless it says otherwise");
    }

    #[rstest]
    #[case("title:", "rack: { nodes: 24 }\ntitle:", Capability::LargeFleet)]
    #[case("title:", "rack: { nodes: 4, thread-every: 1 }\ntitle:", Capability::LargeFleet)]
    #[case("take: rest", "take: rest, soak: 10 min", Capability::VirtualTime)]
    #[case("nodes: all", "nodes: n20", Capability::LargeFleet)]
    #[case("expect:", "rack: { image-size: 64 KiB }\nexpect:", Capability::VirtualTime)]
    #[case(
        "expect:",
        "faults: [{ message: { kind: block-start, nodes: all, effect: drop, block: 9 } }]\nexpect:",
        Capability::VirtualTime
    )]
    #[case(
        "expect:",
        "faults: [{ corrupt-block: { nodes: n03, block: 0, what: bit } }]\nexpect:",
        Capability::AirPerReceiver
    )]
    fn what_a_rack_lacks_skips_the_scenario_there(#[case] from: &str, #[case] to: &str, #[case] want: Capability) {
        match bound(&SMALL.replacen(from, to, 1), &small()) {
            Err(BindError::Lacks(lacking)) => assert!(lacking.contains(&want), "{lacking:?}"),
            other => panic!("{:?}", other.map(|plan| plan.name)),
        }
    }

    #[test]
    fn a_contradiction_is_one_on_every_rack() {
        let text = SMALL.replace("nodes: all", "nodes: [n01, -n01]");
        assert!(matches!(bound(&text, &small()), Err(BindError::Invalid(_))));
    }

    #[test]
    fn an_unknown_board_is_an_error_and_no_panic() {
        let mut rack = small();
        rack.profile.board = "mk-toaster".to_owned();
        let error = bound(SMALL, &rack).unwrap_err().to_string();
        assert!(error.contains("mk-toaster"), "{error}");
    }
}

#[test]
fn the_campaign_starts_when_rules_are_in_place() {
    let plan = bound(GOOD, &testing::manifest()).unwrap();
    assert!(matches!(plan.actions[0].action, Action::StartCampaign { .. }));
    assert_eq!(plan.actions[0].when, When::At(CAMPAIGN_START));
    assert_eq!(plan.actions[1].when, When::At(Time::ZERO));
    assert_eq!(plan.seed, Seed(7));
}

#[test]
fn stages_and_shares_are_taken_over() {
    let text = GOOD.replace("campaign: {", "campaign: { success: 90 %, throttle: 12.5 %, windows: [22:00-06:00],");
    let policy = bound(&text, &testing::manifest()).unwrap().policy;
    assert_eq!((policy.success_permille, policy.throttle_permille), (900, 125));
    assert_eq!((policy.windows[0].from_minute, policy.windows[0].to_minute), (22 * 60, 6 * 60));
    assert_eq!(policy.stages.len(), 2);
    let product = bound("title: t\nexpect: [{ campaign: completed }]\n", &testing::manifest()).unwrap().policy;
    assert_eq!(product.stages, hil_model::CampaignPolicy::default().stages);
}

#[test]
fn others_are_those_that_no_fault_names() {
    let text = GOOD.replace("nodes: all, is: updated", "nodes: others, is: updated");
    let plan = bound(&text, &testing::manifest()).unwrap();
    assert_eq!(plan.faults[0].nodes, [hil_model::NodeId(3)]);
    let finding = plan.monitors().pop().unwrap().close(&plan);
    assert!(finding.text.contains("n01") && !finding.text.contains("n03"), "{}", finding.text);
}

#[test]
fn a_canary_is_assembled_from_the_wrong_parts_and_its_control_from_the_right_ones() {
    let text = GOOD.replace("title:", "canary: { composition: never-rolls-back, must-break: oracle-6 }\ntitle:");
    let both = crate::source::read("t/x", "x.yaml", &text).unwrap();
    let plan =
        |scenario| bind(scenario, &testing::manifest(), Seed(1), &testing::forge(), BindOptions::default()).unwrap();
    let (canary, control) = (plan(&both[0]), plan(&both[1]));
    assert_eq!(canary.provision.composition, hil_model::Composition::NeverRollsBack);
    assert_eq!(control.provision.composition, hil_model::Composition::Product);
    assert!(canary.needs.contains(&Capability::Compositions) && !control.needs.contains(&Capability::Compositions));
    let rule = canary.canary.unwrap();
    assert!(rule.means("oracle-6") && rule.means("oracle-6 trial") && !rule.means("oracle-60"));
}
