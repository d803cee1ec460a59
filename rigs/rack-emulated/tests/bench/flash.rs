//! Flash operations and the power cut at any of them. The program writes 256 words behind one page erase, so operation 0 is
//! the erase and operation n the n-th word.

use crate::{
    Rule, programs,
    rig::{PATIENCE, Rig, wait},
};
use hil_model::{Power, Span, action::Tear};
use rack_emulated::{BenchEventKind, FiredCut, FlashOperation, NodeState};
use std::time::Duration;
use virtual_flash::{FlashArray, PageStore, PowerSupply, TearModel, Timing};

pub const RULES: &[Rule] = &[
    ("operations_are_counted_once_each", counted),
    ("power_goes_at_exactly_that_operation", exact),
    ("nothing_is_heard_that_was_said_behind_the_cut", console_is_cut),
    ("a_torn_operation_leaves_what_the_flash_model_leaves", tears),
    ("a_cut_can_be_taken_back_and_the_node_comes_back_by_itself", disarm_and_restore),
];

const PAGE: u32 = 0x1_0000;
const WORDS: u64 = 256;

fn cut(operation: u64, tear: Tear, restore_after: Span) -> Power {
    Power::CutAtOperation { operation, tear, restore_after }
}

/// Words at the start of the page: how many were written, and that each is what it should be.
fn written(rig: &Rig) -> u32 {
    let page = rig.bench.flash(0, PAGE..PAGE + 0x1000).unwrap();
    let words: Vec<u32> = page.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let count = words.iter().take_while(|word| **word != u32::MAX).count();
    for (index, word) in words.iter().enumerate() {
        assert_eq!(*word, if index < count { 0xA500_0000 | index as u32 } else { u32::MAX }, "word {index}");
    }
    count as u32
}

fn fired(rig: &Rig) -> FiredCut {
    rig.event("power cut", |kind| match kind {
        BenchEventKind::PowerCut(fired) => Some(fired),
        _ => None,
    })
}

/// A long time to be dark.
const LONG: Span = Span(3_600_000_000_000);

fn counted() {
    let rig = Rig::running(programs::WRITER, 1);
    wait("all words", || rig.bench.status(0).unwrap().flash.operations == WORDS + 1);
    let flash = rig.bench.status(0).unwrap().flash;
    assert_eq!((flash.words_written, flash.pages_erased, flash.refused), (WORDS, 1, 0));
    assert_eq!(written(&rig), 256);
    rig.bench.reset(0).unwrap();
    wait("all words again", || rig.bench.status(0).unwrap().flash.operations == 2 * (WORDS + 1));
}

fn exact() {
    let rig = Rig::dark(programs::WRITER, 1);
    for (operation, tear, words) in [
        (0, Tear::Done, 0),
        (1, Tear::NotDone, 0),
        (1, Tear::Done, 1),
        (2, Tear::NotDone, 1),
        (100, Tear::NotDone, 99),
        (100, Tear::Done, 100),
        (255, Tear::NotDone, 254),
        (256, Tear::NotDone, 255),
        (256, Tear::Done, 256),
    ] {
        let before = rig.bench.status(0).unwrap().flash.operations;
        rig.bench.power(0, cut(operation, tear, LONG)).unwrap();
        rig.bench.power(0, Power::On).unwrap();
        let fired = fired(&rig);
        let (address, kind) = match operation {
            0 => (PAGE, FlashOperation::Page),
            n => (PAGE + 4 * (n as u32 - 1), FlashOperation::Word { value: 0xA500_0000 | (n as u32 - 1) }),
        };
        assert_eq!(fired, FiredCut { operation: before + operation, address, kind, tear, ..fired });
        assert_eq!(written(&rig), words, "cut at {operation}, {tear:?}");
        let status = rig.bench.status(0).unwrap();
        assert_eq!(status.flash.operations, before + operation + 1);
        rig.state(0, NodeState::Off);
    }
    // One operation later than there is: nothing happens.
    rig.bench.power(0, cut(WORDS + 1, Tear::Done, LONG)).unwrap();
    rig.bench.power(0, Power::On).unwrap();
    wait("all words", || written(&rig) == 256);
    assert!(rig.bench.status(0).unwrap().cut_armed);
}

