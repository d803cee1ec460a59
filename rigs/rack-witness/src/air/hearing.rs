//! From PDUs to messages: every transmission is heard once, whoever receives it.

use super::keys::{MessageId, NetworkKeys, Opened};
use super::tap::party;
use crate::message::{AirMessage, Carrier, classify_access};
use hil_model::{MessageKind, Time};
use mk_mesh::lower::SegmentHeader;
use mk_mesh::network::Header;
use mk_wire::Addr;
use mk_wire::access::AccessMessage;
use mk_wire::blob;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Messages that are being put together or were lately complete, at most; the oldest goes first.
const MOST_MESSAGES: usize = 512;

/// A transmission as heard.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Its message; none for what is no access message of this network.
    pub part: Option<Part>,
    /// The PDU as sent.
    pub pdu: Arc<[u8]>,
}

/// A transmission that carries an access message or a segment of one.
#[derive(Debug, Clone)]
pub struct Part {
    /// Which message.
    pub id: MessageId,
    /// Network header of this PDU.
    pub header: Header,
    /// Its place, where the message is segmented.
    pub place: Option<SegmentHeader>,
    /// Key that the message names.
    pub aid: Option<u8>,
    /// The message, once all of it was heard.
    pub message: Option<Arc<AirMessage>>,
}

/// PDUs of one message, before it is whole.
#[derive(Debug)]
struct Assembly {
    place: SegmentHeader,
    segments: Vec<Option<Vec<u8>>>,
    /// Sending times of its PDUs, for the meter.
    times: Vec<Time>,
    message: Option<Arc<AirMessage>>,
    order: u64,
}

/// Puts messages together.
#[derive(Debug, Default)]
pub struct Hearing {
    open: BTreeMap<MessageId, Assembly>,
    /// BLOB block that each sender opened last.
    blocks: BTreeMap<Addr, u32>,
    count: u64,
}

/// PDUs to be counted, now that it is known what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Sending times of data PDUs.
    pub data: Vec<Time>,
    /// Other PDUs.
    pub control: u16,
}

impl Hearing {
    /// Hears a transmission of `pdu` at `now`, and what of the sender's PDUs can be counted since.
    pub fn hear(&mut self, now: Time, keys: &NetworkKeys, pdu: &[u8]) -> (Heard, Counted) {
        let pdu: Arc<[u8]> = pdu.into();
        let mut counted = Counted::default();
        let part = match keys.open(&pdu) {
            Opened::Other => {
                counted.control = 1;
                None
            }
            Opened::Whole { id, header, upper, aid } => {
                let access = keys.access(&id, aid, false, &upper);
                let message = access.map(|access| Arc::new(self.classify(&id, &access)));
                Self::count(&message, vec![now], &mut counted);
                Some(Part { id, header, place: None, aid, message })
            }
            Opened::Segment { id, header, place, data } => {
                let message = self.segment(now, keys, id, place, data, &mut counted);
                Some(Part { id, header, place: Some(place), aid: place.aid, message })
            }
        };
        (Heard { part, pdu }, counted)
    }

    fn count(message: &Option<Arc<AirMessage>>, times: Vec<Time>, counted: &mut Counted) {
        match message {
            Some(message) if message.kind == MessageKind::Chunk => counted.data = times,
            Some(_) | None => counted.control = u16::try_from(times.len()).unwrap_or(u16::MAX),
        }
    }

    fn segment(
        &mut self,
        now: Time,
        keys: &NetworkKeys,
        id: MessageId,
        place: SegmentHeader,
        data: Vec<u8>,
        counted: &mut Counted,
    ) -> Option<Arc<AirMessage>> {
        self.count += 1;
        let order = self.count;
        if self.open.len() >= MOST_MESSAGES
            && let Some(oldest) = self.open.iter().min_by_key(|(_, assembly)| assembly.order).map(|(id, _)| *id)
        {
            self.open.remove(&oldest);
        }
        let assembly = self.open.entry(id).or_insert_with(|| Assembly {
            place,
            segments: vec![None; usize::from(place.last) + 1],
            times: Vec::new(),
            message: None,
            order,
        });
        if assembly.message.is_some() {
            // Sent once more: air time all the same.
            Self::count(&assembly.message, vec![now], counted);
            return assembly.message.clone();
        }
        assembly.times.push(now);
        if let Some(slot) = assembly.segments.get_mut(usize::from(place.segment)) {
            *slot = Some(data);
        }
        let upper: Option<Vec<u8>> = assembly.segments.iter().cloned().collect::<Option<Vec<_>>>().map(|s| s.concat());
        let upper = upper?;
        let (place, times) = (assembly.place, core::mem::take(&mut assembly.times));
        let access = keys.access(&id, place.aid, place.long_mic, &upper);
        let message = access.map(|access| Arc::new(self.classify(&id, &access)));
        Self::count(&message, times, counted);
        if let Some(assembly) = self.open.get_mut(&id) {
            assembly.message.clone_from(&message);
            assembly.segments.clear();
        }
        message
    }

    fn classify(&mut self, id: &MessageId, access: &[u8]) -> AirMessage {
        if let Ok(AccessMessage::Blob(blob::Message::BlockStart(start))) = AccessMessage::decode(access) {
            self.blocks.insert(id.src, u32::from(start.block));
        }
        let (kind, block, chunk) = classify_access(access, self.blocks.get(&id.src).copied());
        AirMessage { from: party(id.src), carrier: Carrier::Mesh, bytes: access.into(), kind, block, chunk }
    }
}
