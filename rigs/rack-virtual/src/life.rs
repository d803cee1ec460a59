//! The life of a node: power, reset, boot, run, crash, watchdog. The bootloader and the application are the product's;
//! here is what the chip around them does.

use crate::hardware::VirtualBoard;
use crate::mutants;
use crate::place::LinkBudget;
use crate::probe::{self, Counted};
use crate::world::{Due, World};
use hil_model::action::Tear;
use hil_model::fact::{BootVerdict, Fact, Moment, ResetCause, UpdatePhase};
use hil_model::{About, Behaviour, FaultId, NodeSpec, Power, Span, Time, Witness};
use mk_boot::decide::BootDecision;
use mk_boot::{BootReport, Run};
use mk_node::{Carrier, Effect, Firmware, Node, Settings, StartError, TraceEvent};
use mk_wire::time::Duration;
use rack_witness::words;
use std::collections::BTreeMap;
use virtual_flash::{FlashArray, PowerCut, TearModel, Witness as TornAs};

/// Time of a boot besides flash operations: start-up, journal, one hash over bank A.
const BOOT: Span = Span::millis(700);
/// Time to judge a candidate: hash and signature (radio model, section 9).
const JUDGE: Span = Span::millis(1_600);
/// When the program that crash-loops crashes: after it started, before it can confirm.
const CRASH_AFTER: Span = Span::millis(700);
/// Lock-ups in a row after which the simulated supply gives up on a node that can only crash: it stays down.
const MAX_LOCKUPS: u32 = 25;

/// A program that can run: its payload decides.
#[derive(Debug, Clone, Copy)]
pub struct KnownProgram {
    /// What it does.
    pub behaviour: Behaviour,
}

/// What a node does now.
enum State {
    /// No power.
    Off,
    /// In the bootloader; flash as it was before, for a cut in the middle.
    Booting(Box<Boot>),
    /// In the application.
    Running(Box<Node<VirtualBoard>>),
    /// Spinning, or halted after endless lock-ups.
    Hung,
    /// In the bootloader for good.
    Stuck,
}

struct Boot {
    report: Option<BootReport>,
    cause: ResetCause,
    began: Time,
    before: (FlashArray, FlashArray),
}

/// A power cut that is armed.
#[derive(Debug, Clone, Copy)]
struct ArmedCut {
    fault: Option<FaultId>,
    first: u64,
    tear: Tear,
    restore_after: Span,
}

/// A node and the chip around it.
pub struct NodeHost {
    /// Who.
    pub spec: NodeSpec,
    /// Its board.
    pub board: VirtualBoard,
    /// Its link to the gateway.
    pub budget: LinkBudget,
    state: State,
    pub(crate) life: u32,
    resets: u32,
    lockups: u32,
    timer: Time,
    watchdog: Time,
    trial_started: Option<Time>,
    wants_config: u16,
    counted: Counted,
    cut: Option<ArmedCut>,
    report_interval: Duration,
    /// Programs by payload digest.
    programs: std::rc::Rc<BTreeMap<hil_model::Digest, KnownProgram>>,
}

impl NodeHost {
    /// A node with provisioned flash and no power.
    pub fn new(
        spec: NodeSpec,
        board: VirtualBoard,
        budget: LinkBudget,
        report_interval: Span,
        programs: std::rc::Rc<BTreeMap<hil_model::Digest, KnownProgram>>,
    ) -> Self {
        Self {
            spec,
            board,
            budget,
            state: State::Off,
            life: 0,
            resets: 0,
            lockups: 0,
            timer: Time::NEVER,
            watchdog: Time::NEVER,
            trial_started: None,
            wants_config: 0,
            counted: Counted::default(),
            cut: None,
            report_interval: words::duration(report_interval),
            programs,
        }
    }

    /// The application, if it runs.
    pub fn node(&self) -> Option<&Node<VirtualBoard>> {
        match &self.state {
            State::Running(node) => Some(node),
            State::Off | State::Booting(_) | State::Hung | State::Stuck => None,
        }
    }

    /// When the trial that is running was started.
    pub const fn trial_started(&self) -> Option<Time> {
        self.trial_started
    }

    /// Whether nothing is under way here.
    pub fn quiet(&self) -> bool {
        match &self.state {
            State::Off => self.timer == Time::NEVER,
            State::Booting(_) => false,
            State::Hung => self.lockups >= MAX_LOCKUPS,
            State::Stuck => true,
            State::Running(node) => {
                self.trial_started.is_none()
                    && matches!(
                        words::phase(node.update_phase()),
                        UpdatePhase::Idle
                            | UpdatePhase::TransferError
                            | UpdatePhase::VerificationFailed
                            | UpdatePhase::VerificationSucceeded
                    )
            }
        }
    }

