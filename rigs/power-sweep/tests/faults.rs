//! The rows of the fault catalogue (protocol sheet "Bootloader", section 2) that are not power cuts, at the boot layer:
//! the staged octets are put there as a probe would, so no layer before boot has seen them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use fixture_images::{Bench, Tamper, TestKey};
use mk_boot::{
    Area, BootReport, Composition, ConfigVersion, ResetCause, Run, Slot, boot,
    geometry::{self, Geometry},
    journal::{Outcome, Phase},
    update::{self, Confirmation, UpdateError},
};
use mk_wire::Reason;
use power_sweep::{Held, Rig, Scene};
use rstest::rstest;
use virtual_flash::{FaultMode, StuckBit};

fn board() -> &'static Geometry {
    geometry::by_name("mk-node-s140").unwrap()
}

fn scene() -> Scene<4096> {
    Scene::new(board(), 16 * 1024, 1, &Composition::product()).unwrap()
}

fn boots(rig: &mut Rig<4096>, cause: ResetCause) -> BootReport {
    boot(rig, &Composition::product(), cause).unwrap()
}

/// Staged, asked for, and booted once.
fn install(rig: &mut Rig<4096>) -> BootReport {
    update::request_install(rig).unwrap();
    boots(rig, ResetCause::Software)
}

fn stage(rig: &mut Rig<4096>, file: &[u8]) {
    let slot = board().slot(Slot::One);
    rig.external.load_blank(slot.start..slot.end()).unwrap();
    rig.external.load(slot.start, &file[..file.len().min(slot.length as usize)]).unwrap();
}

/// What a rejection must look like from outside: one record, bank A as it was, the old image runs at once, and the next
/// boot is quiet.
fn assert_rejected(scene: &Scene<4096>, rig: &mut Rig<4096>, reason: Reason) {
    let bank = board().bank_a.start..board().bank_a.end();
    let before = rig.internal.activity(bank.clone());
    update::request_install(rig).unwrap();
    let operations = rig.supply().operations();
    let report = boots(rig, ResetCause::Software);
    assert_eq!(report.run, Run::Application { trial: false });
    assert_eq!((report.outcome(), report.reason()), (Outcome::Rejected, reason));
    assert_eq!(rig.supply().operations() - operations, 4, "a rejection is one record of four words");
    assert_eq!(rig.internal.activity(bank), before, "bank A was touched");
    assert_eq!(scene.held(rig), Held::Old);
    let operations = rig.supply().operations();
    assert_eq!(boots(rig, ResetCause::PowerOn).run, Run::Application { trial: false });
    assert_eq!(rig.supply().operations(), operations, "the boot after a rejection writes nothing");
}

#[test]
fn every_tampered_image_is_refused_and_bank_a_is_not_touched() {
    let scene = scene();
    let key = TestKey::release();
    let bench = Bench::with_key(key.signing());
    for tamper in Tamper::ALL {
        let tampered = tamper.apply(&scene.new_file, &bench).unwrap();
        let mut rig = scene.rig.clone();
        stage(&mut rig, &tampered.bytes);
        match tamper {
            // As good a signature, and octets behind the image that no slot can tell from padding.
            Tamper::SignatureTwin | Tamper::TrailingBytes => {
                assert_eq!(install(&mut rig).run, Run::Application { trial: true }, "{tamper}");
                continue;
            }
            _ => {}
        }
        update::request_install(&mut rig).unwrap();
        let before = rig.internal.activity(board().bank_a.start..board().bank_a.end());
        let report = boots(&mut rig, ResetCause::Software);
        assert_eq!((report.run, report.outcome()), (Run::Application { trial: false }, Outcome::Rejected), "{tamper}");
        assert_ne!(report.reason(), Reason::None, "{tamper}");
        assert_eq!(rig.internal.activity(board().bank_a.start..board().bank_a.end()), before, "{tamper}");
        assert_eq!(scene.held(&rig), Held::Old, "{tamper}");
    }
}

