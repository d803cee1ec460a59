//! The table of the Firmware Update Server (protocol sheet section 7), row by row.

use mk_wire::{
    AccessMessage, BlobId, Reason, Version,
    blob::{self, TransferStart},
    metadata::FirmwareMetadata,
    time::Duration,
    update::{Effect, Message, Phase, RunningUpdate, Status, UpdateStatus},
    vendor::BootOutcome,
};
use rstest::rstest;

use crate::bench::{Bench, GATEWAY, HARDWARE, Image, ImageSpec, NODE, image, signed};
use mk_node::{TraceEvent, config::Config};

fn new_image() -> Image {
    image(ImageSpec::new(2))
}

/// A bench whose node is in this phase, by the way that leads there.
fn in_phase(phase: Phase, image: &Image) -> Bench {
    let mut bench = Bench::new();
    match phase {
        Phase::Idle => {}
        Phase::TransferActive => {
            bench.start(image);
            bench.begin_transfer(image);
            bench.send_block(image, 0);
        }
        Phase::TransferError => {
            bench.start(image);
            bench.begin_transfer(image);
            bench.send_block(image, 0);
            // T_srv for a timeout base of 1.
            bench.run_secs(21);
        }
        Phase::VerifyingUpdate => bench.transfer(image),
        Phase::VerificationSucceeded => bench.stage(image),
        Phase::VerificationFailed => {
            bench.transfer(image);
            bench.board.external.bytes[0x9000 + 0x300] ^= 1;
            bench.run_secs(1);
        }
        Phase::ApplyingUpdate => {
            bench.stage(image);
            bench.tell(NODE, Message::Apply);
        }
    }
    if phase != Phase::VerifyingUpdate {
        // Whatever answers there are, leave; the reset that follows Update Apply is not due yet.
        bench.run_for(Duration::from_millis(60));
    }
    assert_eq!(bench.phase(), phase, "{:?}", bench.traces);
    bench
}

const RUNNING: RunningUpdate = RunningUpdate {
    ttl: 3,
    effect: Effect::CompositionUnchanged,
    timeout_base: 1,
    blob_id: BlobId(0xB10B),
    image_index: 0,
};

#[rstest]
#[case::idle(Phase::Idle)]
#[case::error(Phase::TransferError)]
#[case::active(Phase::TransferActive)]
#[case::verifying(Phase::VerifyingUpdate)]
#[case::succeeded(Phase::VerificationSucceeded)]
#[case::failed(Phase::VerificationFailed)]
#[case::applying(Phase::ApplyingUpdate)]
fn update_get_states_phase_and_parameters(#[case] phase: Phase) {
    let mut bench = in_phase(phase, &new_image());
    let update = (phase != Phase::Idle).then_some(RUNNING);
    assert_eq!(bench.ask_update(Message::Get), UpdateStatus { status: Status::Success, phase, update });
}

#[rstest]
#[case::idle(Phase::Idle, Status::WrongPhase)]
#[case::error(Phase::TransferError, Status::WrongPhase)]
#[case::active(Phase::TransferActive, Status::WrongPhase)]
#[case::verifying(Phase::VerifyingUpdate, Status::WrongPhase)]
#[case::succeeded(Phase::VerificationSucceeded, Status::Success)]
#[case::failed(Phase::VerificationFailed, Status::WrongPhase)]
#[case::applying(Phase::ApplyingUpdate, Status::Success)]
fn apply_is_for_verified_images_and_may_be_repeated(#[case] phase: Phase, #[case] status: Status) {
    let mut bench = in_phase(phase, &new_image());
    let answer = bench.ask_update(Message::Apply);
    let then = if status == Status::Success { Phase::ApplyingUpdate } else { phase };
    assert_eq!((answer.status, answer.phase), (status, then));
    bench.run_secs(10);
    assert_eq!(bench.resets, usize::from(status == Status::Success), "one reset for any number of requests");
}

#[rstest]
#[case::idle(Phase::Idle)]
#[case::error(Phase::TransferError)]
#[case::active(Phase::TransferActive)]
#[case::verifying(Phase::VerifyingUpdate)]
#[case::succeeded(Phase::VerificationSucceeded)]
#[case::failed(Phase::VerificationFailed)]
#[case::applying(Phase::ApplyingUpdate)]
fn cancel_drops_everything_in_any_phase(#[case] phase: Phase) {
    let image = new_image();
    let mut bench = in_phase(phase, &image);
    let answer = bench.ask_update(Message::Cancel);
    assert_eq!(answer, UpdateStatus { status: Status::Success, phase: Phase::Idle, update: None });
    bench.run_secs(10);
    assert_eq!((bench.resets, bench.phase()), (0, Phase::Idle));
    bench.boot();
    assert_eq!((bench.runs(), bench.phase()), (Version::new(1, 1, 0), Phase::Idle));
    // And the next update is not disturbed by what was left.
    bench.stage(&image);
}

