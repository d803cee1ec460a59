//! BLOB Transfer Server (section 5): receives one BLOB at a time, block by block.
//!
//! The state table of section 5 is `rows` in the tests, one test per row. Deviations, each for a reason:
//! - *Waiting For Start* is left after T_cli + T_srv, not after T_srv: the client may spend T_cli on telling the other
//!   targets before it sends Transfer Start.
//! - Any message of the running transfer restarts the timer, because any of them proves that the client is alive.
//! - Storage that fails at the end of a block suspends the transfer ([`ServerEvent::Failed`]): finished blocks are kept, and
//!   the client learns of it at its next Block Get instead of at a timeout.
//!
//! The server holds bitmaps only. It never answers a chunk in Push mode, and never writes outside the current block.

mod replies;
mod saved;
#[cfg(test)]
mod tests;
mod types;

pub use saved::{SavedParameters, SavedTransfer};
pub use types::{BlockSink, Busy, Expected, PullPolicy, Reply, ServerEvent, SinkError};

use crate::{BlockBitmap, ChunkBitmap, MAX_BLOCKS, MAX_CHUNKS, client_timeout, server_timeout};
use heapless::Deque;
use mk_wire::Addr;
use mk_wire::blob::{
    BlobId, BlockStart, Capabilities, Chunk, Message, Phase, Status, TransferMode, TransferStart, arithmetic,
};
use mk_wire::time::Instant;

/// The default TTL in messages and answers.
pub const DEFAULT_TTL: u8 = 0xFF;
/// Block number and chunk size in a Block Status when no block is set.
const NOT_SET: u16 = 0xFFFF;
/// Events kept until polled. One call makes at most two; a caller that never polls loses the oldest.
const MAX_EVENTS: usize = 4;

/// What the local layer said about the BLOB it wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Wanted {
    blob_id: BlobId,
    ttl: u8,
    timeout_base: u16,
    client: Addr,
}

/// What Transfer Start said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Parameters {
    mode: TransferMode,
    size: u32,
    block_size_log: u8,
    mtu: u16,
    block_count: u16,
}

/// The block that Block Start named last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Block {
    number: u16,
    chunk_size: u16,
    /// Offset in the BLOB.
    offset: u32,
    len: u32,
    chunk_count: u16,
    missing: ChunkBitmap,
    missing_count: u16,
}

/// The server.
#[derive(Clone, Debug)]
pub struct BlobServer {
    capabilities: Capabilities,
    pull: PullPolicy,
    phase: Phase,
    wanted: Option<Wanted>,
    parameters: Option<Parameters>,
    blocks_missing: BlockBitmap,
    block: Option<Block>,
    timeout_at: Option<Instant>,
    report_at: Option<Instant>,
    events: Deque<ServerEvent, MAX_EVENTS>,
}

impl BlobServer {
    /// An inactive server. Chunks per block are limited to [`MAX_CHUNKS`], the MTU to an access message.
    #[must_use]
    pub fn new(capabilities: Capabilities, pull: PullPolicy) -> Self {
        let capabilities = Capabilities {
            max_total_chunks: capabilities.max_total_chunks.min(MAX_CHUNKS),
            server_mtu: capabilities.server_mtu.min(arithmetic::MAX_MTU),
            ..capabilities
        };
        BlobServer {
            capabilities,
            pull,
            phase: Phase::Inactive,
            wanted: None,
            parameters: None,
            blocks_missing: BlockBitmap::default(),
            block: None,
            timeout_at: None,
            report_at: None,
            events: Deque::new(),
        }
    }

    /// What the server states in Information Status.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Phase of the transfer.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The BLOB that is expected, being received, or was received.
    #[must_use]
    pub fn blob_id(&self) -> Option<BlobId> {
        self.wanted.map(|wanted| wanted.blob_id)
    }

