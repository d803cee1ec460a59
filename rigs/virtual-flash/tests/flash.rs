//! The flash model against the physics it stands for.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use proptest::prelude::*;
use rstest::rstest;
use virtual_flash::{
    Activity, FaultMode, FlashArray, FlashError, PageStore, PowerCut, PowerSupply, StuckBit, TearModel, Timing,
    Witness, WriteLimit,
};

const PAGE: usize = 256;
type Flash = FlashArray<PAGE, 1>;

fn flash() -> Flash {
    FlashArray::new("internal", 4 * PAGE as u32, &PageStore::new(PAGE), &PowerSupply::new(), Timing::INSTANT)
}

fn octets(flash: &Flash) -> Vec<u8> {
    let mut all = vec![0; flash.size() as usize];
    flash.peek(0, &mut all).unwrap();
    all
}

/// What a call of the property test does.
#[derive(Clone, Debug)]
enum Call {
    Write { word: usize, words: Vec<[u8; 4]> },
    Erase { page: usize },
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => (0..4 * PAGE / 4, prop::collection::vec(any::<[u8; 4]>(), 1..80))
            .prop_map(|(word, words)| Call::Write { word, words }),
        1 => (0..4_usize).prop_map(|page| Call::Erase { page }),
    ]
}

proptest! {
    /// Against the plainest model there is: an array of octets that writing clears bits of and erasing sets.
    #[test]
    fn any_sequence_of_calls_leaves_what_plain_nor_flash_would_hold(calls in prop::collection::vec(call(), 1..40)) {
        let mut flash = flash();
        flash.set_write_limit(WriteLimit::Count(2));
        let mut plain = vec![0xFF_u8; 4 * PAGE];
        for call in calls {
            match call {
                Call::Write { word, words } => {
                    let room = plain.len() / 4 - word;
                    let bytes: Vec<u8> = words.into_iter().take(room).flatten().collect();
                    flash.write(word as u32 * 4, &bytes).unwrap();
                    for (cell, octet) in plain[word * 4..].iter_mut().zip(&bytes) {
                        *cell &= octet;
                    }
                }
                Call::Erase { page } => {
                    flash.erase((page * PAGE) as u32, ((page + 1) * PAGE) as u32).unwrap();
                    plain[page * PAGE..(page + 1) * PAGE].fill(0xFF);
                }
            }
            prop_assert_eq!(octets(&flash), plain.clone());
        }
    }

    /// Content keys are equal exactly when octets are, whatever way they came there.
    #[test]
    fn equal_content_has_an_equal_key_however_it_was_written(bytes in prop::collection::vec(any::<u8>(), PAGE), cut in 1..PAGE / 4) {
        let store = PageStore::new(PAGE);
        let supply = PowerSupply::new();
        let mut whole: Flash = FlashArray::new("a", PAGE as u32, &store, &supply, Timing::INSTANT);
        let mut pieces: Flash = FlashArray::new("b", PAGE as u32, &store, &supply, Timing::INSTANT);
        whole.write(0, &bytes).unwrap();
        pieces.write(cut as u32 * 4, &bytes[cut * 4..]).unwrap();
        pieces.write(0, &bytes[..cut * 4]).unwrap();
        prop_assert_eq!(whole.content_key(0, PAGE as u32), pieces.content_key(0, PAGE as u32));
        pieces.flip_bit(cut as u32, 0).unwrap();
        prop_assert_ne!(whole.content_key(0, PAGE as u32), pieces.content_key(0, PAGE as u32));
    }

    #[test]
    fn a_torn_word_lies_between_what_was_there_and_what_was_to_be(
        before in any::<[u8; 4]>(), wanted in any::<[u8; 4]>(), seed in any::<u64>(), tear in 0..5_usize
    ) {
        let mut flash = flash();
        flash.write(8, &before).unwrap();
        let supply = flash.supply().clone();
        supply.arm(PowerCut { at_operation: supply.operations(), tear: TearModel::all(seed)[tear] });
        prop_assert_eq!(flash.write(8, &wanted), Err(FlashError::PowerLost));
        let Some(Witness::Word { before: seen, after }) = supply.fired().map(|fired| fired.witness) else {
            return Err(TestCaseError::fail("no proof"));
        };
        prop_assert_eq!(seen, before);
        for ((before, wanted), after) in before.iter().zip(&wanted).zip(&after) {
            prop_assert_eq!(after & !before, 0, "a bit was set");
            prop_assert_eq!(before & wanted & !after, 0, "a bit was cleared that was not to be");
        }
        prop_assert_eq!(&octets(&flash)[8..12], &after[..]);
    }
}

