//! The way out: from an access message to PDUs for the bearer, with their repetitions, acknowledgements and what is relayed.

use super::{BEACON_INTERVAL, Repeat, Stack};
use crate::crypto::Mic;
use crate::incoming::AckDue;
use crate::keys::{DeviceKeys, KeyUse};
use crate::lower::{Lower, MAX_UPPER, SEGMENT, SegmentHeader, Transport, seq_zero};
use crate::network::{self, Header, NetworkPdu, Pdu};
use crate::outgoing::{Destination, End, Flight, LongMessage, Pacing, SHORT_ACCESS, SendError, ShortMessage, conflict};
use crate::states::{Transmit, ttl_allowed};
use crate::upper::{self, Security};
use heapless::{Deque, Vec};
use mk_wire::Addr;
use mk_wire::time::{Duration, Instant};

/// Lateness that is made up for on a bearer without air to share.
const MADE_UP: Duration = Duration::from_millis(10);
/// Control PDUs that wait at most.
const CONTROLS: usize = 8;
/// Relayed PDUs that wait at most; more are dropped, as other relays have them too.
const RELAYS: usize = 16;
/// PDUs that are to be repeated at most; more are sent once.
const REPEATS: usize = 16;

/// Where a PDU goes on the advertising bearer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BearerKind {
    /// Mesh message (AD type 0x2A).
    Message,
    /// Mesh beacon (AD type 0x2B).
    Beacon,
}

/// Octets for the advertising bearer, to be sent once: the stack repeats by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bearer {
    /// What it is.
    pub kind: BearerKind,
    /// Its octets, at most 29.
    pub octets: Pdu,
}

/// A control message that waits for its sequence number.
#[derive(Clone, Debug)]
struct Control {
    to: Addr,
    ttl: u8,
    transport: Transport,
    /// Sends besides those of the Network Transmit state.
    extra: u8,
}

/// What waits below the messages.
#[derive(Debug)]
pub(super) struct Queue {
    controls: Deque<Control, CONTROLS>,
    relays: Deque<Pdu, RELAYS>,
    repeats: Vec<Repeat, REPEATS>,
    /// Not before this time may a new PDU of a message leave.
    clear_at: Instant,
    order: u32,
}

impl Queue {
    pub const fn new(now: Instant) -> Self {
        Queue { controls: Deque::new(), relays: Deque::new(), repeats: Vec::new(), clear_at: now, order: 0 }
    }

    fn repeat(&mut self, now: Instant, pdu: &Pdu, transmit: Transmit, extra: u8) {
        let left = (transmit.sends() - 1).saturating_add(extra);
        if left > 0 {
            let interval = transmit.interval();
            // Full: it was sent once.
            let _ = self.repeats.push(Repeat { due: now + interval, left, interval, pdu: pdu.clone() });
        }
    }

    fn due_repeat(&mut self, now: Instant) -> Option<Pdu> {
        let at = (0..self.repeats.len()).min_by_key(|at| self.repeats[*at].due)?;
        let repeat = &mut self.repeats[at];
        if repeat.due > now {
            return None;
        }
        repeat.left -= 1;
        repeat.due = now + repeat.interval;
        if repeat.left > 0 {
            return Some(repeat.pdu.clone());
        }
        Some(self.repeats.swap_remove(at).pdu)
    }
}

/// Which message may send next.
#[derive(Clone, Copy)]
enum Turn {
    Long(usize),
    Short(usize),
}

