//! `outcome`: how the campaign counts a node, and what the probe finds on it.

use super::per_node::{NodeRule, Opinion, PerNode};
use super::witness::Trail;
use super::{Documented, Expectation, check_nodes, nodes_of};
use crate::diagnostic::Trouble;
use crate::monitor::Monitor;
use crate::nodes::{NodeSet, World};
use crate::plan::Plan;
use hil_model::fact::{Outcome as Counted, OutcomeClass};
use hil_model::record::Conclusion;
use hil_model::{Capability, CapabilitySet, Event, Fact};
use schemars::JsonSchema;
use serde::Deserialize;

/// How a node ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EndState {
    /// Runs the new image, confirmed.
    Updated,
    /// Tried the new image and is back on the old one.
    RolledBack,
    /// Refused the image.
    Rejected,
    /// Failed.
    Failed,
    /// Does not answer.
    Unreachable,
    /// Its stage never began: no outcome, old image, never reset.
    Untouched,
}

impl EndState {
    /// The class in the campaign's terms.
    #[must_use]
    pub const fn class(self) -> Option<OutcomeClass> {
        match self {
            Self::Updated => Some(OutcomeClass::Updated),
            Self::RolledBack => Some(OutcomeClass::RolledBack),
            Self::Rejected => Some(OutcomeClass::Rejected),
            Self::Failed => Some(OutcomeClass::Failed),
            Self::Unreachable => Some(OutcomeClass::Unreachable),
            Self::Untouched => None,
        }
    }
}

/// The expectation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Outcome {
    /// Which nodes.
    pub nodes: NodeSet,
    /// How they end.
    pub is: EndState,
    /// The operator's text for a rejection, word for word.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Documented for Outcome {
    const MANUAL: &'static str = "How each of the nodes ends. Two accounts have to agree: the campaign's last outcome \
        for the node (with the operator's text, where `reason` is given), and the probe, which must find the new image \
        in bank A of an `updated` node and the old one, last executed, on all others. `untouched` means that the \
        node's stage never began: no outcome, old image, no reset.";
    const EXAMPLE: &'static str = "\
outcome: { nodes: n03, is: rejected, reason: update rejected - image hash mismatch }";
}

impl Expectation for Outcome {
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        let mut trouble = check_nodes(&self.nodes, world);
        if self.reason.is_some() && self.is != EndState::Rejected {
            trouble.push(Trouble::at("reason", "only a rejection has a reason"));
        }
        trouble
    }

    fn needs(&self) -> CapabilitySet {
        CapabilitySet::from([Capability::ProbeRead])
    }

    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        let nodes = nodes_of(&self.nodes, plan);
        Box::new(PerNode::new(rule, nodes, Rule { is: self.is, reason: self.reason.clone() }))
    }
}

struct Rule {
    is: EndState,
    reason: Option<String>,
}

#[derive(Default)]
struct State {
    counted: Option<(u64, Counted)>,
    reset: Option<u64>,
    trail: Trail,
}

impl NodeRule for Rule {
    type State = State;

    fn on_event(&self, state: &mut State, event: &Event) {
        match &event.fact {
            Fact::NodeOutcome { outcome, .. } => state.counted = Some((event.seq, outcome.clone())),
            Fact::Reset { .. } if event.at.0 > 0 => {
                state.reset.get_or_insert(event.seq);
            }
            _ => state.trail.on_event(event),
        }
    }

    fn close(&self, state: &State, plan: &Plan) -> Opinion {
        let counted = self.campaign(state);
        if counted.conclusion != Conclusion::Holds {
            return counted;
        }
        // The image it must end on by the harness's own reading.
        let label = if self.is == EndState::Updated { Plan::CANDIDATE } else { Plan::RUNNING };
        let Some(image) = plan.labelled(label) else {
            return Opinion::unproven(format!("the plan knows no {label} image"));
        };
        let mut found = state.trail.ends_on(image, plan);
        if found.conclusion == Conclusion::Holds {
            found.events.splice(0..0, counted.events);
        }
        found
    }

    fn claim(&self) -> String {
        let class = crate::words::kebab(&format!("{:?}", self.is)).replace('-', " ");
        match &self.reason {
            Some(reason) => format!("{class} ({reason}), as probe and campaign agree"),
            None => format!("{class}, as probe and campaign agree"),
        }
    }
}

impl Rule {
    /// What the campaign says.
    fn campaign(&self, state: &State) -> Opinion {
        match (self.is.class(), &state.counted) {
            (None, Some((seq, outcome))) => {
                Opinion::broken(format!("counted as {outcome:?} though its turn never came"), [*seq])
            }
            (None, None) => match state.reset {
                Some(seq) => Opinion::broken("was reset though its turn never came", [seq]),
                None => Opinion::holds([]),
            },
            (Some(want), None) => Opinion::broken(format!("has no outcome; {want:?} expected"), []),
            (Some(want), Some((seq, outcome))) if outcome.class() != want => {
                Opinion::broken(format!("counted as {outcome:?}; {want:?} expected"), [*seq])
            }
            (Some(_), Some((seq, outcome))) => match (outcome, &self.reason) {
                (Counted::Rejected(text), Some(reason)) if text != reason => {
                    Opinion::broken(format!("rejected as \"{text}\"; \"{reason}\" expected"), [*seq])
                }
                _ => Opinion::holds([*seq]),
            },
        }
    }
}