#[rstest]
#[case::at_the_end(1020, 4, Ok(()))]
#[case::beyond_the_end(1024, 4, Err(NorFlashErrorKind::OutOfBounds))]
#[case::over_the_end(1020, 8, Err(NorFlashErrorKind::OutOfBounds))]
#[case::at_the_end_of_addresses(u32::MAX - 3, 4, Err(NorFlashErrorKind::OutOfBounds))]
#[case::odd_address(2, 4, Err(NorFlashErrorKind::NotAligned))]
#[case::odd_length(4, 3, Err(NorFlashErrorKind::NotAligned))]
fn a_write_stays_inside_and_on_words(
    #[case] address: u32,
    #[case] length: usize,
    #[case] expected: Result<(), NorFlashErrorKind>,
) {
    let mut flash = flash();
    assert_eq!(NorFlash::write(&mut flash, address, &vec![0; length]).map_err(|error| error.kind()), expected);
}

#[rstest]
#[case(0, 256, Ok(()))]
#[case(128, 256, Err(NorFlashErrorKind::NotAligned))]
#[case(768, 1280, Err(NorFlashErrorKind::OutOfBounds))]
#[case(512, 256, Err(NorFlashErrorKind::OutOfBounds))]
fn an_erase_stays_inside_and_on_pages(
    #[case] from: u32,
    #[case] to: u32,
    #[case] expected: Result<(), NorFlashErrorKind>,
) {
    assert_eq!(NorFlash::erase(&mut flash(), from, to).map_err(|error| error.kind()), expected);
}

#[test]
fn a_part_that_reads_words_refuses_to_read_octets() {
    let mut flash: FlashArray<PAGE, 4> =
        FlashArray::new("external", 1024, &PageStore::new(PAGE), &PowerSupply::new(), Timing::INSTANT);
    let mut word = [0; 4];
    assert!(ReadNorFlash::read(&mut flash, 4, &mut word).is_ok());
    assert!(ReadNorFlash::read(&mut flash, 2, &mut word).is_err());
    assert!(ReadNorFlash::read(&mut flash, 4, &mut word[..3]).is_err());
}

#[test]
fn a_word_takes_two_writes_and_refuses_the_third_until_it_is_erased() {
    let mut flash = flash();
    flash.write(4, &[0xF0; 4]).unwrap();
    flash.write(4, &[0x0F; 4]).unwrap();
    assert_eq!(flash.write(4, &[0; 4]), Err(FlashError::TooManyWrites { address: 4, writes: 2 }));
    assert_eq!(flash.violations(), 1);
    flash.erase(0, PAGE as u32).unwrap();
    assert_eq!(flash.write(4, &[0; 4]), Ok(()));
}

#[test]
fn the_write_limit_also_holds_for_pages_written_whole() {
    let mut flash = flash();
    flash.write(0, &[0xFF; PAGE]).unwrap();
    flash.write(0, &[0xFE; PAGE]).unwrap();
    assert!(matches!(flash.write(0, &[0xFC; PAGE]), Err(FlashError::TooManyWrites { address: 0, .. })));
}

