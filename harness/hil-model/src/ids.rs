//! Identifiers. Each is a type of its own, so that a node is never taken for a stage.

use core::fmt;
use core::str::FromStr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A node of the rack, counted from 1; written `n07`. The unicast address of node `n` in the mesh is
/// [`NodeId::unicast`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct NodeId(pub u16);

impl NodeId {
    /// First unicast address of the nodes; gateways sit below it.
    pub const FIRST_UNICAST: u16 = 0x0100;

    /// Unicast address of this node's primary element.
    #[must_use]
    pub const fn unicast(self) -> u16 {
        Self::FIRST_UNICAST + self.0
    }

    /// The node behind a unicast address, if the address lies in the range of the nodes.
    #[must_use]
    pub const fn from_unicast(address: u16) -> Option<Self> {
        if address > Self::FIRST_UNICAST && address < 0x7F00 { Some(Self(address - Self::FIRST_UNICAST)) } else { None }
    }

    /// Position in tables, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{:02}", self.0)
    }
}

/// A text that is not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}; write {example}")]
pub struct BadId {
    /// What was written.
    pub text: String,
    /// What was expected.
    pub kind: &'static str,
    /// A right one.
    pub example: &'static str,
}

impl FromStr for NodeId {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        s.strip_prefix('n')
            .filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|d| d.parse().ok())
            .filter(|n| (1..0x7E00).contains(n))
            .map(Self)
            .ok_or_else(|| BadId { text: s.to_owned(), kind: "node", example: "n01 to n32255" })
    }
}

macro_rules! as_text {
    ($t:ty) => {
        impl Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(NodeId);
as_text!(Digest);

/// A gateway of the rack, counted from 1. Its unicast address is the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct GatewayId(pub u16);

impl GatewayId {
    /// Unicast address of this gateway.
    #[must_use]
    pub const fn unicast(self) -> u16 {
        self.0
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gw{}", self.0)
    }
}

/// A floor of the building, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FloorId(pub u8);

/// A stage of a campaign, counted from 1 as operators do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StageIndex(pub u8);

/// A fault of a scenario, by its place in the scenario's list, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FaultId(pub u16);

/// An interposer rule, unique in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RuleId(pub u16);

/// The seed of a run. The same scenario, rack and seed give the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The first 8 hexadecimal digits, for timelines.
    #[must_use]
    pub fn short(&self) -> String {
        self.0[..4].iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.short())
    }
}

impl FromStr for Digest {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        let bad = || BadId { text: s.to_owned(), kind: "SHA-256 digest", example: "64 hexadecimal digits" };
        if s.len() != 64 || !s.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&s[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("n01", Some(1))]
    #[case("n1000", Some(1000))]
    #[case("n0", None)]
    #[case("n", None)]
    #[case("7", None)]
    #[case("n-1", None)]
    #[case("n99999", None)]
    fn node_ids_are_strict(#[case] text: &str, #[case] want: Option<u16>) {
        assert_eq!(text.parse::<NodeId>().ok().map(|n| n.0), want);
    }

    #[test]
    fn unicast_addresses_go_both_ways() {
        assert_eq!(NodeId::from_unicast(NodeId(7).unicast()), Some(NodeId(7)));
        assert_eq!(NodeId::from_unicast(GatewayId(3).unicast()), None);
    }

    #[test]
    fn digests_keep_their_bytes_in_json() {
        let digest = Digest([0xA5; 32]);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!("zz".repeat(32).parse::<Digest>().is_err());
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }
}
