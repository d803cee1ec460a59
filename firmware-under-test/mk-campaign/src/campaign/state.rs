//! The part of a campaign that survives a crash: nothing changes it but [`State::apply`], one record at a time.

use crate::fleet::{Fleet, NodeIndex};
use crate::journal::{End, HealthFaults, OperatorOrder, PauseReason, ReceiverResult, Record, Setup};
use crate::outcome::Outcome;
use crate::stages;
use alloc::vec;
use alloc::vec::Vec;
use mk_wire::Addr;
use mk_wire::time::Instant;

use super::CampaignError;

/// Stage of a node that no stage takes.
pub(super) const NOT_STAGED: u8 = u8::MAX;

/// Where a node is on its way through a stage (or through a roll-back by the operator).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NodeStep {
    /// Its turn has not come.
    Untouched,
    /// To be put into the next distribution.
    Waiting,
    /// In a running distribution.
    OnAir,
    /// Its distribution ended and it has not been decided.
    Settling,
    /// Decided.
    Decided,
}

/// What the journal knows of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeState {
    pub stage: u8,
    pub step: NodeStep,
    pub outcome: Option<Outcome>,
    /// Highest boot count a counted word of the node carried; reports of earlier boots are old news.
    pub boot_count: u32,
    /// Distributions it was in.
    pub attempts: u8,
    /// The latest of them.
    pub distribution: u16,
    pub result: ReceiverResult,
    /// Boot count of a verdict on this version that is older than the campaign's distribution.
    pub prior_verdict: Option<u32>,
    pub faults: HealthFaults,
}

/// What the current stage is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Survey,
    Deliver,
    Soak { until: Instant },
}

/// Where the campaign is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Position {
    Ready,
    /// Between records: the stage before has passed, the next is not open.
    Between {
        next: u8,
    },
    Stage {
        stage: u8,
        step: Step,
    },
    /// Waits for its distributions to be cancelled.
    Stopping(End),
    /// Sends the old image; first the nodes are surveyed.
    Reverse {
        surveyed: bool,
    },
    Ended(End),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pause {
    pub stage: u8,
    pub at: Instant,
    pub reason: PauseReason,
    pub confirmed: u16,
    pub targeted: u16,
}

/// One distribution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Distribution {
    pub number: u16,
    pub gateway: Addr,
    pub group: Addr,
    pub nodes: Vec<usize>,
    /// When it ended at its gateway.
    pub ended_at: Option<Instant>,
}

/// A record that cannot follow the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Inconsistent;

pub(super) struct State {
    pub setup: Setup,
    pub fleet: Fleet,
    pub stages: Vec<Vec<NodeIndex>>,
    pub nodes: Vec<NodeState>,
    pub position: Position,
    pub pause: Option<Pause>,
    /// The operator ordered a pause, and its record is still to be made.
    pub pause_ordered: bool,
    /// Per stage: an operator's override exempts it from threshold and health.
    pub overridden: Vec<bool>,
    pub started_at: Instant,
    /// When the current survey began.
    pub survey_since: Instant,
    /// Distributions opened so far.
    pub opened: u16,
    /// Distributions whose nodes are not all settled, oldest first.
    pub distributions: Vec<Distribution>,
    /// Updated nodes per stage.
    pub updated: Vec<u16>,
}

impl State {
    pub fn new(setup: Setup) -> Result<Self, CampaignError> {
        setup.policy.check()?;
        let fleet = Fleet::new(setup.fleet.clone())?;
        let stages = stages::partition(fleet.nodes(), &setup.policy.stages);
        let untouched = NodeState {
            stage: NOT_STAGED,
            step: NodeStep::Untouched,
            outcome: None,
            boot_count: 0,
            attempts: 0,
            distribution: 0,
            result: ReceiverResult::UNKNOWN,
            prior_verdict: None,
            faults: HealthFaults::default(),
        };
        let mut nodes = vec![untouched; fleet.len()];
        for (stage, members) in (0u8..).zip(&stages) {
            for &index in members {
                if let Some(node) = nodes.get_mut(usize::from(index)) {
                    node.stage = stage;
                }
            }
        }
        let count = stages.len();
        Ok(State {
            setup,
            fleet,
            stages,
            nodes,
            position: Position::Ready,
            pause: None,
            pause_ordered: false,
            overridden: vec![false; count],
            started_at: Instant::from_ticks(0),
            survey_since: Instant::from_ticks(0),
            opened: 0,
            distributions: Vec::new(),
            updated: vec![0; count],
        })
    }

