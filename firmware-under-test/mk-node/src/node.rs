//! The node: everything together, one dispatch, one timer.

use heapless::Vec;
use mk_boot::{BootReport, Run, update as boot_update};
use mk_wire::{
    AccessMessage, Addr, blob, coap as wire, config as config_wire, fwid,
    time::{Duration, Instant},
    update,
    vendor::{self, AppReport, COMPANY_ID, Health},
};

use crate::{
    coap::{
        Datagram,
        client::empty,
        fetch::Fetch,
        server::{Request, apply_code, response},
    },
    context::Context,
    effect::{Effect, Effects, StartError, TraceEvent},
    first_boot::{JITTER, Step, Trial},
    hardware::NodeHardware,
    lighting::Lamp,
    opening::{self, Opened},
    outbox::{Outbox, Outgoing, Purpose},
    parts::Parts,
    random::Random,
    reports::{Due, Facts, Schedule, Verdict},
    settings::{Carrier, Received, Settings, earliest},
    subscriptions::{Model, Subscriptions},
    update_server::{Answer, DEFAULT_TTL, UpdateServer},
    update_state::{Applied, RESET_DELAY, Update},
};

/// From Update Apply to the reset, when its answer never leaves.
const LATEST_RESET: Duration = Duration::from_secs(5);
/// First octet of a chunk.
const CHUNK_TRANSFER: u8 = 0x66;
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
    update: Update,
    server: UpdateServer,
    /// The fetching side of a Thread node.
    fetch: Option<Fetch>,
    subscriptions: Subscriptions,
    /// Boot was asked to install: the reset is due once the answer left.
    reset_at: Option<Instant>,
    lamp: Lamp,
    last_heard: Received,
    started_at: Instant,
    now: Instant,
    feed_at: Option<Instant>,
    random: Random,
    outbox: Outbox,
    effects: Effects,
}

