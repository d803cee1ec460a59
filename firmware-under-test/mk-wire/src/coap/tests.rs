#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
use super::timing::*;
use super::*;
use crate::time::Duration;
use proptest::prelude::*;
use rstest::rstest;
use std::vec::Vec;

fn token() -> Token {
    Token::new(&[0xa1, 0xb2]).unwrap()
}

fn encode(build: impl FnOnce(Encoder<'_>) -> Encoder<'_>, kind: Kind, code: Code) -> Vec<u8> {
    let mut out = [0; MAX_DATAGRAM];
    let len = build(Encoder::new(&mut out, kind, code, 0x1234, token())).finish().unwrap();
    out[..len].to_vec()
}

#[test]
fn get_with_block2_gives_the_check_octets_of_section_14_4() {
    let block = Block::new(0, false, 2).unwrap();
    let octets = encode(|e| e.path("fw/mk1").block(option::BLOCK2, block), Kind::Confirmable, Code::GET);
    assert_eq!(octets, hex("42011234a1b2b26677036d6b31c102"));
    let message = Message::decode(&octets).unwrap();
    assert_eq!(
        (message.kind, message.code, message.message_id, message.token),
        (Kind::Confirmable, Code::GET, 0x1234, token())
    );
    assert!(message.options.path_is("fw/mk1"));
    assert_eq!(message.options.block2(), Ok(Some(block)));
    assert!(message.payload.is_empty());
}

#[test]
fn content_with_etag_block_and_size_gives_the_check_octets_of_section_14_4() {
    let etag = [1, 2, 3, 4, 5, 6, 7, 8];
    let block = Block::new(100, true, 2).unwrap();
    let octets = encode(
        |e| e.option(option::ETAG, &etag).block(option::BLOCK2, block).uint(option::SIZE2, 524_288).payload(&[0; 4]),
        Kind::Acknowledgement,
        Code::CONTENT,
    );
    assert_eq!(octets, hex("62451234a1b2480102030405060708d206064a53080000ff00000000"));
    let message = Message::decode(&octets).unwrap();
    assert_eq!(message.options.etag(), Ok(Some(etag.as_slice())));
    assert_eq!(message.options.size2(), Ok(Some(524_288)));
    assert_eq!(message.options.block2().unwrap().map(Block::offset), Some(6400));
    assert_eq!(message.payload, [0; 4]);
}

#[test]
fn observe_registration_gives_the_check_octets_of_section_14_4() {
    let octets = encode(|e| e.uint(option::OBSERVE, 0).path("fw/mk1"), Kind::Confirmable, Code::GET);
    assert_eq!(octets, hex("42011234a1b260526677036d6b31"));
    assert_eq!(Message::decode(&octets).unwrap().options.observe(), Ok(Some(0)));
}

#[rstest]
#[case::empty("", 0, DecodeErrorKind::Truncated)]
#[case::short_header("400112", 3, DecodeErrorKind::Truncated)]
#[case::version_0("00011234", 0, DecodeErrorKind::Version { version: 0 })]
#[case::version_2("80011234", 0, DecodeErrorKind::Version { version: 2 })]
#[case::token_of_9("49011234000000000000000000", 0, DecodeErrorKind::TokenLength { len: 9 })]
#[case::token_cut_short("42011234a1", 5, DecodeErrorKind::Truncated)]
#[case::empty_message_with_token("41001234aa", 4, DecodeErrorKind::NotEmpty)]
#[case::empty_message_with_payload("40001234ff00", 4, DecodeErrorKind::NotEmpty)]
#[case::delta_15("40011234f0", 4, DecodeErrorKind::ReservedNibble)]
#[case::length_15("401112340f", 4, DecodeErrorKind::ReservedNibble)]
#[case::delta_byte_missing("40011234d0", 5, DecodeErrorKind::Truncated)]
#[case::value_missing("40011234b266", 6, DecodeErrorKind::Truncated)]
#[case::number_past_65535("40011234e0fef210", 7, DecodeErrorKind::OptionNumber)]
#[case::marker_without_payload("40011234ff", 4, DecodeErrorKind::EmptyPayload)]
fn a_malformed_datagram_is_refused_with_its_place(
    #[case] octets: &str,
    #[case] offset: usize,
    #[case] kind: DecodeErrorKind,
) {
    assert_eq!(Message::decode(&hex(octets)), Err(DecodeError { offset, kind }));
}

#[rstest]
#[case::token_of_8("48011234 0102030405060708")]
#[case::empty_message("60001234")]
#[case::number_65535("40011234 e0fef2")]
fn the_largest_that_is_allowed_is_accepted(#[case] octets: &str) {
    assert!(Message::decode(&hex(octets)).is_ok());
}

#[rstest]
#[case::etag_empty(option::ETAG, 0, false)]
#[case::etag_of_1(option::ETAG, 1, true)]
#[case::etag_of_8(option::ETAG, 8, true)]
#[case::etag_of_9(option::ETAG, 9, false)]
#[case::observe_of_3(option::OBSERVE, 3, true)]
#[case::observe_of_4(option::OBSERVE, 4, false)]
#[case::size2_of_4(option::SIZE2, 4, true)]
#[case::size2_of_5(option::SIZE2, 5, false)]
#[case::block2_of_3(option::BLOCK2, 3, true)]
#[case::block2_of_4(option::BLOCK2, 4, false)]
fn option_values_have_their_lengths(#[case] number: u16, #[case] len: usize, #[case] accepted: bool) {
    let octets = encode(|e| e.option(number, &std::vec![0; len]), Kind::Confirmable, Code::GET);
    let options = Message::decode(&octets).unwrap().options;
    let result = match number {
        option::ETAG => options.etag().map(|v| v.is_some()),
        option::OBSERVE => options.observe().map(|v| v.is_some()),
        option::SIZE2 => options.size2().map(|v| v.is_some()),
        _ => options.block2().map(|v| v.is_some()),
    };
    assert_eq!(result, if accepted { Ok(true) } else { Err(OptionError { number }) });
}

#[test]
fn an_option_that_may_appear_once_is_refused_twice() {
    let octets = encode(|e| e.uint(option::SIZE2, 1).uint(option::SIZE2, 2), Kind::Confirmable, Code::GET);
    assert_eq!(Message::decode(&octets).unwrap().options.size2(), Err(OptionError { number: option::SIZE2 }));
}

#[test]
fn an_unknown_critical_option_is_found_and_an_elective_one_ignored() {
    let known = [option::URI_PATH, option::BLOCK2];
    let octets = encode(|e| e.option(option::ETAG, &[1]).path("a"), Kind::Confirmable, Code::GET);
    assert_eq!(Message::decode(&octets).unwrap().options.unknown_critical(&known), None);
    let octets = encode(|e| e.option(65_001, &[]), Kind::Confirmable, Code::GET);
    assert_eq!(Message::decode(&octets).unwrap().options.unknown_critical(&known), Some(65_001));
}

#[test]
fn options_out_of_order_and_small_buffers_are_errors() {
    let mut out = [0; 16];
    fn fresh(out: &mut [u8]) -> Encoder<'_> {
        Encoder::new(out, Kind::Confirmable, Code::GET, 1, Token::default())
    }
    let order = fresh(&mut out).uint(option::SIZE2, 1).option(option::ETAG, &[1]).finish();
    assert_eq!(order, Err(EncodeError::Order { number: option::ETAG }));
    let behind = fresh(&mut out).payload(&[1]).uint(option::SIZE2, 1).finish();
    assert_eq!(behind, Err(EncodeError::Order { number: option::SIZE2 }));
    assert_eq!(fresh(&mut out).payload(&[0; 11]).finish(), Ok(16));
    assert_eq!(fresh(&mut out).payload(&[0; 12]).finish(), Err(EncodeError::BufferTooSmall));
}

