//! BLOB Transfer messages (protocol sheet sections 2 and 3) and the arithmetic of blocks and chunks (section 4).
//!
//! Message codecs only: what a server or client does with a message is `mk-blob`'s business.

pub mod arithmetic;
mod missing;
#[cfg(test)]
mod tests;

pub use missing::{MissingChunks, MissingError, MissingIter};

use crate::access::{DecodeErrorKind, EncodeError};
use crate::codec::{Fault, Reader, Writer, wire_enum};
use core::fmt;

/// Opcode of Chunk Transfer.
pub(crate) const CHUNK_TRANSFER: u8 = 0x66;
const BLOCK_STATUS: u8 = 0x67;
const PARTIAL_BLOCK_REPORT: u8 = 0x68;

/// Names one transfer; chosen by the initiator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub u64);

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({:016x})", self.0)
    }
}

wire_enum! {
    /// Status of a BLOB Transfer answer.
    pub enum Status {
        /// The request was accepted.
        Success = 0,
        /// No block has this number.
        InvalidBlockNumber = 1,
        /// The server does not support this block size.
        InvalidBlockSize = 2,
        /// The server does not support this chunk size, or it gives too many chunks.
        InvalidChunkSize = 3,
        /// The request does not fit the transfer phase, or contradicts the running transfer.
        WrongPhase = 4,
        /// A parameter is outside what the server can do.
        InvalidParameter = 5,
        /// Another BLOB is being transferred.
        WrongBlobId = 6,
        /// The BLOB is larger than the server can take.
        BlobTooLarge = 7,
        /// The server does not support this transfer mode.
        UnsupportedMode = 8,
        /// Storage failed.
        InternalError = 9,
        /// Nothing is known about the block asked for.
        InformationUnavailable = 10,
    }
}

wire_enum! {
    /// Who asks for chunks.
    pub enum TransferMode {
        /// No transfer.
        None = 0,
        /// The client sends every chunk and asks what is missing.
        Push = 1,
        /// The server asks for the chunks it wants.
        Pull = 2,
    }
}

wire_enum! {
    /// Phase of a BLOB transfer at the server.
    pub enum Phase {
        /// No transfer.
        Inactive = 0,
        /// A BLOB is expected, Transfer Start has not come.
        WaitingForStart = 1,
        /// Between blocks.
        WaitingForBlock = 2,
        /// Inside a block.
        WaitingForChunk = 3,
        /// Every block was received.
        Complete = 4,
        /// The client fell silent; finished blocks are kept.
        Suspended = 5,
    }
}

wire_enum! {
    /// How a Block Status names the missing chunks.
    pub enum MissingFormat {
        /// Every chunk; no list.
        All = 0,
        /// No chunk; no list.
        None = 1,
        /// A bitmap.
        Bitmap = 2,
        /// A list of chunk numbers.
        Encoded = 3,
    }
}

/// Transfer Start: announces a BLOB and its block size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransferStart {
    /// Push or Pull.
    pub mode: TransferMode,
    /// The BLOB.
    pub blob_id: BlobId,
    /// Its size in octets.
    pub size: u32,
    /// Block size is `1 << block_size_log`; servers refuse what is outside 6 to 32.
    pub block_size_log: u8,
    /// Longest access message the client can receive, in octets.
    pub client_mtu: u16,
}

/// Transfer Status: what the server has of a BLOB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransferStatus<'a> {
    /// Answer to the request.
    pub status: Status,
    /// Mode of the running transfer.
    pub mode: TransferMode,
    /// Phase of the server.
    pub phase: Phase,
    /// The BLOB; present unless the phase is Inactive.
    pub blob_id: Option<BlobId>,
    /// The transfer; present unless the phase is Inactive or Waiting For Start.
    pub transfer: Option<Transfer<'a>>,
}

