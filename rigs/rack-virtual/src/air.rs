//! Messages between gateways and nodes: hand-over, loss, latency, the interposer, arrival.

use crate::air_level::{Handed, Landing, Load, Missed, Way};
use crate::life::NodeHost;
use crate::link_air::datagram_air;
use crate::world::{Due, World};
use hil_model::{About, Fact, NodeId, Party, Protocol, Span, Time, Witness};
use mk_node::Received;
use mk_wire::Addr;
use mk_wire::access::network_pdus;
use rack_witness::interposer::{Decision, Delivery};
use rack_witness::message::{AirMessage, Carrier, classify_access, classify_coap};
use rack_witness::words;
use std::rc::Rc;

/// Who receives a message.
#[derive(Debug, Clone)]
pub enum Audience {
    /// A gateway, by place.
    Gateway(usize),
    /// Nodes by place, less those that lost it.
    Nodes {
        /// All that listen.
        listening: Rc<[u16]>,
        /// Those that lost a segment, ascending.
        lost: Vec<u16>,
    },
}

impl Audience {
    /// Receivers, those included that lost it.
    fn len(&self) -> u64 {
        match self {
            Self::Gateway(_) => 1,
            Self::Nodes { listening, .. } => listening.len() as u64,
        }
    }
}

/// A message on its way.
#[derive(Debug)]
pub struct Flight {
    from: Party,
    to: Addr,
    /// The gateway at one end, by place.
    gateway: usize,
    carrier: Carrier,
    audience: Audience,
    bytes: Vec<u8>,
    pdus: u16,
    /// BLOB block its sender had opened when it was sent.
    block: Option<u32>,
    /// What the interposer recorded when it let the message go; such a message passes no rule again.
    passed: Option<Option<Fact>>,
    /// A copy of what the receiver got before, under the same sequence number.
    copy: bool,
}

impl Flight {
    /// Whether the receiver's network layer drops it for its sequence number. CoAP has no such layer below it: there
    /// the receiver's own message ids have to tell.
    fn replayed(&self) -> bool {
        self.copy && self.carrier == Carrier::Mesh
    }
}

impl World {
    fn launch(&mut self, at: Time, flight: Flight) {
        let flight = self.flights.insert(flight);
        self.wheel.insert(at, Due::Arrival { flight });
    }

