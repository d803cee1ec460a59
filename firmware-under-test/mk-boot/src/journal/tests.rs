#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::vec::Vec;

use proptest::prelude::*;
use rstest::rstest;
use virtual_flash::{FaultMode, FlashArray, PageStore, PowerCut, PowerSupply, StuckBit, TearModel, Timing};

use super::*;
use crate::{
    geometry::{Geometry, by_name},
    hardware::{ConfigVersion, KeyStore, PublicKey},
};

/// A board of which only the internal flash is looked at.
struct Board {
    internal: FlashArray,
    external: FlashArray,
}

impl Board {
    fn new() -> Self {
        let store = PageStore::new(4096);
        let supply = PowerSupply::new();
        let internal = FlashArray::new("internal", geometry().internal_size(), &store, &supply, Timing::INSTANT);
        let external = FlashArray::new("external", 4096, &store, &supply, Timing::INSTANT);
        Self { internal, external }
    }

    fn load(&mut self) -> Option<Record> {
        Journal::of(self).load(self).unwrap()
    }

    fn append(&mut self, record: Record) -> Result<Record, FlashFault> {
        Journal::of(self).append(self, record)
    }

    fn cell(&self, number: u32) -> u32 {
        geometry().journal.start + number * RECORD_SIZE
    }
}

fn geometry() -> &'static Geometry {
    by_name("mk-node-s140").unwrap()
}

impl KeyStore for Board {
    fn key(&mut self) -> Option<PublicKey> {
        None
    }
}

impl ConfigVersion for Board {
    fn config_version(&mut self) -> Option<u16> {
        None
    }
}

impl Hardware for Board {
    type Internal = FlashArray;
    type External = FlashArray;

    fn geometry(&self) -> &'static Geometry {
        geometry()
    }

    fn internal(&mut self) -> &mut FlashArray {
        &mut self.internal
    }

    fn external(&mut self) -> &mut FlashArray {
        &mut self.external
    }

    fn feed_watchdog(&mut self) {}
}

fn record(request: u32) -> Record {
    Record {
        sequence: 0,
        phase: Phase::Pending,
        golden: Some(Slot::Zero),
        target: Slot::One,
        outcome: Outcome::None,
        reason: Reason::None,
        request,
    }
}

fn any_record() -> impl Strategy<Value = Record> {
    (
        any::<u32>(),
        0..Phase::ALL.len(),
        0..3_usize,
        0..2_usize,
        0..Outcome::ALL.len(),
        0..Reason::ALL.len(),
        0..1_u32 << 24,
    )
        .prop_map(|(sequence, phase, golden, target, outcome, reason, request)| Record {
            sequence,
            phase: Phase::ALL[phase],
            golden: [None, Some(Slot::Zero), Some(Slot::One)][golden],
            target: Slot::ALL[target],
            outcome: Outcome::ALL[outcome],
            reason: Reason::ALL[reason],
            request,
        })
}

proptest! {
    #[test]
    fn a_record_reads_back_as_written(record in any_record()) {
        prop_assert_eq!(Record::decode(&record.encode()), Some(record));
    }

    #[test]
    fn no_single_or_double_bit_flip_makes_another_record(record in any_record(), one in 0..128_usize, two in 0..128_usize) {
        let mut bytes = record.encode();
        bytes[one / 8] ^= 1 << (one % 8);
        if two != one {
            bytes[two / 8] ^= 1 << (two % 8);
        }
        prop_assert_eq!(Record::decode(&bytes), None);
    }

    #[test]
    fn sixteen_octets_are_a_record_or_none(bytes in any::<[u8; 16]>()) {
        if let Some(record) = Record::decode(&bytes) {
            prop_assert_eq!(record.encode(), bytes);
        }
    }
}

#[rstest]
#[case::blank([0xFF; 16])]
#[case::dead([0x00; 16])]
fn a_cell_of_one_kind_of_bit_is_no_record(#[case] bytes: [u8; 16]) {
    assert_eq!(Record::decode(&bytes), None);
}

#[test]
fn a_blank_journal_holds_no_record_and_the_first_one_has_number_one() {
    let mut board = Board::new();
    assert_eq!(board.load(), None);
    assert_eq!(board.append(record(7)).unwrap().sequence, 1);
    assert_eq!(board.load().unwrap().request, 7);
}

#[test]
fn the_newest_record_wins_over_many_turns_of_the_pages() {
    let mut board = Board::new();
    for request in 0..2000 {
        board.append(record(request)).unwrap();
        assert_eq!(board.load().unwrap().request, request);
    }
    assert_eq!(board.internal.violations(), 0);
}

