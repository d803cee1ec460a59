//! The test network's keys, and PDUs opened and sealed with them.

use mk_mesh::crypto::{AesKey, Key, Mic};
use mk_mesh::lower::{self, Lower, SegmentHeader};
use mk_mesh::network::{self, Header};
use mk_mesh::upper::{self, Security};
use mk_mesh::{ApplicationKey, KeyUse, NetworkKey};
use mk_wire::Addr;
use std::collections::BTreeMap;

/// Octets of an upper transport PDU in one segment.
const SEGMENT: usize = 12;

/// All keys of a network.
pub struct NetworkKeys {
    net: NetworkKey,
    aid: u8,
    app: AesKey,
    /// By node.
    device: BTreeMap<Addr, AesKey>,
    iv_index: u32,
}

impl std::fmt::Debug for NetworkKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkKeys").field("nid", &self.net.nid()).finish_non_exhaustive()
    }
}

/// Which message a PDU belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId {
    /// Sender.
    pub src: Addr,
    /// Receiver or group.
    pub dst: Addr,
    /// IV index it was sent under.
    pub iv_index: u32,
    /// Sequence number of its first segment.
    pub seq: u32,
}

/// A PDU in the clear, as far as the tap is concerned with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// A whole access message.
    Whole {
        /// Which.
        id: MessageId,
        /// Network header.
        header: Header,
        /// The upper transport PDU.
        upper: Vec<u8>,
        /// Key it names.
        aid: Option<u8>,
    },
    /// A segment of one.
    Segment {
        /// Which.
        id: MessageId,
        /// Network header.
        header: Header,
        /// Its place.
        place: SegmentHeader,
        /// Its octets.
        data: Vec<u8>,
    },
    /// Transport control, beacons, other networks: passes.
    Other,
}

impl NetworkKeys {
    /// The keys of a network whose PDUs are sent under `iv_index`.
    #[must_use]
    pub fn new(net: &Key, app: &Key, iv_index: u32) -> Self {
        Self {
            net: NetworkKey::new(net),
            aid: ApplicationKey::new(app).aid(),
            app: AesKey::new(app),
            device: BTreeMap::new(),
            iv_index,
        }
    }

    /// Adds the device key of a node.
    pub fn add_device(&mut self, node: Addr, key: &Key) {
        self.device.insert(node, AesKey::new(key));
    }

    /// Opens a PDU.
    #[must_use]
    pub fn open(&self, pdu: &[u8]) -> Opened {
        let Ok(opened) = network::open(&self.net, self.iv_index, pdu) else { return Opened::Other };
        let (header, iv_index) = (opened.header, opened.iv_index);
        let id = |seq| MessageId { src: header.src, dst: header.dst, iv_index, seq };
        match Lower::parse(header.control, &opened.transport) {
            Ok(Lower::Access { aid, upper }) => {
                Opened::Whole { id: id(header.seq), header, upper: upper.to_vec(), aid }
            }
            Ok(Lower::Segment { header: place, data }) => match lower::seq_auth(header.seq, place.seq_zero) {
                Ok(first) => Opened::Segment { id: id(first), header, place, data: data.to_vec() },
                Err(_) => Opened::Other,
            },
            Ok(Lower::Ack { .. } | Lower::Heartbeat { .. }) | Err(_) => Opened::Other,
        }
    }

    fn cipher(&self, id: &MessageId, aid: Option<u8>) -> Option<(&AesKey, KeyUse)> {
        match aid {
            Some(aid) if aid == self.aid => Some((&self.app, KeyUse::Application)),
            Some(_) => None,
            None => {
                let device = self.device.get(&id.dst).or_else(|| self.device.get(&id.src));
                device.map(|key| (key, KeyUse::Device))
            }
        }
    }

    fn security(id: &MessageId, key: KeyUse, long_mic: bool) -> Security {
        let mic = if long_mic { Mic::Long } else { Mic::Short };
        Security { key, mic, seq: id.seq, src: id.src, dst: id.dst, iv_index: id.iv_index }
    }

    /// The access message in an upper transport PDU; none under a key that is not ours, or when it does not verify.
    #[must_use]
    pub fn access(&self, id: &MessageId, aid: Option<u8>, long_mic: bool, upper: &[u8]) -> Option<Vec<u8>> {
        let (cipher, key) = self.cipher(id, aid)?;
        let mut buffer = upper.to_vec();
        let length = upper::open(cipher, &Self::security(id, key, long_mic), None, &mut buffer)?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// An access message as an upper transport PDU.
    #[must_use]
    pub fn upper(&self, id: &MessageId, aid: Option<u8>, long_mic: bool, access: &[u8]) -> Option<Vec<u8>> {
        let (cipher, key) = self.cipher(id, aid)?;
        let security = Self::security(id, key, long_mic);
        let mut buffer = access.to_vec();
        buffer.resize(access.len() + security.mic.len(), 0);
        upper::seal(cipher, &security, None, &mut buffer).then_some(buffer)
    }

    /// A whole message as a network PDU.
    #[must_use]
    pub fn seal_whole(&self, id: &MessageId, header: &Header, aid: Option<u8>, upper: &[u8]) -> Option<Vec<u8>> {
        let transport = Lower::Access { aid, upper }.write()?;
        network::seal(&self.net, id.iv_index, header, &transport).ok().map(|pdu| pdu.to_vec())
    }

    /// A short message under the application key as one network PDU with TTL 5; none where it does not fit.
    #[must_use]
    pub fn whole_message(&self, src: Addr, dst: Addr, seq: u32, access: &[u8]) -> Option<Vec<u8>> {
        let id = MessageId { src, dst, iv_index: self.iv_index, seq };
        let upper = self.upper(&id, Some(self.aid), false, access)?;
        let header = Header { control: false, ttl: 5, seq, src, dst };
        self.seal_whole(&id, &header, Some(self.aid), &upper)
    }

    /// The segment in `place` of an upper transport PDU as a network PDU.
    #[must_use]
    pub fn seal_segment(
        &self,
        id: &MessageId,
        header: &Header,
        place: &SegmentHeader,
        upper: &[u8],
    ) -> Option<Vec<u8>> {
        let data = upper.chunks(SEGMENT).nth(usize::from(place.segment))?;
        let transport = Lower::Segment { header: *place, data }.write()?;
        network::seal(&self.net, id.iv_index, header, &transport).ok().map(|pdu| pdu.to_vec())
    }
}
