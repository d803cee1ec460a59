//! The full-stack air: every access message passes through a real stack of the product at its sender and at each receiver,
//! PDU by PDU, encrypted, segmented, relayed, acknowledged and lost one by one.
//!
//! Nodes stand in layers around the gateways, a layer per hop of their link: who is in the same or the next layer hears a
//! PDU, one mean relay time later, unless the link loses it. A node relays where a further layer depends on its own. What
//! comes out at a receiver is compared with what was handed over, octet by octet; anything else is a message missed. There
//! are no collisions here, and datagrams go over the link level. It is for benches, not for buildings.

mod station;

use crate::air_level::{Air, AirReport, Building, Handed, Landing, Load, Missed, Way};
use crate::link_air::{HOP, loss_threshold};
use crate::random::{Purpose, Stream};
use hil_model::{NodeId, Span, Time};
use mk_mesh::{Bearer, BearerKind, Destination, Pacing};
use mk_wire::{AccessMessage, Addr};
use rack_witness::words;
use station::{Station, keys};
use std::collections::BTreeMap;

/// Nodes of a rack that runs full stacks, at most: every PDU costs every neighbour a decryption.
pub const MOST_NODES: usize = 128;
/// Messages that wait for a place in their sender's stack, at most.
const MOST_WAITING: usize = 1_024;
/// Rounds of one instant; more means that two stacks talk without end.
const MOST_ROUNDS: usize = 100_000;
/// What may still be on its way when a message has left its sender's stack: repetitions of its last PDU.
const REPETITIONS: Span = Span::millis(45);
/// Streams of losses of this air, apart from those of the link level.
const LOSS_ENTITY: u64 = 0x5354_0000_0000_0000;

/// A message that has not landed.
#[derive(Debug)]
struct Outstanding {
    flight: u32,
    from: usize,
    to: Addr,
    bytes: Vec<u8>,
    /// Stations that listen, and whether they have it.
    receivers: Vec<(usize, bool)>,
    down: bool,
    data: bool,
    /// When the last of them got it.
    heard: Option<Time>,
    /// When it had left its sender's stack.
    left: Option<Time>,
}

/// The air with its stations: gateways first, then nodes in the order of the fleet.
#[derive(Debug)]
pub struct FullStack {
    /// Carries datagrams.
    link: Box<dyn Air>,
    stations: Vec<Station>,
    gateways: usize,
    throttle: Vec<u16>,
    /// Overrides the loss of the throttle's table.
    loss: Option<u32>,
    losses: Vec<Stream>,
    flying: BTreeMap<(Time, u64), (usize, Bearer)>,
    order: u64,
    outstanding: Vec<Outstanding>,
    report: AirReport,
}

impl FullStack {
    /// The air of a building; `link` carries what is not on the mesh.
    pub fn new(building: &Building, link: Box<dyn Air>) -> Self {
        let gateways = building.gateways.len();
        let deepest = building.budgets.iter().map(|budget| budget.hops).max().unwrap_or(1);
        let keys = keys(building.seed);
        let mut addresses: Vec<(Addr, u8, i8)> =
            building.gateways.iter().map(|(id, _)| (Addr(id.unicast()), 0, 0)).collect();
        addresses.extend(
            (1_u16..).zip(&building.budgets).map(|(n, budget)| (words::addr(NodeId(n)), budget.hops, budget.rssi_dbm)),
        );
        let station = |(address, layer, rssi)| Station::new(&keys, address, layer, rssi, layer > 0 && layer < deepest);
        let mut stations: Vec<Station> = addresses.into_iter().map(station).collect();
        for gateway in stations.iter_mut().take(gateways) {
            // Nothing can be lost in a first life.
            let _ = gateway.live(Time::ZERO, Some(0));
        }
        let losses = (0..stations.len() as u64)
            .map(|station| Stream::new(building.seed, Purpose::Loss, LOSS_ENTITY | station))
            .collect();
        let throttle = building.gateways.iter().map(|(_, throttle)| *throttle).collect();
        Self {
            link,
            stations,
            gateways,
            throttle,
            loss: None,
            losses,
            flying: BTreeMap::new(),
            order: 0,
            outstanding: Vec::new(),
            report: AirReport::default(),
        }
    }

