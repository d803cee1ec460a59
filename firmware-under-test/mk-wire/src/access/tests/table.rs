//! One row per message, both ways.

use super::*;
use crate::Addr;
use crate::blob::*;
use crate::distribution as fd;
use crate::fwid::FwidRef;
use crate::update as fu;
use crate::vendor as mk;
use crate::version::Version;
use rstest::rstest;

const ID: BlobId = BlobId(0x0102_0304_0506_0708);
const FWID: FwidRef<'static> = FwidRef { company_id: 0x0059, version: &[1, 0] };

fn check(message: AccessMessage<'_>, octets: &str) {
    let octets = hex(octets);
    assert_eq!(message.to_buffer().unwrap().as_slice(), octets, "encoded");
    assert_eq!(AccessMessage::decode(&octets), Ok(message), "decoded");
}

const fn block_status(missing: MissingChunks<'_>) -> Message<'_> {
    Message::BlockStatus(BlockStatus { status: Status::Success, block: 1, chunk_size: 377, missing })
}

const fn transfer_status<'a>(
    status: Status,
    mode: TransferMode,
    phase: Phase,
    blob_id: Option<BlobId>,
    transfer: Option<Transfer<'a>>,
) -> Message<'a> {
    Message::TransferStatus(TransferStatus { status, mode, phase, blob_id, transfer })
}

const TRANSFER: Transfer<'static> = Transfer { size: 100, block_size_log: 12, mtu: 380, blocks_missing: &[1] };

#[rstest]
#[case(Message::TransferGet, "8300")]
#[case(
    Message::TransferStart(TransferStart { mode: TransferMode::Push, blob_id: ID, size: 524_288, block_size_log: 12, client_mtu: 384 }),
    "8301 40 0807060504030201 00000800 0c 8001"
)]
#[case(
    Message::TransferStart(TransferStart { mode: TransferMode::Pull, blob_id: ID, size: 1, block_size_log: 6, client_mtu: 20 }),
    "8301 80 0807060504030201 01000000 06 1400"
)]
#[case(Message::TransferCancel(ID), "8302 0807060504030201")]
#[case(transfer_status(Status::WrongPhase, TransferMode::None, Phase::Inactive, None, None), "8303 04 00")]
#[case(
    transfer_status(Status::Success, TransferMode::None, Phase::WaitingForStart, Some(ID), None),
    "8303 00 01 0807060504030201"
)]
#[case(
    transfer_status(Status::Success, TransferMode::Push, Phase::WaitingForBlock, Some(ID), Some(TRANSFER)),
    "8303 40 02 0807060504030201 64000000 0c 7c01 01"
)]
#[case(
    transfer_status(Status::InformationUnavailable, TransferMode::Pull, Phase::Suspended, Some(ID), Some(TRANSFER)),
    "8303 8a 05 0807060504030201 64000000 0c 7c01 01"
)]
#[case(Message::BlockStart(BlockStart { block: 0x0102, chunk_size: 377 }), "8304 0201 7901")]
#[case(Message::BlockGet, "8305")]
#[case(Message::Chunk(Chunk { number: 5, data: &[0xAA, 0xBB] }), "66 0500 aabb")]
#[case(block_status(MissingChunks::All), "67 00 0100 7901")]
#[case(block_status(MissingChunks::None), "67 40 0100 7901")]
#[case(block_status(MissingChunks::Bitmap(&[0x80, 0x01])), "67 80 0100 7901 8001")]
#[case(block_status(MissingChunks::Encoded(&[0x7F, 0xC2, 0x80])), "67 c0 0100 7901 7fc280")]
#[case(block_status(MissingChunks::Encoded(&[])), "67 c0 0100 7901")]
#[case(Message::PartialBlockReport(MissingChunks::Encoded(&[])), "68")]
#[case(Message::PartialBlockReport(MissingChunks::Encoded(&[1, 2])), "68 0102")]
#[case(Message::InformationGet, "8306")]
#[case(
    Message::InformationStatus(Capabilities {
        min_block_size_log: 8, max_block_size_log: 12, max_total_chunks: 256, max_chunk_size: 377,
        max_blob_size: 524_288, server_mtu: 380, push: true, pull: true,
    }),
    "8307 08 0c 0001 7901 00000800 7c01 03"
)]
fn blob_transfer(#[case] message: Message<'_>, #[case] octets: &str) {
    check(message.into(), octets);
}