    fn buffer(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// Hands a message to the air; it arrives when the air says so.
    fn hand_over(&mut self, gateway: usize, load: Load, way: Way<'_>, flight: Flight) {
        self.tell_lives();
        let to = flight.to;
        let number = self.flights.insert(flight);
        let mut landings = Vec::new();
        if let Some(flight) = self.flights.get_mut(number) {
            let handed = Handed { flight: number, gateway, load, way, to, bytes: &flight.bytes };
            self.air.carry(self.now, &handed, &mut landings);
        }
        self.land(landings);
    }

    /// Tells an air that asks for it which nodes run.
    fn tell_lives(&mut self) {
        if self.air.follows_lives() {
            let on_mesh = |host: &NodeHost| host.node().is_some() && host.spec.protocol == Protocol::Mesh;
            let lives: Vec<_> = self.nodes.iter().map(|host| on_mesh(host).then_some(host.life)).collect();
            self.air.lives(self.now, &lives);
        }
    }

    /// The air goes on by itself.
    pub(crate) fn air_goes_on(&mut self) {
        if self.air_timer != self.now {
            return;
        }
        self.air_timer = Time::NEVER;
        self.tell_lives();
        let mut landings = Vec::new();
        self.air.on_wakeup(self.now, &mut landings);
        self.land(landings);
    }

    /// Writes down who hears a message and when, and asks the air when it wants to be called.
    fn land(&mut self, landings: Vec<Landing>) {
        for Landing { flight: number, at, missed } in landings {
            let Some(flight) = self.flights.get_mut(number) else { continue };
            let receivers = flight.audience.len();
            let lost = match missed {
                Missed::Nobody => Vec::new(),
                Missed::Some(lost) => lost,
                Missed::Everybody => {
                    self.gateways[flight.gateway].meter.delivered(0, receivers);
                    if let Some(flight) = self.flights.take(number) {
                        self.spend(flight.bytes);
                    }
                    continue;
                }
            };
            let missing = lost.len() as u64;
            self.gateways[flight.gateway].meter.delivered(receivers - missing, missing);
            if let Audience::Nodes { lost: place, .. } = &mut flight.audience {
                *place = lost;
            }
            self.wheel.insert(at.max(self.now), Due::Arrival { flight: number });
        }
        if let Some(at) = self.air.next_wakeup().filter(|at| *at < self.air_timer) {
            self.air_timer = at.max(self.now);
            self.wheel.insert(self.air_timer, Due::Air);
        }
    }

    /// A node sends: always to a gateway, or to nobody.
    pub(crate) fn send_from_node(&mut self, node: usize, to: Addr, carrier: mk_node::Carrier, bytes: Vec<u8>) {
        let Some(gateway) = self.gateways.iter().position(|g| g.address() == to) else { return };
        let from = Party::Node(self.nodes[node].spec.id);
        let (carrier, pdus, load) = match carrier {
            mk_node::Carrier::Mesh => {
                let pdus = network_pdus(bytes.len(), false) as u16;
                (Carrier::Mesh, pdus, Load::Access { pdus, group: false })
            }
            mk_node::Carrier::Thread => (Carrier::Coap, 1, Load::Datagram { octets: bytes.len() }),
        };
        let audience = Audience::Gateway(gateway);
        let flight =
            Flight { from, to, gateway, carrier, audience, bytes, pdus, block: None, passed: None, copy: false };
        self.hand_over(gateway, load, Way::Up(node as u16), flight);
    }

    /// A gateway sends an access message to a group or a node. A data message takes its train of segments.
    pub(crate) fn send_access(&mut self, gateway: usize, to: Addr, data: bool, pdus: u16, spacing: Span, bytes: &[u8]) {
        if let [0x83, 0x04, low, high, ..] = bytes {
            self.gateways[gateway].current_block = Some(u32::from(u16::from_le_bytes([*low, *high])));
        }
        let listening = self.listening(gateway, to, data);
        let now = self.now;
        let host = &mut self.gateways[gateway];
        let load = if data {
            host.meter.data(now, pdus, spacing);
            Load::Train { pdus, spacing }
        } else {
            host.meter.control(pdus);
            Load::Access { pdus, group: !to.is_unicast() }
        };
        let (from, block) = (Party::Gateway(host.id), host.current_block);
        let bytes = self.buffer(bytes);
        let audience = Audience::Nodes { listening: Rc::clone(&listening), lost: Vec::new() };
        let carrier = Carrier::Mesh;
        let flight = Flight { from, to, gateway, carrier, audience, bytes, pdus, block, passed: None, copy: false };
        self.hand_over(gateway, load, Way::Down(&listening), flight);
    }

    /// A gateway sends a CoAP datagram of so many frames to a node; `data` where it carries a block of the image.
    pub(crate) fn send_datagram(&mut self, gateway: usize, to: Addr, data: bool, frames: u16, bytes: &[u8]) {
        let meter = &mut self.gateways[gateway].meter;
        if data {
            meter.datagram(self.now, frames, datagram_air(bytes.len()));
        } else {
            meter.control(frames);
        }
        let Some(node) = words::node(to).filter(|n| n.index() < self.nodes.len()).map(NodeId::index) else { return };
        let from = Party::Gateway(self.gateways[gateway].id);
        let load = Load::Datagram { octets: bytes.len() };
        let bytes = self.buffer(bytes);
        let listening: Rc<[u16]> = Rc::new([node as u16]);
        let audience = Audience::Nodes { listening: Rc::clone(&listening), lost: Vec::new() };
        let carrier = Carrier::Coap;
        let flight =
            Flight { from, to, gateway, carrier, audience, bytes, pdus: 1, block: None, passed: None, copy: false };
        self.hand_over(gateway, load, Way::Down(&listening), flight);
    }

    /// Nodes that listen to an address. Group membership is looked up anew at every control message, which also begins a
    /// new train of segments; the chunks of a train go to the same nodes.
    fn listening(&mut self, gateway: usize, to: Addr, data: bool) -> Rc<[u16]> {
        if let Some(node) = words::node(to) {
            let here = node.index() < self.nodes.len();
            return if here { Rc::new([node.index() as u16]) } else { Rc::new([]) };
        }
        if let (true, Some((group, nodes))) = (data, &self.gateways[gateway].group)
            && *group == to
        {
            return Rc::clone(nodes);
        }
        let members = self.nodes.iter().enumerate().filter(|(_, h)| h.node().is_some_and(|n| n.listens_to(to)));
        let nodes: Rc<[u16]> = members.map(|(i, _)| i as u16).collect();
        self.air.begin_train(gateway, &nodes);
        self.gateways[gateway].group = Some((to, Rc::clone(&nodes)));
        nodes
    }

    /// A message arrives at the ports of its receivers.
    pub(crate) fn arrive(&mut self, flight: u32) {
        let Some(mut flight) = self.flights.take(flight) else { return };
        let message = if flight.passed.is_none() { self.interposed(&flight) } else { None };
        match flight.audience {
            Audience::Gateway(gateway) => self.arrive_at_gateway(gateway, &mut flight, message.as_ref()),
            Audience::Nodes { ref listening, ref lost } => {
                let (listening, lost) = (Rc::clone(listening), lost.clone());
                for &node in listening.iter().filter(|n| lost.is_empty() || !lost.contains(n)) {
                    self.arrive_at_node(usize::from(node), &mut flight, message.as_ref());
                }
            }
        }
        self.spend(flight.bytes);
    }

    /// Keeps the buffer of a message that has landed for the next one.
    fn spend(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < 256 {
            self.spare.push(buffer);
        }
    }

    /// The message decoded for the interposer, if a rule may act on it.
    fn interposed(&self, flight: &Flight) -> Option<AirMessage> {
        if self.interposer.is_idle() {
            return None;
        }
        let (kind, block, chunk) = match flight.carrier {
            Carrier::Mesh => classify_access(&flight.bytes, flight.block),
            Carrier::Coap => {
                let (kind, block) = classify_coap(&flight.bytes);
                (kind, block, None)
            }
        };
        let message = AirMessage {
            from: flight.from,
            carrier: flight.carrier,
            bytes: flight.bytes.as_slice().into(),
            kind,
            block,
            chunk,
        };
        self.interposer.acts_on(&message).then_some(message)
    }

    fn decide(&mut self, message: Option<&AirMessage>, receiver: Party) -> Option<Decision> {
        let message = message?;
        let sender = match message.from {
            Party::Node(id) => self.nodes.get(id.index()),
            Party::Gateway(_) | Party::AnyNode | Party::AnyGateway => None,
        };
        let trial_started = sender.and_then(|host| host.trial_started());
        self.interposer.decide(self.now, message, receiver, trial_started)
    }

    /// Whom an interposition is about: the node at either end.
    fn party_about(&self, message: &AirMessage, receiver: Party) -> About {
        match (message.from, receiver) {
            (Party::Node(id), _) | (_, Party::Node(id)) => About::Node(id),
            (Party::Gateway(id), _) | (_, Party::Gateway(id)) => About::Gateway(id),
            _ => About::Rack,
        }
    }

    /// Carries a decision out: events now, deliveries now or later. `sole` is the receiver as an audience.
    fn carry_decision(
        &mut self,
        decision: Decision,
        flight: &Flight,
        message: &AirMessage,
        receiver: Party,
        sole: &Audience,
    ) {
        let about = self.party_about(message, receiver);
        for fact in decision.records {
            self.note(about, Witness::Radio, fact);
        }
        for Delivery { delay, bytes, record, copy } in decision.deliveries {
            let passed = Flight {
                from: flight.from,
                to: flight.to,
                gateway: flight.gateway,
                carrier: flight.carrier,
                audience: sole.clone(),
                bytes: bytes.to_vec(),
                pdus: flight.pdus,
                block: flight.block,
                passed: Some(record),
                copy,
            };
            self.launch(self.now + delay, passed);
        }
    }

    /// Writes down what the interposer recorded for this arrival.
    fn note_passed(&mut self, flight: &mut Flight, receiver: Party) {
        if let Some(fact) = flight.passed.as_mut().and_then(Option::take) {
            let about = match (flight.from, receiver) {
                (Party::Node(id), _) | (_, Party::Node(id)) => About::Node(id),
                _ => About::Rack,
            };
            self.note(about, Witness::Radio, fact);
        }
    }

    fn arrive_at_node(&mut self, node: usize, flight: &mut Flight, message: Option<&AirMessage>) {
        let receiver = Party::Node(self.nodes[node].spec.id);
        if let (Some(message), Some(decision)) = (message, self.decide(message, receiver)) {
            let sole = Audience::Nodes { listening: Rc::new([node as u16]), lost: Vec::new() };
            self.carry_decision(decision, flight, message, receiver, &sole);
            return;
        }
        self.note_passed(flight, receiver);
        if flight.replayed() {
            return;
        }
        let now = words::instant(self.now);
        let from = match flight.from {
            Party::Gateway(id) => Addr(id.unicast()),
            Party::Node(id) => words::addr(id),
            Party::AnyNode | Party::AnyGateway => return,
        };
        let budget = self.nodes[node].budget;
        let received = Received { ttl_hops: budget.hops, rssi_dbm: budget.rssi_dbm };
        let (to, carrier, bytes) = (flight.to, flight.carrier, &flight.bytes);
        self.with_node(node, |running, board| match carrier {
            Carrier::Mesh => running.on_access(now, from, to, received, bytes, board),
            Carrier::Coap => running.on_coap(now, from, bytes, board),
        });
    }

    fn arrive_at_gateway(&mut self, gateway: usize, flight: &mut Flight, message: Option<&AirMessage>) {
        let receiver = Party::Gateway(self.gateways[gateway].id);
        if let (Some(message), Some(decision)) = (message, self.decide(message, receiver)) {
            self.carry_decision(decision, flight, message, receiver, &Audience::Gateway(gateway));
            return;
        }
        self.note_passed(flight, receiver);
        if flight.replayed() {
            return;
        }
        let Party::Node(from) = flight.from else { return };
        let now = words::instant(self.now);
        let host = &mut self.gateways[gateway];
        if let Some(running) = &mut host.gateway {
            match flight.carrier {
                Carrier::Mesh => running.on_access(now, words::addr(from), flight.to, &flight.bytes),
                Carrier::Coap => running.on_coap(now, words::addr(from), &flight.bytes),
            }
            self.touch_gateway(gateway);
        }
    }
}
