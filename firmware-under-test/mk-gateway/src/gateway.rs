//! The gateway as its host sees it: octets and orders in, messages, notices and records out, one timer.

use crate::confirmations::{Confirmations, Count};
use crate::distributor::Distributor;
use crate::journal::GatewayRecord;
use crate::outgoing::{Class, Transmit, Waiting};
use crate::outputs::Outputs;
use crate::settings::{Carrier, GatewaySettings};
use crate::throttle::Throttle;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use mk_wire::access::MAX_ACCESS;
use mk_wire::distribution::{Phase, ReceiverReport};
use mk_wire::north::{Notice, Order};
use mk_wire::time::{Duration, Instant};
use mk_wire::vendor::{self, ConfirmAck};
use mk_wire::{AccessMessage, Addr, FwidRef, coap};

/// How far one carrier may run ahead of the other in air time, in microseconds, when both have image data waiting: a
/// carrier that was idle does not save up for later.
const MAX_LEAD_US: i64 = 300_000;

/// Most PDUs of one message.
const MAX_SEGMENTS: u16 = 32;

/// A gateway.
pub struct Gateway {
    settings: GatewaySettings,
    carriers: BTreeMap<Addr, Carrier>,
    throttle: Throttle,
    confirmations: Confirmations,
    distributor: Distributor,
    out: Outputs,
    /// Air time that the mesh has had more than Thread, in microseconds.
    mesh_lead_us: i64,
    /// The message handed out last; its octets are lent to the caller.
    sent: Vec<u8>,
}

impl Gateway {
    /// A gateway that holds nothing.
    #[must_use]
    pub fn new(now: Instant, settings: GatewaySettings) -> Self {
        let cost = u32::from(settings.copies_estimate).saturating_mul(settings.air_time_per_pdu_us);
        let throttle = Throttle::new(now, settings.throttle_permille, cost, settings.segment_interval);
        let carriers = settings.directory.iter().copied().collect();
        let distributor = Distributor::new(now, &settings);
        Gateway {
            settings,
            carriers,
            throttle,
            confirmations: Confirmations::default(),
            distributor,
            out: Outputs::default(),
            mesh_lead_us: 0,
            sent: Vec::new(),
        }
    }

