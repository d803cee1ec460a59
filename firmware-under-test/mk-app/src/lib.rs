//! What every board's `main` of an MK-NODE does the same way: who the node is, how often it started, what boot handed over,
//! what is said on the debug UART, and node and mesh stack put together.
//!
//! Boards bring registers, and nothing else: a difference between two boards that is not in their `Hardware` belongs into
//! their binaries. No I/O here: time and octets come in, octets and the time of the next wake-up go out.
//!
//! Refuses: to run an application on a board without an identity, and to keep anything in RAM that a later reset needs.
#![no_std]

#[cfg(test)]
extern crate std;

mod app;
pub mod boot_count;
pub mod console;
pub mod handover;
pub mod trace;

pub use app::{App, AppError};
pub use boot_count::BootCount;
pub use handover::{HandoverError, Provisioned, identity, provisioned};
pub use trace::Tracer;
