//! What the server exchanges with the layer above: storage, answers, events.

use mk_wire::Addr;
use mk_wire::access::Buffer;
use mk_wire::time::Duration;

/// Storage could not take a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("block storage failed")]
pub struct SinkError;

/// Where blocks go: RAM for the current one, flash for finished ones.
pub trait BlockSink {
    /// A transfer of `size` octets is accepted; last chance to refuse it for lack of storage.
    ///
    /// # Errors
    /// There is no storage for it; the client is told Internal Error.
    fn begin_transfer(&mut self, size: u32) -> Result<(), SinkError> {
        let _ = size;
        Ok(())
    }

    /// A block of `len` octets at `offset` of the BLOB begins; its pages may be erased now. The block may have begun before
    /// without having ended.
    ///
    /// # Errors
    /// The block cannot be stored; the client is told Internal Error.
    fn begin_block(&mut self, offset: u32, len: u32) -> Result<(), SinkError>;

    /// One chunk of the current block. Each is given once, inside the length of the block, in any order.
    fn chunk(&mut self, offset_in_block: u32, data: &[u8]);

    /// Every chunk was given: store the block for good. After `Ok` it counts as received and may be persisted as such.
    ///
    /// # Errors
    /// The block could not be stored and counts as missing.
    fn end_block(&mut self, block: u16, offset: u32, len: u32) -> Result<(), SinkError>;
}

/// An answer, encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Unicast address of the client.
    pub to: Addr,
    /// TTL to send it with: that of the transfer, or [`DEFAULT_TTL`](super::DEFAULT_TTL).
    pub ttl: u8,
    /// The access message.
    pub message: Buffer,
}

/// What the layer above has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerEvent {
    /// Transfer Start was accepted.
    Started,
    /// A block was stored; the set of missing blocks may be persisted.
    BlockStored(u16),
    /// Every block was stored.
    Completed,
    /// The client fell silent; finished blocks are kept.
    Suspended,
    /// A suspended transfer goes on.
    Resumed,
    /// The transfer was dropped by the client, or never started.
    Cancelled,
    /// Storage failed at the end of a block; suspended, finished blocks are kept.
    Failed,
}

/// Another transfer is running.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a BLOB transfer is running")]
pub struct Busy;

/// What [`BlobServer::expect`](super::BlobServer::expect) found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// A new transfer; nothing of this BLOB is held.
    Fresh,
    /// The suspended transfer of the same BLOB; its finished blocks are kept.
    Resumes,
}

/// Pull mode reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PullPolicy {
    /// T_BPI: time from a Block Start, chunk or report to the next report.
    pub report_interval: Duration,
    /// Most chunk numbers in one report.
    pub report_chunks: u16,
}

impl Default for PullPolicy {
    fn default() -> Self {
        PullPolicy { report_interval: Duration::from_secs(10), report_chunks: 4 }
    }
}
