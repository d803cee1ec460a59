//! A campaign's journal as the harness reads it, and what the harness asks of a campaign in the campaign's own words.

use crate::words;
use hil_model::fact::{Fact, HealthFault, Outcome};
use hil_model::{
    About, CampaignPolicy, NodeId, NodeSpec, NodeType, OperatorOrder, Protocol, StageIndex, StageSize, SuppliedImage,
    Time,
};
use mk_campaign::{End, NodeInfo, NodeKind, Package, Policy, Record, StagePolicy};
use mk_wire::Addr;
use mk_wire::time::Instant;

/// An image with its metadata, as a campaign takes it.
#[must_use]
pub fn package(image: &SuppliedImage) -> Package {
    Package {
        version: words::wire_version(image.version),
        config_version: image.config_version,
        metadata: image.metadata.to_vec(),
        image: image.bytes.to_vec(),
    }
}

/// A policy in the campaign's words.
#[must_use]
pub fn policy(policy: &CampaignPolicy) -> Policy {
    let health = &policy.health;
    Policy {
        stages: policy
            .stages
            .iter()
            .map(|s| StagePolicy {
                size: match s.size {
                    StageSize::Count(n) => mk_campaign::StageSize::Count(n),
                    StageSize::Percent(p) => mk_campaign::StageSize::Percent(p),
                    StageSize::Rest => mk_campaign::StageSize::Rest,
                },
                soak: words::duration(s.soak),
            })
            .collect(),
        success_permille: policy.success_permille,
        throttle_permille: policy.throttle_permille,
        grace: words::duration(policy.grace),
        windows: policy
            .windows
            .iter()
            .map(|w| mk_campaign::Window { from_minute: w.from_minute, to_minute: w.to_minute })
            .collect(),
        start_minute: policy.start_minute,
        health: mk_campaign::HealthPolicy {
            report_interval: words::duration(health.report_interval),
            missing_reports: health.missing_reports,
            max_hops: health.max_hops,
            min_rssi_dbm: health.min_rssi_dbm,
            healthy_permille: health.healthy_permille,
        },
        concurrency: policy.concurrency,
        ..Policy::default()
    }
}

/// A node in the campaign's words.
#[must_use]
pub fn info(spec: &NodeSpec) -> NodeInfo {
    NodeInfo {
        addr: words::addr(spec.id),
        floor: spec.floor.0,
        kind: match spec.kind {
            NodeType::Luminaire => NodeKind::Luminaire,
            NodeType::Sensor => NodeKind::Sensor,
            NodeType::Switch => NodeKind::Switch,
        },
        carrier: match spec.protocol {
            Protocol::Mesh => mk_campaign::Carrier::Mesh,
            Protocol::Thread => mk_campaign::Carrier::Thread,
        },
        gateway: Addr(spec.gateway.unicast()),
    }
}

/// Stages are counted from 1 outside the machine.
pub const fn stage(index: u8) -> StageIndex {
    StageIndex(index + 1)
}

/// An outcome in the ledger's words.
#[must_use]
pub fn outcome(outcome: mk_campaign::Outcome) -> Outcome {
    match outcome {
        mk_campaign::Outcome::Updated => Outcome::Updated,
        mk_campaign::Outcome::RolledBack(_) => Outcome::RolledBack,
        mk_campaign::Outcome::Rejected(_) => Outcome::Rejected(outcome.to_string()),
        mk_campaign::Outcome::Failed(phase) => Outcome::Failed(words::retrieved(phase)),
        mk_campaign::Outcome::Unreachable => Outcome::Unreachable,
    }
}

/// A finding of the health checks in the ledger's words.
#[must_use]
pub const fn health_fault(fault: mk_campaign::HealthFault) -> HealthFault {
    match fault {
        mk_campaign::HealthFault::ReportsMissing => HealthFault::ReportsMissing,
        mk_campaign::HealthFault::HeartbeatsMissing => HealthFault::HeartbeatsMissing,
        mk_campaign::HealthFault::TooManyHops => HealthFault::TooManyHops,
        mk_campaign::HealthFault::WeakSignal => HealthFault::WeakSignal,
        mk_campaign::HealthFault::Degraded => HealthFault::Degraded,
    }
}

