//! The check vectors of the protocol sheet's section 13: derivations, PDUs, beacons, and a recorded exchange of a real peer.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use common::{A1, D1, IV, N1, RECORDED, hex};
use mk_mesh::crypto::{AesKey, Mic, k1, k2, k3, k4, s1};
use mk_mesh::lower::{Lower, SegmentHeader, seq_auth};
use mk_mesh::upper::{self, Security};
use mk_mesh::{
    ApplicationKey, Assembly, AssemblyError, Beacon, BeaconError, DeviceKey, Header, KeyUse, NetworkError, NetworkKey,
    OwnDeviceKey, network,
};
use mk_wire::Addr;
use rstest::rstest;

fn key(text: &str) -> [u8; 16] {
    hex(text).try_into().unwrap()
}

// --- derivations -------------------------------------------------------------------------------------------------------

#[test]
fn s1_of_test() {
    assert_eq!(s1(b"test"), key("b73cefbd641ef2ea598c2b6efb62f79c"));
}

#[test]
fn k2_gives_the_network_credentials() {
    let credentials = k2(&key("f7a2a44f8e8a8029064f173ddc1e2b00"), &[0]);
    assert_eq!(credentials.nid, 0x7F);
    assert_eq!(credentials.encryption, key("9f589181a0f50de73c8070c7a6d27f46"));
    assert_eq!(credentials.privacy, key("4c715bd4a64b938f99b453351653124f"));
    let n1 = k2(&N1, &[0]);
    assert_eq!(n1.nid, 0x68);
    assert_eq!(n1.encryption, key("0953fa93e7caac9638f58820220a398e"));
    assert_eq!(n1.privacy, key("8b84eedec100067d670971dd2aa700cf"));
}

#[test]
fn k3_and_k4_give_the_public_identifiers() {
    assert_eq!(k3(&key("f7a2a44f8e8a8029064f173ddc1e2b00"))[..], hex("ff046958233db014"));
    assert_eq!(k4(&key("3216d1509884b533248541792b877f98")), 0x38);
    assert_eq!(k3(&N1)[..], hex("3ecaff672f673370"));
    assert_eq!(ApplicationKey::new(&A1).aid(), 0x26);
}

#[test]
fn k1_gives_the_beacon_key() {
    let want = key("5423d967da639a99cb02231a83f7d254");
    assert_eq!(k1(&N1, &s1(b"nkbk"), b"id128\x01"), want);
    assert_eq!(NetworkKey::new(&N1).beacon_key(), want);
}

// --- PDUs --------------------------------------------------------------------------------------------------------------

const fn header(control: bool, ttl: u8, seq: u32, src: u16, dst: u16) -> Header {
    Header { control, ttl, seq, src: Addr(src), dst: Addr(dst) }
}

#[rstest]
#[case::msg_1(
    IV,
    header(true, 0, 1, 0x1201, 0xFFFD),
    "034b50057e400000010000",
    "68eca487516765b5e5bfdacbaf6cb7fb6bff871f035444ce83a670df"
)]
#[case::msg_6_first(
    IV,
    header(false, 4, 0x3129AB, 0x0003, 0x1201),
    "8026ac01ee9dddfd2169326d23f3afdf",
    "68cab5c5348a230afba8c63d4e686364979deaf4fd40961145939cda0e"
)]
#[case::msg_6_second(
    IV,
    header(false, 4, 0x3129AC, 0x0003, 0x1201),
    "8026ac21cfdc18c52fdef772e0e17308",
    "681615b5dd4a846cae0c032bf0746f44f1b8cc8ce5edc57e55beed49c0"
)]
#[case::msg_7(
    IV,
    header(true, 0x0B, 0x014835, 0x2345, 0x0003),
    "00a6ac00000002",
    "68e476b5579c980d0d730f94d7f3509df987bb417eb7c05f"
)]
#[case::msg_16(
    IV,
    header(false, 0x0B, 6, 0x1201, 0x0003),
    "0089511bf1d1a81c11dcef",
    "68e80e5da5af0e6b9be7f5a642f2f98680e61c3a8b47f228"
)]
#[case::msg_22(IV - 1, header(false, 3, 0x07080B, 0x1234, 0xB529), "663871b904d431526316ca48a0",
    "e8d85caecef1e3ed31f3fdcf88a411135fea55df730b6b28e255")]
