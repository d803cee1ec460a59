//! The run loop against a rack that does what the test says: actions on time and on triggers, every way to end, and a
//! rack that misbehaves.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use hil_engine::run::{Course, run};
use hil_engine::{Ended, Outcome};
use hil_model::fact::ResetCause;
use hil_model::{
    About, Action, AirLevel, Composition, Digest, Event, Fact, FaultId, Fleet, ImageLabel, NodeId, OperatorOrder,
    Profile, Provision, RackKind, RackManifest, Seed, Span, StageIndex, Time, TimedAction, TrafficProfile, Trigger,
    Version, When, Witness,
};
use hil_rack::{Observation, Rack, RackError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

const NODE: NodeId = NodeId(1);

/// A rack with a script: events by time; quiet when the script is used up.
struct Scripted {
    manifest: RackManifest,
    script: VecDeque<(Time, Fact)>,
    now: Time,
    /// What was done, and when.
    applied: Vec<(u64, String)>,
    /// Facts that an action brings about at once.
    answers: VecDeque<Fact>,
    pending: Vec<Event>,
    fail_at: Option<Time>,
    refuse: bool,
    stuck: bool,
    backwards: bool,
    never_quiet: bool,
    prepared: bool,
    released: u32,
    collected: u32,
}

fn seconds(s: u64) -> Time {
    Time::ZERO + Span::secs(s)
}

fn image() -> hil_model::provision::SuppliedImage {
    hil_model::provision::SuppliedImage {
        label: ImageLabel("running".to_owned()),
        hardware_id: 1,
        digest: Digest([1; 32]),
        bytes: [].into(),
        metadata: [].into(),
        version: Version::new(1, 0, 0),
        config_version: 1,
    }
}

fn provision() -> Provision {
    Provision {
        seed: Seed(7),
        profile: Profile::default(),
        fleet: Fleet::building(2, 1, 1, 0, 1),
        running: image(),
        key: [4; 65],
        programs: Vec::new(),
        composition: Composition::Product,
        level: AirLevel::Link,
        traffic: TrafficProfile::Quiet,
        report_interval: Span::secs(60),
        grace: Span::secs(120),
    }
}

impl Scripted {
    fn new(script: &[(u64, Fact)]) -> Self {
        Self {
            manifest: RackManifest {
                name: "scripted".to_owned(),
                kind: RackKind::Virtual,
                capabilities: Default::default(),
                profile: Profile::default(),
                fleet: Fleet::building(2, 1, 1, 0, 1),
            },
            script: script.iter().map(|(s, fact)| (seconds(*s), fact.clone())).collect(),
            now: Time::ZERO,
            applied: Vec::new(),
            answers: VecDeque::new(),
            pending: Vec::new(),
            fail_at: None,
            refuse: false,
            stuck: false,
            backwards: false,
            never_quiet: false,
            prepared: false,
            released: 0,
            collected: 0,
        }
    }

    fn event(&self, fact: Fact) -> Event {
        Event::new(self.now, About::Node(NODE), Witness::Power, fact)
    }
}

impl Rack for Scripted {
    fn manifest(&self) -> &RackManifest {
        &self.manifest
    }

    fn prepare(&mut self, _: &Provision) -> Result<(), RackError> {
        self.prepared = true;
        Ok(())
    }

    fn apply(&mut self, action: &Action, _: Option<FaultId>) -> Result<(), RackError> {
        if self.refuse {
            return Err(RackError::Refused { action: action.describe(), why: "no such relay".to_owned() });
        }
        self.applied.push((self.now.0 / 1_000_000_000, action.describe()));
        if let Some(fact) = self.answers.pop_front() {
            let event = self.event(fact);
            self.pending.push(event);
        }
        Ok(())
    }

    fn observe(&mut self, until: Time) -> Result<Observation, RackError> {
        if self.stuck {
            return Ok(Observation { events: Vec::new(), now: self.now, quiet: false });
        }
        if self.backwards {
            return Ok(Observation { events: Vec::new(), now: Time::ZERO, quiet: false });
        }
        let mut events = core::mem::take(&mut self.pending);
        if events.is_empty() {
            let next = self.script.front().map_or(until, |(at, _)| (*at).min(until));
            if self.fail_at.is_some_and(|at| next >= at) {
                self.fail_at = None;
                let last = Event::new(self.now, About::Node(NODE), Witness::Power, Fact::PowerOff);
                self.pending.push(last);
                let (part, what, next) = ("probe 3".to_owned(), "gone".to_owned(), "plug it in".to_owned());
                return Err(RackError::Broken { part, what, next });
            }
            self.now = self.now.max(next);
            while self.script.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, fact) = self.script.pop_front().unwrap();
                events.push(self.event(fact));
            }
        }
        let quiet = self.script.is_empty() && self.pending.is_empty() && !self.never_quiet;
        Ok(Observation { events, now: self.now, quiet })
    }

    fn collect(&mut self) -> Result<Vec<Event>, RackError> {
        self.collected += 1;
        Ok(vec![self.event(Fact::ConsoleLine { text: "final".to_owned() })])
    }

    fn release(&mut self) {
        self.released += 1;
    }
}

