//! Messages on the simulated air and what the interposer can read of them.

use hil_model::fact::Fingerprint;
use hil_model::{Digest, MessageKind, Party};
use mk_wire::access::AccessMessage;
use mk_wire::{blob, coap, update, vendor};
use sha2::{Digest as _, Sha256};
use std::ops::Range;
use std::sync::Arc;

/// Opcode of BLOB Chunk Transfer (mesh DFU, section 2).
const CHUNK_TRANSFER: u8 = 0x66;

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Bluetooth Mesh, as an access message.
    Mesh,
    /// A CoAP datagram between a Thread node and its border router.
    Coap,
}

/// A message on its way, decoded as far as a tester with the network's keys can.
#[derive(Debug, Clone)]
pub struct AirMessage {
    /// Sender.
    pub from: Party,
    /// How it travels.
    pub carrier: Carrier,
    /// Its octets.
    pub bytes: Arc<[u8]>,
    /// What it is.
    pub kind: MessageKind,
    /// Block it belongs to: BLOB block on the mesh, Block2 number in CoAP.
    pub block: Option<u32>,
    /// Chunk number within the BLOB block.
    pub chunk: Option<u16>,
}

/// Kind, block and chunk of an access message. `current_block` is the block its sender opened last.
#[must_use]
pub fn classify_access(bytes: &[u8], current_block: Option<u32>) -> (MessageKind, Option<u32>, Option<u16>) {
    // Chunks are nearly all there is: told by their opcode, not decoded.
    if let [CHUNK_TRANSFER, low, high, ..] = bytes {
        return (MessageKind::Chunk, current_block, Some(u16::from_le_bytes([*low, *high])));
    }
    let Ok(message) = AccessMessage::decode(bytes) else {
        return (MessageKind::Other, None, None);
    };
    match message {
        AccessMessage::Blob(blob::Message::BlockStart(m)) => (MessageKind::BlockStart, Some(u32::from(m.block)), None),
        AccessMessage::Blob(blob::Message::BlockGet) => (MessageKind::BlockGet, current_block, None),
        AccessMessage::Blob(blob::Message::BlockStatus(m)) => {
            (MessageKind::BlockStatus, Some(u32::from(m.block)), None)
        }
        AccessMessage::Blob(blob::Message::PartialBlockReport(_)) => (MessageKind::BlockStatus, current_block, None),
        AccessMessage::Blob(_) => (MessageKind::Transfer, None, None),
        AccessMessage::Update(m) => (update_kind(&m), None, None),
        AccessMessage::Vendor(m) => (vendor_kind(&m), None, None),
        AccessMessage::Distribution(_) | AccessMessage::Config(_) => (MessageKind::Other, None, None),
    }
}

const fn update_kind(message: &update::Message<'_>) -> MessageKind {
    match message {
        update::Message::Start(_) => MessageKind::UpdateStart,
        update::Message::Apply => MessageKind::UpdateApply,
        update::Message::Status(_) => MessageKind::UpdateStatus,
        _ => MessageKind::UpdateOther,
    }
}

const fn vendor_kind(message: &vendor::Message) -> MessageKind {
    match message {
        vendor::Message::Confirm(_) => MessageKind::Confirm,
        vendor::Message::ConfirmAck(_) => MessageKind::ConfirmAck,
        vendor::Message::ReportGet | vendor::Message::Report(_) => MessageKind::Report,
        vendor::Message::Health(_) => MessageKind::Health,
        vendor::Message::AppReport(_) => MessageKind::AppReport,
        vendor::Message::LightSet(_) => MessageKind::Light,
    }
}

/// Kind and block of a CoAP datagram: vendor messages are told by their payload, image blocks by their Block2 option.
#[must_use]
pub fn classify_coap(bytes: &[u8]) -> (MessageKind, Option<u32>) {
    let Ok(message) = coap::Message::decode(bytes) else {
        return (MessageKind::Other, None);
    };
    if let Ok(AccessMessage::Vendor(inner)) = AccessMessage::decode(message.payload) {
        return (vendor_kind(&inner), None);
    }
    match message.options.block2() {
        Ok(Some(block)) => (MessageKind::CoapBlock, Some(block.num())),
        Ok(None) | Err(_) => (MessageKind::CoapOther, None),
    }
}

impl AirMessage {
    /// Where the data of the message lies in its octets: chunk data, CoAP payload, else what follows the opcode.
    #[must_use]
    pub fn data(&self) -> Range<usize> {
        let len = self.bytes.len();
        match self.carrier {
            Carrier::Coap => match coap::Message::decode(&self.bytes) {
                Ok(message) => len - message.payload.len()..len,
                Err(_) => 0..len,
            },
            Carrier::Mesh => {
                let opcode = match self.bytes.first() {
                    None => 0,
                    Some(first) if first & 0x80 == 0 => 1,
                    Some(first) if first & 0x40 == 0 => 2,
                    Some(_) => 3,
                };
                let skip = if self.kind == MessageKind::Chunk { 3 } else { opcode };
                skip.min(len)..len
            }
        }
    }

    /// Length and digest of the octets.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.bytes)
    }
}

/// Length and digest of `bytes`.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> Fingerprint {
    Fingerprint { len: bytes.len() as u16, digest: Digest(Sha256::digest(bytes).into()) }
}
