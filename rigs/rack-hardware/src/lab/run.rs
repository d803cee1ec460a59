//! A run: what comes in becomes facts.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use fixture_images::VerifyingKey;
use hil_model::fact::{Fact, Moment};
use hil_model::{About, Event, FaultId, GatewayId, Power, Provision, Time, Witness};
use hil_rack::{Observation, RackError};
use mk_linux::api::meshos::CampaignClock;
use rack_witness::gateway::GatewayReader;
use tokio::runtime::Runtime;

use super::hand::{Hand, Order};
use super::input::{Input, Inputs};
use super::processes::Process;
use super::trail::{Life, Trail, Why};
use super::{LabClock, SharedTap, Surroundings, Switched};
use crate::board::PowerAction;
use crate::error::{BoardError, Fault, Part};

/// Longest time between two looks at the interposer's records and the processes.
const LOOK: Duration = Duration::from_millis(20);
/// Longest wait for a last reading of a board.
const LAST_READING: Duration = Duration::from_secs(60);
/// Longest wait for boards to be let go.
const CLOSING: Duration = Duration::from_secs(5);
/// Longest console line in the ledger, octets.
const MOST_LINE: usize = 256;

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Todo {
    /// Power of a board comes back.
    PowerOn(usize),
    /// A gateway process is started again.
    GatewayUp(usize),
    /// MeshOS is started again.
    MeshosUp,
}

/// A gateway of the rack.
pub struct GatewayHost {
    /// Which.
    pub id: GatewayId,
    /// Its process.
    pub process: Process,
    /// Down on purpose.
    pub down: bool,
    pub(super) reader: GatewayReader,
}

impl GatewayHost {
    /// A gateway that was started.
    #[must_use]
    pub const fn new(id: GatewayId, process: Process) -> Self {
        /// Until MeshOS says otherwise.
        const THROTTLE: u16 = 400;
        Self { id, process, down: false, reader: GatewayReader::new(id, THROTTLE) }
    }
}

/// The campaign process of the rack.
pub struct MeshosHost {
    /// Its process.
    pub process: Process,
    /// Down on purpose.
    pub down: bool,
    /// A campaign was started.
    pub campaign: bool,
    /// Ended, or waiting for the operator.
    pub waiting: bool,
    pub(super) clock: Option<CampaignClock>,
}

impl MeshosHost {
    /// MeshOS without a campaign.
    #[must_use]
    pub const fn new(process: Process) -> Self {
        Self { process, down: false, campaign: false, waiting: false, clock: None }
    }
}

/// A write by the probe that is under way.
#[derive(Debug, Clone, Copy)]
pub struct Altering {
    /// The fault it serves.
    pub fault: Option<FaultId>,
    /// Where, for the ledger.
    pub area: hil_model::BankArea,
    /// Octet offset in it.
    pub offset: u32,
}

/// A run under way.
pub struct Run {
    pub(super) runtime: Runtime,
    pub(super) clock: LabClock,
    /// Wall clock at rack time zero, microseconds since 1970.
    pub(super) unix_zero_us: u64,
    pub(super) door: Receiver<Input>,
    pub(super) inputs: Inputs,
    pub(super) trails: Vec<Trail>,
    pub(super) hands: Vec<Hand>,
    pub(super) names: Vec<String>,
    pub(super) gateways: Vec<GatewayHost>,
    pub(super) meshos: MeshosHost,
    pub(super) tap: SharedTap,
    pub(super) surroundings: Box<dyn Surroundings>,
    pub(super) key: Option<VerifyingKey>,
    pub(super) provision: Provision,
    pub(super) brisk: bool,
    pub(super) cuts: BTreeMap<usize, (Option<FaultId>, Power)>,
    pub(super) altering: BTreeMap<u64, Altering>,
    pub(super) todo: Vec<(Time, Todo)>,
    /// Nodes are being started for the first time: those resets are nobody's.
    pub(super) starting: bool,
    pub(super) events: Vec<Event>,
    pub(super) broken: Vec<BoardError>,
    pub(super) lost: Option<RackError>,
    pub(super) tokens: u64,
    /// Time as last told.
    told: Time,
    /// Of the last observation.
    last_at: Time,
}

/// What a run is made of.
pub struct Parts {
    /// For probes, consoles and HTTP.
    pub runtime: Runtime,
    /// The rack's clock.
    pub clock: LabClock,
    /// The inside of the door.
    pub door: Receiver<Input>,
    /// The door.
    pub inputs: Inputs,
    /// Nodes in order.
    pub trails: Vec<Trail>,
    /// Their hands.
    pub hands: Vec<Hand>,
    /// Gateways.
    pub gateways: Vec<GatewayHost>,
    /// MeshOS.
    pub meshos: MeshosHost,
    /// The interposer.
    pub tap: SharedTap,
    /// Power, reset lines.
    pub surroundings: Box<dyn Surroundings>,
    /// What the rack was prepared with.
    pub provision: Provision,
    /// Shorter waits.
    pub brisk: bool,
}

