//! The two steps that happen once per node and chunk: decoding it, and taking it in.
//! `cargo bench -p mk-blob`; the budget is 50 ns for both, copying into the sink apart.

use divan::{Bencher, black_box};
use mk_blob::server::{BlobServer, BlockSink, PullPolicy, SinkError};
use mk_wire::blob::{BlobId, BlockStart, Capabilities, Chunk, Message, TransferMode, TransferStart};
use mk_wire::time::Instant;
use mk_wire::{AccessMessage, Addr};

const CHUNK_SIZE: u16 = 185;
/// Chunks of a 32 KiB block.
const CHUNKS: u16 = 178;

struct Nowhere;

impl BlockSink for Nowhere {
    fn begin_block(&mut self, _offset: u32, _len: u32) -> Result<(), SinkError> {
        Ok(())
    }

    fn chunk(&mut self, _offset_in_block: u32, data: &[u8]) {
        black_box(data);
    }

    fn end_block(&mut self, _block: u16, _offset: u32, _len: u32) -> Result<(), SinkError> {
        Ok(())
    }
}

fn chunk(number: u16) -> Vec<u8> {
    let message = Message::Chunk(Chunk { number, data: &[0x5A; CHUNK_SIZE as usize] });
    AccessMessage::Blob(message).to_buffer().map(|buffer| buffer.to_vec()).unwrap_or_default()
}

/// A server inside a block.
fn server(now: Instant) -> BlobServer {
    let capabilities = Capabilities {
        min_block_size_log: 12,
        max_block_size_log: 15,
        max_total_chunks: 256,
        max_chunk_size: 377,
        max_blob_size: 1 << 20,
        server_mtu: 380,
        push: true,
        pull: false,
    };
    let mut server = BlobServer::new(capabilities, PullPolicy::default());
    let (blob_id, client) = (BlobId(1), Addr(1));
    let _ = server.expect(now, blob_id, 5, 10, client);
    let mode = TransferMode::Push;
    let start = TransferStart { mode, blob_id, size: 524_288, block_size_log: 15, client_mtu: 380 };
    server.on_message(now, client, &Message::TransferStart(start), &mut Nowhere);
    server.on_message(now, client, &Message::BlockStart(BlockStart { block: 0, chunk_size: CHUNK_SIZE }), &mut Nowhere);
    server
}

#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let octets = chunk(77);
    bencher.bench(|| AccessMessage::decode(black_box(&octets)).is_ok());
}

/// All chunks of a block but the last.
#[divan::bench]
fn decode_and_take_in_177_chunks(bencher: Bencher<'_, '_>) {
    let chunks: Vec<Vec<u8>> = (0..CHUNKS - 1).map(chunk).collect();
    let now = Instant::from_ticks(1);
    bencher.with_inputs(|| server(now)).bench_refs(|server| {
        for octets in &chunks {
            if let Ok(AccessMessage::Blob(message)) = AccessMessage::decode(black_box(octets)) {
                black_box(server.on_message(now, Addr(1), &message, &mut Nowhere).is_some());
            }
        }
    });
}

fn main() {
    divan::main();
}
