//! `rolled-back`: an unconfirmed trial ends on the old image in time, and the node says so.

use super::per_node::{NodeRule, Opinion, PerNode};
use super::{Documented, Expectation, check_nodes, nodes_of};
use crate::diagnostic::Trouble;
use crate::monitor::Monitor;
use crate::nodes::{NodeSet, World};
use crate::plan::Plan;
use hil_model::{Digest, Event, Fact, Span, Time};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RolledBack {
    /// Which nodes.
    pub nodes: NodeSet,
    /// Within this time of the trial's first start; grace, install and boot together when left out.
    #[serde(default)]
    pub within: Option<Span>,
    /// The operator's text, word for word.
    #[serde(default)]
    pub says: Option<String>,
}

impl Documented for RolledBack {
    const MANUAL: &'static str = "Each node started the new image on trial and runs the old one again within grace period, \
        install and boot together (or `within`), counted from the trial's first start by what the core executes; and its \
        report says that it rolled back, word for word where `says` is given.";
    const EXAMPLE: &'static str = "rolled-back: { nodes: n03 }";
}

impl Expectation for RolledBack {
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        check_nodes(&self.nodes, world)
    }

    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        let within = self.within.unwrap_or(plan.limits.back_on_old_image());
        let rule_of_node = Rule { within, says: self.says.clone(), old: plan.provision.running.digest };
        Box::new(PerNode::new(rule, nodes_of(&self.nodes, plan), rule_of_node))
    }
}

struct Rule {
    within: Span,
    says: Option<String>,
    old: Digest,
}

#[derive(Default)]
struct State {
    trial: Option<(u64, Time)>,
    back: Option<(u64, Time)>,
    said: Option<(u64, String)>,
}

impl NodeRule for Rule {
    type State = State;

    fn on_event(&self, state: &mut State, event: &Event) {
        match &event.fact {
            Fact::ImageStarted { digest, .. } if *digest == self.old && state.trial.is_some() => {
                state.back.get_or_insert((event.seq, event.at));
            }
            Fact::ImageStarted { trial: true, .. } => {
                state.trial.get_or_insert((event.seq, event.at));
                // A later trial makes the earlier return worthless.
                state.back = None;
            }
            Fact::ReportHeard { says, .. } if state.back.is_some() && says.starts_with("rolled back") => {
                state.said = Some((event.seq, says.clone()));
            }
            _ => {}
        }
    }

    fn close(&self, state: &State, _: &Plan) -> Opinion {
        let Some((trial, started)) = state.trial else {
            return Opinion::broken("no trial was started", []);
        };
        let Some((back, at)) = state.back else {
            return Opinion::broken("never came back to its old image", [trial]);
        };
        let took = at.since(started);
        if took > self.within {
            let text = format!("back after {} ms, {} allowed", took.as_millis(), self.within);
            return Opinion::broken(text, [back, trial]);
        }
        match (&state.said, &self.says) {
            (None, _) => Opinion::broken("never told that it rolled back", [back, trial]),
            (Some((seq, said)), Some(want)) if said != want => {
                Opinion::broken(format!("says \"{said}\"; \"{want}\" expected"), [*seq])
            }
            (Some((seq, _)), _) => Opinion::holds([trial, back, *seq]),
        }
    }

    fn claim(&self) -> String {
        format!("back on the old image within {} of the trial, and says so", self.within)
    }
}
