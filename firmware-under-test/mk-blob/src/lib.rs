//! BLOB Transfer: the receiving and the sending side of MshMBT 1.0 (protocol sheet sections 4 to 6).
//!
//! Nodes run the [`server`] to receive images; gateways run the [`client`] to distribute them and the server to take
//! uploads. Both are state machines without I/O: they take the time and decoded messages, and give messages, events and
//! the time of their next wake-up. They keep no image data; blocks go to a [`server::BlockSink`] and come from a
//! [`client::BlobSource`]. Pacing and retransmission below the access layer are not theirs either: the caller decides when
//! the next chunk may go out.
#![no_std]

#[cfg(test)]
extern crate std;

mod bitmap;

pub mod client;
pub mod server;

pub use bitmap::Bitmap;

use mk_wire::time::Duration;

/// Most chunks per block that either side keeps track of.
pub const MAX_CHUNKS: u16 = 256;
/// Most blocks of a BLOB that either side keeps track of.
pub const MAX_BLOCKS: u16 = 1024;

/// One bit per chunk of a block.
pub type ChunkBitmap = Bitmap<{ MAX_CHUNKS as usize / 8 }>;
/// One bit per block of a BLOB.
pub type BlockBitmap = Bitmap<{ MAX_BLOCKS as usize / 8 }>;

/// T_srv: how long a server waits for its client (section 5).
#[must_use]
pub fn server_timeout(timeout_base: u16) -> Duration {
    Duration::from_secs(10 * (u64::from(timeout_base) + 1))
}

/// T_cli: how long a client waits for a server (section 6). The raw TTL counts, so 0xFF (default) adds 25.5 s as in Zephyr.
#[must_use]
pub fn client_timeout(timeout_base: u16, ttl: u8) -> Duration {
    Duration::from_millis(10_000 * (u64::from(timeout_base) + 2) + 100 * u64::from(ttl))
}