#[rstest]
#[case(Tamper::WrongKey, Reason::SignatureBad)]
#[case(Tamper::Unsigned, Reason::SignatureBad)]
#[case(Tamper::ForeignSignature, Reason::SignatureBad)]
#[case(Tamper::FlipSignatureBit, Reason::SignatureBad)]
#[case(Tamper::FlipPayloadBit, Reason::HashMismatch)]
#[case(Tamper::FlipPayloadBitRehashed, Reason::SignatureBad)]
#[case(Tamper::FlipHeaderPaddingBit, Reason::HashMismatch)]
#[case(Tamper::WrongHardwareId, Reason::WrongBoard)]
#[case(Tamper::Downgrade, Reason::VersionTooOld)]
#[case(Tamper::MissingMigration, Reason::MigrationRequired)]
#[case(Tamper::RAndSZero, Reason::SignatureBad)]
#[case(Tamper::DerRaw, Reason::SignatureBad)]
#[case(Tamper::SizePastSlot, Reason::TooLarge)]
#[case(Tamper::SizeWrapping, Reason::TooLarge)]
#[case(Tamper::MagicWrong, Reason::HeaderBad)]
#[case(Tamper::UnprotectedCopy, Reason::HeaderBad)]
fn a_refusal_names_its_reason_in_one_record(#[case] tamper: Tamper, #[case] reason: Reason) {
    let scene = scene();
    let key = TestKey::release();
    let mut rig = scene.rig.clone();
    stage(&mut rig, &tamper.apply(&scene.new_file, &Bench::with_key(key.signing())).unwrap().bytes);
    assert_rejected(&scene, &mut rig, reason);
}

#[test]
fn a_missing_migration_is_named_before_a_bad_signature() {
    let scene = scene();
    let key = TestKey::release();
    let bench = Bench::with_key(key.signing());
    let missing = Tamper::MissingMigration.apply(&scene.new_file, &bench).unwrap().bytes;
    let both = Tamper::FlipSignatureBit.apply(&missing, &bench).unwrap().bytes;
    let mut rig = scene.rig.clone();
    stage(&mut rig, &both);
    assert_rejected(&scene, &mut rig, Reason::MigrationRequired);
}

#[test]
fn an_empty_slot_is_rejected_without_a_reboot_loop() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    stage(&mut rig, &[]);
    // An erased header announces 4 GiB of payload.
    assert_rejected(&scene, &mut rig, Reason::TooLarge);
}

#[test]
fn the_verifying_phase_and_boot_refuse_for_the_same_reason_and_only_boot_writes() {
    let scene = scene();
    let key = TestKey::release();
    let bench = Bench::with_key(key.signing());
    for tamper in Tamper::ALL {
        let mut rig = scene.rig.clone();
        stage(&mut rig, &tamper.apply(&scene.new_file, &bench).unwrap().bytes);
        let operations = rig.supply().operations();
        let verified = update::verify_staged(&mut rig, &Composition::product(), None);
        assert_eq!(rig.supply().operations(), operations, "{tamper}");
        let booted = install(&mut rig);
        let reason = verified.err().unwrap_or(Reason::None);
        assert_eq!(booted.reason(), reason, "{tamper}");
    }
}

#[test]
fn the_version_floor_moves_only_with_a_confirmation() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    let old_file = {
        let mut file = vec![0; scene.new_file.len()];
        rig.external.peek(board().slot(Slot::Zero).start, &mut file).unwrap();
        file
    };
    install(&mut rig);
    // Not confirmed: the roll-back to the lower counter is allowed.
    assert_eq!(boots(&mut rig, ResetCause::Watchdog).outcome(), Outcome::RolledBack);
    install(&mut rig);
    update::confirm(&mut rig).unwrap();
    // Confirmed: the old image as a request is a downgrade now.
    rig.external.load(board().slot(Slot::Zero).start, &old_file).unwrap();
    let report = install(&mut rig);
    assert_eq!((report.outcome(), report.reason()), (Outcome::Rejected, Reason::VersionTooOld));
    assert_eq!(scene.held(&rig), Held::New);
}

#[test]
fn a_confirmation_counts_once_and_not_after_a_roll_back() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    assert_eq!(update::confirm(&mut rig), Err(UpdateError::NotOnTrial(Outcome::None)));
    install(&mut rig);
    assert_eq!(update::confirm(&mut rig), Ok(Confirmation::Confirmed));
    assert_eq!(update::confirm(&mut rig), Ok(Confirmation::AlreadyConfirmed));

    let mut late = scene.rig.clone();
    install(&mut late);
    let report = boots(&mut late, ResetCause::Watchdog);
    assert_eq!((report.outcome(), report.reason()), (Outcome::RolledBack, Reason::NotConfirmedInTime));
    assert_eq!(update::confirm(&mut late), Err(UpdateError::NotOnTrial(Outcome::RolledBack)));
    assert_eq!(scene.held(&late), Held::Old);
}

#[test]
fn a_second_request_is_refused_while_one_is_pending_or_on_trial() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    update::request_install(&mut rig).unwrap();
    assert_eq!(update::request_install(&mut rig), Err(UpdateError::Busy(Phase::Pending)));
    assert_eq!(update::staging_slot(&mut rig), Err(UpdateError::Busy(Phase::Pending)));
    boots(&mut rig, ResetCause::Software);
    assert_eq!(update::request_install(&mut rig), Err(UpdateError::Busy(Phase::Started)));
    update::confirm(&mut rig).unwrap();
    assert_eq!(update::staging_slot(&mut rig), Ok(Slot::Zero));
}

