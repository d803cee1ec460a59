//! The campaign's journal: append-only records from which [`crate::Campaign::resume`] rebuilds the machine.
//!
//! A record is a fact or a decision, never a plan: everything else (requests to gateways, questions to nodes, alerts not
//! yet delivered) follows from the records and is produced again after a restart. Encoded records check themselves, so
//! that a record torn by a power cut at the end of a file is dropped and everything before it is kept.

use crate::codec;
use crate::fleet::NodeInfo;
use crate::outcome::Outcome;
use crate::package::PackageInfo;
use crate::policy::Policy;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use mk_wire::distribution::{RetrievedPhase, Status};
use mk_wire::time::Instant;
use mk_wire::{Addr, update};
use serde::{Deserialize, Serialize};

/// Everything a campaign is created from, but for the image files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The operator's policy.
    pub policy: Policy,
    /// The nodes addressed.
    pub fleet: Vec<NodeInfo>,
    /// The package to be distributed.
    pub package: PackageInfo,
    /// The package that a roll-back by the operator distributes; without one, there is no such roll-back.
    pub rollback: Option<PackageInfo>,
}

/// Orders of the operator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum OperatorOrder {
    /// Go on after a pause; journalled as an override of the stage that paused, where threshold or health paused it.
    Resume,
    /// Stop the campaign; nodes stay as they are.
    Abort,
    /// Stop the campaign and send the old image to updated nodes.
    RollBack,
    /// Pause now.
    Pause,
}

/// Why a campaign paused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PauseReason {
    /// Too few nodes of the stage confirmed.
    BelowThreshold,
    /// A later report took back a confirmation, and a stage that had passed is now under its threshold.
    ConfirmationWithdrawn,
    /// Too few updated nodes are healthy in soak.
    Unhealthy {
        /// Healthy nodes.
        healthy: u16,
        /// Updated nodes of the stage.
        updated: u16,
    },
    /// A gateway does not answer.
    GatewaySilent {
        /// Which.
        #[serde(with = "codec::addr")]
        gateway: Addr,
    },
    /// A gateway refuses what it is asked for.
    GatewayRefused {
        /// Which.
        #[serde(with = "codec::addr")]
        gateway: Addr,
        /// Its status.
        #[serde(with = "codec::status")]
        status: Status,
    },
    /// The operator asked for it.
    Operator,
}

impl PauseReason {
    /// Does a resume after this pause exempt the stage from threshold and health?
    #[must_use]
    pub const fn resume_overrides(self) -> bool {
        match self {
            PauseReason::BelowThreshold | PauseReason::ConfirmationWithdrawn | PauseReason::Unhealthy { .. } => true,
            PauseReason::GatewaySilent { .. } | PauseReason::GatewayRefused { .. } | PauseReason::Operator => false,
        }
    }
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PauseReason::BelowThreshold => f.write_str("confirmations below the threshold"),
            PauseReason::ConfirmationWithdrawn => {
                f.write_str("nodes that had confirmed run the old image: below the threshold")
            }
            PauseReason::Unhealthy { healthy, updated } => {
                write!(f, "{healthy} of {updated} updated nodes healthy in soak")
            }
            PauseReason::GatewaySilent { gateway } => write!(f, "gateway {gateway} does not answer"),
            PauseReason::GatewayRefused { gateway, status } => write!(f, "gateway {gateway} refuses: {status:?}"),
            PauseReason::Operator => f.write_str("paused by the operator"),
        }
    }
}

/// How a campaign ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    /// Every stage passed.
    Completed,
    /// The operator stopped it.
    Aborted,
    /// The operator had the old image sent to the updated nodes.
    RolledBack,
}

/// How a distribution ended at its gateway. What became of a node, the node says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DistributionEnd {
    /// At least one receiver read back the new firmware id.
    Completed,
    /// No receiver was left.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// The gateway did not answer a cancel; nothing is known.
    Lost,
}

/// What the distributor last knew of a receiver when its distribution ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceiverResult {
    /// The phase.
    #[serde(with = "codec::phase")]
    pub phase: RetrievedPhase,
    /// The receiver refused the metadata.
    pub metadata_refused: bool,
}

