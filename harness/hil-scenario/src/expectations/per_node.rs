//! Expectations that are judged node by node: one small state per node, one opinion per node, one finding for all.

use crate::monitor::{MOST_CITED, Monitor};
use crate::plan::Plan;
use hil_model::record::Conclusion;
use hil_model::{Event, Finding, NodeId};
use std::collections::BTreeMap;

/// What is found of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// How it ended.
    pub conclusion: Conclusion,
    /// Why; empty where it holds.
    pub text: String,
    /// Events it rests on; the first is the first wrong one.
    pub events: Vec<u64>,
}

impl Opinion {
    /// It holds.
    #[must_use]
    pub fn holds(events: impl IntoIterator<Item = u64>) -> Self {
        Self { conclusion: Conclusion::Holds, text: String::new(), events: events.into_iter().collect() }
    }

    /// The product did otherwise.
    pub fn broken(text: impl Into<String>, events: impl IntoIterator<Item = u64>) -> Self {
        Self { conclusion: Conclusion::Broken, text: text.into(), events: events.into_iter().collect() }
    }

    /// Evidence is missing.
    pub fn unproven(text: impl Into<String>) -> Self {
        Self { conclusion: Conclusion::Unproven, text: text.into(), events: Vec::new() }
    }
}

/// A rule over the events of one node.
pub trait NodeRule: Send {
    /// What is remembered of a node.
    type State: Default + Send;

    /// Takes notice of an event about the node.
    fn on_event(&self, state: &mut Self::State, event: &Event);

    /// What is found of the node in the end.
    fn close(&self, state: &Self::State, plan: &Plan) -> Opinion;

    /// What may be said when it holds for every node.
    fn claim(&self) -> String;
}

/// A [`NodeRule`] over a set of nodes, as a monitor.
#[derive(Debug)]
pub struct PerNode<R: NodeRule> {
    rule: String,
    inner: R,
    states: BTreeMap<NodeId, R::State>,
}

impl<R: NodeRule> PerNode<R> {
    /// Watches these nodes.
    pub fn new(rule: &str, nodes: Vec<NodeId>, inner: R) -> Self {
        let states = nodes.into_iter().map(|node| (node, R::State::default())).collect();
        Self { rule: rule.to_owned(), inner, states }
    }
}

/// Most nodes that a finding names with their reason.
const MOST_NAMED: usize = 4;

impl<R: NodeRule> Monitor for PerNode<R> {
    fn rule(&self) -> &str {
        &self.rule
    }

    fn on_event(&mut self, event: &Event) {
        if let Some(state) = event.about.node().and_then(|node| self.states.get_mut(&node)) {
            self.inner.on_event(state, event);
        }
    }

    fn close(&self, plan: &Plan) -> Finding {
        let opinions: Vec<(NodeId, Opinion)> =
            self.states.iter().map(|(node, state)| (*node, self.inner.close(state, plan))).collect();
        let worst = [Conclusion::Broken, Conclusion::Unproven]
            .into_iter()
            .find(|c| opinions.iter().any(|(_, o)| o.conclusion == *c))
            .unwrap_or(Conclusion::Holds);
        let concerned: Vec<&(NodeId, Opinion)> = opinions.iter().filter(|(_, o)| o.conclusion == worst).collect();
        let ids: Vec<NodeId> = concerned.iter().map(|(node, _)| *node).collect();
        let text = if worst == Conclusion::Holds {
            format!("{}: {}", hil_model::words::nodes(&ids), self.inner.claim())
        } else {
            let mut parts: Vec<String> =
                concerned.iter().take(MOST_NAMED).map(|(node, o)| format!("{node}: {}", o.text)).collect();
            if concerned.len() > MOST_NAMED {
                parts.push(format!("and {} more nodes", concerned.len() - MOST_NAMED));
            }
            parts.join("; ")
        };
        let events = concerned.iter().flat_map(|(_, o)| o.events.iter().copied()).take(MOST_CITED).collect();
        Finding { rule: self.rule.clone(), conclusion: worst, text, events }
    }
}
