//! What the answers of targets mean.

use super::*;
use mk_wire::blob::{BlockStatus, MissingChunks, Phase, Status, TransferStatus};

/// Block number of a Block Status when the server has no block set.
const NOT_SET: u16 = 0xFFFF;

impl<const N: usize> BlobClient<N> {
    pub(super) fn on_capabilities(&mut self, from: Addr, capabilities: Capabilities) {
        if self.step != Step::Ask(Request::Information) || !self.target_mut(from).is_some_and(|t| t.is_silent()) {
            return;
        }
        let common = self.common.map_or(capabilities, |common| common.common(capabilities));
        let fits = capabilities.is_sane() && self.config.choose(&common).is_some();
        if fits {
            self.common = Some(common);
        }
        self.settle_target(from, if fits { Ok(()) } else { Err(DropReason::Incompatible) });
    }

    pub(super) fn on_transfer_status(&mut self, from: Addr, status: &TransferStatus<'_>) {
        if !self.target_mut(from).is_some_and(|target| target.is_silent()) {
            return;
        }
        match self.step {
            Step::Ask(Request::TransferStart) => {
                let verdict = self.judge_start(status);
                if verdict.is_ok() {
                    self.note_blocks(from, status);
                }
                self.settle_target(from, verdict);
            }
            Step::Ask(Request::TransferGet) => self.judge_end(from, status),
            // Whatever the answer, the target has heard; one that still holds the transfer is asked again.
            Step::Ask(Request::Cancel) if status.phase == Phase::Inactive || status.status != Status::Success => {
                self.settle_target(from, Ok(()));
            }
            Step::Ask(Request::Cancel | Request::Information | Request::BlockStart | Request::BlockGet)
            | Step::Idle
            | Step::Chunks { .. }
            | Step::Settle { .. }
            | Step::Reports
            | Step::Suspended
            | Step::Completed
            | Step::Failed
            | Step::Cancelled => {}
        }
    }

    fn judge_start(&self, status: &TransferStatus<'_>) -> Result<(), DropReason> {
        if status.status != Status::Success {
            return Err(DropReason::Status(status.status));
        }
        if status.blob_id != Some(self.config.blob_id) {
            return Err(DropReason::WrongBlobId);
        }
        match status.phase {
            // Waiting For Chunk: resumed inside a block. Complete: had everything before.
            Phase::WaitingForBlock | Phase::WaitingForChunk | Phase::Complete => Ok(()),
            Phase::Inactive | Phase::WaitingForStart | Phase::Suspended => Err(DropReason::WrongPhase(status.phase)),
        }
    }

    /// Adds the blocks this target misses.
    fn note_blocks(&mut self, from: Addr, status: &TransferStatus<'_>) {
        let count = self.block_count();
        let Some(transfer) = status.transfer else { return };
        let mut missing = BlockBitmap::from_octets(transfer.blocks_missing);
        missing.keep(&BlockBitmap::full(count));
        self.blocks_missing.add(&missing);
        if let Some(target) = self.target_mut(from) {
            target.blocks = count.saturating_sub(missing.count());
        }
    }

    /// The answer to the last Transfer Get. Waiting For Block or Chunk may be an answer that was overtaken: ask again.
    fn judge_end(&mut self, from: Addr, status: &TransferStatus<'_>) {
        let verdict = match (status.status, status.phase) {
            (Status::Success, Phase::Complete) if status.blob_id != Some(self.config.blob_id) => {
                Err(DropReason::WrongBlobId)
            }
            (Status::Success, Phase::Complete) => Ok(()),
            (Status::Success, Phase::WaitingForBlock | Phase::WaitingForChunk) => return,
            (Status::Success, phase) => Err(DropReason::WrongPhase(phase)),
            (status, _) => Err(DropReason::Status(status)),
        };
        self.settle_target(from, verdict);
        let count = self.block_count();
        if let Some(target) = self.target_mut(from).filter(|target| target.is_active()) {
            target.blocks = count;
            target.state = TargetState::Complete;
        }
    }

    pub(super) fn on_block_status(&mut self, now: Instant, from: Addr, status: &BlockStatus<'_>) {
        let asked = match self.step {
            Step::Ask(Request::BlockStart | Request::BlockGet) | Step::Reports => true,
            Step::Ask(Request::Information | Request::TransferStart | Request::TransferGet | Request::Cancel)
            | Step::Idle
            | Step::Chunks { .. }
            | Step::Settle { .. }
            | Step::Suspended
            | Step::Completed
            | Step::Failed
            | Step::Cancelled => false,
        };
        if !asked || !self.target_mut(from).is_some_and(|target| target.is_active() && !target.has_block) {
            return;
        }
        // Stale-answer rule: what names another block says nothing about this one.
        let this_block =
            status.block == self.block.number && self.sizes.is_some_and(|sizes| sizes.chunk_size == status.chunk_size);
        if status.status != Status::Success {
            if this_block || status.block == NOT_SET {
                self.settle_target(from, Err(DropReason::Status(status.status)));
            }
        } else if this_block && status.missing.validate(self.block.chunk_count).is_ok() {
            self.note_missing(now, from, &status.missing);
        }
    }

    pub(super) fn on_report(&mut self, now: Instant, from: Addr, missing: &MissingChunks<'_>) {
        let asked = self.step == Step::Reports || self.step == Step::Ask(Request::BlockStart);
        let known = self.target_mut(from).is_some_and(|target| target.is_active() && !target.has_block);
        // Before a target has answered Block Start, its report is about the block before.
        let about_this = self.step == Step::Reports || !self.target_mut(from).is_some_and(|t| t.is_silent());
        if asked && known && about_this && missing.validate(self.block.chunk_count).is_ok() {
            self.note_missing(now, from, missing);
        }
    }

    fn note_missing(&mut self, now: Instant, from: Addr, missing: &MissingChunks<'_>) {
        let chunk_count = self.block.chunk_count;
        let pull = self.is_pull();
        let mut told = ChunkBitmap::default();
        missing.add_to(chunk_count, told.octets_mut());
        let Some(target) = self.target_mut(from) else { return };
        target.answered = true;
        target.active_at = Some(now);
        if told.is_empty() {
            target.has_block = true;
            target.blocks = target.blocks.saturating_add(1);
            target.missing = told;
            return;
        }
        let mut still = told;
        still.keep(&target.missing);
        // In Pull mode a set is a request, not a state: it may name any chunk.
        target.missing = if pull || still.is_empty() { told } else { still };
        if self.step == Step::Reports {
            self.block.pending.add(&told);
        }
    }

    /// A target has answered the current request: it goes on, or is dropped.
    fn settle_target(&mut self, from: Addr, verdict: Result<(), DropReason>) {
        let Some(target) = self.target_mut(from) else { return };
        target.answered = true;
        if let Err(why) = verdict {
            target.drop_out(why);
            self.drops_untold = true;
        }
    }
}