#[rstest]
#[case(TearModel::NotDone, |page: &[u8]| page.iter().all(|octet| *octet == 0))]
#[case(TearModel::DoneThenDark, |page: &[u8]| page.iter().all(|octet| *octet == 0xFF))]
#[case(TearModel::WordRandomBits(5), |page: &[u8]| page.iter().any(|octet| *octet != 0 && *octet != 0xFF))]
#[case(TearModel::HalfErasedPage, |page: &[u8]| page[..128].iter().all(|octet| *octet == 0xFF) && page[128..].iter().all(|octet| *octet == 0))]
#[case(TearModel::PageErasedExceptFirstWord, |page: &[u8]| page[..4] == [0; 4] && page[4..].iter().all(|octet| *octet == 0xFF))]
fn a_torn_erase_leaves_what_its_model_says(#[case] tear: TearModel, #[case] holds: fn(&[u8]) -> bool) {
    let mut flash = flash();
    flash.write(256, &[0; PAGE]).unwrap();
    let supply = flash.supply().clone();
    supply.arm(PowerCut { at_operation: supply.operations(), tear });
    assert_eq!(flash.erase(256, 512), Err(FlashError::PowerLost));
    assert!(holds(&octets(&flash)[256..512]));
    let fired = supply.fired().unwrap();
    assert_eq!((fired.memory, fired.address, fired.tear), ("internal", 256, tear));
}

