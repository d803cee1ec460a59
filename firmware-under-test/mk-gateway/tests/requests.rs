//! The request table of section 8: receivers, images, uploads, and what is refused in which phase.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod rig;

use mk_gateway::GatewayRecord;
use mk_wire::blob::{TransferMode, TransferStart};
use mk_wire::distribution::{
    Message, Multicast, Phase, ReceiverEntry, ReceiverSet, RetrievedPhase, Start, Status, UpdatePolicy, UploadOobStart,
    UploadPhase, UploadStart,
};
use mk_wire::north::Order;
use mk_wire::time::Duration;
use mk_wire::{AccessMessage, Addr, BlobId, Fwid, Version, blob, vendor};
use rig::mesh_node::Behaviour::*;
use rig::{GROUP, NEW, Rig};
use rstest::rstest;

const START: Start = Start {
    app_key_index: 0,
    ttl: 5,
    timeout_base: 0,
    mode: TransferMode::Push,
    policy: UpdatePolicy::VerifyAndApply,
    image_index: 0,
    multicast: Multicast::Address(GROUP),
};

fn add(rig: &mut Rig, entries: &[(u16, u8)]) -> Status {
    let octets: Vec<u8> = entries
        .iter()
        .flat_map(|(address, image_index)| {
            ReceiverEntry { address: Addr(*address), image_index: *image_index }.to_bytes()
        })
        .collect();
    rig.status(Message::ReceiversAdd(ReceiverSet::from_bytes(&octets).unwrap()))
}

fn fwid(version: Version) -> Fwid {
    Fwid::of_version(vendor::COMPANY_ID, version)
}

#[test]
fn receivers_are_listed_in_order_and_a_known_address_only_changes_its_image_index() {
    let mut rig = Rig::new(&[], 0);
    assert_eq!(add(&mut rig, &[(0x0101, 0), (0x0102, 0)]), Status::Success);
    assert_eq!(add(&mut rig, &[(0x0101, 3), (0x0103, 0)]), Status::Success);
    let answer = rig.ask(Message::ReceiversGet { first_index: 0, limit: 2 });
    let Ok(AccessMessage::Distribution(Message::ReceiversList(list))) = AccessMessage::decode(&answer) else {
        panic!("no list")
    };
    let listed: Vec<_> = list.iter().map(|r| (r.address.0, r.image_index, r.phase)).collect();
    assert_eq!((list.count, list.first_index), (3, 0));
    assert_eq!(listed, [(0x0101, 3, RetrievedPhase::Unknown), (0x0102, 0, RetrievedPhase::Unknown)]);
    let answer = rig.ask(Message::ReceiversGet { first_index: 3, limit: 9 });
    assert_eq!(&answer[2..], [3, 0, 3, 0], "past the end: an empty list that states the count");
    assert_eq!(rig.status(Message::ReceiversDeleteAll), Status::Success);
    assert_eq!(rig.gateway.receivers().count(), 0);
}

#[test]
fn a_full_list_keeps_the_entries_before_the_one_too_many() {
    let mut rig = Rig::new(&[], 0);
    rig.settings.limits.max_receivers = 2;
    rig.gateway = mk_gateway::Gateway::new(rig.now, rig.settings.clone());
    assert_eq!(add(&mut rig, &[(0x0101, 0), (0x0102, 0), (0x0103, 0)]), Status::InsufficientResources);
    assert_eq!(rig.gateway.receivers().map(|r| r.address.0).collect::<Vec<_>>(), [0x0101, 0x0102]);
    assert_eq!(add(&mut rig, &[(0x0102, 1)]), Status::Success, "a known address takes no room");
}

#[rstest]
#[case::well(START, Status::Success)]
#[case::other_key(Start { app_key_index: 1, ..START }, Status::InvalidAppKeyIndex)]
#[case::no_such_image(Start { image_index: 1, ..START }, Status::FirmwareNotFound)]
#[case::pull(Start { mode: TransferMode::Pull, ..START }, Status::InternalError)]
#[case::label(Start { multicast: Multicast::Label([1; 16]), ..START }, Status::InternalError)]
#[case::to_each(Start { multicast: Multicast::Address(Addr::UNASSIGNED), ..START }, Status::Success)]
fn start_is_refused_for(#[case] start: Start, #[case] status: Status) {
    let mut rig = Rig::ready(&[Good, Good], 0);
    assert_eq!(rig.status(Message::Start(start)), status);
    let phase = if status == Status::Success { Phase::TransferActive } else { Phase::Idle };
    assert_eq!(rig.phase(), phase);
}

