//! The product under power cuts.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use mk_boot::{Composition, geometry};
use power_sweep::{DoubleCuts, SMALL, Scene, SweepOptions, sweep};

#[test]
fn a_cut_at_any_operation_of_a_64_kib_update_leaves_a_whole_image_and_a_true_report() {
    let composition = Composition::product();
    let board = geometry::by_name("mk-node-s140").unwrap();
    let scene = Scene::<4096>::new(board, 64 * 1024, 1, &composition).unwrap();
    let started = std::time::Instant::now();
    let report = sweep(&scene, &composition, SweepOptions::default()).unwrap();
    println!("{report}{:.0} points/s", report.points() as f64 / started.elapsed().as_secs_f64());
    assert!(report.passed(), "{report}");
}

#[test]
fn any_two_cuts_of_a_small_update_leave_a_whole_image_and_a_true_report() {
    let composition = Composition::product();
    let scene = Scene::<64>::new(&SMALL, 256, 1, &composition).unwrap();
    let double = DoubleCuts::Window { stride: 1, window: 10_000, random: 0 };
    let started = std::time::Instant::now();
    let report = sweep(&scene, &composition, SweepOptions { double, ..SweepOptions::default() }).unwrap();
    println!("{report}{:.0} points/s", report.points() as f64 / started.elapsed().as_secs_f64());
    assert!(report.passed(), "{report}");
}
