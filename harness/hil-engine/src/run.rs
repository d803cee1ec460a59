//! The run loop: one course of actions on one rack, every observation into the ledger.
//!
//! Knows no concrete rack, reads no clock and judges nothing. The rack owns time; this loop asks it to observe until
//! the next action is due. Every run ends: quiet, at its deadline, interrupted, or because the rack failed; the rack is
//! released in every case.

use crate::ledger::{Ledger, MAX_EVENTS};
use crate::schedule::Schedule;
use core::sync::atomic::{AtomicBool, Ordering};
use hil_model::{
    About, Action, Capability, Event, Fact, OperatorOrder, Provision, Seed, Span, Time, TimedAction, Witness,
};
use hil_rack::{Rack, RackError};
use hil_scenario::Plan;

/// Observations in a row that bring neither an event nor time before the rack counts as stuck.
const MAX_STALLS: u32 = 1_000;

/// Longest rack time between two looks at whether a rack has come to rest: coming to rest is no event.
const LOOK_AGAIN: Span = Span::mins(1);
/// The same where rack time is real time.
const LOOK_AGAIN_REAL: Span = Span::millis(250);

/// What the loop needs of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// Name of the scenario.
    pub name: &'a str,
    /// Seed of the run.
    pub seed: Seed,
    /// What the rack is prepared with.
    pub provision: &'a Provision,
    /// Everything that is done, the start of the campaign among it.
    pub actions: &'a [TimedAction],
    /// Longest rack time.
    pub deadline: Span,
    /// Rack time to watch on after everything went quiet.
    pub settle: Span,
}

impl<'a> Course<'a> {
    /// The course of a plan.
    #[must_use]
    pub fn of(plan: &'a Plan) -> Self {
        Self {
            name: &plan.name,
            seed: plan.seed,
            provision: &plan.provision,
            actions: &plan.actions,
            deadline: plan.deadline,
            settle: plan.settle,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing more was due, and the settle time passed.
    Quiet,
    /// The deadline came first.
    Deadline,
    /// The caller asked to stop.
    Interrupted,
    /// The rack failed.
    RackFailed,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Everything observed.
    pub ledger: Ledger,
    /// How it ended.
    pub ended: Ended,
    /// Rack time at the end.
    pub at: Time,
    /// Actions, by place in the course, that were never applied: their trigger did not come, or the run ended first.
    pub missed: Vec<usize>,
    /// What the rack said when it failed.
    pub rack_error: Option<RackError>,
}

/// Whether a campaign is under way, from its own events.
#[derive(Debug, Default)]
struct CampaignState {
    open: bool,
}

impl CampaignState {
    fn on_event(&mut self, fact: &Fact) {
        match fact {
            Fact::CampaignStarted { .. }
            | Fact::StageStarted { .. }
            | Fact::OperatorActed { order: OperatorOrder::Resume } => self.open = true,
            Fact::CampaignEnded { .. } | Fact::CampaignPaused { .. } => self.open = false,
            _ => {}
        }
    }
}

/// The loop's state between observations.
struct Loop<'a, 'r> {
    course: Course<'a>,
    rack: &'r mut dyn Rack,
    observer: &'r mut dyn FnMut(&Event),
    ledger: Ledger,
    schedule: Schedule,
    campaign: CampaignState,
    now: Time,
    settled_at: Option<Time>,
}

/// Run a plan on `rack`: [`run`] with the plan's course.
pub fn run_plan(plan: &Plan, rack: &mut dyn Rack, observer: &mut dyn FnMut(&Event), stop: &AtomicBool) -> Outcome {
    run(Course::of(plan), rack, observer, stop)
}

/// Run `course` on `rack`. `observer` sees every event as it enters the ledger; `stop` is looked at between
/// observations.
///
/// Never panics and never returns early: what was seen before a rack failed is in the ledger.
pub fn run(course: Course<'_>, rack: &mut dyn Rack, observer: &mut dyn FnMut(&Event), stop: &AtomicBool) -> Outcome {
    let schedule = Schedule::new(course.actions);
    let mut state = Loop {
        course,
        rack,
        observer,
        ledger: Ledger::new(),
        schedule,
        campaign: CampaignState::default(),
        now: Time::ZERO,
        settled_at: None,
    };
    let result = state.whole_run(stop);
    state.rack.release();
    let (ended, rack_error) = match result {
        Ok(ended) => (ended, None),
        Err(error) => (Ended::RackFailed, Some(error)),
    };
    Outcome { missed: state.schedule.missed(), ledger: state.ledger, ended, at: state.now, rack_error }
}

impl Loop<'_, '_> {
    fn whole_run(&mut self, stop: &AtomicBool) -> Result<Ended, RackError> {
        self.open();
        self.rack.prepare(self.course.provision)?;
        let ended = match self.observe_all(stop) {
            Ok(ended) => ended,
            Err(error) => {
                self.drain();
                return Err(error);
            }
        };
        if ended != Ended::Interrupted {
            for event in self.rack.collect()? {
                self.record(event);
            }
            self.note(About::Rack, Fact::RunEnded { timed_out: ended == Ended::Deadline });
        }
        Ok(ended)
    }

    /// The first lines of every ledger: the run and its nodes.
    fn open(&mut self) {
        let manifest = self.rack.manifest();
        let (rack, kind) = (manifest.name.clone(), manifest.kind);
        let scenario = self.course.name.to_owned();
        self.note(About::Rack, Fact::RunStarted { scenario, seed: self.course.seed, rack, kind });
        let provision = self.course.provision;
        for node in &provision.fleet.nodes {
            let fact = Fact::NodeProvisioned {
                floor: node.floor,
                running: provision.running.digest,
                config_version: node.config_version,
            };
            self.note(About::Node(node.id), fact);
        }
    }

    fn observe_all(&mut self, stop: &AtomicBool) -> Result<Ended, RackError> {
        let deadline = Time::ZERO + self.course.deadline;
        let mut stalls = 0;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(Ended::Interrupted);
            }
            let acted = self.apply_due()?;
            if self.settled_at.is_some_and(|end| self.now >= end) && self.schedule.idle() {
                return Ok(Ended::Quiet);
            }
            if self.now >= deadline {
                return Ok(Ended::Deadline);
            }
            // After an action the rack is asked at once what came of it, and whether anything did.
            let look = if acted { self.now } else { self.now + self.look_again() };
            let next = [Some(look), self.schedule.next_due(), self.settled_at];
            let until = next.into_iter().flatten().fold(deadline, Time::min);
            let seen = self.rack.observe(until)?;
            self.check_time(seen.now)?;
            let moved = seen.now > self.now || !seen.events.is_empty();
            stalls = if moved { 0 } else { stalls + 1 };
            if stalls > MAX_STALLS {
                return Err(stuck(self.now));
            }
            self.now = seen.now;
            for event in seen.events {
                self.record(event);
            }
            if self.ledger.events().len() > MAX_EVENTS {
                return Err(flooded());
            }
            self.settle(seen.quiet);
        }
    }