#[test]
fn a_trial_that_is_given_up_rolls_back_for_the_reason_the_application_gave() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    install(&mut rig);
    update::abandon_trial(&mut rig, Reason::MigrationFailed).unwrap();
    let report = boots(&mut rig, ResetCause::Software);
    assert_eq!((report.outcome(), report.reason()), (Outcome::RolledBack, Reason::MigrationFailed));
    assert_eq!(scene.held(&rig), Held::Old);
    assert!(rig.config_version().is_some());
}

#[test]
fn rot_in_bank_a_is_healed_from_golden_and_reported() {
    let scene = scene();
    for offset in [0, 5000, board().bank_a.length - board().trailer_length] {
        let mut rig = scene.rig.clone();
        rig.internal.flip_bit(board().bank_a.start + offset, 3).unwrap();
        assert_eq!(scene.held(&rig), Held::Neither);
        let report = boots(&mut rig, ResetCause::PowerOn);
        assert_eq!(report.run, Run::Application { trial: false });
        assert_eq!((report.outcome(), report.reason()), (Outcome::Restored, Reason::BankCorrupted));
        assert_eq!(scene.held(&rig), Held::Old);
    }
}

#[test]
fn staging_that_changes_after_the_checks_never_runs() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    update::request_install(&mut rig).unwrap();
    // Up to the record that begins the install: six operations of the pass are one record and a first erase.
    let supply = rig.supply().clone();
    supply.arm(virtual_flash::PowerCut {
        at_operation: supply.operations() + 100,
        tear: virtual_flash::TearModel::NotDone,
    });
    boot(&mut rig, &Composition::product(), ResetCause::Software).unwrap_err();
    supply.power_on();
    rig.external.flip_bit(board().slot(Slot::One).start + 0x1234, 0).unwrap();
    let report = boots(&mut rig, ResetCause::PowerOn);
    assert_eq!((report.outcome(), report.reason()), (Outcome::RolledBack, Reason::InstallFailed));
    assert_eq!(scene.held(&rig), Held::Old);
}

#[test]
fn a_broken_golden_image_refuses_the_update_and_is_made_again() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    rig.external.flip_bit(board().slot(Slot::Zero).start + 0x1000, 0).unwrap();
    let report = install(&mut rig);
    assert_eq!((report.outcome(), report.reason()), (Outcome::Rejected, Reason::GoldenInvalid));
    assert_eq!(scene.held(&rig), Held::Old);
    // Golden was made again from bank A, so the same request goes through now.
    assert_eq!(install(&mut rig).run, Run::Application { trial: true });
    assert_eq!(scene.held(&rig), Held::New);
}

#[test]
fn a_golden_image_that_broke_during_the_trial_leaves_the_new_image_running() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    install(&mut rig);
    rig.external.flip_bit(board().slot(Slot::Zero).start + 0x1000, 0).unwrap();
    let report = boots(&mut rig, ResetCause::Watchdog);
    assert_eq!(report.run, Run::Application { trial: false });
    assert_eq!((report.outcome(), report.reason()), (Outcome::Kept, Reason::GoldenInvalid));
    assert_eq!(scene.held(&rig), Held::New);
}

#[rstest]
#[case::stuck_cell(|rig: &mut Rig<4096>| {
    // A cell that is 1 in the old image and 0 in the new one, or the fault would not show.
    let stuck = differing_bit(rig);
    rig.internal.stick_bit(stuck).unwrap();
})]
#[case::page_that_does_not_erase(|rig: &mut Rig<4096>| rig.internal.break_erase(board().bank_a.start, Some(FaultMode::Silent)))]
#[case::page_whose_erase_fails(|rig: &mut Rig<4096>| rig.internal.break_erase(board().bank_a.start, Some(FaultMode::Fails)))]
fn a_bank_that_cannot_take_the_new_image_keeps_the_old_one(#[case] damage: fn(&mut Rig<4096>)) {
    let scene = scene();
    let mut rig = scene.rig.clone();
    update::request_install(&mut rig).unwrap();
    damage(&mut rig);
    let operations = rig.supply().operations();
    let report = boots(&mut rig, ResetCause::Software);
    // Two passes forth and two back at most.
    assert!(rig.supply().operations() - operations < 4 * 6000);
    match report.run {
        Run::Application { trial } => {
            assert!(!trial);
            assert_eq!((report.outcome(), report.reason()), (Outcome::RolledBack, Reason::InstallFailed));
            assert_eq!(scene.held(&rig), Held::Old);
        }
        // Writing over a page that was not erased can destroy the old image too: then the node says so and waits.
        Run::StayInBootloader(reason) => assert_eq!(reason, Reason::InstallFailed),
    }
}

