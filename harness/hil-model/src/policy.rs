//! The policy of a campaign as an operator writes it; defaults are the product's.

use crate::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many nodes a stage takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StageSize {
    /// So many nodes.
    Count(u16),
    /// So many per cent of the fleet, rounded up.
    Percent(u8),
    /// All that are left.
    Rest,
}

/// One stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StagePolicy {
    /// How many nodes.
    pub size: StageSize,
    /// Time between the last confirmation of the stage and the next stage, under health checks.
    pub soak: Span,
}

/// A local-time interval of the day in which firmware may be sent; `to` before `from` runs over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Window {
    /// Minutes after local midnight.
    pub from_minute: u16,
    /// Minutes after local midnight, not included.
    pub to_minute: u16,
}

/// What soak health checks demand of updated nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HealthPolicy {
    /// Interval at which nodes send application reports and heartbeats.
    pub report_interval: Span,
    /// Reports that may be missing in a row before a node counts as unhealthy.
    pub missing_reports: u8,
    /// Most hops to the gateway.
    pub max_hops: u8,
    /// Weakest signal, in dBm.
    pub min_rssi_dbm: i8,
    /// Share of the stage's updated nodes that must be healthy, in permille.
    pub healthy_permille: u16,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            report_interval: Span::secs(60),
            missing_reports: 5,
            max_hops: 8,
            min_rssi_dbm: -92,
            healthy_permille: 950,
        }
    }
}

/// A campaign's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CampaignPolicy {
    /// Stages in order.
    pub stages: Vec<StagePolicy>,
    /// Confirmed nodes over targeted nodes that a stage must reach, in permille.
    pub success_permille: u16,
    /// Share of the channel that firmware may use, in permille.
    pub throttle_permille: u16,
    /// Time a trial image has to get its first-boot confirmation acknowledged.
    pub grace: Span,
    /// When firmware may be sent; always when empty.
    pub windows: Vec<Window>,
    /// Local time of day at the start of the run, in minutes after midnight.
    pub start_minute: u16,
    /// Health checks.
    pub health: HealthPolicy,
    /// Groups (gateways) served at once; 1 or 2.
    pub concurrency: u8,
}

impl Default for CampaignPolicy {
    /// 20 nodes and 24 h, 100 and 12 h, 250, the rest; 95 %; 40 % of the channel; 120 s.
    fn default() -> Self {
        let stage = |size, soak| StagePolicy { size, soak };
        Self {
            stages: vec![
                stage(StageSize::Count(20), Span::hours(24)),
                stage(StageSize::Count(100), Span::hours(12)),
                stage(StageSize::Count(250), Span::ZERO),
                stage(StageSize::Rest, Span::ZERO),
            ],
            success_permille: 950,
            throttle_permille: 400,
            grace: Span::secs(120),
            windows: Vec::new(),
            start_minute: 0,
            health: HealthPolicy::default(),
            concurrency: 1,
        }
    }
}
