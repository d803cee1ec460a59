//! The answers of the server.

use super::*;
use mk_wire::AccessMessage;
use mk_wire::blob::{BlockStatus, MissingChunks, Transfer, TransferStatus};

/// Octets that hold the encoded list of any block: most numbers of a 256-chunk block take two.
const LIST: usize = 2 * MAX_CHUNKS as usize;
/// Octets of an encoded list that a Block Status has room for.
const LIST_FITS: usize = mk_wire::access::MAX_ACCESS - 6;

impl BlobServer {
    /// `None` only for messages that cannot be encoded, of which the server makes none.
    pub(super) fn reply(&self, to: Addr, message: Message<'_>) -> Option<Reply> {
        let message = AccessMessage::Blob(message).to_buffer().ok()?;
        Some(Reply { to, ttl: self.ttl(), message })
    }

    pub(super) fn transfer_status(&self, to: Addr, status: Status) -> Option<Reply> {
        let transfer = self.parameters.map(|p| Transfer {
            size: p.size,
            block_size_log: p.block_size_log,
            mtu: p.mtu,
            blocks_missing: self.blocks_missing.octets(p.block_count),
        });
        let answer = TransferStatus { status, mode: self.mode(), phase: self.phase, blob_id: self.blob_id(), transfer };
        self.reply(to, Message::TransferStatus(answer))
    }

    /// Block Status about the current block.
    pub(super) fn block_status(&self, to: Addr, status: Status) -> Option<Reply> {
        let Some(block) = &self.block else {
            let unset = BlockStart { block: NOT_SET, chunk_size: NOT_SET };
            return self.block_status_of(to, status, unset);
        };
        let mut scratch = [0; LIST];
        let missing = if self.mode() == TransferMode::Pull {
            let scratch = &mut scratch[..LIST_FITS];
            MissingChunks::encoded(block.missing.octets(block.chunk_count), block.chunk_count, usize::MAX, scratch)
        } else {
            MissingChunks::shortest(block.missing.octets(block.chunk_count), block.chunk_count, &mut scratch)
        };
        let answer = BlockStatus { status, block: block.number, chunk_size: block.chunk_size, missing };
        self.reply(to, Message::BlockStatus(answer))
    }

    /// Block Status that repeats the request: it was refused, or there is no block to speak of.
    pub(super) fn block_status_of(&self, to: Addr, status: Status, start: BlockStart) -> Option<Reply> {
        let BlockStart { block, chunk_size } = start;
        self.reply(to, Message::BlockStatus(BlockStatus { status, block, chunk_size, missing: MissingChunks::All }))
    }

    /// Block Status for a block that was received before.
    pub(super) fn complete_block_status(&self, to: Addr, start: BlockStart) -> Option<Reply> {
        let BlockStart { block, chunk_size } = start;
        let missing = if self.mode() == TransferMode::Pull { MissingChunks::Encoded(&[]) } else { MissingChunks::None };
        self.reply(to, Message::BlockStatus(BlockStatus { status: Status::Success, block, chunk_size, missing }))
    }

    /// Partial Block Report to the client of the transfer.
    pub(super) fn partial_report(&self) -> Option<Reply> {
        let (wanted, block) = (self.wanted?, self.block.as_ref()?);
        let mut scratch = [0; LIST_FITS];
        let bitmap = block.missing.octets(block.chunk_count);
        let limit = usize::from(self.pull.report_chunks);
        let list = MissingChunks::encoded(bitmap, block.chunk_count, limit, &mut scratch);
        self.reply(wanted.client, Message::PartialBlockReport(list))
    }
}
