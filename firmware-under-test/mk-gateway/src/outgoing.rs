//! What waits to be sent, control before data.
//!
//! Control messages (requests, statuses, acknowledgements) are few and short and are queued here as octets. Image data is
//! never queued: it is made at the moment the throttle lets it go, so that a suspended distribution leaves nothing behind.

use crate::settings::Carrier;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use mk_wire::Addr;
use mk_wire::time::Duration;

/// Most control messages that wait; later ones are dropped and asked again by the step they belong to.
const MAX_WAITING: usize = 512;

/// Why a message is sent; the throttle limits only [`Class::Data`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Image data: a Chunk Transfer, or a block of the image over CoAP.
    Data,
    /// Everything else.
    Control,
}

/// A message on its way to the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit<'a> {
    /// Receiver: one node or a group.
    pub to: Addr,
    /// Time to live of mesh messages.
    pub ttl: u8,
    /// How it travels.
    pub carrier: Carrier,
    /// Whether the throttle counted it.
    pub class: Class,
    /// Network PDUs of a mesh message, or frames of a Thread message.
    pub pdus: u16,
    /// Distance of the message's PDUs on the air; it occupies the air for `pdus` times this.
    pub spacing: Duration,
    /// The access message, or the CoAP datagram.
    pub bytes: &'a [u8],
}

/// A message that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Waiting {
    pub to: Addr,
    pub ttl: u8,
    pub carrier: Carrier,
    pub pdus: u16,
    pub bytes: Vec<u8>,
}

/// The queue of control messages.
#[derive(Default)]
pub(crate) struct Outgoing {
    control: VecDeque<Waiting>,
}

impl Outgoing {
    /// Queues a control message; drops it when the queue is full.
    pub fn push(&mut self, message: Waiting) {
        if self.control.len() < MAX_WAITING {
            self.control.push_back(message);
        }
    }

    /// The oldest control message.
    pub fn pop(&mut self) -> Option<Waiting> {
        self.control.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.control.is_empty()
    }
}
