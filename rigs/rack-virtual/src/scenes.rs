//! Live lighting traffic beside the update (radio model, section 8): somebody presses a switch, a group of lights
//! changes. At this level of the simulation the lights really get the command, but how long it takes is drawn from the
//! quantiles that the air level gives for the throttle in force; the ledger says so.

use crate::random::Stream;
use crate::world::{Due, World};
use hil_model::{About, Fact, Span, TrafficProfile, Witness};
use mk_node::Received;
use mk_wire::access::AccessMessage;
use mk_wire::vendor;
use rack_witness::words;

/// Members of a scene's group.
const MEMBERS: u64 = 25;
/// Scenes between two reports of their latency.
const SCENES_PER_REPORT: u32 = 30;

/// Latency quantiles (50, 95, 99 %) in microseconds by the throttle of a running transfer, in permille; 0: no transfer.
const QUANTILES: [(u16, [u32; 3]); 3] =
    [(0, [193_000, 200_000, 204_000]), (400, [196_000, 223_000, 250_000]), (1000, [210_000, 420_000, 570_000])];

/// The traffic of a building.
#[derive(Debug)]
pub struct Scenes {
    mean: Option<Span>,
    stream: Stream,
    count: u32,
    transaction: u8,
}

impl Scenes {
    /// The traffic of a profile.
    pub fn new(profile: TrafficProfile, stream: Stream) -> Self {
        let mean = match profile {
            TrafficProfile::Quiet => None,
            TrafficProfile::Building => Some(Span::secs(60)),
            TrafficProfile::LoadTest => Some(Span::secs(2)),
        };
        Self { mean, stream, count: 0, transaction: 0 }
    }

    /// Time to the next scene: uniform between nothing and twice the mean.
    pub fn next_in(&mut self) -> Option<Span> {
        self.mean.map(|mean| Span(self.stream.below(mean.0 * 2)))
    }
}

/// Latency quantiles at a throttle: 50, 95 and 99 %, in microseconds.
pub fn quantiles(throttle_permille: u16) -> [u32; 3] {
    let (low, high) = QUANTILES
        .windows(2)
        .map(|pair| (pair[0], pair[1]))
        .find(|(_, high)| throttle_permille <= high.0)
        .unwrap_or((QUANTILES[1], QUANTILES[2]));
    core::array::from_fn(|i| {
        let share = u64::from(throttle_permille.clamp(low.0, high.0) - low.0);
        let (from, to) = (u64::from(low.1[i]), u64::from(high.1[i]));
        (from + (to - from) * share / u64::from(high.0 - low.0)) as u32
    })
}

impl World {
    pub(crate) fn scene(&mut self) {
        let scenes = &mut self.scenes;
        scenes.count += 1;
        scenes.transaction = scenes.transaction.wrapping_add(1);
        let set = vendor::LightSet { level: scenes.stream.next() as u8, tid: scenes.transaction };
        let count = self.nodes.len() as u64;
        let presser = scenes.stream.below(count) as usize;
        let first = scenes.stream.below(count) as usize;
        if let Some(next) = scenes.next_in() {
            self.wheel.insert(self.now + next, Due::Scene);
        }
        let from = words::addr(self.nodes[presser].spec.id);
        if let Ok(bytes) = AccessMessage::Vendor(vendor::Message::LightSet(set)).to_buffer() {
            let now = words::instant(self.now);
            for member in 0..MEMBERS.min(count) as usize {
                let node = (first + member) % count as usize;
                let to = words::addr(self.nodes[node].spec.id);
                let received = Received { ttl_hops: 1, rssi_dbm: -60 };
                self.with_node(node, |running, board| running.on_access(now, from, to, received, &bytes, board));
            }
        }
        if self.scenes.count.is_multiple_of(SCENES_PER_REPORT) {
            let throttle = self.gateways.iter().map(|g| g.throttle_in_force()).max().unwrap_or(0);
            let [p50_us, p95_us, p99_us] = quantiles(throttle);
            let fact =
                Fact::SceneLatency { scenes: SCENES_PER_REPORT, missed: 0, p50_us, p95_us, p99_us, measured: false };
            self.note(About::Rack, Witness::Radio, fact);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quantiles;

    #[test]
    fn latency_grows_with_the_throttle() {
        assert_eq!(quantiles(0)[1], 200_000);
        assert_eq!(quantiles(400)[1], 223_000);
        assert_eq!(quantiles(1000)[1], 420_000);
        assert!(quantiles(700)[2] > quantiles(400)[2] && quantiles(700)[2] < quantiles(1000)[2]);
    }
}
