//! The fast paths of the flash model: a page programmed whole, an erase, a snapshot, a content key.

use divan::{Bencher, black_box};
use virtual_flash::{FlashArray, PageStore, PowerSupply, Timing};

fn main() {
    divan::main();
}

const SIZE: u32 = 1 << 20;

fn array() -> FlashArray {
    let store = PageStore::new(4096);
    FlashArray::new("internal", SIZE, &store, &PowerSupply::new(), Timing::INSTANT)
}

fn page(seed: u8) -> Vec<u8> {
    (0..4096_u32).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect()
}

/// Erase and program one page with content that the store knows.
#[divan::bench]
fn program_a_page_of_known_content(bencher: Bencher<'_, '_>) {
    let mut flash = array();
    let page = page(1);
    bencher.bench_local(|| {
        flash.erase(0, 4096).expect("in bounds");
        flash.write(0, black_box(&page)).expect("in bounds");
    });
}

/// A 256-octet chunk into a page that other chunks share.
#[divan::bench]
fn program_sixteen_chunks_of_a_page(bencher: Bencher<'_, '_>) {
    let mut flash = array();
    let page = page(2);
    bencher.bench_local(|| {
        flash.erase(0, 4096).expect("in bounds");
        for (index, chunk) in page.chunks(256).enumerate() {
            flash.write(index as u32 * 256, chunk).expect("in bounds");
        }
    });
}

#[divan::bench]
fn clone_a_megabyte(bencher: Bencher<'_, '_>) {
    let mut flash = array();
    for at in 0..64 {
        flash.load(at * 4096, &page(at as u8)).expect("in bounds");
    }
    bencher.bench_local(|| black_box(flash.clone()));
}

#[divan::bench]
fn content_key_of_half_a_megabyte(bencher: Bencher<'_, '_>) {
    let mut flash = array();
    for at in 0..128 {
        flash.load(at * 4096, &page(at as u8)).expect("in bounds");
    }
    bencher.bench_local(|| black_box(flash.content_key(0, SIZE / 2)));
}