/// An operator's order in the campaign's words.
#[must_use]
pub const fn order(order: OperatorOrder) -> mk_campaign::OperatorOrder {
    match order {
        OperatorOrder::Resume => mk_campaign::OperatorOrder::Resume,
        OperatorOrder::Abort => mk_campaign::OperatorOrder::Abort,
        OperatorOrder::RollBack => mk_campaign::OperatorOrder::RollBack,
        OperatorOrder::Pause => mk_campaign::OperatorOrder::Pause,
    }
}

/// The fact of a campaign that is about to start.
#[must_use]
pub fn started(wanted: &CampaignPolicy, image: &SuppliedImage, targets: usize) -> Fact {
    Fact::CampaignStarted {
        version: image.version,
        targets: targets as u16,
        stages: wanted.stages.len() as u8,
        success_permille: wanted.success_permille,
        throttle_permille: wanted.throttle_permille,
    }
}

/// Whether a campaign waits for its operator, or is over, after this record; none where the record changes nothing.
#[must_use]
pub const fn waits_after(record: &Record) -> Option<bool> {
    match record {
        Record::Paused { .. } | Record::Ended { .. } => Some(true),
        Record::Operator { order, .. } => Some(matches!(order, mk_campaign::OperatorOrder::Pause)),
        _ => None,
    }
}

/// The facts of a record. `rack_time` brings the campaign's own clock to the rack's.
pub fn facts(record: &Record, rack_time: impl Fn(Instant) -> Time) -> Vec<(About, Fact)> {
    let nodes = |list: &[Addr]| -> Vec<NodeId> { list.iter().filter_map(|a| words::node(*a)).collect() };
    let of = |addr: &Addr| words::node(*addr).map_or(About::Campaign, About::Node);
    let one = match record {
        Record::StageStarted { stage: s, nodes: list, .. } => {
            (About::Campaign, Fact::StageStarted { stage: stage(*s), nodes: nodes(list) })
        }
        Record::NodeOutcome { node, stage: s, outcome: o, .. } => {
            (of(node), Fact::NodeOutcome { stage: stage(*s), outcome: outcome(*o) })
        }
        Record::Health { node, faults, .. } => {
            return faults.iter().map(|fault| (of(node), Fact::Unhealthy { fault: health_fault(fault) })).collect();
        }
        Record::SoakStarted { stage: s, until, confirmed, targeted, .. } => (
            About::Campaign,
            Fact::SoakStarted {
                stage: stage(*s),
                until: rack_time(*until),
                confirmed: *confirmed,
                targeted: *targeted,
            },
        ),
        Record::StagePassed { stage: s, confirmed, targeted, overridden, .. } => (
            About::Campaign,
            Fact::StagePassed { stage: stage(*s), confirmed: *confirmed, targeted: *targeted, overridden: *overridden },
        ),
        Record::Paused { stage: s, reason, confirmed, targeted, .. } => {
            let (confirmed, targeted) = (*confirmed, *targeted);
            let reason = reason.to_string();
            (About::Campaign, Fact::CampaignPaused { stage: stage(*s), reason, confirmed, targeted })
        }
        Record::Operator { order, .. } => {
            let order = match order {
                mk_campaign::OperatorOrder::Resume => OperatorOrder::Resume,
                mk_campaign::OperatorOrder::Abort => OperatorOrder::Abort,
                mk_campaign::OperatorOrder::RollBack => OperatorOrder::RollBack,
                mk_campaign::OperatorOrder::Pause => OperatorOrder::Pause,
            };
            (About::Campaign, Fact::OperatorActed { order })
        }
        Record::Ended { end, .. } => (About::Campaign, Fact::CampaignEnded { completed: *end == End::Completed }),
        Record::Created(_)
        | Record::Started { .. }
        | Record::PriorVerdict { .. }
        | Record::Surveyed { .. }
        | Record::DistributionStarted { .. }
        | Record::DistributionEnded { .. }
        | Record::Retry { .. }
        | Record::RollBackStarted { .. } => return Vec::new(),
    };
    vec![one]
}