    fn begin_life(&mut self) {
        self.life += 1;
        self.timer = Time::NEVER;
        self.watchdog = Time::NEVER;
        self.trial_started = None;
        self.board.lose_ram();
    }

    const fn about(&self) -> About {
        About::Node(self.spec.id)
    }
}

impl World {
    fn say(&mut self, node: usize, witness: Witness, fact: Fact) {
        self.note(self.nodes[node].about(), witness, fact);
    }

    /// Reads all banks of a node by probe.
    pub(crate) fn read_banks(&mut self, node: usize, moment: Moment) {
        let host = &mut self.nodes[node];
        let fact = self.probe.banks(moment, &mut host.board, &mut host.counted);
        self.say(node, Witness::Probe, fact);
    }

    /// Powers a provisioned node for the first time; not a reset that anybody counts.
    pub(crate) fn first_power(&mut self, node: usize, after: Span) {
        self.nodes[node].begin_life();
        self.boot(node, ResetCause::PowerOn, after);
    }

    /// Resets a node.
    pub(crate) fn reset(&mut self, node: usize, cause: ResetCause) {
        let host = &mut self.nodes[node];
        host.begin_life();
        host.resets += 1;
        host.lockups = if cause == ResetCause::Lockup { host.lockups + 1 } else { 0 };
        let fact = Fact::Reset { cause, count: host.resets };
        self.say(node, Witness::Power, fact);
        self.read_banks(node, Moment::BeforeBoot);
        if self.nodes[node].lockups >= MAX_LOCKUPS {
            self.nodes[node].state = State::Hung;
            self.say(node, Witness::Power, Fact::Crashed);
            return;
        }
        self.boot(node, cause, Span::ZERO);
    }

    /// Runs the bootloader. It works at once; its time passes until [`Due::BootDone`], and begins `after` now.
    fn boot(&mut self, node: usize, cause: ResetCause, after: Span) {
        let composition = mutants::bootloader(self.composition);
        let host = &mut self.nodes[node];
        let before = (host.board.internal.clone(), host.board.external.clone());
        host.board.take_busy_ns();
        let report = mk_boot::boot(&mut host.board, &composition, words::boot_cause(cause)).ok();
        let busy = Span::nanos(host.board.take_busy_ns());
        let judged = report.as_ref().is_some_and(|r| r.decisions.len() > 1);
        let time = busy + BOOT + if judged { JUDGE } else { Span::ZERO };
        let (node16, life) = (node as u16, host.life);
        let dark = host.board.supply.is_dark();
        host.state = State::Booting(Box::new(Boot { report, cause, began: self.now, before }));
        let due = if dark { Due::Dark { node: node16, life } } else { Due::BootDone { node: node16, life } };
        self.wheel.insert(self.now + after + if dark { busy } else { time }, due);
    }

    pub(crate) fn boot_done(&mut self, node: usize, life: u32) {
        let host = &mut self.nodes[node];
        if host.life != life {
            return;
        }
        let State::Booting(boot) = core::mem::replace(&mut host.state, State::Stuck) else { return };
        let Some(report) = boot.report else {
            self.say(node, Witness::Console, boot_words(None));
            self.read_banks(node, Moment::AfterBoot);
            return;
        };
        let about = mk_boot::update::status(&mut self.nodes[node].board).ok().and_then(|s| s.about).map(words::version);
        let Fact::BootDecided { verdict, reason, .. } = boot_words(Some(&report)) else { return };
        self.say(node, Witness::Console, Fact::BootDecided { verdict, reason, about });
        self.read_banks(node, Moment::AfterBoot);
        if let Run::Application { trial } = report.run {
            self.jump(node, &report, trial);
        }
    }