/// The parameters of a running transfer inside a Transfer Status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer<'a> {
    /// BLOB size in octets.
    pub size: u32,
    /// Block size is `1 << block_size_log`.
    pub block_size_log: u8,
    /// Smaller of both sides' MTU, in octets.
    pub mtu: u16,
    /// One bit per block, 1 = not received; block i in octet i/8, bit i%8.
    pub blocks_missing: &'a [u8],
}

impl Transfer<'_> {
    /// Was this block reported as not received? Blocks past the end count as received.
    #[must_use]
    pub fn is_missing(&self, block: u16) -> bool {
        self.blocks_missing.get(usize::from(block / 8)).is_some_and(|octet| octet >> (block % 8) & 1 == 1)
    }
}

/// Block Start: the next block and the size of its chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockStart {
    /// Block number, from 0.
    pub block: u16,
    /// Octets per chunk.
    pub chunk_size: u16,
}

/// Chunk Transfer: one chunk of the current block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk<'a> {
    /// Chunk number within the block, from 0.
    pub number: u16,
    /// Its octets, at least one.
    pub data: &'a [u8],
}

/// Block Status: what is missing of the current block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockStatus<'a> {
    /// Answer to the request.
    pub status: Status,
    /// Block number; 0xFFFF when no block is set.
    pub block: u16,
    /// Octets per chunk; 0xFFFF when no block is set.
    pub chunk_size: u16,
    /// Missing chunks. Numbers are not checked against the block here: see [`MissingChunks::validate`].
    pub missing: MissingChunks<'a>,
}

/// Information Status: what a server can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Smallest block size, as a power of two.
    pub min_block_size_log: u8,
    /// Largest block size, as a power of two.
    pub max_block_size_log: u8,
    /// Most chunks per block.
    pub max_total_chunks: u16,
    /// Largest chunk in octets.
    pub max_chunk_size: u16,
    /// Largest BLOB in octets.
    pub max_blob_size: u32,
    /// Longest access message the server can receive, in octets.
    pub server_mtu: u16,
    /// Push mode is supported.
    pub push: bool,
    /// Pull mode is supported.
    pub pull: bool,
}

