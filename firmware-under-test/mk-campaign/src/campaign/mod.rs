//! The machine: what goes in, what comes out, and when it wants to be called again.

mod delivery;
mod evidence;
mod soak;
mod state;
mod view;
mod watch;

use self::state::{Position, State, Step};
use self::watch::Watch;
use crate::alert::{Alert, AlertKind};
use crate::fleet::{FleetError, NodeInfo};
use crate::initiator::{Context, Initiator};
use crate::journal::{OperatorOrder, PauseReason, Record, Setup};
use crate::package::{Package, PackageInfo};
use crate::policy::{Policy, PolicyError};
use crate::stages::Parts;
use crate::windows;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use mk_wire::Addr;
use mk_wire::north::{Notice, Order};
use mk_wire::time::Instant;
use mk_wire::vendor::Report;

/// Steps that one call may take: opening a stage, distributions, soak and the next stage are a handful each.
const MAX_STEPS: usize = 1024;

/// A campaign that cannot be created.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CampaignError {
    /// The policy cannot be carried out.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    /// The fleet cannot be addressed.
    #[error("fleet: {0}")]
    Fleet(#[from] FleetError),
    /// A package cannot be sent: no image, an image over 4 GB, or metadata over 255 octets.
    #[error("package {version}: image of {image} octets with metadata of {metadata} octets cannot be distributed")]
    Package {
        /// Its version.
        version: mk_wire::Version,
        /// Octets of its image.
        image: usize,
        /// Octets of its metadata.
        metadata: usize,
    },
    /// The package to roll back to has the version that is distributed: no report could tell the two apart.
    #[error("the package to roll back to has the same version, {0}, as the one distributed")]
    SameVersion(mk_wire::Version),
}

/// A journal that no campaign can be resumed from.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResumeError {
    /// The first record is not [`Record::Created`].
    #[error("the journal does not begin with the creation of a campaign")]
    NotCreated,
    /// The setup in the journal is not one that a campaign can be created from.
    #[error("journalled setup: {0}")]
    Setup(#[from] CampaignError),
    /// A package differs from the one that the campaign was created with.
    #[error(
        "the package given has version {given:?}, the campaign was created with {journalled:?}, or their images differ"
    )]
    OtherPackage {
        /// Version given.
        given: Option<mk_wire::Version>,
        /// Version in the journal.
        journalled: Option<mk_wire::Version>,
    },
    /// A record speaks of a node, stage or distribution that does not exist, or cannot follow the ones before it.
    #[error("record {index} of the journal does not follow from the ones before it")]
    Inconsistent {
        /// Which record, from 0.
        index: usize,
    },
}

/// An operator's order that was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrderError {
    /// The campaign does not run.
    #[error("the campaign is not running")]
    NotRunning,
    /// Resume without a pause, or a pause while paused.
    #[error("the order does not fit: the campaign is {}", if *.paused { "paused already" } else { "not paused" })]
    WrongState {
        /// Whether it is paused.
        paused: bool,
    },
    /// There is no package to roll back to.
    #[error("no package to roll back to was given")]
    NoRollBackPackage,
}

/// A campaign.
pub struct Campaign {
    state: State,
    parts: Parts,
    images: Images,
    /// The time of the latest call.
    now: Instant,
    /// When a resumed campaign was first called.
    resumed_at: Option<Instant>,
    /// What the records call for has still to be asked for again.
    take_up: bool,
    window_open: Option<bool>,
    /// When nodes may next be asked.
    round_at: Option<Instant>,
    /// When health is next looked at as a whole.
    sweep_at: Option<Instant>,
    /// Since when this machine has watched the health of the nodes in soak.
    watch_since: Instant,
    watch: Watch,
    live: Vec<Live>,
    machines: Vec<Initiator>,
    orders: VecDeque<(Addr, Order)>,
    alerts: VecDeque<Alert>,
    journal: VecDeque<Record>,
}

/// What is known of a node and not worth a record: it is found out again after a restart.
#[derive(Clone, Copy, Default)]
struct Live {
    /// Its latest report, and when it came.
    report: Option<(Instant, Report)>,
    boot_count: u32,
    /// Its report said that the new image is confirmed on the node itself.
    verified: bool,
    /// Requests sent, and when the latest was.
    asked: u8,
    asked_at: Option<Instant>,
    /// Its heartbeat says that it was started again; what it runs is to be asked.
    restarted: bool,
}

