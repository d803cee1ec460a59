//! Time of a rack: unsigned 64-bit nanoseconds since the run began. A rack owns its time; nothing here reads a clock.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::str::FromStr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in rack time, in nanoseconds since the run began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Time(pub u64);

/// A length of rack time in nanoseconds. In files it is written with its unit: `120 s`, `24 h`, `800 ms`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct Span(pub u64);

impl Time {
    /// The start of a run.
    pub const ZERO: Self = Self(0);
    /// Later than anything.
    pub const NEVER: Self = Self(u64::MAX);

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Seconds since the run began, for drawing only.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of nanoseconds.
    #[must_use]
    pub const fn nanos(n: u64) -> Self {
        Self(n)
    }
    /// A span of microseconds.
    #[must_use]
    pub const fn micros(n: u64) -> Self {
        Self(n.saturating_mul(1_000))
    }
    /// A span of milliseconds.
    #[must_use]
    pub const fn millis(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000))
    }
    /// A span of seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000_000))
    }
    /// A span of minutes.
    #[must_use]
    pub const fn mins(n: u64) -> Self {
        Self::secs(n.saturating_mul(60))
    }
    /// A span of hours.
    #[must_use]
    pub const fn hours(n: u64) -> Self {
        Self::secs(n.saturating_mul(3_600))
    }
    /// Whole microseconds in this span.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }
    /// Whole milliseconds in this span.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
    /// Whole seconds in this span.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }
    /// This span `n` times over.
    #[must_use]
    pub const fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }
}

impl Add<Span> for Time {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Time {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Sub<Span> for Time {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Time {
    /// `0:02:03.456`: hours, minutes, seconds, milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0 / 1_000_000;
        let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        f.pad(&format!("{h}:{m:02}:{s:02}.{:03}", ms % 1_000))
    }
}

/// The units a span may be written in, largest first.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = UNITS
            .into_iter()
            .find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size))
            .unwrap_or(("s", 1_000_000_000));
        f.pad(&format!("{} {unit}", self.0 / size))
    }
}

/// A text that is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time; write a whole number and a unit: h, min, s, ms, us or ns (`120 s`)")]
pub struct BadSpan(pub String);

impl FromStr for Span {
    type Err = BadSpan;
    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let bad = || BadSpan(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let size = UNITS.into_iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(bad)?.1;
        number.parse::<u64>().ok().and_then(|n| n.checked_mul(size)).map(Self).ok_or_else(bad)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("120 s", Span::secs(120))]
    #[case("24h", Span::hours(24))]
    #[case("1500 ms", Span::millis(1_500))]
    #[case("0 s", Span::ZERO)]
    fn spans_are_read_and_written(#[case] text: &str, #[case] want: Span) {
        let span: Span = text.parse().unwrap();
        assert_eq!(span, want);
        assert_eq!(span.to_string().parse::<Span>().unwrap(), want);
    }

    #[rstest]
    #[case("120")]
    #[case("s")]
    #[case("-1 s")]
    #[case("1.5 s")]
    #[case("1 day")]
    #[case("99999999999999999999 s")]
    #[case("18446744073709551615 h")]
    fn other_texts_are_refused(#[case] text: &str) {
        assert!(text.parse::<Span>().is_err());
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(Time::NEVER + Span::secs(1), Time::NEVER);
        assert_eq!(Time(5).since(Time(9)), Span::ZERO);
    }
}
