//! Messages on their way in: places for segmented ones, acknowledgement and discard timers, and those that are ready to be
//! handed up (section 12.4).

use crate::assembly::Assembly;
use crate::keys::KeyUse;
use crate::lower::{all_segments, seq_zero};
use crate::outgoing::SHORT_ACCESS;
use crate::replay::Stamp;
use heapless::{Deque, Vec};
use mk_wire::Addr;
use mk_wire::time::Instant;

/// Unsegmented messages that wait to be handed up at most.
const READY_SHORT: usize = 8;
/// Completed messages whose late segments are acknowledged again.
const REMEMBERED: usize = 8;
/// Messages of one source to one receiver that are collected at a time.
const PER_CONVERSATION: usize = 2;

/// A message for the models.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incoming<'a> {
    /// Sender.
    pub from: Addr,
    /// This node or one of its groups.
    pub to: Addr,
    /// Key under which it came.
    pub key: KeyUse,
    /// Time to live that was left.
    pub ttl: u8,
    /// Hops, for senders that use the same default TTL as this node: 1 is a neighbour.
    pub hops: u8,
    /// Strength of the PDU that completed it, in dBm: that of the neighbour, not of the sender.
    pub rssi_dbm: i8,
    /// The access message, opcode first.
    pub access: &'a [u8],
}

/// How a message was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reception {
    pub ttl: u8,
    pub hops: u8,
    pub rssi_dbm: i8,
}

/// A message that was unsegmented.
#[derive(Clone, Debug)]
pub(crate) struct ReadyShort {
    pub order: u32,
    pub from: Addr,
    pub to: Addr,
    pub key: KeyUse,
    pub reception: Reception,
    pub access: Vec<u8, SHORT_ACCESS>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Free,
    Collecting {
        discard_at: Instant,
        ack_at: Option<Instant>,
        ttl: u8,
    },
    Ready {
        order: u32,
        reception: Reception,
    },
    /// Handed up; free at the next call.
    Lent,
}

/// A place for a segmented message.
#[derive(Debug)]
pub(crate) struct Slot {
    pub assembly: Assembly,
    state: State,
}

/// A message that was completed.
#[derive(Clone, Copy, Debug)]
struct Completed {
    src: Addr,
    first: Stamp,
    last: u8,
    /// Not acknowledged again before.
    quiet_until: Instant,
}

/// An acknowledgement to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AckDue {
    pub to: Addr,
    /// Time to live of the segment that is acknowledged.
    pub ttl: u8,
    pub seq_zero: u16,
    pub segments: u32,
    pub last: u8,
}

/// Everything incoming.
#[derive(Debug)]
pub(crate) struct Inbox<const IN: usize> {
    slots: [Slot; IN],
    short: Deque<ReadyShort, READY_SHORT>,
    lent: Option<ReadyShort>,
    completed: Deque<Completed, REMEMBERED>,
    arrived: u32,
}

impl<const IN: usize> Inbox<IN> {
    pub const fn new() -> Self {
        Inbox {
            slots: [const { Slot { assembly: Assembly::empty(), state: State::Free } }; IN],
            short: Deque::new(),
            lent: None,
            completed: Deque::new(),
            arrived: 0,
        }
    }

    fn next_order(&mut self) -> u32 {
        self.arrived = self.arrived.wrapping_add(1);
        self.arrived
    }

    pub fn short_is_full(&self) -> bool {
        self.short.is_full()
    }

    /// Queues an unsegmented message. The caller has looked whether there is room.
    pub fn push_short(&mut self, mut message: ReadyShort) {
        message.order = self.next_order();
        // There is room: the caller asked.
        let _ = self.short.push_back(message);
    }

    /// The place where this message is being collected.
    pub fn find(&self, src: Addr, dst: Addr, iv_index: u32, first: u32) -> Option<usize> {
        self.slots.iter().position(|slot| {
            matches!(slot.state, State::Collecting { .. }) && slot.assembly.is_of(src, dst, iv_index, first)
        })
    }

    /// A place for a new message: a free one, unless its conversation has too many, of which the oldest then goes.
    pub fn place(&mut self, src: Addr, dst: Addr, first: Stamp) -> Option<usize> {
        let mut same = 0;
        let mut oldest: Option<(Stamp, usize)> = None;
        for (at, slot) in self.slots.iter().enumerate() {
            let conversation = slot.assembly.src() == src && slot.assembly.dst() == dst;
            if matches!(slot.state, State::Collecting { .. }) && conversation {
                same += 1;
                let stamp = Stamp { iv_index: slot.assembly.iv_index(), seq: slot.assembly.first_seq() };
                if oldest.is_none_or(|(old, _)| stamp < old) {
                    oldest = Some((stamp, at));
                }
            }
        }
        let free = self.slots.iter().position(|slot| matches!(slot.state, State::Free | State::Lent));
        match (oldest, free) {
            // A sender keeps to one message after another: the older one will not be finished any more.
            (Some((stamp, at)), _) if same >= PER_CONVERSATION => (stamp < first).then_some(at),
            (Some((stamp, at)), None) => (stamp < first).then_some(at),
            (_, free) => free,
        }
    }

