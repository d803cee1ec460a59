//! `outcomes`: how many nodes end in which class.

use super::{Documented, Expectation};
use crate::diagnostic::Trouble;
use crate::monitor::{Monitor, cite};
use crate::nodes::World;
use crate::plan::Plan;
use hil_model::fact::OutcomeClass;
use hil_model::record::Conclusion;
use hil_model::{Event, Fact, Finding, NodeId};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The expectation; a class left out has no nodes.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Outcomes {
    /// Run the new image.
    pub updated: u16,
    /// Back on the old one.
    pub rolled_back: u16,
    /// Refused.
    pub rejected: u16,
    /// Failed.
    pub failed: u16,
    /// Silent.
    pub unreachable: u16,
}

impl Documented for Outcomes {
    const MANUAL: &'static str = "How many nodes the campaign counts in each class at the end; a class that is left out \
        has none. Nodes whose stage never began are in no class. `outcome` says which nodes, and asks the probe.";
    const EXAMPLE: &'static str = "outcomes: { updated: 23, rejected: 1 }";
}

impl Outcomes {
    fn want(&self) -> [(OutcomeClass, u16); 5] {
        [
            (OutcomeClass::Updated, self.updated),
            (OutcomeClass::RolledBack, self.rolled_back),
            (OutcomeClass::Rejected, self.rejected),
            (OutcomeClass::Failed, self.failed),
            (OutcomeClass::Unreachable, self.unreachable),
        ]
    }
}

impl Expectation for Outcomes {
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        let sum: usize = self.want().iter().map(|(_, count)| usize::from(*count)).sum();
        if sum <= world.targets.len() {
            return Vec::new();
        }
        vec![Trouble::here(format!("{sum} nodes in all; the campaign addresses {}", world.targets.len()))]
    }

    fn monitor(&self, rule: &str, _: &Plan) -> Box<dyn Monitor> {
        Box::new(Count { rule: rule.to_owned(), want: *self, counted: BTreeMap::new() })
    }
}

struct Count {
    rule: String,
    want: Outcomes,
    counted: BTreeMap<NodeId, (OutcomeClass, u64)>,
}

impl Monitor for Count {
    fn rule(&self) -> &str {
        &self.rule
    }

    fn on_event(&mut self, event: &Event) {
        if let (Fact::NodeOutcome { outcome, .. }, Some(node)) = (&event.fact, event.about.node()) {
            self.counted.insert(node, (outcome.class(), event.seq));
        }
    }

    fn close(&self, _: &Plan) -> Finding {
        let mut wrong = Vec::new();
        let mut events = Vec::new();
        for (class, want) in self.want.want() {
            let of_class = || self.counted.values().filter(|(counted, _)| *counted == class);
            let found = of_class().count();
            if found != usize::from(want) {
                wrong.push(format!("{found} {}, {want} expected", crate::words::kebab(&format!("{class:?}"))));
                of_class().for_each(|(_, seq)| cite(&mut events, *seq));
            }
        }
        let (conclusion, text) = if wrong.is_empty() {
            (Conclusion::Holds, format!("{} nodes counted as expected", self.counted.len()))
        } else {
            (Conclusion::Broken, wrong.join("; "))
        };
        Finding { rule: self.rule.clone(), conclusion, text, events }
    }
}