fn reset() -> Fact {
    Fact::Reset { cause: ResetCause::Software, count: 1 }
}

fn timed(when: When, action: Action) -> TimedAction {
    TimedAction { when, action, fault: Some(FaultId(0)) }
}

fn after_reset(nth: u16, delay_s: u64) -> When {
    When::After { trigger: Trigger::Reset(NODE), nth, delay: Span::secs(delay_s) }
}

fn go_with(rack: &mut Scripted, actions: &[TimedAction], stop: &AtomicBool) -> Outcome {
    let provision = provision();
    let course = Course {
        name: "test/x",
        seed: Seed(7),
        provision: &provision,
        actions,
        deadline: Span::secs(1_000),
        settle: Span::secs(30),
    };
    let mut seen = 0;
    let outcome = run(course, rack, &mut |event| seen = event.seq + 1, stop);
    assert_eq!(rack.released, 1, "released once, however it ended");
    assert_eq!(seen, outcome.ledger.events().len() as u64, "the observer sees every event");
    assert!(outcome.ledger.events().iter().enumerate().all(|(i, event)| event.seq == i as u64));
    outcome
}

fn go(rack: &mut Scripted, actions: &[TimedAction]) -> Outcome {
    go_with(rack, actions, &AtomicBool::new(false))
}

fn names(outcome: &Outcome) -> Vec<String> {
    outcome.ledger.events().iter().map(|event| event.fact.name()).collect()
}

#[test]
fn a_ledger_begins_with_the_run_and_its_nodes_and_ends_with_the_end() {
    let mut rack = Scripted::new(&[(5, reset())]);
    let outcome = go(&mut rack, &[]);
    assert_eq!(
        names(&outcome),
        ["run-started", "node-provisioned", "node-provisioned", "reset", "console-line", "run-ended"]
    );
    assert_eq!((outcome.ended, outcome.at), (Ended::Quiet, seconds(35)), "settled for 30 s after the last event");
    assert!(rack.prepared && rack.collected == 1 && outcome.rack_error.is_none());
}

#[test]
fn actions_come_on_time_and_on_their_triggers() {
    let mut rack = Scripted::new(&[(5, reset()), (10, reset()), (20, reset())]);
    let actions = [
        timed(After::SECOND, Action::ProbeRead(NODE)),
        timed(When::At(seconds(7)), Action::Operator(OperatorOrder::Pause)),
        timed(after_reset(1, 0), Action::Operator(OperatorOrder::Abort)),
    ];
    let outcome = go(&mut rack, &actions);
    let want = [(5, "operator: abort"), (7, "operator: pause"), (13, "n01: probe reads the banks")];
    assert_eq!(rack.applied, want.map(|(s, what)| (s, what.to_owned())));
    assert_eq!(outcome.missed, Vec::<usize>::new());
    let applied = outcome.ledger.events().iter().filter(|e| matches!(e.fact, Fact::ActionApplied { .. }));
    assert!(applied.clone().all(|e| e.witness == Witness::Harness));
    assert_eq!(applied.count(), 3);
}

struct After;
impl After {
    const SECOND: When = When::After { trigger: Trigger::Reset(NODE), nth: 2, delay: Span::secs(3) };
}

#[test]
fn an_action_may_release_another() {
    let mut rack = Scripted::new(&[(5, reset())]);
    rack.answers = VecDeque::from([reset()]);
    let actions =
        [timed(after_reset(1, 2), Action::ProbeRead(NODE)), timed(after_reset(2, 4), Action::ProbeRead(NodeId(2)))];
    let outcome = go(&mut rack, &actions);
    assert_eq!(rack.applied.iter().map(|(s, _)| *s).collect::<Vec<_>>(), [7, 11]);
    assert_eq!(outcome.ended, Ended::Quiet);
}

#[test]
fn an_action_whose_trigger_never_comes_is_reported_and_does_not_hold_up_the_end() {
    let mut rack = Scripted::new(&[(5, reset())]);
    let outcome = go(&mut rack, &[timed(after_reset(2, 0), Action::ProbeRead(NODE))]);
    assert_eq!((outcome.ended, outcome.missed), (Ended::Quiet, vec![0]));
}

