//! Codecs of everything an MK-NODE and its gateway exchange or store: mesh DFU access messages, signed firmware
//! metadata, MCUboot images, CoAP for Thread nodes, and the trace on the debug UART.
//!
//! Nothing in this crate keeps state between calls, allocates, or trusts its input: every decoder is total (any octet
//! string gives a value or a typed error that says where) and strict (lengths, reserved bits and prohibited values are
//! refused, so that two peers cannot read one message in two ways). There is no cryptography here either: what has to be
//! hashed or signed is returned as octets, and the crates that hold keys judge it.
#![no_std]

#[cfg(test)]
extern crate std;

mod codec;
mod framing;

pub mod access;
pub mod addr;
pub mod blob;
pub mod coap;
pub mod config;
pub mod distribution;
pub mod fwid;
pub mod identity;
pub mod image;
pub mod metadata;
pub mod north;
pub mod radio_link;
pub mod reason;
pub mod time;
pub mod trace;
pub mod update;
pub mod vendor;
pub mod version;

pub use access::AccessMessage;
pub use addr::Addr;
pub use blob::BlobId;
pub use fwid::{Fwid, FwidRef};
pub use reason::Reason;
pub use version::Version;