/// The image files; the journal holds only their digests.
struct Images {
    package: Vec<u8>,
    rollback: Vec<u8>,
}

impl State {
    /// The package that is being distributed: the old one while an operator's roll-back runs.
    fn wanted_package(&self) -> &PackageInfo {
        self.setup.rollback.as_ref().filter(|_| self.is_reverse()).unwrap_or(&self.setup.package)
    }
}

fn context<'a>(state: &'a State, images: &'a Images) -> Context<'a> {
    let reverse = state.is_reverse() && state.setup.rollback.is_some();
    Context {
        package: state.wanted_package(),
        image: if reverse { &images.rollback } else { &images.package },
        radio: &state.setup.policy.radio,
        timing: &state.setup.policy.timing,
    }
}

impl Campaign {
    /// A new campaign: checks everything, journals [`Record::Created`], and waits for [`Campaign::start`].
    ///
    /// # Errors
    /// A policy, fleet or package that no campaign can be made of.
    pub fn new(
        policy: Policy,
        fleet: Vec<NodeInfo>,
        package: Package,
        rollback: Option<Package>,
        parts: Parts,
    ) -> Result<Self, CampaignError> {
        for package in [Some(&package), rollback.as_ref()].into_iter().flatten() {
            check_package(package)?;
        }
        if rollback.as_ref().is_some_and(|old| old.version == package.version) {
            return Err(CampaignError::SameVersion(package.version));
        }
        let setup = Setup { policy, fleet, package: package.info(), rollback: rollback.as_ref().map(Package::info) };
        let mut campaign = Self::assemble(setup.clone(), package, rollback, parts)?;
        campaign.journal.push_back(Record::Created(Box::new(setup)));
        Ok(campaign)
    }

    /// The campaign whose journal is given, as it was when the last of these records was made. The host calls
    /// [`Campaign::on_timer`] next, or [`Campaign::start`] if the journal ends before the start.
    ///
    /// # Errors
    /// Records that are no campaign's journal, or packages that are not the journalled ones.
    pub fn resume(
        records: impl IntoIterator<Item = Record>,
        package: Package,
        rollback: Option<Package>,
        parts: Parts,
    ) -> Result<Self, ResumeError> {
        let mut records = records.into_iter();
        let Some(Record::Created(setup)) = records.next() else { return Err(ResumeError::NotCreated) };
        for (given, journalled) in [
            (Some(package.info()), Some(&setup.package)),
            (rollback.as_ref().map(Package::info), setup.rollback.as_ref()),
        ] {
            if given.as_ref() != journalled {
                let (given, journalled) = (given.map(|p| p.version), journalled.map(|p| p.version));
                return Err(ResumeError::OtherPackage { given, journalled });
            }
        }
        let mut campaign = Self::assemble(*setup, package, rollback, parts)?;
        for (index, record) in (1..).zip(records) {
            campaign.state.apply(&record).map_err(|_| ResumeError::Inconsistent { index })?;
        }
        campaign.take_up = true;
        Ok(campaign)
    }

    fn assemble(
        setup: Setup,
        package: Package,
        rollback: Option<Package>,
        parts: Parts,
    ) -> Result<Self, CampaignError> {
        let state = State::new(setup)?;
        let nodes = state.nodes.len();
        Ok(Campaign {
            state,
            parts,
            images: Images { package: package.image, rollback: rollback.map(|p| p.image).unwrap_or_default() },
            now: Instant::from_ticks(0),
            resumed_at: None,
            take_up: false,
            window_open: None,
            round_at: None,
            sweep_at: None,
            watch_since: Instant::from_ticks(0),
            watch: Watch::new(nodes),
            live: vec![Live::default(); nodes],
            machines: Vec::new(),
            orders: VecDeque::new(),
            alerts: VecDeque::new(),
            journal: VecDeque::new(),
        })
    }

    /// Begins. Has no effect on a campaign that has begun.
    pub fn start(&mut self, now: Instant) {
        if self.state.position == Position::Ready {
            self.commit(Record::Started { at: now });
            self.take_up = false;
            self.advance(now);
        }
    }