#[test]
fn an_action_due_later_is_waited_for() {
    let mut rack = Scripted::new(&[]);
    let outcome = go(&mut rack, &[timed(When::At(seconds(500)), Action::ProbeRead(NODE))]);
    assert_eq!((outcome.ended, outcome.at), (Ended::Quiet, seconds(530)));
}

#[test]
fn what_happens_in_the_settle_time_starts_it_anew() {
    let mut rack = Scripted::new(&[(5, reset())]);
    rack.answers = VecDeque::from([reset()]);
    // Released 20 s into the settle time.
    let outcome = go(&mut rack, &[timed(after_reset(1, 20), Action::ProbeRead(NODE))]);
    assert_eq!(outcome.at, seconds(55));
}

#[test]
fn a_running_campaign_is_not_quiet() {
    let started = Fact::CampaignStarted {
        version: Version::new(1, 1, 0),
        targets: 2,
        stages: 1,
        success_permille: 950,
        throttle_permille: 400,
    };
    let paused = Fact::CampaignPaused { stage: StageIndex(1), reason: String::new(), confirmed: 0, targeted: 2 };
    let mut rack = Scripted::new(&[(5, started.clone())]);
    assert_eq!(go(&mut rack, &[]).ended, Ended::Deadline);
    let mut rack = Scripted::new(&[(5, started.clone()), (9, paused)]);
    assert_eq!(go(&mut rack, &[]).ended, Ended::Quiet);
    let mut rack = Scripted::new(&[(5, started), (9, Fact::CampaignEnded { completed: true })]);
    assert_eq!(go(&mut rack, &[]).ended, Ended::Quiet);
}

#[test]
fn the_deadline_ends_what_never_comes_to_rest() {
    let mut rack = Scripted::new(&[]);
    rack.never_quiet = true;
    let outcome = go(&mut rack, &[]);
    assert_eq!((outcome.ended, outcome.at), (Ended::Deadline, seconds(1_000)));
    assert_eq!(outcome.ledger.events().last().unwrap().fact, Fact::RunEnded { timed_out: true });
    assert_eq!(rack.collected, 1, "its evidence is read all the same");
}

#[test]
fn an_interrupt_stops_at_once_and_leaves_the_ledger_open() {
    let mut rack = Scripted::new(&[(5, reset())]);
    let stop = AtomicBool::new(true);
    let outcome = go_with(&mut rack, &[], &stop);
    assert!(stop.load(Ordering::Relaxed));
    assert_eq!(outcome.ended, Ended::Interrupted);
    assert!(!names(&outcome).contains(&"run-ended".to_owned()));
}

#[test]
fn a_rack_that_fails_leaves_what_it_saw() {
    let mut rack = Scripted::new(&[(5, reset()), (50, reset())]);
    rack.fail_at = Some(seconds(50));
    let outcome = go(&mut rack, &[]);
    assert_eq!(outcome.ended, Ended::RackFailed);
    assert_eq!(outcome.rack_error.as_ref().unwrap().to_string(), "probe 3: gone; plug it in");
    let names = names(&outcome);
    assert_eq!(names.last().unwrap(), "power-off", "events seen before the failure are kept: {names:?}");
    assert_eq!(rack.collected, 0);
}

#[test]
fn an_action_that_is_refused_is_a_fault_of_the_rack() {
    let mut rack = Scripted::new(&[]);
    rack.refuse = true;
    let outcome = go(&mut rack, &[timed(When::At(Time::ZERO), Action::ProbeRead(NODE))]);
    assert!(matches!(outcome.rack_error, Some(RackError::Refused { .. })));
}

#[test]
fn time_that_stands_still_or_goes_back_is_a_fault_of_the_rack() {
    let mut rack = Scripted::new(&[]);
    rack.stuck = true;
    let outcome = go(&mut rack, &[]);
    assert!(outcome.rack_error.unwrap().to_string().contains("stands still"));
    let mut rack = Scripted::new(&[]);
    rack.backwards = true;
    rack.now = seconds(9);
    let outcome = go(&mut rack, &[timed(When::At(seconds(1)), Action::ProbeRead(NODE))]);
    assert!(outcome.rack_error.is_some());
}

#[test]
fn the_same_course_gives_the_same_ledger() {
    let digest = || go(&mut Scripted::new(&[(5, reset()), (9, reset())]), &[]).ledger.digest();
    assert_eq!(digest(), digest());
}
