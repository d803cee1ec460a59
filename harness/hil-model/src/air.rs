//! Interposer vocabulary: one rule matches whole air messages, decoded where the test keys allow, and acts on them.
//!
//! The unit is the message with its PDUs attached. Acting on a single PDU, or on one receiver of a multicast, are
//! capabilities of their own: a lab rack cannot alter a multicast for one receiver.

use crate::ids::{FaultId, GatewayId, NodeId, RuleId};
use crate::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an air message is, after decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MessageKind {
    /// BLOB Chunk Transfer.
    Chunk,
    /// BLOB Block Start.
    BlockStart,
    /// BLOB Block Get.
    BlockGet,
    /// BLOB Block Status or Partial Block Report.
    BlockStatus,
    /// BLOB Transfer Get, Start, Cancel, Status, Information Get, Information Status.
    Transfer,
    /// Firmware Update Start.
    UpdateStart,
    /// Firmware Update Apply.
    UpdateApply,
    /// Firmware Update Status.
    UpdateStatus,
    /// Other Firmware Update messages.
    UpdateOther,
    /// First-boot confirmation, node to gateway.
    Confirm,
    /// The gateway's acknowledgement of a confirmation.
    ConfirmAck,
    /// Node report or a request for one.
    Report,
    /// Health heartbeat.
    Health,
    /// Application report: temperature, lighting.
    AppReport,
    /// Lighting command.
    Light,
    /// CoAP request or response that carries image blocks.
    CoapBlock,
    /// Any other CoAP message.
    CoapOther,
    /// Not decodable, or none of the above.
    Other,
}

impl MessageKind {
    /// Whether messages of this kind go to many receivers at once.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        match self {
            Self::Chunk | Self::BlockStart | Self::BlockGet | Self::Transfer | Self::Light => true,
            Self::BlockStatus
            | Self::UpdateStart
            | Self::UpdateApply
            | Self::UpdateStatus
            | Self::UpdateOther
            | Self::Confirm
            | Self::ConfirmAck
            | Self::Report
            | Self::Health
            | Self::AppReport
            | Self::CoapBlock
            | Self::CoapOther
            | Self::Other => false,
        }
    }
}

/// An end of an air message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// A node.
    Node(NodeId),
    /// A gateway.
    Gateway(GatewayId),
    /// Any node.
    AnyNode,
    /// Any gateway.
    AnyGateway,
}

impl Party {
    /// Whether `actual`, which names one node or one gateway, is meant by this pattern.
    #[must_use]
    pub fn covers(self, actual: Self) -> bool {
        match self {
            Self::AnyNode => matches!(actual, Self::Node(_)),
            Self::AnyGateway => matches!(actual, Self::Gateway(_)),
            Self::Node(_) | Self::Gateway(_) => self == actual,
        }
    }
}

/// For whom a rule acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Receivers {
    /// The message on the air: every receiver gets the same.
    All,
    /// Just these nodes; the others hear the original. Needs the capability `air-per-receiver`.
    Only(Vec<NodeId>),
}

/// Which messages a rule acts on. Fields left out match anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AirMatch {
    /// Kind of message.
    pub kind: MessageKind,
    /// Sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Party>,
    /// BLOB or CoAP block number the message belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    /// First and last chunk number within the block, both included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<(u16, u16)>,
    /// For whom.
    pub receivers: Receivers,
}

/// Until when a message is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HoldUntil {
    /// For this long after it was sent.
    For(Span),
    /// Until this long after the sending node's trial image was started.
    AfterTrialStart(Span),
}

/// What a rule does to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AirEffect {
    /// The message is not delivered.
    Drop,
    /// `mask` is XORed into the message's data (chunk data, CoAP payload, else access parameters) at `offset`; the
    /// whole data when `mask` is longer is cut to it. The message stays well-formed and correctly encrypted.
    Alter {
        /// Octet offset within the data.
        offset: u16,
        /// Octets to XOR, repeated over the data to its end when `repeat`.
        mask: Vec<u8>,
        /// Whether `mask` repeats to the end of the data.
        repeat: bool,
    },
    /// The message is delivered later.
    Delay(HoldUntil),
    /// The message is delivered `copies` more times, `spacing` apart.
    Duplicate {
        /// Further deliveries.
        copies: u8,
        /// Between deliveries.
        spacing: Span,
    },
    /// The message is delivered after the next `after` matching messages.
    Reorder {
        /// How many later messages overtake it; 1 to 16.
        after: u8,
    },
    /// The message is delivered, and once more this much later.
    Replay(Span),
}

/// A rule of the interposer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AirRule {
    /// Unique in a run.
    pub id: RuleId,
    /// The fault this rule serves.
    pub fault: FaultId,
    /// Which messages.
    pub matches: AirMatch,
    /// What happens to them.
    pub effect: AirEffect,
    /// At most so many messages (per receiver where receivers are named); unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
