//! Flash that is broken: cells that are stuck, pages that do not erase or do not take words, a part that is not there.

use std::collections::BTreeMap;

/// How a broken page fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultMode {
    /// The operation does nothing and says so.
    Fails,
    /// The operation does nothing and says that it worked.
    Silent,
}

/// A cell that reads the same whatever is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StuckBit {
    /// Address of its octet.
    pub address: u32,
    /// Bit 0 to 7.
    pub bit: u8,
    /// What it reads.
    pub value: bool,
}

/// Every defect of an array.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub absent: bool,
    pub stuck: Vec<StuckBit>,
    pub erase: BTreeMap<u32, FaultMode>,
    pub write: BTreeMap<u32, FaultMode>,
}

impl Faults {
    /// Whether pages can be handled without asking further.
    pub fn none(&self) -> bool {
        self.stuck.is_empty() && self.erase.is_empty() && self.write.is_empty()
    }
}
