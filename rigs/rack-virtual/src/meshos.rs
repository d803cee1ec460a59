//! The campaign process: what runs the product's campaign machine, keeps its journal over a restart, and reads it.

use crate::mutants;
use crate::words;
use crate::world::{Due, World};
use hil_model::fact::{Fact, HealthFault, Outcome};
use hil_model::{
    About, CampaignPolicy, NodeId, NodeSpec, NodeType, OperatorOrder, PackageSupply, Protocol, Span, StageIndex,
    StageSize, SuppliedImage, Time, Witness,
};
use mk_campaign::{Campaign, End, NodeInfo, NodeKind, Package, Policy, Record, StagePolicy, journal};
use mk_wire::Addr;
use mk_wire::north::Notice;

/// The campaign process and its disk.
#[derive(Default)]
pub struct MeshosHost {
    campaign: Option<Campaign>,
    /// Packages of the campaign: new, and the one to go back to.
    packages: Option<(Package, Package)>,
    /// The journal on disk.
    disk: Vec<u8>,
    down: bool,
    /// Ended, or waiting for the operator.
    waiting: bool,
    life: u32,
    timer: Time,
    touched: bool,
}

/// The campaign could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CampaignRefused(String);

impl MeshosHost {
    /// Whether no campaign is under way.
    pub const fn quiet(&self) -> bool {
        !self.down && (self.campaign.is_none() || self.waiting)
    }
}

fn package(image: &SuppliedImage) -> Package {
    Package {
        version: words::wire_version(image.version),
        config_version: image.config_version,
        metadata: image.metadata.to_vec(),
        image: image.bytes.to_vec(),
    }
}

