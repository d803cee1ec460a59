//! `refused-at`: which of the three layers refused the image, shown by what did and did not happen after it.

use super::per_node::{NodeRule, Opinion, PerNode};
use super::{Documented, Expectation, check_nodes, nodes_of};
use crate::diagnostic::Trouble;
use crate::faults::Layer;
use crate::monitor::Monitor;
use crate::nodes::{NodeSet, World};
use crate::plan::Plan;
use hil_model::fact::{BootVerdict, UpdatePhase};
use hil_model::{Event, Fact};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RefusedAt {
    /// Which nodes.
    pub nodes: NodeSet,
    /// Which layer.
    pub layer: Layer,
}

impl Documented for RefusedAt {
    const MANUAL: &'static str = "Which layer refused the image. `update-start`: the node answered the metadata with a \
        refusal and nothing was transferred. `verifying`: the transfer was complete, the node found the staged image bad \
        and was not reset. `boot`: the node had found it good, and the bootloader refused it in the one boot that Apply \
        asked for. At no layer does the image start.";
    const EXAMPLE: &'static str = "refused-at: { nodes: n03, layer: verifying }";
}

impl Expectation for RefusedAt {
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        check_nodes(&self.nodes, world)
    }

    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        Box::new(PerNode::new(rule, nodes_of(&self.nodes, plan), Rule { layer: self.layer }))
    }
}

struct Rule {
    layer: Layer,
}

#[derive(Default)]
struct State {
    metadata_refused: Option<u64>,
    metadata_accepted: Option<u64>,
    complete: Option<u64>,
    found_good: Option<u64>,
    found_bad: Option<u64>,
    boot_refused: Option<u64>,
    trial: Option<u64>,
    resets: u32,
    reset: Option<u64>,
}

impl NodeRule for Rule {
    type State = State;

    fn on_event(&self, state: &mut State, event: &Event) {
        let slot = match &event.fact {
            Fact::MetadataDelivered { accepted: false, .. } => &mut state.metadata_refused,
            Fact::MetadataDelivered { accepted: true, .. } => &mut state.metadata_accepted,
            Fact::TransferComplete { .. } => &mut state.complete,
            Fact::UpdatePhase { phase: UpdatePhase::VerificationSucceeded, .. } => &mut state.found_good,
            Fact::UpdatePhase { phase: UpdatePhase::VerificationFailed, .. }
            | Fact::ReceiverPhase { phase: UpdatePhase::VerificationFailed, .. } => &mut state.found_bad,
            Fact::BootDecided { verdict: BootVerdict::Rejected, .. } => &mut state.boot_refused,
            Fact::ImageStarted { trial: true, .. } => &mut state.trial,
            Fact::Reset { .. } if event.at.0 > 0 => {
                state.resets = state.resets.saturating_add(1);
                &mut state.reset
            }
            _ => return,
        };
        slot.get_or_insert(event.seq);
    }

    fn close(&self, state: &State, _: &Plan) -> Opinion {
        if let Some(seq) = state.trial {
            return Opinion::broken("was not refused: its trial started", [seq]);
        }
        let not_here = |seq: Option<u64>, text: &str| seq.map(|seq| Opinion::broken(text, [seq]));
        // What must have been seen, and what must not.
        let (want, forbidden) = match self.layer {
            Layer::UpdateStart => (
                state.metadata_refused,
                not_here(state.metadata_accepted, "accepted the metadata")
                    .or_else(|| not_here(state.complete, "took the whole image"))
                    .or_else(|| not_here(state.reset, "was reset")),
            ),
            Layer::Verifying => (
                state.found_bad,
                not_here(state.found_good, "found the staged image good").or_else(|| not_here(state.reset, "was reset")),
            ),
            Layer::Boot => (
                state.boot_refused,
                not_here(state.found_bad, "refused it before the boot").or_else(|| {
                    let more = state.reset.filter(|_| state.resets > 1);
                    not_here(more, "was reset more than the once that Apply asks for")
                }),
            ),
        };
        match (forbidden, want) {
            (Some(broken), _) => broken,
            (None, Some(seq)) => Opinion::holds([seq]),
            (None, None) => Opinion::broken(format!("no refusal at {:?} was seen", self.layer), []),
        }
    }

    fn claim(&self) -> String {
        format!("refused at {}", crate::words::kebab(&format!("{:?}", self.layer)))
    }
}