impl Run {
    /// A run whose nodes are provisioned and not started.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            runtime,
            clock,
            door,
            inputs,
            trails,
            hands,
            gateways,
            meshos,
            tap,
            surroundings,
            provision,
            brisk,
        } = parts;
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            runtime,
            clock,
            unix_zero_us: u64::try_from(unix.as_micros()).unwrap_or(0),
            door,
            inputs,
            names: trails.iter().map(|trail| trail.spec.id.to_string()).collect(),
            trails,
            hands,
            gateways,
            meshos,
            tap,
            surroundings,
            key: VerifyingKey::from_sec1_bytes(&provision.key).ok(),
            provision,
            brisk,
            cuts: BTreeMap::new(),
            altering: BTreeMap::new(),
            todo: Vec::new(),
            starting: true,
            events: Vec::new(),
            broken: Vec::new(),
            lost: None,
            tokens: 0,
            told: Time::ZERO,
            last_at: Time::ZERO,
        }
    }

    /// Waits until something was observed or `until` came. What happened after `until` is for the next call.
    pub fn observe(&mut self, until: Time) -> Result<Observation, RackError> {
        let limit = until.max(self.told);
        loop {
            self.take_in();
            if let Some(error) = self.lost.take() {
                return Err(error);
            }
            let now = self.clock.now();
            let events = self.in_order(limit);
            if !events.is_empty() || now >= limit {
                self.told = now.min(limit);
                return Ok(Observation { events, now: self.told, quiet: self.quiet() });
            }
            let due = self.todo.iter().map(|(at, _)| *at).min().unwrap_or(Time::NEVER).min(limit);
            let wait = Duration::from_nanos(due.since(now).0).min(LOOK);
            self.wait(wait);
        }
    }

    /// Waits for one input, at most this long.
    pub fn wait(&mut self, wait: Duration) {
        match self.door.recv_timeout(wait) {
            Ok(input) => self.on_input(input),
            Err(RecvTimeoutError::Timeout) => {}
            // The run itself holds the door open.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(wait),
        }
    }

    /// Takes in everything that is there, and does what is due.
    pub fn take_in(&mut self) {
        while let Ok(input) = self.door.try_recv() {
            self.on_input(input);
        }
        self.do_due();
        self.look_at_processes();
        let now = self.clock.now();
        let facts = self.tap.lock().take_facts(now);
        for (at, about, fact) in facts {
            self.note(at, about, Witness::Radio, fact);
        }
        for trail in &mut self.trails {
            trail.drain(&mut self.events);
        }
    }

    /// Observations up to `limit` in order of time. One that had to wait for a reading before it is stamped with the time
    /// at which it could be told.
    fn in_order(&mut self, limit: Time) -> Vec<Event> {
        self.events.sort_by_key(|event| event.at);
        let mut events: Vec<Event> = self.events.extract_if(.., |event| event.at <= limit).collect();
        for event in &mut events {
            event.at = event.at.max(self.last_at);
            self.last_at = event.at;
        }
        events
    }

    fn quiet(&self) -> bool {
        let gateways = self.gateways.iter().all(|g| !g.down && !g.reader.distributing());
        let meshos = !self.meshos.down && (!self.meshos.campaign || self.meshos.waiting);
        let nothing_due = self.todo.is_empty() && self.altering.is_empty() && self.tap.lock().next_fact().is_none();
        gateways && meshos && nothing_due && self.trails.iter().all(Trail::quiet)
    }

    /// Notes an observation; what is about a node takes its place in the node's trail.
    pub fn note(&mut self, at: Time, about: About, witness: Witness, fact: Fact) {
        match about.node().and_then(|node| self.trails.get_mut(node.index())) {
            Some(trail) => trail.note(at, witness, fact),
            None => self.events.push(Event::new(at, about, witness, fact)),
        }
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Trace { place, at, record } => self.on_trace(place, self.clock.time(at), &record.event),
            Input::Text { place, at, text } => {
                if self.is_of_an_earlier_life(place) {
                    return;
                }
                let at = self.clock.time(at);
                let text: String = text.chars().take(MOST_LINE / 4).collect();
                self.of_node(place, at, Witness::Console, Fact::ConsoleLine { text });
            }
            Input::Sensed { place, at, what } => self.on_sensed(place, self.clock.time(at), what),
            Input::Done { place, at, done } => self.on_done(place, self.clock.time(at), done),
            Input::Failed { place, error } => self.quarantine(place, error),
            Input::Gateway { place, at, event } => self.on_gateway(place, self.clock.time(at), &event),
            Input::Meshos { at, event } => self.on_meshos(self.clock.time(at), &event),
            Input::ProcessLost { name, why } => self.process_lost(name, why),
        }
    }

    /// A board was started for this run: what it says from now on counts.
    pub(super) fn first_start(&mut self, place: usize) {
        if self.trails.get(place).is_some_and(|trail| trail.life == Life::Off) {
            self.new_life(place, Life::Booting);
        }
    }

    /// A board says something before it was started for this run.
    pub(super) fn is_of_an_earlier_life(&self, place: usize) -> bool {
        self.starting && self.trails.get(place).is_none_or(|trail| trail.life == Life::Off)
    }

    pub(super) fn of_node(&mut self, place: usize, at: Time, witness: Witness, fact: Fact) {
        if let Some(trail) = self.trails.get_mut(place) {
            trail.note(at, witness, fact);
        }
    }

    // --- boards ------------------------------------------------------------------------------------------------------

    /// A board that misbehaves: what is known of it ends here, and the run goes on without it.
    pub(super) fn quarantine(&mut self, place: usize, error: BoardError) {
        let Some(trail) = self.trails.get_mut(place) else { return };
        if trail.quarantined.is_some() {
            return;
        }
        let reason = error.to_string();
        let at = self.clock.now();
        trail.give_up_readings();
        trail.note(at, Witness::Harness, Fact::ConsoleLine { text: format!("out of service: {reason}") });
        trail.quarantined = Some(reason);
        self.broken.push(error);
    }

    /// Orders a reading; its place in the order of observations is here.
    pub(super) fn read(&mut self, place: usize, at: Time, why: Why) {
        self.tokens += 1;
        let token = self.tokens;
        let copy = self.surroundings.flash(place);
        let Some(trail) = self.trails.get_mut(place) else { return };
        trail.await_reading(at, token, why);
        match copy {
            Some(dump) => trail.reading(token, Some(dump), self.key.as_ref()),
            None => self.order(place, Order::Read { token }),
        }
    }

    /// Switches power, wherever the switch is.
    pub(super) fn power(&mut self, place: usize, power: Power) -> Result<(), BoardError> {
        if self.surroundings.power(place, power)? == Switched::ByBoard {
            let action = if power == Power::On { PowerAction::On } else { PowerAction::Off };
            self.order(place, Order::Power(action));
        }
        Ok(())
    }

    pub(super) const fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    pub(super) fn order(&mut self, place: usize, order: Order) {
        if !self.hands.get(place).is_some_and(|hand| hand.order(order)) {
            let name = self.names.get(place).cloned().unwrap_or_default();
            let why = "more orders than it can carry out".to_owned();
            self.quarantine(place, BoardError::new(name, Part::Probe, Fault::Worker { why }));
        }
    }

    // --- processes ---------------------------------------------------------------------------------------------------

    fn process_lost(&mut self, name: String, why: String) {
        let next = "see its log in the run's folder; it was not ended by the harness".to_owned();
        self.lost.get_or_insert(RackError::Broken { part: name, what: why, next });
    }

    fn look_at_processes(&mut self) {
        let gateways = self.gateways.iter_mut().map(|host| (host.down, &mut host.process));
        let all = gateways.chain([(self.meshos.down, &mut self.meshos.process)]);
        let lost = all.filter_map(|(down, process)| (!down && process.lost()).then(|| process.name.clone())).next();
        if let Some(name) = lost {
            self.process_lost(name, "the process ended".to_owned());
        }
    }

    fn do_due(&mut self) {
        let now = self.clock.now();
        let due: Vec<Todo> = self.todo.extract_if(.., |(at, _)| *at <= now).map(|(_, todo)| todo).collect();
        for todo in due {
            let result = match todo {
                Todo::PowerOn(place) => {
                    if let Err(error) = self.power(place, Power::On) {
                        self.quarantine(place, error);
                    }
                    Ok(())
                }
                Todo::GatewayUp(place) => self.gateways.get_mut(place).map_or(Ok(()), |host| host.process.again()),
                Todo::MeshosUp => self.meshos.process.again(),
            };
            if let Err(error) = result {
                self.process_lost(error.name, error.why);
            }
        }
    }

    // --- the end -----------------------------------------------------------------------------------------------------

    /// The final evidence: by probe where the board answers.
    pub fn collect(&mut self) -> Result<Vec<Event>, RackError> {
        self.take_in();
        let at = self.clock.now();
        for place in 0..self.trails.len() {
            if self.trails.get(place).is_some_and(|trail| trail.quarantined.is_none()) {
                let dark = self.trails.get(place).is_some_and(|trail| trail.life == Life::Off);
                if dark {
                    // A probe reads nothing of a board without power; the surroundings may.
                    self.read(place, at, Why::Banks(Moment::Final));
                } else {
                    self.read_by_probe(place, at, Why::Banks(Moment::Final));
                }
            }
        }
        let until = Instant::now() + LAST_READING;
        while self.trails.iter().any(Trail::waits) && Instant::now() < until {
            self.wait(LOOK);
            self.take_in();
        }
        self.take_in();
        let events = self.in_order(Time::NEVER);
        match self.broken.first() {
            None => Ok(events),
            Some(error) => Err(error.clone().into()),
        }
    }

    fn read_by_probe(&mut self, place: usize, at: Time, why: Why) {
        let token = self.token();
        if let Some(trail) = self.trails.get_mut(place) {
            trail.await_reading(at, token, why);
            self.order(place, Order::Read { token });
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.inputs.close();
        let closing = async {
            for hand in &self.hands {
                hand.close().await;
            }
        };
        // What does not close by itself ends with its process.
        let _late = self.runtime.block_on(async { tokio::time::timeout(CLOSING, closing).await });
    }
}
