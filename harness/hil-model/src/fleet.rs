//! The nodes of a rack: where they are, what they are, how they are reached.

use crate::ids::{FloorId, GatewayId, NodeId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a node takes its updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Bluetooth Mesh DFU.
    Mesh,
    /// Thread, CoAP block transfer.
    Thread,
}

/// What a node is in the building. Stages are spread over types and floors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeType {
    /// A light.
    Luminaire,
    /// A sensor.
    Sensor,
    /// A wall switch.
    Switch,
}

/// One node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeSpec {
    /// Which.
    pub id: NodeId,
    /// Where.
    pub floor: FloorId,
    /// What.
    pub kind: NodeType,
    /// Reached how.
    pub protocol: Protocol,
    /// The gateway that serves it.
    pub gateway: GatewayId,
    /// Configuration schema version it holds at the start.
    pub config_version: u16,
}

/// All nodes of a rack, in order of their ids, which run from 1 without a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Fleet {
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
}

impl Fleet {
    /// The node of that id.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&NodeSpec> {
        (id.0 > 0).then(|| self.nodes.get(id.index())).flatten()
    }

    /// Every id, in order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().map(|n| n.id)
    }

    /// The gateways that serve the fleet, in order, each once.
    #[must_use]
    pub fn gateways(&self) -> Vec<GatewayId> {
        let set: std::collections::BTreeSet<_> = self.nodes.iter().map(|n| n.gateway).collect();
        set.into_iter().collect()
    }

    /// A building of `count` nodes spread evenly over `floors`, one gateway per `nodes_per_gateway` nodes of
    /// neighbouring floors, every `thread_every`-th node on Thread (0: none). Of twelve nodes on a floor nine are
    /// luminaires, two sensors, one a switch.
    #[must_use]
    pub fn building(count: u16, floors: u8, gateways: u16, thread_every: u16, config_version: u16) -> Self {
        let (floors, gateways) = (floors.max(1), gateways.max(1));
        let nodes = (0..count)
            .map(|i| {
                let on_floor = u32::from(i) * u32::from(floors) / u32::from(count);
                let gateway = u32::from(i) * u32::from(gateways) / u32::from(count);
                NodeSpec {
                    id: NodeId(i + 1),
                    floor: FloorId(on_floor as u8 + 1),
                    kind: match i % 12 {
                        5 | 10 => NodeType::Sensor,
                        11 => NodeType::Switch,
                        _ => NodeType::Luminaire,
                    },
                    protocol: if thread_every > 0 && i % thread_every == thread_every - 1 {
                        Protocol::Thread
                    } else {
                        Protocol::Mesh
                    },
                    gateway: GatewayId(gateway as u16 + 1),
                    config_version,
                }
            })
            .collect();
        Self { nodes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_building_is_spread_evenly() {
        let fleet = Fleet::building(24, 2, 1, 6, 3);
        let on_floor = |f| fleet.nodes.iter().filter(|n| n.floor == FloorId(f)).count();
        assert_eq!((on_floor(1), on_floor(2)), (12, 12));
        assert_eq!(fleet.nodes.iter().filter(|n| n.protocol == Protocol::Thread).count(), 4);
        assert_eq!(fleet.gateways(), [GatewayId(1)]);
        assert!(fleet.ids().enumerate().all(|(i, id)| id.index() == i));
        assert!(fleet.get(NodeId(25)).is_none() && fleet.get(NodeId(0)).is_none());
    }
}
