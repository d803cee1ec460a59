//! What the harness does to a rack, and when. Every fault is lowered to these.

use crate::air::{AirRule, Receivers};
use crate::capability::{Capability, CapabilitySet};
use crate::event::Event;
use crate::fact::{Fact, UpdatePhase};
use crate::ids::{FaultId, GatewayId, NodeId, RuleId, StageIndex};
use crate::image::BankArea;
use crate::policy::CampaignPolicy;
use crate::provision::PackageSupply;
use crate::time::{Span, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Orders of the operator of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorOrder {
    /// Go on after a pause; journalled as an override of the stage that paused.
    Resume,
    /// Stop the campaign; nodes stay as they are.
    Abort,
    /// Stop the campaign and send the old image to updated nodes.
    RollBack,
    /// Pause now.
    Pause,
}

/// What is left of a flash operation when the power goes (boot sheet, section 3; design, section 5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tear {
    /// The operation did not happen.
    NotDone,
    /// The operation was completed.
    Done,
    /// Some bits of the word or page changed.
    RandomBits,
    /// Half of the page was erased.
    HalfErased,
    /// The page was erased but for its first word.
    FirstWordLeft,
}

/// Power of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// Off until switched on.
    Off,
    /// On.
    On,
    /// Off, and on again after this long.
    Cycle(Span),
    /// Off at the n-th flash operation from now (0: the next) and on again after `restore_after`.
    CutAtOperation {
        /// Which operation, word writes and page erases counted.
        operation: u64,
        /// What is left of it.
        tear: Tear,
        /// Dark time.
        restore_after: Span,
    },
}

/// A write by the debug probe, behind the firmware's back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProbeWrite {
    /// Where.
    pub area: BankArea,
    /// Octet offset within the area.
    pub offset: u32,
    /// Octets to XOR into what is there.
    pub mask: Vec<u8>,
}

/// One thing done to a rack.
#[derive(Debug, Clone)]
pub enum Action {
    /// Hand a package to MeshOS and start a campaign.
    StartCampaign {
        /// The policy.
        policy: CampaignPolicy,
        /// The package.
        package: PackageSupply,
        /// The nodes addressed.
        targets: Vec<NodeId>,
    },
    /// An order of the operator.
    Operator(OperatorOrder),
    /// Install an interposer rule.
    AddAirRule(AirRule),
    /// Remove an interposer rule.
    RemoveAirRule(RuleId),
    /// Switch or cut power of a node.
    Power(NodeId, Power),
    /// Write flash of a node by probe.
    ProbeWrite(NodeId, ProbeWrite),
    /// Read all banks of a node by probe, as an event.
    ProbeRead(NodeId),
    /// Kill the gateway and start it again after this long.
    RestartGateway(GatewayId, Span),
    /// Kill MeshOS and start it again from its journal after this long.
    RestartMeshos(Span),
}

impl Action {
    /// What a rack has to be able to do so that it can do this. Campaigns and their operator are what racks are for: they
    /// need nothing.
    #[must_use]
    pub fn needs(&self) -> CapabilitySet {
        let one = |capability| CapabilitySet::from([capability]);
        match self {
            Self::StartCampaign { .. } | Self::Operator(_) => CapabilitySet::new(),
            // What is addressed to one node is that node's alone; what goes to many can be different for one of them
            // only where the rack can tell receivers apart.
            Self::AddAirRule(rule) => match rule.matches.receivers {
                Receivers::Only(_) if rule.matches.kind.is_multicast() => {
                    CapabilitySet::from([Capability::AirInterpose, Capability::AirPerReceiver])
                }
                Receivers::All | Receivers::Only(_) => one(Capability::AirInterpose),
            },
            Self::RemoveAirRule(_) => one(Capability::AirInterpose),
            Self::Power(_, Power::Off | Power::On | Power::Cycle(_)) => one(Capability::PowerSwitch),
            Self::Power(_, Power::CutAtOperation { .. }) => one(Capability::PowerCutAtOperation),
            Self::ProbeWrite(..) => one(Capability::ProbeWrite),
            Self::ProbeRead(_) => one(Capability::ProbeRead),
            Self::RestartGateway(..) => one(Capability::GatewayRestart),
            Self::RestartMeshos(_) => one(Capability::MeshosRestart),
        }
    }