impl<D: DeviceKeys, const IN: usize, const OUT: usize, const PEERS: usize> Stack<D, IN, OUT, PEERS> {
    /// Takes an access message to be sent.
    ///
    /// # Errors
    /// See [`SendError`]; nothing is sent then.
    pub fn send(&mut self, now: Instant, destination: Destination, access: &[u8]) -> Result<(), SendError> {
        let to = destination.to;
        // A text that the long MIC does not leave room for gets the short one.
        if access.is_empty() || access.len() > MAX_UPPER - Mic::Short.len() {
            return Err(SendError::Length(access.len()));
        }
        if to == Addr::UNASSIGNED || to.is_virtual() || to == self.address {
            return Err(SendError::Destination(to));
        }
        let ttl = match destination.ttl {
            0xFF => self.states.default_ttl,
            ttl if ttl_allowed(ttl) => ttl,
            ttl => return Err(SendError::Ttl(ttl)),
        };
        if destination.key == KeyUse::Device && self.devices.device_key(to).is_none() {
            return Err(SendError::NoKey(to));
        }
        let order = self.queue.order;
        if access.len() <= SHORT_ACCESS {
            let access = Vec::from_slice(access).map_err(|_| SendError::Length(access.len()))?;
            let message = ShortMessage { order, destination, ttl, due: now, access };
            self.short.push(message).map_err(|_| SendError::Full)?;
        } else {
            let slot = self.long.iter_mut().find(|slot| slot.message.is_none()).ok_or(SendError::Full)?;
            let place = slot.buffer.get_mut(..access.len()).ok_or(SendError::Length(access.len()))?;
            place.copy_from_slice(access);
            slot.message = Some(LongMessage { order, destination, ttl, access: access.len(), due: now, flight: None });
        }
        self.queue.order = order.wrapping_add(1);
        Ok(())
    }

    /// Can a message of this length be taken now?
    #[must_use]
    pub fn has_room(&self, access_len: usize) -> bool {
        if access_len <= SHORT_ACCESS {
            !self.short.is_full()
        } else {
            self.long.iter().any(|slot| slot.message.is_none())
        }
    }

    /// Messages to this receiver that were taken and are still here: not sent to the end, or not acknowledged.
    #[must_use]
    pub fn pending(&self, to: Addr) -> usize {
        let long = self.long.iter().filter_map(|slot| slot.message.as_ref()).map(|message| message.destination.to);
        let short = self.short.iter().map(|message| message.destination.to);
        long.chain(short).filter(|destination| *destination == to).count()
    }

    /// Sends a heartbeat. False if too much waits already.
    pub fn send_heartbeat(&mut self, to: Addr, ttl: u8, features: u16) -> bool {
        let ttl = ttl & network::MAX_TTL;
        let Some(transport) = (Lower::Heartbeat { initial_ttl: ttl, features }).write() else { return false };
        self.queue.controls.push_back(Control { to, ttl, transport, extra: 0 }).is_ok()
    }

    pub(super) fn queue_ack(&mut self, ack: &AckDue) {
        let lower = Lower::Ack { on_behalf: false, seq_zero: ack.seq_zero, segments: ack.segments };
        // To a neighbour that asked for no relaying, the answer needs none either.
        let ttl = if ack.ttl == 0 { 0 } else { self.states.default_ttl };
        let receiver = &self.states.sar_receiver;
        let extra = if ack.last > receiver.segments_threshold { receiver.ack_retransmissions } else { 0 };
        if let Some(transport) = lower.write() {
            // Full: the sender will repeat its segments.
            let _ = self.queue.controls.push_back(Control { to: ack.to, ttl, transport, extra });
        }
    }

    pub(super) fn relay(&mut self, pdu: &NetworkPdu) {
        let header = &pdu.header;
        if !self.states.relay || header.ttl < 2 || header.dst == self.address {
            return;
        }
        let header = Header { ttl: header.ttl - 1, ..*header };
        if let Ok(sealed) = network::seal(&self.network, pdu.iv_index, &header, &pdu.transport) {
            // Full: other relays have it.
            let _ = self.queue.relays.push_back(sealed);
        }
    }

    pub(super) fn sending_segments(&self) -> bool {
        self.long.iter().any(|slot| slot.message.as_ref().is_some_and(|message| message.flight.is_some()))
    }