impl ReceiverResult {
    /// Of a receiver that the distributor says nothing about.
    pub const UNKNOWN: Self = ReceiverResult { phase: RetrievedPhase::Unknown, metadata_refused: false };

    /// From a receivers list entry.
    #[must_use]
    pub const fn new(phase: RetrievedPhase, status: update::Status) -> Self {
        ReceiverResult { phase, metadata_refused: matches!(status, update::Status::MetadataCheckFailed) }
    }
}

/// Why an updated node is not healthy: a set of [`HealthFault`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct HealthFaults(pub(crate) u8);

/// Health of an updated node in soak, when it is not healthy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
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
}

impl HealthFault {
    /// Every fault.
    pub const ALL: [HealthFault; 5] = [
        HealthFault::ReportsMissing,
        HealthFault::HeartbeatsMissing,
        HealthFault::TooManyHops,
        HealthFault::WeakSignal,
        HealthFault::Degraded,
    ];
}

impl HealthFaults {
    /// Is there none?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Is this fault among them?
    #[must_use]
    pub const fn contains(self, fault: HealthFault) -> bool {
        self.0 & 1 << (fault as u8) != 0
    }

    pub(crate) const fn set(self, fault: HealthFault, on: bool) -> Self {
        let bit = 1 << (fault as u8);
        HealthFaults(if on { self.0 | bit } else { self.0 & !bit })
    }

    /// The faults in order.
    pub fn iter(self) -> impl Iterator<Item = HealthFault> {
        HealthFault::ALL.into_iter().filter(move |fault| self.contains(*fault))
    }
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Record {
    /// First of every journal.
    Created(Box<Setup>),
    /// The campaign began.
    Started {
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
    },
    /// A stage was opened; its nodes are asked what they run.
    StageStarted {
        /// Which, from 0.
        stage: u8,
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
        /// Its nodes.
        #[serde(with = "codec::addrs")]
        nodes: Vec<Addr>,
    },
    /// A node holds a verdict on this version that is older than this campaign's distribution; it does not count.
    PriorVerdict {
        /// The node.
        #[serde(with = "codec::addr")]
        node: Addr,
        /// Its boot count with that verdict.
        boot_count: u32,
    },
    /// The nodes of the stage (or of the roll-back) were asked what they run; distributions may begin.
    Surveyed {
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
    },
    /// A distribution was opened at a gateway.
    DistributionStarted {
        /// Counts distributions of the campaign from 0.
        number: u16,
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
        /// Where.
        #[serde(with = "codec::addr")]
        gateway: Addr,
        /// Its group address, no other distribution's.
        #[serde(with = "codec::addr")]
        group: Addr,
        /// Its receivers.
        #[serde(with = "codec::addrs")]
        nodes: Vec<Addr>,
    },
    /// A distribution ended at its gateway.
    DistributionEnded {
        /// Which.
        number: u16,
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
        /// How.
        end: DistributionEnd,
        /// What the gateway last knew of each receiver, in the order of the start record.
        receivers: Vec<ReceiverResult>,
    },
    /// A node whose transfer failed gets another distribution.
    Retry {
        /// The node.
        #[serde(with = "codec::addr")]
        node: Addr,
    },
    /// The campaign counts a node so; a later record of the same node replaces it.
    NodeOutcome {
        /// The node.
        #[serde(with = "codec::addr")]
        node: Addr,
        /// Its stage.
        stage: u8,
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
        /// The outcome.
        outcome: Outcome,
        /// The node's boot count that this rests on; 0 if it rests on no word of the node.
        boot_count: u32,
    },
    /// An updated node became unhealthy, or its faults changed, or (with none left) it became healthy again.
    Health {
        /// The node.
        #[serde(with = "codec::addr")]
        node: Addr,
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
        /// What is wrong.
        faults: HealthFaults,
    },
    /// A stage's delivery ended and its soak began.
    SoakStarted {
        /// Which.
        stage: u8,
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
        /// When it ends.
        #[serde(with = "codec::instant")]
        until: Instant,
        /// Confirmed nodes.
        confirmed: u16,
        /// Nodes addressed.
        targeted: u16,
    },
    /// A stage was closed as passed.
    StagePassed {
        /// Which.
        stage: u8,
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
        /// Confirmed nodes.
        confirmed: u16,
        /// Nodes addressed.
        targeted: u16,
        /// An operator's override let it pass.
        overridden: bool,
    },
    /// The campaign paused; an alert goes out with it.
    Paused {
        /// The stage that is to blame: the running one, or an earlier one that fell under its threshold.
        stage: u8,
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
        /// Why.
        reason: PauseReason,
        /// Confirmed nodes of that stage.
        confirmed: u16,
        /// Nodes addressed in that stage.
        targeted: u16,
    },
    /// An operator's order was taken.
    Operator {
        /// The order.
        order: OperatorOrder,
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
    },
    /// After the operator's order to roll back, and once no distribution was running: these nodes may hold the new image.
    RollBackStarted {
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
        /// The nodes.
        #[serde(with = "codec::addrs")]
        nodes: Vec<Addr>,
    },
    /// The campaign ended. Outcomes may still be corrected after it.
    Ended {
        /// When.
        #[serde(with = "codec::instant")]
        at: Instant,
        /// How.
        end: End,
    },
}

/// Longest record accepted, in octets: more than the largest fleet's setup needs, less than would exhaust memory.
const MAX_RECORD: usize = 1 << 20;
/// Octets around a record: its length and a CRC-32 over length and record.
const FRAME: usize = 8;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// A record that cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("journal record of {len} octets is longer than {MAX_RECORD}, or cannot be encoded")]
pub struct EncodeError {
    /// Its length in octets; 0 if it could not be encoded.
    pub len: usize,
}

/// A journal that is damaged before its last record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("journal damaged at octet {offset}, after {records} good records")]
pub struct DamagedJournal {
    /// Offset of the damaged record.
    pub offset: usize,
    /// Good records before it.
    pub records: usize,
}

/// What a journal holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    /// The records.
    pub records: Vec<Record>,
    /// Octets that they take. A host cuts its file to this length before it appends: what follows is a torn record.
    pub good_len: usize,
}