#[rstest]
#[case(fu::Message::InformationGet { first_index: 0, limit: 255 }, "8308 00 ff")]
#[case(fu::Message::MetadataCheck { image_index: 1, metadata: &[0xAA] }, "830a 01 aa")]
#[case(fu::Message::MetadataCheck { image_index: 1, metadata: &[] }, "830a 01")]
#[case(
    fu::Message::MetadataStatus { status: fu::Status::MetadataCheckFailed, effect: fu::Effect::Unprovisioned, image_index: 2 },
    "830b 1d 02"
)]
#[case(fu::Message::Get, "830c")]
#[case(
    fu::Message::Start(fu::Start { ttl: 2, timeout_base: 10, blob_id: ID, image_index: 0, metadata: &[0xAA, 0xBB, 0xCC, 0xDD] }),
    "830d 02 0a00 0807060504030201 00 aabbccdd"
)]
#[case(fu::Message::Cancel, "830e")]
#[case(fu::Message::Apply, "830f")]
#[case::idle(
    fu::Message::Status(fu::UpdateStatus { status: fu::Status::MetadataCheckFailed, phase: fu::Phase::Idle, update: None }),
    "8310 05"
)]
#[case::section_13(
    fu::Message::Status(fu::UpdateStatus {
        status: fu::Status::BlobTransferBusy,
        phase: fu::Phase::VerificationSucceeded,
        update: Some(fu::RunningUpdate {
            ttl: 16, effect: fu::Effect::CompositionChanges, timeout_base: 0x1234, blob_id: ID, image_index: 0,
        }),
    }),
    "8310 8710013412080706050403020100"
)]
fn firmware_update(#[case] message: fu::Message<'_>, #[case] octets: &str) {
    check(message.into(), octets);
}

#[test]
fn firmware_update_information_status() {
    let entries = [fu::ImageEntry { fwid: FWID, uri: b"https://a" }, fu::ImageEntry { fwid: FWID, uri: b"" }];
    let mut out = [0; 64];
    let images = fu::ImageList::build(entries, &mut out);
    assert!(images.iter().eq(entries));
    let message = fu::Message::InformationStatus(fu::InformationStatus { count: 2, first_index: 0, images });
    check(message.into(), "8309 02 00 04 59000100 09 68747470733a2f2f61 04 59000100 00");
}

#[rstest]
#[case::all_fit(20, 2)]
#[case::one_octet_short(19, 1)]
#[case::only_the_first(15, 1)]
#[case::none(14, 0)]
fn only_whole_image_entries_are_listed(#[case] room: usize, #[case] listed: usize) {
    let entries = [
        fu::ImageEntry { fwid: FWID, uri: b"https://a" },
        fu::ImageEntry { fwid: FwidRef { version: &[], ..FWID }, uri: b"a" },
    ];
    assert_eq!(fu::ImageList::build(entries, &mut std::vec![0; room]).iter().count(), listed);
}

const START: fd::Start = fd::Start {
    app_key_index: 2,
    ttl: 7,
    timeout_base: 0xFEDC,
    mode: TransferMode::Push,
    policy: fd::UpdatePolicy::VerifyAndApply,
    image_index: 3,
    multicast: fd::Multicast::Address(Addr(0xC001)),
};

const CAPABILITIES: fd::Capabilities<'static> = fd::Capabilities {
    max_receivers: 128,
    max_images: 4,
    max_image_size: 0x0009_0000,
    max_upload_space: 0x0010_0000,
    remaining_space: 1,
    oob_schemes: None,
};