    /// One line for the ledger.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::StartCampaign { package, targets, .. } => {
                format!("start campaign to {} for {} nodes", package.image.version, targets.len())
            }
            Self::Operator(order) => format!("operator: {order:?}").to_lowercase(),
            Self::AddAirRule(rule) => format!("air rule {} on {:?}", rule.id.0, rule.matches.kind).to_lowercase(),
            Self::RemoveAirRule(id) => format!("air rule {} removed", id.0),
            Self::Power(node, power) => match power {
                Power::Off => format!("{node}: power off"),
                Power::On => format!("{node}: power on"),
                Power::Cycle(dark) => format!("{node}: power off for {dark}"),
                Power::CutAtOperation { operation, .. } => {
                    format!("{node}: power cut armed at flash operation {operation} from now")
                }
            },
            Self::ProbeWrite(node, write) => {
                format!("{node}: probe alters {} octets of {:?} at {:#x}", write.mask.len(), write.area, write.offset)
            }
            Self::ProbeRead(node) => format!("{node}: probe reads the banks"),
            Self::RestartGateway(gateway, dark) => format!("{gateway}: restart, {dark} down"),
            Self::RestartMeshos(dark) => format!("meshos: restart, {dark} down"),
        }
    }
}

/// An event that releases an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The campaign paused.
    CampaignPaused,
    /// A stage was opened.
    StageStarted(StageIndex),
    /// A stage's soak began.
    SoakStarted(StageIndex),
    /// The distributor finished this BLOB block for all its targets.
    BlockDone(u32),
    /// The gateway saw a node's transfer complete.
    TransferComplete(NodeId),
    /// A node told its update phase.
    Phase(NodeId, UpdatePhase),
    /// A node was reset, for any cause.
    Reset(NodeId),
    /// A trial image was started on a node.
    TrialStarted(NodeId),
    /// A node's first-boot confirmation was heard by the gateway.
    ConfirmationHeard(NodeId),
}

impl Trigger {
    /// Whether `event` is the one waited for.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let node = event.about.node();
        match (self, &event.fact) {
            (Self::CampaignPaused, Fact::CampaignPaused { .. }) => true,
            (Self::StageStarted(want), Fact::StageStarted { stage, .. })
            | (Self::SoakStarted(want), Fact::SoakStarted { stage, .. }) => want == stage,
            (Self::BlockDone(want), Fact::BlockDone { block, .. }) => want == block,
            (Self::TransferComplete(want), Fact::TransferComplete { .. })
            | (Self::Reset(want), Fact::Reset { .. })
            | (Self::ConfirmationHeard(want), Fact::ConfirmationHeard { .. }) => node == Some(*want),
            (Self::TrialStarted(want), Fact::ImageStarted { trial, .. }) => *trial && node == Some(*want),
            (Self::Phase(want, phase), Fact::UpdatePhase { phase: now, .. }) => node == Some(*want) && phase == now,
            _ => false,
        }
    }
}

/// When an action happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// At this time.
    At(Time),
    /// This long after the `nth` (from 1) event that the trigger matches.
    After {
        /// What is waited for.
        trigger: Trigger,
        /// Which occurrence, from 1.
        nth: u16,
        /// How long after it.
        delay: Span,
    },
}

/// An action and its time.
#[derive(Debug, Clone)]
pub struct TimedAction {
    /// When.
    pub when: When,
    /// What.
    pub action: Action,
    /// The fault it serves; none for the scenario's own timeline.
    pub fault: Option<FaultId>,
}