fn policy(policy: &CampaignPolicy) -> Policy {
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

fn info(spec: &NodeSpec) -> NodeInfo {
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
const fn stage(index: u8) -> StageIndex {
    StageIndex(index + 1)
}

fn outcome(outcome: mk_campaign::Outcome) -> Outcome {
    match outcome {
        mk_campaign::Outcome::Updated => Outcome::Updated,
        mk_campaign::Outcome::RolledBack(_) => Outcome::RolledBack,
        mk_campaign::Outcome::Rejected(_) => Outcome::Rejected(outcome.to_string()),
        mk_campaign::Outcome::Failed(phase) => Outcome::Failed(words::retrieved(phase)),
        mk_campaign::Outcome::Unreachable => Outcome::Unreachable,
    }
}

const fn health_fault(fault: mk_campaign::HealthFault) -> HealthFault {
    match fault {
        mk_campaign::HealthFault::ReportsMissing => HealthFault::ReportsMissing,
        mk_campaign::HealthFault::HeartbeatsMissing => HealthFault::HeartbeatsMissing,
        mk_campaign::HealthFault::TooManyHops => HealthFault::TooManyHops,
        mk_campaign::HealthFault::WeakSignal => HealthFault::WeakSignal,
        mk_campaign::HealthFault::Degraded => HealthFault::Degraded,
    }
}

impl World {
    /// Starts a campaign. One runs at a time.
    pub(crate) fn start_campaign(
        &mut self,
        wanted: &CampaignPolicy,
        supply: &PackageSupply,
        running: &SuppliedImage,
        targets: &[NodeId],
    ) -> Result<(), CampaignRefused> {
        let fleet = targets.iter().filter_map(|id| self.nodes.get(id.index())).map(|h| info(&h.spec)).collect();
        let packages = (package(&supply.image), package(running));
        // A package of the running version is its own way back: then there is none.
        let back = (packages.0.version != packages.1.version).then(|| packages.1.clone());
        let parts = mutants::campaign(self.composition);
        let mut campaign = Campaign::new(policy(wanted), fleet, packages.0.clone(), back, parts)
            .map_err(|error| CampaignRefused(error.to_string()))?;
        campaign.start(words::instant(self.now));
        let fact = Fact::CampaignStarted {
            version: supply.image.version,
            targets: targets.len() as u16,
            stages: wanted.stages.len() as u8,
            success_permille: wanted.success_permille,
            throttle_permille: wanted.throttle_permille,
        };
        self.note(About::Campaign, Witness::Meshos, fact);
        self.meshos = MeshosHost {
            campaign: Some(campaign),
            packages: Some(packages),
            timer: Time::NEVER,
            life: self.meshos.life + 1,
            touched: true,
            ..MeshosHost::default()
        };
        Ok(())
    }

    /// An order of the operator.
    pub(crate) fn order_campaign(&mut self, order: OperatorOrder) -> Result<(), CampaignRefused> {
        let wanted = match order {
            OperatorOrder::Resume => mk_campaign::OperatorOrder::Resume,
            OperatorOrder::Abort => mk_campaign::OperatorOrder::Abort,
            OperatorOrder::RollBack => mk_campaign::OperatorOrder::RollBack,
            OperatorOrder::Pause => mk_campaign::OperatorOrder::Pause,
        };
        let now = words::instant(self.now);
        let Some(campaign) = &mut self.meshos.campaign else {
            return Err(CampaignRefused("there is no campaign".to_owned()));
        };
        campaign.on_order(now, wanted).map_err(|error| CampaignRefused(error.to_string()))?;
        self.meshos.touched = true;
        Ok(())
    }

    pub(crate) fn notify_meshos(&mut self, gateway: Addr, notice: &Notice) {
        if let Some(campaign) = &mut self.meshos.campaign {
            campaign.on_notice(words::instant(self.now), gateway, notice);
            self.meshos.touched = true;
        }
    }

    pub(crate) fn meshos_timer(&mut self, life: u32) {
        let meshos = &mut self.meshos;
        if meshos.life != life || meshos.timer != self.now {
            return;
        }
        meshos.timer = Time::NEVER;
        if let Some(campaign) = &mut meshos.campaign {
            campaign.on_timer(words::instant(self.now));
            meshos.touched = true;
        }
    }

    /// Hands the campaign's outputs on; false when there was nothing to look at.
    pub(crate) fn pump_meshos(&mut self) -> bool {
        if !core::mem::take(&mut self.meshos.touched) {
            return false;
        }
        let now = words::instant(self.now);
        loop {
            let Some(campaign) = &mut self.meshos.campaign else { return true };
            if let Some(record) = campaign.poll_journal() {
                // A record too long to be written is a fleet too large to be set up: refused by the machine.
                let _ = record.encode(&mut self.meshos.disk);
                self.read_record(&record);
            } else if let Some((gateway, order)) = campaign.poll_order() {
                if let Some(at) = self.gateways.iter().position(|g| g.address() == gateway)
                    && let Some(running) = &mut self.gateways[at].gateway
                {
                    running.on_order(now, &order);
                    self.touch_gateway(at);
                }
            } else if let Some(alert) = campaign.poll_alert() {
                self.note(About::Campaign, Witness::Meshos, Fact::Alert { text: alert.to_string() });
            } else {
                break;
            }
        }
        let meshos = &mut self.meshos;
        if let Some(wake) = meshos.campaign.as_ref().and_then(Campaign::next_wakeup) {
            let wake = words::time(wake).max(self.now);
            if wake < meshos.timer {
                meshos.timer = wake;
                self.wheel.insert(wake, Due::MeshosTimer { life: meshos.life });
            }
        }
        true
    }

    /// Kills the campaign process.
    pub(crate) fn restart_meshos(&mut self, down: Span) {
        if self.meshos.campaign.take().is_none() {
            return;
        }
        self.meshos.life += 1;
        self.meshos.timer = Time::NEVER;
        self.meshos.down = true;
        self.note(About::Campaign, Witness::Meshos, Fact::MeshosDown);
        self.wheel.insert(self.now + down, Due::MeshosUp);
    }

    pub(crate) fn meshos_up(&mut self) {
        self.meshos.down = false;
        let Some((new, old)) = self.meshos.packages.clone() else { return };
        let records = journal::read(&self.meshos.disk).map(|c| c.records).unwrap_or_default();
        let count = records.len() as u32;
        let back = (new.version != old.version).then_some(old);
        let parts = mutants::campaign(self.composition);
        self.note(About::Campaign, Witness::Meshos, Fact::MeshosUp { records: count });
        match Campaign::resume(records, new, back, parts) {
            Ok(mut campaign) => {
                campaign.on_timer(words::instant(self.now));
                self.meshos.campaign = Some(campaign);
                self.meshos.touched = true;
            }
            Err(error) => {
                let text = format!("campaign cannot be resumed: {error}");
                self.note(About::Campaign, Witness::Meshos, Fact::Alert { text });
            }
        }
    }

    /// A record of the campaign's journal as the harness reads it.
    fn read_record(&mut self, record: &Record) {
        let nodes = |list: &[Addr]| list.iter().filter_map(|a| words::node(*a)).collect();
        let of = |addr: &Addr| words::node(*addr).map_or(About::Campaign, About::Node);
        let (about, fact) = match record {
            Record::StageStarted { stage: s, nodes: list, .. } => {
                (About::Campaign, Fact::StageStarted { stage: stage(*s), nodes: nodes(list) })
            }
            Record::NodeOutcome { node, stage: s, outcome: o, .. } => {
                (of(node), Fact::NodeOutcome { stage: stage(*s), outcome: outcome(*o) })
            }
            Record::Health { node, faults, .. } => {
                for fault in faults.iter() {
                    self.note(of(node), Witness::Meshos, Fact::Unhealthy { fault: health_fault(fault) });
                }
                return;
            }
            Record::SoakStarted { stage: s, until, confirmed, targeted, .. } => (
                About::Campaign,
                Fact::SoakStarted {
                    stage: stage(*s),
                    until: words::time(*until),
                    confirmed: *confirmed,
                    targeted: *targeted,
                },
            ),
            Record::StagePassed { stage: s, confirmed, targeted, overridden, .. } => (
                About::Campaign,
                Fact::StagePassed {
                    stage: stage(*s),
                    confirmed: *confirmed,
                    targeted: *targeted,
                    overridden: *overridden,
                },
            ),
            Record::Paused { stage: s, reason, confirmed, targeted, .. } => {
                self.meshos.waiting = true;
                let (confirmed, targeted) = (*confirmed, *targeted);
                (
                    About::Campaign,
                    Fact::CampaignPaused { stage: stage(*s), reason: reason.to_string(), confirmed, targeted },
                )
            }
            Record::Operator { order, .. } => {
                let order = match order {
                    mk_campaign::OperatorOrder::Resume => OperatorOrder::Resume,
                    mk_campaign::OperatorOrder::Abort => OperatorOrder::Abort,
                    mk_campaign::OperatorOrder::RollBack => OperatorOrder::RollBack,
                    mk_campaign::OperatorOrder::Pause => OperatorOrder::Pause,
                };
                self.meshos.waiting = order == OperatorOrder::Pause;
                (About::Campaign, Fact::OperatorActed { order })
            }
            Record::Ended { end, .. } => {
                self.meshos.waiting = true;
                (About::Campaign, Fact::CampaignEnded { completed: *end == End::Completed })
            }
            Record::Created(_)
            | Record::Started { .. }
            | Record::PriorVerdict { .. }
            | Record::Surveyed { .. }
            | Record::DistributionStarted { .. }
            | Record::DistributionEnded { .. }
            | Record::Retry { .. }
            | Record::RollBackStarted { .. } => return,
        };
        self.note(about, Witness::Meshos, fact);
    }
}