#[rstest]
#[case::error(Phase::TransferError, Phase::TransferActive)]
#[case::active(Phase::TransferActive, Phase::TransferActive)]
#[case::verifying(Phase::VerifyingUpdate, Phase::VerifyingUpdate)]
#[case::succeeded(Phase::VerificationSucceeded, Phase::VerificationSucceeded)]
#[case::failed_starts_afresh(Phase::VerificationFailed, Phase::TransferActive)]
#[case::applying(Phase::ApplyingUpdate, Phase::ApplyingUpdate)]
fn the_same_update_start_again_succeeds(#[case] phase: Phase, #[case] then: Phase) {
    let image = new_image();
    let mut bench = in_phase(phase, &image);
    let before = bench.operations();
    let answer = bench.start(&image);
    assert_eq!((answer.status, answer.phase, answer.update), (Status::Success, then, Some(RUNNING)));
    if phase != Phase::VerificationFailed {
        assert_eq!(bench.operations(), before, "a repetition writes nothing");
    }
}

/// Ways in which an Update Start can differ from the one before.
#[derive(Clone, Copy, Debug)]
enum Differs {
    Ttl,
    TimeoutBase,
    BlobId,
    Index,
    Metadata,
}

#[rstest]
fn a_different_update_start_is_refused_and_changes_nothing(
    #[values(
        Phase::TransferActive,
        Phase::VerifyingUpdate,
        Phase::VerificationSucceeded,
        Phase::ApplyingUpdate
    )]
    phase: Phase,
    #[values(Differs::Ttl, Differs::TimeoutBase, Differs::BlobId, Differs::Index, Differs::Metadata)] differs: Differs,
) {
    let image = new_image();
    let mut bench = in_phase(phase, &image);
    let before = bench.operations();
    let mut metadata = image.metadata;
    if matches!(differs, Differs::Metadata) {
        metadata = signed(FirmwareMetadata { version: Version::new(9, 9, 9), ..metadata });
    }
    let answer = bench.start_with(&metadata.to_bytes(), |start| match differs {
        Differs::Ttl => mk_wire::update::Start { ttl: 4, ..start },
        Differs::TimeoutBase => mk_wire::update::Start { timeout_base: 2, ..start },
        Differs::BlobId => mk_wire::update::Start { blob_id: BlobId(1), ..start },
        Differs::Index => mk_wire::update::Start { image_index: 1, ..start },
        Differs::Metadata => start,
    });
    assert_eq!((answer.status, answer.phase, answer.update), (Status::WrongPhase, phase, Some(RUNNING)));
    assert_eq!(bench.operations(), before);
}

#[rstest]
#[case::with_metadata(false)]
#[case::without_metadata(true)]
fn a_suspended_update_is_resumed_with_its_blocks(#[case] empty: bool) {
    let image = new_image();
    let mut bench = in_phase(Phase::TransferError, &image);
    let metadata = if empty { vec![] } else { image.metadata.to_bytes().to_vec() };
    assert_eq!(bench.start_with(&metadata, |start| start).phase, Phase::TransferActive);
    bench.begin_transfer(&image);
    let before = bench.board.external.erased.len();
    for block in 1..Bench::blocks(&image) {
        bench.send_block(&image, block);
    }
    bench.run_secs(1);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
    let erased = &bench.board.external.erased[before..];
    assert!(!erased.contains(&0x9000), "a page with accepted data was erased: {erased:x?}");
}

#[test]
fn an_other_update_in_transfer_error_replaces_the_old_one() {
    let mut bench = in_phase(Phase::TransferError, &new_image());
    let other = image(ImageSpec::new(3));
    let answer =
        bench.start_with(&other.metadata.to_bytes(), |start| mk_wire::update::Start { blob_id: BlobId(7), ..start });
    assert_eq!((answer.status, answer.phase), (Status::Success, Phase::TransferActive));
    assert_eq!(answer.update.unwrap().blob_id, BlobId(7));
}

#[test]
fn a_block_start_resumes_a_suspended_transfer_by_itself() {
    let image = new_image();
    let mut bench = in_phase(Phase::TransferError, &image);
    bench.send_block(&image, 1);
    assert_eq!(bench.phase(), Phase::TransferActive);
}

#[rstest]
#[case::error_when_nothing_comes(Phase::TransferActive, 20, Phase::TransferActive)]
#[case::error_after_t_srv(Phase::TransferActive, 21, Phase::TransferError)]
fn a_silent_client_suspends_the_update_after_t_srv(#[case] phase: Phase, #[case] secs: u64, #[case] then: Phase) {
    let mut bench = in_phase(phase, &new_image());
    bench.run_for(Duration::from_secs(secs) - Duration::from_millis(500));
    assert_eq!(bench.phase(), then);
}

