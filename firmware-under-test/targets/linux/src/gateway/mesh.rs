//! The mesh stack with the gateway's keys and files: access messages on one side, PDUs on the other.

use super::meter::Load;
use super::network::Network;
use super::store::MeshLog;
use crate::disk::DiskError;
use mk_gateway::{Class, Transmit};
use mk_mesh::crypto::Key;
use mk_mesh::lower::Lower;
use mk_mesh::{
    Bearer, BearerKind, Destination, DeviceKey, DeviceKeys, Event, KeyUse, MeshSettings, NetworkKey, Pacing,
};
use mk_mesh::{SendError, Stack, network};
use mk_wire::access::MAX_ACCESS;
use mk_wire::time::{Duration, Instant};
use mk_wire::{AccessMessage, Addr};
use std::collections::BTreeMap;

/// Segmented messages that are collected at a time.
const INCOMING: usize = 16;
/// Segmented messages on their way out at a time.
const OUTGOING: usize = 8;
/// Sources that the replay list can hold.
const PEERS: usize = 1_024;
/// Sequence numbers reserved at a time: a file is written for every half of them.
const SEQUENCE_BLOCK: u32 = 8_192;

/// A device key for every node.
#[derive(Debug)]
struct Devices(BTreeMap<Addr, DeviceKey>);

impl DeviceKeys for Devices {
    fn device_key(&self, peer: Addr) -> Option<&DeviceKey> {
        self.0.get(&peer)
    }
}

/// The SAR states say steps of 10 ms up to 160; less than the first is for benches that have no air to share.
fn set_segment_interval(settings: &mut MeshSettings, ms: u32) {
    if ms < 10 {
        settings.segment_interval = Some(Duration::from_millis(u64::from(ms)));
        return;
    }
    let step = u8::try_from(ms.div_ceil(10).min(16) - 1).unwrap_or(15);
    settings.states.sar_transmitter.interval_step = step;
    settings.states.sar_receiver.interval_step = step;
}

/// A message of image data on its way through the stack.
#[derive(Clone, Copy, Debug)]
struct Data {
    to: Addr,
    /// Sequence numbers of its segments are not below this.
    from_seq: u32,
    /// Set with its first segment.
    seq_zero: Option<u16>,
    /// Segments of its first round that have not left.
    left: u16,
}

/// An access message that arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub from: Addr,
    pub to: Addr,
    pub hops: u8,
    pub rssi_dbm: i8,
    pub access: Vec<u8>,
}

/// The stack.
pub struct Mesh {
    stack: Box<Stack<Devices, INCOMING, OUTGOING, PEERS>>,
    /// To look at our own PDUs with.
    network: NetworkKey,
    log: MeshLog,
    data: Option<Data>,
}

impl Mesh {
    /// Starts with what the log holds.
    pub fn start(now: Instant, of: &Network, mut log: MeshLog) -> Result<Self, DiskError> {
        let file = &of.file;
        let mut settings = MeshSettings::new(file.gateway.address, file.net_key, file.app_key, file.iv_index);
        settings.sequence_block = SEQUENCE_BLOCK;
        if let Some(ttl) = file.tuning.default_ttl {
            settings.states.default_ttl = ttl;
        }
        if let Some(ms) = file.tuning.segment_interval_ms {
            set_segment_interval(&mut settings, ms);
        }
        let keys = of.device_keys.iter().map(|(address, key): (&Addr, &Key)| (*address, DeviceKey::new(key)));
        let devices = Devices(keys.collect());
        let mut stack = Box::new(Stack::start(now, &settings, devices, &mut log)?);
        stack.persist(now, &mut log)?;
        Ok(Self { stack, network: NetworkKey::new(&file.net_key), log, data: None })
    }

    /// Keeps what has to be kept. To be called after anything was given to the stack.
    pub fn persist(&mut self, now: Instant) -> Result<(), DiskError> {
        self.stack.persist(now, &mut self.log)
    }

    /// Keeps everything, before the process ends.
    pub fn before_end(&mut self, now: Instant) -> Result<(), DiskError> {
        self.stack.before_reset();
        self.persist(now)
    }