#[test]
fn a_page_is_erased_once_per_512_records_and_both_wear_alike() {
    let mut board = Board::new();
    for request in 0..512 * 10 {
        board.append(record(request)).unwrap();
    }
    let wear = [0, 4096].map(|offset| board.internal.erase_count(geometry().journal.start + offset));
    // The first turn of each page finds it blank.
    assert_eq!(wear, [9, 9]);
}

#[rstest]
fn a_cut_in_any_word_of_a_record_leaves_the_state_before_or_after_and_the_journal_works_on(
    #[values(0, 1, 2, 3)] word: u64,
    #[values(0, 1, 2, 3, 4)] tear: usize,
    // In the middle of a page, in its last cell, and in the first cell of a page that has to be erased first.
    #[values(5, 255, 512)] records: u32,
) {
    let mut board = Board::new();
    for request in 0..records {
        board.append(record(request)).unwrap();
    }
    let supply = board.internal.supply().clone();
    let erase = u64::from(records == 512);
    supply.arm(PowerCut { at_operation: supply.operations() + erase + word, tear: TearModel::all(9)[tear] });
    assert!(board.append(record(records)).is_err());
    assert!(supply.fired().is_some(), "no proof that the cut fired");
    supply.power_on();
    let found = board.load().unwrap().request;
    assert!(found == records || found == records - 1, "{found}");
    assert_eq!(board.append(record(9999)).unwrap().request, 9999);
    assert_eq!(board.load().unwrap().request, 9999);
    assert_eq!(board.internal.violations(), 0);
}

#[rstest]
fn a_torn_erase_never_loses_the_newest_record(#[values(0, 1, 2, 3, 4)] tear: usize) {
    let mut board = Board::new();
    for request in 0..512 {
        board.append(record(request)).unwrap();
    }
    let supply = board.internal.supply().clone();
    supply.arm(PowerCut { at_operation: supply.operations(), tear: TearModel::all(4)[tear] });
    assert!(board.append(record(512)).is_err());
    assert!(supply.fired().is_some(), "no proof that the cut fired");
    supply.power_on();
    assert_eq!(board.load().unwrap().request, 511);
    board.append(record(512)).unwrap();
    assert_eq!(board.load().unwrap().request, 512);
}

#[test]
fn any_flipped_bit_leaves_the_newest_or_the_record_before_it() {
    let mut board = Board::new();
    for request in 0..4 {
        board.append(record(request)).unwrap();
    }
    for bit in 0..4 * RECORD_SIZE * 8 {
        let address = board.cell(0) + bit / 8;
        board.internal.flip_bit(address, (bit % 8) as u8).unwrap();
        let found = board.load().unwrap().request;
        let expected = if bit / 8 / RECORD_SIZE == 3 { 2 } else { 3 };
        assert_eq!(found, expected, "bit {bit}");
        board.internal.flip_bit(address, (bit % 8) as u8).unwrap();
    }
}

#[test]
fn a_cell_that_does_not_hold_what_was_written_is_passed_over() {
    let mut board = Board::new();
    board.append(record(1)).unwrap();
    let address = board.cell(1) + 9;
    board.internal.stick_bit(StuckBit { address, bit: 1, value: false }).unwrap();
    assert_eq!(board.append(record(2)).unwrap().request, 2);
    assert_eq!(board.load().unwrap().request, 2);
}

#[test]
fn a_page_that_takes_no_words_is_reported_after_a_bounded_number_of_tries() {
    let mut board = Board::new();
    board.append(record(1)).unwrap();
    board.internal.break_write(geometry().journal.start, Some(FaultMode::Silent));
    let before = board.internal.supply().operations();
    let fault = board.append(record(2)).unwrap_err();
    assert_eq!(fault.operation, FlashOperation::Write);
    assert_eq!(board.internal.supply().operations() - before, 4 * u64::from(MAX_APPEND_ATTEMPTS));
    assert_eq!(board.load().unwrap().request, 1);
}

#[test]
fn rubbish_in_both_pages_is_no_state_and_does_not_stop_the_first_record() {
    let mut board = Board::new();
    let rubbish: Vec<u8> = (0..8192_u32).map(|at| (at * 7 + 1) as u8).collect();
    board.internal.load(geometry().journal.start, &rubbish).unwrap();
    assert_eq!(board.load(), None);
    board.append(record(3)).unwrap();
    assert_eq!(board.load().unwrap().request, 3);
}
