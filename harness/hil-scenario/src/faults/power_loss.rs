//! `power-loss`: nodes are dark for a while.

use super::{Documented, Fault, Lowering};
use crate::diagnostic::Trouble;
use crate::nodes::NodeSet;
use crate::proof::{Clause, Hit, Want, about};
use crate::scenario::Moment;
use hil_model::{Action, Fact, Power, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PowerLoss {
    /// Which nodes.
    pub nodes: NodeSet,
    /// From when.
    pub when: Moment,
    /// For how long.
    pub dark: Span,
}

impl Documented for PowerLoss {
    const MANUAL: &'static str = "Nodes lose power at a moment and get it back after `dark`, wherever they are in the \
        update: somebody throws a breaker. The proof is the power line of each node.";
    const EXAMPLE: &'static str =
        "power-loss: { nodes: n03..n05, when: { after: { block-done: 7 } }, dark: 30 s }";
}

impl Fault for PowerLoss {
    fn nodes(&self) -> Option<&NodeSet> {
        Some(&self.nodes)
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let nodes = lab.select(&self.nodes)?;
        let when = lab.when(&self.when)?;
        for &node in &nodes {
            lab.act(when, Action::Power(node, Power::Cycle(self.dark)));
        }
        lab.prove(Clause::new("power away", Want::Each(nodes), |event| match event.fact {
            Fact::PowerOff => about(event),
            _ => Hit::No,
        }));
        Ok(())
    }
}
