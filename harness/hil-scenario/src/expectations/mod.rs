//! Expectations: what a scenario says must come out. One file each, one line in `kind_table!`.
//!
//! An expectation is written for the people who read the scenario and judged from the ledger alone. Claims about a node
//! rest on a witness that does not depend on the node's word: bank octets read by probe, reset lines, the gateway.

use crate::diagnostic::Trouble;
use crate::monitor::Monitor;
use crate::nodes::{NodeSet, World};
use crate::plan::Plan;
use crate::table::kind_table;
use hil_model::{CapabilitySet, NodeId};
use schemars::JsonSchema;
use serde::Deserialize;

pub mod per_node;
mod probed;
#[cfg(test)]
mod tests;
mod witness;

pub use crate::manual::Documented;

/// One kind of expectation.
pub trait Expectation: std::fmt::Debug + Send + Sync {
    /// What is wrong with it in this world; paths are relative to its own keys.
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        let _ = world;
        Vec::new()
    }

    /// What a rack has to be able to do so that it can be judged.
    fn needs(&self) -> CapabilitySet {
        CapabilitySet::new()
    }

    /// The monitor that judges it, under the name `rule`.
    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor>;
}

// Adding an expectation: one file in this folder, one line here.
kind_table! {
    /// An expectation as written.
    enum ExpectationSpec: Expectation {
        "outcome" => outcome::Outcome,
        "outcomes" => outcomes::Outcomes,
        "campaign" => campaign::Campaign,
        "stages" => stages::Stages,
        "refused-at" => refused_at::RefusedAt,
        "rolled-back" => rolled_back::RolledBack,
        "resets" => resets::Resets,
        "bank-a" => bank_a::BankA,
        "staging" => staging::Staging,
        "config" => config::Config,
        "airtime" => airtime::Airtime,
        "scene-latency" => scene_latency::SceneLatency,
        "repaired" => repaired::Repaired,
        "sent-in-windows" => sent_in_windows::SentInWindows,
        "event" => event::Seen,
        "no-event" => no_event::NotSeen,
    }
}

impl ExpectationSpec {
    /// What is wrong with it in this world.
    #[must_use]
    pub fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        self.kind().check(world)
    }

    /// What a rack has to be able to do so that it can be judged.
    #[must_use]
    pub fn needs(&self) -> CapabilitySet {
        self.kind().needs()
    }

    /// The monitor that judges it.
    #[must_use]
    pub fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        self.kind().monitor(rule, plan)
    }
}

/// A selection checked against the world; the trouble is at key `nodes`.
fn check_nodes(nodes: &NodeSet, world: &World<'_>) -> Vec<Trouble> {
    nodes.resolve(world).err().map(|why| Trouble::at("nodes", why)).into_iter().collect()
}

/// The nodes of a selection in a bound plan, whose binding has checked it.
fn nodes_of(nodes: &NodeSet, plan: &Plan) -> Vec<NodeId> {
    let touched = plan.faults.iter().flat_map(|fault| fault.nodes.iter().copied()).collect();
    let world = World { fleet: &plan.provision.fleet, targets: &plan.targets, touched: &touched };
    nodes.resolve(&world).unwrap_or_default()
}
