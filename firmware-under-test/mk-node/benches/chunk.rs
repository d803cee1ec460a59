//! What a node costs a simulator per chunk: `cargo bench -p mk-node`.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/node/bench.rs"]
mod bench;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/node/flash.rs"]
mod flash;

use bench::{Bench, GATEWAY, ImageSpec, NODE, image};
use divan::{Bencher, black_box, counter::ItemsCount};
use mk_node::Received;
use mk_wire::{
    AccessMessage,
    access::Buffer,
    blob::{BlockStart, Chunk, Message},
};

/// Octets of a chunk, as gateways send them.
const CHUNK: usize = 185;
/// Chunks of a block of 4 KiB but the last, so that the block stays open.
const OPEN: usize = 22;
const RECEIVED: Received = Received { ttl_hops: 1, rssi_dbm: -50 };

fn main() {
    divan::main();
}

/// A node with block 0 open, and the chunks of it.
fn open_block() -> (Bench, Vec<Buffer>) {
    let new = image(ImageSpec::new(2));
    let mut bench = Bench::new();
    bench.start(&new);
    bench.begin_transfer(&new);
    bench.tell(NODE, Message::BlockStart(BlockStart { block: 0, chunk_size: CHUNK as u16 }));
    let chunk = |n: usize| Chunk { number: n as u16, data: &new.file[n * CHUNK..][..CHUNK] };
    let chunks = (0..OPEN).map(|n| AccessMessage::Blob(Message::Chunk(chunk(n))).to_buffer().unwrap()).collect();
    (bench, chunks)
}

/// Chunks that the node lacks.
#[divan::bench]
fn new_chunks(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(OPEN)).with_inputs(open_block).bench_local_refs(|(bench, chunks)| {
        let mut node = bench.node.take().unwrap();
        for octets in &*chunks {
            node.on_access(bench.now, GATEWAY, NODE, RECEIVED, black_box(octets), &mut bench.board);
        }
        bench.node = Some(node);
    });
}

/// Chunks that the node has already.
#[divan::bench]
fn repeated_chunks(bencher: Bencher<'_, '_>) {
    let (mut bench, chunks) = open_block();
    let mut node = bench.node.take().unwrap();
    bencher.counter(ItemsCount::new(OPEN)).bench_local(|| {
        for octets in &chunks {
            node.on_access(bench.now, GATEWAY, NODE, RECEIVED, black_box(octets), &mut bench.board);
        }
    });
}

/// From reset to the running application, without the bootloader.
#[divan::bench]
fn boot(bencher: Bencher<'_, '_>) {
    let mut bench = Bench::new();
    let report = bench.last_boot.clone().unwrap();
    bencher.bench_local(|| {
        mk_node::Node::start(bench.now, bench.settings, bench.parts, black_box(&report), 1, &mut bench.board).unwrap()
    });
}
