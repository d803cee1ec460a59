//! The way in: a PDU from the bearer, up to a message for the models.

use super::{Event, MAX_BEACONS, Stack};
use crate::assembly::AssemblyError;
use crate::beacon::{Beacon, BeaconError};
use crate::crypto::Mic;
use crate::incoming::{AckDue, ReadyShort, Reception};
use crate::keys::{DeviceKeys, KeyUse};
use crate::lower::{Lower, LowerError, MAX_UNSEGMENTED, SegmentHeader, all_segments, seq_auth};
use crate::network::{self, NetworkError, NetworkPdu};
use crate::outgoing::{End, SHORT_ACCESS};
use crate::replay::{Refusal, Stamp};
use crate::upper::{self, Security};
use heapless::Vec;
use mk_wire::Addr;
use mk_wire::time::Instant;

/// The fixed group of all relays.
const ALL_RELAYS: Addr = Addr(0xFFFE);

/// What became of a PDU. Whether it was relayed as well is nobody's business up here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Not this network's, or not valid, or heard before.
    Network(NetworkError),
    /// The stack's own PDU, back over a relay.
    Own,
    /// For somebody else.
    NotForUs,
    /// A transport PDU that is not understood.
    Lower(LowerError),
    /// Old: refused by the replay list.
    Replayed,
    /// Of a source that the full replay list cannot take.
    Stranger,
    /// No place for it; a sender that waits for an acknowledgement will send it again.
    NoRoom,
    /// No key for it, or it does not verify, or its segments contradict each other.
    Upper(AssemblyError),
    /// A segment of a message that is not complete.
    Segment,
    /// A segment that was here before.
    SegmentAgain,
    /// A message is ready: [`Stack::poll_message`].
    Message,
    /// A Configuration message that these layers answered themselves.
    Configuration,
    /// An acknowledgement, or a heartbeat.
    Control,
}

impl<D: DeviceKeys, const IN: usize, const OUT: usize, const PEERS: usize> Stack<D, IN, OUT, PEERS> {
    /// Takes a PDU from the bearer. `listens` says of a group whether some model listens to it.
    pub fn on_pdu(&mut self, now: Instant, pdu: &[u8], rssi_dbm: i8, listens: &dyn Fn(Addr) -> bool) -> Outcome {
        let cache = &self.cache;
        let seen = |src, seq, iv_index| cache.contains(src, seq, iv_index);
        let pdu = match network::open_unless(&self.network, self.iv.index(), pdu, seen) {
            Ok(pdu) => pdu,
            Err(error) => return Outcome::Network(error),
        };
        let header = pdu.header;
        if header.src == self.address {
            return Outcome::Own;
        }
        self.cache.insert(header.src, header.seq, pdu.iv_index);
        self.relay(&pdu);
        let fixed = header.dst == Addr::ALL_NODES || (header.dst == ALL_RELAYS && self.states.relay);
        let mine = header.dst == self.address;
        if !mine && !fixed && (header.dst.is_unicast() || !listens(header.dst)) {
            return Outcome::NotForUs;
        }
        let hops = self.states.default_ttl.saturating_sub(header.ttl).saturating_add(1);
        let reception = Reception { ttl: header.ttl, hops, rssi_dbm };
        match Lower::parse(header.control, &pdu.transport) {
            Err(error) => Outcome::Lower(error),
            Ok(Lower::Segment { header: segment, data }) => self.on_segment(now, &pdu, reception, &segment, data),
            Ok(Lower::Access { aid, upper }) => self.on_access(now, &pdu, reception, aid, upper),
            Ok(Lower::Ack { seq_zero, segments, .. }) => match self.accept(&pdu) {
                Ok(()) if mine => {
                    self.on_ack(now, header.src, seq_zero, segments);
                    Outcome::Control
                }
                Ok(()) => Outcome::Control,
                Err(outcome) => outcome,
            },
            Ok(Lower::Heartbeat { initial_ttl, features }) => match self.accept(&pdu) {
                Ok(()) => {
                    let hops = initial_ttl.saturating_sub(header.ttl).saturating_add(1);
                    self.tell(Event::Heartbeat { from: header.src, hops, features });
                    Outcome::Control
                }
                Err(outcome) => outcome,
            },
        }
    }