#[test]
fn after_a_cut_everything_on_that_supply_is_dark_until_the_power_is_back() {
    let store = PageStore::new(PAGE);
    let supply = PowerSupply::new();
    let mut one: Flash = FlashArray::new("one", 1024, &store, &supply, Timing::INSTANT);
    let mut two: Flash = FlashArray::new("two", 1024, &store, &supply, Timing::INSTANT);
    two.write(0, &[1; 8]).unwrap();
    supply.arm(PowerCut { at_operation: 4, tear: TearModel::NotDone });
    // Operations are counted over both: 0 and 1 were on the other array.
    assert_eq!(one.write(0, &[2; 16]), Err(FlashError::PowerLost));
    assert_eq!(octets(&one)[..12], [2, 2, 2, 2, 2, 2, 2, 2, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(two.read(0, &mut [0; 4]), Err(FlashError::PowerLost));
    assert_eq!(two.erase(0, 256), Err(FlashError::PowerLost));
    assert_eq!(supply.fired().unwrap().operation, 4);
    supply.power_on();
    assert_eq!(one.write(8, &[3; 8]), Ok(()));
}

#[test]
fn a_cut_that_lies_behind_the_run_never_fires_and_says_so() {
    let mut flash = flash();
    flash.supply().arm(PowerCut { at_operation: 2, tear: TearModel::NotDone });
    flash.write(0, &[0; 8]).unwrap();
    assert_eq!(flash.supply().fired(), None);
    assert!(!flash.supply().is_dark());
}

#[test]
fn a_clone_is_a_snapshot_that_later_writes_do_not_reach() {
    let mut flash = flash();
    flash.write(0, &[7; PAGE]).unwrap();
    flash.write(256, &[9; 8]).unwrap();
    let before = flash.clone();
    flash.write(264, &[1; 8]).unwrap();
    flash.erase(0, 256).unwrap();
    assert_eq!(octets(&before)[..8], [7; 8]);
    assert!(!flash.same_octets(&before, 0..1024));
    flash.restore_from(&before, 0..1024);
    assert!(flash.same_octets(&before, 0..1024));
    // Write counts come back as well: the page takes a second write of the same words, not a third.
    flash.write(256, &[9; 8]).unwrap();
    assert!(flash.write(256, &[9; 8]).is_err());
}

#[test]
fn a_thousand_copies_of_an_image_cost_the_memory_of_one() {
    let store = PageStore::new(4096);
    let supply = PowerSupply::new();
    let image: Vec<u8> = (0..64 * 4096_u32).map(|at| (at ^ (at >> 8) ^ (at >> 12)) as u8).collect();
    let mut nodes: Vec<FlashArray> =
        (0..1000).map(|_| FlashArray::new("internal", 64 * 4096, &store, &supply, Timing::INSTANT)).collect();
    for (number, node) in nodes.iter_mut().enumerate() {
        match number % 3 {
            0 => node.load(0, &image).unwrap(),
            1 => node.write(0, &image).unwrap(),
            // As chunks that arrive in another order.
            _ => {
                image.chunks(256).enumerate().rev().for_each(|(at, chunk)| node.write(at as u32 * 256, chunk).unwrap())
            }
        }
    }
    assert!(store.len() <= 65, "{} pages", store.len());
}

#[test]
fn activity_counts_what_firmware_did_and_not_what_a_programmer_loaded() {
    let mut flash = flash();
    flash.load(0, &[5; 700]).unwrap();
    assert_eq!(flash.activity(0..1024), Activity::default());
    flash.erase(256, 768).unwrap();
    flash.write(256, &[1; 16]).unwrap();
    assert_eq!(flash.activity(0..256), Activity::default());
    assert_eq!(flash.activity(256..512), Activity { words_written: 4, pages_erased: 1 });
    assert_eq!(flash.activity(0..1024), Activity { words_written: 4, pages_erased: 2 });
    assert_eq!(flash.total_activity(), flash.activity(0..1024));
    assert_eq!(flash.erase_count(300), 1);
}

#[rstest]
#[case::internal_words(Timing::from_us(85_000, 41, 4), 0, 16, 4 * 41_000)]
#[case::one_qspi_page(Timing::from_us(50_000, 2_000, 256), 0, 256, 2_000_000)]
#[case::over_a_qspi_page_border(Timing::from_us(50_000, 2_000, 256), 252, 8, 4_000_000)]
#[case::a_qspi_page_and_a_word(Timing::from_us(50_000, 2_000, 256), 0, 260, 4_000_000)]
fn writing_takes_as_long_as_the_part_takes(
    #[case] timing: Timing,
    #[case] address: u32,
    #[case] length: usize,
    #[case] busy_ns: u64,
) {
    let mut flash: Flash = FlashArray::new("timed", 1024, &PageStore::new(PAGE), &PowerSupply::new(), timing);
    flash.write(address, &vec![0; length]).unwrap();
    assert_eq!(flash.take_busy_ns(), busy_ns);
    assert_eq!(flash.take_busy_ns(), 0);
}

#[rstest]
#[case(FaultMode::Fails)]
#[case(FaultMode::Silent)]
fn a_page_that_does_not_erase_keeps_its_octets_and_says_so_or_not(#[case] mode: FaultMode) {
    let mut flash = flash();
    flash.write(0, &[3; 8]).unwrap();
    flash.break_erase(0, Some(mode));
    assert_eq!(flash.erase(0, 256).is_err(), mode == FaultMode::Fails);
    assert_eq!(octets(&flash)[..8], [3; 8]);
    flash.break_erase(0, None);
    flash.erase(0, 256).unwrap();
    assert_eq!(octets(&flash)[..8], [0xFF; 8]);
}

#[rstest]
fn a_stuck_cell_reads_the_same_after_write_erase_and_load(#[values(false, true)] value: bool) {
    let mut flash = flash();
    flash.stick_bit(StuckBit { address: 5, bit: 2, value }).unwrap();
    let bit = |flash: &Flash| octets(flash)[5] & 4 != 0;
    assert_eq!(bit(&flash), value);
    flash.write(4, &[if value { 0 } else { 0xFF }; 4]).unwrap();
    assert_eq!(bit(&flash), value);
    flash.erase(0, 256).unwrap();
    assert_eq!(bit(&flash), value);
    flash.load(0, &[if value { 0 } else { 0xFF }; 16]).unwrap();
    assert_eq!(bit(&flash), value);
}

#[test]
fn an_absent_part_answers_nothing_and_a_probe_still_sees_it() {
    let mut flash = flash();
    flash.load(0, &[6; 4]).unwrap();
    flash.set_absent(true);
    assert_eq!(flash.read(0, &mut [0; 4]), Err(FlashError::Absent));
    assert_eq!(flash.write(0, &[0; 4]), Err(FlashError::Absent));
    assert_eq!(octets(&flash)[..4], [6; 4]);
}

#[test]
fn a_rack_may_live_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&flash());
    is_send(&PageStore::new(PAGE));
    is_send(&PowerSupply::new());
}
