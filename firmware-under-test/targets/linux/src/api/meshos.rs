//! What the MeshOS process says and understands.
//!
//! | event | when |
//! | --- | --- |
//! | `started` | the process is up; a campaign that was under way goes on |
//! | `campaign-started` | a campaign was accepted |
//! | `record` | the campaign's machine made a journal record: stages, outcomes, pauses, the operator's orders, the end |
//! | `alert` | the operator is told something |
//! | `gateway` | the link to a gateway changed its state |
//! | `orders-dropped` | a gateway was away for longer than its queue could hold |
//! | `not-resumed` | the campaign on disk cannot be gone on with |
//! | `stopping` | the process ends on request |
//!
//! Times inside records are [`mk_wire::time::Instant`]s: microseconds since [`CampaignClock::origin_unix_us`].

use super::form;
use mk_campaign::policy::RadioPolicy;
use mk_campaign::{Carrier, HealthPolicy, NodeKind, Policy, Record, StagePolicy, StageSize, Timing, Window};
use mk_campaign::{NodeInfo, OperatorOrder, Package};
use mk_wire::time::Duration;
use mk_wire::{Addr, Version};
use serde::{Deserialize, Serialize};

/// Where the times of a campaign's records begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CampaignClock {
    /// Microseconds from 1970, UTC, to instant zero.
    pub origin_unix_us: u64,
}

impl CampaignClock {
    /// The wall clock at an instant of a record, in milliseconds since 1970.
    #[must_use]
    pub const fn unix_ms(self, at: mk_wire::time::Instant) -> u64 {
        self.origin_unix_us.saturating_add(at.as_ticks()) / 1_000
    }
}

/// One event of `GET /events`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeshosEvent {
    /// The process is up.
    Started {
        /// Number of the campaign on disk; none: there is none.
        campaign: Option<u32>,
        /// Its journal records read.
        records: u32,
        /// Its clock.
        clock: Option<CampaignClock>,
    },
    /// A campaign was accepted and began.
    CampaignStarted {
        /// Counts the campaigns of this process's folder from 1.
        campaign: u32,
        /// Version distributed.
        #[serde(with = "form::version")]
        version: Version,
        /// Nodes addressed.
        targets: u16,
        /// Number of stages.
        stages: u8,
        /// Success threshold in permille.
        success_permille: u16,
        /// Throttle in permille.
        throttle_permille: u16,
        /// Its clock.
        clock: CampaignClock,
    },
    /// A journal record, in the form of the campaign's own journal: addresses and codes as numbers.
    Record(Record),
    /// An alert to the operator.
    Alert {
        /// In words.
        text: String,
    },
    /// The link to a gateway changed its state.
    Gateway {
        /// Which.
        #[serde(with = "form::addr")]
        address: Addr,
        /// Its notices come in.
        connected: bool,
        /// Why not; empty when connected.
        reason: String,
    },
    /// Orders for a gateway were dropped, oldest first: it did not take any for too long. The campaign asks again.
    OrdersDropped {
        /// Which gateway.
        #[serde(with = "form::addr")]
        address: Addr,
        /// How many.
        count: usize,
    },
    /// The campaign on disk cannot be gone on with.
    NotResumed {
        /// Why.
        error: String,
        /// What to do.
        next: String,
    },
    /// The process ends on request.
    Stopping,
}

impl MeshosEvent {
    /// Name of the event in `event:` lines.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            MeshosEvent::Started { .. } => "started",
            MeshosEvent::CampaignStarted { .. } => "campaign-started",
            MeshosEvent::Record(_) => "record",
            MeshosEvent::Alert { .. } => "alert",
            MeshosEvent::Gateway { .. } => "gateway",
            MeshosEvent::OrdersDropped { .. } => "orders-dropped",
            MeshosEvent::NotResumed { .. } => "not-resumed",
            MeshosEvent::Stopping => "stopping",
        }
    }
}

