//! Remembering digests and signature checks by content changes how long a run takes and nothing else.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use hil_engine::run_plan;
use hil_model::Seed;
use hil_rack::Rack as _;
use hil_scenario::{BindOptions, Forge, bind, source};
use rack_virtual::VirtualRack;
use std::sync::atomic::AtomicBool;

const SCENARIO: &str = "title: Four nodes, one of which does not confirm
rack: { nodes: 4, floors: 1, gateways: 1, thread-every: 4, image-size: 64 KiB }
campaign: { stages: [{ take: rest }] }
faults: [{ withhold-confirmation: { how: never-heard, nodes: n02 } }]
expect:
  - outcome: { nodes: n02, is: rolled-back }
";

#[test]
fn a_run_without_memory_gives_the_same_ledger() {
    let scenario = source::read("memory/test", "memory.yaml", SCENARIO).unwrap().remove(0);
    let ledger = |mut rack: VirtualRack| {
        let plan = bind(&scenario, rack.manifest(), Seed(1), &Forge::new(), BindOptions::default()).unwrap();
        run_plan(&plan, &mut rack, &mut |_| (), &AtomicBool::new(false)).ledger
    };
    let (with, without) = (ledger(VirtualRack::new()), ledger(VirtualRack::new().without_memory()));
    assert!(with.events().len() > 100, "the run did something");
    assert_eq!(with.events(), without.events());
}