#[rstest]
#[case(0, 16)]
#[case(2, 64)]
#[case(4, 256)]
#[case(6, 1024)]
fn a_size_exponent_means_a_size(#[case] szx: u8, #[case] size: u32) {
    let block = Block::new(3, true, szx).unwrap();
    assert_eq!((block.size(), block.offset()), (size, 3 * size));
    assert_eq!(Block::at_offset(3 * size, szx), Block::new(3, false, szx));
}

#[test]
fn block_values_end_at_size_1024_and_20_bits() {
    assert_eq!(Block::new(0, false, 7), Err(BlockError::Size { szx: 7 }));
    assert_eq!(Block::from_uint(0x0F), Err(BlockError::Size { szx: 7 }));
    assert!(Block::new(0xF_FFFF, true, 6).is_ok());
    assert_eq!(Block::new(0x10_0000, true, 6), Err(BlockError::Number { num: 0x10_0000 }));
}

#[test]
fn a_smaller_size_keeps_the_place_and_a_larger_is_refused() {
    let block = Block::new(5, true, 6).unwrap();
    let smaller = block.in_smaller(2).unwrap();
    assert_eq!((smaller.num(), smaller.offset()), (80, block.offset()));
    assert_eq!(smaller.in_smaller(6), Err(BlockError::Size { szx: 6 }));
    let last = Block::new(Block::MAX_NUM, false, 6).unwrap();
    assert!(matches!(last.in_smaller(5), Err(BlockError::Number { .. })));
}

