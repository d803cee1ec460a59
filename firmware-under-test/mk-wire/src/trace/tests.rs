#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
use super::*;
use proptest::prelude::*;
use rstest::rstest;
use std::borrow::ToOwned;
use std::vec::Vec;

fn boot() -> TraceEvent {
    TraceEvent::Boot {
        boot_count: 7,
        outcome: BootOutcome::RolledBack,
        reason: Reason::NotConfirmedInTime,
        running: Version::new(1, 0, 0),
        about: Version::new(1, 1, 0),
    }
}

fn record(event: TraceEvent) -> TraceRecord {
    TraceRecord { sequence: 0, uptime_ms: 0x0102_0304, event }
}

fn read(decoder: &mut Decoder, octets: &[u8]) -> Vec<Result<TraceRecord, FrameError>> {
    octets.iter().filter_map(|octet| decoder.push(*octet)).collect()
}

#[rstest]
#[case(boot())]
#[case(TraceEvent::Phase { phase: update::Phase::VerificationFailed, reason: Reason::SignatureBad })]
#[case(TraceEvent::ConfigOpened { version: 3 })]
#[case(TraceEvent::Migration { from: 2, to: 3, stage: MigrationStage::Done })]
#[case(TraceEvent::Confirmation { boot_count: 8, stage: ConfirmationStage::Acknowledged })]
#[case(TraceEvent::Panic { line: 0, text: cut_text("") })]
#[case(TraceEvent::BootPass {
    verdict: BootVerdict::RolledBack,
    cause: ResetCause::Watchdog,
    reason: Reason::NotConfirmedInTime,
    signature_checks: 2,
    took_ms: 1_234,
})]
#[case(TraceEvent::ImageJump { trial: true, version: Version::new(1, 2, 3), config_version: 2, sha256: [7; 32] })]
#[case(TraceEvent::FlashFault)]
#[case(TraceEvent::Panic { line: 77, text: cut_text(&"x".repeat(200)) })]
fn every_record_survives_the_uart(#[case] event: TraceEvent) {
    let record = record(event);
    let frame = encode_frame(&record);
    assert_eq!((frame.first(), frame.last()), (Some(&0), Some(&0)));
    let mut decoder = Decoder::new();
    assert_eq!(read(&mut decoder, &frame), [Ok(record)]);
    assert_eq!(decoder.discarded(), 0);
}

#[test]
fn long_text_is_cut_between_characters() {
    let text = cut_text(&"ä".repeat(40));
    assert_eq!(text.len(), MAX_TEXT);
    assert_eq!(cut_text(&("x".to_owned() + &"ä".repeat(40))).len(), MAX_TEXT - 1);
}

#[test]
fn a_reader_that_starts_mid_frame_gets_the_next_record() {
    let frame = encode_frame(&record(boot()));
    let mut decoder = Decoder::new();
    let mut stream = frame[5..].to_vec();
    stream.extend(b"panic text \xFF\xFE\n");
    stream.extend(&frame);
    let results = read(&mut decoder, &stream);
    assert_eq!(results.iter().filter(|r| r.is_err()).count(), 2);
    assert_eq!(results.last(), Some(&Ok(record(boot()))));
    assert_eq!(decoder.discarded(), (frame.len() - 5 - 1 + 14) as u64);
}

#[test]
fn endless_garbage_without_a_zero_is_counted_and_survived() {
    let mut decoder = Decoder::new();
    let mut stream = std::vec![0x55; 100_000];
    stream.extend(encode_frame(&record(boot())));
    assert_eq!(read(&mut decoder, &stream), [Err(FrameError::TooLong { octets: 100_000 }), Ok(record(boot()))]);
    assert_eq!(decoder.discarded(), 100_000);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let frame = encode_frame(&record(boot()));
    for bit in 8..(frame.len() - 1) * 8 {
        let mut bad = frame.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&mut Decoder::new(), &bad).iter().all(Result::is_err), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn any_octets_give_records_or_errors_and_a_good_record_behind_them(
        octets in proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(0)], 0..400)
    ) {
        let mut decoder = Decoder::new();
        read(&mut decoder, &octets);
        let results = read(&mut decoder, &encode_frame(&record(boot())));
        prop_assert_eq!(results.last(), Some(&Ok(record(boot()))));
    }

    #[test]
    fn any_record_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..120)) {
        if let Some(record) = TraceRecord::decode(&octets) {
            let encoded = record.encode();
            prop_assert_eq!(encoded.as_slice(), octets);
        }
    }
}
