//! Expectations: what a scenario says must come out. One file each, one line in `expectation_table!`.
//!
//! An expectation is written for the people who read the scenario and judged from the ledger alone. Claims about a node
//! rest on a witness that does not depend on the node's word: bank octets read by probe, reset lines, the gateway.

use crate::diagnostic::Trouble;
use crate::monitor::Monitor;
use crate::nodes::{NodeSet, World};
use crate::plan::Plan;
use hil_model::{CapabilitySet, NodeId};
use schemars::JsonSchema;
use serde::Deserialize;

pub mod per_node;
#[cfg(test)]
mod tests;
mod witness;

/// What an expectation file gives to the manual.
pub trait Documented {
    /// What it demands and which evidence it rests on, one paragraph.
    const MANUAL: &'static str;
    /// An entry of a scenario's `expect` list that uses it.
    const EXAMPLE: &'static str;
}

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

/// A row of the manual.
#[derive(Debug, Clone, Copy)]
pub struct ManualEntry {
    /// Key in the scenario file.
    pub name: &'static str,
    /// What it is.
    pub manual: &'static str,
    /// A worked example, YAML.
    pub example: &'static str,
}

/// Adding an expectation: one file in this folder, one line here.
macro_rules! expectation_table {
    ($($name:literal => $module:ident::$type:ident,)*) => {
        $(mod $module; pub use $module::$type;)*

        /// An expectation as written.
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        pub enum ExpectationSpec {
            $(#[doc = concat!("See the manual of `", $name, "`.")] #[serde(rename = $name)] $type($type),)*
        }

        impl ExpectationSpec {
            fn kind(&self) -> &dyn Expectation {
                match self { $(Self::$type(inner) => inner,)* }
            }

            /// Its key in the scenario file.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$type(_) => $name,)* }
            }
        }

        /// The manual of all expectations, in the order of the table.
        pub const MANUAL: &[ManualEntry] = &[$(ManualEntry {
            name: $name,
            manual: <$type as Documented>::MANUAL,
            example: <$type as Documented>::EXAMPLE,
        },)*];
    };
}

expectation_table! {
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
