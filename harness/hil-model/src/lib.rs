//! The vocabulary of the harness: identifiers, time, events, actions, capabilities, run records.
//!
//! Every other crate of the harness speaks in these types. This crate does no I/O, reads no clock, and knows neither
//! a concrete rack nor a report format. Where a fact is not an [`event::Event`], no verdict and no report may state it.

pub mod action;
pub mod air;
pub mod capability;
pub mod event;
pub mod fact;
pub mod fleet;
pub mod ids;
pub mod image;
pub mod kinds;
pub mod policy;
pub mod provision;
pub mod record;
pub mod time;
pub mod words;

pub use action::{Action, OperatorOrder, Power, ProbeWrite, TimedAction, Trigger, When};
pub use air::{AirEffect, AirMatch, AirRule, HoldUntil, MessageKind, Party, Receivers};
pub use capability::{Capability, CapabilitySet};
pub use event::{About, Event, Witness};
pub use fact::Fact;
pub use fleet::{Fleet, NodeSpec, NodeType, Protocol};
pub use ids::{Digest, FaultId, FloorId, GatewayId, NodeId, RuleId, Seed, StageIndex};
pub use image::{BankArea, BankState, Behaviour, ImageCheck, ImageLabel, Version};
pub use policy::{CampaignPolicy, StagePolicy, StageSize, Window};
pub use provision::{
    AirLevel, Composition, PackageSupply, Profile, Program, Provision, RackKind, RackManifest, SuppliedImage,
    TrafficProfile,
};
pub use record::{Finding, RunRecord, SuiteRecord, Verdict};
pub use time::{Span, Time};