    /// Another loss than the throttle's, in permille of the receptions.
    #[cfg(test)]
    pub fn with_loss(mut self, permille: u32) -> Self {
        self.loss = Some(u32::MAX / 1_000 * permille);
        self
    }

    /// All gateways share one channel: the busiest decides.
    fn threshold(&self) -> u32 {
        self.loss.unwrap_or_else(|| loss_threshold(self.throttle.iter().copied().max().unwrap_or(0)))
    }

    fn receivers(&self, way: Way<'_>, gateway: usize) -> Vec<(usize, bool)> {
        match way {
            Way::Down(nodes) => nodes.iter().map(|&node| (self.gateways + usize::from(node), false)).collect(),
            Way::Up(_) => vec![(gateway, false)],
        }
    }

    /// Puts a PDU on the air: everybody in the same or a neighbouring layer may hear it.
    fn broadcast(&mut self, now: Time, from: usize, bearer: &Bearer) {
        let data = self.outstanding.iter().any(|o| o.from == from && o.data && o.left.is_none());
        let count = if data { &mut self.report.data_pdus } else { &mut self.report.other_pdus };
        *count += 1;
        self.report.octets += bearer.octets.len() as u64;
        let (threshold, layer) = (self.threshold(), self.stations[from].layer);
        for to in 0..self.stations.len() {
            if to == from || self.stations[to].layer.abs_diff(layer) > 1 || !self.stations[to].runs() {
                continue;
            }
            if (self.losses[to].next() >> 32) < u64::from(threshold) {
                self.report.lost += 1;
                continue;
            }
            self.order += 1;
            self.flying.insert((now + HOP, self.order), (to, bearer.clone()));
        }
    }

    /// Everything that is due at this instant.
    fn go_on(&mut self, now: Time, landings: &mut Vec<Landing>) {
        for _ in 0..MOST_ROUNDS {
            self.deliver(now);
            let due: Vec<usize> = (0..self.stations.len()).filter(|at| self.stations[*at].due(now)).collect();
            for &at in &due {
                for bearer in self.stations[at].pump(now) {
                    self.broadcast(now, at, &bearer);
                }
                self.left(now, at);
            }
            let more = self.flying.first_key_value().is_some_and(|((at, _), _)| *at <= now);
            if due.is_empty() && !more {
                break;
            }
        }
        self.land(now, landings);
    }

    /// PDUs arrive, and with some of them messages.
    fn deliver(&mut self, now: Time) {
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let (at, bearer) = entry.remove();
            let heard = self.stations[at].hear(now, &bearer);
            self.report.refused += u64::from(bearer.kind == BearerKind::Message && !heard);
            while let Some((from, to, bytes)) = self.stations[at].fetch() {
                let from = self.stations.iter().position(|station| station.address == from);
                let mine = self.outstanding.iter_mut().find_map(|o| {
                    let same = Some(o.from) == from && o.to == to && o.bytes == bytes;
                    let place = o.receivers.iter_mut().find(|(station, has)| same && *station == at && !has)?;
                    Some((&mut o.heard, place))
                });
                if let Some((heard, (_, has))) = mine {
                    (*heard, *has) = (Some(now), true);
                }
            }
        }
    }

    /// Messages leave a stack in the order they came: those that it does not hold any more have left.
    fn left(&mut self, now: Time, at: usize) {
        let mut done: Vec<Addr> = Vec::new();
        for place in 0..self.outstanding.len() {
            let (from, to) = (self.outstanding[place].from, self.outstanding[place].to);
            if from != at || done.contains(&to) {
                continue;
            }
            done.push(to);
            let here = self.stations[at].holds(to);
            let waiting = self.outstanding.iter().filter(|o| o.from == at && o.to == to && o.left.is_none()).count();
            let gone = waiting.saturating_sub(here);
            let same = self.outstanding.iter_mut().filter(|o| o.from == at && o.to == to && o.left.is_none());
            same.take(gone).for_each(|o| o.left = Some(now));
        }
    }

    /// When nothing of a message can be on its way any more.
    fn over(&self, o: &Outstanding) -> Option<Time> {
        let deepest = o.receivers.iter().map(|(at, _)| self.stations[*at].layer).max().unwrap_or(0);
        let hops = u64::from(deepest.max(self.stations[o.from].layer).max(1));
        let repetitions = if o.data { Span::ZERO } else { REPETITIONS };
        o.left.map(|left| left + HOP.times(hops) + repetitions + Span::micros(1))
    }

    /// Messages that all have, or that nobody else can get any more, land; those to one receiver in their order.
    fn land(&mut self, now: Time, landings: &mut Vec<Landing>) {
        let mut place = 0;
        let mut held: Vec<(usize, Addr)> = Vec::new();
        while let Some(o) = self.outstanding.get(place) {
            let complete = o.receivers.iter().all(|(_, has)| *has);
            let over = self.over(o).is_some_and(|over| over <= now);
            let pair = (o.from, o.to);
            if held.contains(&pair) || !(complete || over) {
                held.push(pair);
                place += 1;
                continue;
            }
            let o = self.outstanding.remove(place);
            let missing = o.receivers.iter().filter(|(_, has)| !has);
            let lost: Vec<u16> = missing.map(|(at, _)| at.saturating_sub(self.gateways) as u16).collect();
            let missed = match lost.len() {
                0 => Missed::Nobody,
                n if n == o.receivers.len() => Missed::Everybody,
                _ if o.down => Missed::Some(lost),
                _ => Missed::Everybody,
            };
            landings.push(Landing { flight: o.flight, at: o.heard.unwrap_or(now).max(now), missed });
        }
    }
}