    /// The jump into bank A: what runs is decided by its bytes alone.
    fn jump(&mut self, node: usize, report: &BootReport, trial: bool) {
        let host = &mut self.nodes[node];
        let seen = self.probe.bank_a(&mut host.board);
        host.watchdog = self.now + self.grace;
        host.trial_started = trial.then_some(self.now);
        let watchdog = Due::Watchdog { node: node as u16, life: host.life };
        self.wheel.insert(host.watchdog, watchdog);
        let behaviour = seen.payload.and_then(|p| host.programs.get(&p)).map(|p| p.behaviour);
        let fact = Fact::ImageStarted {
            digest: seen.file.unwrap_or(seen.state.digest),
            check: seen.state.check,
            version: seen.state.version,
            build: seen.build.clone(),
            trial,
            wants_config: seen.state.config_version,
        };
        self.say(node, Witness::Probe, fact);
        match behaviour {
            None | Some(Behaviour::CrashesAtBoot) => self.crash(node, self.nodes[node].life),
            Some(Behaviour::HangsAtBoot) => self.nodes[node].state = State::Hung,
            Some(behaviour) => self.start_application(node, report, behaviour),
        }
    }

    fn start_application(&mut self, node: usize, report: &BootReport, behaviour: Behaviour) {
        let parts = mutants::application(self.composition, behaviour);
        let now = words::instant(self.now);
        let grace_period = words::duration(self.grace);
        let host = &mut self.nodes[node];
        let facts = report.image.as_ref();
        let firmware = Firmware {
            version: facts.map_or(mk_wire::Version::new(0, 0, 0), |f| f.version()),
            config_version: facts.map_or(0, |f| f.config_migration_version),
            oldest_migratable: facts.and_then(|f| f.oldest_migratable_version),
        };
        host.wants_config = firmware.config_version;
        let settings = Settings {
            address: words::addr(host.spec.id),
            gateway: mk_wire::Addr(host.spec.gateway.unicast()),
            carrier: match host.spec.protocol {
                hil_model::Protocol::Mesh => Carrier::Mesh,
                hil_model::Protocol::Thread => Carrier::Thread,
            },
            report_interval: host.report_interval,
            grace_period,
            firmware,
        };
        match Node::start(now, settings, parts, report, host.resets + 1, &mut host.board) {
            Ok(started) => {
                host.lockups = 0;
                host.state = State::Running(Box::new(started));
                if behaviour == Behaviour::CrashLoops {
                    let due = Due::Crash { node: node as u16, life: host.life };
                    self.wheel.insert(self.now + CRASH_AFTER, due);
                }
                self.settle_node(node);
            }
            Err(error) => {
                if self.power_lost(node) {
                    return;
                }
                if let StartError::Migration { from, to } = error {
                    self.say(node, Witness::Console, Fact::ConfigMigrated { from, to, ok: false });
                }
                self.say(node, Witness::Console, Fact::ConsoleLine { text: error.to_string() });
                self.reset(node, ResetCause::Software);
            }
        }
    }

    pub(crate) fn crash(&mut self, node: usize, life: u32) {
        if self.nodes[node].life == life {
            self.say(node, Witness::Probe, Fact::Crashed);
            self.reset(node, ResetCause::Lockup);
        }
    }

    pub(crate) fn watchdog(&mut self, node: usize, life: u32) {
        let host = &self.nodes[node];
        if host.life != life || matches!(host.state, State::Off | State::Booting(_) | State::Stuck) {
            return;
        }
        if host.watchdog > self.now {
            self.wheel.insert(host.watchdog, Due::Watchdog { node: node as u16, life });
        } else {
            self.reset(node, ResetCause::Watchdog);
        }
    }

    pub(crate) fn node_timer(&mut self, node: usize, life: u32) {
        let host = &mut self.nodes[node];
        if host.life != life || host.timer != self.now {
            return;
        }
        host.timer = Time::NEVER;
        if let State::Running(running) = &mut host.state {
            running.on_timer(words::instant(self.now), &mut host.board);
            self.settle_node(node);
        }
    }

    /// Calls into the application of a running node; true when it ran.
    pub(crate) fn with_node(
        &mut self,
        node: usize,
        call: impl FnOnce(&mut Node<VirtualBoard>, &mut VirtualBoard),
    ) -> bool {
        let host = &mut self.nodes[node];
        let State::Running(running) = &mut host.state else { return false };
        call(running, &mut host.board);
        self.settle_node(node);
        true
    }