    pub(super) fn nothing_to_send(&self) -> bool {
        let queue = &self.queue;
        let below = queue.controls.is_empty() && queue.relays.is_empty() && queue.repeats.is_empty();
        below && self.short.is_empty() && self.long.iter().all(|slot| slot.message.is_none())
    }

    /// When something may be sent next.
    pub(super) fn next_sending(&self) -> Option<Instant> {
        let queue = &self.queue;
        let at_once = Instant::from_ticks(0);
        let relay = (!queue.relays.is_empty()).then_some(at_once);
        let repeat = queue.repeats.iter().map(|repeat| repeat.due).min();
        if !self.sequence.ready() {
            // Whoever runs the stack has to keep a record first; then it comes back.
            return relay.into_iter().chain(repeat).min();
        }
        let control = (!queue.controls.is_empty()).then_some(at_once);
        let messages = self.turns().map(|(due, _, turn)| match turn {
            Turn::Long(at) if !self.has_segment(at) => due,
            Turn::Long(_) | Turn::Short(_) => due.max(queue.clear_at),
        });
        [relay, repeat, control, messages.min()].into_iter().flatten().min()
    }

    /// Gives the next PDU for the bearer, as long as there is one that is due.
    pub fn poll_pdu(&mut self, now: Instant) -> Option<Bearer> {
        self.tick(now);
        let message = |octets| Bearer { kind: BearerKind::Message, octets };
        if let Some(pdu) = self.queue.due_repeat(now) {
            return Some(message(pdu));
        }
        if let Some(pdu) = self.next_control(now) {
            return Some(message(pdu));
        }
        if let Some(pdu) = self.queue.relays.pop_front() {
            self.queue.repeat(now, &pdu, self.states.relay_retransmit, 0);
            return Some(message(pdu));
        }
        if let Some(pdu) = self.next_of_messages(now) {
            return Some(message(pdu));
        }
        self.due_beacon(now)
    }

    /// What time alone does.
    fn tick(&mut self, now: Instant) {
        while !self.queue.controls.is_full() {
            let Some(ack) = self.inbox.poll_ack(now) else { break };
            self.queue_ack(&ack);
        }
        let sending = self.sending_segments();
        let change = self.iv.tick(now, self.sequence.next(), sending);
        self.follow(change);
        if !sending {
            let change = self.iv.idle(now);
            self.follow(change);
        }
    }

    fn next_control(&mut self, now: Instant) -> Option<Pdu> {
        if !self.sequence.ready() {
            return None;
        }
        let Control { to, ttl, transport, extra } = self.queue.controls.pop_front()?;
        let seq = self.sequence.take()?;
        self.originate(now, true, (to, ttl), seq, self.iv.transmit(), &transport, Some(extra))
    }

    /// Seals a PDU of the stack's own; `repeated` says how many more repetitions than usual, `None` that there are none.
    #[expect(clippy::too_many_arguments, reason = "the fields of one PDU")]
    fn originate(
        &mut self,
        now: Instant,
        control: bool,
        (dst, ttl): (Addr, u8),
        seq: u32,
        iv_index: u32,
        transport: &[u8],
        repeated: Option<u8>,
    ) -> Option<Pdu> {
        let header = Header { control, ttl, seq, src: self.address, dst };
        // Destination, time to live and length were looked at when the message was taken.
        let pdu = network::seal(&self.network, iv_index, &header, transport).ok()?;
        if let Some(extra) = repeated {
            self.queue.repeat(now, &pdu, self.states.network_transmit, extra);
        }
        Some(pdu)
    }

