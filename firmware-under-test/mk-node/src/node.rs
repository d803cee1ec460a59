//! The node: everything together, one dispatch, one timer.

use heapless::Vec;
use mk_boot::{BootReport, Run, update as boot_update};
use mk_wire::{
    AccessMessage, Addr, fwid,
    time::{Duration, Instant},
    update,
    vendor::{self, AppReport, COMPANY_ID, Health},
};

use crate::{
    effect::{Effect, Effects, StartError, TraceEvent},
    first_boot::{JITTER, Step, Trial},
    hardware::NodeHardware,
    opening::{self, Opened},
    outbox::{Outbox, Outgoing, Purpose},
    parts::Parts,
    random::Random,
    reports::{Due, Facts, Schedule, Verdict},
    settings::{Carrier, Received, Settings, earliest},
};

/// Time to live of what the node sends by itself: the node's default.
const DEFAULT_TTL: u8 = 0xFF;
/// Response delay to a message sent to the node alone.
const UNICAST_DELAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(50));
/// Response delay to a message sent to a group.
const GROUP_DELAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A running trial.
#[derive(Debug)]
struct TrialState {
    trial: Trial,
    send_at: Option<Instant>,
}

/// An MK-NODE.
pub struct Node<H: NodeHardware + 'static> {
    settings: Settings,
    parts: Parts<H>,
    boot_count: u32,
    /// `None` once the running image is confirmed.
    trial: Option<TrialState>,
    config: Opened,
    verdict: Verdict,
    schedule: Schedule,
    light_level: u8,
    last_light: Option<(Addr, u8)>,
    last_heard: Received,
    started_at: Instant,
    now: Instant,
    feed_at: Option<Instant>,
    random: Random,
    outbox: Outbox,
    effects: Effects,
}

