//! A run: what comes in becomes facts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use fixture_images::VerifyingKey;
use hil_model::fact::{BootVerdict, Fact, Moment, ResetCause, UpdatePhase};
use hil_model::{About, Event, FaultId, GatewayId, Power, Provision, Time, Witness};
use hil_rack::{Observation, RackError};
use mk_linux::api::meshos::CampaignClock;
use mk_linux::api::{GatewayEvent, MeshosEvent};
use mk_wire::trace::{self, ConfirmationStage, MigrationStage, TraceEvent};
use rack_witness::gateway::{GatewayReader, Sign};
use rack_witness::{campaign, words};
use tokio::runtime::Runtime;

use super::dump::FlashDump;
use super::hand::{Done, Hand, Order};
use super::input::{Input, Inputs, Sensed};
use super::processes::Process;
use super::trail::{Life, Trail, Why};
use super::{LabClock, SharedTap, Surroundings, Switched};
use crate::board::PowerAction;
use crate::error::{BoardError, Fault, Part};

/// Longest time between two looks at the interposer's records and the processes.
const LOOK: Duration = Duration::from_millis(20);
/// Lock-ups in a row after which a node that can only crash is left alone.
const MOST_LOCKUPS: u32 = 25;
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
    reader: GatewayReader,
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
    clock: Option<CampaignClock>,
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
    tokens: u64,
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
    fn first_start(&mut self, place: usize) {
        if self.trails.get(place).is_some_and(|trail| trail.life == Life::Off) {
            self.new_life(place, Life::Booting);
        }
    }

    /// A board says something before it was started for this run.
    fn is_of_an_earlier_life(&self, place: usize) -> bool {
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

    fn on_done(&mut self, place: usize, at: Time, done: Done) {
        match done {
            Done::Started => self.first_start(place),
            Done::Provisioned(_) | Done::Switched => {}
            Done::Read { token, dump } => {
                if let Some(trail) = self.trails.get_mut(place) {
                    trail.reading(token, Some(*dump), self.key.as_ref());
                }
            }
            Done::Altered { token, before, after } => {
                let Some(Altering { fault, area, offset }) = self.altering.remove(&token) else { return };
                let head = |octets: &[u8]| octets.iter().copied().take(8).collect();
                let (before, after) = (head(&before), head(&after));
                let fact = Fact::ProbeWrote { fault, area, offset, before, after };
                self.of_node(place, at, Witness::Probe, fact);
            }
        }
    }

    fn on_sensed(&mut self, place: usize, at: Time, what: Sensed) {
        match what {
            Sensed::Reset { cause, flash } => self.on_reset(place, at, cause, flash),
            Sensed::Crashed => self.of_node(place, at, Witness::Probe, Fact::Crashed),
            Sensed::PowerOff => {
                self.new_life(place, Life::Off);
                self.of_node(place, at, Witness::Power, Fact::PowerOff);
            }
            Sensed::PowerCut { address, before, after } => {
                let armed = self.cuts.remove(&place);
                let Some((fault, Power::CutAtOperation { operation, tear, restore_after })) = armed else { return };
                self.new_life(place, Life::Off);
                let fact = Fact::PowerCut { fault, operation, address, tear, before, after };
                self.of_node(place, at, Witness::Power, fact);
                self.of_node(place, at, Witness::Power, Fact::PowerOff);
                self.todo.push((at + restore_after, Todo::PowerOn(place)));
            }
        }
    }

    fn new_life(&mut self, place: usize, life: Life) {
        if let Some(trail) = self.trails.get_mut(place) {
            trail.begin_life(life);
            self.tap.lock().set_trial(trail.spec.id, None);
        }
    }

    fn on_reset(&mut self, place: usize, at: Time, cause: ResetCause, flash: Option<Arc<FlashDump>>) {
        if self.starting {
            return self.first_start(place);
        }
        self.new_life(place, Life::Booting);
        let Some(trail) = self.trails.get_mut(place) else { return };
        trail.resets += 1;
        trail.lockups = if cause == ResetCause::Lockup { trail.lockups + 1 } else { 0 };
        let (count, lockups) = (trail.resets, trail.lockups);
        trail.note(at, Witness::Power, Fact::Reset { cause, count });
        if let Some(flash) = flash {
            self.tokens += 1;
            trail.await_reading(at, self.tokens, Why::Banks(Moment::BeforeBoot));
            trail.reading(self.tokens, Some(FlashDump::clone(&flash)), self.key.as_ref());
        }
        if lockups >= MOST_LOCKUPS {
            let within = Duration::from_nanos(at.0);
            let name = self.names.get(place).cloned().unwrap_or_default();
            self.quarantine(place, BoardError::new(name, Part::Board, Fault::RebootLoop { boots: lockups, within }));
        }
    }

    fn on_trace(&mut self, place: usize, at: Time, event: &TraceEvent) {
        if self.is_of_an_earlier_life(place) {
            return;
        }
        match event {
            TraceEvent::Boot { about, .. } => {
                let none = *about == mk_wire::Version::new(0, 0, 0);
                if let Some(trail) = self.trails.get_mut(place) {
                    trail.spoke_of = (!none).then(|| words::version(*about));
                }
            }
            TraceEvent::BootPass { verdict, cause, reason, .. } => {
                if !self.surroundings.watches_resets() {
                    self.on_reset(place, at, cause_of(*cause), None);
                }
                let verdict = verdict_of(*verdict);
                let reason = words::reason(*reason).unwrap_or_default();
                let Some(trail) = self.trails.get_mut(place) else { return };
                let about = trail.spoke_of.take().filter(|_| verdict != BootVerdict::Normal);
                trail.note(at, Witness::Console, Fact::BootDecided { verdict, reason, about });
                if verdict == BootVerdict::Stuck {
                    trail.life = Life::Stuck;
                    self.read(place, at, Why::Banks(Moment::AfterBoot));
                }
            }
            TraceEvent::ImageJump { trial, .. } => {
                if let Some(trail) = self.trails.get_mut(place) {
                    trail.life = Life::Running;
                    trail.phase = UpdatePhase::Idle;
                    trail.trial = trial.then_some(at);
                    self.tap.lock().set_trial(trail.spec.id, trail.trial);
                }
                self.read(place, at, Why::Jump { trial: *trial });
            }
            TraceEvent::ConfigOpened { version } => {
                if let Some(trail) = self.trails.get_mut(place) {
                    trail.lockups = 0;
                    trail.ready = true;
                }
                self.read(place, at, Why::Ready { schema: *version });
            }
            TraceEvent::Migration { from, to, stage } => {
                let ok = match stage {
                    MigrationStage::Started => return,
                    MigrationStage::Done => true,
                    MigrationStage::Failed => false,
                };
                self.of_node(place, at, Witness::Console, Fact::ConfigMigrated { from: *from, to: *to, ok });
            }
            TraceEvent::Phase { phase, reason } => {
                let (phase, reason) = (words::phase(*phase), words::reason(*reason));
                if let Some(trail) = self.trails.get_mut(place) {
                    trail.phase = phase;
                }
                self.of_node(place, at, Witness::Console, Fact::UpdatePhase { phase, reason });
            }
            TraceEvent::Confirmation { boot_count, stage } => {
                if *stage == ConfirmationStage::Recorded {
                    if let Some(trail) = self.trails.get_mut(place) {
                        trail.trial = None;
                        self.tap.lock().set_trial(trail.spec.id, None);
                    }
                    let text = format!("confirmed, boot {boot_count}");
                    self.of_node(place, at, Witness::Console, Fact::ConsoleLine { text });
                }
            }
            TraceEvent::Panic { line, text } => {
                let text = format!("panic in line {line}: {text}");
                self.of_node(place, at, Witness::Console, Fact::ConsoleLine { text });
            }
            TraceEvent::FlashFault => {
                let text = "flash fault".to_owned();
                self.of_node(place, at, Witness::Console, Fact::ConsoleLine { text });
            }
        }
    }

    // --- processes ---------------------------------------------------------------------------------------------------

    fn on_gateway(&mut self, place: usize, at: Time, event: &GatewayEvent) {
        let Some(host) = self.gateways.get_mut(place) else { return };
        let own = About::Gateway(host.id);
        match event {
            GatewayEvent::Started { .. } if host.down => {
                host.down = false;
                self.note(at, own, Witness::Gateway, Fact::GatewayUp);
            }
            GatewayEvent::Record(record) => {
                let before = host.reader.throttle_permille();
                let sign = host.reader.read(record);
                let (id, throttle) = (host.id, host.reader.throttle_permille());
                let report = match (record, &sign) {
                    (mk_gateway::GatewayRecord::BlockDone { .. }, _) => Some(throttle),
                    // What was sent until now was sent under the old throttle.
                    (_, Sign::Throttle(_)) => Some(before),
                    (_, Sign::Distributing(_)) => Some(throttle),
                    (_, Sign::Fact(..) | Sign::Nothing) => None,
                };
                let air_use = report.and_then(|throttle| self.tap.lock().air_use(id, throttle));
                if let Some(fact) = air_use {
                    self.note(at, own, Witness::Radio, fact);
                }
                if let Sign::Fact(about, fact) = sign {
                    self.note(at, about, Witness::Gateway, fact);
                }
            }
            GatewayEvent::Started { .. }
            | GatewayEvent::Radio(_)
            | GatewayEvent::Notice(_)
            | GatewayEvent::Heard { .. }
            | GatewayEvent::Undelivered { .. }
            | GatewayEvent::IvIndex { .. }
            | GatewayEvent::Air(_)
            | GatewayEvent::Orders { .. }
            | GatewayEvent::Stopping => {}
        }
    }

    fn on_meshos(&mut self, at: Time, event: &MeshosEvent) {
        let campaign = About::Campaign;
        match event {
            MeshosEvent::Started { records, clock, .. } => {
                self.meshos.clock = clock.or(self.meshos.clock);
                if core::mem::take(&mut self.meshos.down) {
                    self.note(at, campaign, Witness::Meshos, Fact::MeshosUp { records: *records });
                }
            }
            MeshosEvent::CampaignStarted {
                version,
                targets,
                stages,
                success_permille,
                throttle_permille,
                clock,
                ..
            } => {
                self.meshos.clock = Some(*clock);
                let fact = Fact::CampaignStarted {
                    version: words::version(*version),
                    targets: *targets,
                    stages: *stages,
                    success_permille: *success_permille,
                    throttle_permille: *throttle_permille,
                };
                self.note(at, campaign, Witness::Meshos, fact);
            }
            MeshosEvent::Record(record) => {
                if let Some(waits) = campaign::waits_after(record) {
                    self.meshos.waiting = waits;
                }
                let origin = self.meshos.clock.map_or(self.unix_zero_us, |clock| clock.origin_unix_us);
                let zero = self.unix_zero_us;
                let rack_time = |instant: mk_wire::time::Instant| {
                    let unix = origin.saturating_add(instant.as_ticks());
                    Time(unix.saturating_sub(zero).saturating_mul(1_000))
                };
                for (about, fact) in campaign::facts(record, rack_time) {
                    self.note(at, about, Witness::Meshos, fact);
                }
            }
            MeshosEvent::Alert { text } => {
                self.note(at, campaign, Witness::Meshos, Fact::Alert { text: text.clone() });
            }
            MeshosEvent::NotResumed { error, .. } => {
                let text = format!("campaign cannot be resumed: {error}");
                self.note(at, campaign, Witness::Meshos, Fact::Alert { text });
            }
            MeshosEvent::Gateway { .. } | MeshosEvent::OrdersDropped { .. } | MeshosEvent::Stopping => {}
        }
    }

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

const fn cause_of(cause: trace::ResetCause) -> ResetCause {
    match cause {
        trace::ResetCause::PowerOn => ResetCause::PowerOn,
        trace::ResetCause::Pin => ResetCause::Pin,
        trace::ResetCause::Software => ResetCause::Software,
        trace::ResetCause::Watchdog => ResetCause::Watchdog,
        trace::ResetCause::Lockup => ResetCause::Lockup,
    }
}

const fn verdict_of(verdict: trace::BootVerdict) -> BootVerdict {
    match verdict {
        trace::BootVerdict::Normal => BootVerdict::Normal,
        trace::BootVerdict::Trial => BootVerdict::Trial,
        trace::BootVerdict::Rejected => BootVerdict::Rejected,
        trace::BootVerdict::RolledBack => BootVerdict::RolledBack,
        trace::BootVerdict::Healed => BootVerdict::Healed,
        trace::BootVerdict::Stuck => BootVerdict::Stuck,
    }
}
