//! `message`: messages of one kind are dropped, delayed, duplicated, overtaken or replayed.

use super::{Aim, Documented, FROM_THE_START, Fault, Lowering};
use crate::diagnostic::Trouble;
use crate::nodes::NodeSet;
use crate::proof::{Clause, Want};
use crate::scenario::Moment;
use hil_model::fact::Interposition;
use hil_model::{AirEffect, HoldUntil, MessageKind, Party, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Message {
    /// Kind of message.
    pub kind: MessageKind,
    /// Which nodes receive it, or send it.
    pub nodes: NodeSet,
    /// Who sends it; taken from the kind when left out.
    #[serde(default)]
    pub sent_by: Option<Sender>,
    /// What happens to it.
    pub effect: Effect,
    /// Only those of this BLOB or CoAP block.
    #[serde(default)]
    pub block: Option<u32>,
    /// At most so many messages, for each node.
    #[serde(default)]
    pub limit: Option<u32>,
    /// From when; the start of the run when left out.
    #[serde(default)]
    pub when: Option<Moment>,
}

/// Who sends the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sender {
    /// The gateway.
    Gateway,
    /// The nodes.
    Nodes,
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It is lost.
    Drop,
    /// It comes this much later.
    Delay(Span),
    /// It comes so many more times, 100 ms apart.
    Duplicate(u8),
    /// So many later messages (1 to 16) overtake it.
    Reorder(u8),
    /// It comes, and once more this much later.
    Replay(Span),
}

impl Documented for Message {
    const MANUAL: &'static str = "Messages of one kind to or from some nodes are dropped, delayed, duplicated, \
        overtaken by later ones or replayed: what a radio does to a protocol on a bad day. `limit` makes it a passing \
        trouble, which the protocol has to repair. The proof is a message of that kind, of each node, that the \
        interposer acted on.";
    const EXAMPLE: &'static str =
        "message: { kind: chunk, nodes: n03, effect: drop, block: 2, limit: 10 }";
}

/// Who sends messages of this kind; the gateway where both do.
const fn usual_sender(kind: MessageKind) -> Sender {
    match kind {
        MessageKind::BlockStatus
        | MessageKind::UpdateStatus
        | MessageKind::Confirm
        | MessageKind::Report
        | MessageKind::Health
        | MessageKind::AppReport => Sender::Nodes,
        MessageKind::Chunk
        | MessageKind::BlockStart
        | MessageKind::BlockGet
        | MessageKind::Transfer
        | MessageKind::UpdateStart
        | MessageKind::UpdateApply
        | MessageKind::UpdateOther
        | MessageKind::ConfirmAck
        | MessageKind::Light
        | MessageKind::CoapBlock
        | MessageKind::CoapOther
        | MessageKind::Other => Sender::Gateway,
    }
}

impl Effect {
    fn lower(self) -> Result<(AirEffect, Interposition), Trouble> {
        let wrong = |message: &str| Err(Trouble::at("effect", message));
        match self {
            Self::Drop => Ok((AirEffect::Drop, Interposition::Dropped)),
            Self::Delay(Span::ZERO) | Self::Replay(Span::ZERO) => wrong("takes a time above zero"),
            Self::Delay(span) => Ok((AirEffect::Delay(HoldUntil::For(span)), Interposition::Released)),
            Self::Duplicate(0) => wrong("takes at least one more copy"),
            Self::Duplicate(copies) => {
                let spacing = Span::millis(100);
                Ok((AirEffect::Duplicate { copies, spacing }, Interposition::Duplicated))
            }
            Self::Reorder(after @ 1..=16) => Ok((AirEffect::Reorder { after }, Interposition::Reordered)),
            Self::Reorder(_) => wrong("1 to 16 later messages can overtake"),
            Self::Replay(later) => Ok((AirEffect::Replay(later), Interposition::Replayed)),
        }
    }
}

impl Fault for Message {
    fn nodes(&self) -> Option<&NodeSet> {
        Some(&self.nodes)
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let nodes = lab.select(&self.nodes)?;
        let when = self.when.as_ref().map_or(Ok(FROM_THE_START), |moment| lab.when(moment))?;
        let (effect, did) = self.effect.lower()?;
        if self.limit == Some(0) {
            return Err(Trouble::at("limit", "nothing would happen"));
        }
        let count = if self.kind == MessageKind::CoapBlock { lab.coap_blocks() } else { lab.blocks() };
        if self.block.is_some_and(|block| block >= count) {
            let message = format!("there is no such block; the image has {count}, counted from 0");
            return Err(Trouble::at("block", message));
        }
        let everybody = self.nodes.is_all();
        match self.sent_by.unwrap_or(usual_sender(self.kind)) {
            Sender::Gateway => {
                let to = if everybody { Vec::new() } else { nodes.clone() };
                let aim = Aim { from: Some(Party::AnyGateway), to, block: self.block, chunks: None };
                lab.rule(when, self.kind, aim, effect, self.limit);
            }
            Sender::Nodes => {
                for &node in &nodes {
                    let aim = Aim { from: Some(Party::Node(node)), block: self.block, ..Aim::default() };
                    lab.rule(when, self.kind, aim, effect.clone(), self.limit);
                }
            }
        }
        let want = if everybody { Want::AtLeast(1) } else { Want::Each(nodes) };
        lab.prove(Clause::interposed(lab.id, did, vec![self.kind], want));
        Ok(())
    }
}
