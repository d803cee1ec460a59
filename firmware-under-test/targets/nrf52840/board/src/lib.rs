//! The MK-NODE board: nRF52840, external flash on QSPI, SoftDevice S140.
//!
//! **Nothing here has ever run on hardware.** What was done with it is to compile and link it, and to bound its size. What
//! the emulated board (`targets/qemu`) proves is the firmware above; registers, radio and SoftDevice are written from
//! Nordic's documentation, and the bring-up checklist in the README says what to look at first.
#![no_std]

pub mod clock;
mod fault;
pub mod hardware;
pub mod qspi;
pub mod regs;
pub mod reset;
#[cfg(feature = "softdevice")]
pub mod softdevice;
pub mod uart;
pub mod watchdog;

pub use fault::say;
pub use hardware::Board;
pub use mk_boot::geometry::MK_NODE_S140 as GEOMETRY;
pub use uart::Uart;
pub use watchdog::Watchdog;
