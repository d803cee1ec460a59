//! What the client knows of each target.

use crate::ChunkBitmap;
use mk_wire::Addr;
use mk_wire::blob::{Phase, Status};
use mk_wire::time::Instant;

/// Why a target is no longer waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// It did not answer.
    Timeout,
    /// It answered with this status.
    Status(Status),
    /// It answered for another BLOB.
    WrongBlobId,
    /// It answered with a phase that does not fit.
    WrongPhase(Phase),
    /// It cannot take this BLOB in the sizes that the others can.
    Incompatible,
    /// It still misses chunks after every round allowed.
    Incomplete,
}

/// Where a target stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetState {
    /// Taking part.
    Active,
    /// It reports the BLOB complete.
    Complete,
    /// No longer taking part.
    Dropped(DropReason),
    /// The client itself: it has the BLOB already.
    OwnAddress,
}

/// One target of a transfer.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) addr: Addr,
    pub(super) state: TargetState,
    /// Has it answered the current request?
    pub(super) answered: bool,
    /// Does it have the current block?
    pub(super) has_block: bool,
    /// Chunks it misses of the current block; in Pull mode, chunks it asked for.
    pub(super) missing: ChunkBitmap,
    /// Blocks it is known to have.
    pub(super) blocks: u16,
    /// Pull mode: when it was last heard of, or sent a chunk.
    pub(super) active_at: Option<Instant>,
    /// The drop has not been told yet.
    pub(super) drop_untold: bool,
}

impl Target {
    pub(super) fn new(addr: Addr, own_address: Addr) -> Self {
        let state = if addr == own_address { TargetState::OwnAddress } else { TargetState::Active };
        Target {
            addr,
            state,
            answered: false,
            has_block: false,
            missing: ChunkBitmap::default(),
            blocks: 0,
            active_at: None,
            drop_untold: false,
        }
    }

    /// Unicast address.
    #[must_use]
    pub const fn addr(&self) -> Addr {
        self.addr
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> TargetState {
        self.state
    }

    /// Blocks it is known to have.
    #[must_use]
    pub const fn blocks(&self) -> u16 {
        self.blocks
    }

    pub(super) fn is_active(&self) -> bool {
        self.state == TargetState::Active
    }

    /// Does the current request still wait for it?
    pub(super) fn is_silent(&self) -> bool {
        self.is_active() && !self.answered
    }

    pub(super) fn drop_out(&mut self, reason: DropReason) {
        self.state = TargetState::Dropped(reason);
        self.drop_untold = true;
    }
}
