//! The emulated MK-NODE: QEMU's `-M microbit` with nRF52840-sized memories, and what the bench adds from outside (watchdog,
//! radio, reset cause).
//!
//! The register map is the nRF's, so what is here is close to a driver of the real part; but nothing here was ever run on one.
//! Nothing polls in idle: the core sleeps in `wfi` until timer or radio wake it.
#![no_std]

pub mod clock;
mod fault;
pub mod flash;
pub mod hardware;
pub mod radio;
pub mod regs;
pub mod reset;
pub mod uart;
pub mod watchdog;

pub use clock::Clock;
pub use fault::say;
pub use hardware::Board;
pub use mk_boot::geometry::MK_NODE_EMULATED as GEOMETRY;
pub use radio::Radio;
pub use uart::Uart;
pub use watchdog::Watchdog;
