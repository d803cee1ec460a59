//! The MeshOS campaign machine: staged distribution of a firmware update to a fleet, with soak, thresholds, pauses and a
//! journal that survives any crash.
//!
//! Sans-IO like the rest of the firmware: a host feeds notices from gateways, orders of the operator and the time, and
//! takes orders to gateways, alerts and journal records. What the campaign says of a node rests on what the node says
//! (first-boot confirmations, reports), never on the distributor's word alone, and a later report corrects an earlier
//! one. The campaign refuses to open a stage before the one before it has passed: soak over, threshold met, or an
//! operator's journalled override. It parses and verifies no image; nodes do.
//!
//! # How a host drives it
//! After every call, first take and persist all of [`Campaign::poll_journal`], then carry out [`Campaign::poll_order`] and
//! [`Campaign::poll_alert`]. After a crash, [`journal::read`] what was persisted, [`Campaign::resume`] and call
//! [`Campaign::on_timer`] at once: what had been asked for and not carried out is asked for again. The clock behind
//! [`mk_wire::time::Instant`] must go on over a restart.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod alert;
mod campaign;
mod codec;
pub mod fleet;
mod initiator;
pub mod journal;
pub mod outcome;
pub mod package;
pub mod policy;
pub mod stages;
pub mod status;
mod windows;

pub use alert::{Alert, AlertKind};
pub use campaign::{Campaign, CampaignError, OrderError, ResumeError};
pub use fleet::{Carrier, NodeInfo, NodeKind};
pub use journal::{End, HealthFault, HealthFaults, OperatorOrder, PauseReason, Record};
pub use outcome::Outcome;
pub use package::{Package, PackageInfo};
pub use policy::{HealthPolicy, Policy, StagePolicy, StageSize, Timing, Window};
pub use stages::{MinimumShare, Parts, ThresholdRule};
