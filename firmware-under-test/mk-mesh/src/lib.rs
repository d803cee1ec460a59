//! The lower layers of Bluetooth Mesh: network, lower and upper transport, IV index, sequence numbers, replay protection.
//!
//! [`Stack`] is what a node and a gateway run between the advertising bearer and their models: PDUs and the time go in,
//! access messages and PDUs come out, and [`Stack::next_wakeup`] says when to come back. It never reads a clock, never
//! allocates, bounds every queue, and takes any octets for input. It refuses what it does not implement rather than guess:
//! friendship, proxies, directed forwarding, key refresh and virtual addresses.
//!
//! Beside it are the layers themselves ([`network`], [`lower`], [`upper`], [`crypto`]) and [`Assembly`], for those who
//! listen in with the network's keys.
#![no_std]

#[cfg(test)]
extern crate std;

mod assembly;
pub mod beacon;
mod cache;
pub mod crypto;
mod flash;
mod incoming;
mod iv;
pub mod keys;
pub mod lower;
pub mod network;
mod outgoing;
mod record;
mod replay;
mod sequence;
mod stack;
mod states;
pub mod upper;

pub use assembly::{Assembly, AssemblyError};
pub use beacon::{Beacon, BeaconError};
pub use flash::{FlashError, MeshFlash};
pub use incoming::Incoming;
pub use iv::{IvChange, IvState, MIN_HOURS, UPDATE_AT_SEQ};
pub use keys::{ApplicationKey, DeviceKey, DeviceKeys, KeyUse, NetworkKey, OwnDeviceKey};
pub use network::{Header, NetworkError, NetworkPdu, Pdu};
pub use outgoing::{Destination, Pacing, SendError};
pub use record::{Progress, Record, Storage};
pub use replay::Stamp;
pub use sequence::Sequence;
pub use stack::{Bearer, BearerKind, Event, MeshSettings, NodeStack, Outcome, Stack};
pub use states::{SarReceiver, SarTransmitter, States, Transmit};
