//! `power-cut`: power goes at a chosen flash operation, and comes back.

use super::{Documented, Fault, Lowering};
use crate::diagnostic::Trouble;
use crate::nodes::NodeSet;
use crate::proof::{Clause, Want};
use hil_model::action::Tear;
use hil_model::fact::UpdatePhase;
use hil_model::{Action, Power, Span, Trigger, When};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PowerCut {
    /// Which nodes.
    pub nodes: NodeSet,
    /// During what.
    pub during: During,
    /// At which flash operation from there, from 0: word writes and page erases.
    pub operation: u64,
    /// What is left of the operation.
    #[serde(default = "not_done")]
    pub tear: Tear,
    /// How long it stays dark.
    #[serde(default = "five_seconds")]
    pub dark: Span,
}

const fn not_done() -> Tear {
    Tear::NotDone
}

const fn five_seconds() -> Span {
    Span::secs(5)
}

/// What the cut falls into; operations are counted from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum During {
    /// The transfer, from the node's phase Transfer Active.
    Download,
    /// Request and install, from the node's phase Applying.
    Install,
    /// The trial and what ends it, from the start of the trial image: far enough on, the roll-back.
    Trial,
    /// The confirmation, from when the gateway heard it.
    Confirm,
}

impl Documented for PowerCut {
    const MANUAL: &'static str = "Power of each node goes at the n-th flash operation after the download, the install, \
        the trial or the confirmation began, leaves the operation torn as `tear` says (not-done, done, random-bits, \
        half-erased, first-word-left) and comes back after `dark`. The proof is the flash model's record of the cut, with \
        the octets before and after; a cut that never fired proves nothing.";
    const EXAMPLE: &'static str = "power-cut: { nodes: n03, during: install, operation: 5000, tear: random-bits }";
}

impl Fault for PowerCut {
    fn nodes(&self) -> Option<&NodeSet> {
        Some(&self.nodes)
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let nodes = lab.select(&self.nodes)?;
        for &node in &nodes {
            let trigger = match self.during {
                During::Download => Trigger::Phase(node, UpdatePhase::TransferActive),
                During::Install => Trigger::Phase(node, UpdatePhase::Applying),
                During::Trial => Trigger::TrialStarted(node),
                During::Confirm => Trigger::ConfirmationHeard(node),
            };
            let cut =
                Power::CutAtOperation { operation: self.operation, tear: self.tear, restore_after: self.dark };
            lab.act(When::After { trigger, nth: 1, delay: Span::ZERO }, Action::Power(node, cut));
        }
        lab.prove(Clause::power_cut(lab.id, Want::Each(nodes)));
        Ok(())
    }
}