    /// Can any message be taken now?
    pub fn has_room(&self) -> bool {
        self.stack.has_room(1) && self.stack.has_room(MAX_ACCESS)
    }

    /// Takes a message of the gateway.
    pub fn send(&mut self, now: Instant, message: &Transmit<'_>) -> Result<(), SendError> {
        // Configuration is between a node and whoever holds its device key.
        let is_config = matches!(AccessMessage::decode(message.bytes), Ok(AccessMessage::Config(_)));
        let key = if is_config { KeyUse::Device } else { KeyUse::Application };
        let pacing = match message.class {
            Class::Data => Pacing::Data { spacing: message.spacing },
            Class::Control => Pacing::Control,
        };
        self.stack.send(now, Destination { to: message.to, ttl: message.ttl, key, pacing }, message.bytes)?;
        if message.class == Class::Data {
            let from_seq = self.stack.sequence().next();
            self.data = Some(Data { to: message.to, from_seq, seq_zero: None, left: message.pdus });
        }
        Ok(())
    }

    /// Are segments of a data message still to leave for the first time?
    pub fn has_data(&self) -> bool {
        self.data.is_some_and(|data| data.left > 0) && !self.stack.is_idle()
    }

    /// The next PDU that is due, with what it carries.
    pub fn poll_pdu(&mut self, now: Instant) -> Option<(Bearer, Load)> {
        let bearer = self.stack.poll_pdu(now)?;
        let load = match bearer.kind {
            BearerKind::Message => self.load_of(&bearer.octets),
            BearerKind::Beacon => Load::Control,
        };
        Some((bearer, load))
    }

    /// What one of our own PDUs carries.
    fn load_of(&mut self, pdu: &[u8]) -> Load {
        let Some(data) = &mut self.data else { return Load::Control };
        let Ok(opened) = network::open(&self.network, self.stack.iv().index(), pdu) else { return Load::Control };
        let header = opened.header;
        if header.control || header.dst != data.to || header.seq < data.from_seq {
            return Load::Control;
        }
        match Lower::parse(false, &opened.transport) {
            Ok(Lower::Segment { header: segment, .. })
                if *data.seq_zero.get_or_insert(segment.seq_zero) == segment.seq_zero =>
            {
                data.left = data.left.saturating_sub(1);
                Load::Data
            }
            Ok(_) | Err(_) => Load::Control,
        }
    }

    /// Takes a network PDU that was heard.
    pub fn on_pdu(&mut self, now: Instant, pdu: &[u8], rssi_dbm: i8) {
        // The gateway's models listen to its own address only; what became of the PDU is the stack's affair.
        let _ = self.stack.on_pdu(now, pdu, rssi_dbm, &|_| false);
    }

    /// Takes a beacon that was heard.
    pub fn on_beacon(&mut self, now: Instant, octets: &[u8]) {
        // Another network's, most likely.
        let _ = self.stack.on_beacon(now, octets);
    }

    /// The next message that arrived.
    pub fn poll_message(&mut self) -> Option<Arrived> {
        let message = self.stack.poll_message()?;
        Some(Arrived {
            from: message.from,
            to: message.to,
            hops: message.hops,
            rssi_dbm: message.rssi_dbm,
            access: message.access.to_vec(),
        })
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.stack.poll_event()
    }

    /// When to poll next.
    pub fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        self.stack.next_wakeup(now)
    }

    /// Sequence numbers used up to here.
    pub const fn sequence(&self) -> u32 {
        self.stack.sequence().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::bench(9, Some(9), 10)]
    #[case::air(10, None, 10)]
    #[case::rounded_up(11, None, 20)]
    #[case::slowest(160, None, 160)]
    #[case::held_there(1_000, None, 160)]
    fn segments_keep_the_distance_that_was_set(#[case] ms: u32, #[case] below: Option<u64>, #[case] state_ms: u64) {
        let mut settings = MeshSettings::new(Addr(1), [0; 16], [0; 16], 0);
        set_segment_interval(&mut settings, ms);
        assert_eq!(settings.segment_interval, below.map(Duration::from_millis));
        assert_eq!(settings.states.sar_transmitter.segment_interval(), Duration::from_millis(state_ms));
    }
}
