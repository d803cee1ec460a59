//! `withhold-confirmation`: the first-boot confirmation is not sent, not heard, not acknowledged, or late.

use super::{Aim, Before, Documented, FROM_THE_START, Fault, Lowering, misbehave};
use crate::diagnostic::Trouble;
use crate::forge::Recipe;
use crate::nodes::NodeSet;
use crate::proof::{Clause, Want};
use hil_model::fact::Interposition;
use hil_model::{AirEffect, Behaviour, Capability, HoldUntil, MessageKind, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WithholdConfirmation {
    /// How.
    pub how: How,
    /// At which nodes, where it is done on the air. An image that misbehaves does so on all.
    #[serde(default)]
    pub nodes: Option<NodeSet>,
}

/// How the confirmation is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The image runs and never sends it.
    NeverSent,
    /// The image crashes right after the jump.
    CrashAtBoot,
    /// The image crashes after a while, every time.
    CrashLoop,
    /// The image hangs at its first boot until the watchdog fires.
    HangAtBoot,
    /// The gateway never hears it.
    NeverHeard,
    /// The node never hears the acknowledgement.
    AckLost,
    /// It reaches the gateway this long before the grace period ends.
    UntilBeforeGrace(Span),
    /// It reaches the gateway this long after the grace period has ended.
    UntilAfterGrace(Span),
}

impl How {
    const fn behaviour(self) -> Option<Behaviour> {
        match self {
            Self::NeverSent => Some(Behaviour::NeverConfirms),
            Self::CrashAtBoot => Some(Behaviour::CrashesAtBoot),
            Self::CrashLoop => Some(Behaviour::CrashLoops),
            Self::HangAtBoot => Some(Behaviour::HangsAtBoot),
            Self::NeverHeard | Self::AckLost | Self::UntilBeforeGrace(_) | Self::UntilAfterGrace(_) => None,
        }
    }
}

impl Documented for WithholdConfirmation {
    const MANUAL: &'static str = "The first-boot confirmation of the new image is withheld. `never-sent`, \
        `crash-at-boot`, `crash-loop` and `hang-at-boot` are fixture images that all nodes get; the proof is that \
        exactly that image was executed. The others act on the air, for `nodes`: `never-heard` drops the confirmation \
        before the gateway, `ack-lost` drops the acknowledgement before the node (the gateway then counts a node that \
        rolls back), `until-before-grace` and `until-after-grace` hold the confirmation on either side of the limit, \
        counted from the trial's start. Their proof is the message dropped, or held and released.";
    const EXAMPLE: &'static str = "withhold-confirmation: { how: never-heard, nodes: n03 }";
}

impl Fault for WithholdConfirmation {
    fn nodes(&self) -> Option<&NodeSet> {
        self.nodes.as_ref()
    }

    fn shape(&self, recipe: &mut Recipe, _: Before) -> Result<(), Trouble> {
        self.how.behaviour().map_or(Ok(()), |behaviour| misbehave(recipe, behaviour))
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let nodes = match (self.how.behaviour(), &self.nodes) {
            (Some(_), Some(_)) => {
                return Err(Trouble::at("nodes", "one image goes to all nodes; leave `nodes` out"));
            }
            (Some(_), None) => {
                lab.need(Capability::NodeImages);
                lab.prove(Clause::image_ran(lab.candidate.digest, Want::AtLeast(1)));
                return Ok(());
            }
            (None, None) => return Err(Trouble::here("lacks `nodes`: whose confirmation is withheld")),
            (None, Some(nodes)) => lab.select(nodes)?,
        };
        let hold = |span| AirEffect::Delay(HoldUntil::AfterTrialStart(span));
        let (kind, effect) = match self.how {
            How::AckLost => (MessageKind::ConfirmAck, AirEffect::Drop),
            How::UntilBeforeGrace(early) => {
                let until = lab.grace.0.checked_sub(early.0).filter(|left| *left > 0);
                let span = until.ok_or_else(|| Trouble::at("how", format!("the grace period is only {}", lab.grace)))?;
                (MessageKind::Confirm, hold(Span(span)))
            }
            How::UntilAfterGrace(late) => (MessageKind::Confirm, hold(lab.grace + late)),
            How::NeverHeard | How::NeverSent | How::CrashAtBoot | How::CrashLoop | How::HangAtBoot => {
                (MessageKind::Confirm, AirEffect::Drop)
            }
        };
        let each = Want::Each(nodes.clone());
        let proofs: &[Interposition] = match effect {
            AirEffect::Delay(_) => &[Interposition::Held, Interposition::Released],
            _ => &[Interposition::Dropped],
        };
        for did in proofs {
            lab.prove(Clause::interposed(lab.id, *did, vec![kind], each.clone()));
        }
        if kind == MessageKind::ConfirmAck {
            let aim = Aim { to: nodes, ..Aim::default() };
            lab.rule(FROM_THE_START, kind, aim, effect, None);
        } else {
            lab.rule_from(FROM_THE_START, kind, &nodes, &effect);
        }
        Ok(())
    }
}
