//! Where nodes hang and what their links are like (radio model, section 2). Computed once at set-up in floating point,
//! then kept as integers: nothing in the running simulation depends on the machine's floating-point library.

use crate::random::{Purpose, Stream};
use hil_model::{Fleet, Seed};
use std::collections::BTreeMap;

/// Width and depth of a floor in metres.
const FLOOR_M: (f64, f64) = (50.0, 40.0);
/// Storey height in metres.
const STOREY_M: f64 = 3.5;
/// Path loss at 1 m in dB, and the path-loss exponent.
const PATH_LOSS: (f64, f64) = (40.0, 3.5);
/// Standard deviation of the shadowing, in dB.
const SHADOW_DB: f64 = 3.0;
/// Attenuation of a slab in dB.
const SLAB_DB: f64 = 18.0;
/// Transmit power in dBm: node, gateway.
const NODE_DBM: f64 = 4.0;
const GATEWAY_DBM: f64 = 19.0;
/// Weakest signal of a usable link, in dBm.
const SENSITIVITY_DBM: f64 = -95.0;
/// A link this far above the sensitivity is taken; a weaker one is left for a path over one more relay.
const MARGIN_DB: f64 = 6.0;
/// Share of nodes that relay, as one in so many (0.24 in the model).
const RELAY_EVERY: usize = 4;
/// Most hops counted; a node that is farther counts as this far.
const MAX_HOPS: u8 = 7;

/// Link of a node to its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkBudget {
    /// Hops from the gateway.
    pub hops: u8,
    /// Strength of the last hop, in dBm.
    pub rssi_dbm: i8,
}

struct Point {
    x: f64,
    y: f64,
    floor: f64,
}

fn received_dbm(tx: f64, a: &Point, b: &Point, shadow_db: f64) -> f64 {
    let dz = (a.floor - b.floor).abs();
    let d = ((a.x - b.x).powi(2) + (a.y - b.y).powi(2) + (dz * STOREY_M).powi(2)).sqrt().max(1.0);
    tx - (PATH_LOSS.0 + 10.0 * PATH_LOSS.1 * d.log10() + SLAB_DB * dz + shadow_db)
}

/// Normal deviate by the sum of twelve uniform ones: its tails end at six deviations, where shadowing has no meaning.
fn normal(stream: &mut Stream) -> f64 {
    (0..12).map(|_| stream.unit()).sum::<f64>() - 6.0
}

fn positions(fleet: &Fleet, seed: Seed) -> Vec<Point> {
    let mut per_floor: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (i, node) in fleet.nodes.iter().enumerate() {
        per_floor.entry(node.floor.0).or_default().push(i);
    }
    let mut points: Vec<Point> = fleet.nodes.iter().map(|_| Point { x: 0.0, y: 0.0, floor: 0.0 }).collect();
    for (floor, nodes) in per_floor {
        let columns = ((nodes.len() as f64 * FLOOR_M.0 / FLOOR_M.1).sqrt().ceil()).max(1.0);
        let rows = (nodes.len() as f64 / columns).ceil();
        for (k, &i) in nodes.iter().enumerate() {
            let mut stream = Stream::new(seed, Purpose::Placement, u64::from(fleet.nodes[i].id.0));
            let mut jitter = || 0.5 + (stream.unit() - 0.5) * 0.5;
            let (column, row) = (k as f64 % columns, (k as f64 / columns).floor());
            points[i] = Point {
                x: (column + jitter()) * FLOOR_M.0 / columns,
                y: (row + jitter()) * FLOOR_M.1 / rows,
                floor: f64::from(floor),
            };
        }
    }
    points
}

/// A place messages come from: the gateway, or a node that relays.
struct Source {
    /// Number in the pair that shadowing is drawn for.
    number: u64,
    hops: u8,
    tx_dbm: f64,
    x: f64,
    y: f64,
    floor: f64,
}

/// The best source for a node: its hops and the strength it is heard with.
fn best(sources: &[Source], seed: Seed, node: usize, point: &Point) -> Option<(u8, f64)> {
    let heard = |source: &Source| {
        let shadow = SHADOW_DB * normal(&mut Stream::new(seed, Purpose::Shadowing, source.number << 32 | node as u64));
        let at = Point { x: source.x, y: source.y, floor: source.floor };
        (source.hops, received_dbm(source.tx_dbm, &at, point, shadow))
    };
    sources.iter().map(heard).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// The link of every node to its gateway, in the order of the fleet: strength of the best last hop on a shortest path
/// over relays. Where the relays leave a node without a link, its neighbours relay too, as an installer would have it.
#[must_use]
pub fn link_budgets(fleet: &Fleet, seed: Seed) -> Vec<LinkBudget> {
    let points = positions(fleet, seed);
    let mut budgets = vec![LinkBudget { hops: MAX_HOPS, rssi_dbm: SENSITIVITY_DBM as i8 }; points.len()];
    for gateway in fleet.gateways() {
        let mut waiting: Vec<usize> = (0..points.len()).filter(|&i| fleet.nodes[i].gateway == gateway).collect();
        let floor = waiting.iter().map(|&i| points[i].floor).sum::<f64>() / waiting.len().max(1) as f64;
        let (x, y, floor) = (FLOOR_M.0 / 2.0, FLOOR_M.1 / 2.0, floor.floor());
        let mut layer = vec![Source { number: u64::from(u32::MAX), hops: 0, tx_dbm: GATEWAY_DBM, x, y, floor }];
        let mut silent: Vec<Source> = Vec::new();
        while !layer.is_empty() && !waiting.is_empty() {
            let mut next = Vec::new();
            waiting.retain(|&i| {
                let point = &points[i];
                let Some((hops, dbm)) =
                    best(&layer, seed, i, point).filter(|(_, dbm)| *dbm >= SENSITIVITY_DBM + MARGIN_DB)
                else {
                    return true;
                };
                let hops = (hops + 1).min(MAX_HOPS);
                budgets[i] = LinkBudget { hops, rssi_dbm: dbm.clamp(-95.0, 20.0) as i8 };
                let source =
                    Source { number: i as u64, hops, tx_dbm: NODE_DBM, x: point.x, y: point.y, floor: point.floor };
                if i % RELAY_EVERY == 0 {
                    next.push(source)
                } else {
                    silent.push(source)
                }
                false
            });
            layer = if next.is_empty() { core::mem::take(&mut silent) } else { next };
        }
    }
    budgets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_of_a_floor_is_within_reach_and_most_within_one_hop() {
        let fleet = Fleet::building(100, 1, 1, 0, 1);
        let budgets = link_budgets(&fleet, Seed(1));
        assert!(budgets.iter().all(|b| b.hops <= 3), "{budgets:?}");
        assert!(budgets.iter().filter(|b| b.hops == 1).count() >= 60);
        assert!(budgets.iter().all(|b| b.rssi_dbm >= -95));
    }

    #[test]
    fn the_seed_decides() {
        let fleet = Fleet::building(24, 2, 1, 6, 1);
        assert_eq!(link_budgets(&fleet, Seed(3)), link_budgets(&fleet, Seed(3)));
        assert_ne!(link_budgets(&fleet, Seed(3)), link_budgets(&fleet, Seed(4)));
    }
}