impl Record {
    /// Appends the encoded record to `out`.
    ///
    /// # Errors
    /// A record that is too long; `out` is then unchanged.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let body = postcard::to_allocvec(self).map_err(|_| EncodeError { len: 0 })?;
        let too_long = EncodeError { len: body.len() };
        let len = u32::try_from(body.len()).map_err(|_| too_long)?;
        if body.len() > MAX_RECORD {
            return Err(too_long);
        }
        let mut digest = CRC.digest();
        digest.update(&len.to_le_bytes());
        digest.update(&body);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&digest.finalize().to_le_bytes());
        out.extend_from_slice(&body);
        Ok(())
    }
}

/// Reads a journal. A last record that is cut short or fails its check is dropped.
///
/// # Errors
/// A record that fails its check although more follows: that was not a power cut while appending.
pub fn read(bytes: &[u8]) -> Result<Contents, DamagedJournal> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        match read_one(rest) {
            Read::Record(record, len) => {
                records.push(*record);
                rest = rest.get(len..).unwrap_or_default();
            }
            Read::Torn => return Ok(Contents { records, good_len: offset }),
            Read::Damaged => return Err(DamagedJournal { offset, records: records.len() }),
        }
    }
    Ok(Contents { records, good_len: bytes.len() })
}

enum Read {
    Record(Box<Record>, usize),
    Torn,
    Damaged,
}

fn read_one(bytes: &[u8]) -> Read {
    let Some((len, rest)) = bytes.split_first_chunk::<4>() else { return Read::Torn };
    let Some((crc, rest)) = rest.split_first_chunk::<4>() else { return Read::Torn };
    let body_len = u32::from_le_bytes(*len) as usize;
    let Some(body) = rest.get(..body_len) else { return Read::Torn };
    let last = rest.len() == body_len;
    let mut digest = CRC.digest();
    digest.update(len);
    digest.update(body);
    if body_len <= MAX_RECORD && digest.finalize() == u32::from_le_bytes(*crc) {
        // A record that passes its check but has another layout was written by another version of this crate.
        return match postcard::take_from_bytes::<Record>(body) {
            Ok((record, [])) => Read::Record(Box::new(record), FRAME + body_len),
            Ok(_) | Err(_) => Read::Damaged,
        };
    }
    if last { Read::Torn } else { Read::Damaged }
}
