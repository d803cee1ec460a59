//! `corrupt-block`: octets of one block change on the way to a node, or in its staging slot afterwards.

use super::{Aim, Documented, FROM_THE_START, Fault, Lowering};
use crate::diagnostic::Trouble;
use crate::nodes::NodeSet;
use crate::proof::{Clause, Want};
use crate::scalars::BadScalar;
use hil_model::fact::Interposition;
use hil_model::{AirEffect, MessageKind, Protocol};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;
use std::fmt;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CorruptBlock {
    /// For which nodes; the others hear the original.
    pub nodes: NodeSet,
    /// Which block: `first`, `middle`, `last` or its number. A BLOB block for mesh nodes, a CoAP block for Thread nodes.
    pub block: Block,
    /// How much of it.
    pub what: Amount,
    /// Where.
    #[serde(default)]
    pub place: Place,
}

/// How much of a block is altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// One bit.
    Bit,
    /// Every octet of one chunk.
    Chunk,
    /// Every octet.
    Block,
}

/// Where a block is altered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On the air.
    #[default]
    Air,
    /// In the staging slot, after the node has verified it.
    Staging,
}

/// A block of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The first.
    First,
    /// The one in the middle.
    Middle,
    /// The last.
    Last,
    /// By number, from 0.
    Number(u32),
}

impl Block {
    /// Its number among `count` blocks; `None` when there is no such block.
    #[must_use]
    pub fn number(self, count: u32) -> Option<u32> {
        let number = match self {
            Self::First => 0,
            Self::Middle => count / 2,
            Self::Last => count.checked_sub(1)?,
            Self::Number(number) => number,
        };
        (number < count).then_some(number)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl de::Visitor<'_> for Word {
            type Value = Block;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`first`, `middle`, `last` or a block number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Block, E> {
                match text {
                    "first" => Ok(Block::First),
                    "middle" => Ok(Block::Middle),
                    "last" => Ok(Block::Last),
                    _ => Err(E::custom(BadScalar {
                        text: text.to_owned(),
                        wanted: "a block",
                        example: "`first`, `middle`, `last` or its number",
                    })),
                }
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Block, E> {
                u32::try_from(number).map(Block::Number).map_err(|_| E::custom(format!("there is no block {number}")))
            }
        }
        deserializer.deserialize_any(Word)
    }
}

impl JsonSchema for Block {
    fn schema_name() -> Cow<'static, str> {
        "Block".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a block: first, middle, last, or its number from 0",
            "anyOf": [{ "enum": ["first", "middle", "last"] }, { "type": "integer", "minimum": 0 }]
        })
    }
}

impl Documented for CorruptBlock {
    const MANUAL: &'static str = "Octets of one block of the image change on the way to some nodes, or, with `place: \
        staging`, in the staging slot after the node has verified it. BLOB transfer checks nothing but the mesh's own \
        message integrity, which the interposer satisfies: only the hash and signature over the whole image can find it. \
        The proof compares the octets sent with those at the receiving port (or before and after, in staging).";
    const EXAMPLE: &'static str = "corrupt-block: { nodes: n03, block: first, what: bit }";
}

impl Fault for CorruptBlock {
    fn nodes(&self) -> Option<&NodeSet> {
        Some(&self.nodes)
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        match self.place {
            Place::Air => self.on_the_air(lab),
            Place::Staging => self.in_staging(lab),
        }
    }
}

/// The chunk that `bit` and `chunk` alter: neither the first nor the last of any block.
const CHUNK: u16 = 3;

impl CorruptBlock {
    fn number(&self, count: u32) -> Result<u32, Trouble> {
        let none = || Trouble::at("block", format!("there is no such block; the image has {count}, counted from 0"));
        self.block.number(count).ok_or_else(none)
    }

    fn on_the_air(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let nodes = lab.select(&self.nodes)?;
        let everybody = self.nodes.is_all();
        let (mesh, thread) = (lab.on(Protocol::Mesh, &nodes), lab.on(Protocol::Thread, &nodes));
        let effect = match self.what {
            Amount::Bit => AirEffect::Alter { offset: 0, mask: vec![1], repeat: false },
            Amount::Chunk | Amount::Block => AirEffect::Alter { offset: 0, mask: vec![0xFF], repeat: true },
        };
        if !mesh.is_empty() {
            let block = Some(self.number(lab.blocks())?);
            let chunks = match self.what {
                Amount::Bit | Amount::Chunk => Some((CHUNK, CHUNK)),
                Amount::Block => None,
            };
            // Altered for everybody, it is one rule about the message on the air, which any interposer can keep.
            let to = if everybody { Vec::new() } else { mesh };
            let aim = Aim { from: None, to, block, chunks };
            lab.rule(FROM_THE_START, MessageKind::Chunk, aim, effect.clone(), None);
        }
        if !thread.is_empty() {
            let block = Some(self.number(lab.coap_blocks())?);
            let aim = Aim { from: None, to: thread, block, chunks: None };
            lab.rule(FROM_THE_START, MessageKind::CoapBlock, aim, effect, None);
        }
        let want = if everybody { Want::AtLeast(1) } else { Want::Each(nodes) };
        let kinds = vec![MessageKind::Chunk, MessageKind::CoapBlock];
        lab.prove(Clause::interposed(lab.id, Interposition::Altered, kinds, want));
        Ok(())
    }

    fn in_staging(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        let nodes = lab.select(&self.nodes)?;
        let size = 1_usize << lab.profile.block_size_log;
        let mut bytes = lab.candidate.bytes.to_vec();
        let start = self.number(lab.blocks())? as usize * size;
        let chunk = usize::from(lab.profile.chunk_size);
        // The header is not what this fault is about: a changed header never gets as far as the hash.
        let start = start.max(usize::from(fixture_images::layout::HEADER_SIZE));
        let (from, len) = match self.what {
            Amount::Bit => (start + usize::from(CHUNK) * chunk, 1),
            Amount::Chunk => (start + usize::from(CHUNK) * chunk, chunk),
            Amount::Block => (start, size.min(PROBE_WRITE)),
        };
        let mask = if self.what == Amount::Bit { 1 } else { 0xFF };
        let end = (from + len).min(bytes.len());
        bytes.get_mut(from..end).unwrap_or_default().iter_mut().for_each(|byte| *byte ^= mask);
        lab.alter_staging(&nodes, &bytes)
    }
}

/// A block altered in staging is altered over one flash page; the bootloader cannot tell the difference.
const PROBE_WRITE: usize = 4096;