    /// How long to wait for an event before the rack is asked whether it has come to rest.
    fn look_again(&self) -> Span {
        let jumps = self.rack.manifest().capabilities.contains(&Capability::VirtualTime);
        if jumps { LOOK_AGAIN } else { LOOK_AGAIN_REAL }
    }

    /// Start the settle time when everything went quiet; forget it when something stirs again.
    fn settle(&mut self, quiet: bool) {
        if quiet && !self.campaign.open && self.schedule.idle() {
            let end = self.now + self.course.settle;
            self.settled_at.get_or_insert(end);
        } else {
            self.settled_at = None;
        }
    }

    /// Apply what is due; whether anything was.
    fn apply_due(&mut self) -> Result<bool, RackError> {
        let mut acted = false;
        while let Some(place) = self.schedule.take_due(self.now) {
            let Some(timed) = self.course.actions.get(place) else { continue };
            acted = true;
            self.settled_at = None;
            let fact = Fact::ActionApplied { fault: timed.fault, what: timed.action.describe() };
            self.note(whom(&timed.action), fact);
            self.rack.apply(&timed.action, timed.fault)?;
        }
        Ok(acted)
    }

    /// After a failure: what the rack saw before it is still evidence. A second failure changes nothing.
    fn drain(&mut self) {
        if let Ok(seen) = self.rack.observe(self.now) {
            for event in seen.events {
                self.record(event);
            }
        }
    }

    fn check_time(&self, now: Time) -> Result<(), RackError> {
        if now >= self.now {
            return Ok(());
        }
        Err(RackError::Broken {
            part: "clock".to_owned(),
            what: format!("rack time went back from {} to {now}", self.now),
            next: "this is a fault of the rack's code; report it with the seed".to_owned(),
        })
    }

    fn note(&mut self, about: About, fact: Fact) {
        self.record(Event::new(self.now, about, Witness::Harness, fact));
    }

    fn record(&mut self, event: Event) {
        let event = self.ledger.append(event);
        self.schedule.on_event(event);
        self.campaign.on_event(&event.fact);
        (self.observer)(event);
    }
}

fn stuck(now: Time) -> RackError {
    RackError::Broken {
        part: "clock".to_owned(),
        what: format!("time stands still at {now}"),
        next: "this is a fault of the rack's code; report it with the seed".to_owned(),
    }
}

fn flooded() -> RackError {
    RackError::Broken {
        part: "ledger".to_owned(),
        what: format!("more than {MAX_EVENTS} events"),
        next: "shorten the scenario, or look for a node that resets for ever".to_owned(),
    }
}

/// Whom an action is about.
fn whom(action: &Action) -> About {
    match action {
        Action::Power(node, _) | Action::ProbeWrite(node, _) | Action::ProbeRead(node) => About::Node(*node),
        Action::RestartGateway(gateway, _) => About::Gateway(*gateway),
        Action::StartCampaign { .. } | Action::Operator(_) | Action::RestartMeshos(_) => About::Campaign,
        Action::AddAirRule(_) | Action::RemoveAirRule(_) => About::Rack,
    }
}