#[test]
fn start_without_receivers_or_image_says_which_is_missing_and_the_receivers_come_first() {
    let mut rig = Rig::new(&[Good], 0);
    assert_eq!(rig.status(Message::Start(START)), Status::ReceiversListEmpty);
    rig.add_receivers();
    assert_eq!(rig.status(Message::Start(START)), Status::FirmwareNotFound);
}

#[rstest]
#[case::at_the_limit(3, Status::Success)]
#[case::one_more(4, Status::InsufficientResources)]
fn a_group_has_a_limit_that_thread_receivers_do_not_count_for(#[case] mesh: usize, #[case] status: Status) {
    let mut rig = Rig::new(&vec![Good; mesh], 2);
    rig.settings.limits.group_max = 3;
    rig.gateway = mk_gateway::Gateway::new(rig.now, rig.settings.clone());
    rig.upload();
    rig.add_receivers();
    assert_eq!(rig.status(Message::Start(START)), status);
}

#[test]
fn the_limit_of_the_product_is_a_hundred_mesh_receivers() {
    for (mesh, status) in [(100, Status::Success), (101, Status::InsufficientResources)] {
        assert_eq!(Rig::ready(&vec![Good; mesh], 0).status(Message::Start(START)), status);
    }
}

#[test]
fn what_each_request_gets_in_each_phase() {
    let other = Start { ttl: 6, ..START };
    let verify_only = Start { policy: UpdatePolicy::VerifyOnly, ..START };
    let mut rig = Rig::ready(&[Good, Good], 0);
    // Idle
    assert_eq!(rig.status(Message::Suspend), Status::WrongPhase);
    assert_eq!(rig.status(Message::Apply), Status::WrongPhase);
    assert_eq!((rig.status(Message::Cancel), rig.phase()), (Status::Success, Phase::Idle));
    assert_eq!(rig.ask(Message::Get)[2..], [0, 0]);
    // Transfer Active
    assert_eq!(rig.status(Message::Start(verify_only)), Status::Success);
    assert_eq!(rig.ask(Message::Get)[2..], [0, 1, 0xDE, 0xC0, 0, 0, 5, 0, 0, 1, 0, 0]);
    assert_eq!(rig.status(Message::Start(verify_only)), Status::Success);
    assert_eq!(rig.status(Message::Start(other)), Status::BusyWithDistribution);
    assert_eq!(rig.status(Message::Apply), Status::WrongPhase);
    assert_eq!(add(&mut rig, &[(0x0109, 0)]), Status::BusyWithDistribution);
    assert_eq!(rig.status(Message::ReceiversDeleteAll), Status::BusyWithDistribution);
    assert_eq!(rig.status(Message::FirmwareDelete(fwid(NEW).as_ref())), Status::BusyWithDistribution);
    assert_eq!(rig.status(Message::FirmwareDeleteAll), Status::BusyWithDistribution);
    // Suspended
    assert_eq!((rig.status(Message::Suspend), rig.phase()), (Status::Success, Phase::TransferSuspended));
    assert_eq!(rig.status(Message::Start(other)), Status::BusyWithDistribution);
    assert_eq!(rig.status(Message::Apply), Status::WrongPhase);
    assert_eq!((rig.status(Message::Start(verify_only)), rig.phase()), (Status::Success, Phase::TransferActive));
    // Transfer Success
    assert!(rig.run_until(Duration::from_secs(600), |rig| rig.phase() == Phase::TransferSuccess));
    assert_eq!(rig.status(Message::Suspend), Status::WrongPhase);
    assert_eq!(rig.status(Message::Start(verify_only)), Status::Success);
    assert_eq!(rig.status(Message::Start(other)), Status::BusyWithDistribution);
    // Applying
    assert_eq!((rig.status(Message::Apply), rig.phase()), (Status::Success, Phase::ApplyingUpdate));
    assert_eq!(rig.status(Message::Apply), Status::Success);
    assert_eq!(rig.status(Message::Start(verify_only)), Status::Success);
    assert_eq!(rig.status(Message::Suspend), Status::WrongPhase);
    // Completed
    assert_eq!(rig.run_to_end(), Phase::Completed);
    assert_eq!(rig.status(Message::Apply), Status::Success);
    assert_eq!((rig.status(Message::Start(verify_only)), rig.phase()), (Status::Success, Phase::Completed));
    assert_eq!(rig.status(Message::FirmwareDeleteAll), Status::BusyWithDistribution, "not Idle yet");
    assert_eq!((rig.status(Message::Cancel), rig.phase()), (Status::Success, Phase::Idle));
    // Idle again
    assert_eq!(rig.status(Message::FirmwareDeleteAll), Status::Success);
}