#[rstest]
#[case(fd::Message::ReceiversDeleteAll, "8312")]
#[case(fd::Message::ReceiversStatus { status: fd::Status::BusyWithDistribution, count: 0x0102 }, "8313 07 0201")]
#[case(fd::Message::ReceiversGet { first_index: 1, limit: 2 }, "8314 0100 0200")]
#[case(fd::Message::CapabilitiesGet, "8316")]
#[case(fd::Message::CapabilitiesStatus(CAPABILITIES), "8317 8000 0400 00000900 00001000 01000000 00")]
#[case(
    fd::Message::CapabilitiesStatus(fd::Capabilities { oob_schemes: Some(&[0x17]), ..CAPABILITIES }),
    "8317 8000 0400 00000900 00001000 01000000 01 17"
)]
#[case(fd::Message::Get, "8318")]
#[case(fd::Message::Start(START), "8319 0200 07 dcfe 05 0300 01c0")]
#[case::unicast(
    fd::Message::Start(fd::Start { multicast: fd::Multicast::Address(Addr::UNASSIGNED), policy: fd::UpdatePolicy::VerifyOnly, ..START }),
    "8319 0200 07 dcfe 01 0300 0000"
)]
#[case::label(
    fd::Message::Start(fd::Start { multicast: fd::Multicast::Label([0x11; 16]), mode: TransferMode::Pull, ..START }),
    "8319 0200 07 dcfe 06 0300 11111111111111111111111111111111"
)]
#[case(fd::Message::Suspend, "831a")]
#[case(fd::Message::Cancel, "831b")]
#[case(fd::Message::Apply, "831c")]
#[case::idle(
    fd::Message::Status(fd::DistributionStatus { status: fd::Status::Success, phase: fd::Phase::Idle, distribution: None }),
    "831d 00 00"
)]
#[case::section_13(
    fd::Message::Status(fd::DistributionStatus {
        status: fd::Status::BusyWithDistribution,
        phase: fd::Phase::TransferSuccess,
        distribution: Some(fd::RunningDistribution {
            multicast: Addr(0x0104), app_key_index: 2, ttl: 7, timeout_base: 0xFEDC,
            mode: TransferMode::Pull, policy: fd::UpdatePolicy::VerifyAndApply, image_index: 0,
        }),
    }),
    "831d 07020401020007DCFE060000"
)]
#[case(fd::Message::UploadGet, "831e")]
#[case(
    fd::Message::UploadStart(fd::UploadStart { ttl: 5, timeout_base: 1, blob_id: ID, size: 100, metadata: &[0xEE], fwid: FWID }),
    "831f 05 0100 0807060504030201 64000000 01 ee 5900 0100"
)]
#[case(fd::Message::UploadOobStart(fd::UploadOobStart { uri: b"ab", fwid: FWID }), "8320 02 6162 5900 0100")]
#[case(fd::Message::UploadCancel, "8321")]
#[case(
    fd::Message::UploadStatus(fd::UploadStatus { status: fd::Status::Success, phase: fd::UploadPhase::Idle, upload: None }),
    "8322 00 00"
)]
#[case(
    fd::Message::UploadStatus(fd::UploadStatus {
        status: fd::Status::Success, phase: fd::UploadPhase::TransferSuccess,
        upload: Some(fd::Upload { percent: 100, oob: true, fwid: FWID }),
    }),
    "8322 00 03 e4 5900 0100"
)]
#[case(fd::Message::FirmwareGet(FWID), "8323 5900 0100")]
#[case(fd::Message::FirmwareGetByIndex(1), "8324 0100")]
#[case(fd::Message::FirmwareDelete(FWID), "8325 5900 0100")]
#[case(fd::Message::FirmwareDeleteAll, "8326")]
#[case(
    fd::Message::FirmwareStatus(fd::FirmwareStatus { status: fd::Status::Success, entry_count: 1, image_index: Some(0), fwid: Some(FWID) }),
    "8327 00 0100 0000 5900 0100"
)]
#[case::not_found(
    fd::Message::FirmwareStatus(fd::FirmwareStatus { status: fd::Status::FirmwareNotFound, entry_count: 0, image_index: None, fwid: None }),
    "8327 04 0000 ffff"
)]
fn firmware_distribution(#[case] message: fd::Message<'_>, #[case] octets: &str) {
    check(message.into(), octets);
}

