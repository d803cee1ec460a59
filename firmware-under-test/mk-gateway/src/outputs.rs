//! Everything the parts of the gateway give out, in one place: messages to nodes, notices to MeshOS, the journal.

use crate::journal::{GatewayRecord, Journal};
use crate::outgoing::{Outgoing, Waiting};
use crate::settings::Carrier;
use alloc::collections::VecDeque;
use mk_wire::access::{Buffer, network_pdus};
use mk_wire::north::Notice;
use mk_wire::{AccessMessage, Addr, distribution};

/// Notices kept until polled. Beyond this, heartbeats and application reports are dropped: the next ones come anyway.
const MAX_SAMPLES: usize = 16_384;

/// Outputs that wait to be polled.
#[derive(Default)]
pub(crate) struct Outputs {
    pub outgoing: Outgoing,
    pub notices: VecDeque<Notice>,
    pub journal: Journal,
}

impl Outputs {
    /// Does anything wait to be polled?
    pub fn has_something(&self) -> bool {
        !self.outgoing.is_empty() || !self.notices.is_empty() || !self.journal.is_empty()
    }

    pub fn record(&mut self, record: GatewayRecord) {
        self.journal.write(record);
    }

    /// A notice that must not get lost.
    pub fn notify(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    /// A notice that the next one of its kind replaces.
    pub fn notify_sample(&mut self, notice: Notice) {
        if self.notices.len() < MAX_SAMPLES {
            self.notices.push_back(notice);
        }
    }

    /// An encoded access message for the Initiator.
    pub fn answer_with(&mut self, message: Buffer) {
        self.notify(Notice::Access(message));
    }

    /// A Firmware Distribution answer for the Initiator.
    pub fn answer(&mut self, message: distribution::Message<'_>) {
        // Every answer is built from bounded fields; one that does not encode would be a bug, and silence its symptom.
        if let Ok(buffer) = AccessMessage::Distribution(message).to_buffer() {
            self.answer_with(buffer);
        }
    }

    /// A control message to a mesh node or group.
    pub fn send_mesh(&mut self, to: Addr, ttl: u8, message: &AccessMessage<'_>) {
        if let Ok(buffer) = message.to_buffer() {
            self.send_mesh_bytes(to, ttl, &buffer);
        }
    }

    /// An encoded control message to a mesh node or group.
    pub fn send_mesh_bytes(&mut self, to: Addr, ttl: u8, bytes: &[u8]) {
        let pdus = u16::try_from(network_pdus(bytes.len(), false)).unwrap_or(u16::MAX);
        self.outgoing.push(Waiting { to, ttl, carrier: Carrier::Mesh, pdus, bytes: bytes.to_vec() });
    }
}
