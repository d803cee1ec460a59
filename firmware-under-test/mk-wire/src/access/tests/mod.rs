//! Every message as octets: the check vectors of section 13, a table with one row per message, and what is refused.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod refused;
mod table;

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    assert!(digits.len().is_multiple_of(2));
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// First octets of every message there is, and of some there are not.
fn opcodes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0x00u8..=0x28).prop_map(|low| std::vec![0x83, low]),
        2 => (0x65u8..=0x69).prop_map(|opcode| std::vec![opcode]),
        2 => (0xC0u8..=0xC7).prop_map(|opcode| std::vec![opcode, 0xFF, 0xFF]),
        1 => (0x18u8..=0x20).prop_map(|low| std::vec![0x80, low]),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// What is accepted has exactly one form: encoding it gives the same octets. So nothing is lost, and no two octet
    /// strings mean the same message.
    #[test]
    fn any_octets_are_refused_with_a_place_or_read_and_written_back(
        opcode in opcodes(), body in proptest::collection::vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..40)
    ) {
        let octets = [opcode, body].concat();
        match AccessMessage::decode(&octets) {
            Ok(message) => {
                let written = message.to_buffer().unwrap();
                prop_assert_eq!(written.as_slice(), octets);
            }
            Err(error) => prop_assert!(error.offset <= octets.len()),
        }
    }

    #[test]
    fn long_messages_are_read_up_to_the_limit_and_not_past_it(
        opcode in opcodes(), len in 360usize..400, fill in prop_oneof![Just(0u8), Just(0x41u8)]
    ) {
        let mut octets = opcode;
        octets.resize(len, fill);
        if let Ok(message) = AccessMessage::decode(&octets) {
            prop_assert!(len <= MAX_ACCESS);
            let written = message.to_buffer().unwrap();
            prop_assert_eq!(written.as_slice(), octets);
        }
    }
}

#[test]
fn a_buffer_too_small_is_an_error_that_says_what_is_needed() {
    let message = AccessMessage::Blob(blob::Message::TransferCancel(blob::BlobId(1)));
    assert_eq!(message.encode(&mut [0; 10]), Ok(10));
    assert_eq!(message.encode(&mut [0; 9]), Err(EncodeError::BufferTooSmall { needed: 10 }));
    assert_eq!(message.encode(&mut []), Err(EncodeError::BufferTooSmall { needed: 10 }));
}

#[test]
fn a_chunk_may_fill_an_access_message_but_no_more() {
    let chunk = |data| AccessMessage::Blob(blob::Message::Chunk(blob::Chunk { number: 0, data }));
    let data = [0; 378];
    assert_eq!(chunk(&data[..377]).to_buffer().unwrap().len(), MAX_ACCESS);
    assert_eq!(chunk(&data).to_buffer(), Err(EncodeError::TooLong { len: 381 }));
    let mut octets = std::vec![0x66, 0, 0];
    octets.extend(data);
    let error = DecodeError { opcode: 0x66, offset: 380, kind: DecodeErrorKind::TooLong };
    assert_eq!(AccessMessage::decode(&octets), Err(error));
}