#[test]
fn completed_takes_other_parameters_or_other_receivers_as_a_new_distribution() {
    let mut rig = Rig::ready(&[Good], 0);
    rig.ask(Message::Start(START));
    assert_eq!(rig.run_to_end(), Phase::Completed);
    assert_eq!(add(&mut rig, &[(0x0101, 0)]), Status::Success);
    assert_eq!((rig.status(Message::Start(START)), rig.phase()), (Status::Success, Phase::TransferActive));
}

#[test]
fn stored_images_are_found_by_id_and_by_index() {
    let mut rig = Rig::ready(&[], 0);
    let found = rig.ask(Message::FirmwareGet(fwid(NEW).as_ref()));
    assert_eq!(found[2..7], [0, 1, 0, 0, 0]);
    assert_eq!(rig.ask(Message::FirmwareGetByIndex(0)), found);
    let unknown = rig.ask(Message::FirmwareGet(fwid(rig::OLD).as_ref()));
    assert_eq!(unknown[2..7], [4, 1, 0, 0xFF, 0xFF]);
    assert_eq!(rig.ask(Message::FirmwareGetByIndex(1))[2..], [4, 1, 0, 0xFF, 0xFF]);
    assert_eq!(
        rig.status(Message::FirmwareDelete(fwid(rig::OLD).as_ref())),
        Status::Success,
        "unknown: as good as deleted"
    );
    assert_eq!(rig.ask(Message::FirmwareDelete(fwid(NEW).as_ref()))[2..7], [0, 0, 0, 0xFF, 0xFF]);
    assert_eq!(rig.ask(Message::UploadGet)[2..], [0, UploadPhase::Idle as u8]);
}

#[test]
fn capabilities_state_the_room_that_is_left() {
    let mut rig = Rig::ready(&[], 0);
    let answer = rig.ask(Message::CapabilitiesGet);
    let Ok(AccessMessage::Distribution(Message::CapabilitiesStatus(c))) = AccessMessage::decode(&answer) else {
        panic!("no capabilities")
    };
    assert_eq!((c.max_receivers, c.max_images, c.oob_schemes), (1_000, 4, None));
    assert_eq!(c.remaining_space, c.max_upload_space - rig.image.len() as u32);
}

/// Upload Start for an image of `size` octets under another version than the one the rig stores.
fn upload_start(rig: &mut Rig, blob_id: u64, version: Version, metadata: &[u8], size: u32) -> Vec<u8> {
    let fwid = fwid(version);
    let start = UploadStart { ttl: 0, timeout_base: 0, blob_id: BlobId(blob_id), size, metadata, fwid: fwid.as_ref() };
    rig.ask(Message::UploadStart(start)).to_vec()
}

