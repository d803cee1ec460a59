//! What is refused, with the octet that is wrong; each row beside the limit that a row of the table keeps.

use super::*;
use crate::blob::{self, BlobId};
use crate::{distribution as fd, update as fu};
use rstest::rstest;

use DecodeErrorKind::{ChunkList, ListLength, Prohibited, ReservedBits, TrailingOctets, Truncated, UnknownOpcode};

const fn prohibited(value: u32) -> DecodeErrorKind {
    Prohibited { value }
}

#[rstest]
#[case::empty("", 0, Truncated)]
#[case::half_an_opcode("83", 1, Truncated)]
#[case::opcode_reserved("7f", 0, UnknownOpcode)]
#[case::no_such_message("8328", 0, UnknownOpcode)]
#[case::half_a_vendor_opcode("c0ff", 2, Truncated)]
#[case::another_company("c05900 07000000", 0, UnknownOpcode)]
#[case::no_such_vendor_message("c7ffff", 0, UnknownOpcode)]
#[case::get_with_octets("830000", 2, TrailingOctets)]
#[case::start_reserved_bits("8301 41 0807060504030201 00000800 0c 8001", 2, ReservedBits)]
#[case::start_without_mode("8301 00 0807060504030201 00000800 0c 8001", 2, prohibited(0))]
#[case::start_mode_3("8301 c0 0807060504030201 00000800 0c 8001", 2, prohibited(0xC0))]
#[case::start_too_short("8301 40 0807060504030201 00000800 0c 80", 17, Truncated)]
#[case::start_too_long("8301 40 0807060504030201 00000800 0c 8001 00", 18, TrailingOctets)]
#[case::status_unknown("8303 0b 00", 2, prohibited(0x0B))]
#[case::status_reserved_bits("8303 10 00", 2, ReservedBits)]
#[case::status_phase_unknown("8303 00 06", 3, prohibited(6))]
#[case::status_inactive_with_id("8303 00 00 0807060504030201", 4, TrailingOctets)]
#[case::status_waiting_without_id("8303 00 01", 4, Truncated)]
#[case::status_bitmap_missing("8303 40 02 0807060504030201 64000000 0c 7c01", 19, ListLength)]
#[case::status_bitmap_too_long("8303 40 02 0807060504030201 64000000 0c 7c01 0100", 19, ListLength)]
#[case::status_bit_past_the_last_block("8303 40 02 0807060504030201 64000000 0c 7c01 03", 19, ListLength)]
#[case::status_block_size_too_small("8303 40 02 0807060504030201 64000000 05 7c01 01", 19, ListLength)]
#[case::status_block_size_too_large("8303 40 02 0807060504030201 64000000 21 7c01 01", 19, ListLength)]
#[case::chunk_without_data("66 0500", 3, Truncated)]
#[case::chunk_without_number("66 05", 2, Truncated)]
#[case::block_status_all_with_list("67 00 0100 7901 00", 6, TrailingOctets)]
#[case::block_status_none_with_list("67 40 0100 7901 00", 6, TrailingOctets)]
#[case::block_status_empty_bitmap("67 80 0100 7901", 6, Truncated)]
#[case::list_code_cut_short("67 c0 0100 7901 01 c2", 7, ChunkList)]
#[case::list_not_ascending("67 c0 0100 7901 02 01", 7, ChunkList)]
#[case::list_number_twice("68 0505", 2, ChunkList)]
#[case::list_overlong_code("68 c181", 1, ChunkList)]
#[case::capabilities_mode_bit_2("8307 08 0c 0001 7901 00000800 7c01 04", 14, ReservedBits)]
#[case::information_fwid_too_short("8309 01 00 01 59 00", 4, prohibited(1))]
#[case::information_uri_cut_short("8309 01 00 02 5900 05 6162", 10, Truncated)]
#[case::metadata_status_effect_4("830b 20 00", 2, prohibited(4))]
#[case::update_start_ttl("830d 80 0a00 0807060504030201 00", 2, prohibited(0x80))]
#[case::update_start_too_short("830d 02 0a00 0807060504030201", 13, Truncated)]
#[case::update_status_reserved_bits("8310 08", 2, ReservedBits)]
#[case::update_status_phase_7("8310 e0", 2, prohibited(7))]
#[case::update_status_idle_with_more("8310 00 00", 3, TrailingOctets)]
#[case::update_status_active_alone("8310 40", 3, Truncated)]
#[case::update_status_effect_reserved("8310 40 02 20 0a00 0807060504030201 00", 4, ReservedBits)]
#[case::update_status_effect_4("8310 40 02 04 0a00 0807060504030201 00", 4, prohibited(4))]
#[case::receivers_add_nobody("8311", 2, Truncated)]
#[case::receivers_add_half("8311 0100", 4, Truncated)]
#[case::receivers_add_unassigned("8311 000000", 2, prohibited(0))]
#[case::receivers_add_group("8311 010000 00c000", 5, prohibited(0xC000))]
#[case::receivers_get_no_limit("8314 0100 0000", 4, prohibited(0))]
#[case::receivers_list_half("8315 00000000 01", 7, Truncated)]
#[case::receivers_list_phase_11("8315 00000000 0180 0500 00", 6, prohibited(0x0005_8001))]
#[case::receivers_list_progress_51("8315 00000000 010000cc 00", 6, prohibited(0xCC00_0001))]
#[case::capabilities_oob_2("8317 8000 0400 00000900 00001000 01000000 02", 18, prohibited(2))]
#[case::capabilities_schemes_without_oob("8317 8000 0400 00000900 00001000 01000000 00 17", 19, TrailingOctets)]
#[case::start_app_key_13_bits("8319 0010 07 dcfe 05 0300 01c0", 3, ReservedBits)]
#[case::start_policy_reserved("8319 0200 07 dcfe 0d 0300 01c0", 7, ReservedBits)]
#[case::start_no_mode("8319 0200 07 dcfe 04 0300 01c0", 7, prohibited(0))]
#[case::start_to_unicast("8319 0200 07 dcfe 05 0300 0100", 10, prohibited(1))]
#[case::start_to_virtual_without_label("8319 0200 07 dcfe 05 0300 0180", 10, prohibited(0x8001))]
#[case::start_label_cut_short("8319 0200 07 dcfe 05 0300 00000000000000", 12, TrailingOctets)]
#[case::status_14("831d 0e 00", 2, prohibited(14))]
#[case::phase_8("831d 00 08", 3, prohibited(8))]
#[case::upload_metadata_past_the_end("831f 05 0100 0807060504030201 64000000 05 ee 5900", 21, Truncated)]
#[case::upload_without_fwid("831f 05 0100 0807060504030201 64000000 01 ee", 19, Truncated)]
#[case::upload_percent_101("8322 00 01 65 5900", 4, prohibited(101))]
#[case::upload_progress_without_fwid("8322 00 01 64", 5, Truncated)]
#[case::firmware_get_half_a_company("8323 59", 2, Truncated)]
#[case::report_unknown_outcome("c3ffff 0100000000000000 0300 09000000 06 03 0101000000000000 00", 17, prohibited(6))]
#[case::report_unknown_reason("c3ffff 0100000000000000 0300 09000000 05 ff 0101000000000000 00", 18, prohibited(0xFF))]
#[case::report_unknown_phase("c3ffff 0100000000000000 0300 09000000 05 03 0101000000000000 07", 27, prohibited(7))]
#[case::health_reserved_flag("c4ffff 02 ba 3c000000 02", 9, ReservedBits)]
#[case::light_too_long("c6ffff ff 03 00", 5, TrailingOctets)]
fn refused(#[case] octets: &str, #[case] offset: usize, #[case] kind: DecodeErrorKind) {
    let error = AccessMessage::decode(&hex(octets)).unwrap_err();
    assert_eq!((error.offset, error.kind), (offset, kind));
}