/// A BLOB Transfer message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// Asks for a Transfer Status.
    TransferGet,
    /// Announces a BLOB.
    TransferStart(TransferStart),
    /// Drops a transfer.
    TransferCancel(BlobId),
    /// State of the transfer.
    TransferStatus(TransferStatus<'a>),
    /// Starts a block.
    BlockStart(BlockStart),
    /// Asks for a Block Status.
    BlockGet,
    /// One chunk.
    Chunk(Chunk<'a>),
    /// State of the block.
    BlockStatus(BlockStatus<'a>),
    /// Pull mode: the chunks the server wants next, an encoded list; an empty one says that the block is complete.
    PartialBlockReport(MissingChunks<'a>),
    /// Asks for the server's capabilities.
    InformationGet,
    /// The server's capabilities.
    InformationStatus(Capabilities),
}

impl<'a> Message<'a> {
    pub(crate) fn decode(opcode: u32, r: &mut Reader<'a>) -> Result<Self, Fault> {
        let message = match opcode {
            0x66 => {
                let number = r.u16()?;
                if r.remaining() == 0 {
                    return Err(r.fault(0, DecodeErrorKind::Truncated));
                }
                Message::Chunk(Chunk { number, data: r.rest() })
            }
            0x67 => Message::BlockStatus(decode_block_status(r)?),
            0x68 => Message::PartialBlockReport(MissingChunks::decode_encoded(r)?),
            0x8300 => Message::TransferGet,
            0x8301 => {
                let mode = decode_mode(r)?;
                if mode == TransferMode::None {
                    return Err(r.prohibited(1, 0u32));
                }
                Message::TransferStart(TransferStart {
                    mode,
                    blob_id: BlobId(r.u64()?),
                    size: r.u32()?,
                    block_size_log: r.u8()?,
                    client_mtu: r.u16()?,
                })
            }
            0x8302 => Message::TransferCancel(BlobId(r.u64()?)),
            0x8303 => Message::TransferStatus(decode_transfer_status(r)?),
            0x8304 => Message::BlockStart(BlockStart { block: r.u16()?, chunk_size: r.u16()? }),
            0x8305 => Message::BlockGet,
            0x8306 => Message::InformationGet,
            0x8307 => Message::InformationStatus(decode_capabilities(r)?),
            _ => return Err(Fault { offset: 0, kind: DecodeErrorKind::UnknownOpcode }),
        };
        r.end()?;
        Ok(message)
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) -> Result<(), EncodeError> {
        match self {
            Message::TransferGet => w.opcode(0x8300),
            Message::TransferStart(m) if m.mode == TransferMode::None => {
                return Err(EncodeError::Prohibited { field: "transfer mode" });
            }
            Message::TransferStart(m) => w
                .opcode(0x8301)
                .u8((m.mode as u8) << 6)
                .u64(m.blob_id.0)
                .u32(m.size)
                .u8(m.block_size_log)
                .u16(m.client_mtu),
            Message::TransferCancel(id) => w.opcode(0x8302).u64(id.0),
            Message::TransferStatus(m) => return m.encode(w),
            Message::BlockStart(m) => w.opcode(0x8304).u16(m.block).u16(m.chunk_size),
            Message::BlockGet => w.opcode(0x8305),
            Message::Chunk(m) if m.data.is_empty() => {
                return Err(EncodeError::Prohibited { field: "chunk data" });
            }
            Message::Chunk(m) => w.u8(CHUNK_TRANSFER).u16(m.number).bytes(m.data),
            Message::BlockStatus(m) => {
                m.missing.check_shape()?;
                w.u8(BLOCK_STATUS)
                    .u8(m.status as u8 | (m.missing.format() as u8) << 6)
                    .u16(m.block)
                    .u16(m.chunk_size)
                    .bytes(m.missing.octets())
            }
            Message::PartialBlockReport(missing) => {
                missing.check_shape()?;
                match missing {
                    MissingChunks::None | MissingChunks::Encoded(_) => {}
                    MissingChunks::All | MissingChunks::Bitmap(_) => {
                        return Err(EncodeError::Prohibited { field: "partial report format" });
                    }
                }
                w.u8(PARTIAL_BLOCK_REPORT).bytes(missing.octets())
            }
            Message::InformationGet => w.opcode(0x8306),
            Message::InformationStatus(m) => w
                .opcode(0x8307)
                .u8(m.min_block_size_log)
                .u8(m.max_block_size_log)
                .u16(m.max_total_chunks)
                .u16(m.max_chunk_size)
                .u32(m.max_blob_size)
                .u16(m.server_mtu)
                .u8(u8::from(m.push) | u8::from(m.pull) << 1),
        };
        Ok(())
    }
}

impl TransferStatus<'_> {
    fn encode(&self, w: &mut Writer<'_>) -> Result<(), EncodeError> {
        let (wants_id, wants_transfer) = fields_of(self.phase);
        if self.blob_id.is_some() != wants_id || self.transfer.is_some() != wants_transfer {
            return Err(EncodeError::Prohibited { field: "transfer phase" });
        }
        w.opcode(0x8303).u8(self.status as u8 | (self.mode as u8) << 6).u8(self.phase as u8);
        if let Some(id) = self.blob_id {
            w.u64(id.0);
        }
        if let Some(t) = self.transfer {
            if !bitmap_fits(t.size, t.block_size_log, t.blocks_missing) {
                return Err(EncodeError::Prohibited { field: "blocks not received" });
            }
            w.u32(t.size).u8(t.block_size_log).u16(t.mtu).bytes(t.blocks_missing);
        }
        Ok(())
    }
}

/// Which fields a Transfer Status of this phase carries: BLOB id, transfer.
const fn fields_of(phase: Phase) -> (bool, bool) {
    match phase {
        Phase::Inactive => (false, false),
        Phase::WaitingForStart => (true, false),
        Phase::WaitingForBlock | Phase::WaitingForChunk | Phase::Complete | Phase::Suspended => (true, true),
    }
}

/// One bit per block, no bit past the last one.
fn bitmap_fits(size: u32, block_size_log: u8, bitmap: &[u8]) -> bool {
    let Some(blocks) = arithmetic::block_count(size, block_size_log) else { return false };
    missing::bitmap_fits(bitmap, blocks as usize)
}

fn decode_mode(r: &mut Reader<'_>) -> Result<TransferMode, Fault> {
    let octet = r.u8()?;
    if octet & 0x3F != 0 {
        return Err(r.fault(1, DecodeErrorKind::ReservedBits));
    }
    TransferMode::from_u8(octet >> 6).ok_or_else(|| r.prohibited(1, octet))
}

/// The octet that holds a status in bits 0-3 and something else in bits 6-7.
fn decode_status(r: &mut Reader<'_>) -> Result<(Status, u8), Fault> {
    let octet = r.u8()?;
    if octet & 0x30 != 0 {
        return Err(r.fault(1, DecodeErrorKind::ReservedBits));
    }
    let status = Status::from_u8(octet & 0x0F).ok_or_else(|| r.prohibited(1, octet & 0x0F))?;
    Ok((status, octet >> 6))
}

fn decode_transfer_status<'a>(r: &mut Reader<'a>) -> Result<TransferStatus<'a>, Fault> {
    let (status, mode) = decode_status(r)?;
    let mode = TransferMode::from_u8(mode).ok_or_else(|| r.prohibited(1, mode))?;
    let phase = r.value(Phase::from_u8)?;
    let (wants_id, wants_transfer) = fields_of(phase);
    let blob_id = if wants_id { Some(BlobId(r.u64()?)) } else { None };
    let transfer = if wants_transfer {
        let (size, block_size_log, mtu) = (r.u32()?, r.u8()?, r.u16()?);
        let list = r.fault(0, DecodeErrorKind::ListLength);
        let blocks_missing = r.rest();
        if !bitmap_fits(size, block_size_log, blocks_missing) {
            return Err(list);
        }
        Some(Transfer { size, block_size_log, mtu, blocks_missing })
    } else {
        None
    };
    Ok(TransferStatus { status, mode, phase, blob_id, transfer })
}