    /// Messages that may send or decide now or later: not those that wait for an earlier one.
    fn turns(&self) -> impl Iterator<Item = (Instant, u32, Turn)> + '_ {
        let all = move || {
            let long = self.long.iter().enumerate().filter_map(|(at, slot)| {
                let message = slot.message.as_ref()?;
                Some((message.due, message.order, Turn::Long(at), (message.destination.to, true)))
            });
            let short =
                self.short.iter().enumerate().map(|(at, message)| {
                    (message.due, message.order, Turn::Short(at), (message.destination.to, false))
                });
            long.chain(short)
        };
        let age = move |order: u32| self.queue.order.wrapping_sub(order);
        all()
            .filter(move |(_, order, _, what)| {
                !all().any(|(_, other, _, before)| age(other) > age(*order) && conflict(before, *what))
            })
            .map(|(due, order, turn, _)| (due, order, turn))
    }

    fn has_segment(&self, at: usize) -> bool {
        let message = self.long.get(at).and_then(|slot| slot.message.as_ref());
        message.is_some_and(|message| message.flight.is_none_or(|flight| flight.todo != 0))
    }

    fn next_of_messages(&mut self, now: Instant) -> Option<Pdu> {
        // Every turn sends a PDU, begins a round or ends a message: the bound is never reached.
        for _ in 0..2 * (OUT + super::SHORT_MESSAGES) {
            if !self.sequence.ready() {
                return None;
            }
            let clear = self.queue.clear_at <= now;
            let ready = self.turns().filter(|(due, _, turn)| {
                let decision = matches!(turn, Turn::Long(at) if !self.has_segment(*at));
                *due <= now && (clear || decision)
            });
            let (_, _, turn) = ready.min_by_key(|(due, order, _)| (*due, self.queue.order.wrapping_sub(*order)))?;
            let pdu = match turn {
                Turn::Short(at) => self.send_short(now, at),
                Turn::Long(at) => self.send_long(now, at),
            };
            if pdu.is_some() {
                self.queue.clear_at = self.after(now, self.queue.clear_at, self.segment_interval());
                return pdu;
            }
        }
        None
    }

    /// When what was due at `due` and is sent `now` may be followed, `step` later. On a bearer that has no air to share a
    /// wake-up that comes late is made up for by the next ones, within [`MADE_UP`]; everywhere else a distance is a
    /// distance.
    fn after(&self, now: Instant, due: Instant, step: Duration) -> Instant {
        let earliest = Instant::from_ticks(now.as_ticks().saturating_sub(MADE_UP.as_ticks()));
        if self.segment_interval.is_some() { due.max(earliest) + step } else { now + step }
    }

    /// Least time between two PDUs of messages.
    fn segment_interval(&self) -> Duration {
        self.segment_interval.unwrap_or(self.states.sar_transmitter.segment_interval())
    }

    fn send_short(&mut self, now: Instant, at: usize) -> Option<Pdu> {
        let message = self.short.remove(at);
        let Destination { to, key, pacing, .. } = message.destination;
        let seq = self.sequence.take()?;
        let security = Security { key, mic: Mic::Short, seq, src: self.address, dst: to, iv_index: self.iv.transmit() };
        let mut upper = [0; SHORT_ACCESS + Mic::Short.len()];
        let upper = upper.get_mut(..message.access.len() + Mic::Short.len())?;
        upper.get_mut(..message.access.len())?.copy_from_slice(&message.access);
        let aid = self.encrypt(&security, to, upper)?;
        let transport = Lower::Access { aid, upper }.write()?;
        let repeated = matches!(pacing, Pacing::Control).then_some(0);
        self.originate(now, false, (to, message.ttl), seq, security.iv_index, &transport, repeated)
    }

    /// Encrypts a text; its key's identifier, if there is a key.
    fn encrypt(&self, security: &Security, peer: Addr, upper: &mut [u8]) -> Option<Option<u8>> {
        match security.key {
            KeyUse::Application => {
                upper::seal(&self.application.cipher, security, None, upper).then_some(Some(self.application.aid))
            }
            KeyUse::Device => {
                let key = self.devices.device_key(peer)?;
                upper::seal(&key.cipher, security, None, upper).then_some(None)
            }
        }
    }

    /// Begins a message's transfer: its first sequence number is known now, so its text is encrypted.
    fn begin_flight(&mut self, at: usize) -> Option<u32> {
        let message = self.long.get(at)?.message.as_ref()?;
        let (Destination { to, key, pacing, .. }, access) = (message.destination, message.access);
        let mic = if access + self.mic.len() <= MAX_UPPER { self.mic } else { Mic::Short };
        let (seq, iv_index) = (self.sequence.take()?, self.iv.transmit());
        let security = Security { key, mic, seq, src: self.address, dst: to, iv_index };
        let mut buffer = core::mem::replace(&mut self.long.get_mut(at)?.buffer, [0; MAX_UPPER]);
        let length = access + mic.len();
        let sealed = buffer.get_mut(..length).and_then(|upper| self.encrypt(&security, to, upper));
        let flight = Flight::new(&self.states, to, pacing, seq, iv_index, length);
        let slot = self.long.get_mut(at)?;
        slot.buffer = buffer;
        let message = slot.message.as_mut()?;
        if sealed.is_none() {
            // The device key is gone since the message was taken.
            slot.message = None;
            self.ended(to, End::Unacknowledged);
            return None;
        }
        message.flight = Some(flight);
        Some(seq)
    }

    /// The next segment of a message, or what follows when a wait is over.
    fn send_long(&mut self, now: Instant, at: usize) -> Option<Pdu> {
        let begun = self.long.get(at)?.message.as_ref()?.flight.is_some();
        let first = if begun { None } else { Some(self.begin_flight(at)?) };
        let states = self.states;
        let interval = self.segment_interval();
        let due = self.long.get(at)?.message.as_ref()?.due;
        let spaced = match self.long.get(at)?.message.as_ref()?.destination.pacing {
            Pacing::Control => interval,
            Pacing::Data { spacing } => spacing.max(interval),
        };
        let next = self.after(now, due, spaced);
        let slot = self.long.get_mut(at)?;
        let message = slot.message.as_mut()?;
        let flight = message.flight.as_mut()?;
        let Destination { to, key, pacing, .. } = message.destination;
        let ttl = message.ttl;
        let Some(segment) = flight.next_segment() else {
            if let Some(end) = flight.round_over(to) {
                slot.message = None;
                self.ended(to, end);
            }
            return None;
        };
        let wait = if flight.todo == 0 { flight.wait(&states, to, ttl) } else { Duration::from_millis(0) };
        message.due = if wait.is_zero() { next } else { next.max(now + wait) };
        let from = usize::from(segment) * SEGMENT;
        let data = slot.buffer.get(from..flight.upper.min(from + SEGMENT))?;
        let aid = match key {
            KeyUse::Application => Some(self.application.aid),
            KeyUse::Device => None,
        };
        let long_mic = flight.upper - message.access == Mic::Long.len();
        let header = SegmentHeader { aid, long_mic, seq_zero: seq_zero(flight.first), segment, last: flight.last };
        let transport = Lower::Segment { header, data }.write()?;
        let iv_index = flight.iv_index;
        let seq = match first {
            Some(seq) => seq,
            None => self.sequence.take()?,
        };
        let repeated = matches!(pacing, Pacing::Control).then_some(0);
        self.originate(now, false, (to, ttl), seq, iv_index, &transport, repeated)
    }

    fn due_beacon(&mut self, now: Instant) -> Option<Bearer> {
        let at = self.beacon_at?;
        if at > now {
            return None;
        }
        // The more others say it, the less this node has to.
        self.beacon_at = Some(now + BEACON_INTERVAL * (self.beacons_heard as u32 + 1));
        self.beacons_heard = 0;
        let octets = Pdu::from_slice(&self.iv.beacon().seal(&self.network)).ok()?;
        Some(Bearer { kind: BearerKind::Beacon, octets })
    }
}