fn a_pdu_is_sealed_and_opened_as_the_standard_says(
    #[case] iv_index: u32,
    #[case] header: Header,
    #[case] transport: &str,
    #[case] pdu: &str,
) {
    let (network_key, transport, pdu) = (NetworkKey::new(&N1), hex(transport), hex(pdu));
    assert_eq!(network::seal(&network_key, iv_index, &header, &transport).unwrap()[..], pdu);
    let opened = network::open(&network_key, iv_index, &pdu).unwrap();
    assert_eq!((opened.header, opened.iv_index, &opened.transport[..]), (header, iv_index, &transport[..]));
    // A node that has moved on to the next index still reads it.
    assert_eq!(network::open(&network_key, iv_index + 1, &pdu).unwrap(), opened);
}

#[rstest]
#[case::another_nid("69eca487516765b5e5bfdacbaf6cb7fb6bff871f035444ce83a670df", N1, IV, NetworkError::ForeignNetwork)]
#[case::another_key("68eca487516765b5e5bfdacbaf6cb7fb6bff871f035444ce83a670df", A1, IV, NetworkError::ForeignNetwork)]
#[case::a_flipped_bit("68eca487516765b5e5bfdacbaf6cb7fb6bff871e035444ce83a670df", N1, IV, NetworkError::Mic)]
#[case::too_short("68eca487516765b5e5bfdacbaf", N1, IV, NetworkError::Length(13))]
#[case::too_long("68eca487516765b5e5bfdacbaf6cb7fb6bff871f035444ce83a670df0000", N1, IV, NetworkError::Length(30))]
fn what_is_not_ours_is_refused(
    #[case] pdu: &str,
    #[case] key: [u8; 16],
    #[case] iv_index: u32,
    #[case] want: NetworkError,
) {
    assert_eq!(network::open(&NetworkKey::new(&key), iv_index, &hex(pdu)), Err(want));
}

/// Under a wrong IV index the header comes out as noise: whatever it looks like, nothing is opened.
#[rstest]
#[case::two_ahead(IV + 2)]
#[case::one_behind(IV - 1)]
#[case::far_away(7)]
fn another_iv_index_opens_nothing(#[case] iv_index: u32) {
    let pdu = hex("68eca487516765b5e5bfdacbaf6cb7fb6bff871f035444ce83a670df");
    assert!(network::open(&NetworkKey::new(&N1), iv_index, &pdu).is_err());
}

#[test]
fn before_the_first_iv_index_there_is_none() {
    let pdu = hex("e8eca487516765b5e5bfdacbaf6cb7fb6bff871f035444ce83a670df");
    assert_eq!(network::open(&NetworkKey::new(&N1), 0, &pdu), Err(NetworkError::IvIndex));
}

// --- transport ---------------------------------------------------------------------------------------------------------

#[test]
fn msg_6_is_put_together_from_its_segments_in_any_order() {
    let network_key = NetworkKey::new(&N1);
    let pdus = [
        "68cab5c5348a230afba8c63d4e686364979deaf4fd40961145939cda0e",
        "681615b5dd4a846cae0c032bf0746f44f1b8cc8ce5edc57e55beed49c0",
    ];
    let mut opened = pdus.map(|pdu| network::open(&network_key, IV, &hex(pdu)).unwrap());
    for _ in 0..2 {
        let mut assembly = Assembly::begin(&opened[0]).unwrap();
        assert!(!assembly.is_complete());
        let (application, devices) = (ApplicationKey::new(&A1), OwnDeviceKey(DeviceKey::new(&D1)));
        assert_eq!(assembly.open(&application, &devices, Addr(3)), Err(AssemblyError::Incomplete));
        assert_eq!(assembly.push(&opened[0]), Ok(false));
        assert_eq!(assembly.push(&opened[1]), Ok(true));
        assert_eq!((assembly.first_seq(), assembly.newest_seq()), (0x3129AB, 0x3129AC));
        assert_eq!(assembly.security().nonce()[..], hex("02003129ab0003120112345678"));
        let access = assembly.open(&application, &devices, Addr(3)).unwrap();
        assert_eq!(access[..], hex("0056341263964771734fbd76e3b40519d1d94a48"));
        assert_eq!(assembly.access(), hex("0056341263964771734fbd76e3b40519d1d94a48"));
        opened.reverse();
    }
}

#[test]
fn msg_7_acknowledges_the_second_segment_on_behalf_of_another() {
    let transport = hex("00a6ac00000002");
    let ack = Lower::Ack { on_behalf: true, seq_zero: 0x09AB, segments: 2 };
    assert_eq!(Lower::parse(true, &transport), Ok(ack));
    assert_eq!(ack.write().unwrap()[..], transport);
}

#[test]
fn msg_16_is_an_unsegmented_message_under_the_device_key() {
    let transport = hex("0089511bf1d1a81c11dcef");
    let Ok(Lower::Access { aid: None, upper }) = Lower::parse(false, &transport) else { panic!("not unsegmented") };
    let security =
        Security { key: KeyUse::Device, mic: Mic::Short, seq: 6, src: Addr(0x1201), dst: Addr(3), iv_index: IV };
    let mut text = upper.to_vec();
    let length = upper::open(&AesKey::new(&D1), &security, None, &mut text).unwrap();
    assert_eq!(text[..length], hex("800300563412"));
}

