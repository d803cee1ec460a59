//! What can be asked of a campaign.

use super::Campaign;
use super::state::{NOT_STAGED, Position, Step};
use crate::outcome::Outcome;
use crate::status::{Activity, NodeStatus, StageCounts, Status};
use alloc::vec;
use mk_wire::Addr;

impl Campaign {
    /// What the campaign is doing.
    #[must_use]
    pub fn activity(&self) -> Activity {
        if let Some(pause) = &self.state.pause {
            return Activity::Paused { stage: pause.stage, reason: pause.reason };
        }
        match self.state.position {
            Position::Ready => Activity::Ready,
            Position::Between { next } => Activity::Surveying { stage: next },
            Position::Stage { stage, step: Step::Survey } => Activity::Surveying { stage },
            Position::Stage { stage, step: Step::Deliver } => Activity::Delivering { stage },
            Position::Stage { stage, step: Step::Soak { until } } => Activity::Soaking { stage, until },
            Position::Stopping(_) => Activity::Stopping,
            Position::Reverse { .. } => Activity::RollingBack,
            Position::Ended(end) => Activity::Ended(end),
        }
    }

    /// What became of a node, as far as decided.
    #[must_use]
    pub fn outcome(&self, node: Addr) -> Option<Outcome> {
        self.state.nodes.get(self.state.fleet.index(node)?)?.outcome
    }

    /// Where everything stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut stages = vec![StageCounts::default(); self.state.stages.len()];
        let mut nodes = vec![];
        for (info, node) in self.state.fleet.nodes().iter().zip(&self.state.nodes) {
            if let Some(counts) = stages.get_mut(usize::from(node.stage)) {
                counts.targeted += 1;
                *match node.outcome {
                    None => &mut counts.pending,
                    Some(Outcome::Updated) => &mut counts.updated,
                    Some(Outcome::RolledBack(_)) => &mut counts.rolled_back,
                    Some(Outcome::Rejected(_)) => &mut counts.rejected,
                    Some(Outcome::Failed(_)) => &mut counts.failed,
                    Some(Outcome::Unreachable) => &mut counts.unreachable,
                } += 1;
                counts.unhealthy += u16::from(!node.faults.is_empty());
            }
            nodes.push(NodeStatus {
                node: info.addr,
                stage: (node.stage != NOT_STAGED).then_some(node.stage),
                outcome: node.outcome,
                percent: self.percent(info.addr, node.outcome),
                faults: node.faults,
            });
        }
        let targeted: u32 = stages.iter().map(|s| u32::from(s.targeted)).sum();
        let pending: u32 = stages.iter().map(|s| u32::from(s.pending)).sum();
        // At most 1000.
        let progress_permille = (1000 * (targeted - pending) / targeted.max(1)) as u16;
        Status { activity: self.activity(), stages, nodes, progress_permille }
    }

    /// Progress of a node's transfer in percent, as its gateway says.
    fn percent(&self, node: Addr, outcome: Option<Outcome>) -> u8 {
        match outcome {
            Some(Outcome::Updated) => 100,
            Some(_) | None => self.machines.iter().find_map(|machine| machine.percent(node)).unwrap_or(0),
        }
    }
}
