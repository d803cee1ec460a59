//! What the operator is told without asking.

use crate::journal::{End, PauseReason};
use core::fmt;
use mk_wire::time::Instant;
use mk_wire::{Addr, Reason};

/// One alert. After a restart the alert of a pause that still holds is given again: better twice than never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alert {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: AlertKind,
}

/// What an alert says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlertKind {
    /// The campaign paused and waits for the operator.
    Paused {
        /// The stage that is to blame, from 0.
        stage: u8,
        /// Why.
        reason: PauseReason,
        /// Confirmed nodes of that stage.
        confirmed: u16,
        /// Nodes addressed in that stage.
        targeted: u16,
    },
    /// A node that had been counted as updated is not.
    ConfirmationWithdrawn {
        /// The node.
        node: Addr,
    },
    /// A roll-back by the operator ended, and nodes still run the new image.
    RollBackIncomplete {
        /// How many.
        nodes: u16,
        /// Why they would not take the old image, where one of them said so. [`Reason::VersionTooOld`] is what a release
        /// that raised the security counter brings about: there is no way back from it but a newer release.
        reason: Reason,
    },
    /// The campaign ended.
    Ended(End),
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            AlertKind::Paused { stage, reason, confirmed, targeted } => {
                write!(f, "campaign paused in stage {}: {reason} ({confirmed} of {targeted} confirmed)", stage + 1)
            }
            AlertKind::ConfirmationWithdrawn { node } => {
                write!(f, "node {node} had confirmed the new image and does not run it any more")
            }
            AlertKind::RollBackIncomplete { nodes, reason: Reason::None } => {
                write!(f, "roll-back ended with {nodes} nodes on the new image")
            }
            AlertKind::RollBackIncomplete { nodes, reason: Reason::VersionTooOld } => {
                write!(
                    f,
                    "roll-back ended with {nodes} nodes on the new image ({}): the release raised the security counter, \
                     only a newer release can replace it",
                    Reason::VersionTooOld
                )
            }
            AlertKind::RollBackIncomplete { nodes, reason } => {
                write!(f, "roll-back ended with {nodes} nodes on the new image ({reason})")
            }
            AlertKind::Ended(End::Completed) => f.write_str("campaign completed"),
            AlertKind::Ended(End::Aborted) => f.write_str("campaign aborted by the operator"),
            AlertKind::Ended(End::RolledBack) => f.write_str("campaign rolled back by the operator"),
        }
    }
}