    /// A notice from a gateway. Notices about nodes that are not of this fleet are ignored.
    pub fn on_notice(&mut self, now: Instant, gateway: Addr, notice: &Notice) {
        match notice {
            Notice::Health { node, health } => {
                let Some(index) = self.state.fleet.index(*node) else { return };
                let restarted = self.watch.on_health(index, now, health, &self.state.setup.policy.health);
                if restarted && let Some(live) = self.live.get_mut(index) {
                    (live.restarted, live.asked, live.asked_at) = (true, 0, None);
                }
                if self.check_health(now, index) {
                    self.advance(now);
                }
            }
            Notice::AppReport { node, report: _ } => {
                let Some(index) = self.state.fleet.index(*node) else { return };
                self.watch.on_app_report(index, now);
                if self.check_health(now, index) {
                    self.advance(now);
                }
            }
            Notice::Access(message) => {
                let context = context(&self.state, &self.images);
                if let Some(machine) = self.machines.iter_mut().find(|machine| machine.gateway() == gateway) {
                    machine.on_message(now, message, &context);
                }
                self.advance(now);
            }
            Notice::Confirmed { node, boot_count, version } => {
                let Some(index) = self.state.fleet.index(*node) else { return };
                self.on_confirmed(now, index, *boot_count, *version);
                self.advance(now);
            }
            Notice::Report { node, report } => {
                let Some(index) = self.state.fleet.index(*node) else { return };
                self.on_report(now, index, report);
                if let Some(live) = self.live.get_mut(index) {
                    live.restarted = false;
                }
                self.advance(now);
            }
        }
    }

    /// An order of the operator.
    ///
    /// # Errors
    /// An order that does not fit; nothing changes.
    pub fn on_order(&mut self, now: Instant, order: OperatorOrder) -> Result<(), OrderError> {
        match self.state.position {
            Position::Between { .. } | Position::Stage { .. } | Position::Reverse { .. } => {}
            Position::Ready | Position::Stopping(_) | Position::Ended(_) => return Err(OrderError::NotRunning),
        }
        let paused = self.state.pause.is_some();
        match order {
            OperatorOrder::Pause | OperatorOrder::Resume if paused == (order == OperatorOrder::Pause) => {
                return Err(OrderError::WrongState { paused });
            }
            OperatorOrder::RollBack if self.state.setup.rollback.is_none() => {
                return Err(OrderError::NoRollBackPackage);
            }
            OperatorOrder::RollBack if self.state.is_reverse() => return Err(OrderError::NotRunning),
            OperatorOrder::Pause | OperatorOrder::Resume | OperatorOrder::Abort | OperatorOrder::RollBack => {}
        }
        self.commit(Record::Operator { order, at: now });
        match order {
            OperatorOrder::Pause => self.pause_as_ordered(now),
            OperatorOrder::Resume => {
                self.hold_machines(now);
                for machine in &mut self.machines {
                    machine.retry(now);
                }
            }
            OperatorOrder::Abort | OperatorOrder::RollBack => {}
        }
        self.advance(now);
        Ok(())
    }

    /// Something may be due.
    pub fn on_timer(&mut self, now: Instant) {
        self.advance(now);
    }

