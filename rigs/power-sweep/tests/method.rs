//! The sweep's shortcut (apply the recorded operations, tear one) against the real thing (arm a cut, run until dark).
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use mk_boot::{Composition, ResetCause, boot, update};
use power_sweep::{Held, Rig, SMALL, Scene};
use rstest::rstest;
use virtual_flash::{PowerCut, TearModel};

#[rstest]
fn a_torn_replay_is_octet_for_octet_what_an_armed_cut_leaves(#[values(0, 1, 2, 3, 4)] tear: usize) {
    let composition = Composition::product();
    let mut start = Scene::<64>::new(&SMALL, 256, 3, &composition).unwrap().rig;
    update::request_install(&mut start).unwrap();
    let tear = TearModel::all(77)[tear];

    let mut recorded = start.clone();
    let first = recorded.supply().operations();
    recorded.internal.record_operations(true);
    boot(&mut recorded, &composition, ResetCause::Software).unwrap();
    let log = recorded.internal.take_log();
    assert_eq!(log.len() as u64, recorded.supply().operations() - first, "an operation is missing from the log");

    let mut replayed = start.internal.clone();
    for (number, operation) in log.iter().enumerate() {
        assert_eq!(operation.operation, first + number as u64);
        let mut torn = replayed.clone();
        let proof = torn.apply_torn(operation, tear).unwrap();

        let mut real = start.clone();
        let supply = real.supply().clone();
        // The clone shares its supply with the original, whose counter has moved on: count from where it is now.
        let at_operation = supply.operations() + number as u64;
        supply.arm(PowerCut { at_operation, tear });
        assert!(boot(&mut real, &composition, ResetCause::Software).is_err(), "the cut at {number} went unnoticed");
        let fired = supply.take_fired().unwrap();
        supply.power_on();
        assert_eq!((fired.address, fired.witness), (proof.address, proof.witness), "operation {number}");
        assert!(real.internal.same_octets(&torn, 0..real.internal.size()), "operation {number}");
        replayed.apply(operation).unwrap();
    }
    assert!(recorded.internal.same_octets(&replayed, 0..replayed.size()));
}

#[test]
fn a_sweep_with_every_digest_and_signature_worked_out_anew_ends_the_same() {
    let composition = Composition::product();
    let scene = Scene::<64>::new(&SMALL, 256, 5, &composition).unwrap();
    let mut plain = scene.clone();
    plain.rig.switch_memos_off();
    let options = power_sweep::SweepOptions { stride: 7, ..power_sweep::SweepOptions::default() };
    let remembered = power_sweep::sweep(&scene, &composition, options).unwrap();
    let worked_out = power_sweep::sweep(&plain, &composition, options).unwrap();
    assert_eq!(worked_out.ecdsa.remembered, 0);
    assert!(remembered.ecdsa.remembered > 0);
    for (journey, report) in &remembered.journeys {
        assert_eq!(report.ends, worked_out.journeys[journey].ends);
    }
}

/// Rows 1 and 44 of the catalogue at the very beginning: a board that was programmed by probe, bank A only.
#[rstest]
fn a_first_boot_cut_anywhere_ends_with_the_image_running_and_a_golden_copy(#[values(0, 1, 2, 3, 4)] tear: usize) {
    let composition = Composition::product();
    let scene = Scene::<64>::new(&SMALL, 256, 3, &composition).unwrap();
    let fresh = || -> Rig<64> {
        let mut rig = scene.rig.clone();
        rig.internal.load_blank(SMALL.journal.start..SMALL.journal.end()).unwrap();
        rig.external.load_blank(0..rig.external.size()).unwrap();
        rig
    };
    let mut whole = fresh();
    let supply = whole.supply().clone();
    let before = supply.operations();
    boot(&mut whole, &composition, ResetCause::PowerOn).unwrap();
    let operations = supply.operations() - before;
    assert!(operations > 100, "a golden copy takes more than {operations} operations");
    for number in 0..operations {
        let mut rig = fresh();
        supply.arm(PowerCut { at_operation: supply.operations() + number, tear: TearModel::all(number)[tear] });
        assert!(boot(&mut rig, &composition, ResetCause::PowerOn).is_err(), "the cut at {number} went unnoticed");
        assert!(supply.take_fired().is_some());
        supply.power_on();
        let report = boot(&mut rig, &composition, ResetCause::PowerOn).unwrap();
        assert_eq!(report.run, mk_boot::Run::Application { trial: false });
        assert_eq!(scene.held(&rig), Held::Old);
        let golden = update::status(&mut rig).unwrap().golden.unwrap();
        let facts = update::image_facts(&mut rig, mk_boot::Area::Slot(golden)).unwrap();
        assert_eq!(Some(facts), report.image);
    }
}
