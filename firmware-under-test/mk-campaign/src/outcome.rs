//! How a campaign counts a node in the end.

use crate::codec;
use core::fmt;
use mk_wire::Reason;
use mk_wire::distribution::RetrievedPhase;
use serde::{Deserialize, Serialize};

/// What became of a node. Taken from what the node itself says, as far as it says anything; a later report corrects it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Runs the new image, confirmed.
    Updated,
    /// Tried the new image and is back on the old one.
    RolledBack(#[serde(with = "codec::reason")] Reason),
    /// Refused the image; neither a failure nor an update. [`Reason::None`] when the node's reason did not reach us.
    Rejected(#[serde(with = "codec::reason")] Reason),
    /// Failed in this phase, as the distributor last saw it.
    Failed(#[serde(with = "codec::phase")] RetrievedPhase),
    /// Does not answer.
    Unreachable,
}

impl Outcome {
    /// Is this the outcome that counts towards the threshold?
    #[must_use]
    pub const fn is_updated(self) -> bool {
        match self {
            Outcome::Updated => true,
            Outcome::RolledBack(_) | Outcome::Rejected(_) | Outcome::Failed(_) | Outcome::Unreachable => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Updated => f.write_str("updated"),
            Outcome::RolledBack(Reason::None) => f.write_str("rolled back - no reason reported"),
            Outcome::Rejected(Reason::None) => f.write_str("update rejected - no reason reported"),
            Outcome::RolledBack(reason) | Outcome::Rejected(reason) => f.write_str(reason.text()),
            Outcome::Failed(phase) => write!(f, "update failed - {}", phase_text(*phase)),
            Outcome::Unreachable => f.write_str(Reason::Unreachable.text()),
        }
    }
}

/// What an operator reads of a receiver's phase.
const fn phase_text(phase: RetrievedPhase) -> &'static str {
    match phase {
        RetrievedPhase::Idle => "the node knows of no update",
        RetrievedPhase::TransferError => "the transfer broke off",
        RetrievedPhase::TransferActive => "the transfer did not end",
        RetrievedPhase::VerifyingUpdate => "verification did not end",
        RetrievedPhase::VerificationSucceeded => "the image was not applied",
        RetrievedPhase::VerificationFailed => "verification failed",
        RetrievedPhase::ApplyingUpdate => "installation did not end",
        RetrievedPhase::TransferCanceled => "the transfer was cancelled",
        RetrievedPhase::ApplySuccess => "the new image was not confirmed",
        RetrievedPhase::ApplyFailed => "the new image did not start",
        RetrievedPhase::Unknown => "the gateway never reached the node",
    }
}