    pub fn slot(&mut self, at: usize) -> &mut Slot {
        // Places are given out by this inbox only; the remainder keeps it total.
        &mut self.slots[at % IN]
    }

    pub fn free(&mut self, at: usize) {
        self.slot(at).state = State::Free;
    }

    /// New segments came, the message is not complete: timers start anew. Groups are not acknowledged.
    pub fn collecting(&mut self, at: usize, discard_at: Instant, ack_at: Option<Instant>, ttl: u8) {
        self.slot(at).state = State::Collecting { discard_at, ack_at, ttl };
    }

    /// A repeated segment came: an acknowledgement may have been lost.
    pub fn want_ack(&mut self, at: usize, when: Instant) {
        if let State::Collecting { ack_at, .. } = &mut self.slot(at).state
            && ack_at.is_none()
        {
            *ack_at = Some(when);
        }
    }

    pub fn ready(&mut self, at: usize, reception: Reception) {
        let order = self.next_order();
        self.slot(at).state = State::Ready { order, reception };
    }

    pub fn remember(&mut self, src: Addr, first: Stamp, last: u8, quiet_until: Instant) {
        if self.completed.is_full() {
            self.completed.pop_front();
        }
        // There is room now.
        let _ = self.completed.push_back(Completed { src, first, last, quiet_until });
    }

    /// A segment of a completed message: what to acknowledge, but not again before `quiet_until`.
    pub fn acknowledge_again(
        &mut self,
        now: Instant,
        src: Addr,
        first: Stamp,
        ttl: u8,
        quiet_until: Instant,
    ) -> Option<AckDue> {
        let known = self.completed.iter_mut().find(|known| known.src == src && known.first == first)?;
        if known.quiet_until > now {
            return None;
        }
        known.quiet_until = quiet_until;
        let last = known.last;
        Some(AckDue { to: src, ttl, seq_zero: seq_zero(first.seq), segments: all_segments(last), last })
    }

    /// Drops what waited too long for a segment, and gives an acknowledgement that is due.
    pub fn poll_ack(&mut self, now: Instant) -> Option<AckDue> {
        for slot in &mut self.slots {
            let State::Collecting { discard_at, ack_at, ttl } = &mut slot.state else { continue };
            if *discard_at <= now {
                slot.state = State::Free;
                continue;
            }
            if ack_at.is_some_and(|at| at <= now) {
                *ack_at = None;
                let assembly = &slot.assembly;
                return Some(AckDue {
                    to: assembly.src(),
                    ttl: *ttl,
                    seq_zero: seq_zero(assembly.first_seq()),
                    segments: assembly.received(),
                    last: assembly.last_segment().unwrap_or(0),
                });
            }
        }
        None
    }

    pub fn next_wakeup(&self) -> Option<Instant> {
        let timers = self.slots.iter().filter_map(|slot| match slot.state {
            State::Collecting { discard_at, ack_at, .. } => Some(ack_at.map_or(discard_at, |ack| ack.min(discard_at))),
            State::Free | State::Ready { .. } | State::Lent => None,
        });
        timers.min()
    }

    /// Is a message ready?
    pub fn has_message(&self) -> bool {
        !self.short.is_empty() || self.slots.iter().any(|slot| matches!(slot.state, State::Ready { .. }))
    }

    /// The message that has been ready longest; lent until the next call.
    pub fn pop(&mut self) -> Option<Incoming<'_>> {
        for slot in &mut self.slots {
            if matches!(slot.state, State::Lent) {
                slot.state = State::Free;
            }
        }
        let ready = self.slots.iter().enumerate().filter_map(|(at, slot)| match slot.state {
            State::Ready { order, reception } => Some((order, at, reception)),
            State::Free | State::Collecting { .. } | State::Lent => None,
        });
        let long = ready.max_by_key(|(order, ..)| self.arrived.wrapping_sub(*order));
        let short = self.short.front().map(|message| message.order);
        let age = |order: u32| self.arrived.wrapping_sub(order);
        match (long, short) {
            (Some((order, at, reception)), short) if short.is_none_or(|other| age(order) >= age(other)) => {
                let slot = self.slots.get_mut(at)?;
                slot.state = State::Lent;
                let assembly = &slot.assembly;
                Some(Incoming {
                    from: assembly.src(),
                    to: assembly.dst(),
                    key: assembly.key(),
                    ttl: reception.ttl,
                    hops: reception.hops,
                    rssi_dbm: reception.rssi_dbm,
                    access: assembly.access(),
                })
            }
            _ => {
                let message = self.lent.insert(self.short.pop_front()?);
                Some(Incoming {
                    from: message.from,
                    to: message.to,
                    key: message.key,
                    ttl: message.reception.ttl,
                    hops: message.reception.hops,
                    rssi_dbm: message.reception.rssi_dbm,
                    access: &message.access,
                })
            }
        }
    }
}
