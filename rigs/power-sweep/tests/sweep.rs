//! The product under power cuts.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use mk_boot::{Composition, geometry};
use power_sweep::{DoubleCuts, Journey, SMALL, Scene, SweepOptions, sweep};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn a_cut_at_any_operation_of_a_64_kib_update_leaves_a_whole_image_and_a_true_report() {
    let composition = Composition::product();
    let board = geometry::by_name("mk-node-s140").unwrap();
    let scene = Scene::<4096>::new(board, 64 * 1024, 1, &composition).unwrap();
    // Pairs at 64 KiB are a sample here; the whole set (every first cut) is a nightly job.
    let double = DoubleCuts::Window { stride: 997, window: 64, random: 16 };
    let report = sweep(&scene, &composition, SweepOptions { double, ..SweepOptions::default() }).unwrap();
    println!("{report}");
    assert!(report.passed(), "{report}");
    for journey in report.journeys.values() {
        assert_eq!(journey.single_fired, 5 * journey.operations as u64);
    }
    // Payload and trailer of 17 pages, word by word, and at least one word of every page differs.
    assert!(report.points() > 2 * 5 * 16 * 1024, "{report}");
}

#[test]
fn any_two_cuts_of_a_small_update_leave_a_whole_image_and_a_true_report() {
    let composition = Composition::product();
    let scene = Scene::<64>::new(&SMALL, 256, 1, &composition).unwrap();
    // Every pair of operations; the second tear takes turns. `DoubleCuts::All` tries all 25 pairs of tears.
    let double = DoubleCuts::Window { stride: 1, window: usize::MAX, random: 0 };
    let report = sweep(&scene, &composition, SweepOptions { double, ..SweepOptions::default() }).unwrap();
    println!("{report}");
    assert!(report.passed(), "{report}");
}

/// The small board has four records to a journal page: eight ages put every record of every journey on the turn of a page,
/// with an erase before it.
#[test]
fn cuts_on_the_turn_of_a_journal_page_are_no_worse() {
    let composition = Composition::product();
    let mut lengths: BTreeMap<Journey, BTreeSet<usize>> = BTreeMap::new();
    for records in 2..10 {
        let scene = Scene::<64>::new(&SMALL, 256, 1, &composition).unwrap().aged(records).unwrap();
        let double = DoubleCuts::Window { stride: 5, window: 12, random: 4 };
        let report = sweep(&scene, &composition, SweepOptions { double, ..SweepOptions::default() }).unwrap();
        assert!(report.passed(), "{report}");
        for (journey, found) in &report.journeys {
            lengths.entry(*journey).or_default().insert(found.operations);
        }
    }
    for (journey, lengths) in lengths {
        assert_eq!(lengths.len(), 2, "{journey:?} was swept with an erase of a journal page and without: {lengths:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let composition = Composition::product();
    let scene = Scene::<64>::new(&SMALL, 256, 1, &composition).unwrap();
    let double = DoubleCuts::Window { stride: 20, window: 3, random: 3 };
    let options = SweepOptions { double, ..SweepOptions::default() };
    let texts = [(); 2].map(|()| sweep(&scene, &composition, options).unwrap().to_string());
    assert_eq!(texts[0], texts[1]);
}