#[test]
fn firmware_distribution_receivers_add() {
    let entries = [
        fd::ReceiverEntry { address: Addr(0x0001), image_index: 0 },
        fd::ReceiverEntry { address: Addr(0x7FFF), image_index: 2 },
    ];
    let octets = entries.map(fd::ReceiverEntry::to_bytes).concat();
    let set = fd::ReceiverSet::from_bytes(&octets).unwrap();
    assert!(set.iter().eq(entries));
    check(fd::Message::ReceiversAdd(set).into(), "8311 010000 ff7f02");
}

#[test]
fn firmware_distribution_receivers_list_of_section_13() {
    let report = fd::ReceiverReport {
        address: Addr(0x7FFF),
        phase: fd::RetrievedPhase::TransferActive,
        update_status: fu::Status::InternalError,
        transfer_status: Status::WrongPhase,
        percent: 10,
        image_index: 1,
    };
    let octets = report.to_bytes();
    let list = fd::ReceiverList::new(0xAABB, 0xAA01, &octets).unwrap();
    assert!(list.iter().eq([report]));
    check(fd::Message::ReceiversList(list).into(), "8315 BBAA01AAFF7F191501");
    check(fd::Message::ReceiversList(fd::ReceiverList::new(0, 0, &[]).unwrap()).into(), "8315 00000000");
}

#[rstest]
#[case(0, 0)]
#[case(1, 0)]
#[case(2, 2)]
#[case(99, 98)]
#[case(100, 100)]
#[case(255, 100)]
fn progress_travels_in_steps_of_two_percent(#[case] percent: u8, #[case] read: u8) {
    let report = fd::ReceiverReport {
        address: Addr(1),
        phase: fd::RetrievedPhase::Unknown,
        update_status: fu::Status::Success,
        transfer_status: Status::Success,
        percent,
        image_index: 0,
    };
    let octets = report.to_bytes();
    let list = fd::ReceiverList::new(1, 0, &octets).unwrap();
    assert_eq!(list.iter().next().unwrap().percent, read);
}

#[rstest]
#[case(
    mk::Message::Confirm(mk::Confirm { boot_count: 7, fwid: [0xFF, 0xFF, 1, 2, 3, 0, 4, 0, 0, 0] }),
    "c0ffff 07000000 ffff 0102 0300 04000000"
)]
#[case(mk::Message::ConfirmAck(mk::ConfirmAck { boot_count: 0x01020304 }), "c1ffff 04030201")]
#[case(mk::Message::ReportGet, "c2ffff")]
#[case(
    mk::Message::Report(mk::Report {
        running: Version::new(1, 0, 0), config_version: 3, boot_count: 9, outcome: mk::BootOutcome::Rejected,
        reason: crate::Reason::MigrationRequired, about: Version::new(1, 1, 0), update_phase: fu::Phase::Idle,
    }),
    "c3ffff 0100000000000000 0300 09000000 05 03 0101000000000000 00"
)]
#[case(
    mk::Message::Health(mk::Health { hops: 2, rssi_dbm: -70, uptime_s: 60, degraded: true }),
    "c4ffff 02 ba 3c000000 01"
)]
#[case(
    mk::Message::AppReport(mk::AppReport { temperature_centi_c: -550, light_level: 128, energy_wh: 1000 }),
    "c5ffff dafd 80 e8030000"
)]
#[case(mk::Message::LightSet(mk::LightSet { level: 255, tid: 3 }), "c6ffff ff 03")]
fn our_own(#[case] message: mk::Message, #[case] octets: &str) {
    check(message.into(), octets);
}