    /// Takes a record into account.
    pub fn apply(&mut self, record: &Record) -> Result<(), Inconsistent> {
        match record {
            Record::Created(_) => return Err(Inconsistent),
            Record::Started { at } => {
                self.started_at = *at;
                self.position = Position::Between { next: 0 };
            }
            Record::StageStarted { stage, at, .. } => {
                if usize::from(*stage) >= self.stages.len() {
                    return Err(Inconsistent);
                }
                self.position = Position::Stage { stage: *stage, step: Step::Survey };
                self.survey_since = *at;
                self.distributions.clear();
            }
            Record::PriorVerdict { node, boot_count } => self.node(*node)?.1.prior_verdict = Some(*boot_count),
            Record::Surveyed { .. } => self.surveyed()?,
            Record::DistributionStarted { number, gateway, group, nodes, .. } => {
                self.distribution_started(*number, *gateway, *group, nodes)?;
            }
            Record::DistributionEnded { number, at, receivers, .. } => {
                self.distribution_ended(*number, *at, receivers)?;
            }
            Record::Retry { node } => self.node(*node)?.1.step = NodeStep::Waiting,
            Record::NodeOutcome { node, outcome, boot_count, .. } => self.outcome(*node, *outcome, *boot_count)?,
            Record::Health { node, faults, .. } => self.node(*node)?.1.faults = *faults,
            Record::SoakStarted { stage, until, .. } => {
                self.position = Position::Stage { stage: *stage, step: Step::Soak { until: *until } };
            }
            Record::StagePassed { stage, .. } => self.position = Position::Between { next: stage.saturating_add(1) },
            Record::Paused { stage, at, reason, confirmed, targeted } => {
                self.pause_ordered = false;
                self.pause =
                    Some(Pause { stage: *stage, at: *at, reason: *reason, confirmed: *confirmed, targeted: *targeted });
            }
            Record::Operator { order, .. } => self.operator(*order)?,
            Record::RollBackStarted { at, nodes } => self.roll_back_started(*at, nodes)?,
            Record::Ended { end, .. } => {
                self.position = Position::Ended(*end);
                self.distributions.clear();
            }
        }
        Ok(())
    }

    fn node(&mut self, addr: Addr) -> Result<(usize, &mut NodeState), Inconsistent> {
        let index = self.fleet.index(addr).ok_or(Inconsistent)?;
        self.nodes.get_mut(index).map(|node| (index, node)).ok_or(Inconsistent)
    }

    /// Is the old image being distributed?
    pub fn is_reverse(&self) -> bool {
        matches!(self.position, Position::Reverse { .. } | Position::Ended(End::RolledBack))
    }

    /// Nodes of a stage that are addressed.
    pub fn targeted(&self, stage: u8) -> u16 {
        // A fleet has fewer nodes than a u16 counts.
        self.stages.get(usize::from(stage)).map_or(0, |members| members.len() as u16)
    }

    pub fn confirmed(&self, stage: u8) -> u16 {
        self.updated.get(usize::from(stage)).copied().unwrap_or(0)
    }

    pub fn is_overridden(&self, stage: u8) -> bool {
        self.overridden.get(usize::from(stage)).copied().unwrap_or(false)
    }

    /// Distributions that have not ended at their gateway.
    pub fn running(&self) -> impl Iterator<Item = &Distribution> {
        self.distributions.iter().filter(|d| d.ended_at.is_none())
    }

    fn surveyed(&mut self) -> Result<(), Inconsistent> {
        match self.position {
            Position::Stage { stage, step: Step::Survey } => {
                self.position = Position::Stage { stage, step: Step::Deliver };
                for &index in self.stages.get(usize::from(stage)).ok_or(Inconsistent)? {
                    let node = self.nodes.get_mut(usize::from(index)).ok_or(Inconsistent)?;
                    node.step = if node.outcome.is_some() { NodeStep::Decided } else { NodeStep::Waiting };
                }
                Ok(())
            }
            Position::Reverse { surveyed: false } => {
                self.position = Position::Reverse { surveyed: true };
                for node in self.nodes.iter_mut().filter(|node| node.step == NodeStep::Untouched) {
                    let wanted = node.outcome == Some(Outcome::Updated);
                    node.step = if wanted { NodeStep::Waiting } else { NodeStep::Decided };
                }
                Ok(())
            }
            Position::Ready
            | Position::Between { .. }
            | Position::Stage { .. }
            | Position::Stopping(_)
            | Position::Reverse { surveyed: true }
            | Position::Ended(_) => Err(Inconsistent),
        }
    }