fn decode_block_status<'a>(r: &mut Reader<'a>) -> Result<BlockStatus<'a>, Fault> {
    let (status, format) = decode_status(r)?;
    let format = MissingFormat::from_u8(format).ok_or_else(|| r.prohibited(1, format))?;
    let (block, chunk_size) = (r.u16()?, r.u16()?);
    let missing = match format {
        MissingFormat::All => MissingChunks::All,
        MissingFormat::None => MissingChunks::None,
        MissingFormat::Bitmap if r.remaining() == 0 => return Err(r.fault(0, DecodeErrorKind::Truncated)),
        MissingFormat::Bitmap => MissingChunks::Bitmap(r.rest()),
        MissingFormat::Encoded => MissingChunks::decode_encoded(r)?,
    };
    Ok(BlockStatus { status, block, chunk_size, missing })
}

fn decode_capabilities(r: &mut Reader<'_>) -> Result<Capabilities, Fault> {
    let capabilities = Capabilities {
        min_block_size_log: r.u8()?,
        max_block_size_log: r.u8()?,
        max_total_chunks: r.u16()?,
        max_chunk_size: r.u16()?,
        max_blob_size: r.u32()?,
        server_mtu: r.u16()?,
        push: false,
        pull: false,
    };
    let modes = r.u8()?;
    if modes & !0x03 != 0 {
        return Err(r.fault(1, DecodeErrorKind::ReservedBits));
    }
    Ok(Capabilities { push: modes & 1 != 0, pull: modes & 2 != 0, ..capabilities })
}