fn console_is_cut() {
    let rig = Rig::dark(programs::WRITER, 1);
    let mut console = rig.console(0);
    for (operation, dots) in [(1, 0), (2, 1), (50, 49), (256, 255)] {
        rig.bench.power(0, cut(operation, Tear::Done, LONG)).unwrap();
        rig.bench.power(0, Power::On).unwrap();
        fired(&rig);
        rig.state(0, NodeState::Off);
        let heard = console.hear("", Duration::from_millis(200));
        assert_eq!(heard, ".".repeat(dots), "the dot of a word comes behind it, cut at {operation}");
    }
}

/// The virtual rack's flash and this bench have to mean the same by a tear.
fn tears() {
    let models = [
        (Tear::NotDone, TearModel::NotDone),
        (Tear::Done, TearModel::DoneThenDark),
        (Tear::HalfErased, TearModel::HalfErasedPage),
        (Tear::FirstWordLeft, TearModel::PageErasedExceptFirstWord),
    ];
    let rig = Rig::dark(programs::WRITER, 1);
    let old: Vec<u8> = (0..0x1000u32).map(|n| (n * 7 % 251) as u8).collect();
    for (tear, model) in models {
        for operation in [0u64, 3] {
            rig.bench.load_flash(0, PAGE, &old).unwrap();
            rig.bench.power(0, cut(operation, tear, LONG)).unwrap();
            rig.bench.power(0, Power::On).unwrap();
            fired(&rig);
            rig.state(0, NodeState::Off);
            assert_eq!(
                rig.bench.flash(0, PAGE..PAGE + 0x1000).unwrap(),
                modelled(&old, operation, model),
                "{tear:?} {operation}"
            );
        }
    }
    // Random bits: never more than was to be cleared, and the same again from the same seed and count.
    rig.bench.power(0, cut(3, Tear::RandomBits, LONG)).unwrap();
    rig.bench.power(0, Power::On).unwrap();
    fired(&rig);
    rig.state(0, NodeState::Off);
    let page = rig.bench.flash(0, PAGE..PAGE + 16).unwrap();
    let torn = u32::from_le_bytes([page[8], page[9], page[10], page[11]]);
    assert_eq!(torn & 0xA500_0002, 0xA500_0002, "{torn:#x}");
    assert_eq!(page[12..], [0xFF; 4]);
}

fn modelled(old: &[u8], operation: u64, tear: TearModel) -> Vec<u8> {
    let store = PageStore::new(4096);
    let supply = PowerSupply::new();
    let mut array: FlashArray = FlashArray::new("n01", 0x1000, &store, &supply, Timing::from_us(0, 0, 4));
    array.load(0, old).unwrap();
    supply.arm(virtual_flash::PowerCut { at_operation: supply.operations() + operation, tear });
    let mut go = array.erase(0, 0x1000);
    let mut word = 0u32;
    while go.is_ok() && word < 256 {
        go = array.write(4 * word, &(0xA500_0000 | word).to_le_bytes());
        word += 1;
    }
    let mut page = vec![0; 0x1000];
    array.peek(0, &mut page).unwrap();
    page
}

fn disarm_and_restore() {
    let rig = Rig::dark(programs::WRITER, 1);
    rig.bench.power(0, cut(10, Tear::Done, LONG)).unwrap();
    rig.bench.disarm(0).unwrap();
    assert!(!rig.bench.status(0).unwrap().cut_armed);
    let mut console = rig.console(0);
    rig.bench.power(0, Power::On).unwrap();
    assert!(console.hear("!", PATIENCE).ends_with('!'), "it finished");
    assert_eq!(written(&rig), 256);
    rig.bench.power(0, cut(10, Tear::Done, Span::millis(30))).unwrap();
    rig.bench.reset(0).unwrap();
    fired(&rig);
    assert!(console.hear("!", PATIENCE).ends_with('!'), "it came back and finished");
    assert_eq!(written(&rig), 256);
}