    fn check(&self, pdu: &NetworkPdu) -> Result<Stamp, Outcome> {
        let stamp = Stamp { iv_index: pdu.iv_index, seq: pdu.header.seq };
        match self.replay.check(pdu.header.src, stamp) {
            Ok(()) => Ok(stamp),
            Err(Refusal::Replayed) => Err(Outcome::Replayed),
            Err(Refusal::Full) => Err(Outcome::Stranger),
        }
    }

    /// Accepts an unsegmented PDU, once.
    fn accept(&mut self, pdu: &NetworkPdu) -> Result<(), Outcome> {
        let stamp = self.check(pdu)?;
        if self.replay.accept(pdu.header.src, stamp, None) { Ok(()) } else { Err(Outcome::Stranger) }
    }

    fn on_access(
        &mut self,
        now: Instant,
        pdu: &NetworkPdu,
        reception: Reception,
        aid: Option<u8>,
        upper: &[u8],
    ) -> Outcome {
        if let Err(outcome) = self.check(pdu) {
            return outcome;
        }
        if self.inbox.short_is_full() {
            return Outcome::NoRoom;
        }
        let header = &pdu.header;
        let (cipher, key) = match aid {
            Some(aid) if aid == self.application.aid => (&self.application.cipher, KeyUse::Application),
            Some(_) => return Outcome::Upper(AssemblyError::NoKey),
            None => match self.devices.device_key(header.src) {
                Some(key) => (&key.cipher, KeyUse::Device),
                None => return Outcome::Upper(AssemblyError::NoKey),
            },
        };
        let Ok(mut text) = Vec::<u8, MAX_UNSEGMENTED>::from_slice(upper) else {
            return Outcome::Lower(LowerError::Length(upper.len()));
        };
        let security = Security {
            key,
            mic: Mic::Short,
            seq: header.seq,
            src: header.src,
            dst: header.dst,
            iv_index: pdu.iv_index,
        };
        let Some(length) = upper::open(cipher, &security, None, &mut text) else {
            return Outcome::Upper(AssemblyError::Mic);
        };
        if let Err(outcome) = self.accept(pdu) {
            return outcome;
        }
        let Some(Ok(access)) = text.get(..length).map(Vec::<u8, SHORT_ACCESS>::from_slice) else {
            return Outcome::Upper(AssemblyError::Length);
        };
        if self.configure(now, header.src, header.dst, key, &access) {
            return Outcome::Configuration;
        }
        self.inbox.push_short(ReadyShort { order: 0, from: header.src, to: header.dst, key, reception, access });
        Outcome::Message
    }

    fn on_segment(
        &mut self,
        now: Instant,
        pdu: &NetworkPdu,
        reception: Reception,
        segment: &SegmentHeader,
        data: &[u8],
    ) -> Outcome {
        let header = pdu.header;
        let first = match seq_auth(header.seq, segment.seq_zero) {
            Ok(seq) => Stamp { iv_index: pdu.iv_index, seq },
            Err(error) => return Outcome::Lower(error),
        };
        let ack_delay = self.states.sar_receiver.ack_delay(segment.last);
        let acknowledged = header.dst == self.address;
        let at = match self.inbox.find(header.src, header.dst, pdu.iv_index, first.seq) {
            Some(at) => {
                match self.inbox.slot(at).assembly.push_segment(pdu, segment, data) {
                    Ok(true) => {}
                    Ok(false) => {
                        if acknowledged {
                            self.inbox.want_ack(at, now + ack_delay);
                        }
                        return Outcome::SegmentAgain;
                    }
                    Err(error) => return Outcome::Upper(error),
                }
                at
            }
            None => match self.begin(now, pdu, first, ack_delay, acknowledged) {
                Ok(at) => at,
                Err(outcome) => return outcome,
            },
        };
        if !self.inbox.slot(at).assembly.is_complete() {
            let discard_at = now + self.states.sar_receiver.discard_timeout();
            self.inbox.collecting(at, discard_at, acknowledged.then_some(now + ack_delay), header.ttl);
            return Outcome::Segment;
        }
        self.complete(now, at, first, reception, acknowledged)
    }

