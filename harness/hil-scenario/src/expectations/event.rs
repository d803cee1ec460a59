//! `event` and `no-event`: something was, or never was, in the ledger.

use super::{Documented, Expectation, check_nodes, nodes_of};
use crate::diagnostic::Trouble;
use crate::monitor::{Monitor, cite};
use crate::nodes::{NodeSet, World};
use crate::plan::Plan;
use hil_model::record::Conclusion;
use hil_model::{Event, Finding, NodeId};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;

/// A pattern over events.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pattern {
    /// Name of the fact as in the ledger: `campaign-paused`.
    pub fact: String,
    /// About these nodes; about anything when left out.
    #[serde(default)]
    pub nodes: Option<NodeSet>,
    /// With this text in the event's JSON.
    #[serde(default)]
    pub contains: Option<String>,
}

/// Such an event was seen.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Seen(pub Pattern);

/// No such event was seen.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NotSeen(pub Pattern);

impl Documented for Seen {
    const MANUAL: &'static str = "The ledger has an event of this name; with `nodes`, one about each of them; with \
        `contains`, one whose JSON holds this text. For what no other expectation says.";
    const EXAMPLE: &'static str = "event: { fact: unhealthy, nodes: n03, contains: reports-missing }";
}

impl Documented for NotSeen {
    const MANUAL: &'static str = "The ledger has no such event, about none of the nodes.";
    const EXAMPLE: &'static str = "no-event: { fact: crashed }";
}

impl Pattern {
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        let mut trouble: Vec<Trouble> = self.nodes.iter().flat_map(|nodes| check_nodes(nodes, world)).collect();
        let names = fact_names();
        if !names.contains(&self.fact) {
            let known = names.iter().map(String::as_str);
            let message = match crate::diagnostic::did_you_mean(&self.fact, known) {
                Some(name) => format!("no fact is called \"{}\"; did you mean \"{name}\"?", self.fact),
                None => format!("no fact is called \"{}\"", self.fact),
            };
            trouble.push(Trouble::at("fact", message));
        }
        trouble
    }

    fn watch(&self, rule: &str, plan: &Plan, wanted: bool) -> Box<dyn Monitor> {
        Box::new(Watch {
            rule: rule.to_owned(),
            pattern: self.clone(),
            nodes: self.nodes.as_ref().map(|nodes| nodes_of(nodes, plan)),
            wanted,
            seen: BTreeSet::new(),
            events: Vec::new(),
        })
    }
}

/// Names of all facts, from the schema of the ledger.
fn fact_names() -> BTreeSet<String> {
    let schema = schemars::schema_for!(hil_model::Fact).to_value();
    let options = schema.get("oneOf").and_then(|options| options.as_array()).cloned().unwrap_or_default();
    let mut names = BTreeSet::new();
    for option in options {
        let words = option.get("enum").and_then(|words| words.as_array()).cloned().unwrap_or_default();
        names.extend(words.iter().chain(option.get("const")).filter_map(|word| word.as_str().map(str::to_owned)));
        let keys = option.get("properties").and_then(|properties| properties.as_object());
        names.extend(keys.into_iter().flat_map(|keys| keys.keys().cloned()));
    }
    names
}

impl Expectation for Seen {
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        self.0.check(world)
    }

    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        self.0.watch(rule, plan, true)
    }
}

impl Expectation for NotSeen {
    fn check(&self, world: &World<'_>) -> Vec<Trouble> {
        self.0.check(world)
    }

    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        self.0.watch(rule, plan, false)
    }
}

struct Watch {
    rule: String,
    pattern: Pattern,
    nodes: Option<Vec<NodeId>>,
    wanted: bool,
    seen: BTreeSet<NodeId>,
    events: Vec<u64>,
}

impl Watch {
    fn matches(&self, event: &Event) -> bool {
        let about = event.about.node();
        if let Some(nodes) = &self.nodes
            && about.is_none_or(|node| nodes.binary_search(&node).is_err())
        {
            return false;
        }
        if event.fact.name() != self.pattern.fact {
            return false;
        }
        self.pattern
            .contains
            .as_ref()
            .is_none_or(|text| serde_json::to_string(&event.fact).is_ok_and(|json| json.contains(text)))
    }
}

impl Monitor for Watch {
    fn rule(&self) -> &str {
        &self.rule
    }

    fn on_event(&mut self, event: &Event) {
        if !self.settled() && self.matches(event) {
            self.seen.extend(event.about.node());
            cite(&mut self.events, event.seq);
        }
    }

    fn settled(&self) -> bool {
        match (&self.nodes, self.wanted) {
            (Some(nodes), true) => self.seen.len() == nodes.len(),
            (None, true) => !self.events.is_empty(),
            (_, false) => !self.events.is_empty(),
        }
    }

    fn close(&self, _: &Plan) -> Finding {
        let fact = &self.pattern.fact;
        let (conclusion, text) = match (self.wanted, self.settled()) {
            (true, true) => (Conclusion::Holds, format!("`{fact}` was seen")),
            (true, false) => (Conclusion::Broken, format!("`{fact}` was not seen{}", self.absent())),
            (false, true) => (Conclusion::Broken, format!("`{fact}` was seen")),
            (false, false) => (Conclusion::Holds, format!("`{fact}` was never seen")),
        };
        Finding { rule: self.rule.clone(), conclusion, text, events: self.events.clone() }
    }
}

impl Watch {
    fn absent(&self) -> String {
        let nodes = self.nodes.as_deref().unwrap_or_default();
        let absent: Vec<NodeId> = nodes.iter().copied().filter(|node| !self.seen.contains(node)).collect();
        if absent.is_empty() { String::new() } else { format!(" for {}", hil_model::words::nodes(&absent)) }
    }
}
