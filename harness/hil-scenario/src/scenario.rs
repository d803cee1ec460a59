//! A scenario as written: the types that parser, JSON Schema and manual share. Defaults are the product's.

use crate::expectations::ExpectationSpec;
use crate::faults::FaultSpec;
use crate::nodes::NodeSet;
use crate::scalars::{DayWindow, Percent, Size, Take, TimeOfDay};
use crate::source::Places;
use hil_model::action::Power;
use hil_model::{AirLevel, Behaviour, Composition, GatewayId, OperatorOrder, Span, TrafficProfile, Trigger, Version};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// The fleet and the air that the scenario asks for; what is left out is the rack's.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RackWish {
    /// How many nodes.
    pub nodes: Option<u16>,
    /// Spread over how many floors.
    pub floors: Option<u8>,
    /// Served by how many gateways.
    pub gateways: Option<u16>,
    /// Every how-many-th node is on Thread; 0: none, 1: all.
    pub thread_every: Option<u16>,
    /// Live traffic beside the update.
    pub traffic: Option<TrafficProfile>,
    /// Fidelity of the simulated air.
    pub level: Option<AirLevel>,
    /// Size of the images.
    pub image_size: Option<Size>,
}

/// What every node runs at the start.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RunningImage {
    /// Version.
    pub version: Version,
    /// Schema version of the configuration that every node holds, and that the image is made for.
    pub config_version: u16,
}

impl Default for RunningImage {
    fn default() -> Self {
        Self { version: Version::new(1, 0, 0), config_version: 2 }
    }
}

/// What the package carries.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CandidateImage {
    /// Version.
    pub version: Version,
    /// Schema version that the image is made for; the running image's when left out.
    pub config_version: Option<u16>,
    /// Oldest schema version that its migration handler accepts; no handler when left out.
    pub oldest_migratable: Option<u16>,
    /// What it does once it runs.
    pub behaviour: Behaviour,
    /// Security counter; derived from the version when left out.
    pub security_counter: Option<u32>,
}

impl Default for CandidateImage {
    fn default() -> Self {
        Self {
            version: Version::new(1, 1, 0),
            config_version: None,
            oldest_migratable: None,
            behaviour: Behaviour::Normal,
            security_counter: None,
        }
    }
}

/// One stage.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StageWish {
    /// How many nodes.
    pub take: Take,
    /// Soak time; none when left out.
    #[serde(default)]
    pub soak: Span,
}

/// What soak health checks demand.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HealthWish {
    /// Interval of application reports and heartbeats.
    pub report_interval: Option<Span>,
    /// Reports that may be missing in a row.
    pub missing_reports: Option<u8>,
    /// Most hops to the gateway.
    pub max_hops: Option<u8>,
    /// Weakest signal in dBm.
    pub min_rssi: Option<i8>,
    /// Share of the updated nodes that must be healthy.
    pub healthy: Option<Percent>,
}

/// The campaign's policy; what is left out is the product's.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CampaignWish {
    /// Stages in order.
    pub stages: Option<Vec<StageWish>>,
    /// Confirmed over addressed nodes that a stage must reach.
    pub success: Option<Percent>,
    /// Share of the channel that firmware may use.
    pub throttle: Option<Percent>,
    /// Time a trial has to get its confirmation acknowledged; the rack profile's when left out.
    pub grace: Option<Span>,
    /// When firmware may be sent.
    pub windows: Vec<DayWindow>,
    /// Local time of day at the start of the run.
    pub start: Option<TimeOfDay>,
    /// Nodes addressed; all when left out.
    pub targets: Option<NodeSet>,
    /// Health checks in soak.
    pub health: HealthWish,
    /// Groups served at once: 1 or 2.
    pub concurrency: Option<u8>,
}

/// When something happens: `at` a time of the run, or `after` an event.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Moment {
    /// This long after the start of the run.
    #[serde(default)]
    pub at: Option<Span>,
    /// After this event.
    #[serde(default)]
    pub after: Option<Trigger>,
    /// After which occurrence of the event, from 1.
    #[serde(default)]
    pub nth: Option<u16>,
    /// How long after the event.
    #[serde(default)]
    pub delay: Option<Span>,
}

/// Power of a node, on a timeline.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PowerStep {
    /// Which nodes.
    pub nodes: NodeSet,
    /// What happens to it: `off`, `on`, `{ cycle: 5 s }`.
    pub power: PowerWish,
}

/// What happens to a node's power.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PowerWish {
    /// Off until switched on.
    Off,
    /// On.
    On,
    /// Off, and on again after this long.
    Cycle(Span),
}

impl PowerWish {
    /// As the action says it.
    #[must_use]
    pub const fn power(self) -> Power {
        match self {
            Self::Off => Power::Off,
            Self::On => Power::On,
            Self::Cycle(dark) => Power::Cycle(dark),
        }
    }
}

/// One step of the scenario's own timeline: normal events in the life of a building, no faults.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// An order of the operator.
    Operator(OperatorOrder),
    /// Power of nodes.
    Power(PowerStep),
    /// Read all banks of these nodes by probe.
    ProbeRead(NodeSet),
}

/// A step and its time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TimelineEntry {
    /// When.
    pub when: Moment,
    /// What.
    #[serde(rename = "do")]
    pub step: Step,
}

/// Marks a scenario that must catch a wrong composition.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CanaryWish {
    /// The wrong composition.
    pub composition: Composition,
    /// The rule that has to break: `oracle-1`, or `expect[0]`.
    pub must_break: String,
}

/// Everything a scenario file says, its variants apart.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Written {
    /// One line on what it proves, as a rule of the product.
    pub title: String,
    /// Requirement tags.
    #[serde(default)]
    pub proves: Vec<String>,
    /// Fleet and air.
    #[serde(default)]
    pub rack: RackWish,
    /// What runs at the start.
    #[serde(default)]
    pub running: RunningImage,
    /// What the package carries.
    #[serde(default)]
    pub candidate: CandidateImage,
    /// The campaign's policy.
    #[serde(default)]
    pub campaign: CampaignWish,
    /// Faults to inject.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
    /// Operator and building.
    #[serde(default)]
    pub timeline: Vec<TimelineEntry>,
    /// What must come out.
    #[serde(default)]
    pub expect: Vec<ExpectationSpec>,
    /// A composition that must be caught.
    #[serde(default)]
    pub canary: Option<CanaryWish>,
    /// Rack time by which everything must be quiet.
    #[serde(default)]
    pub deadline: Option<Span>,
    /// How long to watch after things are quiet.
    #[serde(default)]
    pub settle: Option<Span>,
}

/// A scenario to run: a file, or one variant of it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// `<theme>/<file stem>`, with `#<variant>`.
    pub name: String,
    /// The file as given.
    pub file: String,
    /// The file's text.
    pub text: Arc<str>,
    /// What it says.
    pub written: Written,
    /// Where in the file it says what.
    pub places: Places,
    /// One-line form of each fault and each expectation, for plans and reports.
    pub lines: Lines,
}

/// Faults and expectations as one line each.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    /// Faults.
    pub faults: Vec<String>,
    /// Expectations.
    pub expect: Vec<String>,
}

/// Most nodes of a scenario's fleet.
pub const MOST_NODES: u16 = 2_000;
/// Most gateways of a scenario's fleet.
pub const MOST_GATEWAYS: u16 = 32;

/// The gateway of this number, if the fleet has it.
#[must_use]
pub fn gateway_of(fleet: &hil_model::Fleet, number: u16) -> Option<GatewayId> {
    fleet.gateways().into_iter().find(|gateway| gateway.0 == number)
}
