//! Expectations on what the probe finds on each of some nodes: all that differs between them is the rule.

use super::per_node::{NodeRule, Opinion, PerNode};
use super::witness::Trail;
use super::{Expectation, check_nodes, nodes_of};
use crate::diagnostic::Trouble;
use crate::monitor::Monitor;
use crate::nodes::{NodeSet, World};
use crate::plan::Plan;
use hil_model::{Capability, CapabilitySet, Event};

/// An expectation that rests on the probe's readings alone.
pub trait Probed: std::fmt::Debug + Clone + Send + Sync + 'static {
    /// The nodes it is about.
    fn nodes(&self) -> &NodeSet;

    /// Judges one node from what was found on it.
    fn judge(&self, found: &Trail, plan: &Plan) -> Opinion;

    /// What it claims, for a finding.
    fn claim(&self) -> String;
}

impl<P: Probed> Expectation for P {
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        check_nodes(self.nodes(), world)
    }

    fn needs(&self) -> CapabilitySet {
        CapabilitySet::from([Capability::ProbeRead])
    }

    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        Box::new(PerNode::new(rule, nodes_of(self.nodes(), plan), Rule(self.clone())))
    }
}

struct Rule<P>(P);

impl<P: Probed> NodeRule for Rule<P> {
    type State = Trail;

    fn on_event(&self, state: &mut Trail, event: &Event) {
        state.on_event(event);
    }

    fn close(&self, state: &Trail, plan: &Plan) -> Opinion {
        self.0.judge(state, plan)
    }

    fn claim(&self) -> String {
        self.0.claim()
    }
}
