//! What a campaign will take, before it runs: the closed form of the radio model (level 0, section 12).
//!
//! Knows sizes, shares and times, no seed and no rack: it is what an operator is told before pressing start, and what
//! the simulation is compared with afterwards.

use hil_model::{CampaignPolicy, Profile, Span, StageSize};

/// Octets of a segment of an access message.
const SEGMENT: u32 = 12;
/// Opcode, chunk number and TransMIC of a chunk message.
const CHUNK_OVERHEAD: u32 = 7;
/// Air time of one originated PDU with its estimated relay copies, milliseconds (25 copies of 376 us).
const PDU_COST_MS: f64 = 9.4;
/// Seconds of a status round, and more for each target.
const ROUND_S: (f64, f64) = (0.55, 0.0065);
/// Most targets served in one distribution.
pub const GROUP: u32 = 100;
/// Air time of 512 KiB to one Thread node over one hop, seconds, at the full channel.
const THREAD_S_PER_HALF_MIB: f64 = 48.0;
/// Verification of a 512 KiB image on the node, seconds (radio model, section 9).
const VERIFY_S: f64 = 1.6;
/// Residual loss of a segment by share of the channel in permille (radio model, section 12).
const LOSS: [(f64, f64); 5] = [(200.0, 2e-7), (400.0, 2e-7), (600.0, 5e-7), (800.0, 7.5e-6), (1000.0, 7.5e-5)];
/// Terms of the series that are summed; they shrink by the loss of a chunk each.
const MOST_TERMS: u32 = 64;
/// Latency of a lighting scene, 95th percentile in milliseconds, by share in permille (calibration C7 to C9).
const SCENE_P95_MS: [(f64, f64); 3] = [(0.0, 200.0), (400.0, 223.0), (1000.0, 420.0)];

/// What is sent, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Octets of the image.
    pub image_size: u32,
    /// Octets of data in a chunk.
    pub chunk_size: u16,
    /// BLOB block size, as a power of two.
    pub block_size_log: u8,
    /// Least time between two segments.
    pub segment_interval: Span,
    /// Share of the channel, permille.
    pub throttle_permille: u16,
    /// Time one install takes.
    pub install: Span,
}

impl Load {
    /// The load of a policy on a rack. `install` is the time of one install.
    #[must_use]
    pub fn new(profile: &Profile, image_size: u32, throttle_permille: u16, install: Span) -> Self {
        Self {
            image_size,
            chunk_size: profile.chunk_size,
            block_size_log: profile.block_size_log,
            segment_interval: profile.segment_interval,
            throttle_permille,
            install,
        }
    }

    fn chunks(&self) -> u32 {
        self.image_size.div_ceil(u32::from(self.chunk_size).max(1))
    }

    fn segments_per_chunk(&self) -> u32 {
        (u32::from(self.chunk_size) + CHUNK_OVERHEAD).div_ceil(SEGMENT)
    }

    /// Distance of two segments, seconds.
    fn spacing(&self) -> f64 {
        let share = f64::from(self.throttle_permille.max(1)) / 1000.0;
        (self.segment_interval.as_micros() as f64 / 1e6).max(PDU_COST_MS / 1000.0 / share)
    }

    /// Time to bring the image to `targets` mesh nodes at once.
    #[must_use]
    pub fn distribution(&self, targets: u32) -> Span {
        if targets == 0 {
            return Span::ZERO;
        }
        let blocks = self.image_size.div_ceil(1 << self.block_size_log.min(31)).max(1);
        let chunks_per_block = f64::from(self.chunks()) / f64::from(blocks);
        // A chunk is lost when any of its segments is.
        let loss = interpolate(&LOSS, f64::from(self.throttle_permille), true);
        let lost = 1.0 - (1.0 - loss).powi(i32::try_from(self.segments_per_chunk()).unwrap_or(i32::MAX));
        let sent = repetitions(lost, f64::from(targets));
        let rounds = f64::from(blocks) * repetitions(lost, f64::from(targets) * chunks_per_block);
        let segments = f64::from(self.chunks() * self.segments_per_chunk());
        seconds(segments * self.spacing() * sent + rounds * (ROUND_S.0 + ROUND_S.1 * f64::from(targets)))
    }

    /// Time to bring the image to `nodes` Thread nodes of one border router, one after the other, one hop away.
    #[must_use]
    pub fn thread(&self, nodes: u32) -> Span {
        let share = f64::from(self.throttle_permille.max(1)) / 1000.0;
        let size = f64::from(self.image_size) / f64::from(512 * 1024);
        seconds(f64::from(nodes) * THREAD_S_PER_HALF_MIB * size / share)
    }

    /// From the last octet to the confirmation: verification, install, boot.
    #[must_use]
    pub fn after_transfer(&self) -> Span {
        let size = f64::from(self.image_size) / f64::from(512 * 1024);
        self.install + seconds(2.0 * VERIFY_S * size)
    }

    /// 95th percentile of the latency of a lighting scene while firmware is on the air.
    #[must_use]
    pub fn scene_p95(&self) -> Span {
        let ms = interpolate(&SCENE_P95_MS, f64::from(self.throttle_permille), false);
        Span::millis(ms.round() as u64)
    }
}

