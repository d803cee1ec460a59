//! What a rack can do. A scenario that needs what its rack lacks is skipped with that reason, never passed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

macro_rules! capabilities {
    ($($name:ident = $text:literal: $doc:literal,)*) => {
        /// One ability of a rack.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Capability {
            $(#[doc = $doc] $name,)*
        }
        impl Capability {
            /// Every capability, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// The name used in files and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
            /// What it means, in a line.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}

capabilities! {
    AirObserve = "air-observe": "messages on the air are witnessed by a radio of the rack",
    AirInterpose = "air-interpose": "messages between gateway and nodes can be dropped, altered, delayed, duplicated, reordered, replayed",
    AirPerReceiver = "air-per-receiver": "an interposer rule can act for some receivers of a multicast and not for others",
    AirSinglePdu = "air-single-pdu": "an interposer rule can act on one PDU of a message",
    GatewayInputs = "gateway-inputs": "the gateway's inputs (packages, orders) are the harness's to choose",
    GatewayRestart = "gateway-restart": "the gateway process can be killed and started again",
    MeshosRestart = "meshos-restart": "the campaign process can be killed and started again from its journal",
    PowerSwitch = "power-switch": "power of a node can be switched off and on",
    PowerCutAtOperation = "power-cut-at-operation": "power can be cut at a chosen flash operation, with a tear model",
    ProbeRead = "probe-read": "flash can be read without the node's help",
    ProbeWrite = "probe-write": "flash can be written without the node's help",
    ProbeHalt = "probe-halt": "the core can be halted",
    NodeImages = "node-images": "nodes run fixture images built from the product's sources",
    VirtualTime = "virtual-time": "long waits cost no wall time",
    Compositions = "compositions": "nodes and campaign can be assembled from wrong parts (canaries)",
    Thread = "thread": "the fleet holds Thread nodes",
    LargeFleet = "large-fleet": "one hundred nodes or more",
    FullStack = "full-stack": "every network PDU is real",
}

/// A set of capabilities, in order.
pub type CapabilitySet = BTreeSet<Capability>;

impl core::fmt::Display for Capability {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn names_agree_with_the_serialised_form() {
        for &capability in Capability::ALL {
            assert_eq!(serde_json::to_string(&capability).unwrap(), format!("\"{}\"", capability.name()));
        }
    }
}
