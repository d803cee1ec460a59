//! The nodes a campaign addresses, and who serves them.

use crate::codec;
use alloc::vec;
use alloc::vec::Vec;
use mk_wire::Addr;
use serde::{Deserialize, Serialize};

/// How a node takes its updates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Carrier {
    /// Bluetooth Mesh DFU.
    Mesh,
    /// Thread, CoAP block transfer.
    Thread,
}

/// What a node is in the building.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum NodeKind {
    /// A light.
    Luminaire,
    /// A sensor.
    Sensor,
    /// A wall switch.
    Switch,
}

/// One node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Unicast address.
    #[serde(with = "codec::addr")]
    pub addr: Addr,
    /// Where.
    pub floor: u8,
    /// What.
    pub kind: NodeKind,
    /// Reached how.
    pub carrier: Carrier,
    /// The gateway that distributes to it.
    #[serde(with = "codec::addr")]
    pub gateway: Addr,
}

/// A fleet that cannot be addressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FleetError {
    /// There is no node.
    #[error("the fleet has no node")]
    Empty,
    /// More nodes than unicast addresses.
    #[error("{0} nodes, at most 32767 can have an address")]
    TooLarge(usize),
    /// A node or gateway address is not unicast.
    #[error("{0} is not a unicast address")]
    NotUnicast(Addr),
    /// Two nodes share an address.
    #[error("two nodes have the address {0}")]
    Duplicate(Addr),
}

/// Index of a node in the fleet, in the order given to the campaign.
pub(crate) type NodeIndex = u16;

/// The nodes in the order given, found by address in constant time: a thousand nodes send two notices a minute.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    nodes: Vec<NodeInfo>,
    gateways: Vec<Addr>,
    lowest: u16,
    by_addr: Vec<NodeIndex>,
}

/// Marks an address without a node in [`Fleet::by_addr`]; a fleet has fewer nodes than that.
const NOBODY: NodeIndex = NodeIndex::MAX;

impl Fleet {
    pub fn new(nodes: Vec<NodeInfo>) -> Result<Self, FleetError> {
        if nodes.len() > 0x7FFF {
            return Err(FleetError::TooLarge(nodes.len()));
        }
        for node in &nodes {
            for addr in [node.addr, node.gateway] {
                if !addr.is_unicast() {
                    return Err(FleetError::NotUnicast(addr));
                }
            }
        }
        let lowest = nodes.iter().map(|n| n.addr.0).min().ok_or(FleetError::Empty)?;
        let highest = nodes.iter().map(|n| n.addr.0).max().ok_or(FleetError::Empty)?;
        let mut by_addr = vec![NOBODY; usize::from(highest - lowest) + 1];
        for (index, node) in (0..).zip(&nodes) {
            match by_addr.get_mut(usize::from(node.addr.0 - lowest)) {
                Some(slot) if *slot == NOBODY => *slot = index,
                Some(_) | None => return Err(FleetError::Duplicate(node.addr)),
            }
        }
        let mut gateways: Vec<Addr> = nodes.iter().map(|n| n.gateway).collect();
        gateways.sort_unstable();
        gateways.dedup();
        Ok(Fleet { nodes, gateways, lowest, by_addr })
    }

    /// Every node, in the order given.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// The gateways, each once, ascending.
    pub fn gateways(&self) -> &[Addr] {
        &self.gateways
    }

    #[inline]
    pub fn index(&self, addr: Addr) -> Option<usize> {
        let index = *self.by_addr.get(usize::from(addr.0.checked_sub(self.lowest)?))?;
        (index != NOBODY).then_some(usize::from(index))
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node at that index. Indices come from [`Fleet::index`] or a partition of this fleet.
    pub fn node(&self, index: usize) -> Option<&NodeInfo> {
        self.nodes.get(index)
    }
}