    /// Carries out what a call into the application left behind: power cut, messages, effects, timers.
    fn settle_node(&mut self, node: usize) {
        if self.power_lost(node) {
            return;
        }
        loop {
            let State::Running(running) = &mut self.nodes[node].state else { return };
            if let Some(message) = running.poll_transmit() {
                let mut bytes = self.spare.pop().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(&message.bytes);
                let (to, carrier) = (message.to, message.carrier);
                self.send_from_node(node, to, carrier, bytes);
                continue;
            }
            match running.poll_effect() {
                Some(Effect::Trace(event)) => self.trace(node, event),
                Some(Effect::Reset) => {
                    self.reset(node, ResetCause::Software);
                    return;
                }
                None => break,
            }
        }
        let now = self.now;
        let grace = self.grace;
        let host = &mut self.nodes[node];
        if host.board.take_fed() {
            host.watchdog = now + grace;
        }
        let State::Running(running) = &host.state else { return };
        if let Some(wake) = running.next_wakeup() {
            let wake = words::time(wake).max(now);
            if wake < host.timer {
                host.timer = wake;
                self.wheel.insert(wake, Due::NodeTimer { node: node as u16, life: host.life });
            }
        }
    }

    fn trace(&mut self, node: usize, event: TraceEvent) {
        let fact = match event {
            TraceEvent::ConfigOpened { schema, .. } => {
                let host = &self.nodes[node];
                let mut config = probe::config(&host.board);
                config.version = Some(schema);
                Fact::ApplicationReady { config, wants_config: host.wants_config }
            }
            TraceEvent::Migration { from, to, ok } => Fact::ConfigMigrated { from, to, ok },
            TraceEvent::Phase { phase, reason } => {
                Fact::UpdatePhase { phase: words::phase(phase), reason: words::reason(reason) }
            }
            TraceEvent::MetadataRefused(reason) => {
                Fact::UpdatePhase { phase: UpdatePhase::Idle, reason: words::reason(reason) }
            }
            TraceEvent::Confirmed { boot_count } => {
                self.nodes[node].trial_started = None;
                Fact::ConsoleLine { text: format!("confirmed, boot {boot_count}") }
            }
            TraceEvent::FlashFault => Fact::ConsoleLine { text: "flash fault".to_owned() },
            TraceEvent::Lost { lines } => Fact::ConsoleLine { text: format!("{lines} trace lines lost") },
        };
        self.say(node, Witness::Console, fact);
    }

    // --- power -------------------------------------------------------------------------------------------------------

    /// Switches or cuts the power of a node.
    pub(crate) fn power(&mut self, node: usize, power: Power, fault: Option<FaultId>) {
        match power {
            Power::Off => self.power_off(node),
            Power::On => {
                if matches!(self.nodes[node].state, State::Off) {
                    let life = self.nodes[node].life;
                    self.power_on(node, life);
                }
            }
            Power::Cycle(dark) => {
                self.power_off(node);
                self.power_on_after(node, dark);
            }
            Power::CutAtOperation { operation, tear, restore_after } => {
                let seed = self.tear.next();
                let host = &mut self.nodes[node];
                let first = host.board.supply.operations();
                host.cut = Some(ArmedCut { fault, first, tear, restore_after });
                host.board.supply.arm(PowerCut { at_operation: first + operation, tear: tear_model(tear, seed) });
            }
        }
    }

    fn power_on_after(&mut self, node: usize, dark: Span) {
        let host = &mut self.nodes[node];
        // A node that is to come back is not quiet.
        host.timer = self.now + dark;
        self.wheel.insert(host.timer, Due::PowerOn { node: node as u16, life: host.life });
    }

    fn power_off(&mut self, node: usize) {
        self.cut_boot_short(node);
        let host = &mut self.nodes[node];
        if matches!(host.state, State::Off) {
            return;
        }
        host.begin_life();
        host.state = State::Off;
        host.board.supply.cut_now();
        self.say(node, Witness::Power, Fact::PowerOff);
    }

    pub(crate) fn power_on(&mut self, node: usize, life: u32) {
        let host = &mut self.nodes[node];
        if host.life != life || !matches!(host.state, State::Off) {
            return;
        }
        host.board.supply.power_on();
        self.reset(node, ResetCause::PowerOn);
    }

    /// If an armed cut fired in the last call: writes the proof down, and the node is dark.
    fn power_lost(&mut self, node: usize) -> bool {
        let host = &self.nodes[node];
        // Nothing but an armed cut takes the power away in the middle of a call.
        if host.cut.is_none() || !host.board.supply.is_dark() {
            return false;
        }
        self.cut_fired(node);
        true
    }

    pub(crate) fn dark_in_boot(&mut self, node: usize, life: u32) {
        if self.nodes[node].life == life {
            self.cut_fired(node);
        }
    }

