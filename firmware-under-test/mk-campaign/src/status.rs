//! What an operator can ask of a campaign: where it stands, what became of each node, how long it may still take.
//!
//! Read-only, and never used for decisions; that is why floating point is good enough for the forecast.

use crate::journal::{End, HealthFaults, PauseReason};
use crate::outcome::Outcome;
use alloc::vec::Vec;
use core::fmt;
use mk_wire::Addr;
use mk_wire::time::{Duration, Instant};

/// What a campaign is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// Created, not started.
    Ready,
    /// The stage's nodes are asked what they run.
    Surveying {
        /// Which stage, from 0.
        stage: u8,
    },
    /// The image is being distributed, or confirmations are awaited.
    Delivering {
        /// Which stage, from 0.
        stage: u8,
    },
    /// The stage soaks.
    Soaking {
        /// Which stage, from 0.
        stage: u8,
        /// When the soak ends.
        until: Instant,
    },
    /// Paused; waits for the operator.
    Paused {
        /// The stage that is to blame, from 0.
        stage: u8,
        /// Why.
        reason: PauseReason,
    },
    /// The operator stopped the campaign; its distributions are being cancelled.
    Stopping,
    /// The old image is being distributed.
    RollingBack,
    /// It ended.
    Ended(End),
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activity::Ready => f.write_str("ready"),
            Activity::Surveying { stage } => write!(f, "stage {}: asking nodes what they run", stage + 1),
            Activity::Delivering { stage } => write!(f, "stage {}: delivering", stage + 1),
            Activity::Soaking { stage, .. } => write!(f, "stage {}: soaking", stage + 1),
            Activity::Paused { stage, reason } => write!(f, "paused in stage {}: {reason}", stage + 1),
            Activity::Stopping => f.write_str("stopping"),
            Activity::RollingBack => f.write_str("rolling back"),
            Activity::Ended(End::Completed) => f.write_str("completed"),
            Activity::Ended(End::Aborted) => f.write_str("aborted"),
            Activity::Ended(End::RolledBack) => f.write_str("rolled back"),
        }
    }
}

/// Nodes of a stage by outcome.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StageCounts {
    /// Nodes addressed.
    pub targeted: u16,
    /// Run the new image, confirmed.
    pub updated: u16,
    /// Are back on the old image.
    pub rolled_back: u16,
    /// Refused.
    pub rejected: u16,
    /// Failed.
    pub failed: u16,
    /// Silent.
    pub unreachable: u16,
    /// Not decided yet.
    pub pending: u16,
    /// Of the updated ones, those with health faults.
    pub unhealthy: u16,
}

/// One node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Its address.
    pub node: Addr,
    /// Its stage, from 0; `None` when no stage takes it.
    pub stage: Option<u8>,
    /// What became of it, as far as decided.
    pub outcome: Option<Outcome>,
    /// Progress of its transfer in percent, as the distributor sees it.
    pub percent: u8,
    /// What is wrong with it in soak.
    pub faults: HealthFaults,
}

/// Where a campaign stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// What it is doing.
    pub activity: Activity,
    /// Its stages in order.
    pub stages: Vec<StageCounts>,
    /// Its nodes in fleet order.
    pub nodes: Vec<NodeStatus>,
    /// Nodes decided, in permille of all nodes addressed.
    pub progress_permille: u16,
}

/// What the forecast of one distribution needs (radio model, section 12, level 0).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ForecastInput {
    /// Receivers.
    pub targets: u32,
    /// Octets of the image.
    pub image_size: u32,
    /// Octets of a chunk.
    pub chunk_size: u32,
    /// Octets of a block.
    pub block_size: u32,
    /// Time between two network PDUs of the gateway, in microseconds.
    pub spacing_us: u32,
    /// Loss of a segment after relays, 0 to 1.
    pub loss: f64,
}

/// Network PDUs of one pass over an image, and segments of its chunks.
fn pdus(input: &ForecastInput) -> (f64, i32) {
    let chunk_size = input.chunk_size.clamp(1, 377);
    let segments = mk_wire::access::network_pdus(chunk_size as usize + 3, false) as u32;
    let chunks = input.image_size.div_ceil(chunk_size);
    (f64::from(chunks) * f64::from(segments), segments as i32)
}

/// How long a distribution takes: `T = n*D*E + rounds*(0.55 s + 6.5 ms*N)`, with `E` the expected number of passes
/// until all of `N` targets hold a chunk.
#[must_use]
pub fn forecast(input: &ForecastInput) -> Duration {
    let (n, segments) = pdus(input);
    let loss = if input.loss.is_finite() { input.loss.clamp(0.0, 0.999) } else { 0.0 };
    let chunk_loss = 1.0 - power(1.0 - loss, segments.unsigned_abs());
    let (mut passes, mut still_lost) = (0.0, 1.0);
    // 64 passes of a chunk that is lost half of the time leave 5e-20: the sum has converged long before.
    for _ in 0..64 {
        passes += 1.0 - power(1.0 - still_lost, input.targets.max(1));
        still_lost *= chunk_loss;
    }
    let blocks = f64::from(input.image_size.div_ceil(input.block_size.max(1)));
    // A block takes one status round, and one more if any of its chunks was lost by anyone.
    let chunks_per_block = f64::from(input.block_size) / f64::from(input.chunk_size.max(1));
    let repaired = 1.0 - power(1.0 - (passes - 1.0).clamp(0.0, 1.0), chunks_per_block as u32);
    let rounds = blocks * (1.0 + repaired);
    let us = n * f64::from(input.spacing_us) * passes + rounds * (550_000.0 + 6_500.0 * f64::from(input.targets));
    Duration::from_ticks(us as u64)
}

/// `base` to an integer power; `core` has no `powi`.
fn power(base: f64, exponent: u32) -> f64 {
    let (mut result, mut square, mut rest) = (1.0, base, exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            result *= square;
        }
        square *= square;
        rest >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// The reference values of the radio model, sections 11 and 12: 512 KiB to 100 nodes.
    #[rstest]
    #[case::full_speed(10_000, 7.5e-5, 9.1)]
    #[case::at_forty_per_cent(23_500, 2e-7, 18.1)]
    #[case::ideal(10_000, 0.0, 7.86)]
    fn the_forecast_agrees_with_the_radio_model(#[case] spacing_us: u32, #[case] loss: f64, #[case] minutes: f64) {
        let input =
            ForecastInput { targets: 100, image_size: 524_288, chunk_size: 185, block_size: 32_768, spacing_us, loss };
        let found = forecast(&input).as_ticks() as f64 / 60e6;
        assert!((found / minutes - 1.0).abs() < 0.04, "{found} min, expected {minutes} min");
    }

    #[rstest]
    #[case(f64::NAN)]
    #[case(f64::INFINITY)]
    #[case(-1.0)]
    #[case(1.0)]
    fn a_forecast_of_nonsense_ends(#[case] loss: f64) {
        let zero = ForecastInput { targets: 0, image_size: 0, chunk_size: 0, block_size: 0, spacing_us: 0, loss };
        assert!(forecast(&zero) < Duration::from_hours(1));
    }
}