/// `POST /campaign`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignRequest {
    /// What the operator decided; what is left out is the product's default.
    #[serde(with = "PolicyForm")]
    pub policy: Policy,
    /// The nodes addressed.
    #[serde(with = "nodes")]
    pub nodes: Vec<NodeInfo>,
    /// What is distributed.
    #[serde(with = "PackageForm")]
    pub package: Package,
    /// What a roll-back by the operator distributes; without it there is no such roll-back.
    #[serde(default, with = "optional_package")]
    pub rollback: Option<Package>,
}

impl CampaignRequest {
    /// Most octets of a request's body: two packages of 1 MiB in base64, and a large fleet.
    pub const MOST_OCTETS: usize = 8 << 20;
}

/// The answer to [`CampaignRequest`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CampaignAccepted {
    /// Its number.
    pub campaign: u32,
}

/// `POST /orders`: an order of the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorRequest {
    /// The order.
    #[serde(with = "OperatorForm")]
    pub order: OperatorOrder,
}

/// `GET /state`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MeshosState {
    /// Starts of the process so far.
    pub life: u32,
    /// Milliseconds since this start.
    pub uptime_ms: u64,
    /// The campaign; none: there is none.
    pub campaign: Option<CampaignState>,
    /// The gateways.
    pub gateways: Vec<GatewayLink>,
}

/// Where a campaign stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CampaignState {
    /// Its number.
    pub number: u32,
    /// Its clock.
    pub clock: CampaignClock,
    /// What it is doing, in words.
    pub activity: String,
    /// In one word.
    pub phase: CampaignPhase,
    /// Nodes decided, in permille of all nodes addressed.
    pub progress_permille: u16,
    /// Its stages in order.
    pub stages: Vec<StageState>,
    /// Its nodes in fleet order.
    pub nodes: Vec<NodeState>,
}

/// What a campaign is doing, without particulars.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CampaignPhase {
    /// Nothing yet.
    Ready,
    /// It asks the nodes of a stage what they run.
    Surveying,
    /// It distributes, or waits for confirmations.
    Delivering,
    /// A stage soaks.
    Soaking,
    /// It waits for the operator.
    Paused,
    /// It is being stopped.
    Stopping,
    /// The old image is being distributed.
    RollingBack,
    /// Every stage passed.
    Completed,
    /// The operator stopped it.
    Aborted,
    /// The operator had it rolled back.
    RolledBack,
}

/// Nodes of a stage by outcome.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "fields are those of mk_campaign::status::StageCounts")]
pub struct StageState {
    pub targeted: u16,
    pub updated: u16,
    pub rolled_back: u16,
    pub rejected: u16,
    pub failed: u16,
    pub unreachable: u16,
    pub pending: u16,
    pub unhealthy: u16,
}

/// One node of a campaign.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeState {
    /// Its address.
    #[serde(with = "form::addr")]
    pub node: Addr,
    /// Its stage, from 0; none when no stage takes it.
    pub stage: Option<u8>,
    /// What became of it, in words; none: not decided.
    pub outcome: Option<String>,
    /// Progress of its transfer in percent.
    pub percent: u8,
}

/// The link to one gateway.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatewayLink {
    /// Its address.
    #[serde(with = "form::addr")]
    pub address: Addr,
    /// Where it listens.
    pub url: String,
    /// Its notices come in.
    pub connected: bool,
    /// Orders that wait for it.
    pub waiting: usize,
}

form::list!(
    /// Nodes in their form.
    nodes,
    NodeInfo,
    "NodeForm"
);
form::list!(
    /// Stages in their form.
    stages,
    StagePolicy,
    "StageForm"
);
form::list!(
    /// Windows in their form.
    windows,
    Window,
    "WindowForm"
);

/// An optional [`Package`] in JSON.
pub mod optional_package {
    use super::{Package, PackageForm};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize)]
    struct Item<'a>(#[serde(with = "PackageForm")] &'a Package);
    #[derive(Deserialize)]
    struct OwnItem(#[serde(with = "PackageForm")] Package);

    #[allow(missing_docs, reason = "serde's name and contract")]
    pub fn serialize<S: Serializer>(value: &Option<Package>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Item).serialize(serializer)
    }

    #[allow(missing_docs, reason = "serde's name and contract")]
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Package>, D::Error> {
        Ok(Option::<OwnItem>::deserialize(deserializer)?.map(|item| item.0))
    }
}

