//! The power goes in any word write and page erase of the records, in any way a flash can be left: no sequence number is
//! ever on the air twice, and the stack always starts again.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use common::N1;
use common::air::{TestStack, devices, settings};
use mk_mesh::{
    Destination, FlashError, MeshFlash, MeshSettings, NetworkKey, Progress, Record, Stamp, Storage, network,
};
use mk_wire::Addr;
use mk_wire::time::{Duration, Instant};
use rstest::rstest;
use std::collections::BTreeSet;
use virtual_flash::{FlashArray, PageStore, PowerCut, PowerSupply, TearModel, Timing};

const PAGE: u32 = 4096;
const START: u32 = PAGE;
const LENGTH: u32 = 2 * PAGE;
/// Records that a page takes.
const RECORDS: u32 = PAGE / 16 - 1;

struct Board {
    flash: FlashArray,
    supply: PowerSupply,
}

impl Board {
    fn new() -> Self {
        let supply = PowerSupply::new();
        let store = PageStore::new(PAGE as usize);
        Board { flash: FlashArray::new("internal", 4 * PAGE, &store, &supply, Timing::INSTANT), supply }
    }

    fn storage(&mut self) -> MeshFlash<&mut FlashArray> {
        MeshFlash::new(&mut self.flash, START, LENGTH).unwrap()
    }

    /// Writes records until only `left` fit the page.
    fn wear(&mut self, left: u32) {
        let mut storage = self.storage();
        let reserved = |n| Record::Progress(Progress { iv_index: 5, updating: false, hours: 0, reserved: n });
        (0..RECORDS - left).for_each(|n| storage.save(&reserved(n)).unwrap());
    }
}

/// One life: start, then send until the power goes or `messages` are out. The sequence numbers that were on the air, and
/// whether the power held.
fn live(board: &mut Board, messages: usize, used: &mut BTreeSet<u32>) -> bool {
    let network_key = NetworkKey::new(&N1);
    let settings = MeshSettings { sequence_block: 6, ..settings(1) };
    let mut storage = board.storage();
    let mut now = Instant::from_ticks(1_000_000);
    let Ok(mut stack) = TestStack::start(now, &settings, devices(), &mut storage) else { return false };
    for _ in 0..messages {
        let pacing = mk_mesh::Pacing::Data { spacing: Duration::from_millis(10) };
        let to = Destination { pacing, ..Destination::application(Addr(0xC000)) };
        stack.send(now, to, &[0xC1; 5]).unwrap();
        now += Duration::from_millis(10);
        let kept = stack.persist(now, &mut storage);
        while let Some(bearer) = stack.poll_pdu(now) {
            let seq = network::open(&network_key, 5, &bearer.octets).unwrap().header.seq;
            assert!(used.insert(seq), "number {seq} was on the air twice");
        }
        if kept.is_err() {
            return false;
        }
    }
    true
}

#[rstest]
fn no_number_is_used_twice_whatever_operation_the_power_goes_in(#[values(300, 6, 2, 0)] left: u32) {
    let mut counted = Board::new();
    if left < RECORDS {
        counted.wear(left);
    }
    let before = counted.supply.operations();
    assert!(live(&mut counted, 24, &mut BTreeSet::new()));
    let operations = counted.supply.operations() - before;
    assert!(operations >= 20, "{operations}");
    let mut fired = 0;
    for operation in 0..operations {
        for tear in TearModel::all(operation) {
            let mut board = Board::new();
            if left < RECORDS {
                board.wear(left);
            }
            let mut used = BTreeSet::new();
            // Twice in a row at the same distance: the second cut hits what the first one left.
            for _ in 0..2 {
                let at_operation = board.supply.operations() + operation;
                board.supply.arm(PowerCut { at_operation, tear });
                live(&mut board, 24, &mut used);
                fired += usize::from(board.supply.take_fired().is_some());
                board.supply.disarm();
                board.supply.power_on();
            }
            let quiet = used.len();
            assert!(live(&mut board, 24, &mut used), "does not start again after {tear:?} in operation {operation}");
            assert_eq!(used.len(), quiet + 24);
        }
    }
    assert!(fired as u64 >= operations * 5, "{fired} cuts fired");
}

#[test]
fn pages_take_turns_and_nothing_that_is_of_use_is_lost() {
    let mut board = Board::new();
    let accepted =
        |n: u16| Record::Accepted { source: Addr(1 + n % 20), stamp: Stamp { iv_index: 5, seq: u32::from(n) } };
    let progress = Record::Progress(Progress { iv_index: 9, updating: true, hours: 48, reserved: 77 });
    let mut storage = board.storage();
    storage.save(&progress).unwrap();
    (0..2_000).for_each(|n| storage.save(&accepted(n)).unwrap());
    let mut loaded = vec![];
    board.storage().load(&mut |record| loaded.push(record)).unwrap();
    assert_eq!(loaded.len(), 21);
    assert!(loaded.contains(&progress));
    assert!((1_980..2_000).all(|n| loaded.contains(&accepted(n))));
    let erases = |page| board.flash.erase_count(START + page * PAGE);
    assert!((3..6).contains(&erases(0)) && (3..6).contains(&erases(1)), "{} {}", erases(0), erases(1));
    assert_eq!(board.flash.erase_count(0), 0);
}

#[rstest]
#[case::one_page(START, PAGE)]
#[case::not_on_a_page(START + 4, LENGTH)]
#[case::beyond_the_end(3 * PAGE, LENGTH)]
#[case::nothing(START, 0)]
fn an_area_that_does_not_suit_is_refused(#[case] start: u32, #[case] length: u32) {
    let mut board = Board::new();
    assert!(matches!(MeshFlash::new(&mut board.flash, start, length), Err(FlashError::Geometry)));
}
