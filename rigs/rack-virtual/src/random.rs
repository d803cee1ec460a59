//! Random streams: one per (seed, purpose, entity), so that a new consumer never shifts the others and no stream
//! depends on the order in which entities are visited.

use hil_model::Seed;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Where nodes hang.
    Placement = 1,
    /// Slow fading of a link.
    Shadowing,
    /// Loss on the link-level air.
    Loss,
    /// Entropy handed to a node's firmware.
    Entropy,
    /// Lighting scenes.
    Scene,
    /// Sensor values.
    Sensor,
    /// Bits left by a torn flash operation.
    Tear,
}

/// A counter-based generator: the n-th number is a mix of key and n.
#[derive(Debug, Clone)]
pub struct Stream {
    key: u64,
    count: u64,
}

/// The finaliser of splitmix64: a bijection on 64 bits in which every input bit reaches every output bit.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Stream {
    /// The stream of `entity` for `purpose`.
    #[must_use]
    pub const fn new(seed: Seed, purpose: Purpose, entity: u64) -> Self {
        let key = mix(seed.0.wrapping_add(GOLDEN));
        let key = mix(key ^ (purpose as u64).wrapping_mul(GOLDEN));
        Self { key: mix(key ^ entity.wrapping_mul(GOLDEN).wrapping_add(1)), count: 0 }
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        mix(self.key.wrapping_add(self.count.wrapping_mul(GOLDEN)))
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    /// A number of [0, 1), for set-up only.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How many trials pass until the first success, when each succeeds with `probability` (32-bit fixed point, 2^32
    /// is certainty): geometric skipping, by a fixed-point logarithm so that the result depends on no floating-point
    /// library. `u64::MAX` when the probability is 0.
    pub fn skip(&mut self, probability: u32) -> u64 {
        if probability == 0 {
            return u64::MAX;
        }
        // ln(1-p) by its series in fixed point 2^-48 would lose digits for small p; log2 of (2^32 - p)/2^32 does not:
        // both logarithms below are of 64-bit fractions, in units of 2^-56.
        let draw = self.next() | 1;
        let keep = ((1_u64 << 32) - u64::from(probability)) << 32;
        let (above, below) = (minus_log2(draw), minus_log2(keep));
        above.checked_div(below).unwrap_or(u64::MAX)
    }
}

/// -log2(x / 2^64) in units of 2^-56, for x > 0, exact to about 2^-50.
fn minus_log2(x: u64) -> u64 {
    let whole = u64::from(x.leading_zeros());
    // Mantissa in [1, 2) as 1.63 fixed point; 48 fraction bits of its log2 by repeated squaring.
    let mut mantissa = x << whole;
    let mut fraction = 0_u64;
    for bit in (0..56).rev() {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        if square >> 64 != 0 {
            fraction |= 1 << bit;
            mantissa = (square >> 1) as u64;
        } else {
            mantissa = square as u64;
        }
    }
    // log2(x / 2^64) = -(whole + 1) + fraction.
    ((whole + 1) << 56) - fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_entity_and_repeat() {
        let first = |seed, purpose, entity| Stream::new(Seed(seed), purpose, entity).next();
        let base = first(1, Purpose::Loss, 1);
        assert_eq!(base, first(1, Purpose::Loss, 1));
        assert!(
            base != first(2, Purpose::Loss, 1)
                && base != first(1, Purpose::Scene, 1)
                && base != first(1, Purpose::Loss, 2)
        );
    }

    #[test]
    fn skips_have_the_mean_of_the_geometric_distribution() {
        for (probability, want) in [(1 << 31, 1.0), (1 << 22, 1023.0), (430, 9_988_437.0)] {
            let mut stream = Stream::new(Seed(7), Purpose::Loss, 0);
            let draws = 20_000;
            let mean = (0..draws).map(|_| stream.skip(probability) as f64).sum::<f64>() / f64::from(draws);
            assert!((mean / want - 1.0).abs() < 0.03, "p {probability}: mean {mean}, want {want}");
        }
        assert_eq!(Stream::new(Seed(7), Purpose::Loss, 0).skip(0), u64::MAX);
    }

    #[test]
    fn the_logarithm_is_right_where_it_is_known() {
        assert_eq!(minus_log2(1 << 63), 1 << 56);
        assert_eq!(minus_log2(1), 64 << 56);
        let third = minus_log2(u64::MAX / 3) as f64 / (1_u64 << 56) as f64;
        assert!((third - 3_f64.log2()).abs() < 1e-12);
    }

    #[test]
    fn ranges_hold_their_ends() {
        let mut stream = Stream::new(Seed(1), Purpose::Scene, 3);
        let draws: Vec<u64> = (0..1000).map(|_| stream.below(3)).collect();
        assert!(draws.iter().all(|d| *d < 3) && draws.contains(&0) && draws.contains(&2));
        assert_eq!(stream.below(0), 0);
    }
}
