//! What a run makes of what it hears: readings, resets, trace records, and the processes' events become facts.

use std::sync::Arc;
use std::time::Duration;

use hil_model::fact::{BootVerdict, Fact, Moment, ResetCause, UpdatePhase};
use hil_model::{About, Power, Time, Witness};
use mk_linux::api::{GatewayEvent, MeshosEvent};
use mk_wire::trace::{self, ConfirmationStage, MigrationStage, TraceEvent};
use rack_witness::gateway::Sign;
use rack_witness::{campaign, words};

use super::dump::FlashDump;
use super::hand::Done;
use super::input::Sensed;
use super::run::{Altering, Run, Todo};
use super::trail::{Life, Why};
use crate::error::{BoardError, Fault, Part};

/// Lock-ups in a row after which a node that can only crash is left alone.
const MOST_LOCKUPS: u32 = 25;

impl Run {
    pub(super) fn on_done(&mut self, place: usize, at: Time, done: Done) {
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

    pub(super) fn on_sensed(&mut self, place: usize, at: Time, what: Sensed) {
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

    pub(super) fn new_life(&mut self, place: usize, life: Life) {
        if let Some(trail) = self.trails.get_mut(place) {
            trail.begin_life(life);
            self.tap.lock().set_trial(trail.spec.id, None);
        }
    }

    pub(super) fn on_reset(&mut self, place: usize, at: Time, cause: ResetCause, flash: Option<Arc<FlashDump>>) {
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

    pub(super) fn on_trace(&mut self, place: usize, at: Time, event: &TraceEvent) {
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

    pub(super) fn on_gateway(&mut self, place: usize, at: Time, event: &GatewayEvent) {
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

    pub(super) fn on_meshos(&mut self, at: Time, event: &MeshosEvent) {
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