#[test]
fn msg_22_goes_to_a_label() {
    let label = key("0073e7e4d8b9440faf8415df4c56c0e1");
    let security = Security {
        key: KeyUse::Application,
        mic: Mic::Short,
        seq: 0x07080B,
        src: Addr(0x1234),
        dst: Addr(0xB529),
        iv_index: IV - 1,
    };
    assert_eq!(security.nonce()[..], hex("010007080b1234b52912345677"));
    let mut text = [hex("d50a0048656c6c6f"), vec![0; 4]].concat();
    assert!(upper::seal(&AesKey::new(&A1), &security, Some(&label), &mut text));
    let want = hex("663871b904d431526316ca48a0");
    assert_eq!(Lower::Access { aid: Some(0x26), upper: &text }.write().unwrap()[..], want);
    assert!(upper::open(&AesKey::new(&A1), &security, None, &mut text.clone()).is_none());
    assert_eq!(upper::open(&AesKey::new(&A1), &security, Some(&label), &mut text), Some(8));
}

#[rstest]
#[case::same(0x3129AB, 0x09AB, Ok(0x3129AB))]
#[case::later_segment(0x3129B0, 0x09AB, Ok(0x3129AB))]
#[case::more_than_4096_later(0x3139AB, 0x09AB, Ok(0x3129AB))]
#[case::the_13_bits_wrap(0x002001, 0x1FFF, Ok(0x001FFF))]
#[case::nothing_lies_before_zero(0x000001, 0x0002, Err(()))]
fn the_first_sequence_number_is_found_from_13_bits(#[case] seq: u32, #[case] zero: u16, #[case] want: Result<u32, ()>) {
    assert_eq!(seq_auth(seq, zero).map_err(drop), want);
}

#[rstest]
#[case::segment_beyond_the_last(false, "80000020aabbccddeeff001122334455")]
#[case::short_inner_segment(false, "80000001aabbccddeeff0011223344")]
#[case::empty_last_segment(false, "80000000")]
#[case::unsegmented_without_text(false, "00aabbccdd")]
#[case::ack_with_reserved_bits(true, "00000100000001")]
#[case::ack_too_short(true, "000000000000")]
#[case::friend_poll(true, "0100")]
#[case::segmented_control(true, "8a00000000")]
#[case::nothing(true, "")]
fn other_transport_pdus_are_refused(#[case] control: bool, #[case] pdu: &str) {
    assert!(Lower::parse(control, &hex(pdu)).is_err());
}

#[test]
fn a_segment_is_written_as_it_is_read() {
    let transport = hex("8026ac21cfdc18c52fdef772e0e17308");
    let parsed = Lower::parse(false, &transport).unwrap();
    let Lower::Segment { header, data } = parsed else { panic!("not a segment") };
    let want = SegmentHeader { aid: None, long_mic: false, seq_zero: 0x09AB, segment: 1, last: 1 };
    assert_eq!((header, data), (want, &transport[4..]));
    assert_eq!(parsed.write().unwrap()[..], transport);
}

// --- beacons -----------------------------------------------------------------------------------------------------------

#[test]
fn a_beacon_is_sealed_and_opened_as_the_standard_says() {
    let (network_key, octets) = (NetworkKey::new(&N1), hex("01003ecaff672f673370123456788ea261582f364f6f"));
    let beacon = Beacon { key_refresh: false, updating: false, iv_index: IV };
    assert_eq!(beacon.seal(&network_key)[..], octets);
    assert_eq!(Beacon::open(&network_key, &octets), Ok(beacon));
    for (at, want) in [(0, BeaconError::Kind(0)), (2, BeaconError::ForeignNetwork), (13, BeaconError::Mic)] {
        let mut altered = octets.clone();
        altered[at] ^= 1;
        assert_eq!(Beacon::open(&network_key, &altered), Err(want));
    }
    assert_eq!(Beacon::open(&network_key, &octets[..21]), Err(BeaconError::Length(21)));
}

// --- a chunk to a group ------------------------------------------------------------------------------------------------

