//! Events: when, in which order, about whom, seen by which witness, and what.

use crate::fact::Fact;
use crate::ids::{GatewayId, NodeId};
use crate::time::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whom an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// A node.
    Node(NodeId),
    /// A gateway.
    Gateway(GatewayId),
    /// The campaign.
    Campaign,
    /// The rack itself.
    Rack,
}

impl About {
    /// The node, if it is about one.
    #[must_use]
    pub const fn node(self) -> Option<NodeId> {
        match self {
            Self::Node(id) => Some(id),
            Self::Gateway(_) | Self::Campaign | Self::Rack => None,
        }
    }
}

impl core::fmt::Display for About {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Node(id) => f.pad(&id.to_string()),
            Self::Gateway(id) => f.pad(&id.to_string()),
            Self::Campaign => f.pad("campaign"),
            Self::Rack => f.pad("rack"),
        }
    }
}

/// Who saw it. Claims need a witness that does not depend on what is claimed about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// The node's own words on its console or trace port.
    Console,
    /// Flash and core state read through the debug port.
    Probe,
    /// The gateway's journal.
    Gateway,
    /// The campaign's journal.
    Meshos,
    /// A radio of the rack, which is also the interposer.
    Radio,
    /// Power and reset lines.
    Power,
    /// The harness itself.
    Harness,
}

impl core::fmt::Display for Witness {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Console => "console",
            Self::Probe => "probe",
            Self::Gateway => "gateway",
            Self::Meshos => "meshos",
            Self::Radio => "radio",
            Self::Power => "power",
            Self::Harness => "harness",
        })
    }
}

/// One observation. `seq` is its place in the ledger, from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Event {
    /// Place in the ledger; the ledger sets it.
    pub seq: u64,
    /// When, in nanoseconds of rack time.
    pub at: Time,
    /// About whom.
    pub about: About,
    /// Seen by whom.
    pub witness: Witness,
    /// What.
    pub fact: Fact,
}

impl Event {
    /// An event whose place the ledger will set.
    #[must_use]
    pub const fn new(at: Time, about: About, witness: Witness, fact: Fact) -> Self {
        Self { seq: 0, at, about, witness, fact }
    }
}
