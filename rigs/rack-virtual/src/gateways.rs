//! The gateway processes: what runs the product's gateway machine, keeps its journal over a restart, and reads its log.

use crate::world::{Due, World};
use hil_model::fact::Fact;
use hil_model::{About, GatewayId, Span, Time, Witness};
use mk_gateway::{Carrier, Class, Gateway, GatewayRecord, GatewaySettings};
use mk_wire::Addr;
use mk_wire::distribution::Phase;
use rack_witness::gateway::{GatewayReader, Sign};
use rack_witness::meter::Meter;
use rack_witness::words;
use std::rc::Rc;

/// One gateway.
pub struct GatewayHost {
    /// Which.
    pub id: GatewayId,
    /// The process; none while it is down.
    pub gateway: Option<Gateway>,
    /// What its radio counted.
    pub meter: Meter,
    /// BLOB block it opened last.
    pub current_block: Option<u32>,
    /// The group it sends to now and its members.
    pub group: Option<(Addr, Rc<[u16]>)>,
    settings: GatewaySettings,
    /// The journal on its disk.
    disk: Vec<GatewayRecord>,
    reader: GatewayReader,
    life: u32,
    timer: Time,
    pending: bool,
    /// Buffer for the message being handed over.
    out: Vec<u8>,
}

impl GatewayHost {
    /// A gateway that has just been started for the first time.
    pub fn new(id: GatewayId, settings: GatewaySettings) -> Self {
        let reader = GatewayReader::new(id, settings.throttle_permille);
        let gateway = Some(Gateway::new(words::instant(Time::ZERO), settings.clone()));
        Self {
            id,
            gateway,
            meter: Meter::default(),
            current_block: None,
            group: None,
            settings,
            disk: Vec::new(),
            reader,
            life: 0,
            timer: Time::NEVER,
            pending: false,
            out: Vec::new(),
        }
    }

    /// Its unicast address.
    pub const fn address(&self) -> Addr {
        Addr(self.id.unicast())
    }

    /// Share of the channel that it may use, whether or not a transfer runs.
    pub const fn throttle(&self) -> u16 {
        self.reader.throttle_permille()
    }

    /// Share of the channel that a running transfer may use; 0 when none runs.
    pub const fn throttle_in_force(&self) -> u16 {
        if self.reader.distributing() { self.reader.throttle_permille() } else { 0 }
    }

    /// Whether nothing is under way here.
    pub const fn quiet(&self) -> bool {
        self.gateway.is_some() && !self.reader.distributing()
    }
}

impl World {
    /// A gateway was called: its outputs are looked at before time goes on.
    pub(crate) fn touch_gateway(&mut self, gateway: usize) {
        if !core::mem::replace(&mut self.gateways[gateway].pending, true) {
            self.pending.push_back(gateway);
        }
    }

    /// Hands a gateway's outputs on: journal to disk first, then notices, then one message.
    pub(crate) fn pump_gateway(&mut self, gateway: usize) {
        self.gateways[gateway].pending = false;
        loop {
            let host = &mut self.gateways[gateway];
            let Some(running) = &mut host.gateway else { return };
            if let Some(record) = running.poll_journal() {
                self.log(gateway, &record);
                if record.is_state() {
                    self.gateways[gateway].disk.push(record);
                }
                continue;
            }
            if let Some(notice) = running.poll_notice() {
                let address = host.address();
                self.notify_meshos(address, &notice);
                continue;
            }
            let Some(message) = running.poll_transmit(words::instant(self.now)) else { break };
            let (to, carrier, data, pdus) = (message.to, message.carrier, message.class == Class::Data, message.pdus);
            let spacing = words::span(message.spacing);
            let mut out = core::mem::take(&mut host.out);
            out.clear();
            out.extend_from_slice(message.bytes);
            match carrier {
                Carrier::Mesh => self.send_access(gateway, to, data, pdus, spacing, &out),
                Carrier::Thread => self.send_datagram(gateway, to, data, pdus, &out),
            }
            self.gateways[gateway].out = out;
        }
        self.schedule_gateway(gateway);
    }

    fn schedule_gateway(&mut self, gateway: usize) {
        let now = self.now;
        let host = &mut self.gateways[gateway];
        let Some(wake) = host.gateway.as_ref().and_then(Gateway::next_wakeup) else { return };
        let wake = words::time(wake).max(now);
        if wake < host.timer {
            host.timer = wake;
            self.wheel.insert(wake, Due::GatewayTimer { gateway: gateway as u16, life: host.life });
        }
    }

    pub(crate) fn gateway_timer(&mut self, gateway: usize, life: u32) {
        let host = &mut self.gateways[gateway];
        if host.life != life || host.timer != self.now {
            return;
        }
        host.timer = Time::NEVER;
        if let Some(running) = &mut host.gateway {
            running.on_timer(words::instant(self.now));
            self.touch_gateway(gateway);
        }
    }

    /// Kills a gateway process.
    pub(crate) fn restart_gateway(&mut self, gateway: usize, down: Span) {
        let host = &mut self.gateways[gateway];
        if host.gateway.take().is_none() {
            return;
        }
        host.life += 1;
        host.timer = Time::NEVER;
        let about = About::Gateway(host.id);
        self.note(about, Witness::Gateway, Fact::GatewayDown);
        self.wheel.insert(self.now + down, Due::GatewayUp { gateway: gateway as u16 });
    }

    pub(crate) fn gateway_up(&mut self, gateway: usize) {
        let now = words::instant(self.now);
        let host = &mut self.gateways[gateway];
        host.gateway = Some(Gateway::restore(now, host.settings.clone(), host.disk.iter()));
        let about = About::Gateway(host.id);
        self.note(about, Witness::Gateway, Fact::GatewayUp);
        self.touch_gateway(gateway);
    }

    /// Reports the use of the air since the last report.
    fn report_air(&mut self, gateway: usize) {
        let host = &mut self.gateways[gateway];
        let about = About::Gateway(host.id);
        if let Some(fact) = host.meter.report(host.reader.throttle_permille()) {
            self.note(about, Witness::Radio, fact);
        }
    }

    /// A record of the gateway's journal as the harness reads it.
    fn log(&mut self, gateway: usize, record: &GatewayRecord) {
        if let GatewayRecord::ThrottleSet { .. } | GatewayRecord::BlockDone { .. } = record {
            // What was sent until now was sent under the old throttle.
            self.report_air(gateway);
        }
        match self.gateways[gateway].reader.read(record) {
            Sign::Fact(about, fact) => self.note(about, Witness::Gateway, fact),
            Sign::Throttle(permille) => self.air.set_throttle(gateway, permille),
            Sign::Distributing(distributing) => {
                if !matches!(record, GatewayRecord::DistributionPhase { phase: Phase::TransferActive }) {
                    self.report_air(gateway);
                }
                if !distributing {
                    self.end_of_distribution(gateway);
                }
            }
            Sign::Nothing => {}
        }
    }

    fn end_of_distribution(&mut self, gateway: usize) {
        let members: Vec<u16> = self.gateways[gateway].group.take().map(|(_, n)| n.to_vec()).unwrap_or_default();
        for node in members {
            self.nodes[usize::from(node)].board.drop_block_buffer();
        }
    }
}