    /// Its size in octets, once Transfer Start told.
    #[must_use]
    pub fn size(&self) -> Option<u32> {
        self.parameters.map(|parameters| parameters.size)
    }

    /// The blocks not received, one bit each.
    #[must_use]
    pub const fn blocks_missing(&self) -> &BlockBitmap {
        &self.blocks_missing
    }

    /// Blocks stored and blocks in all; (0, 0) before Transfer Start.
    #[must_use]
    pub fn progress(&self) -> (u16, u16) {
        let count = self.parameters.map_or(0, |parameters| parameters.block_count);
        (count.saturating_sub(self.blocks_missing.count()), count)
    }

    /// Is a transfer under way that another one would disturb?
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        match self.phase {
            Phase::WaitingForStart | Phase::WaitingForBlock | Phase::WaitingForChunk => true,
            Phase::Inactive | Phase::Complete | Phase::Suspended => false,
        }
    }

    /// The layer above wants this BLOB. A suspended transfer of the same BLOB is kept and goes on with its next Transfer
    /// Start or Block Start; anything else that was held is forgotten.
    ///
    /// # Errors
    /// Another transfer is running; nothing changes.
    pub fn expect(
        &mut self,
        now: Instant,
        blob_id: BlobId,
        ttl: u8,
        timeout_base: u16,
        client: Addr,
    ) -> Result<Expected, Busy> {
        if self.is_busy() {
            return Err(Busy);
        }
        let resumes = self.phase == Phase::Suspended && self.blob_id() == Some(blob_id);
        self.wanted = Some(Wanted { blob_id, ttl, timeout_base, client });
        if resumes {
            return Ok(Expected::Resumes);
        }
        self.forget_transfer();
        self.phase = Phase::WaitingForStart;
        self.timeout_at = Some(now + client_timeout(timeout_base, ttl) + server_timeout(timeout_base));
        Ok(Expected::Fresh)
    }

    /// Suspends the transfer, as if the client had fallen silent. No event: the caller knows.
    pub fn suspend(&mut self) {
        match self.phase {
            Phase::WaitingForBlock | Phase::WaitingForChunk => self.discard_block(Phase::Suspended),
            Phase::Inactive | Phase::WaitingForStart | Phase::Complete | Phase::Suspended => {}
        }
    }

    /// Drops whatever is expected or held. No event: the caller knows.
    pub fn cancel(&mut self) {
        self.forget_transfer();
        self.wanted = None;
        self.phase = Phase::Inactive;
    }

    /// The oldest event not yet taken.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// When [`BlobServer::on_timer`] has to be called next. Moves with every chunk.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        match (self.timeout_at, self.report_at) {
            (Some(timeout), Some(report)) => Some(timeout.min(report)),
            (timeout, report) => timeout.or(report),
        }
    }

    /// Handles a message of a client; `from` is its unicast address. Messages for clients are ignored.
    pub fn on_message(
        &mut self,
        now: Instant,
        from: Addr,
        message: &Message<'_>,
        sink: &mut impl BlockSink,
    ) -> Option<Reply> {
        match message {
            Message::Chunk(chunk) => self.on_chunk(now, chunk, sink),
            Message::TransferGet => self.on_transfer_get(now, from),
            Message::TransferStart(start) => self.on_transfer_start(now, from, start, sink),
            Message::TransferCancel(blob_id) => self.on_transfer_cancel(from, *blob_id),
            Message::BlockStart(start) => self.on_block_start(now, from, *start, sink),
            Message::BlockGet => self.on_block_get(now, from),
            Message::InformationGet => self.reply(from, Message::InformationStatus(self.capabilities)),
            Message::TransferStatus(_)
            | Message::BlockStatus(_)
            | Message::PartialBlockReport(_)
            | Message::InformationStatus(_) => None,
        }
    }

    /// Handles timers that are due; gives the Partial Block Report that Pull mode sends then.
    pub fn on_timer(&mut self, now: Instant) -> Option<Reply> {
        if self.timeout_at.is_some_and(|at| at <= now) {
            self.on_timeout();
            return None;
        }
        if self.report_at.is_some_and(|at| at <= now) {
            self.report_at = Some(now + self.pull.report_interval);
            return self.partial_report();
        }
        None
    }

    fn on_timeout(&mut self) {
        match self.phase {
            Phase::WaitingForStart => {
                self.cancel();
                self.tell(ServerEvent::Cancelled);
            }
            // Pull mode waits for a last Transfer Get; without one the data is complete all the same.
            Phase::WaitingForBlock if self.blocks_missing.is_empty() => self.complete(),
            Phase::WaitingForBlock | Phase::WaitingForChunk => {
                self.discard_block(Phase::Suspended);
                self.tell(ServerEvent::Suspended);
            }
            Phase::Inactive | Phase::Complete | Phase::Suspended => self.timeout_at = None,
        }
    }

    fn on_transfer_get(&mut self, now: Instant, from: Addr) -> Option<Reply> {
        self.heard(now);
        let pull = self.mode() == TransferMode::Pull;
        if pull && self.phase == Phase::WaitingForBlock && self.blocks_missing.is_empty() {
            self.complete();
        }
        self.transfer_status(from, Status::Success)
    }

    fn on_transfer_start(
        &mut self,
        now: Instant,
        from: Addr,
        start: &TransferStart,
        sink: &mut impl BlockSink,
    ) -> Option<Reply> {
        if start.mode == TransferMode::None {
            return None;
        }
        let status = match self.phase {
            Phase::Inactive => Status::WrongPhase,
            _ if self.blob_id() != Some(start.blob_id) => Status::WrongBlobId,
            Phase::WaitingForStart => match self.accept(start, sink) {
                Ok(parameters) => {
                    self.begin_transfer(now, from, parameters);
                    Status::Success
                }
                Err(status) => status,
            },
            Phase::WaitingForBlock | Phase::WaitingForChunk | Phase::Complete | Phase::Suspended => {
                if self.is_same(start) {
                    self.resume(now);
                    self.heard(now);
                    Status::Success
                } else {
                    Status::WrongPhase
                }
            }
        };
        self.transfer_status(from, status)
    }

    /// The checks of Transfer Start, in the order of section 5.
    fn accept(&self, start: &TransferStart, sink: &mut impl BlockSink) -> Result<Parameters, Status> {
        let capabilities = &self.capabilities;
        if start.size > capabilities.max_blob_size {
            return Err(Status::BlobTooLarge);
        }
        if !(capabilities.min_block_size_log..=capabilities.max_block_size_log).contains(&start.block_size_log) {
            return Err(Status::InvalidBlockSize);
        }
        let mtu = arithmetic::transfer_mtu(start.client_mtu, capabilities.server_mtu);
        let limit = arithmetic::max_blocks(mtu).min(u32::from(MAX_BLOCKS));
        let block_count = arithmetic::block_count(start.size, start.block_size_log)
            .filter(|count| *count <= limit)
            .and_then(|count| u16::try_from(count).ok())
            .ok_or(Status::InvalidParameter)?;
        sink.begin_transfer(start.size).map_err(|SinkError| Status::InternalError)?;
        let supported = match start.mode {
            TransferMode::Push => capabilities.push,
            TransferMode::Pull => capabilities.pull,
            TransferMode::None => false,
        };
        if !supported {
            return Err(Status::UnsupportedMode);
        }
        let TransferStart { mode, size, block_size_log, .. } = *start;
        Ok(Parameters { mode, size, block_size_log, mtu, block_count })
    }

    fn begin_transfer(&mut self, now: Instant, from: Addr, parameters: Parameters) {
        self.forget_transfer();
        self.blocks_missing = BlockBitmap::full(parameters.block_count);
        self.parameters = Some(parameters);
        self.phase = Phase::WaitingForBlock;
        if let Some(wanted) = &mut self.wanted {
            wanted.client = from;
        }
        self.heard(now);
        self.tell(ServerEvent::Started);
    }

    fn is_same(&self, start: &TransferStart) -> bool {
        self.parameters.is_some_and(|running| {
            running.mode == start.mode
                && running.size == start.size
                && running.block_size_log == start.block_size_log
                && running.mtu == arithmetic::transfer_mtu(start.client_mtu, self.capabilities.server_mtu)
        })
    }

    fn resume(&mut self, now: Instant) {
        if self.phase == Phase::Suspended {
            self.phase = Phase::WaitingForBlock;
            self.heard(now);
            self.tell(ServerEvent::Resumed);
        }
    }

    fn on_transfer_cancel(&mut self, from: Addr, blob_id: BlobId) -> Option<Reply> {
        let status = match self.blob_id() {
            None => Status::Success,
            Some(running) if running != blob_id => Status::WrongBlobId,
            Some(_) => {
                // The answer still belongs to the transfer, so it goes out with its TTL.
                let ttl = self.ttl();
                self.cancel();
                self.tell(ServerEvent::Cancelled);
                return self.transfer_status(from, Status::Success).map(|reply| Reply { ttl, ..reply });
            }
        };
        self.transfer_status(from, status)
    }

    fn on_block_start(
        &mut self,
        now: Instant,
        from: Addr,
        start: BlockStart,
        sink: &mut impl BlockSink,
    ) -> Option<Reply> {
        let Some(parameters) = self.parameters else {
            return self.block_status_of(from, Status::WrongPhase, start);
        };
        let status = match self.phase {
            Phase::Inactive | Phase::WaitingForStart => Status::WrongPhase,
            Phase::Complete => return self.complete_block_status(from, start),
            Phase::WaitingForChunk => {
                self.heard(now);
                let same = self.block.is_some_and(|b| b.number == start.block && b.chunk_size == start.chunk_size);
                return self.block_status(from, if same { Status::Success } else { Status::WrongPhase });
            }
            Phase::WaitingForBlock | Phase::Suspended => {
                if start.block >= parameters.block_count {
                    Status::InvalidBlockNumber
                } else if !self.chunk_size_allowed(&parameters, start.chunk_size) {
                    Status::InvalidChunkSize
                } else if !self.blocks_missing.get(start.block) {
                    self.heard(now);
                    return self.complete_block_status(from, start);
                } else {
                    self.begin_block(now, &parameters, start, sink)
                }
            }
        };
        if status == Status::Success {
            self.block_status(from, status)
        } else {
            self.block_status_of(from, status, start)
        }
    }

    fn chunk_size_allowed(&self, parameters: &Parameters, chunk_size: u16) -> bool {
        arithmetic::chunk_size_allowed(
            parameters.block_size_log,
            chunk_size,
            self.capabilities.max_chunk_size,
            self.capabilities.max_total_chunks,
            parameters.mtu,
        )
    }

    fn begin_block(
        &mut self,
        now: Instant,
        parameters: &Parameters,
        start: BlockStart,
        sink: &mut impl BlockSink,
    ) -> Status {
        let Parameters { size, block_size_log, .. } = *parameters;
        let BlockStart { block: number, chunk_size } = start;
        let place = arithmetic::block_offset(size, block_size_log, number)
            .zip(arithmetic::block_len(size, block_size_log, number))
            .and_then(|(offset, len)| Some((offset, len, arithmetic::chunk_count(len, chunk_size)?)));
        let Some((offset, len, chunk_count)) = place else {
            return Status::InvalidBlockNumber;
        };
        if sink.begin_block(offset, len).is_err() {
            return Status::InternalError;
        }
        self.resume(now);
        self.block = Some(Block {
            number,
            chunk_size,
            offset,
            len,
            chunk_count,
            missing: ChunkBitmap::full(chunk_count),
            missing_count: chunk_count,
        });
        self.phase = Phase::WaitingForChunk;
        self.heard(now);
        self.schedule_report(now);
        Status::Success
    }

    fn on_block_get(&mut self, now: Instant, from: Addr) -> Option<Reply> {
        self.heard(now);
        let status = match self.phase {
            Phase::WaitingForBlock | Phase::WaitingForChunk | Phase::Complete => Status::Success,
            Phase::Suspended => Status::InformationUnavailable,
            Phase::Inactive | Phase::WaitingForStart => Status::WrongPhase,
        };
        self.block_status(from, status)
    }

    fn on_chunk(&mut self, now: Instant, chunk: &Chunk<'_>, sink: &mut impl BlockSink) -> Option<Reply> {
        if self.phase != Phase::WaitingForChunk {
            return None;
        }
        let block = self.block.as_mut()?;
        let offset = arithmetic::chunk_offset(block.len, block.chunk_size, chunk.number)?;
        let expected = (block.len - offset).min(u32::from(block.chunk_size));
        if chunk.data.len() as u64 != u64::from(expected) {
            return None;
        }
        if block.missing.clear(chunk.number) {
            block.missing_count -= 1;
            sink.chunk(offset, chunk.data);
        }
        let complete = block.missing_count == 0;
        // A duplicate too proves that the client is alive.
        self.heard(now);
        self.schedule_report(now);
        if complete { self.end_block(sink) } else { None }
    }

    /// Every chunk is there. In Pull mode the client is told at once.
    fn end_block(&mut self, sink: &mut impl BlockSink) -> Option<Reply> {
        let Block { number, offset, len, .. } = self.block?;
        if sink.end_block(number, offset, len).is_err() {
            self.discard_block(Phase::Suspended);
            self.tell(ServerEvent::Failed);
            return None;
        }
        self.blocks_missing.clear(number);
        self.phase = Phase::WaitingForBlock;
        self.tell(ServerEvent::BlockStored(number));
        let last = self.blocks_missing.is_empty();
        if self.mode() != TransferMode::Pull {
            if last {
                self.complete();
            }
            return None;
        }
        if !last {
            self.report_at = None;
        }
        self.partial_report()
    }

    fn complete(&mut self) {
        self.phase = Phase::Complete;
        self.timeout_at = None;
        self.report_at = None;
        self.tell(ServerEvent::Completed);
    }

    /// Restarts T_srv while a transfer runs.
    fn heard(&mut self, now: Instant) {
        match self.phase {
            Phase::WaitingForBlock | Phase::WaitingForChunk => {
                let timeout_base = self.wanted.map_or(0, |wanted| wanted.timeout_base);
                self.timeout_at = Some(now + server_timeout(timeout_base));
            }
            Phase::Inactive | Phase::WaitingForStart | Phase::Complete | Phase::Suspended => {}
        }
    }

    fn schedule_report(&mut self, now: Instant) {
        if self.mode() == TransferMode::Pull {
            self.report_at = Some(now + self.pull.report_interval);
        }
    }

    /// The unfinished block is lost, finished ones stay.
    fn discard_block(&mut self, phase: Phase) {
        self.block = None;
        self.timeout_at = None;
        self.report_at = None;
        self.phase = phase;
    }

    fn forget_transfer(&mut self) {
        self.discard_block(self.phase);
        self.parameters = None;
        self.blocks_missing = BlockBitmap::default();
    }

    fn mode(&self) -> TransferMode {
        self.parameters.map_or(TransferMode::None, |parameters| parameters.mode)
    }

    fn ttl(&self) -> u8 {
        self.wanted.map_or(DEFAULT_TTL, |wanted| wanted.ttl)
    }

    fn tell(&mut self, event: ServerEvent) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        // There is room now.
        let _ = self.events.push_back(event);
    }
}
