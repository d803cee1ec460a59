//! What is known of one node during a run, and its observations in their order.
//!
//! A reading by the probe takes time, and what other witnesses say of the node meanwhile comes after it: a trail keeps
//! observations back until everything before them is there.

use std::collections::VecDeque;

use fixture_images::VerifyingKey;
use hil_model::fact::{Fact, Moment, UpdatePhase};
use hil_model::{About, Event, NodeSpec, Time, Version, Witness};

use super::dump::FlashDump;

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// No power.
    Off,
    /// Was reset and has not said anything since.
    Booting,
    /// The application was started.
    Running,
    /// The bootloader stays.
    Stuck,
}

/// Why flash is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A snapshot of the banks.
    Banks(Moment),
    /// The bootloader jumps: the banks, and what starts.
    Jump {
        /// On trial.
        trial: bool,
    },
    /// The application opened its configuration of this schema.
    Ready {
        /// As it says.
        schema: u16,
    },
}

#[derive(Debug)]
enum Step {
    There(Box<Event>),
    Reading { token: u64, at: Time, why: Why },
}

/// The trail of one node.
#[derive(Debug)]
pub struct Trail {
    /// Who.
    pub spec: NodeSpec,
    /// What it does.
    pub life: Life,
    /// Resets since the run began.
    pub resets: u32,
    /// Lock-ups in a row.
    pub lockups: u32,
    /// When the trial that runs was started.
    pub trial: Option<Time>,
    /// What it last said of its update.
    pub phase: UpdatePhase,
    /// Version that its bootloader spoke of.
    pub spoke_of: Option<Version>,
    /// It opened its configuration since its first start.
    pub ready: bool,
    /// Out of service, and why.
    pub quarantined: Option<String>,
    wants_config: u16,
    last: Option<FlashDump>,
    steps: VecDeque<Step>,
}

impl Trail {
    /// A node without power.
    #[must_use]
    pub const fn new(spec: NodeSpec) -> Self {
        Self {
            spec,
            life: Life::Off,
            resets: 0,
            lockups: 0,
            trial: None,
            phase: UpdatePhase::Idle,
            spoke_of: None,
            ready: false,
            quarantined: None,
            wants_config: 0,
            last: None,
            steps: VecDeque::new(),
        }
    }

    /// Notes an observation.
    pub fn note(&mut self, at: Time, witness: Witness, fact: Fact) {
        self.steps.push_back(Step::There(Box::new(Event::new(at, About::Node(self.spec.id), witness, fact))));
    }

    /// A reading was ordered; what is noted from now on waits for it.
    pub fn await_reading(&mut self, at: Time, token: u64, why: Why) {
        self.steps.push_back(Step::Reading { token, at, why });
    }

    /// The reading is there, or failed.
    pub fn reading(&mut self, token: u64, dump: Option<FlashDump>, key: Option<&VerifyingKey>) {
        let found = self.steps.iter().position(|step| matches!(step, Step::Reading { token: t, .. } if *t == token));
        let Some(place) = found else { return };
        let Some(Step::Reading { at, why, .. }) = self.steps.remove(place) else { return };
        let Some(dump) = dump else { return };
        for (offset, (witness, fact)) in self.see(why, &dump, key).into_iter().enumerate() {
            let event = Event::new(at, About::Node(self.spec.id), witness, fact);
            self.steps.insert(place + offset, Step::There(Box::new(event)));
        }
        if !matches!(why, Why::Ready { .. }) {
            self.last = Some(dump);
        }
    }