#[test]
fn errors_name_message_octet_and_cause() {
    let error = AccessMessage::decode(&hex("830d 80 0a00 0807060504030201 00")).unwrap_err();
    assert_eq!(std::format!("{error}"), "message 0x830d, octet 2: prohibited value 0x80");
}

#[rstest]
#[case::longest(255, true)]
#[case::one_too_long(256, false)]
fn metadata_has_at_most_255_octets(#[case] len: usize, #[case] accepted: bool) {
    let metadata = &std::vec![0; len];
    let start = fu::Start { ttl: 2, timeout_base: 0, blob_id: BlobId(1), image_index: 0, metadata };
    let encoded = AccessMessage::Update(fu::Message::Start(start)).to_buffer();
    assert_eq!(encoded.is_ok(), accepted);
    let mut octets = hex("830d 02 0a00 0807060504030201 00");
    octets.extend(metadata);
    assert_eq!(AccessMessage::decode(&octets).is_ok(), accepted);
}

#[rstest]
#[case::longest(106, true)]
#[case::one_too_long(107, false)]
fn firmware_ids_have_at_most_108_octets(#[case] len: usize, #[case] accepted: bool) {
    let version = &std::vec![0; len];
    let fwid = crate::FwidRef { company_id: 0x0059, version };
    assert_eq!(AccessMessage::Distribution(fd::Message::FirmwareGet(fwid)).to_buffer().is_ok(), accepted);
    let mut octets = hex("8323 5900");
    octets.extend(version);
    assert_eq!(AccessMessage::decode(&octets).is_ok(), accepted);
}

/// What no receiver would accept is not sent either.
#[rstest]
#[case(blob::Message::Chunk(blob::Chunk { number: 0, data: &[] }).into())]
#[case(blob::Message::PartialBlockReport(blob::MissingChunks::All).into())]
#[case(blob::Message::PartialBlockReport(blob::MissingChunks::Encoded(&[2, 1])).into())]
#[case(blob::Message::TransferStatus(blob::TransferStatus {
    status: blob::Status::Success, mode: blob::TransferMode::Push, phase: blob::Phase::WaitingForBlock,
    blob_id: Some(BlobId(1)), transfer: None,
}).into())]
#[case(fu::Message::Start(fu::Start { ttl: 0x80, timeout_base: 0, blob_id: BlobId(1), image_index: 0, metadata: &[] }).into())]
#[case(fu::Message::Status(fu::UpdateStatus { status: fu::Status::Success, phase: fu::Phase::TransferActive, update: None }).into())]
#[case(fd::Message::ReceiversGet { first_index: 0, limit: 0 }.into())]
#[case(fd::Message::Status(fd::DistributionStatus { status: fd::Status::Success, phase: fd::Phase::Failed, distribution: None }).into())]
#[case(fd::Message::FirmwareStatus(fd::FirmwareStatus {
    status: fd::Status::Success, entry_count: 0, image_index: Some(0xFFFF), fwid: None,
}).into())]
fn not_sent(#[case] message: AccessMessage<'_>) {
    assert!(matches!(message.to_buffer(), Err(EncodeError::Prohibited { .. })), "{message:?}");
}
