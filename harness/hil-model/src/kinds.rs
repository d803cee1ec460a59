//! Kinds of things that facts speak of: causes, phases, outcomes, counters. Re-exported by [`crate::fact`].

use crate::ids::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a node started afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResetCause {
    /// Power came.
    PowerOn,
    /// Reset pin or probe.
    Pin,
    /// The firmware asked for it.
    Software,
    /// The watchdog expired.
    Watchdog,
    /// The core locked up or faulted.
    Lockup,
}

/// Firmware Update phase of a node (mesh-dfu sheet, section 7), with the product's own ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpdatePhase {
    /// Nothing under way.
    Idle,
    /// The transfer broke off; it can be resumed.
    TransferError,
    /// Receiving.
    TransferActive,
    /// Checking the staged image.
    Verifying,
    /// Staged image found good.
    VerificationSucceeded,
    /// Staged image found bad.
    VerificationFailed,
    /// Installing.
    Applying,
    /// The distributor gave up on the transfer.
    TransferCanceled,
    /// The distributor read the new firmware id back.
    ApplySuccess,
    /// The distributor read the old firmware id back, or nothing.
    ApplyFailed,
    /// Not known to the distributor.
    Unknown,
}

/// Which layer refused an image (design, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalLayer {
    /// Signed metadata refused, before any write.
    UpdateStart,
    /// Staged image refused, before any reset.
    Verifying,
    /// Judged again by the bootloader.
    Boot,
}

/// How a campaign counts a node in the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Runs the new image, confirmed.
    Updated,
    /// Tried the new image and is back on the old one.
    RolledBack,
    /// Refused the image; the text is the operator's.
    Rejected(String),
    /// Failed in this phase.
    Failed(UpdatePhase),
    /// Does not answer.
    Unreachable,
}

impl Outcome {
    /// The class, for tables.
    #[must_use]
    pub const fn class(&self) -> OutcomeClass {
        match self {
            Self::Updated => OutcomeClass::Updated,
            Self::RolledBack => OutcomeClass::RolledBack,
            Self::Rejected(_) => OutcomeClass::Rejected,
            Self::Failed(_) => OutcomeClass::Failed,
            Self::Unreachable => OutcomeClass::Unreachable,
        }
    }
}

/// Class of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeClass {
    /// Runs the new image.
    Updated,
    /// Back on the old image after a trial.
    RolledBack,
    /// Refused.
    Rejected,
    /// Failed.
    Failed,
    /// Silent.
    Unreachable,
}

/// What a boot pass decided, as the node's bootloader says on its trace port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootVerdict {
    /// Started the confirmed image.
    Normal,
    /// Installed staging and started a trial.
    Trial,
    /// Refused staging.
    Rejected,
    /// Put the golden image back.
    RolledBack,
    /// Repaired bank A from golden.
    Healed,
    /// Neither image fits; stays in the bootloader.
    Stuck,
}

/// Why a probe snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Before the first action.
    Provisioned,
    /// At a reset, before the bootloader ran.
    BeforeBoot,
    /// When the bootloader hands over.
    AfterBoot,
    /// Asked for by an action.
    Asked,
    /// Once things were quiet.
    Final,
}

/// Flash operations in an area since the previous snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlashUse {
    /// Words written.
    pub words: u64,
    /// Pages erased.
    pub erases: u64,
}

impl FlashUse {
    /// Whether anything was done.
    #[must_use]
    pub const fn any(self) -> bool {
        self.words > 0 || self.erases > 0
    }
}

/// The configuration as found by the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigState {
    /// Schema version of the newest complete record; none when there is no readable record.
    pub version: Option<u16>,
    /// Digest over the user's settings in that record, comparable between schema versions.
    pub settings: Option<Digest>,
}

/// Octets of a message at one place: their count and digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// Octets.
    pub len: u16,
    /// SHA-256.
    pub digest: Digest,
}

/// What the interposer did to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Interposition {
    /// Nothing was delivered.
    Dropped,
    /// Other octets were delivered.
    Altered,
    /// Kept back; delivery follows.
    Held,
    /// Delivered after having been held.
    Released,
    /// Delivered once more.
    Duplicated,
    /// Delivered after later ones.
    Reordered,
    /// An old message delivered again.
    Replayed,
}

/// Health of an updated node in soak, when it is not healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HealthFault {
    /// Application reports stay away.
    ReportsMissing,
    /// Heartbeats stay away.
    HeartbeatsMissing,
    /// Too many hops.
    TooManyHops,
    /// Too weak.
    WeakSignal,
    /// Says of itself that it is degraded.
    Degraded,
    /// Runs another image than counted.
    WrongImage,
}
