//! Emulated rack, the bench half: MK-NODE boards that are QEMU processes, with everything around them that a lab has.
//!
//! | part | stands for | module |
//! | --- | --- | --- |
//! | machine | the board | `machine`, `process`, `node` |
//! | virtual probe | a debug probe that stock probe-rs opens | `bmp`, `swd`, `debug` |
//! | console | a USB serial adapter that stock serialport opens | `console`, `pty` |
//! | flash | cells that outlive power, and can lose it at any operation | `flash`, `trace` |
//! | watchdog, reset reason | what QEMU's machine lacks | `watchdog`, `event` |
//! | medium, radio | the air, and the gateway's radio co-processor | `medium`, `mailbox`, `radio` |
//!
//! [`EmulatedRack`] puts a lab around the bench and stands behind the rack port.
//!
//! The harness reaches a board through probe-rs and serialport as it reaches a board in the lab; this crate's own interface
//! ([`Bench`]) is what a person does there: switch power, pull a cable, press reset.
//!
//! Invariants: no QEMU process outlives the thread that started it, even if the harness is killed; every wait on QEMU has
//! a deadline and says what it waited for; an idle node costs nothing, because nothing polls; what a node's flash holds is
//! on file, whatever ends QEMU.
//!
//! Refuses: to know firmware beyond the addresses agreed with it, and to judge: a lockup is an event, not an error.

mod bench;
mod bmp;
mod console;
mod debug;
mod error;
mod event;
mod flash;
mod gdb;
mod hex;
mod link;
mod machine;
mod mailbox;
mod medium;
mod node;
mod process;
mod pty;
mod qmp;
mod qtest;
mod rack;
mod radio;
mod swd;
mod trace;
mod wake;
mod watchdog;

pub use bench::{Bench, BenchSettings, NodeSettings};
pub use console::LineFault;
pub use error::{BenchError, MachineError};
pub use event::{BenchEvent, BenchEventKind, NodeState, ResetReason};
pub use flash::{FiredCut, FlashCounts, FlashOperation};
pub use machine::MachineKind;
pub use medium::{AirCounts, AirSettings, MediumHook, MediumPeer};
pub use node::NodeStatus;
pub use process::installed;
pub use pty::TtyCounts;
pub use rack::{EmulatedRack, manifest};
