//! What a node is told at start: who it is, who its gateway is, and what firmware it runs.

use mk_wire::{
    Addr, Version,
    time::{Duration, Instant},
};

/// How a node reaches its gateway, or how one message travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Carrier {
    /// Access messages over Bluetooth Mesh.
    Mesh,
    /// CoAP datagrams over Thread.
    Thread,
}

/// The running firmware, as the image that holds it says (header and protected TLVs).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Firmware {
    /// Version in the image header.
    pub version: Version,
    /// Configuration schema that it works with.
    pub config_version: u16,
    /// Oldest schema that its migration handlers accept; `None` without a handler.
    pub oldest_migratable: Option<u16>,
}

/// Who a node is. Provisioned, not user settings: those are in the config store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Unicast address of the node's only element.
    pub address: Addr,
    /// Unicast address of its gateway.
    pub gateway: Addr,
    /// How it reaches the gateway.
    pub carrier: Carrier,
    /// Time between two heartbeats, and between two application reports, unless the stored configuration names another.
    pub report_interval: Duration,
    /// The watchdog's one timeout, which is also the grace period of a trial. A confirmed application wakes twice as
    /// often.
    pub grace_period: Duration,
    /// The running firmware.
    pub firmware: Firmware,
}

/// How a message was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Hops from the sender.
    pub ttl_hops: u8,
    /// Received strength, in dBm.
    pub rssi_dbm: i8,
}

/// The earlier of two wake-ups, where there are two.
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
