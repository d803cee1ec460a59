//! The scenario language: YAML as written becomes a plan that says everything a run does and is judged by.
//!
//! Text, rack manifest and seed go in, a [`Plan`] comes out; the same three give the same plan, image bytes included.
//! This crate opens no rack, reads no clock and runs nothing; the one thing it reads from disk is a scenario file, in
//! [`catalogue`].

pub mod bind;
pub mod catalogue;
pub mod diagnostic;
pub mod expectations;
pub mod faults;
pub mod forge;
pub mod limits;
pub mod manual;
pub mod monitor;
pub mod nodes;
pub mod plan;
pub mod proof;
pub mod scalars;
pub mod scenario;
pub mod source;
mod table;
#[cfg(test)]
mod testing;
pub mod words;

pub use bind::{BindError, BindOptions, bind};
pub use diagnostic::Diagnostic;
pub use expectations::ExpectationSpec;
pub use faults::FaultSpec;
pub use forge::Forge;
pub use monitor::Monitor;
pub use plan::{Canary, KnownImage, Limits, Plan, PlannedExpectation, PlannedFault};
pub use proof::{Clause, Proof, ProofMonitor};
pub use scenario::Scenario;
