//! Health samples of the nodes, and what they add up to.
//!
//! A thousand nodes send two notices a minute for days: a sample costs a few stores and compares, and anything that needs
//! a look at all nodes waits for the periodic sweep. Samples are not journalled; the changes they lead to are.

use crate::journal::{HealthFault, HealthFaults};
use crate::policy::HealthPolicy;
use alloc::vec;
use alloc::vec::Vec;
use mk_wire::time::Instant;
use mk_wire::vendor::Health;

/// Samples in a row that must be bad before hops or signal count as a fault: one weak heartbeat is the weather.
const BAD_SAMPLES: u8 = 3;
/// A start that much later than the one computed before is another start; heartbeats are late by less.
const REBOOT_S: u32 = 10;

#[derive(Clone, Copy, Default)]
struct Samples {
    /// Seconds of the host's clock.
    app_report_s: u32,
    heartbeat_s: u32,
    /// When the node last started, by its own uptime; 0 before the first heartbeat.
    started_s: u32,
    far: u8,
    weak: u8,
    degraded: bool,
}

pub(super) struct Watch(Vec<Samples>);

fn seconds(at: Instant) -> u32 {
    u32::try_from(at.as_ticks() / 1_000_000).unwrap_or(u32::MAX)
}

impl Watch {
    pub fn new(nodes: usize) -> Self {
        Watch(vec![Samples::default(); nodes])
    }

    /// A heartbeat. Returns whether the node was started again since the one before.
    #[inline]
    pub fn on_health(&mut self, node: usize, now: Instant, health: &Health, policy: &HealthPolicy) -> bool {
        let Some(samples) = self.0.get_mut(node) else { return false };
        let now_s = seconds(now);
        samples.heartbeat_s = now_s;
        samples.far = if health.hops > policy.max_hops { samples.far.saturating_add(1) } else { 0 };
        samples.weak = if health.rssi_dbm < policy.min_rssi_dbm { samples.weak.saturating_add(1) } else { 0 };
        samples.degraded = health.degraded;
        let started_s = now_s.saturating_sub(health.uptime_s).max(1);
        let before = core::mem::replace(&mut samples.started_s, started_s);
        before != 0 && started_s > before.saturating_add(REBOOT_S)
    }

    /// An application report.
    #[inline]
    pub fn on_app_report(&mut self, node: usize, now: Instant) {
        if let Some(samples) = self.0.get_mut(node) {
            samples.app_report_s = seconds(now);
        }
    }

    /// What is wrong with a node that has been watched since `since` and had the faults `before` until then. A fault goes
    /// away by a sample that shows it gone, not by a restart of MeshOS.
    #[inline]
    pub fn faults(
        &self,
        node: usize,
        now: Instant,
        since: Instant,
        before: HealthFaults,
        policy: &HealthPolicy,
    ) -> HealthFaults {
        let Some(samples) = self.0.get(node) else { return before };
        let (now_s, since_s) = (seconds(now), seconds(since));
        let interval_s = seconds(Instant::from_ticks(policy.report_interval.as_ticks()));
        // The last report that may be missing is due after as many intervals; one interval later the next one is missing.
        let patience_s = interval_s.max(1).saturating_mul(u32::from(policy.missing_reports) + 1);
        let silent = |heard_s: u32, fault| {
            now_s.saturating_sub(heard_s.max(since_s)) > patience_s || (heard_s < since_s && before.contains(fault))
        };
        let fresh = samples.heartbeat_s >= since_s;
        let sampled = |bad: bool, fault| if fresh { bad } else { before.contains(fault) };
        let judged = [
            (HealthFault::ReportsMissing, silent(samples.app_report_s, HealthFault::ReportsMissing)),
            (HealthFault::HeartbeatsMissing, silent(samples.heartbeat_s, HealthFault::HeartbeatsMissing)),
            (HealthFault::TooManyHops, sampled(samples.far >= BAD_SAMPLES, HealthFault::TooManyHops)),
            (HealthFault::WeakSignal, sampled(samples.weak >= BAD_SAMPLES, HealthFault::WeakSignal)),
            (HealthFault::Degraded, sampled(samples.degraded, HealthFault::Degraded)),
        ];
        judged.into_iter().fold(HealthFaults::default(), |faults, (fault, on)| faults.set(fault, on))
    }
}
