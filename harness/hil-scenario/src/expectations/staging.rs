//! `staging`: what became of the slots.

use super::per_node::{NodeRule, Opinion, PerNode};
use super::witness::Trail;
use super::{Documented, Expectation, check_nodes, nodes_of};
use crate::diagnostic::Trouble;
use crate::monitor::Monitor;
use crate::nodes::{NodeSet, World};
use crate::plan::Plan;
use hil_model::{Capability, CapabilitySet, Event, ImageCheck};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Staging {
    /// Which nodes.
    pub nodes: NodeSet,
    /// What the slots are.
    pub is: Slots,
}

/// What the slots are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Slots {
    /// Neither slot was written or erased.
    NeverWritten,
    /// No slot holds a valid image of the candidate's version.
    NotValid,
    /// One slot is a valid golden copy of what the node ended on.
    GoldenSound,
}

impl Documented for Staging {
    const MANUAL: &'static str = "What the probe finds in the two external slots: `never-written` (the refusal came before \
        any erase), `not-valid` (what was staged is no valid image of the candidate's version), `golden-sound` (one slot \
        holds a valid image of the version in bank A, so that there is something to roll back to).";
    const EXAMPLE: &'static str = "staging: { nodes: n03, is: not-valid }";
}

impl Expectation for Staging {
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        check_nodes(&self.nodes, world)
    }

    fn needs(&self) -> CapabilitySet {
        CapabilitySet::from([Capability::ProbeRead])
    }

    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        Box::new(PerNode::new(rule, nodes_of(&self.nodes, plan), Rule { is: self.is }))
    }
}

struct Rule {
    is: Slots,
}

impl NodeRule for Rule {
    type State = Trail;

    fn on_event(&self, state: &mut Trail, event: &Event) {
        state.on_event(event);
    }

    fn close(&self, state: &Trail, plan: &Plan) -> Opinion {
        let Some(last) = state.last else {
            return Opinion::unproven("no probe snapshot at the end");
        };
        let candidate = plan.labelled(Plan::CANDIDATE).map(|image| image.version);
        let valid = |version| last.slots.iter().any(|s| s.check == ImageCheck::Valid && s.version == version);
        match self.is {
            Slots::NeverWritten => match state.first_use[1].or(state.first_use[2]) {
                Some(seq) => {
                    let words = state.flash[1].words + state.flash[2].words;
                    let erases = state.flash[1].erases + state.flash[2].erases;
                    Opinion::broken(format!("{words} words written and {erases} pages erased in the slots"), [seq])
                }
                None => Opinion::holds([last.seq]),
            },
            Slots::NotValid if valid(candidate) => {
                Opinion::broken("a slot holds a valid image of the candidate's version", [last.seq])
            }
            Slots::GoldenSound if last.a.version.is_none() || !valid(last.a.version) => {
                Opinion::broken("no slot holds a valid copy of the version in bank A", [last.seq])
            }
            Slots::NotValid | Slots::GoldenSound => Opinion::holds([last.seq]),
        }
    }

    fn claim(&self) -> String {
        match self.is {
            Slots::NeverWritten => "slots never written",
            Slots::NotValid => "nothing valid left in staging",
            Slots::GoldenSound => "golden slot sound",
        }
        .to_owned()
    }
}
