//! Cuts the power at every flash operation of an update and of a roll-back, and asks of every cut: does the node come back
//! to a complete, valid image, is it the right one, does it say what happened?
//!
//! The bootloader under test is the product's own, unchanged, over [`virtual_flash`]. The method is the one of the protocol
//! sheet "Bootloader", section 7: the operations of a journey are recorded once and applied one by one; at each the
//! operation is torn in five ways, only the boot after the cut is executed, and an end state that is octet for octet one
//! that was judged before is accepted at once.
//!
//! A sweep that did not cut proves nothing: every point carries the proof that its tear was applied, and a report with
//! fewer cuts fired than expected is a failed one.

mod journey;
mod report;
mod rig;
mod scene;
mod sweep;

pub use journey::{End, Held, Journey};
pub use report::{Cut, Finding, JourneyReport, SweepReport, Wrong};
pub use rig::Rig;
pub use scene::{SMALL, Scene, SceneError};
pub use sweep::{DoubleCuts, SweepOptions, sweep};
