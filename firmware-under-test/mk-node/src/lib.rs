//! The application of an MK-NODE: lighting, reports, and everything a node does to be updated.
//!
//! [`Node`] is a state machine without I/O: it takes the time, messages and a board ([`NodeHardware`]), and gives messages,
//! effects and the time of its next wake-up. All that has to survive a reset is in flash; after any flash error the target
//! drops the node and boots again, and loses nothing.
//!
//! Refuses: to write anything for an update whose signed metadata it would refuse, to touch the running bank, to keep an
//! image whose boot the gateway did not acknowledge, and to start on a configuration that its firmware was not made for.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod coap;
pub mod config;
mod context;
pub mod effect;
pub mod first_boot;
mod hardware;
mod lighting;
mod metadata_check;
pub mod migrate;
mod node;
mod opening;
mod outbox;
mod parts;
mod progress;
mod random;
mod reports;
mod settings;
pub mod staging;
mod subscriptions;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the tests of the whole node, which use all of it")]
#[path = "../tests/node/flash.rs"]
mod test_flash;
mod update_server;
mod update_state;

pub use effect::{Effect, StartError, TraceEvent};
pub use hardware::NodeHardware;
pub use node::Node;
pub use outbox::{MAX_MESSAGE, Outgoing};
pub use parts::Parts;
pub use settings::{Carrier, Firmware, Received, Settings};
