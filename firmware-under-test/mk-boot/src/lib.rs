//! The bootloader's logic: what to run, when to install, when to roll back, and how to say why.
//!
//! Portable and without a single register: a board implements [`hardware::Hardware`], its `main` puts a
//! [`boot::Composition`] together, calls [`boot::boot`] and jumps. The application uses [`update`] to stage, ask and
//! confirm. Design: copy-install with a golden slot (protocol sheet "Bootloader", section 1).
//!
//! Refuses: to keep anything in RAM across resets (there are no statics; a simulated reset is a new call), to run an image
//! whose signature it did not verify in this very boot, and to decide without saying why.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod boot;
pub mod checks;
pub mod crypto;
pub mod decide;
pub mod engine;
pub mod geometry;
pub mod hardware;
mod inspect;
pub mod journal;
pub mod layout;
pub mod update;

pub use boot::{BootReport, Composition, ResetCause, Run, boot};
pub use geometry::{Area, Geometry, Memory, Slot};
pub use hardware::{ConfigVersion, Extent, FlashFault, Hardware, KeyStore, PublicKey};
