//! `bank-a`: what the running bank holds at the end, and whether anything ever touched it.

use super::Documented;
use super::per_node::Opinion;
use super::probed::Probed;
use super::witness::Trail;
use crate::nodes::NodeSet;
use crate::plan::Plan;
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BankA {
    /// Which nodes.
    pub nodes: NodeSet,
    /// What it is.
    pub is: Content,
}

/// What the running bank is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// The same octets as at the start, and no operation in between.
    NeverWritten,
    /// The same octets as at the start.
    Unchanged,
    /// The package's image.
    Candidate,
}

impl Documented for BankA {
    const MANUAL: &'static str = "What the probe finds in the running bank at the end: `candidate`, `unchanged` (the same \
        octets as at the start; it may have been written and restored), or `never-written` (unchanged, and not one word \
        written or page erased in between, by the flash's own counters).";
    const EXAMPLE: &'static str = "bank-a: { nodes: n03, is: never-written }";
}

impl Probed for BankA {
    fn nodes(&self) -> &NodeSet {
        &self.nodes
    }

    fn judge(&self, found: &Trail, plan: &Plan) -> Opinion {
        if self.is == Content::Candidate {
            return plan.labelled(Plan::CANDIDATE).map_or_else(
                || Opinion::unproven("the plan knows no candidate"),
                |image| found.ends_on(image, plan),
            );
        }
        let (Some(first), Some(last)) = (found.provisioned, found.last) else {
            return Opinion::unproven("no probe snapshot at the start or at the end");
        };
        if first.a.digest != last.a.digest {
            let text = format!("bank A is {} at the end and was {}", last.a.digest.short(), first.a.digest.short());
            return Opinion::broken(text, [last.seq, first.seq]);
        }
        match (self.is, found.first_use[0]) {
            (Content::NeverWritten, Some(seq)) => {
                let used = found.flash[0];
                let text = format!("{} words written and {} pages erased in bank A", used.words, used.erases);
                Opinion::broken(text, [seq])
            }
            (Content::NeverWritten, None) | (Content::Unchanged | Content::Candidate, _) => {
                Opinion::holds([first.seq, last.seq])
            }
        }
    }

    fn claim(&self) -> String {
        match self.is {
            Content::NeverWritten => "bank A never written",
            Content::Unchanged => "bank A as at the start",
            Content::Candidate => "bank A holds the candidate",
        }
        .to_owned()
    }
}
