//! Boards on a bench: debug probes, serial ports, power switches, and the locks around them.
//!
//! | module | for |
//! | --- | --- |
//! | [`definition`] | rack files of kind `lab` and `emulated`, as written and as checked |
//! | [`identity`] | what makes a board itself, compared before anything is written |
//! | [`boards`] | kinds of boards, one file each |
//! | [`probe`] | probe operations in a process of their own, with deadlines |
//! | [`console`] | serial ports, with byte-exact logs |
//! | [`trace`] | records and text out of what a console delivers |
//! | [`power`] | power switches, one file each |
//! | [`locks`] | locks across processes |
//! | [`board`] | one board and its owner task |
//! | [`provision`] | everything that makes a part a node, written in one session |
//! | [`snapshot`] | a board's flash as it was read, for the firmware's own readers |
//! | [`lab`] | all of it behind the rack port, with gateway and campaign processes |
//! | [`error`] | what, where, what next |
//!
//! What it refuses to do: judge the product. Whatever goes wrong here is the bench's fault and becomes a rack fault. It
//! never erases what was not named, never goes by the order in which devices were found, and waits for nothing without a
//! deadline.

pub mod board;
pub mod boards;
pub mod console;
pub mod definition;
pub mod error;
pub mod identity;
pub mod lab;
pub mod locks;
pub mod power;
pub mod probe;
pub mod provision;
pub mod snapshot;
pub mod trace;

pub use board::{BoardEvent, BoardFact, BoardHandle, BoardSettings, PowerAction, Standing};
pub use boards::{BOARD_DRIVERS, BoardDriver, ResetKind};
pub use definition::{BoardDefinition, LabDefinition, LabFile};
pub use error::{BoardError, Fault, Part};
pub use identity::{BoardIdentity, DeviceId, PortIdentity, ProbeSelector, Purpose, Sighting};
pub use probe::WorkerCommand;
pub use provision::{Outfit, ProvisionPlan};
