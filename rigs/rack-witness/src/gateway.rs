//! A gateway's journal as the harness reads it.

use crate::words;
use hil_model::fact::Fact;
use hil_model::{About, Digest, GatewayId, NodeId};
use mk_gateway::GatewayRecord;
use mk_wire::Addr;
use mk_wire::distribution::Phase;
use mk_wire::vendor::Report;
use std::collections::BTreeMap;

/// What a record means beside its fact.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, and most of them are facts")]
pub enum Sign {
    /// Something observable.
    Fact(About, Fact),
    /// The throttle in force changed, in permille.
    Throttle(u16),
    /// A distribution began or went on; `true` while it has the air.
    Distributing(bool),
    /// Nothing that a witness would write down.
    Nothing,
}

/// Reads one gateway's journal, in order.
#[derive(Debug)]
pub struct GatewayReader {
    own: About,
    /// What each node reported last: nodes repeat a report for want of an acknowledgement; only news is an event.
    last_report: BTreeMap<Addr, Report>,
    distributing: bool,
    throttle_permille: u16,
}

impl GatewayReader {
    /// A reader of the journal of `id`, which starts with this throttle.
    #[must_use]
    pub const fn new(id: GatewayId, throttle_permille: u16) -> Self {
        Self { own: About::Gateway(id), last_report: BTreeMap::new(), distributing: false, throttle_permille }
    }

    /// Whether a distribution has the air.
    #[must_use]
    pub const fn distributing(&self) -> bool {
        self.distributing
    }

    /// The throttle in force, in permille.
    #[must_use]
    pub const fn throttle_permille(&self) -> u16 {
        self.throttle_permille
    }

    /// What a record means.
    pub fn read(&mut self, record: &GatewayRecord) -> Sign {
        let of = |addr: &Addr| words::node(*addr).map_or(self.own, About::Node);
        let (about, fact) = match record {
            GatewayRecord::ThrottleSet { permille } => {
                self.throttle_permille = *permille;
                return Sign::Throttle(*permille);
            }
            GatewayRecord::DistributionPhase { phase } => {
                self.distributing = has_the_air(*phase);
                return Sign::Distributing(self.distributing);
            }
            GatewayRecord::DistributionStarted { image_sha256, receivers, .. } => {
                self.distributing = true;
                let receivers: Vec<NodeId> = receivers.iter().filter_map(|a| words::node(*a)).collect();
                (self.own, Fact::DistributionStarted { image: Digest(*image_sha256), receivers })
            }
            GatewayRecord::BlockDone { block, rounds, chunks_sent, resent } => {
                let (rounds, chunks_sent, resent) = (*rounds, *chunks_sent, *resent);
                (self.own, Fact::BlockDone { block: u32::from(*block), rounds, chunks_sent, resent })
            }
            GatewayRecord::ReceiverPhase { node, phase, percent, .. } => {
                (of(node), Fact::ReceiverPhase { phase: words::retrieved(*phase), percent: *percent })
            }
            GatewayRecord::ConfirmationHeard { node, version, boot_count } => {
                (of(node), Fact::ConfirmationHeard { version: words::version(*version), boot_count: *boot_count })
            }
            GatewayRecord::ConfirmationAcked { node, boot_count } => {
                (of(node), Fact::ConfirmationAcked { boot_count: *boot_count })
            }
            GatewayRecord::MetadataDelivered { node, metadata_sha256, facts, accepted } => {
                let version = facts.as_ref().map(|f| words::version(f.version)).unwrap_or_default();
                let config_version = facts.as_ref().map_or(0, |f| f.config_migration_version);
                let metadata = Digest(*metadata_sha256);
                (of(node), Fact::MetadataDelivered { version, config_version, metadata, accepted: *accepted })
            }
            GatewayRecord::TransferComplete { node, image_sha256 } => {
                (of(node), Fact::TransferComplete { image: Digest(*image_sha256) })
            }
            GatewayRecord::ReportHeard { node, report } => {
                let about = of(node);
                if self.last_report.insert(*node, *report) == Some(*report) {
                    return Sign::Nothing;
                }
                let fact = Fact::ReportHeard {
                    running: words::version(report.running),
                    config_version: report.config_version,
                    says: words::report_says(report),
                    about: words::version(report.about),
                    boot_count: report.boot_count,
                };
                (about, fact)
            }
            GatewayRecord::ImageStored { .. }
            | GatewayRecord::ImageDeleted { .. }
            | GatewayRecord::ImagesDeleted
            | GatewayRecord::ReceiversAdded { .. }
            | GatewayRecord::ReceiversDeleted
            | GatewayRecord::WindowSet { .. }
            | GatewayRecord::ObserverAdded { .. }
            | GatewayRecord::ObserverRemoved { .. }
            | GatewayRecord::ConfirmationPassedOn { .. } => return Sign::Nothing,
        };
        Sign::Fact(about, fact)
    }
}

/// Whether a distribution in this phase is under way.
#[must_use]
pub const fn has_the_air(phase: Phase) -> bool {
    match phase {
        Phase::TransferActive | Phase::TransferSuccess | Phase::ApplyingUpdate | Phase::CancelingUpdate => true,
        Phase::Idle | Phase::Completed | Phase::Failed | Phase::TransferSuspended => false,
    }
}
