//! The gateway as its host sees it: octets and orders in, messages, notices and records out, one timer.

use crate::confirmations::{Confirmations, Count};
use crate::journal::{GatewayRecord, Journal};
use crate::outgoing::{Class, Outgoing, Transmit, Waiting};
use crate::settings::{Carrier, GatewaySettings};
use crate::throttle::Throttle;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use mk_wire::access::network_pdus;
use mk_wire::north::{Notice, Order};
use mk_wire::time::{Duration, Instant};
use mk_wire::vendor::{self, ConfirmAck};
use mk_wire::{AccessMessage, Addr, Fwid, FwidRef};

/// Notices kept until polled. Beyond this, heartbeats and application reports are dropped: the next ones come anyway.
const MAX_NOTICES: usize = 16_384;

/// A gateway.
pub struct Gateway {
    settings: GatewaySettings,
    carriers: BTreeMap<Addr, Carrier>,
    throttle: Throttle,
    confirmations: Confirmations,
    outgoing: Outgoing,
    notices: VecDeque<Notice>,
    journal: Journal,
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
        Gateway {
            settings,
            carriers,
            throttle,
            confirmations: Confirmations::default(),
            outgoing: Outgoing::default(),
            notices: VecDeque::new(),
            journal: Journal::default(),
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
        let pending: Vec<_> = gateway.confirmations.not_passed_on().collect();
        for (node, boot_count, version) in pending {
            gateway.notices.push_back(Notice::Confirmed { node, boot_count, version });
        }
        gateway
    }

    /// An access message from the mesh. `to` is the address it was sent to.
    pub fn on_access(&mut self, now: Instant, from: Addr, to: Addr, message: &[u8]) {
        let _ = now;
        if !from.is_unicast() || (to.is_unicast() && to != self.settings.address) {
            return;
        }
        // What does not decode is not for us, or from nobody we could tell about it.
        if let Ok(AccessMessage::Vendor(message)) = AccessMessage::decode(message) {
            self.on_vendor(from, Carrier::Mesh, message);
        }
    }

    /// A CoAP datagram from a Thread node.
    pub fn on_coap(&mut self, now: Instant, from: Addr, datagram: &[u8]) {
        let _ = (now, from, datagram);
    }

    /// An order of MeshOS.
    pub fn on_order(&mut self, now: Instant, order: &Order) {
        match order {
            Order::Access(_) => {}
            Order::Throttle { permille } => {
                self.throttle.set_permille(now, *permille);
                self.journal.write(GatewayRecord::ThrottleSet { permille: self.throttle.permille() });
            }
            Order::Window { open } => {
                self.throttle.set_open(now, *open);
                self.journal.write(GatewayRecord::WindowSet { open: *open });
            }
            Order::RequestReport { node } => self.send_vendor(*node, vendor::Message::ReportGet),
        }
    }

    /// Handles what is due. Calling it early does no harm.
    pub fn on_timer(&mut self, now: Instant) {
        let _ = now;
    }

    /// When to call [`Gateway::on_timer`] and [`Gateway::poll_transmit`] next if nothing else happens.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        None
    }

    /// The next message to be sent now: control messages first, then image data as the throttle lets it go. Poll until
    /// `None`.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        let _ = now;
        let Waiting { to, ttl, carrier, pdus, bytes } = self.outgoing.pop()?;
        self.sent = bytes;
        let spacing = Duration::from_ticks(self.settings.segment_interval.as_micros());
        Some(Transmit { to, ttl, carrier, class: Class::Control, pdus, spacing, bytes: &self.sent })
    }

    /// The next notice for MeshOS.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let notice = self.notices.pop_front()?;
        if let Notice::Confirmed { node, boot_count, .. } = &notice
            && self.confirmations.pass_on(*node, *boot_count)
        {
            self.journal.write(GatewayRecord::ConfirmationPassedOn { node: *node, boot_count: *boot_count });
        }
        Some(notice)
    }

    /// The next record of the journal. Store records for which [`GatewayRecord::is_state`] holds before carrying out
    /// outputs polled later.
    pub fn poll_journal(&mut self) -> Option<GatewayRecord> {
        self.journal.poll()
    }

    fn replay(&mut self, now: Instant, record: &GatewayRecord) {
        match record {
            GatewayRecord::ThrottleSet { permille } => self.throttle.set_permille(now, *permille),
            GatewayRecord::WindowSet { open } => self.throttle.set_open(now, *open),
            GatewayRecord::ConfirmationHeard { node, version, boot_count } => {
                self.confirmations.hear(*node, *boot_count, *version);
            }
            GatewayRecord::ConfirmationPassedOn { node, boot_count } => {
                self.confirmations.pass_on(*node, *boot_count);
            }
            _ => {}
        }
    }

    fn carrier(&self, node: Addr) -> Carrier {
        self.carriers.get(&node).copied().unwrap_or(Carrier::Mesh)
    }

    /// One of our own messages from a node, on either carrier.
    fn on_vendor(&mut self, from: Addr, carrier: Carrier, message: vendor::Message) {
        let _ = carrier;
        match message {
            vendor::Message::Health(health) => self.notify_sample(Notice::Health { node: from, health }),
            vendor::Message::AppReport(report) => self.notify_sample(Notice::AppReport { node: from, report }),
            vendor::Message::Report(report) => {
                self.journal.write(GatewayRecord::ReportHeard { node: from, report });
                self.notices.push_back(Notice::Report { node: from, report });
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
                self.journal.write(GatewayRecord::ConfirmationHeard { node, version, boot_count });
                self.notices.push_back(Notice::Confirmed { node, boot_count, version });
            }
            Count::Repeated => {}
        }
        self.send_vendor(node, vendor::Message::ConfirmAck(ConfirmAck { boot_count }));
        self.journal.write(GatewayRecord::ConfirmationAcked { node, boot_count });
    }

    fn notify_sample(&mut self, notice: Notice) {
        if self.notices.len() < MAX_NOTICES {
            self.notices.push_back(notice);
        }
    }

    fn send_vendor(&mut self, node: Addr, message: vendor::Message) {
        if let Ok(bytes) = AccessMessage::Vendor(message).to_buffer() {
            let pdus = u16::try_from(network_pdus(bytes.len(), false)).unwrap_or(u16::MAX);
            let ttl = self.settings.default_ttl;
            let carrier = self.carrier(node);
            self.outgoing.push(Waiting { to: node, ttl, carrier, pdus, bytes: bytes.to_vec() });
        }
    }
}