    fn see(&mut self, why: Why, dump: &FlashDump, key: Option<&VerifyingKey>) -> Vec<(Witness, Fact)> {
        let banks = |moment| (Witness::Probe, dump.banks(moment, self.last.as_ref(), key));
        match why {
            Why::Banks(moment) => vec![banks(moment)],
            Why::Jump { trial } => {
                let banks = banks(Moment::AfterBoot);
                let seen = dump.bank_a(key);
                self.wants_config = seen.state.config_version.unwrap_or(0);
                let started = Fact::ImageStarted {
                    digest: seen.file.unwrap_or(seen.state.digest),
                    check: seen.state.check,
                    version: seen.state.version,
                    build: seen.build,
                    trial,
                    wants_config: seen.state.config_version,
                };
                vec![banks, (Witness::Probe, started)]
            }
            Why::Ready { schema } => {
                let mut config = dump.config();
                config.version = Some(schema);
                vec![(Witness::Console, Fact::ApplicationReady { config, wants_config: self.wants_config })]
            }
        }
    }

    /// Takes a flash for the one last read.
    pub fn remember(&mut self, flash: FlashDump) {
        self.last = Some(flash);
    }

    /// The flash as last read.
    #[must_use]
    pub const fn last(&self) -> Option<&FlashDump> {
        self.last.as_ref()
    }

    /// Whether a reading is awaited.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Reading { .. }))
    }

    /// No reading comes any more.
    pub fn give_up_readings(&mut self) {
        self.steps.retain(|step| matches!(step, Step::There(_)));
    }

    /// Moves what is complete to `events`.
    pub fn drain(&mut self, events: &mut Vec<Event>) {
        while let Some(Step::There(_)) = self.steps.front() {
            if let Some(Step::There(event)) = self.steps.pop_front() {
                events.push(*event);
            }
        }
    }

    /// Nothing is under way here.
    #[must_use]
    pub fn quiet(&self) -> bool {
        if self.quarantined.is_some() {
            return true;
        }
        let still = match self.life {
            Life::Off | Life::Stuck => true,
            Life::Booting => false,
            Life::Running => {
                self.trial.is_none()
                    && matches!(
                        self.phase,
                        UpdatePhase::Idle
                            | UpdatePhase::TransferError
                            | UpdatePhase::VerificationFailed
                            | UpdatePhase::VerificationSucceeded
                    )
            }
        };
        still && self.steps.is_empty()
    }

    /// A new life of the node begins.
    pub fn begin_life(&mut self, life: Life) {
        self.life = life;
        self.trial = None;
        self.phase = UpdatePhase::Idle;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use hil_model::{Fleet, NodeId};

    fn trail() -> Trail {
        Trail::new(*Fleet::building(1, 1, 1, 0, 2).get(NodeId(1)).unwrap())
    }

    fn dump() -> FlashDump {
        FlashDump::blank(mk_boot::geometry::by_name("mk-node-emulated").unwrap())
    }

    #[test]
    fn what_comes_during_a_reading_waits_for_it() {
        let mut trail = trail();
        let mut events = Vec::new();
        trail.note(Time(1), Witness::Power, Fact::PowerOff);
        trail.await_reading(Time(2), 7, Why::Banks(Moment::Asked));
        trail.note(Time(3), Witness::Console, Fact::Crashed);
        trail.drain(&mut events);
        assert_eq!(events.len(), 1);
        assert!(!trail.quiet());
        trail.reading(7, Some(dump()), None);
        trail.drain(&mut events);
        let names: Vec<String> = events.iter().map(|event| event.fact.name()).collect();
        assert_eq!(names, ["power-off", "banks", "crashed"]);
        assert!(trail.quiet());
    }

    #[test]
    fn a_reading_that_failed_holds_nothing_up() {
        let mut trail = trail();
        let mut events = Vec::new();
        trail.await_reading(Time(2), 7, Why::Ready { schema: 2 });
        trail.note(Time(3), Witness::Console, Fact::Crashed);
        trail.reading(7, None, None);
        trail.drain(&mut events);
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn a_node_on_trial_is_not_quiet() {
        let mut trail = trail();
        assert!(trail.quiet(), "no power, nothing due");
        trail.begin_life(Life::Running);
        assert!(trail.quiet());
        trail.trial = Some(Time(5));
        assert!(!trail.quiet());
    }
}