/// Chunk 5 with 29 octets of data, from 0001 to the group C000.
#[test]
fn a_chunk_takes_three_pdus_with_the_octets_of_the_sheet() {
    let network_key = NetworkKey::new(&N1);
    let want = [
        "68ba706ce6c36e3ec0390436e2602041c142b00136a6cb42c673242688",
        "68898a9234aa6a0722057f1ee8d38cf9b7b8606c8a225c7bc8ebed7119",
        "68ff0da404ff016c60821a4b887cd304e04f739f65c2862a97d9afa856",
    ];
    let mut assembly = Assembly::empty();
    for (n, pdu) in want.iter().enumerate() {
        let opened = network::open(&network_key, IV, &hex(pdu)).unwrap();
        assert_eq!(opened.header, header(false, 3, 0x100 + n as u32, 1, 0xC000));
        if n == 0 { assembly.restart(&opened).unwrap() } else { assert_eq!(assembly.push(&opened), Ok(true)) }
    }
    let mut chunk = vec![0x66, 5, 0];
    chunk.extend(0..29);
    let (application, devices) = (ApplicationKey::new(&A1), OwnDeviceKey(DeviceKey::new(&D1)));
    assert_eq!(assembly.open(&application, &devices, Addr(1)).unwrap(), chunk);
}

/// The interposer's way: another text under the same header and sequence numbers is a valid message.
#[test]
fn an_altered_chunk_is_a_valid_message_with_the_same_numbers() {
    let network_key = NetworkKey::new(&N1);
    let (application, devices) = (ApplicationKey::new(&A1), OwnDeviceKey(DeviceKey::new(&D1)));
    let pdus = [
        "68ba706ce6c36e3ec0390436e2602041c142b00136a6cb42c673242688",
        "68898a9234aa6a0722057f1ee8d38cf9b7b8606c8a225c7bc8ebed7119",
        "68ff0da404ff016c60821a4b887cd304e04f739f65c2862a97d9afa856",
    ];
    let opened = pdus.map(|pdu| network::open(&network_key, IV, &hex(pdu)).unwrap());
    let mut assembly = Assembly::begin(&opened[0]).unwrap();
    opened[1..].iter().for_each(|pdu| assert_eq!(assembly.push(pdu), Ok(true)));
    let mut access = assembly.open(&application, &devices, Addr(1)).unwrap().to_vec();
    // Unchanged, it is what it was.
    assembly.replace(&application, &devices, Addr(1), &access).unwrap();
    for (pdu, opened) in pdus.iter().zip(&opened) {
        assert_eq!(assembly.rewrite(&network_key, opened).unwrap()[..], hex(pdu));
    }
    access[20] ^= 0x80;
    assembly.replace(&application, &devices, Addr(1), &access).unwrap();
    let altered = opened.clone().map(|pdu| assembly.rewrite(&network_key, &pdu).unwrap());
    let again = altered.map(|pdu| network::open(&network_key, IV, &pdu).unwrap());
    assert!(again.iter().zip(&opened).all(|(a, b)| a.header == b.header && a.transport[..4] == b.transport[..4]));
    let mut received = Assembly::begin(&again[2]).unwrap();
    again[..2].iter().for_each(|pdu| assert_eq!(received.push(pdu), Ok(true)));
    assert_eq!(received.open(&application, &devices, Addr(1)).unwrap(), access);
    assert_eq!(assembly.replace(&application, &devices, Addr(1), &access[1..]), Err(AssemblyError::Length));
}

// --- the recorded exchange ---------------------------------------------------------------------------------------------

/// The first exchange with a real peer: Update Start in three segments with a 64-bit MIC, its acknowledgement, the answer.
#[test]
fn the_recorded_exchange_of_a_real_peer_is_understood() {
    let network_key = NetworkKey::new(&RECORDED.net_key);
    let application = ApplicationKey::new(&RECORDED.app_key);
    let devices = OwnDeviceKey(DeviceKey::new(&RECORDED.device_key));
    let opened: Vec<_> = RECORDED.pdus.iter().map(|pdu| network::open(&network_key, 0, &hex(pdu)).unwrap()).collect();
    let read = |range: core::ops::Range<usize>| {
        let mut assembly = Assembly::begin(&opened[range.start]).unwrap();
        opened[range.start + 1..range.end].iter().for_each(|pdu| assert_eq!(assembly.push(pdu), Ok(true)));
        let access = assembly.open(&application, &devices, Addr(1)).unwrap().to_vec();
        (assembly.src(), assembly.dst(), access)
    };
    let start = [hex("830d"), hex(RECORDED.update_start)].concat();
    assert_eq!(read(0..3), (Addr(1), Addr(0x101), start));
    let Ok(Lower::Ack { on_behalf: false, segments, .. }) = Lower::parse(true, &opened[3].transport) else {
        panic!("not an acknowledgement")
    };
    assert_eq!((segments, opened[3].header.src, opened[3].header.dst), (0b111, Addr(0x101), Addr(1)));
    let status = [hex("8310"), hex(RECORDED.update_status)].concat();
    assert_eq!(read(4..6), (Addr(0x101), Addr(1), status));
}