#[rstest]
#[case::first_shortest(0, 0, Some(2_000_000))]
#[case::first_longest(0, u16::MAX, Some(3_000_000))]
#[case::last_shortest(4, 0, Some(32_000_000))]
#[case::last_longest(4, u16::MAX, Some(48_000_000))]
#[case::given_up(5, 0, None)]
fn waits_double_from_two_to_three_seconds(#[case] sent: u8, #[case] random: u16, #[case] wait_us: Option<u64>) {
    assert_eq!(retransmit_wait(sent, random), wait_us.map(Duration::from_micros));
}

#[test]
fn the_longest_waits_add_up_to_the_span_and_wait_of_the_specification() {
    let waits: Vec<u64> = (0..=MAX_RETRANSMIT).map(|n| retransmit_wait(n, u16::MAX).unwrap().as_secs()).collect();
    assert_eq!(waits.iter().take(4).sum::<u64>(), MAX_TRANSMIT_SPAN.as_secs());
    assert_eq!(waits.iter().sum::<u64>(), MAX_TRANSMIT_WAIT.as_secs());
}

#[rstest]
#[case::next(5, 6, 0, true)]
#[case::same(5, 5, 0, false)]
#[case::older(6, 5, 0, false)]
#[case::just_under_half_ahead(0, (1 << 23) - 1, 0, true)]
#[case::half_ahead(0, 1 << 23, 0, false)]
#[case::half_behind(1 << 23, 0, 0, false)]
#[case::wrapped((1 << 23) + 1, 0, 0, true)]
#[case::older_at_128_s(6, 5, 128, false)]
#[case::older_after_129_s(6, 5, 129, true)]
fn a_notification_is_news_by_number_or_by_age(
    #[case] last: u32,
    #[case] new: u32,
    #[case] age_s: u64,
    #[case] news: bool,
) {
    assert_eq!(is_news(last, new, Duration::from_secs(age_s)), news);
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

proptest! {
    #[test]
    fn any_datagram_gives_a_message_or_an_error_inside_it(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
        match Message::decode(&octets) {
            Ok(message) => {
                let options = message.options;
                let _ = (options.etag(), options.observe(), options.block1(), options.block2(), options.size1());
                prop_assert!(options.iter().count() <= octets.len());
            }
            Err(error) => prop_assert!(error.offset <= octets.len()),
        }
    }

    #[test]
    fn what_was_written_is_read_back(
        id: u16, kind in 0u8..4, code in 1u8..,
        token in proptest::collection::vec(any::<u8>(), 0..=8),
        mut options in proptest::collection::vec((any::<u16>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..4),
        payload in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        options.sort();
        let mut out = [0; 2048];
        let (kind, token) = (Kind::from_u8(kind).unwrap(), Token::new(&token).unwrap());
        let encoder = Encoder::new(&mut out, kind, Code(code), id, token);
        let encoder = options.iter().fold(encoder, |e, (number, value)| e.option(*number, value));
        let len = encoder.payload(&payload).finish().unwrap();
        let message = Message::decode(&out[..len]).unwrap();
        prop_assert_eq!((message.kind, message.code, message.message_id, message.token), (kind, Code(code), id, token));
        prop_assert_eq!(message.payload, payload.as_slice());
        let read: Vec<_> = message.options.iter().map(|(n, v)| (n, v.to_vec())).collect();
        prop_assert_eq!(read, options);
    }
}
