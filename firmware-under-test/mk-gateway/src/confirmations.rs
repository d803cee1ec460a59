//! First-boot confirmations: each is acknowledged every time it is heard and passed on to MeshOS once per boot.
//!
//! The acknowledgement may be lost on its way, so a node that was counted here may roll back all the same; the collector
//! never claims more than that the confirmation was heard. MeshOS gets a confirmation at least once: if the gateway dies
//! after hearing it and before MeshOS took the notice, the notice is given after the restart.

use alloc::collections::BTreeMap;
use mk_wire::{Addr, Version};

/// The newest confirmation of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Heard {
    boot_count: u32,
    version: Version,
    passed_on: bool,
}

/// What became of a confirmation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Count {
    /// A boot not heard of before.
    First,
    /// A repetition: the node missed the acknowledgement.
    Repeated,
}

/// The newest confirmation of every node.
#[derive(Default)]
pub(crate) struct Confirmations {
    heard: BTreeMap<Addr, Heard>,
}

impl Confirmations {
    /// Counts a confirmation. A boot count other than the newest names another boot, also after a node's counter began
    /// anew.
    pub fn hear(&mut self, node: Addr, boot_count: u32, version: Version) -> Count {
        match self.heard.get(&node) {
            Some(heard) if heard.boot_count == boot_count => Count::Repeated,
            Some(_) | None => {
                self.heard.insert(node, Heard { boot_count, version, passed_on: false });
                Count::First
            }
        }
    }

    /// MeshOS took the notice of this boot. True if it had not before.
    pub fn pass_on(&mut self, node: Addr, boot_count: u32) -> bool {
        match self.heard.get_mut(&node) {
            Some(heard) if heard.boot_count == boot_count && !heard.passed_on => {
                heard.passed_on = true;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The confirmations that MeshOS has not been given: node, boot count, version.
    pub fn not_passed_on(&self) -> impl Iterator<Item = (Addr, u32, Version)> + '_ {
        self.heard.iter().filter(|(_, h)| !h.passed_on).map(|(node, h)| (*node, h.boot_count, h.version))
    }
}