    fn cut_fired(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        host.begin_life();
        host.state = State::Off;
        let cut = host.cut.take();
        let fired = host.board.supply.take_fired();
        let restore_after = cut.map_or(Span::secs(1), |c| c.restore_after);
        if let (Some(fired), Some(cut)) = (fired, cut) {
            let first_word = |bytes: &[u8]| core::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0xFF));
            let (before, after) = match &fired.witness {
                TornAs::Word { before, after } => (*before, *after),
                TornAs::Page { before, after } => (first_word(before), first_word(after)),
            };
            let fact = Fact::PowerCut {
                fault: cut.fault,
                operation: fired.operation - cut.first,
                address: fired.address,
                tear: cut.tear,
                before,
                after,
            };
            self.say(node, Witness::Power, fact);
        }
        self.say(node, Witness::Power, Fact::PowerOff);
        self.power_on_after(node, restore_after);
    }

    /// Power goes while the bootloader works: its work is done again from the flash before it, as far as the time since
    /// then allows, by halving on the operation that is under way at this moment.
    fn cut_boot_short(&mut self, node: usize) {
        let composition = mutants::bootloader(self.composition);
        let host = &mut self.nodes[node];
        let State::Booting(boot) = &host.state else { return };
        let elapsed = self.now.since(boot.began);
        let (before, cause) = (boot.before.clone(), boot.cause);
        let all = host.board.internal.activity(0..host.board.internal.size());
        let external = host.board.external.activity(0..host.board.external.size());
        let (mut low, mut high) =
            (0, all.words_written + all.pages_erased + external.words_written + external.pages_erased);
        while low < high {
            let middle = low + (high - low) / 2;
            if boot_until(&mut host.board, &before, &composition, cause, middle) <= elapsed {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        boot_until(&mut host.board, &before, &composition, cause, low.saturating_sub(1));
        host.board.supply.take_fired();
        host.board.supply.power_on();
    }
}

/// Boots a board from `before` with the power cut at its n-th operation; returns the flash time until then.
fn boot_until(
    board: &mut VirtualBoard,
    before: &(FlashArray, FlashArray),
    composition: &mk_boot::Composition<'static>,
    cause: ResetCause,
    operation: u64,
) -> Span {
    board.internal.restore_from(&before.0, 0..before.0.size());
    board.external.restore_from(&before.1, 0..before.1.size());
    board.supply.power_on();
    board.take_busy_ns();
    let at_operation = board.supply.operations() + operation;
    board.supply.arm(PowerCut { at_operation, tear: TearModel::NotDone });
    let _ = mk_boot::boot(board, composition, words::boot_cause(cause));
    board.supply.disarm();
    Span::nanos(board.take_busy_ns())
}

const fn tear_model(tear: Tear, seed: u64) -> TearModel {
    match tear {
        Tear::NotDone => TearModel::NotDone,
        Tear::Done => TearModel::DoneThenDark,
        Tear::RandomBits => TearModel::WordRandomBits(seed),
        Tear::HalfErased => TearModel::HalfErasedPage,
        Tear::FirstWordLeft => TearModel::PageErasedExceptFirstWord,
    }
}

/// The bootloader's account of its work.
fn boot_words(report: Option<&BootReport>) -> Fact {
    let decided = |verdict, reason: Option<String>| Fact::BootDecided {
        verdict,
        reason: reason.unwrap_or_default(),
        about: None,
    };
    let Some(report) = report else { return decided(BootVerdict::Stuck, Some("flash fault".to_owned())) };
    if let Run::StayInBootloader(reason) = report.run {
        return decided(BootVerdict::Stuck, words::reason(reason));
    }
    let did = |wanted: fn(&BootDecision) -> bool| report.decisions.iter().any(wanted);
    let verdict = if did(|d| matches!(d, BootDecision::Reject(_))) {
        BootVerdict::Rejected
    } else if did(|d| matches!(d, BootDecision::RolledBack)) {
        BootVerdict::RolledBack
    } else if report.run == (Run::Application { trial: true }) {
        BootVerdict::Trial
    } else if did(|d| matches!(d, BootDecision::CopyGolden)) {
        BootVerdict::Healed
    } else {
        BootVerdict::Normal
    };
    let reason = match verdict {
        BootVerdict::Normal | BootVerdict::Trial => None,
        BootVerdict::Rejected | BootVerdict::RolledBack | BootVerdict::Healed | BootVerdict::Stuck => {
            words::reason(report.reason())
        }
    };
    decided(verdict, reason)
}
