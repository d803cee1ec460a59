//! Messages that wait for their response delay or for the target to take them.
//!
//! Bounded: [`CAPACITY`] messages. When it is full the oldest *report* (heartbeat, application report, node report) makes
//! room, because another will come; an answer or a confirmation is never dropped for a report. With nothing but answers in
//! it the new message is dropped: whoever asked will ask again.

use heapless::Vec;
use mk_wire::{Addr, time::Instant};

use crate::settings::{Carrier, earliest};

/// Octets of the longest message: an access message, or a CoAP request with its options.
pub const MAX_MESSAGE: usize = 384;

/// Messages that can wait.
pub const CAPACITY: usize = 8;

/// A message on its way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// To whom.
    pub to: Addr,
    /// Time to live on the mesh; 0xFF for the node's default. Without meaning on Thread.
    pub ttl: u8,
    /// How it travels: [`Carrier::Mesh`] is an access message, [`Carrier::Thread`] a CoAP datagram.
    pub carrier: Carrier,
    /// Its octets.
    pub bytes: Vec<u8, MAX_MESSAGE>,
}

/// What a message is good for: decides who makes room, and what happens once it left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Periodic: another will come.
    Report,
    /// Answers a request, or asks for something.
    Answer,
    /// The answer to Update Apply: the reset waits for it.
    Farewell,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    purpose: Purpose,
    message: Outgoing,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Vec<Waiting, CAPACITY>,
    /// The message handed out last: lent to the caller, not copied once more.
    sent: Option<Waiting>,
}

impl Outbox {
    pub fn push(&mut self, due: Instant, purpose: Purpose, message: Outgoing) {
        if self.waiting.is_full() {
            let Some(oldest) = self.waiting.iter().position(|waiting| waiting.purpose == Purpose::Report) else {
                return;
            };
            self.waiting.remove(oldest);
        }
        // There is room now.
        let _ = self.waiting.push(Waiting { due, purpose, message });
    }

    /// The message that is due longest.
    pub fn pop(&mut self, now: Instant) -> Option<(&Outgoing, Purpose)> {
        let first = (0..self.waiting.len()).min_by_key(|i| self.waiting[*i].due)?;
        if self.waiting[first].due > now {
            return None;
        }
        let waiting = self.sent.insert(self.waiting.remove(first));
        Some((&waiting.message, waiting.purpose))
    }

    /// When the next message is due.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.waiting.iter().fold(None, |first, waiting| earliest(first, Some(waiting.due)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn message(tag: u8) -> Outgoing {
        Outgoing { to: Addr(1), ttl: 0xFF, carrier: Carrier::Mesh, bytes: Vec::from_slice(&[tag]).unwrap() }
    }

    fn at(ticks: u64) -> Instant {
        Instant::from_ticks(ticks)
    }

    fn tag(outbox: &mut Outbox, now: u64) -> Option<u8> {
        outbox.pop(at(now)).map(|(message, _)| message.bytes[0])
    }

    #[test]
    fn a_message_leaves_when_it_is_due_and_not_before() {
        let mut outbox = Outbox::default();
        outbox.push(at(20), Purpose::Answer, message(2));
        outbox.push(at(10), Purpose::Answer, message(1));
        assert_eq!(outbox.next_wakeup(), Some(at(10)));
        assert_eq!(tag(&mut outbox, 9), None);
        assert_eq!(tag(&mut outbox, 10), Some(1));
        assert_eq!(tag(&mut outbox, 19), None);
        assert_eq!(tag(&mut outbox, 20), Some(2));
        assert_eq!(outbox.next_wakeup(), None);
    }

    #[test]
    fn messages_due_together_leave_in_order() {
        let mut outbox = Outbox::default();
        for n in 0..3 {
            outbox.push(at(10), Purpose::Answer, message(n));
        }
        assert_eq!([0; 3].map(|_| tag(&mut outbox, 10).unwrap()), [0, 1, 2]);
    }

    #[test]
    fn a_full_outbox_gives_up_the_oldest_report_first_and_then_the_newcomer() {
        let mut outbox = Outbox::default();
        outbox.push(at(0), Purpose::Answer, message(0));
        outbox.push(at(0), Purpose::Report, message(1));
        for n in 2..CAPACITY as u8 {
            outbox.push(at(0), Purpose::Answer, message(n));
        }
        outbox.push(at(0), Purpose::Answer, message(100));
        outbox.push(at(0), Purpose::Answer, message(101));
        let left: std::vec::Vec<u8> = core::iter::from_fn(|| tag(&mut outbox, 0)).collect();
        assert_eq!(left, [0, 2, 3, 4, 5, 6, 7, 100]);
    }
}