    /// Finds a place for a message of which this is the first segment heard, if it is new.
    fn begin(
        &mut self,
        now: Instant,
        pdu: &NetworkPdu,
        first: Stamp,
        ack_delay: mk_wire::time::Duration,
        acknowledged: bool,
    ) -> Result<usize, Outcome> {
        let header = pdu.header;
        if self.replay.check_segmented(header.src, first).is_err() {
            let again = self.inbox.acknowledge_again(now, header.src, first, header.ttl, now + ack_delay);
            if let (Some(ack), true) = (again, acknowledged) {
                self.queue_ack(&ack);
                return Err(Outcome::SegmentAgain);
            }
            return Err(Outcome::Replayed);
        }
        self.check(pdu)?;
        let at = self.inbox.place(header.src, header.dst, first).ok_or(Outcome::NoRoom)?;
        match self.inbox.slot(at).assembly.restart(pdu) {
            Ok(()) => Ok(at),
            Err(error) => {
                self.inbox.free(at);
                Err(Outcome::Upper(error))
            }
        }
    }

    fn complete(&mut self, now: Instant, at: usize, first: Stamp, reception: Reception, acknowledged: bool) -> Outcome {
        let assembly = &self.inbox.slot(at).assembly;
        let (src, dst, last) = (assembly.src(), assembly.dst(), assembly.last_segment().unwrap_or(0));
        let newest = Stamp { iv_index: first.iv_index, seq: assembly.newest_seq() };
        if !self.replay.accept(src, newest, Some(first)) {
            self.inbox.free(at);
            return Outcome::Stranger;
        }
        if acknowledged {
            let quiet_until = now + self.states.sar_receiver.ack_delay(last);
            self.inbox.remember(src, first, last, quiet_until);
            let segments = all_segments(last);
            let seq_zero = crate::lower::seq_zero(first.seq);
            self.queue_ack(&AckDue { to: src, ttl: reception.ttl, seq_zero, segments, last });
        }
        let slot = self.inbox.slot(at);
        let key = slot.assembly.key();
        let opened = slot.assembly.open(&self.application, &self.devices, src).map(|access| {
            // What these layers answer themselves is short.
            Vec::<u8, SHORT_ACCESS>::from_slice(access).unwrap_or_default()
        });
        match opened {
            Err(error) => {
                self.inbox.free(at);
                Outcome::Upper(error)
            }
            Ok(access) if self.configure(now, src, dst, key, &access) => {
                self.inbox.free(at);
                Outcome::Configuration
            }
            Ok(_) => {
                self.inbox.ready(at, reception);
                Outcome::Message
            }
        }
    }

    fn on_ack(&mut self, now: Instant, from: Addr, seq_zero: u16, segments: u32) {
        let states = self.states;
        for slot in &mut self.long {
            let Some(message) = &mut slot.message else { continue };
            let Some(flight) = &mut message.flight else { continue };
            if message.destination.to != from || crate::lower::seq_zero(flight.first) != seq_zero {
                continue;
            }
            match flight.on_ack(&states, segments) {
                Ok(news) => {
                    // The last acknowledgement may still be on its way: give it the receiver's own delay.
                    let soon = now + states.sar_receiver.ack_delay(flight.last);
                    if news && flight.todo == 0 {
                        message.due = message.due.min(soon);
                    }
                }
                Err(end) => {
                    slot.message = None;
                    self.ended(from, end);
                }
            }
            return;
        }
    }

    pub(super) fn ended(&mut self, to: Addr, end: End) {
        if to.is_unicast() {
            self.tell(match end {
                End::Done => Event::Delivered { to },
                End::Unacknowledged => Event::Undelivered { to, refused: false },
                End::Refused => Event::Undelivered { to, refused: true },
            });
        }
    }

    /// Takes a beacon from the bearer.
    ///
    /// # Errors
    /// See [`BeaconError`].
    pub fn on_beacon(&mut self, now: Instant, octets: &[u8]) -> Result<Beacon, BeaconError> {
        let beacon = Beacon::open(&self.network, octets)?;
        self.beacons_heard = (self.beacons_heard + 1).min(MAX_BEACONS);
        let change = self.iv.on_beacon(now, &beacon, self.sending_segments());
        self.follow(change);
        Ok(beacon)
    }
}