/// Expected number of rounds until `receivers` have it, each losing with probability `lost`.
fn repetitions(lost: f64, receivers: f64) -> f64 {
    (0..MOST_TERMS).map(|k| 1.0 - (1.0 - lost.powi(k as i32)).powf(receivers)).take_while(|term| *term > 1e-9).sum()
}

fn interpolate(table: &[(f64, f64)], at: f64, logarithmic: bool) -> f64 {
    let after = table.iter().position(|(x, _)| *x >= at);
    let (first, last) = match (after, table) {
        (Some(0) | None, [first, .., last]) => return if after.is_none() { last.1 } else { first.1 },
        (Some(place), _) => (table[place - 1], table[place]),
        (None, _) => return 0.0,
    };
    let share = (at - first.0) / (last.0 - first.0);
    if logarithmic {
        (first.1.ln() + share * (last.1.ln() - first.1.ln())).exp()
    } else {
        first.1 + share * (last.1 - first.1)
    }
}

fn seconds(s: f64) -> Span {
    Span::micros((s.max(0.0) * 1e6) as u64)
}

/// One stage, forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageForecast {
    /// Nodes addressed.
    pub nodes: u32,
    /// From the first octet to the last confirmation.
    pub delivery: Span,
    /// Soak after it.
    pub soak: Span,
}

/// The fleet, as far as a forecast needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Building {
    /// Nodes.
    pub nodes: u32,
    /// Of them on Thread.
    pub thread: u32,
    /// Gateways; each serves its part of every stage.
    pub gateways: u32,
}

/// All stages of a policy.
#[must_use]
pub fn stages(policy: &CampaignPolicy, load: &Load, building: Building) -> Vec<StageForecast> {
    let mut left = building.nodes;
    let mut all = Vec::new();
    for stage in &policy.stages {
        let wanted = match stage.size {
            StageSize::Count(count) => u32::from(count),
            StageSize::Percent(share) => (building.nodes * u32::from(share)).div_ceil(100),
            StageSize::Rest => left,
        };
        let nodes = wanted.min(left);
        if nodes == 0 {
            continue;
        }
        left -= nodes;
        all.push(StageForecast { nodes, delivery: delivery(policy, load, building, nodes), soak: stage.soak });
    }
    all
}

/// A stage is spread over the building, so that each gateway serves its share, in groups, one after the other.
fn delivery(policy: &CampaignPolicy, load: &Load, building: Building, nodes: u32) -> Span {
    let gateways = building.gateways.clamp(1, nodes);
    let mut all = Span::ZERO;
    for gateway in 0..gateways {
        let own = nodes / gateways + u32::from(gateway < nodes % gateways);
        let thread = own * building.thread / building.nodes.max(1);
        let mesh = own - thread;
        let mut served = 0;
        while served < mesh {
            let group = (mesh - served).min(GROUP);
            all = all + load.distribution(group) + load.after_transfer();
            served += group;
        }
        if thread > 0 {
            all = all + load.thread(thread) + load.after_transfer();
        }
    }
    Span(all.0 / u64::from(policy.concurrency.max(1)).min(u64::from(gateways)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn load(throttle_permille: u16) -> Load {
        Load::new(&Profile::default(), 512 * 1024, throttle_permille, Span::secs(17))
    }

    /// Calibration targets C1, C3 and C6: 100 targets, 512 KiB.
    #[rstest]
    #[case(1000, 9.1)]
    #[case(400, 18.1)]
    #[case(800, 9.7)]
    #[case(200, 35.9)]
    fn distribution_times_are_those_of_the_radio_model(#[case] permille: u16, #[case] minutes: f64) {
        let found = load(permille).distribution(100).as_secs() as f64 / 60.0;
        assert!((found / minutes - 1.0).abs() < 0.03, "{found:.2} min, expected {minutes} min");
    }

    /// C12: 1,000 nodes of one gateway at 40 %.
    #[test]
    fn a_thousand_nodes_take_under_four_hours_without_soak() {
        let building = Building { nodes: 1000, thread: 0, gateways: 1 };
        let stages = stages(&CampaignPolicy::default(), &load(400), building);
        let sizes: Vec<u32> = stages.iter().map(|stage| stage.nodes).collect();
        assert_eq!(sizes, [20, 100, 250, 630]);
        let delivery: u64 = stages.iter().map(|stage| stage.delivery.as_secs()).sum();
        assert!((3 * 3600..4 * 3600).contains(&delivery), "{delivery} s");
    }

    #[rstest]
    #[case(0, 200)]
    #[case(400, 223)]
    #[case(1000, 420)]
    #[case(700, 322)]
    fn scene_latency_lies_between_the_calibration_points(#[case] permille: u16, #[case] ms: u64) {
        assert!(load(permille).scene_p95().as_millis().abs_diff(ms) <= 1);
    }

    #[test]
    fn nobody_takes_no_time() {
        assert_eq!(load(400).distribution(0), Span::ZERO);
    }
}
