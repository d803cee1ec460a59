//! Points per second of the power-cut sweep at 64 KiB (protocol sheet "Bootloader", section 7: at least 7,000).

use divan::{Bencher, counter::ItemsCount};
use mk_boot::{Composition, geometry};
use power_sweep::{Scene, SweepOptions, sweep};

fn main() {
    divan::main();
}

/// Every 50th operation of all four journeys, five tears each.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn single_cuts_at_64_kib(bencher: Bencher<'_, '_>) {
    let composition = Composition::product();
    let board = geometry::by_name("mk-node-s140").expect("the default board has a table");
    let scene = Scene::<4096>::new(board, 64 * 1024, 1, &composition).expect("64 KiB fit the board");
    let options = SweepOptions { stride: 50, ..SweepOptions::default() };
    let points = sweep(&scene, &composition, options).expect("the journeys work").points();
    bencher.counter(ItemsCount::new(points)).bench_local(|| sweep(&scene, &composition, options));
}