/// The reasons of a refusal at Update Start, and the metadata that earns them.
fn refused(what: Reason) -> (Bench, Vec<u8>) {
    let mut bench = Bench::with(ImageSpec::new(1).config(2, None), Some(Config::factory(2, NODE.0).unwrap()));
    let good = image(ImageSpec::new(2).config(2, None)).metadata;
    let metadata = match what {
        Reason::MetadataBad => return (bench, good.to_bytes()[..115].to_vec()),
        Reason::WrongBoard => signed(FirmwareMetadata { hardware_id: HARDWARE + 1, ..good }),
        Reason::MigrationRequired => signed(FirmwareMetadata { config_migration_version: 3, ..good }),
        Reason::TooLarge => signed(FirmwareMetadata { size: 0x9001, ..good }),
        Reason::NoKey => {
            bench.board.key = None;
            good
        }
        Reason::MetadataSignatureBad => FirmwareMetadata { version: Version::new(1, 3, 0), ..good },
        other => panic!("{other:?}"),
    };
    (bench, metadata.to_bytes().to_vec())
}

#[rstest]
#[case::length(Reason::MetadataBad)]
#[case::board(Reason::WrongBoard)]
#[case::migration(Reason::MigrationRequired)]
#[case::size(Reason::TooLarge)]
#[case::key(Reason::NoKey)]
#[case::signature(Reason::MetadataSignatureBad)]
fn refused_metadata_writes_nothing_and_is_reported_with_its_reason(#[case] reason: Reason) {
    let (mut bench, metadata) = refused(reason);
    bench.run_secs(60);
    let (operations, flash) = (bench.operations(), bench.board.clone());
    let answer = bench.start_with(&metadata, |start| start);
    assert_eq!(answer, UpdateStatus { status: Status::MetadataCheckFailed, phase: Phase::Idle, update: None });
    let check = bench.ask(Message::MetadataCheck { image_index: 0, metadata: &metadata }).unwrap();
    assert_eq!(
        AccessMessage::decode(&check.bytes).unwrap(),
        AccessMessage::Update(Message::MetadataStatus {
            status: Status::MetadataCheckFailed,
            effect: Effect::CompositionUnchanged,
            image_index: 0
        })
    );
    assert!(bench.traces.contains(&TraceEvent::MetadataRefused(reason)));
    bench.run_secs(3);
    let reports = bench.vendor_messages();
    assert!(!reports.is_empty(), "a refusal is reported without being asked for");
    let report = bench.report();
    assert_eq!((report.outcome, report.reason), (BootOutcome::Rejected, reason));
    bench.run_secs(60);
    assert_eq!((bench.operations(), bench.resets), (operations, 0));
    assert_eq!(bench.board.internal.bytes, flash.internal.bytes);
    assert_eq!(bench.board.external.bytes, flash.external.bytes);
}

#[rstest]
#[case::migration_before_signature(
    |m: FirmwareMetadata| FirmwareMetadata { config_migration_version: 3, ..m }, Reason::MigrationRequired)]
#[case::board_before_migration(
    |m: FirmwareMetadata| FirmwareMetadata { config_migration_version: 3, hardware_id: 1, ..m }, Reason::WrongBoard)]
#[case::handler_newer_than_the_node(
    |m: FirmwareMetadata| FirmwareMetadata { config_migration_version: 3, oldest_migratable_version: Some(2), ..m },
    Reason::MigrationRequired)]
#[case::older_than_the_configuration(
    |m: FirmwareMetadata| FirmwareMetadata { config_migration_version: 0, ..m }, Reason::MigrationRequired)]
fn of_two_faults_the_one_that_an_operator_can_act_on_is_named(
    #[case] change: fn(FirmwareMetadata) -> FirmwareMetadata,
    #[case] reason: Reason,
) {
    let mut bench = Bench::new();
    // Changed after signing: the signature is wrong as well.
    let metadata = change(new_image().metadata);
    assert_eq!(bench.start_with(&metadata.to_bytes(), |start| start).status, Status::MetadataCheckFailed);
    assert_eq!(bench.report().reason, reason);
}

#[test]
fn metadata_check_of_good_metadata_succeeds_and_changes_nothing() {
    let mut bench = Bench::new();
    let before = bench.operations();
    let metadata = new_image().metadata.to_bytes();
    let answer = bench.ask(Message::MetadataCheck { image_index: 0, metadata: &metadata }).unwrap();
    assert_eq!(answer.bytes, [0x83, 0x0B, 0, 0]);
    let other = bench.ask(Message::MetadataCheck { image_index: 1, metadata: &metadata }).unwrap();
    assert_eq!(other.bytes, [0x83, 0x0B, Status::WrongFirmwareIndex as u8, 1]);
    assert_eq!((bench.operations(), bench.phase()), (before, Phase::Idle));
}