    /// The gateway after a restart: `records` are those that [`Gateway::poll_journal`] gave before and for which
    /// [`GatewayRecord::is_state`] holds, in order; others are skipped. A distribution that was running goes on by
    /// itself. Nothing of what is restored is written to the journal again.
    #[must_use]
    pub fn restore<'r>(
        now: Instant,
        settings: GatewaySettings,
        records: impl IntoIterator<Item = &'r GatewayRecord>,
    ) -> Self {
        let mut gateway = Gateway::new(now, settings);
        for record in records {
            gateway.replay(now, record);
        }
        // The longest message may have left right before the end.
        gateway.throttle.spend_pdus(now, MAX_SEGMENTS);
        for (node, boot_count, version) in gateway.confirmations.not_passed_on() {
            gateway.out.notify(Notice::Confirmed { node, boot_count, version });
        }
        gateway.distributor.resume_after_restart(now, &gateway.settings, &mut gateway.out);
        gateway
    }

    /// Phase of the distribution.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.distributor.phase()
    }

    /// The receivers list, as it would be stated to the Initiator.
    pub fn receivers(&self) -> impl Iterator<Item = ReceiverReport> + '_ {
        self.distributor.receivers().iter().map(ReceiverReport::from)
    }

    /// The throttle, for whoever watches it.
    #[must_use]
    pub const fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// An access message from the mesh. `to` is the address it was sent to.
    pub fn on_access(&mut self, now: Instant, from: Addr, to: Addr, message: &[u8]) {
        if !from.is_unicast() || (to.is_unicast() && to != self.settings.address) {
            return;
        }
        // What does not decode is not for us, or from nobody we could tell about it.
        match AccessMessage::decode(message) {
            Ok(AccessMessage::Vendor(message)) => self.on_vendor(now, from, message),
            Ok(message) => self.distributor.on_node(now, from, &message, &self.settings, &mut self.out),
            Err(_) => {}
        }
    }

    /// A CoAP datagram from a Thread node.
    pub fn on_coap(&mut self, now: Instant, from: Addr, datagram: &[u8]) {
        let Ok(message) = coap::Message::decode(datagram) else { return };
        if !from.is_unicast() {
            return;
        }
        let inner = self.distributor.on_coap(now, from, &message, &self.throttle, &self.settings, &mut self.out);
        if let Some(inner) = inner {
            self.on_vendor(now, from, inner);
        }
    }

    /// An order of MeshOS.
    pub fn on_order(&mut self, now: Instant, order: &Order) {
        match order {
            Order::Access(bytes) => match AccessMessage::decode(bytes) {
                Ok(AccessMessage::Distribution(message)) => {
                    self.distributor.on_request(now, &message, &self.carriers, &self.settings, &mut self.out);
                }
                Ok(AccessMessage::Blob(message)) => self.distributor.on_upload_blob(now, &message, &mut self.out),
                // MeshOS updates nodes through the distributor only.
                Ok(AccessMessage::Update(_) | AccessMessage::Config(_) | AccessMessage::Vendor(_)) | Err(_) => {}
            },
            Order::Throttle { permille } => {
                self.throttle.set_permille(now, *permille);
                self.out.record(GatewayRecord::ThrottleSet { permille: self.throttle.permille() });
            }
            Order::Window { open } => {
                self.throttle.set_open(now, *open);
                self.out.record(GatewayRecord::WindowSet { open: *open });
                self.distributor.set_window(now, *open, &self.settings, &mut self.out);
            }
            Order::RequestReport { node } => self.send_vendor(*node, vendor::Message::ReportGet),
        }
    }

    /// Handles what is due. Calling it early does no harm.
    pub fn on_timer(&mut self, now: Instant) {
        self.distributor.on_timer(now, &self.settings, &mut self.out);
    }

    /// When to call [`Gateway::on_timer`] and [`Gateway::poll_transmit`] next if nothing else happens. A time in the past
    /// means at once.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        // What is waiting to be polled counts too: making a message may end a step, and so write to the journal.
        let control = self.out.has_something().then_some(Instant::from_ticks(0));
        let allowed = self.throttle.next_start();
        let chunk = self.distributor.chunk_waits().zip(allowed).map(|(waits, allowed)| waits.max(allowed));
        let image = allowed.filter(|_| self.distributor.image_waits());
        [control, chunk, image, self.distributor.next_wakeup()].into_iter().flatten().min()
    }

    /// The next message to be sent now: control messages first, then image data as the throttle lets it go. Poll until
    /// `None`.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        if self.out.outgoing.is_empty() {
            // Data is only made when nothing else waits; making it may settle a step, and so bring control messages.
            let thread_first = self.mesh_lead_us > 0 && self.distributor.image_waits();
            let made = if thread_first {
                self.poll_image(now).or_else(|| self.poll_blob(now))
            } else {
                self.poll_blob(now).or_else(|| self.poll_image(now))
            };
            if let Some(Made { to, ttl, carrier, class, pdus, spacing }) = made {
                return Some(Transmit { to, ttl, carrier, class, pdus, spacing, bytes: &self.sent });
            }
        }
        let Waiting { to, ttl, carrier, pdus, bytes } = self.out.outgoing.pop()?;
        // Copied, so that the buffer keeps its size and the next chunk costs no allocation.
        self.sent.clear();
        self.sent.extend_from_slice(&bytes);
        let spacing = match carrier {
            Carrier::Mesh => self.settings.segment_interval,
            Carrier::Thread => self.frame_time(),
        };
        Some(Transmit { to, ttl, carrier, class: Class::Control, pdus, spacing, bytes: &self.sent })
    }

    /// The next notice for MeshOS.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let notice = self.out.notices.pop_front()?;
        if let Notice::Confirmed { node, boot_count, .. } = &notice
            && self.confirmations.pass_on(*node, *boot_count)
        {
            self.out.record(GatewayRecord::ConfirmationPassedOn { node: *node, boot_count: *boot_count });
        }
        Some(notice)
    }

    /// The next record of the journal. Store records for which [`GatewayRecord::is_state`] holds before carrying out
    /// outputs polled later.
    pub fn poll_journal(&mut self) -> Option<GatewayRecord> {
        self.out.journal.poll()
    }

    fn replay(&mut self, now: Instant, record: &GatewayRecord) {
        match record {
            GatewayRecord::ThrottleSet { permille } => self.throttle.set_permille(now, *permille),
            GatewayRecord::WindowSet { open } => {
                self.throttle.set_open(now, *open);
                self.distributor.replay(record, &self.carriers);
            }
            GatewayRecord::ConfirmationHeard { node, version, boot_count } => {
                self.confirmations.hear(*node, *boot_count, *version);
            }
            GatewayRecord::ConfirmationPassedOn { node, boot_count } => {
                self.confirmations.pass_on(*node, *boot_count);
            }
            record => self.distributor.replay(record, &self.carriers),
        }
    }

    fn frame_time(&self) -> Duration {
        Duration::from_micros(u64::from(self.settings.thread.frame_us))
    }

    /// The BLOB client's next message, in `sent`.
    fn poll_blob(&mut self, now: Instant) -> Option<Made> {
        self.sent.resize(MAX_ACCESS, 0);
        let message = self.distributor.poll_blob(now, &self.throttle, &self.settings, &mut self.out, &mut self.sent)?;
        self.sent.truncate(message.len);
        let mut spacing = self.settings.segment_interval;
        if message.is_data {
            spacing = self.throttle.spacing();
            self.throttle.spend_pdus(now, message.pdus);
            self.note_air(i64::from(message.pdus) * i64::from(self.throttle.pdu_cost_us()));
        }
        let class = if message.is_data { Class::Data } else { Class::Control };
        Some(Made { to: message.to, ttl: message.ttl, carrier: Carrier::Mesh, class, pdus: message.pdus, spacing })
    }

    /// An image block for a Thread node, in `sent`.
    fn poll_image(&mut self, now: Instant) -> Option<Made> {
        if !self.distributor.image_waits() || !self.throttle.allows(now) {
            return None;
        }
        let block = self.distributor.poll_image(now, &self.settings, &mut self.out, &mut self.sent)?;
        self.throttle.spend_air_us(now, block.air_us);
        self.note_air(-i64::from(block.air_us));
        let spacing = self.frame_time();
        Some(Made { to: block.to, ttl: 0, carrier: Carrier::Thread, class: Class::Data, pdus: block.frames, spacing })
    }

    /// Keeps account of who had the air.
    fn note_air(&mut self, mesh_us: i64) {
        let shared = self.distributor.image_waits() && self.distributor.chunk_waits().is_some();
        let lead = (self.mesh_lead_us + mesh_us).clamp(-MAX_LEAD_US, MAX_LEAD_US);
        self.mesh_lead_us = if shared || mesh_us > 0 { lead } else { lead.max(0) };
    }

    fn carrier(&self, node: Addr) -> Carrier {
        self.carriers.get(&node).copied().unwrap_or(Carrier::Mesh)
    }

    /// One of our own messages from a node, on either carrier.
    fn on_vendor(&mut self, now: Instant, from: Addr, message: vendor::Message) {
        match message {
            vendor::Message::Health(health) => self.out.notify_sample(Notice::Health { node: from, health }),
            vendor::Message::AppReport(report) => self.out.notify_sample(Notice::AppReport { node: from, report }),
            vendor::Message::Report(report) => {
                self.out.record(GatewayRecord::ReportHeard { node: from, report });
                self.out.notify(Notice::Report { node: from, report });
                if self.carrier(from) == Carrier::Thread {
                    self.distributor.on_report(now, from, &report, &self.settings, &mut self.out);
                }
            }
            vendor::Message::Confirm(confirm) => self.on_confirm(from, confirm),
            // Ours to send, not to receive; light control is between switches and lamps.
            vendor::Message::ConfirmAck(_) | vendor::Message::ReportGet | vendor::Message::LightSet(_) => {}
        }
    }

    fn on_confirm(&mut self, node: Addr, confirm: vendor::Confirm) {
        let boot_count = confirm.boot_count;
        let Some(version) = FwidRef::from_bytes(&confirm.fwid).as_ref().and_then(FwidRef::mk_version) else {
            return;
        };
        match self.confirmations.hear(node, boot_count, version) {
            Count::First => {
                self.out.record(GatewayRecord::ConfirmationHeard { node, version, boot_count });
                self.out.notify(Notice::Confirmed { node, boot_count, version });
            }
            Count::Repeated => {}
        }
        self.send_vendor(node, vendor::Message::ConfirmAck(ConfirmAck { boot_count }));
        self.out.record(GatewayRecord::ConfirmationAcked { node, boot_count });
    }

    fn send_vendor(&mut self, node: Addr, message: vendor::Message) {
        match self.carrier(node) {
            Carrier::Mesh => self.out.send_mesh(node, self.settings.default_ttl, &AccessMessage::Vendor(message)),
            Carrier::Thread => self.distributor.send_vendor(node, message),
        }
    }
}

/// A message that was made into the gateway's own buffer.
struct Made {
    to: Addr,
    ttl: u8,
    carrier: Carrier,
    class: Class,
    pdus: u16,
    spacing: Duration,
}