    fn distribution_started(
        &mut self,
        number: u16,
        gateway: Addr,
        group: Addr,
        nodes: &[Addr],
    ) -> Result<(), Inconsistent> {
        let mut indices = Vec::with_capacity(nodes.len());
        for addr in nodes {
            let (index, node) = self.node(*addr)?;
            node.step = NodeStep::OnAir;
            node.attempts = node.attempts.saturating_add(1);
            node.distribution = number;
            node.result = ReceiverResult::UNKNOWN;
            indices.push(index);
        }
        self.opened = number.checked_add(1).ok_or(Inconsistent)?;
        self.distributions.push(Distribution { number, gateway, group, nodes: indices, ended_at: None });
        Ok(())
    }

    fn distribution_ended(&mut self, number: u16, at: Instant, results: &[ReceiverResult]) -> Result<(), Inconsistent> {
        let reverse = self.is_reverse();
        let State { distributions, nodes, .. } = self;
        let distribution = distributions.iter_mut().find(|d| d.number == number).ok_or(Inconsistent)?;
        distribution.ended_at = Some(at);
        if results.len() != distribution.nodes.len() {
            return Err(Inconsistent);
        }
        for (&index, result) in distribution.nodes.iter().zip(results) {
            let node = nodes.get_mut(index).ok_or(Inconsistent)?;
            node.result = *result;
            node.step = if decided(node.outcome, reverse) { NodeStep::Decided } else { NodeStep::Settling };
        }
        Ok(())
    }

    fn outcome(&mut self, addr: Addr, outcome: Outcome, boot_count: u32) -> Result<(), Inconsistent> {
        let (_, node) = self.node(addr)?;
        let before = node.outcome.replace(outcome);
        node.boot_count = node.boot_count.max(boot_count);
        if !outcome.is_updated() {
            node.faults = HealthFaults::default();
        }
        match node.step {
            NodeStep::Waiting | NodeStep::Settling => node.step = NodeStep::Decided,
            NodeStep::Untouched | NodeStep::OnAir | NodeStep::Decided => {}
        }
        let stage = usize::from(node.stage);
        if let Some(updated) = self.updated.get_mut(stage) {
            *updated -= u16::from(before.is_some_and(Outcome::is_updated));
            *updated += u16::from(outcome.is_updated());
        }
        Ok(())
    }

    fn operator(&mut self, order: OperatorOrder) -> Result<(), Inconsistent> {
        match order {
            OperatorOrder::Resume => {
                let pause = self.pause.take().ok_or(Inconsistent)?;
                if pause.reason.resume_overrides() {
                    *self.overridden.get_mut(usize::from(pause.stage)).ok_or(Inconsistent)? = true;
                }
            }
            OperatorOrder::Pause => self.pause_ordered = true,
            OperatorOrder::Abort => self.stop(End::Aborted),
            OperatorOrder::RollBack => self.stop(End::RolledBack),
        }
        Ok(())
    }

    fn stop(&mut self, end: End) {
        self.pause = None;
        self.distributions.retain(|d| d.ended_at.is_none());
        self.position = Position::Stopping(end);
    }

    fn roll_back_started(&mut self, at: Instant, nodes: &[Addr]) -> Result<(), Inconsistent> {
        self.position = Position::Reverse { surveyed: false };
        self.survey_since = at;
        self.distributions.clear();
        for node in &mut self.nodes {
            node.step = NodeStep::Decided;
        }
        for addr in nodes {
            let (_, node) = self.node(*addr)?;
            node.step = NodeStep::Untouched;
            node.attempts = 0;
            node.prior_verdict = None;
        }
        Ok(())
    }
}

/// Is there nothing more to find out about a node whose distribution ended?
fn decided(outcome: Option<Outcome>, reverse: bool) -> bool {
    if reverse { outcome.is_some_and(|o| !o.is_updated()) } else { outcome.is_some() }
}
