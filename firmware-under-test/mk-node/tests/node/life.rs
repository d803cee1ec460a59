//! A whole update, and the first boot after it.

use mk_wire::{
    Reason, Version,
    update::Phase,
    vendor::{self, BootOutcome},
};

use crate::bench::{Bench, ImageSpec, image};

#[test]
fn an_update_is_received_verified_applied_and_confirmed() {
    let mut bench = Bench::new();
    let new = image(ImageSpec::new(2));
    bench.stage(&new);
    assert_eq!(bench.resets, 0);
    bench.apply();
    assert_eq!((bench.resets, bench.runs()), (1, Version::new(1, 2, 0)));
    assert!(!bench.node().is_confirmed());
    bench.run_secs(3);
    let confirmations: usize =
        bench.vendor_messages().iter().filter(|(_, m)| matches!(m, vendor::Message::Confirm(_))).count();
    assert_eq!(confirmations, 1);
    bench.acknowledge();
    assert!(bench.node().is_confirmed());
    let report = bench.report();
    assert_eq!(
        (report.outcome, report.reason, report.update_phase),
        (BootOutcome::Confirmed, Reason::None, Phase::Idle)
    );
    assert_eq!((report.running, report.about), (Version::new(1, 2, 0), Version::new(1, 2, 0)));
    bench.boot();
    assert_eq!(bench.runs(), Version::new(1, 2, 0));
    assert_eq!(bench.board.internal.supply.borrow().rewrites, 0);
}

#[test]
fn a_node_takes_less_than_6_kib_of_ram_besides_its_block_buffer() {
    let size = size_of::<mk_node::Node<crate::bench::TestBoard>>();
    assert!(size < 6 * 1024, "{size} octets");
}
