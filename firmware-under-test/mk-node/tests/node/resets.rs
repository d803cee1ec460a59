//! Resets and power cuts in every phase of an update (protocol sheet section 10).

use mk_boot::{Area, Slot};
use mk_wire::{
    AccessMessage, Reason, Version, blob,
    update::{Message, Phase, Status},
    vendor::BootOutcome,
};
use rstest::rstest;

use crate::{
    bench::{Bench, Image, ImageSpec, NODE, image},
    flash::Tear,
};

fn new_image() -> Image {
    image(ImageSpec::new(2))
}

fn transfer_status(bench: &mut Bench) -> (blob::Phase, Option<Vec<u8>>) {
    let answer = bench.ask(blob::Message::TransferGet).unwrap();
    match AccessMessage::decode(&answer.bytes).unwrap() {
        AccessMessage::Blob(blob::Message::TransferStatus(status)) => {
            (status.phase, status.transfer.map(|transfer| transfer.blocks_missing.to_vec()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn before_transfer_start_the_node_waits_for_it_again() {
    let image = new_image();
    let mut bench = Bench::new();
    bench.start(&image);
    bench.boot();
    assert_eq!((bench.phase(), transfer_status(&mut bench).0), (Phase::TransferActive, blob::Phase::WaitingForStart));
    bench.begin_transfer(&image);
    for block in 0..Bench::blocks(&image) {
        bench.send_block(&image, block);
    }
    bench.run_secs(1);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
}

#[test]
fn inside_a_block_finished_blocks_are_kept_and_the_rest_is_suspended() {
    let image = new_image();
    let mut bench = Bench::new();
    bench.start(&image);
    bench.begin_transfer(&image);
    bench.send_block(&image, 2);
    bench.start_block(0);
    bench.chunk(&image, 0, 0);
    bench.boot();
    assert_eq!(bench.phase(), Phase::TransferError);
    assert_eq!(transfer_status(&mut bench), (blob::Phase::Suspended, Some(vec![0b011])));
    assert_eq!(bench.start(&image).phase, Phase::TransferActive);
    bench.begin_transfer(&image);
    let erased = bench.board.external.erased.len();
    bench.send_block(&image, 0);
    bench.send_block(&image, 1);
    bench.run_secs(1);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
    assert_eq!(bench.board.external.erased[erased..], [0x9000, 0xA000]);
}

#[rstest]
#[case::verifying(false)]
#[case::succeeded(true)]
fn a_complete_image_is_verified_again_before_it_may_be_applied(#[case] verified: bool) {
    let image = new_image();
    let mut bench = Bench::new();
    if verified {
        bench.stage(&image)
    } else {
        bench.transfer(&image)
    };
    bench.boot();
    assert_eq!(bench.phase(), Phase::VerifyingUpdate);
    assert_eq!(bench.ask_update(Message::Apply).status, Status::WrongPhase);
    bench.run_secs(1);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
    bench.apply();
    assert_eq!(bench.runs(), Version::new(1, 2, 0));
}

#[test]
fn an_image_changed_while_the_node_was_off_is_not_applied() {
    let mut bench = Bench::new();
    bench.stage(&new_image());
    bench.board.external.bytes[0x9000 + 0x1234] ^= 0x10;
    bench.boot();
    bench.run_secs(1);
    assert_eq!(bench.phase(), Phase::VerificationFailed);
    assert_eq!(bench.ask_update(Message::Apply).status, Status::WrongPhase);
    assert_eq!(bench.report().reason, Reason::HashMismatch);
}

#[test]
fn an_image_changed_after_verifying_is_rejected_by_boot_and_reported() {
    let mut bench = Bench::new();
    bench.stage(&new_image());
    let bank = bench.slot(Area::BankA);
    bench.board.external.bytes[0x9000 + 0x1234] ^= 0x10;
    bench.apply();
    assert_eq!((bench.resets, bench.runs(), bench.phase()), (1, Version::new(1, 1, 0), Phase::Idle));
    assert_eq!(bench.slot(Area::BankA), bank);
    let report = bench.report();
    assert_eq!((report.outcome, report.reason), (BootOutcome::Rejected, Reason::HashMismatch));
    assert_eq!(report.about, Version::new(1, 2, 0));
}

#[test]
fn applied_and_rolled_back_the_node_is_idle_and_says_so() {
    let mut bench = Bench::new();
    bench.stage(&new_image());
    bench.apply();
    assert_eq!((bench.runs(), bench.phase()), (Version::new(1, 2, 0), Phase::Idle));
    // The watchdog, at the end of the grace period.
    bench.boot();
    assert_eq!((bench.runs(), bench.phase()), (Version::new(1, 1, 0), Phase::Idle));
    let report = bench.report();
    assert_eq!((report.outcome, report.reason), (BootOutcome::RolledBack, Reason::NotConfirmedInTime));
    assert_eq!((report.running, report.about), (Version::new(1, 1, 0), Version::new(1, 2, 0)));
    // And it takes the same image again.
    bench.stage(&new_image());
}

/// Plays a whole distribution as a patient client: asks what is missing and sends that, until the image is verified.
fn distribute(bench: &mut Bench, image: &Image) {
    for _ in 0..8 {
        if bench.node.is_none() || bench.is_dark() {
            return;
        }
        if bench.phase() == Phase::VerificationSucceeded {
            return;
        }
        bench.sent.clear();
        let metadata = image.metadata.to_bytes();
        bench.tell(
            NODE,
            Message::Start(mk_wire::update::Start {
                ttl: 3,
                timeout_base: 1,
                blob_id: mk_wire::BlobId(0xB10B),
                image_index: 0,
                metadata: &metadata,
            }),
        );
        bench.begin_transfer(image);
        for block in 0..Bench::blocks(image) {
            bench.send_block(image, block);
        }
        bench.run_secs(1);
    }
}

#[rstest]
#[case(Tear::NotDone)]
#[case(Tear::Done)]
#[case(Tear::Partly)]
#[case(Tear::OtherPart)]
#[case(Tear::Random(3))]
fn a_power_cut_anywhere_in_a_transfer_costs_at_most_a_repetition(#[case] tear: Tear) {
    let image = image(ImageSpec { payload: 4_500, ..ImageSpec::new(2) });
    let mut good = Bench::new();
    let first = good.operations();
    distribute(&mut good, &image);
    assert_eq!(good.phase(), Phase::VerificationSucceeded);
    let operations = good.operations() - first;
    let before = good.config_state();
    // Every operation of the records and marks, and every eleventh word of the image.
    let mut at = 0;
    while at < operations {
        let mut bench = Bench::new();
        let golden = bench.slot(Area::Slot(Slot::Zero));
        let bank = bench.slot(Area::BankA);
        bench.cut_after(at, tear);
        distribute(&mut bench, &image);
        assert!(bench.is_dark(), "operation {at} never came");
        bench.power_up();
        assert!(bench.node.is_some(), "operation {at}: {:?}", bench.last_start);
        assert_eq!((bench.runs(), bench.config_state()), (Version::new(1, 1, 0), before), "operation {at}");
        distribute(&mut bench, &image);
        assert_eq!(bench.phase(), Phase::VerificationSucceeded, "operation {at}: {:?}", bench.traces);
        assert_eq!((bench.slot(Area::Slot(Slot::Zero)), bench.slot(Area::BankA)), (golden, bank));
        at += if at < 120 || at + 20 > operations { 1 } else { 11 };
    }
}

#[test]
fn a_power_cut_anywhere_in_apply_installs_or_does_not() {
    let image = image(ImageSpec { payload: 4_500, ..ImageSpec::new(2) });
    let prepare = || {
        let mut bench = Bench::new();
        bench.stage(&image);
        bench
    };
    // Record and journal entry; the installation itself is the bootloader's business.
    let mut good = prepare();
    let first = good.operations();
    good.tell(NODE, Message::Apply);
    let operations = good.operations() - first;
    assert!((20..100).contains(&operations), "{operations}");
    for at in 0..operations {
        for tear in [Tear::NotDone, Tear::Done, Tear::Partly, Tear::OtherPart, Tear::Random(at as u32)] {
            let mut bench = prepare();
            bench.cut_after(at, tear);
            bench.tell(NODE, Message::Apply);
            assert!(bench.is_dark());
            bench.power_up();
            let installed = bench.runs() == Version::new(1, 2, 0);
            if installed {
                assert_eq!(bench.phase(), Phase::Idle, "{at} {tear:?}");
                bench.acknowledge();
                assert!(bench.node().is_confirmed());
            } else {
                bench.run_secs(1);
                assert_eq!(bench.phase(), Phase::VerificationSucceeded, "{at} {tear:?}");
                bench.apply();
                assert_eq!(bench.runs(), Version::new(1, 2, 0));
            }
        }
    }
}
