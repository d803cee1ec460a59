//! Who is in which stage, and when a stage is good enough.
//!
//! Partition: every stage is a sample of what is left of the fleet, proportional over the strata (floor and node type) to
//! within one node, by largest remainder. It depends on the order of the fleet and on nothing else, so a restarted
//! campaign has the same stages without journalling them.

use crate::fleet::{NodeIndex, NodeInfo, NodeKind};
use crate::policy::{StagePolicy, StageSize};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Decides whether a stage reached its threshold. A part of the composition: a board or a bench assembles it.
pub trait ThresholdRule: Sync {
    /// Are `confirmed` of `targeted` nodes enough for `success_permille`?
    fn met(&self, confirmed: u32, targeted: u32, success_permille: u16) -> bool;
}

/// The product's rule: confirmed over targeted reaches the share, with no rounding in either direction.
#[derive(Clone, Copy, Debug)]
pub struct MinimumShare;

impl ThresholdRule for MinimumShare {
    fn met(&self, confirmed: u32, targeted: u32, success_permille: u16) -> bool {
        u64::from(confirmed) * 1000 >= u64::from(success_permille) * u64::from(targeted)
    }
}

/// The parts a campaign is put together from.
#[derive(Clone, Copy)]
pub struct Parts {
    /// Decides whether a stage reached its threshold.
    pub threshold: &'static dyn ThresholdRule,
}

impl Parts {
    /// The product's composition.
    #[must_use]
    pub const fn product() -> Self {
        Parts { threshold: &MinimumShare }
    }
}

impl Default for Parts {
    fn default() -> Self {
        Parts::product()
    }
}

/// Nodes that a stage takes of a fleet of `fleet` nodes of which `left` are left.
fn stage_len(size: StageSize, fleet: usize, left: usize) -> usize {
    let wanted = match size {
        StageSize::Count(count) => usize::from(count),
        StageSize::Percent(percent) => (fleet * usize::from(percent)).div_ceil(100),
        StageSize::Rest => left,
    };
    wanted.min(left)
}

/// Divides the fleet into stages; one list per policy stage, empty where no node was left. Nodes of a stage come in
/// fleet order.
pub(crate) fn partition(nodes: &[NodeInfo], stages: &[StagePolicy]) -> Vec<Vec<NodeIndex>> {
    // Each stratum is consumed from its front: within one floor and type, one node is as good as another.
    let mut strata: BTreeMap<(u8, NodeKind), (Vec<NodeIndex>, usize)> = BTreeMap::new();
    for (index, node) in (0..).zip(nodes) {
        strata.entry((node.floor, node.kind)).or_default().0.push(index);
    }
    let mut strata: Vec<_> =
        strata.into_iter().map(|(key, (members, taken))| Stratum { key, members, taken }).collect();
    let mut left = nodes.len();
    stages
        .iter()
        .map(|stage| {
            let len = stage_len(stage.size, nodes.len(), left);
            let mut chosen = take(&mut strata, len, left);
            left -= chosen.len();
            chosen.sort_unstable();
            chosen
        })
        .collect()
}

struct Stratum {
    key: (u8, NodeKind),
    members: Vec<NodeIndex>,
    taken: usize,
}

impl Stratum {
    fn left(&self) -> usize {
        self.members.len() - self.taken
    }
}

/// Takes `len` of the `left` nodes that the strata still hold.
///
/// Each stratum gives its proportional quota rounded down; the seats that rounding left over go, one to a stratum, first
/// to floors that have no seat yet, then to types that have none, then by largest remainder. A floor whose quota is at
/// least one is therefore always represented: the seats left over are the sum of all remainders.
fn take(strata: &mut [Stratum], len: usize, left: usize) -> Vec<NodeIndex> {
    let mut chosen = Vec::with_capacity(len);
    if left == 0 {
        return chosen;
    }
    let quotas: Vec<(usize, usize)> = strata.iter().map(|s| (len * s.left() / left, len * s.left() % left)).collect();
    let mut seats: Vec<usize> = quotas.iter().map(|(whole, _)| *whole).collect();
    for _ in 0..len - seats.iter().sum::<usize>() {
        let seated = |wanted: &dyn Fn((u8, NodeKind)) -> bool| {
            strata.iter().zip(&seats).any(|(s, seats)| *seats > 0 && wanted(s.key))
        };
        let best = (0..strata.len()).filter(|&i| quotas[i].1 > 0 && seats[i] == quotas[i].0).max_by_key(|&i| {
            let (floor, kind) = strata[i].key;
            let new_floor = !seated(&|key| key.0 == floor);
            let new_kind = !seated(&|key| key.1 == kind);
            // Of equals the first in order: `max_by_key` keeps the last, hence the reversal.
            (new_floor, new_kind, quotas[i].1, core::cmp::Reverse(i))
        });
        // There are as many non-zero remainders as seats left over, or more.
        let Some(best) = best else { break };
        seats[best] += 1;
    }
    for (stratum, seats) in strata.iter_mut().zip(seats) {
        let end = stratum.taken + seats;
        chosen.extend_from_slice(&stratum.members[stratum.taken..end]);
        stratum.taken = end;
    }
    chosen
}
