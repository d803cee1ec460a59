//! The first-boot confirmation: both sides of the acknowledgement, and the parts that break the rule.

use mk_wire::{
    Addr, Version,
    time::{Duration, Instant},
    vendor::{BootOutcome, ConfirmAck, Message},
};
use rstest::rstest;

use crate::bench::{Bench, GATEWAY, GRACE, ImageSpec, NODE, TestBoard, image};
use mk_node::{
    Parts,
    first_boot::{Confirmer, Step, Trial},
};

const NEW: Version = Version::new(1, 2, 0);
const OLD: Version = Version::new(1, 1, 0);

fn on_trial() -> Bench {
    let mut bench = Bench::new();
    bench.stage(&image(ImageSpec::new(2)));
    bench.sent.clear();
    bench.apply();
    assert_eq!(bench.runs(), NEW);
    bench
}

fn confirmations(bench: &mut Bench) -> Vec<Instant> {
    let messages = bench.vendor_messages();
    messages.iter().filter(|(_, m)| matches!(m, Message::Confirm(_))).map(|(at, _)| *at).collect()
}

#[test]
fn a_trial_confirms_soon_then_at_growing_intervals_until_acknowledged() {
    let mut bench = on_trial();
    bench.run_secs(119);
    let at = confirmations(&mut bench);
    let gaps: Vec<u64> = at.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!((5_000..=5_500).contains(&gaps[0]) && (10_000..=10_500).contains(&gaps[1]), "{gaps:?}");
    assert!(gaps[2..].iter().all(|gap| (15_000..=15_500).contains(gap)), "{gaps:?}");
    assert_eq!(at.len(), 9);
    bench.acknowledge();
    bench.run_secs(120);
    assert_eq!(confirmations(&mut bench), []);
}

#[test]
fn a_confirmation_names_this_boot_and_the_running_firmware() {
    let mut bench = on_trial();
    bench.run_secs(3);
    let (boots, sent) = (bench.boots, bench.vendor_messages());
    let confirm = sent.iter().find_map(|(_, m)| if let Message::Confirm(c) = m { Some(*c) } else { None }).unwrap();
    assert_eq!((confirm.boot_count, confirm.fwid), (boots, [0xFF, 0xFF, 1, 2, 0, 0, 0, 0, 0, 0]));
}

#[rstest]
#[case::right(0, GATEWAY, true)]
#[case::the_boot_before(-1, GATEWAY, false)]
#[case::a_boot_to_come(1, GATEWAY, false)]
#[case::foreign(0, Addr(0x0002), false)]
fn only_the_gateways_acknowledgement_of_this_boot_confirms(
    #[case] off: i32,
    #[case] from: Addr,
    #[case] confirms: bool,
) {
    let mut bench = on_trial();
    bench.run_secs(3);
    let boot_count = bench.boots.wrapping_add_signed(off);
    let ack = mk_wire::AccessMessage::Vendor(Message::ConfirmAck(ConfirmAck { boot_count })).to_buffer().unwrap();
    bench.hand(from, NODE, &ack);
    assert_eq!(bench.node().is_confirmed(), confirms);
    bench.boot();
    assert_eq!(bench.runs(), if confirms { NEW } else { OLD });
}

#[test]
fn acknowledgements_may_come_twice_and_late_ones_mean_nothing() {
    let mut bench = on_trial();
    bench.acknowledge();
    let before = bench.operations();
    bench.acknowledge();
    assert_eq!(bench.operations(), before);
    // After a roll-back an acknowledgement of the lost trial confirms nothing.
    let mut bench = on_trial();
    let lost = bench.boots;
    bench.boot();
    bench.tell(NODE, Message::ConfirmAck(ConfirmAck { boot_count: lost }));
    bench.boot();
    assert_eq!((bench.runs(), bench.report().outcome), (OLD, BootOutcome::RolledBack));
}

#[test]
fn an_unconfirmed_application_never_feeds_the_watchdog_and_a_confirmed_one_always_does() {
    let mut bench = on_trial();
    bench.board.fed = 0;
    bench.run_secs(100);
    assert_eq!(bench.board.fed, 0);
    bench.acknowledge();
    let mut last = bench.now;
    for _ in 0..100 {
        let fed = bench.board.fed;
        assert!(fed > 0);
        bench.run_for(GRACE / 2);
        assert!(bench.board.fed > fed, "not fed since {last:?}");
        last = bench.now;
    }
}

#[test]
fn a_node_on_trial_says_so() {
    let mut bench = on_trial();
    let report = bench.report();
    assert_eq!((report.outcome, report.running, report.about), (BootOutcome::Unconfirmed, NEW, NEW));
}

struct Silent;

impl Confirmer<TestBoard> for Silent {
    fn next(&self, _trial: &Trial, _hw: &mut TestBoard) -> Step {
        Step::Wait
    }
}

struct Unasked;

impl Confirmer<TestBoard> for Unasked {
    fn next(&self, trial: &Trial, _hw: &mut TestBoard) -> Step {
        if trial.sent == 0 { Step::SendAfter(Duration::from_secs(1)) } else { Step::Confirm }
    }
}

#[rstest]
#[case::never_confirms(&Silent, OLD)]
#[case::confirms_without_acknowledgement(&Unasked, NEW)]
fn other_rules_are_other_parts(#[case] confirmer: &'static dyn Confirmer<TestBoard>, #[case] after: Version) {
    let mut bench = Bench::new();
    bench.parts = Parts { confirmer, ..Parts::product() };
    bench.stage(&image(ImageSpec::new(2)));
    bench.apply();
    bench.run_secs(30);
    if after == OLD {
        bench.acknowledge();
    }
    bench.boot();
    assert_eq!(bench.runs(), after);
}