/// [`OperatorOrder`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "OperatorOrder", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "variants are those of the type")]
pub enum OperatorForm {
    Resume,
    Abort,
    RollBack,
    Pause,
}

/// [`Package`] in JSON: octets in base64.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Package", deny_unknown_fields)]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct PackageForm {
    #[serde(with = "form::version")]
    pub version: Version,
    pub config_version: u16,
    #[serde(with = "form::octets")]
    pub metadata: Vec<u8>,
    #[serde(with = "form::octets")]
    pub image: Vec<u8>,
}

/// [`NodeInfo`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "NodeInfo", deny_unknown_fields)]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct NodeForm {
    #[serde(rename = "address", with = "form::addr")]
    pub addr: Addr,
    pub floor: u8,
    #[serde(with = "KindForm")]
    pub kind: NodeKind,
    #[serde(with = "CarrierForm")]
    pub carrier: Carrier,
    #[serde(with = "form::addr")]
    pub gateway: Addr,
}

/// [`NodeKind`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "NodeKind", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "variants are those of the type")]
pub enum KindForm {
    Luminaire,
    Sensor,
    Switch,
}

/// [`Carrier`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Carrier", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "variants are those of the type")]
pub enum CarrierForm {
    Mesh,
    Thread,
}

/// [`StageSize`] in JSON: `{"count": 20}`, `{"percent": 10}` or `"rest"`.
#[derive(Serialize, Deserialize)]
#[serde(remote = "StageSize", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "variants are those of the type")]
pub enum StageSizeForm {
    Count(u16),
    Percent(u8),
    Rest,
}

/// [`StagePolicy`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "StagePolicy", deny_unknown_fields)]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct StageForm {
    #[serde(with = "StageSizeForm")]
    pub size: StageSize,
    #[serde(rename = "soak_ms", with = "form::ms")]
    pub soak: Duration,
}

/// [`Window`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Window", deny_unknown_fields)]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct WindowForm {
    pub from_minute: u16,
    pub to_minute: u16,
}

/// [`HealthPolicy`] in JSON; what is left out is the product's default.
#[derive(Serialize, Deserialize)]
#[serde(remote = "HealthPolicy", default, deny_unknown_fields)]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct HealthPolicyForm {
    #[serde(rename = "report_interval_ms", with = "form::ms")]
    pub report_interval: Duration,
    pub missing_reports: u8,
    pub max_hops: u8,
    pub min_rssi_dbm: i8,
    pub healthy_permille: u16,
}

/// [`RadioPolicy`] in JSON; what is left out is the product's default.
#[derive(Serialize, Deserialize)]
#[serde(remote = "RadioPolicy", default, deny_unknown_fields)]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct RadioForm {
    pub ttl: u8,
    pub timeout_base: u16,
    pub app_key_index: u16,
    pub group_max: u16,
}

/// [`Timing`] in JSON; what is left out is the product's default.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Timing", default, deny_unknown_fields)]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct TimingForm {
    #[serde(rename = "poll_interval_ms", with = "form::ms")]
    pub poll_interval: Duration,
    #[serde(rename = "round_interval_ms", with = "form::ms")]
    pub round_interval: Duration,
    pub requests_per_round: u8,
    #[serde(rename = "answer_wait_ms", with = "form::ms")]
    pub answer_wait: Duration,
    pub ask_tries: u8,
    #[serde(rename = "settle_margin_ms", with = "form::ms")]
    pub settle_margin: Duration,
    #[serde(rename = "gateway_wait_ms", with = "form::ms")]
    pub gateway_wait: Duration,
    #[serde(rename = "gateway_patience_ms", with = "form::ms")]
    pub gateway_patience: Duration,
}