#[rstest]
#[case::the_image(0, 255, true)]
#[case::limit_of_one(0, 1, true)]
#[case::limit_of_nothing(0, 0, false)]
#[case::past_the_end(1, 255, false)]
fn information_get_lists_the_only_image(#[case] first_index: u8, #[case] limit: u8, #[case] listed: bool) {
    let mut bench = Bench::new();
    let answer = bench.ask(Message::InformationGet { first_index, limit }).unwrap();
    let mut octets = vec![0x83, 0x09, 1, first_index];
    if listed {
        octets.extend([10, 0xFF, 0xFF, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
    }
    assert_eq!(answer.bytes, octets[..]);
}

#[test]
fn information_get_is_not_answered_while_applying() {
    let mut bench = in_phase(Phase::ApplyingUpdate, &new_image());
    bench.sent.clear();
    bench.tell(NODE, Message::InformationGet { first_index: 0, limit: 1 });
    bench.run_for(Duration::from_millis(60));
    assert!(bench.sent.is_empty());
}

#[test]
fn an_image_that_is_not_the_announced_one_fails_verification_and_cannot_be_applied() {
    let (announced, other) = (new_image(), image(ImageSpec { payload: 9_000, ..ImageSpec::new(3) }));
    assert_eq!(announced.file.len().div_ceil(4096), other.file.len().div_ceil(4096));
    let mut bench = Bench::new();
    bench.start(&announced);
    bench.begin_transfer(&announced);
    let padded =
        Image { file: other.file[..].iter().copied().chain([0; 8]).take(announced.file.len()).collect(), ..other };
    for block in 0..Bench::blocks(&announced) {
        bench.send_block(&padded, block);
    }
    bench.run_secs(3);
    assert_eq!(bench.phase(), Phase::VerificationFailed);
    assert_eq!(bench.ask_update(Message::Apply).status, Status::WrongPhase);
    let report = bench.report();
    assert_eq!(report.outcome, BootOutcome::Rejected);
    assert_eq!(report.about, Version::new(1, 2, 0));
    assert_eq!(bench.resets, 0);
    // Neither a reboot nor time changes that.
    bench.boot();
    assert_eq!(bench.phase(), Phase::VerificationFailed);
    let again = bench.report();
    assert_eq!((again.outcome, again.reason), (report.outcome, report.reason));
    assert_eq!(bench.runs(), Version::new(1, 1, 0));
}

#[test]
fn a_blob_of_another_length_than_the_metadata_is_refused_before_any_erase() {
    let image = new_image();
    let mut bench = Bench::new();
    bench.start(&image);
    let before = bench.board.external.erased.len();
    let answer = bench
        .ask(blob::Message::TransferStart(TransferStart {
            mode: blob::TransferMode::Push,
            blob_id: BlobId(0xB10B),
            size: image.file.len() as u32 + 1,
            block_size_log: 12,
            client_mtu: 380,
        }))
        .unwrap();
    assert_eq!(answer.bytes[..4], [0x83, 0x03, blob::Status::InternalError as u8, blob::Phase::WaitingForStart as u8]);
    assert_eq!(bench.board.external.erased.len(), before);
}

#[rstest]
#[case::idle(Phase::Idle, 0xFF)]
#[case::active(Phase::TransferActive, 3)]
fn answers_during_an_update_use_its_ttl(#[case] phase: Phase, #[case] ttl: u8) {
    let mut bench = in_phase(phase, &new_image());
    assert_eq!(bench.ask(Message::Get).unwrap().ttl, ttl);
}

#[test]
fn the_reset_comes_after_the_answer_left() {
    let mut bench = in_phase(Phase::VerificationSucceeded, &new_image());
    bench.sent.clear();
    bench.tell(NODE, Message::Apply);
    let asked = bench.now;
    bench.run_secs(5);
    let answer = bench.sent.iter().find(|sent| sent.message.bytes[..2] == [0x83, 0x10]).unwrap();
    assert_eq!(answer.message.to, GATEWAY);
    let waited = (answer.at - asked).as_millis();
    assert!((20..=50).contains(&waited), "{waited} ms");
    assert_eq!((bench.resets, bench.runs()), (1, Version::new(1, 2, 0)));
}

#[test]
fn an_update_cannot_start_while_an_image_is_on_trial() {
    let mut bench = in_phase(Phase::VerificationSucceeded, &new_image());
    bench.apply();
    assert!(!bench.node().is_confirmed());
    let before = bench.operations();
    let answer = bench.start(&image(ImageSpec::new(3)));
    assert_eq!((answer.status, answer.phase), (Status::TemporarilyUnavailable, Phase::Idle));
    assert_eq!(bench.operations(), before);
}
