//! The keys of a network with everything that is derived from them once: schedules, identifiers.

use crate::crypto::{AesKey, Key, k1, k2, k3, k4, s1};
use core::fmt;
use mk_wire::Addr;

/// A network key.
#[derive(Clone)]
pub struct NetworkKey {
    pub(crate) nid: u8,
    pub(crate) encryption: AesKey,
    pub(crate) privacy: AesKey,
    pub(crate) network_id: [u8; 8],
    pub(crate) beacon: Key,
}

impl NetworkKey {
    /// Derives everything from a key (some twelve AES-CMACs).
    #[must_use]
    pub fn new(key: &Key) -> Self {
        let credentials = k2(key, &[0]);
        NetworkKey {
            nid: credentials.nid,
            encryption: AesKey::new(&credentials.encryption),
            privacy: AesKey::new(&credentials.privacy),
            network_id: k3(key),
            beacon: k1(key, &s1(b"nkbk"), b"id128\x01"),
        }
    }

    /// The identifier in the first octet of every PDU, 7 bits.
    #[must_use]
    pub const fn nid(&self) -> u8 {
        self.nid
    }

    /// The identifier that beacons carry.
    #[must_use]
    pub const fn network_id(&self) -> [u8; 8] {
        self.network_id
    }

    /// The key that beacons are authenticated with.
    #[must_use]
    pub const fn beacon_key(&self) -> Key {
        self.beacon
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkKey").field("nid", &self.nid).finish_non_exhaustive()
    }
}

/// An application key.
#[derive(Clone)]
pub struct ApplicationKey {
    pub(crate) aid: u8,
    pub(crate) cipher: AesKey,
}

impl ApplicationKey {
    /// Derives the identifier and expands the key.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        ApplicationKey { aid: k4(key), cipher: AesKey::new(key) }
    }

    /// The identifier in every message under this key, 6 bits.
    #[must_use]
    pub const fn aid(&self) -> u8 {
        self.aid
    }
}

impl fmt::Debug for ApplicationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationKey").field("aid", &self.aid).finish_non_exhaustive()
    }
}

/// The key between one node and whoever configures it.
#[derive(Clone)]
pub struct DeviceKey {
    pub(crate) cipher: AesKey,
}

impl DeviceKey {
    /// Expands the key.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        DeviceKey { cipher: AesKey::new(key) }
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceKey").finish_non_exhaustive()
    }
}

/// Finds the device key for a conversation: a node has its own, whoever speaks to it; a gateway has one for every node.
pub trait DeviceKeys {
    /// The key under which messages are exchanged with `peer`; `None` if there is none.
    fn device_key(&self, peer: Addr) -> Option<&DeviceKey>;
}

/// The keys of a node: its own device key, whoever configures it.
#[derive(Clone, Debug)]
pub struct OwnDeviceKey(pub DeviceKey);

impl OwnDeviceKey {
    /// From the provisioned key.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        OwnDeviceKey(DeviceKey::new(key))
    }
}

impl DeviceKeys for OwnDeviceKey {
    fn device_key(&self, _peer: Addr) -> Option<&DeviceKey> {
        Some(&self.0)
    }
}

/// Which key a message is encrypted with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum KeyUse {
    /// The application key: DFU, BLOB transfer, our own messages.
    Application,
    /// The node's device key: configuration.
    Device,
}