impl<H: NodeHardware + 'static> Node<H> {
    /// Starts the application: opens the configuration, migrating it first where that is due, and takes up an update that a
    /// reset interrupted.
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
        let subscriptions = Subscriptions::load(hw)?;
        let about = boot_update::status(hw).map_err(|_| StartError::Flash)?.about;
        let verdict = Verdict::of_boot(boot, settings.firmware.version, about);
        let mut random = Random::new(hw.entropy());
        let interval = match config.record.config.report_interval_s() {
            Some(seconds) => Duration::from_secs(u64::from(seconds)),
            None => settings.report_interval,
        };
        let schema = config.record.config.schema();
        let mut cx = Context { now, hw, parts: &parts, effects: &mut effects, schema };
        let (update, resumed) = Update::restore(&mut cx).map_err(|_| StartError::Flash)?;
        let server = UpdateServer::new(now, cx.hw, &update, &resumed);
        let fetch = (settings.carrier == Carrier::Thread).then(|| {
            Fetch::new(&mut cx, &mut random, settings.firmware.version, verdict.refused_version(), &update, &resumed)
        });
        let trial = (boot.run == Run::Application { trial: true })
            .then_some(TrialState { trial: Trial { boot_count, sent: 0, acknowledged: false }, send_at: None });
        let mut node = Node {
            parts,
            boot_count,
            verdict,
            schedule: Schedule::new(now, interval, &mut random),
            lamp: Lamp::new(now, config.record.config.user_settings().level),
            last_heard: Received { ttl_hops: 0, rssi_dbm: 0 },
            started_at: now,
            now,
            feed_at: None,
            outbox: Outbox::default(),
            update,
            server,
            fetch,
            subscriptions,
            reset_at: None,
            trial,
            config,
            settings,
            random,
            effects,
        };
        node.step_trial(hw);
        node.after(hw);
        Ok(node)
    }

    /// An access message came over the mesh. `to` is the node's address or a group that it listens to.
    #[inline]
    pub fn on_access(&mut self, now: Instant, from: Addr, to: Addr, received: Received, message: &[u8], hw: &mut H) {
        self.now = now;
        if let [CHUNK_TRANSFER, low, high, data @ ..] = message {
            // Some thousand of these per update: no decoding, no watchdog, no news from here.
            if !data.is_empty() && self.hears(to, Model::Blob) {
                let number = u16::from_le_bytes([*low, *high]);
                self.on_chunk(from, blob::Chunk { number, data }, hw);
            }
            return;
        }
        if from == self.settings.gateway {
            self.last_heard = received;
        }
        // A message that does not decode is none of ours.
        let Ok(message) = AccessMessage::decode(message) else { return };
        match message {
            AccessMessage::Vendor(message) if self.hears(to, Model::Vendor) => self.on_vendor(from, to, message, hw),
            AccessMessage::Blob(message) if self.hears(to, Model::Blob) => self.on_blob(from, to, &message, hw),
            AccessMessage::Update(message) if self.hears(to, Model::Update) => self.on_update(from, to, &message, hw),
            // Sent under the device key, so never to a group.
            AccessMessage::Config(message) if to == self.settings.address => self.on_config(from, &message, hw),
            AccessMessage::Vendor(_)
            | AccessMessage::Blob(_)
            | AccessMessage::Update(_)
            | AccessMessage::Config(_)
            | AccessMessage::Distribution(_) => {}
        }
        self.after(hw);
    }

    /// A CoAP datagram came over Thread. A node that is not on Thread ignores it.
    pub fn on_coap(&mut self, now: Instant, from: Addr, datagram: &[u8], hw: &mut H) {
        self.now = now;
        let Ok(message) = wire::Message::decode(datagram) else { return };
        if self.fetch.is_none() {
            return;
        }
        if message.code.is_request() {
            self.on_request(from, &message, hw);
        } else if message.code == wire::Code::EMPTY && message.kind == wire::Kind::Confirmable {
            // A ping (RFC 7252 section 4.3).
            let pong = empty(wire::Kind::Reset, message.message_id);
            self.post(from, Purpose::Answer, pong);
        } else if from == self.settings.gateway {
            let mut cx = context(self.now, &self.parts, &self.config, &mut self.effects, hw);
            let send = self
                .fetch
                .as_mut()
                .and_then(|fetch| fetch.on_message(&mut cx, &mut self.update, &mut self.random, &message));
            self.post(from, Purpose::Answer, send);
        }
        self.after(hw);
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
        let mut cx = context(now, &self.parts, &self.config, &mut self.effects, hw);
        let report = self.server.on_timer(&mut cx, &mut self.update);
        if self.update.on_timer(&mut cx).is_err() {
            cx.effects.trace(TraceEvent::FlashFault);
        }
        let again = self.fetch.as_mut().and_then(|fetch| fetch.on_timer(&mut cx, &mut self.update));
        self.answer(self.settings.address, report);
        self.post(self.settings.gateway, Purpose::Answer, again);
        if self.reset_at.is_some_and(|at| at <= now) {
            self.reset_at = None;
            self.effects.reset();
        }
        self.after(hw);
    }

    /// When [`Node::on_timer`] wants to be called; moves with every call of the node.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        let confirm = self.trial.as_ref().and_then(|state| state.send_at);
        let update = earliest(self.server.next_wakeup(), self.update.next_wakeup());
        let thread = self.fetch.as_ref().and_then(Fetch::next_wakeup);
        [confirm, update, thread, self.reset_at, self.feed_at, self.outbox.next_wakeup()]
            .into_iter()
            .fold(self.schedule.next_wakeup(), earliest)
    }

    /// The next message that is due to be sent.
    pub fn poll_transmit(&mut self) -> Option<&Outgoing> {
        let (message, purpose) = self.outbox.pop(self.now)?;
        if purpose == Purpose::Farewell && self.reset_at.is_some() {
            self.reset_at = Some(self.now + RESET_DELAY);
        }
        Some(message)
    }

    /// The next thing the target has to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// Does a model of this node listen to messages for this address?
    #[must_use]
    pub fn listens_to(&self, address: Addr) -> bool {
        self.hears(address, Model::Vendor) || self.subscriptions.any(address)
    }

    /// Phase of the firmware update.
    #[must_use]
    pub const fn update_phase(&self) -> update::Phase {
        self.update.phase()
    }

    /// Light level now, 0 off to 255 full.
    #[must_use]
    pub const fn light_level(&self) -> u8 {
        self.lamp.level()
    }

    /// Is the running image confirmed?
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.trial.is_none()
    }

    fn hears(&self, to: Addr, model: Model) -> bool {
        if to == self.settings.address {
            return true;
        }
        let common = model == Model::Vendor && (to == Addr::ALL_NODES || self.config.record.config.in_group(to.0));
        common || self.subscriptions.contains(to, model)
    }

    fn on_chunk(&mut self, from: Addr, chunk: blob::Chunk<'_>, hw: &mut H) {
        let mut cx = context(self.now, &self.parts, &self.config, &mut self.effects, hw);
        // Only Pull mode answers a chunk.
        if let Some(answer) = self.server.on_chunk(&mut cx, &mut self.update, from, chunk) {
            self.answer(self.settings.address, Some(answer));
        }
    }

    fn on_blob(&mut self, from: Addr, to: Addr, message: &blob::Message<'_>, hw: &mut H) {
        let mut cx = context(self.now, &self.parts, &self.config, &mut self.effects, hw);
        let answer = self.server.on_blob(&mut cx, &mut self.update, from, message);
        self.answer(to, answer);
    }

    fn on_update(&mut self, from: Addr, to: Addr, message: &update::Message<'_>, hw: &mut H) {
        if self.settings.carrier != Carrier::Mesh {
            return;
        }
        let mut cx = context(self.now, &self.parts, &self.config, &mut self.effects, hw);
        let running = self.settings.firmware.version;
        let answer = self.server.on_update(&mut cx, &mut self.update, from, running, message);
        self.answer(to, answer);
    }

    fn on_config(&mut self, from: Addr, message: &config_wire::Message, hw: &mut H) {
        let Some(status) = self.subscriptions.on_message(self.settings.address, message, hw) else { return };
        let Ok(bytes) = AccessMessage::Config(status).to_buffer() else { return };
        let answer = Answer { to: from, ttl: DEFAULT_TTL, purpose: Purpose::Answer, bytes };
        self.answer(self.settings.address, Some(answer));
    }

    /// A CoAP request to the node.
    fn on_request(&mut self, from: Addr, message: &wire::Message<'_>, hw: &mut H) {
        let mut purpose = Purpose::Answer;
        let mut octets = None;
        let code = match Request::read(message, from == self.settings.gateway) {
            Request::Apply => {
                let mut cx = context(self.now, &self.parts, &self.config, &mut self.effects, hw);
                let applied = self.update.apply(&mut cx);
                if applied == Ok(Applied::Now) {
                    purpose = Purpose::Farewell;
                }
                let status = applied.err().unwrap_or(update::Status::Success);
                let answer = update::Message::Status(self.update.status(status));
                octets = AccessMessage::Update(answer).to_buffer().ok();
                apply_code(status)
            }
            Request::Version => {
                let fwid = fwid::mk_fwid_bytes(COMPANY_ID, self.settings.firmware.version);
                octets = mk_wire::access::Buffer::from_slice(&fwid).ok();
                wire::Code::CONTENT
            }
            Request::Vendor(message) => {
                self.on_vendor(from, self.settings.address, message, hw);
                wire::Code::CHANGED
            }
            Request::Refused(code) => code,
        };
        let own = self.random.next() as u16;
        self.post(from, purpose, response(message, own, code, &octets.unwrap_or_default()));
    }

    fn on_vendor(&mut self, from: Addr, to: Addr, message: vendor::Message, hw: &mut H) {
        match message {
            vendor::Message::ConfirmAck(ack) => self.on_confirm_ack(from, ack.boot_count, hw),
            vendor::Message::ReportGet => {
                let due = self.now + self.response_delay(to);
                let report = vendor::Message::Report(self.facts().report(self.verdict));
                self.send(due, Purpose::Answer, report);
            }
            vendor::Message::LightSet(set) => self.lamp.set(self.now, from, set),
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
                light_level: self.lamp.level(),
                energy_wh: self.lamp.energy_wh(self.now),
            }),
        };
        self.send(self.now, Purpose::Report, message);
    }

    /// Sends one of our messages to the gateway.
    fn send(&mut self, due: Instant, purpose: Purpose, message: vendor::Message) {
        let Ok(bytes) = AccessMessage::Vendor(message).to_buffer() else { return };
        match &mut self.fetch {
            // The one request that may be on its way is delay enough.
            Some(fetch) => fetch.queue(purpose, &bytes),
            None => self.put(due, purpose, self.settings.gateway, DEFAULT_TTL, Carrier::Mesh, &bytes),
        }
    }

    /// Sends an answer of the mesh models; `to` is where the request had been sent.
    fn answer(&mut self, to: Addr, answer: Option<Answer>) {
        let Some(Answer { to: client, ttl, purpose, bytes }) = answer else { return };
        let due = self.now + self.response_delay(to);
        self.put(due, purpose, client, ttl, Carrier::Mesh, &bytes);
    }

    /// Sends a datagram at once.
    fn post(&mut self, to: Addr, purpose: Purpose, datagram: Option<Datagram>) {
        if let Some(datagram) = datagram {
            self.put(self.now, purpose, to, DEFAULT_TTL, Carrier::Thread, &datagram);
        }
    }

    fn put(&mut self, due: Instant, purpose: Purpose, to: Addr, ttl: u8, carrier: Carrier, bytes: &[u8]) {
        if purpose == Purpose::Farewell {
            self.reset_at = Some(due + LATEST_RESET);
        }
        // Every buffer that gets here is shorter.
        let Ok(bytes) = Vec::from_slice(bytes) else { return };
        self.outbox.push(due, purpose, Outgoing { to, ttl, carrier, bytes });
    }

    fn response_delay(&mut self, to: Addr) -> Duration {
        let (low, high) = if to.is_unicast() { UNICAST_DELAY } else { GROUP_DELAY };
        self.random.between(low, high)
    }

    /// What every call ends with: news to report, requests to send, the watchdog.
    fn after(&mut self, hw: &mut H) {
        if let Some(verdict) = self.update.take_news() {
            self.verdict = verdict;
            self.schedule.report_soon(self.now, &mut self.random);
        }
        if self.update.take_phase_news() {
            self.schedule.report_soon(self.now, &mut self.random);
        }
        if self.fetch.as_mut().is_some_and(Fetch::take_reported) {
            self.schedule.report_arrived();
        }
        if self.update.phase() != update::Phase::ApplyingUpdate {
            // Cancelled before the reset.
            self.reset_at = None;
        }
        let next = self.fetch.as_mut().and_then(|fetch| fetch.next_request(self.now, &mut self.random));
        self.post(self.settings.gateway, Purpose::Answer, next);
        if self.trial.is_none() {
            hw.feed_watchdog();
            self.feed_at = Some(self.now + self.settings.grace_period / 2);
        }
    }
}

/// What a call hands to the parts of the node.
fn context<'a, H>(
    now: Instant,
    parts: &'a Parts<H>,
    config: &Opened,
    effects: &'a mut Effects,
    hw: &'a mut H,
) -> Context<'a, H> {
    Context { now, hw, parts, effects, schema: config.record.config.schema() }
}