/// [`Policy`] in JSON; what is left out is the product's default.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Policy", default, deny_unknown_fields)]
#[allow(missing_docs, reason = "fields are those of the type")]
pub struct PolicyForm {
    #[serde(with = "stages")]
    pub stages: Vec<StagePolicy>,
    pub success_permille: u16,
    pub throttle_permille: u16,
    #[serde(rename = "grace_ms", with = "form::ms")]
    pub grace: Duration,
    #[serde(with = "windows")]
    pub windows: Vec<Window>,
    pub start_minute: u16,
    #[serde(with = "HealthPolicyForm")]
    pub health: HealthPolicy,
    pub concurrency: u8,
    pub retries: u8,
    #[serde(with = "RadioForm")]
    pub radio: RadioPolicy,
    #[serde(with = "TimingForm")]
    pub timing: Timing,
}

/// What a form's defaults are: those of the type it stands for.
macro_rules! defaults_of {
    ($($form:ident as $value:ident { $($field:ident),+ $(,)? })*) => {$(
        impl Default for $form {
            fn default() -> Self {
                let $value { $($field),+ } = $value::default();
                $form { $($field),+ }
            }
        }
    )*};
}

defaults_of! {
    HealthPolicyForm as HealthPolicy { report_interval, missing_reports, max_hops, min_rssi_dbm, healthy_permille }
    RadioForm as RadioPolicy { ttl, timeout_base, app_key_index, group_max }
    TimingForm as Timing {
        poll_interval, round_interval, requests_per_round, answer_wait, ask_tries, settle_margin, gateway_wait,
        gateway_patience,
    }
    PolicyForm as Policy {
        stages, success_permille, throttle_permille, grace, windows, start_minute, health, concurrency, retries, radio,
        timing,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    fn request() -> CampaignRequest {
        CampaignRequest {
            policy: Policy::default(),
            nodes: vec![NodeInfo {
                addr: Addr(0x101),
                floor: 2,
                kind: NodeKind::Luminaire,
                carrier: Carrier::Mesh,
                gateway: Addr(1),
            }],
            package: Package {
                version: Version::new(1, 2, 0),
                config_version: 1,
                metadata: vec![1],
                image: vec![2; 9],
            },
            rollback: None,
        }
    }

    #[test]
    fn a_campaign_is_read_back() {
        let json = serde_json::to_string(&request()).unwrap();
        assert_eq!(serde_json::from_str::<CampaignRequest>(&json).unwrap(), request());
    }

    #[test]
    fn what_a_policy_leaves_out_is_the_products() {
        let json = r#"{"policy":{"stages":[{"size":{"count":2},"soak_ms":1000},{"size":"rest","soak_ms":0}],"grace_ms":5000},
            "nodes":[],"package":{"version":"1.2.0","config_version":1,"metadata":"","image":"AA=="}}"#;
        let read: CampaignRequest = serde_json::from_str(json).unwrap();
        assert_eq!(read.policy.grace, Duration::from_secs(5));
        assert_eq!(read.policy.stages.len(), 2);
        assert_eq!(
            Policy { stages: Vec::new(), grace: Duration::from_secs(120), ..read.policy },
            Policy { stages: Vec::new(), ..Policy::default() }
        );
    }

    #[rstest]
    #[case("grace", r#"{"policy":{"grace":5},"nodes":[],"package":{}}"#)]
    #[case("years", r#"{"policy":{"grace_ms":99999999999999},"nodes":[],"package":{}}"#)]
    #[case("major.minor", r#"{"policy":{},"nodes":[],"package":{"version":"1","config_version":1}}"#)]
    fn a_mistake_is_named(#[case] want: &str, #[case] json: &str) {
        let error = serde_json::from_str::<CampaignRequest>(json).unwrap_err().to_string();
        assert!(error.to_lowercase().contains(want), "{error}");
    }

    #[test]
    fn an_event_is_read_back() {
        let event = MeshosEvent::Record(Record::Started { at: mk_wire::time::Instant::from_ticks(5) });
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, r#"{"record":{"Started":{"at":5}}}"#);
        assert_eq!(serde_json::from_str::<MeshosEvent>(&json).unwrap(), event);
    }
}
