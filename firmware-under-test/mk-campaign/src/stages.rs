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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::fleet::Carrier;
    use mk_wire::Addr;
    use mk_wire::time::Duration;
    use proptest::prelude::*;
    use rstest::rstest;
    use std::collections::BTreeSet;

    const KINDS: [NodeKind; 3] = [NodeKind::Luminaire, NodeKind::Sensor, NodeKind::Switch];

    fn nodes(kinds: &[(u8, NodeKind)]) -> Vec<NodeInfo> {
        let node = |(addr, (floor, kind)): (u16, &(u8, NodeKind))| NodeInfo {
            addr: Addr(addr),
            floor: *floor,
            kind: *kind,
            carrier: Carrier::Mesh,
            gateway: Addr(1),
        };
        (0x100..).zip(kinds).map(node).collect()
    }

    /// Of twelve nodes nine are luminaires, two sensors, one a switch.
    fn building(count: usize, floors: usize) -> Vec<NodeInfo> {
        let kinds: Vec<_> = (0..count)
            .map(|i| ((i * floors / count) as u8, KINDS[[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2][i % 12]]))
            .collect();
        nodes(&kinds)
    }

    fn stages(sizes: &[StageSize]) -> Vec<StagePolicy> {
        sizes.iter().map(|&size| StagePolicy { size, soak: Duration::from_secs(0) }).collect()
    }

    #[rstest]
    #[case::hundred_one_below(94, 100, 950, false)]
    #[case::hundred_exactly(95, 100, 950, true)]
    #[case::hundred_one_above(96, 100, 950, true)]
    #[case::thousand_one_below(949, 1000, 950, false)]
    #[case::thousand_exactly(950, 1000, 950, true)]
    #[case::twenty_allows_one(19, 20, 950, true)]
    #[case::nineteen_allows_none(18, 19, 950, false)]
    #[case::twenty_one_allows_one(20, 21, 950, true)]
    #[case::one_of_one(1, 1, 1000, true)]
    #[case::none_of_one(0, 1, 1, false)]
    #[case::no_threshold(0, 10, 0, true)]
    #[case::nobody(0, 0, 1000, true)]
    #[case::no_overflow(u32::MAX, u32::MAX, 1000, true)]
    fn the_threshold_is_a_share_of_the_targeted(
        #[case] confirmed: u32,
        #[case] targeted: u32,
        #[case] permille: u16,
        #[case] met: bool,
    ) {
        assert_eq!(MinimumShare.met(confirmed, targeted, permille), met);
    }

    #[rstest]
    #[case(StageSize::Count(20), 1000, 1000, 20)]
    #[case(StageSize::Count(20), 12, 12, 12)]
    #[case::rounded_up(StageSize::Percent(10), 24, 24, 3)]
    #[case::exact(StageSize::Percent(25), 24, 24, 6)]
    #[case::of_the_fleet_not_of_what_is_left(StageSize::Percent(50), 100, 60, 50)]
    #[case::no_more_than_is_left(StageSize::Percent(50), 100, 40, 40)]
    #[case(StageSize::Percent(1), 1, 1, 1)]
    #[case(StageSize::Rest, 1000, 630, 630)]
    fn a_stage_takes(#[case] size: StageSize, #[case] fleet: usize, #[case] left: usize, #[case] takes: usize) {
        assert_eq!(stage_len(size, fleet, left), takes);
    }

    #[test]
    fn the_product_policy_divides_a_thousand_nodes() {
        let fleet = building(1000, 10);
        let parts = partition(&fleet, &crate::policy::Policy::default().stages);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [20, 100, 250, 630]);
        for stage in parts {
            let members: Vec<_> = stage.iter().map(|&i| fleet[usize::from(i)]).collect();
            assert_eq!(members.iter().map(|n| n.floor).collect::<BTreeSet<_>>().len(), 10);
            assert_eq!(members.iter().map(|n| n.kind).collect::<BTreeSet<_>>().len(), 3);
        }
    }

    proptest! {
        #[test]
        fn every_node_is_in_one_stage_and_every_stratum_within_one_of_its_share(
            kinds in prop::collection::vec((0u8..5, 0usize..3), 1..300),
            sizes in prop::collection::vec(prop_oneof![
                (1u16..120).prop_map(StageSize::Count),
                (1u8..=100).prop_map(StageSize::Percent),
            ], 0..4),
        ) {
            let kinds: Vec<_> = kinds.into_iter().map(|(floor, kind)| (floor, KINDS[kind])).collect();
            let fleet = nodes(&kinds);
            let sizes: Vec<_> = sizes.into_iter().chain([StageSize::Rest]).collect();
            let parts = partition(&fleet, &stages(&sizes));
            prop_assert_eq!(&parts, &partition(&fleet, &stages(&sizes)));
            let mut all: Vec<NodeIndex> = parts.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..fleet.len() as u16).collect::<Vec<_>>());
            let mut left: BTreeSet<NodeIndex> = (0..fleet.len() as u16).collect();
            for stage in parts {
                let key = |i: &&NodeIndex| (fleet[usize::from(**i)].floor, fleet[usize::from(**i)].kind);
                for stratum in kinds.iter().collect::<BTreeSet<_>>() {
                    let held = left.iter().filter(|i| key(i) == *stratum).count();
                    let taken = stage.iter().filter(|i| key(i) == *stratum).count();
                    // |taken - len * held / left| < 1, in whole numbers.
                    let (share, total) = (stage.len() * held, left.len());
                    prop_assert!(total == 0 || (taken * total < share + total && share < taken * total + total));
                }
                for floor in 0..5 {
                    let held = left.iter().filter(|i| key(i).0 == floor).count();
                    let taken = stage.iter().filter(|i| key(i).0 == floor).count();
                    prop_assert!(stage.len() * held < left.len().max(1) || taken > 0 || held == 0);
                }
                for index in stage {
                    left.remove(&index);
                }
            }
        }
    }
}
