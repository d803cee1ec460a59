//! Which nodes are meant: `n03`, `n01..n06`, `all`, `others`, `mesh`, `thread`, or a list of these. A leading `-` in a
//! list takes away: `[all, -n03]`. All of it stays within the nodes that the campaign addresses.

use crate::scalars::BadScalar;
use hil_model::{Fleet, NodeId, Protocol};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One word of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// Every node that the campaign addresses.
    All,
    /// Those that no fault of the scenario names.
    Others,
    /// Those reached over Bluetooth Mesh.
    Mesh,
    /// Those reached over Thread.
    Thread,
    /// From this node to that one, both included.
    Nodes(NodeId, NodeId),
}

impl FromStr for Selector {
    type Err = BadScalar;
    fn from_str(text: &str) -> Result<Self, BadScalar> {
        let bad = || BadScalar {
            text: text.to_owned(),
            wanted: "a selection of nodes",
            example: "`n03`, `n01..n06`, `all`, `others`, `mesh` or `thread`",
        };
        Ok(match text {
            "all" => Self::All,
            "others" => Self::Others,
            "mesh" => Self::Mesh,
            "thread" => Self::Thread,
            _ => {
                let (first, last) = text.split_once("..").unwrap_or((text, text));
                let id = |text: &str| text.parse::<NodeId>().map_err(|_| bad());
                let (first, last) = (id(first)?, id(last)?);
                if first > last {
                    return Err(bad());
                }
                Self::Nodes(first, last)
            }
        })
    }
}

/// A selection of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSet(Vec<(bool, Selector)>);

impl NodeSet {
    /// Every node addressed.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![(true, Selector::All)])
    }

    /// Whether it is written as plain `all`.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0 == [(true, Selector::All)]
    }

    /// The nodes meant, in order.
    ///
    /// # Errors
    /// A node that the fleet lacks or the campaign does not address, or a selection of nobody; in words.
    pub fn resolve(&self, world: &World<'_>) -> Result<Vec<NodeId>, String> {
        let mut chosen = BTreeSet::new();
        for &(add, selector) in &self.0 {
            let nodes = world.select(selector)?;
            if add {
                chosen.extend(nodes);
            } else {
                for node in nodes {
                    chosen.remove(&node);
                }
            }
        }
        if chosen.is_empty() {
            return Err("selects no node".to_owned());
        }
        Ok(chosen.into_iter().collect())
    }

    fn push(&mut self, text: &str) -> Result<(), BadScalar> {
        let (add, selector) = text.strip_prefix('-').map_or((true, text), |rest| (false, rest));
        self.0.push((add, selector.parse()?));
        Ok(())
    }
}

/// What a selection is resolved against.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// Nodes that the campaign addresses.
    pub targets: &'a [NodeId],
    /// Nodes that faults name.
    pub touched: &'a BTreeSet<NodeId>,
}

impl World<'_> {
    /// How the node takes its updates.
    #[must_use]
    pub fn protocol(&self, node: NodeId) -> Protocol {
        self.fleet.get(node).map_or(Protocol::Mesh, |spec| spec.protocol)
    }

    fn select(&self, selector: Selector) -> Result<Vec<NodeId>, String> {
        let targets = self.targets.iter().copied();
        Ok(match selector {
            Selector::All => targets.collect(),
            Selector::Others => targets.filter(|node| !self.touched.contains(node)).collect(),
            Selector::Mesh => targets.filter(|node| self.protocol(*node) == Protocol::Mesh).collect(),
            Selector::Thread => targets.filter(|node| self.protocol(*node) == Protocol::Thread).collect(),
            Selector::Nodes(first, last) => {
                let last_of_fleet = self.fleet.nodes.last().map_or(NodeId(0), |spec| spec.id);
                if last > last_of_fleet {
                    return Err(format!("there is no node {last}; the fleet ends at {last_of_fleet}"));
                }
                let meant: Vec<NodeId> = (first.0..=last.0).map(NodeId).collect();
                if let Some(out) = meant.iter().find(|node| !self.targets.contains(node)) {
                    return Err(format!("the campaign does not address {out}"));
                }
                meant
            }
        })
    }
}

impl<'de> Deserialize<'de> for NodeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> de::Visitor<'de> for OneOrMany {
            type Value = NodeSet;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a selection of nodes such as `n03` or `[n01..n06, thread]`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<NodeSet, E> {
                let mut set = NodeSet(Vec::new());
                set.push(text).map_err(E::custom)?;
                Ok(set)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<NodeSet, A::Error> {
                let mut set = NodeSet(Vec::new());
                while let Some(text) = list.next_element::<String>()? {
                    set.push(&text).map_err(de::Error::custom)?;
                }
                Ok(set)
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for NodeSet {
    fn schema_name() -> Cow<'static, str> {
        "NodeSet".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "nodes: n03, n01..n06, all, others (that no fault names), mesh, thread, or a list of these; -n03 in a list takes away",
            "examples": ["n03", ["all", "-n03"]],
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    fn resolve(yaml: &str) -> Result<String, String> {
        let fleet = Fleet::building(12, 1, 1, 6, 1);
        let targets: Vec<NodeId> = (1..=10).map(NodeId).collect();
        let touched = BTreeSet::from([NodeId(3)]);
        let set: NodeSet = serde_yaml::from_str(yaml).map_err(|e| e.to_string())?;
        let world = World { fleet: &fleet, targets: &targets, touched: &touched };
        set.resolve(&world).map(|nodes| hil_model::words::nodes(&nodes))
    }

    #[rstest]
    #[case("all", "n01..n10")]
    #[case("n03", "n03")]
    #[case("n03..n05", "n03..n05")]
    #[case("others", "n01, n02, n04..n10")]
    #[case("thread", "n06")]
    #[case("[mesh, -n01..n08]", "n09, n10")]
    #[case("[n09, n01]", "n01, n09")]
    fn selections_are_resolved(#[case] yaml: &str, #[case] want: &str) {
        assert_eq!(resolve(yaml).unwrap(), want);
    }

    #[rstest]
    #[case("n13", "there is no node n13; the fleet ends at n12")]
    #[case("n11", "the campaign does not address n11")]
    #[case("[n01, -n01]", "selects no node")]
    #[case("n05..n03", "not a selection of nodes")]
    #[case("everyone", "not a selection of nodes")]
    fn wrong_selections_say_why(#[case] yaml: &str, #[case] want: &str) {
        let error = resolve(yaml).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}