impl Air for FullStack {
    fn set_throttle(&mut self, gateway: usize, permille: u16) {
        self.link.set_throttle(gateway, permille);
        if let Some(throttle) = self.throttle.get_mut(gateway) {
            *throttle = permille;
        }
    }

    fn begin_train(&mut self, gateway: usize, nodes: &[u16]) {
        self.link.begin_train(gateway, nodes);
    }

    fn carry(&mut self, now: Time, message: &Handed<'_>, landings: &mut Vec<Landing>) {
        let (pacing, data) = match message.load {
            Load::Datagram { .. } => return self.link.carry(now, message, landings),
            Load::Access { .. } => (Pacing::Control, false),
            Load::Train { spacing, .. } => (Pacing::Data { spacing: words::duration(spacing) }, true),
        };
        let (from, down) = match message.way {
            Way::Down(_) => (message.gateway, true),
            Way::Up(node) => (self.gateways + usize::from(node), false),
        };
        // Configuration is between a node and whoever holds its device key.
        let is_config = matches!(AccessMessage::decode(message.bytes), Ok(AccessMessage::Config(_)));
        let usual = if is_config { Destination::device(message.to) } else { Destination::application(message.to) };
        self.report.messages += 1;
        let receivers = self.receivers(message.way, message.gateway);
        let taken = self.stations[from].send(now, Destination { pacing, ..usual }, message.bytes);
        let left = (!taken).then_some(now);
        let (flight, to, bytes) = (message.flight, message.to, message.bytes.to_vec());
        self.outstanding.push(Outstanding { flight, from, to, bytes, receivers, down, data, heard: None, left });
        self.go_on(now, landings);
    }

    fn follows_lives(&self) -> bool {
        true
    }

    fn lives(&mut self, now: Time, lives: &[Option<u32>]) {
        for (node, life) in lives.iter().enumerate() {
            let at = self.gateways + node;
            if self.stations[at].live(now, *life) {
                // What was in its RAM is gone.
                self.outstanding
                    .iter_mut()
                    .filter(|o| o.from == at && o.left.is_none())
                    .for_each(|o| o.left = Some(now));
            }
        }
    }

    fn report(&self) -> Option<AirReport> {
        Some(self.report)
    }

    fn next_wakeup(&self) -> Option<Time> {
        let flying = self.flying.first_key_value().map(|((at, _), _)| *at);
        let stations = self.stations.iter().filter_map(Station::wake).min();
        let over = self.outstanding.iter().filter_map(|o| self.over(o)).min();
        [flying, stations, over, self.link.next_wakeup()].into_iter().flatten().min()
    }

    fn on_wakeup(&mut self, now: Time, landings: &mut Vec<Landing>) {
        if self.link.next_wakeup().is_some_and(|at| at <= now) {
            self.link.on_wakeup(now, landings);
        }
        self.go_on(now, landings);
    }
}

#[cfg(test)]
mod tests;