impl<H: NodeHardware + 'static> Node<H> {
    /// Starts the application: opens the configuration, migrating it first where that is due.
    ///
    /// `boot` is what the bootloader handed over in this reset, `boot_count` the node's resets so far.
    ///
    /// # Errors
    /// The application must not run; the target resets. See [`StartError`].
    pub fn start(
        now: Instant,
        settings: Settings,
        parts: Parts<H>,
        boot: &BootReport,
        boot_count: u32,
        hw: &mut H,
    ) -> Result<Self, StartError> {
        let page_size = hw.geometry().page_size as usize;
        if !settings.address.is_unicast() || hw.block_buffer().len() < page_size {
            return Err(StartError::Unusable);
        }
        let mut effects = Effects::default();
        let config = opening::open(&settings, parts.migrations, boot, hw, &mut effects)?;
        let about = boot_update::status(hw).map_err(|_| StartError::Flash)?.about;
        let mut random = Random::new(hw.entropy());
        let interval = match config.record.config.report_interval_s() {
            Some(seconds) => Duration::from_secs(u64::from(seconds)),
            None => settings.report_interval,
        };
        let trial = (boot.run == Run::Application { trial: true })
            .then_some(TrialState { trial: Trial { boot_count, sent: 0, acknowledged: false }, send_at: None });
        let mut node = Node {
            parts,
            boot_count,
            verdict: Verdict::of_boot(boot, settings.firmware.version, about),
            schedule: Schedule::new(now, interval, &mut random),
            light_level: config.record.config.user_settings().level,
            last_light: None,
            last_heard: Received { ttl_hops: 0, rssi_dbm: 0 },
            started_at: now,
            now,
            feed_at: None,
            outbox: Outbox::default(),
            trial,
            config,
            settings,
            random,
            effects,
        };
        node.step_trial(hw);
        node.feed(hw);
        Ok(node)
    }

    /// An access message came over the mesh. `to` is the node's address or a group that it listens to.
    pub fn on_access(&mut self, now: Instant, from: Addr, to: Addr, received: Received, message: &[u8], hw: &mut H) {
        self.now = now;
        if from == self.settings.gateway {
            self.last_heard = received;
        }
        // A message that does not decode is none of ours.
        let Ok(message) = AccessMessage::decode(message) else { return };
        match message {
            AccessMessage::Vendor(message) => self.on_vendor(from, to, message, hw),
            AccessMessage::Blob(_)
            | AccessMessage::Update(_)
            | AccessMessage::Distribution(_)
            | AccessMessage::Config(_) => {}
        }
        self.feed(hw);
    }

    /// A CoAP datagram came over Thread.
    pub fn on_coap(&mut self, now: Instant, from: Addr, datagram: &[u8], hw: &mut H) {
        self.now = now;
        let _ = (from, datagram);
        self.feed(hw);
    }

    /// Does what is due. Call at [`Node::next_wakeup`]; calling it early does nothing.
    pub fn on_timer(&mut self, now: Instant, hw: &mut H) {
        self.now = now;
        while let Some(due) = self.schedule.take(now) {
            self.say(due, hw);
        }
        if self.trial.as_ref().is_some_and(|state| state.send_at.is_some_and(|at| at <= now)) {
            self.send_confirmation(hw);
        }
        self.feed(hw);
    }

    /// When [`Node::on_timer`] wants to be called; moves with every call of the node.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        let confirm = self.trial.as_ref().and_then(|state| state.send_at);
        let first = earliest(earliest(self.schedule.next_wakeup(), self.outbox.next_wakeup()), confirm);
        earliest(first, self.feed_at)
    }

    /// The next message that is due to be sent.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.outbox.pop(self.now).map(|(message, _)| message)
    }

    /// The next thing the target has to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// Does a model of this node listen to messages for this address?
    #[must_use]
    pub fn listens_to(&self, address: Addr) -> bool {
        address == self.settings.address || address == Addr::ALL_NODES
    }

    /// Phase of the firmware update.
    #[must_use]
    pub fn update_phase(&self) -> update::Phase {
        update::Phase::Idle
    }

    /// Light level now, 0 off to 255 full.
    #[must_use]
    pub const fn light_level(&self) -> u8 {
        self.light_level
    }

    /// Is the running image confirmed?
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.trial.is_none()
    }

    fn on_vendor(&mut self, from: Addr, to: Addr, message: vendor::Message, hw: &mut H) {
        match message {
            vendor::Message::ConfirmAck(ack) => self.on_confirm_ack(from, ack.boot_count, hw),
            vendor::Message::ReportGet => {
                let due = self.now + self.response_delay(to);
                let report = vendor::Message::Report(self.facts().report(self.verdict));
                self.send(due, Purpose::Answer, report);
            }
            vendor::Message::LightSet(set) => {
                // Repeats of one press carry one transaction id.
                if self.last_light != Some((from, set.tid)) {
                    self.last_light = Some((from, set.tid));
                    self.light_level = set.level;
                }
            }
            // For gateways.
            vendor::Message::Confirm(_)
            | vendor::Message::Report(_)
            | vendor::Message::Health(_)
            | vendor::Message::AppReport(_) => {}
        }
    }

    fn on_confirm_ack(&mut self, from: Addr, boot_count: u32, hw: &mut H) {
        let ours = from == self.settings.gateway && boot_count == self.boot_count;
        if let Some(state) = self.trial.as_mut().filter(|_| ours) {
            state.trial.acknowledged = true;
            self.step_trial(hw);
        }
    }

    /// Asks the rule what comes next in this trial.
    fn step_trial(&mut self, hw: &mut H) {
        let Some(state) = &mut self.trial else { return };
        match self.parts.confirmer.next(&state.trial, hw) {
            Step::SendAfter(wait) => {
                state.send_at = Some(self.now + wait + self.random.between(Duration::from_ticks(0), JITTER));
            }
            Step::Wait => state.send_at = None,
            Step::Confirm => self.confirm(hw),
        }
    }

    fn send_confirmation(&mut self, hw: &mut H) {
        let fwid = fwid::mk_fwid_bytes(COMPANY_ID, self.settings.firmware.version);
        let confirm = vendor::Confirm { boot_count: self.boot_count, fwid };
        self.send(self.now, Purpose::Answer, vendor::Message::Confirm(confirm));
        if let Some(state) = &mut self.trial {
            state.trial.sent = state.trial.sent.saturating_add(1);
            state.send_at = None;
        }
        self.step_trial(hw);
    }

    /// Keeps the running image: journal first, then configuration (see [`opening::keep`]).
    fn confirm(&mut self, hw: &mut H) {
        if boot_update::confirm(hw).is_err() || opening::keep(&mut self.config, hw).is_err() {
            // A roll-back that boot already decided, or a flash that fails: the next reset finds out which.
            self.effects.trace(TraceEvent::FlashFault);
            self.effects.reset();
            return;
        }
        self.trial = None;
        self.verdict = Verdict::confirmed(self.settings.firmware.version);
        self.effects.trace(TraceEvent::Confirmed { boot_count: self.boot_count });
        self.schedule.report_soon(self.now, &mut self.random);
    }

    fn facts(&self) -> Facts {
        Facts {
            running: self.settings.firmware.version,
            config_version: self.config.record.config.schema(),
            boot_count: self.boot_count,
            phase: self.update_phase(),
        }
    }

    fn say(&mut self, due: Due, hw: &mut H) {
        let message = match due {
            Due::Report => vendor::Message::Report(self.facts().report(self.verdict)),
            Due::Health => vendor::Message::Health(Health {
                hops: self.last_heard.ttl_hops,
                rssi_dbm: self.last_heard.rssi_dbm,
                uptime_s: u32::try_from((self.now - self.started_at).as_secs()).unwrap_or(u32::MAX),
                degraded: self.parts.degraded,
            }),
            Due::Application => vendor::Message::AppReport(AppReport {
                temperature_centi_c: hw
                    .temperature_centi_c()
                    .saturating_add(self.config.record.config.calibration_centi_c()),
                light_level: self.light_level,
                energy_wh: 0,
            }),
        };
        self.send(self.now, Purpose::Report, message);
    }

    fn send(&mut self, due: Instant, purpose: Purpose, message: vendor::Message) {
        let Ok(bytes) = AccessMessage::Vendor(message).to_buffer() else { return };
        let bytes = Vec::from_slice(&bytes).unwrap_or_default();
        let message = Outgoing { to: self.settings.gateway, ttl: DEFAULT_TTL, carrier: Carrier::Mesh, bytes };
        self.outbox.push(due, purpose, message);
    }

    fn response_delay(&mut self, to: Addr) -> Duration {
        let (low, high) = if to.is_unicast() { UNICAST_DELAY } else { GROUP_DELAY };
        self.random.between(low, high)
    }

    /// Keeps the watchdog quiet, once the running image is confirmed.
    fn feed(&mut self, hw: &mut H) {
        if self.trial.is_none() {
            hw.feed_watchdog();
            self.feed_at = Some(self.now + self.settings.grace_period / 4);
        }
    }
}
