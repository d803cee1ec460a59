//! `silent-node`: nothing reaches some nodes and nothing of theirs is heard, though they are well.

use super::{Documented, FROM_THE_START, Fault, Lowering};
use crate::diagnostic::Trouble;
use crate::nodes::NodeSet;
use crate::proof::{Clause, Want};
use crate::scenario::Moment;
use hil_model::fact::Interposition;
use hil_model::{AirEffect, MessageKind};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SilentNode {
    /// Which nodes.
    pub nodes: NodeSet,
    /// From when; the start of the run when left out.
    #[serde(default)]
    pub when: Option<Moment>,
}

/// What nodes receive.
const TO: [MessageKind; 11] = [
    MessageKind::UpdateStart,
    MessageKind::UpdateApply,
    MessageKind::UpdateOther,
    MessageKind::Transfer,
    MessageKind::BlockStart,
    MessageKind::BlockGet,
    MessageKind::Chunk,
    MessageKind::ConfirmAck,
    MessageKind::Report,
    MessageKind::CoapBlock,
    MessageKind::CoapOther,
];

/// What nodes send.
const FROM: [MessageKind; 10] = [
    MessageKind::UpdateStatus,
    MessageKind::UpdateOther,
    MessageKind::Transfer,
    MessageKind::BlockStatus,
    MessageKind::Confirm,
    MessageKind::Report,
    MessageKind::Health,
    MessageKind::AppReport,
    MessageKind::CoapBlock,
    MessageKind::CoapOther,
];

impl Documented for SilentNode {
    const MANUAL: &'static str = "Update messages, reports and heartbeats to and from some nodes are lost, all of them: \
        somebody parked a lift in front of them. The nodes themselves are well. The proof is a message to or from each \
        node that was not delivered.";
    const EXAMPLE: &'static str = "silent-node: { nodes: n07 }";
}

impl Fault for SilentNode {
    fn nodes(&self) -> Option<&NodeSet> {
        Some(&self.nodes)
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let nodes = lab.select(&self.nodes)?;
        let when = self.when.as_ref().map_or(Ok(FROM_THE_START), |moment| lab.when(moment))?;
        for kind in TO {
            lab.rule_to(when, kind, &nodes, AirEffect::Drop);
        }
        for kind in FROM {
            lab.rule_from(when, kind, &nodes, &AirEffect::Drop);
        }
        let kinds = TO.into_iter().chain(FROM).collect();
        lab.prove(Clause::interposed(lab.id, Interposition::Dropped, kinds, Want::Each(nodes)));
        Ok(())
    }
}
