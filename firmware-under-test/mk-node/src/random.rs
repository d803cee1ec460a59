//! The node's own random numbers: SplitMix64, seeded once by the board. For delays and jitter only, never for secrets.

use mk_wire::time::Duration;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A span from `low` to `high`, both included, to the microsecond. `low` when the limits are the wrong way round.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let (low, high) = (low.as_ticks(), high.as_ticks());
        let width = high.saturating_sub(low).saturating_add(1);
        // The bias is below one in 2^32 for every span used here.
        Duration::from_ticks(low + self.next() % width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_keeps_its_limits_and_reaches_both() {
        let mut random = Random::new(1);
        let (low, high) = (Duration::from_ticks(20), Duration::from_ticks(23));
        let mut seen = [0; 4];
        for _ in 0..1000 {
            let ticks = random.between(low, high).as_ticks();
            assert!((20..=23).contains(&ticks));
            seen[(ticks - 20) as usize] += 1;
        }
        assert!(seen.iter().all(|n| *n > 150), "{seen:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert!((0..10).all(|_| a.next() == b.next()));
        assert_ne!(Random::new(7).next(), Random::new(8).next());
    }
}
