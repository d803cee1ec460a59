//! A time axis for stories in which minutes of action are followed by a day of waiting: every gap between two moments
//! gets a width that grows with the logarithm of its length, so that both can be seen.

use hil_model::Time;
use std::collections::BTreeSet;

/// Most moments kept; more are thinned out evenly.
const MAX_KNOTS: usize = 600;
/// Labels along the axis.
const LABELS: usize = 7;

/// Maps time to a place between `left` and `right`.
#[derive(Debug)]
pub(super) struct Axis {
    /// Moments and their places, growing in both.
    knots: Vec<(Time, f64)>,
    left: f64,
}

impl Axis {
    /// An axis through these moments.
    pub(super) fn new(times: &BTreeSet<Time>, left: f64, right: f64) -> Self {
        let step = times.len().div_ceil(MAX_KNOTS).max(1);
        let last = times.last().copied();
        let kept: Vec<Time> = times
            .iter()
            .copied()
            .enumerate()
            .filter(|(i, t)| i % step == 0 || Some(*t) == last)
            .map(|(_, t)| t)
            .collect();
        let mut knots = Vec::with_capacity(kept.len());
        let (mut sum, mut before) = (0.0, None);
        for time in kept {
            if let Some(before) = before {
                sum += weight(time, before);
            }
            knots.push((time, sum));
            before = Some(time);
        }
        let scale = if sum > 0.0 { (right - left) / sum } else { 0.0 };
        for (_, place) in &mut knots {
            *place = left + *place * scale;
        }
        Self { knots, left }
    }

    /// The place of a moment.
    pub(super) fn at(&self, time: Time) -> f64 {
        let after = self.knots.partition_point(|(knot, _)| *knot < time);
        let before = after.checked_sub(1).and_then(|i| self.knots.get(i));
        match (before, self.knots.get(after)) {
            (_, Some((knot, place))) if *knot == time => *place,
            (Some((t0, x0)), Some((t1, x1))) => {
                let share = time.since(*t0).0 as f64 / t1.since(*t0).0 as f64;
                x0 + (x1 - x0) * share
            }
            (Some((_, place)), None) | (None, Some((_, place))) => *place,
            (None, None) => self.left,
        }
    }

    /// Moments to be labelled, spread over the width, with their places.
    pub(super) fn labels(&self) -> Vec<(Time, f64)> {
        let (Some((_, first)), Some((_, last))) = (self.knots.first(), self.knots.last()) else { return Vec::new() };
        let wanted = |i: usize| first + (last - first) * i as f64 / (LABELS - 1) as f64;
        let mut labels: Vec<(Time, f64)> = Vec::new();
        for i in 0..LABELS {
            let place = self.knots.partition_point(|(_, x)| *x < wanted(i)).min(self.knots.len() - 1);
            let apart = (last - first) / (2 * LABELS) as f64;
            let far = |x: f64| labels.last().is_none_or(|(_, before)| x - before > apart);
            if let Some(&(time, x)) = self.knots.get(place).filter(|(_, x)| far(*x)) {
                labels.push((time, x));
            }
        }
        labels
    }
}

/// Width of a gap.
fn weight(time: Time, before: Time) -> f64 {
    (1.0 + time.since(before).0 as f64 / 1e9).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hil_model::Span;

    fn times(seconds: &[u64]) -> BTreeSet<Time> {
        seconds.iter().map(|s| Time::ZERO + Span::secs(*s)).collect()
    }

    #[test]
    fn order_is_kept_and_the_ends_are_met() {
        let axis = Axis::new(&times(&[0, 10, 20, 86_420]), 100.0, 900.0);
        let at = |s| axis.at(Time::ZERO + Span::secs(s));
        assert!((at(0) - 100.0).abs() < 1e-9 && (at(86_420) - 900.0).abs() < 1e-9);
        assert!(at(5) > at(0) && at(10) > at(5) && at(20) > at(10) && at(500) > at(20));
        assert!(at(20) - at(0) > 100.0, "twenty seconds are still seen beside a day");
    }

    #[test]
    fn one_moment_or_none_is_no_division_by_zero() {
        assert!((Axis::new(&times(&[7]), 1.0, 2.0).at(Time::ZERO) - 1.0).abs() < 1e-9);
        assert!((Axis::new(&times(&[]), 1.0, 2.0).at(Time::ZERO) - 1.0).abs() < 1e-9);
        assert!(Axis::new(&times(&[]), 1.0, 2.0).labels().is_empty());
    }

    #[test]
    fn many_moments_are_thinned_and_the_last_is_kept() {
        let many: Vec<u64> = (0..5_000).collect();
        let axis = Axis::new(&times(&many), 0.0, 100.0);
        assert!(axis.knots.len() <= MAX_KNOTS + 1);
        assert!((axis.at(Time::ZERO + Span::secs(4_999)) - 100.0).abs() < 1e-9);
    }
}