#[test]
fn an_upload_is_answered_by_the_table() {
    let mut rig = Rig::ready(&[], 0);
    let metadata = rig.metadata().to_bytes();
    let size = rig.image.len() as u32;
    let next = Version::new(2, 0, 0);
    let (success, busy, full) = (0, Status::BusyWithUpload as u8, Status::InsufficientResources as u8);
    // Stored already: done at once. The same id over other metadata is another image and must not pass for it.
    assert_eq!(upload_start(&mut rig, 5, NEW, &metadata, size)[2..5], [success, 3, 100]);
    assert_eq!(upload_start(&mut rig, 5, NEW, &metadata[..4], size)[2], Status::InternalError as u8);
    // No room.
    assert_eq!(upload_start(&mut rig, 6, next, &[], (1 << 20) + 1)[2], full);
    assert_eq!(upload_start(&mut rig, 6, next, &[], 0)[2], full);
    // Running: the same is well, another is not.
    assert_eq!(upload_start(&mut rig, 6, next, &[1], 64)[2..5], [success, 1, 0]);
    assert_eq!(upload_start(&mut rig, 6, next, &[1], 64)[2..5], [success, 1, 0]);
    assert_eq!(upload_start(&mut rig, 7, next, &[1], 64)[2], busy);
    // Cancelled: nothing is left of it.
    assert_eq!(rig.ask(Message::UploadCancel)[2..], [success, 0]);
    assert_eq!(upload_start(&mut rig, 7, next, &[1], 64)[2..5], [success, 1, 0]);
    assert_eq!(rig.ask(Message::FirmwareGetByIndex(1))[2], Status::FirmwareNotFound as u8);
}

#[test]
fn an_upload_that_the_initiator_forgets_ends_in_transfer_error_and_can_be_taken_up() {
    let mut rig = Rig::new(&[], 0);
    upload_start(&mut rig, 6, NEW, &[1], 64);
    rig.run_for(Duration::from_secs(120));
    assert_eq!(rig.ask(Message::UploadGet)[3], UploadPhase::TransferError as u8);
    assert_eq!(upload_start(&mut rig, 6, NEW, &[1], 64)[2..4], [0, UploadPhase::TransferActive as u8]);
}

#[test]
fn a_blob_of_another_size_than_announced_is_refused() {
    let mut rig = Rig::new(&[], 0);
    upload_start(&mut rig, 6, NEW, &[1], 64);
    let start =
        TransferStart { mode: TransferMode::Push, blob_id: BlobId(6), size: 65, block_size_log: 6, client_mtu: 380 };
    let message = AccessMessage::Blob(blob::Message::TransferStart(start)).to_buffer().unwrap();
    let before = rig.ask(Message::UploadGet);
    rig.order(&Order::Access(message));
    assert_eq!(rig.ask(Message::UploadGet), before);
}

#[test]
fn an_upload_out_of_band_is_refused() {
    let mut rig = Rig::new(&[], 0);
    let id = fwid(NEW);
    let start = UploadOobStart { uri: b"https://example.com/fw", fwid: id.as_ref() };
    assert_eq!(rig.status(Message::UploadOobStart(start)), Status::UriNotSupported);
}

#[test]
fn a_restarted_gateway_has_images_receivers_throttle_and_window_and_no_upload() {
    let mut rig = Rig::ready(&[Good, Good], 1);
    rig.order(&Order::Throttle { permille: 250 });
    rig.order(&Order::Window { open: false });
    upload_start(&mut rig, 6, Version::new(2, 0, 0), &[1], 64);
    let before: Vec<_> = rig.gateway.receivers().collect();
    rig.log.clear();
    rig.restart();
    assert!(rig.log.is_empty(), "what is restored is not written again");
    assert_eq!(rig.gateway.receivers().collect::<Vec<_>>(), before);
    assert_eq!((rig.gateway.throttle().permille(), rig.gateway.throttle().is_open()), (250, false));
    assert_eq!(rig.ask(Message::FirmwareGetByIndex(0))[2], 0);
    assert_eq!(rig.ask(Message::UploadGet)[2..], [0, 0]);
    rig.ask(Message::FirmwareDeleteAll);
    rig.restart();
    assert_eq!(rig.ask(Message::FirmwareGetByIndex(0))[2], Status::FirmwareNotFound as u8);
}

#[test]
fn every_prefix_of_the_state_records_is_a_gateway_that_works() {
    let mut rig = Rig::ready(&[Good, RefusesMetadata, FailsVerification], 1);
    rig.ask(Message::Start(START));
    assert_eq!(rig.run_to_end(), Phase::Completed);
    let records = rig.disk.clone();
    assert!(records.iter().all(GatewayRecord::is_state));
    for cut in 0..=records.len() {
        let restored = mk_gateway::Gateway::restore(rig.now, rig.settings.clone(), &records[..cut]);
        assert!(restored.receivers().count() <= 4);
    }
}
