//! The gateway of an MK mesh: distributor of firmware to mesh nodes, border router for Thread nodes, throttle of what
//! both may take of the air, and collector of first-boot confirmations.
//!
//! Everything here is one sans-IO machine, [`Gateway`]: it is told the time and given octets, and gives octets and its
//! next wake-up back. It refuses to judge images: whatever MeshOS uploads is handed out as it came, because only the
//! nodes hold the keys. It keeps no clock, no sockets and no files; what has to survive a restart leaves as
//! [`GatewayRecord`]s and comes back through [`Gateway::restore`].
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod asker;
mod border_router;
mod confirmations;
mod distributor;
mod gateway;
mod journal;
mod mesh;
mod outgoing;
mod outputs;
mod receivers;
mod settings;
mod store;
pub mod throttle;
mod upload;

pub use gateway::Gateway;
pub use journal::GatewayRecord;
pub use outgoing::{Class, Transmit};
pub use settings::{Carrier, GatewaySettings, Limits, Patience, ThreadSettings};