    /// When [`Campaign::on_timer`] is next wanted; `None` when only a notice or an order can change anything. A host that
    /// carries out every order of [`Campaign::poll_order`] is never told an instant that has passed.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        if self.take_up {
            return Some(self.now);
        }
        let machines = self.machines.iter().filter_map(Initiator::next_wakeup).min();
        [machines, self.own_wakeup()].into_iter().flatten().min()
    }

    fn own_wakeup(&self) -> Option<Instant> {
        let window = || windows::next_change(&self.state.setup.policy, self.now);
        let round = || Some(self.round_at.filter(|at| *at > self.now).unwrap_or_else(|| self.next_round()));
        match self.state.position {
            Position::Ready | Position::Ended(_) | Position::Stopping(_) => None,
            Position::Stage { step: Step::Soak { until }, stage } => {
                let end = until.max(self.observed_at(stage));
                let due = [self.sweep_at, window(), Some(end).filter(|_| self.state.pause.is_none())];
                due.into_iter().flatten().min()
            }
            Position::Between { .. } | Position::Stage { .. } | Position::Reverse { .. } => {
                [round(), window()].into_iter().flatten().min()
            }
        }
    }

    fn next_round(&self) -> Instant {
        crate::initiator::later(self.now, self.state.setup.policy.timing.round_interval)
    }

    /// The next order to a gateway. To be carried out after every record of [`Campaign::poll_journal`] is persisted.
    pub fn poll_order(&mut self) -> Option<(Addr, Order)> {
        if let Some(order) = self.orders.pop_front() {
            return Some(order);
        }
        self.poll_machines()
    }

    /// The next alert to the operator. To be given after every record of [`Campaign::poll_journal`] is persisted.
    pub fn poll_alert(&mut self) -> Option<Alert> {
        self.alerts.pop_front()
    }

    /// The next journal record to persist.
    pub fn poll_journal(&mut self) -> Option<Record> {
        self.journal.pop_front()
    }

    /// Does whatever is due, until nothing more is.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.take_up {
            self.take_up(now);
        }
        self.look_at_window(now);
        for _ in 0..MAX_STEPS {
            let heard = self.hear_machines(now);
            if !self.step(now) && !heard {
                break;
            }
        }
    }

    fn step(&mut self, now: Instant) -> bool {
        match self.state.position {
            Position::Ready | Position::Ended(_) => false,
            Position::Between { next } => self.next_stage(now, next),
            Position::Stage { step: Step::Survey, .. } => self.state.pause.is_none() && self.survey(now),
            Position::Stage { stage, step: Step::Deliver } => self.deliver(now, stage),
            Position::Stage { stage, step: Step::Soak { until } } => self.soak(now, stage, until),
            Position::Stopping(end) => self.stopping(now, end),
            Position::Reverse { surveyed } => self.reverse(now, surveyed),
        }
    }

    /// Asks again for everything that the records call for.
    fn take_up(&mut self, now: Instant) {
        self.take_up = false;
        self.resumed_at = Some(now);
        self.watch_since = now;
        self.window_open = Some(windows::is_open(&self.state.setup.policy, now));
        self.adopt(now);
        match self.state.position {
            Position::Ready => {}
            Position::Ended(end) => self.alert(now, AlertKind::Ended(end)),
            Position::Between { .. } | Position::Stage { .. } | Position::Stopping(_) | Position::Reverse { .. } => {
                self.tell_gateways();
            }
        }
        if let Some(pause) = self.state.pause {
            let state::Pause { stage, at, reason, confirmed, targeted } = pause;
            self.alert(at, AlertKind::Paused { stage, reason, confirmed, targeted });
        }
        self.pause_as_ordered(now);
        self.hold_machines(now);
    }

    fn pause_as_ordered(&mut self, now: Instant) {
        if self.state.pause_ordered {
            let stage = self.stage_to_blame();
            self.pause(now, stage, PauseReason::Operator);
        }
    }

    fn look_at_window(&mut self, now: Instant) {
        match self.state.position {
            Position::Ready | Position::Ended(_) => return,
            Position::Between { .. } | Position::Stage { .. } | Position::Stopping(_) | Position::Reverse { .. } => {}
        }
        let open = windows::is_open(&self.state.setup.policy, now);
        if self.window_open == Some(open) {
            return;
        }
        self.window_open = Some(open);
        for gateway in self.state.fleet.gateways() {
            self.orders.push_back((*gateway, Order::Window { open }));
        }
        self.hold_machines(now);
    }

    fn alert(&mut self, at: Instant, kind: AlertKind) {
        self.alerts.push_back(Alert { at, kind });
    }

    /// Takes a record into account and journals it.
    fn commit(&mut self, record: Record) {
        // Every record made here follows from the state; `resume` is where records may not.
        let applied = self.state.apply(&record);
        debug_assert!(applied.is_ok(), "{record:?}");
        self.journal.push_back(record);
    }
}

/// Can this package be sent at all?
fn check_package(package: &Package) -> Result<(), CampaignError> {
    let (image, metadata) = (package.image.len(), package.metadata.len());
    if image == 0 || u32::try_from(image).is_err() || metadata > 255 {
        return Err(CampaignError::Package { version: package.version, image, metadata });
    }
    Ok(())
}
