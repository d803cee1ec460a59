//! `staging`: what became of the slots.

use super::Documented;
use super::per_node::Opinion;
use super::probed::Probed;
use super::witness::Trail;
use crate::nodes::NodeSet;
use crate::plan::Plan;
use hil_model::ImageCheck;
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Staging {
    /// Which nodes.
    pub nodes: NodeSet,
    /// What the slots are.
    pub is: Slots,
}

/// What the slots are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Slots {
    /// Neither slot was written or erased.
    NeverWritten,
    /// No slot holds a valid image of the candidate's version.
    NotValid,
    /// One slot is a valid golden copy of what the node ended on.
    GoldenSound,
}

impl Documented for Staging {
    const MANUAL: &'static str = "What the probe finds in the two external slots: `never-written` (the refusal came before \
        any erase), `not-valid` (what was staged is no valid image of the candidate's version), `golden-sound` (one slot \
        holds a valid image of the version in bank A, so that there is something to roll back to).";
    const EXAMPLE: &'static str = "staging: { nodes: n03, is: not-valid }";
}

impl Probed for Staging {
    fn nodes(&self) -> &NodeSet {
        &self.nodes
    }

    fn judge(&self, found: &Trail, plan: &Plan) -> Opinion {
        let Some(last) = found.last else {
            return Opinion::unproven("no probe snapshot at the end");
        };
        let candidate = plan.labelled(Plan::CANDIDATE).map(|image| image.version);
        let valid = |version| last.slots.iter().any(|s| s.check == ImageCheck::Valid && s.version == version);
        match self.is {
            Slots::NeverWritten => match found.first_use[1].or(found.first_use[2]) {
                Some(seq) => {
                    let words = found.flash[1].words + found.flash[2].words;
                    let erases = found.flash[1].erases + found.flash[2].erases;
                    Opinion::broken(format!("{words} words written and {erases} pages erased in the slots"), [seq])
                }
                None => Opinion::holds([last.seq]),
            },
            Slots::NotValid if valid(candidate) => {
                Opinion::broken("a slot holds a valid image of the candidate's version", [last.seq])
            }
            Slots::GoldenSound if last.a.version.is_none() || !valid(last.a.version) => {
                Opinion::broken("no slot holds a valid copy of the version in bank A", [last.seq])
            }
            Slots::NotValid | Slots::GoldenSound => Opinion::holds([last.seq]),
        }
    }

    fn claim(&self) -> String {
        match self.is {
            Slots::NeverWritten => "slots never written",
            Slots::NotValid => "nothing valid left in staging",
            Slots::GoldenSound => "golden slot sound",
        }
        .to_owned()
    }
}
