//! `resets`: how often a node was reset during the run, and why.

use super::per_node::{NodeRule, Opinion, PerNode};
use super::{Documented, Expectation, check_nodes, nodes_of};
use crate::diagnostic::Trouble;
use crate::monitor::{Monitor, cite};
use crate::nodes::{NodeSet, World};
use crate::plan::Plan;
use hil_model::fact::ResetCause;
use hil_model::{Event, Fact};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Resets {
    /// Which nodes.
    pub nodes: NodeSet,
    /// Exactly so many.
    #[serde(default)]
    pub count: Option<u32>,
    /// At most so many.
    #[serde(default)]
    pub at_most: Option<u32>,
    /// For these causes, in this order; the last one may repeat.
    #[serde(default)]
    pub causes: Option<Vec<ResetCause>>,
}

impl Documented for Resets {
    const MANUAL: &'static str = "How often each node was reset after the run began (the power-on that starts it does not \
        count), as the reset line tells it, and for which causes in order: power-on, pin, software, watchdog, lockup. \
        Where there are more resets than causes the last cause goes for the rest.";
    const EXAMPLE: &'static str = "resets: { nodes: n03, count: 2, causes: [software, watchdog] }";
}

impl Expectation for Resets {
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        let mut trouble = check_nodes(&self.nodes, world);
        if self.count.is_some() && self.at_most.is_some() {
            trouble.push(Trouble::at("at-most", "`count` says it exactly"));
        }
        if self.count.is_none() && self.at_most.is_none() && self.causes.is_none() {
            trouble.push(Trouble::here("says nothing: give `count`, `at-most` or `causes`"));
        }
        trouble
    }

    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        Box::new(PerNode::new(rule, nodes_of(&self.nodes, plan), Rule { want: self.clone() }))
    }
}

struct Rule {
    want: Resets,
}

#[derive(Default)]
struct State {
    count: u32,
    events: Vec<u64>,
    wrong_cause: Option<(u64, ResetCause, ResetCause)>,
}

impl NodeRule for Rule {
    type State = State;

    fn on_event(&self, state: &mut State, event: &Event) {
        let Fact::Reset { cause, .. } = event.fact else { return };
        if event.at.0 == 0 {
            return;
        }
        let causes = self.want.causes.as_deref().unwrap_or_default();
        if let Some(want) = causes.get(state.count as usize).or(causes.last())
            && *want != cause
        {
            state.wrong_cause.get_or_insert((event.seq, cause, *want));
        }
        state.count = state.count.saturating_add(1);
        cite(&mut state.events, event.seq);
    }

    fn close(&self, state: &State, _: &Plan) -> Opinion {
        if let Some((seq, cause, want)) = state.wrong_cause {
            return Opinion::broken(format!("reset for {cause:?}, {want:?} expected").to_lowercase(), [seq]);
        }
        let allowed = match (self.want.count, self.want.at_most) {
            (Some(count), _) => count..=count,
            (None, Some(most)) => 0..=most,
            (None, None) => 0..=u32::MAX,
        };
        if allowed.contains(&state.count) {
            return Opinion::holds(state.events.iter().copied());
        }
        let want = self.want.count.map_or_else(
            || format!("at most {}", self.want.at_most.unwrap_or_default()),
            |count| count.to_string(),
        );
        Opinion::broken(format!("reset {} times, {want} expected", state.count), state.events.iter().copied())
    }

    fn claim(&self) -> String {
        "reset as expected".to_owned()
    }
}
