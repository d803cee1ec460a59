//! `stale-update-status`: an old answer of a node arrives again when the distributor waits for a new one.

use super::{Documented, FROM_THE_START, Fault, Lowering};
use crate::diagnostic::Trouble;
use crate::nodes::NodeSet;
use crate::proof::{Clause, Want};
use hil_model::fact::Interposition;
use hil_model::{AirEffect, MessageKind, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StaleUpdateStatus {
    /// Whose answers.
    pub nodes: NodeSet,
    /// How much later they arrive again.
    pub after: Span,
}

impl Documented for StaleUpdateStatus {
    const MANUAL: &'static str = "Every Firmware Update Status of some nodes arrives, and once more later on, when the \
        node has moved on: the distributor must not take it for the answer to its newer question (sheet mesh-dfu, \
        section 9, the stale-answer rule). The proof is a replayed status of each node.";
    const EXAMPLE: &'static str = "stale-update-status: { nodes: n03, after: 8 s }";
}

impl Fault for StaleUpdateStatus {
    fn nodes(&self) -> Option<&NodeSet> {
        Some(&self.nodes)
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let nodes = lab.select(&self.nodes)?;
        if self.after == Span::ZERO {
            return Err(Trouble::at("after", "takes a time above zero"));
        }
        let kind = MessageKind::UpdateStatus;
        lab.rule_from(FROM_THE_START, kind, &nodes, &AirEffect::Replay(self.after));
        lab.prove(Clause::interposed(lab.id, Interposition::Replayed, vec![kind], Want::Each(nodes)));
        Ok(())
    }
}