/// A bit that the old image has set and the new one has not, stuck at one.
fn differing_bit(rig: &Rig<4096>) -> StuckBit {
    let (mut old, mut new) = ([0; 4096], [0; 4096]);
    rig.internal.peek(board().bank_a.start, &mut old).unwrap();
    rig.external.peek(board().slot(Slot::One).start + board().header_size, &mut new).unwrap();
    for (address, (old, new)) in (board().bank_a.start..).zip(old.iter().zip(&new)) {
        let only_old = old & !new;
        if only_old != 0 {
            return StuckBit { address, bit: only_old.trailing_zeros() as u8, value: true };
        }
    }
    panic!("both images start alike");
}

#[test]
fn without_the_external_flash_the_running_image_runs_and_an_update_is_refused() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    rig.external.set_absent(true);
    assert_eq!(boots(&mut rig, ResetCause::PowerOn).run, Run::Application { trial: false });
    assert_rejected(&scene, &mut rig, Reason::FlashFault);
}

#[rstest]
fn a_lost_journal_boots_a_provable_image(#[values(Phase::Idle, Phase::Pending, Phase::Started)] phase: Phase) {
    let scene = scene();
    let mut rig = scene.rig.clone();
    match phase {
        Phase::Pending => {
            update::request_install(&mut rig).unwrap();
        }
        Phase::Started => {
            install(&mut rig);
        }
        _ => {}
    }
    let held = scene.held(&rig);
    rig.internal.load_blank(board().journal.start..board().journal.end()).unwrap();
    assert_eq!(boots(&mut rig, ResetCause::PowerOn).run, Run::Application { trial: false });
    assert_eq!(scene.held(&rig), held);
    assert!(update::status(&mut rig).unwrap().golden.is_some());
}

#[test]
fn a_lost_journal_and_a_half_written_bank_restore_the_older_image_that_fits() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    rig.internal.load_blank(board().journal.start..board().journal.end()).unwrap();
    rig.internal.flip_bit(board().bank_a.start, 0).unwrap();
    assert_eq!(boots(&mut rig, ResetCause::PowerOn).run, Run::Application { trial: false });
    assert_eq!(scene.held(&rig), Held::Old);
}

#[test]
fn any_flipped_journal_bit_at_any_stage_leaves_a_whole_image_running() {
    let scene = scene();
    let mut stages = vec![scene.rig.clone()];
    let mut rig = scene.rig.clone();
    update::request_install(&mut rig).unwrap();
    stages.push(rig.clone());
    boots(&mut rig, ResetCause::Software);
    stages.push(rig.clone());
    let mut confirmed = rig.clone();
    update::confirm(&mut confirmed).unwrap();
    stages.push(confirmed);
    boots(&mut rig, ResetCause::Watchdog);
    stages.push(rig);
    for (stage, start) in stages.iter().enumerate() {
        for bit in 0..8 * 16 * 8 {
            let mut rig = start.clone();
            rig.internal.flip_bit(board().journal.start + bit / 8, (bit % 8) as u8).unwrap();
            let report = boots(&mut rig, ResetCause::PowerOn);
            assert!(matches!(report.run, Run::Application { .. }), "stage {stage}, bit {bit}: {:?}", report.run);
            assert_ne!(scene.held(&rig), Held::Neither, "stage {stage}, bit {bit}");
        }
    }
}

#[test]
fn an_update_wears_each_page_of_bank_a_once_and_no_word_is_written_twice() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    install(&mut rig);
    assert_eq!(rig.internal.erase_count(board().bank_a.start), 1);
    assert_eq!(rig.internal.erase_count(board().trailer().start), 1);
    assert_eq!(rig.internal.violations(), 0);
    assert_eq!(rig.external.activity(0..rig.external.size()).words_written, 0);
    let bank = board().bank_a.start..board().bank_a.end();
    assert_eq!(rig.internal.activity(bank).pages_erased, 5);
}

#[test]
fn a_board_without_a_key_refuses_every_image() {
    let scene = scene();
    let mut rig = scene.rig.clone();
    rig.set_key(None);
    let verified = update::verify_staged(&mut rig, &Composition::product(), None);
    assert_eq!(verified, Err(Reason::NoKey));
    assert_eq!(update::image_facts(&mut rig, Area::BankA).map(|facts| facts.hardware_id), Ok(board().hardware_id));
    assert_eq!(boots(&mut rig, ResetCause::PowerOn).run, Run::StayInBootloader(Reason::NoKey));
}
