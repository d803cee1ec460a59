//! Soak, thresholds, pauses, and the step from one stage to the next.

use super::Campaign;
use super::evidence::is_updated;
use super::state::{Position, Step};
use crate::alert::AlertKind;
use crate::initiator::later;
use crate::journal::{End, PauseReason, Record};
use mk_wire::time::{Duration, Instant};

impl Campaign {
    /// Opens the next stage that has nodes, or completes the campaign. Returns whether anything changed.
    pub(super) fn next_stage(&mut self, now: Instant, next: u8) -> bool {
        if self.state.pause.is_some() || self.pause_if_withdrawn(now, next) {
            return false;
        }
        let count = self.state.stages.len() as u8;
        let Some(stage) = (next..count).find(|&stage| self.state.targeted(stage) > 0) else {
            self.end(now, End::Completed);
            return true;
        };
        let nodes =
            self.members(stage).into_iter().filter_map(|i| self.state.fleet.node(i)).map(|info| info.addr).collect();
        self.commit(Record::StageStarted { stage, at: now, nodes });
        self.tell_gateways();
        true
    }

    /// One look at a stage in soak. Returns whether anything changed.
    pub(super) fn soak(&mut self, now: Instant, stage: u8, until: Instant) -> bool {
        self.sweep(now, stage);
        if self.state.pause.is_some() {
            return false;
        }
        if self.pause_if_withdrawn(now, stage.saturating_add(1)) || self.pause_if_unhealthy(now, stage) {
            return true;
        }
        if now < until || now < self.observed_at(stage) {
            return false;
        }
        let (confirmed, targeted) = (self.state.confirmed(stage), self.state.targeted(stage));
        let overridden = self.state.is_overridden(stage);
        self.commit(Record::StagePassed { stage, at: now, confirmed, targeted, overridden });
        true
    }

    pub(super) fn soak_of(&self, stage: u8) -> Duration {
        let policy = self.state.setup.policy.stages.get(usize::from(stage));
        policy.map_or(Duration::from_ticks(0), |policy| policy.soak)
    }

    /// When a soak has watched the nodes long enough to notice that one is silent: a MeshOS that was down for the end of
    /// the soak has not.
    pub(super) fn observed_at(&self, stage: u8) -> Instant {
        let health = &self.state.setup.policy.health;
        let intervals = u64::from(health.missing_reports) + 2;
        let needed = Duration::from_ticks(health.report_interval.as_ticks().saturating_mul(intervals));
        match self.resumed_at {
            Some(at) if !self.soak_of(stage).is_zero() => later(at, needed.min(self.soak_of(stage))),
            Some(_) | None => Instant::from_ticks(0),
        }
    }

    /// Is the node one whose health the running soak depends on?
    #[inline]
    pub(super) fn is_watched(&self, index: usize) -> bool {
        match self.state.position {
            Position::Stage { stage, step: Step::Soak { .. } } => {
                self.state.nodes.get(index).is_some_and(|node| node.stage == stage && is_updated(node.outcome))
            }
            _ => false,
        }
    }

    /// Journals a change of a watched node's health. Returns whether there was one.
    #[inline]
    pub(super) fn check_health(&mut self, now: Instant, index: usize) -> bool {
        if !self.is_watched(index) {
            return false;
        }
        let (Some(node), Some(info)) = (self.state.nodes.get(index), self.state.fleet.node(index)) else {
            return false;
        };
        let policy = &self.state.setup.policy.health;
        let faults = self.watch.faults(index, now, self.watch_since, node.faults, policy);
        if faults == node.faults {
            return false;
        }
        self.commit(Record::Health { node: info.addr, at: now, faults });
        true
    }

    /// Looks for silent nodes, and asks those that were started again what they run.
    fn sweep(&mut self, now: Instant, stage: u8) {
        if self.sweep_at.is_some_and(|at| at > now) {
            return;
        }
        self.sweep_at = Some(later(now, self.state.setup.policy.health.report_interval));
        let members = self.members(stage);
        for &index in &members {
            self.check_health(now, index);
        }
        let tries = self.state.setup.policy.timing.ask_tries;
        let restarted: alloc::vec::Vec<usize> =
            (0..self.live.len()).filter(|&i| self.live.get(i).is_some_and(|live| live.restarted)).collect();
        self.ask(now, restarted.into_iter(), tries);
    }

    pub(super) fn is_met(&self, stage: u8) -> bool {
        self.parts.threshold.met(
            u32::from(self.state.confirmed(stage)),
            u32::from(self.state.targeted(stage)),
            self.state.setup.policy.success_permille,
        )
    }

    /// Pauses when a stage before `end`, which had reached its threshold, is under it now.
    pub(super) fn pause_if_withdrawn(&mut self, now: Instant, end: u8) -> bool {
        let fallen = (0..end.min(self.state.stages.len() as u8))
            .find(|&stage| self.state.targeted(stage) > 0 && !self.state.is_overridden(stage) && !self.is_met(stage));
        let Some(stage) = fallen else { return false };
        self.pause(now, stage, PauseReason::ConfirmationWithdrawn);
        true
    }

    fn pause_if_unhealthy(&mut self, now: Instant, stage: u8) -> bool {
        let updated = self.state.confirmed(stage);
        let healthy = self.members(stage).into_iter().filter(|&i| self.is_healthy(i)).count() as u16;
        let wanted = self.state.setup.policy.health.healthy_permille;
        if self.state.is_overridden(stage) || u32::from(healthy) * 1000 >= u32::from(wanted) * u32::from(updated) {
            return false;
        }
        self.pause(now, stage, PauseReason::Unhealthy { healthy, updated });
        true
    }

    fn is_healthy(&self, index: usize) -> bool {
        self.state.nodes.get(index).is_some_and(|node| is_updated(node.outcome) && node.faults.is_empty())
    }

    /// Pauses, and says so. A campaign that is paused already stays as it is.
    pub(super) fn pause(&mut self, now: Instant, stage: u8, reason: PauseReason) {
        if self.state.pause.is_some() {
            return;
        }
        let (confirmed, targeted) = (self.state.confirmed(stage), self.state.targeted(stage));
        self.commit(Record::Paused { stage, at: now, reason, confirmed, targeted });
        self.alert(now, AlertKind::Paused { stage, reason, confirmed, targeted });
        self.hold_machines(now);
    }

    /// Distributions are held while the campaign is paused or no window is open.
    pub(super) fn hold_machines(&mut self, now: Instant) {
        let hold = self.state.pause.is_some() || self.window_open == Some(false);
        if matches!(self.state.position, Position::Stopping(_)) {
            return;
        }
        for machine in &mut self.machines {
            machine.hold(now, hold);
        }
    }
}
