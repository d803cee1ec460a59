//! Scalars of the scenario language: what an author writes as one word with its unit.
//!
//! Each is strict about its unit and says what a right one looks like. Spans of time, node ids and versions come from
//! `hil-model` and have the same manners.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A text that is not the scalar it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}; write {example}")]
pub struct BadScalar {
    /// What was written.
    pub text: String,
    /// What it should be.
    pub wanted: &'static str,
    /// A right one.
    pub example: &'static str,
}

macro_rules! scalar {
    ($type:ident, $wanted:literal, $example:literal, $parse:expr) => {
        impl FromStr for $type {
            type Err = BadScalar;
            fn from_str(text: &str) -> Result<Self, BadScalar> {
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(text).ok_or_else(|| BadScalar { text: text.to_owned(), wanted: $wanted, example: $example })
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!($wanted, " such as ", $example))
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Text)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": ["string", "integer"], "description": $wanted, "examples": [$example] })
            }
        }
    };
}

/// A share in permille, written in per cent with at most one decimal: `95 %`, `2.5 %`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u16);

scalar!(Percent, "a share from 0 % to 100 %", "`95 %`", |text| {
    let number = text.strip_suffix('%')?.trim_end();
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
    let tenth = if tenth.len() == 1 { digits(tenth)? } else { return None };
    let permille = digits(whole)?.checked_mul(10)?.checked_add(tenth)?;
    (permille <= 1_000).then_some(Self(permille))
});

/// Octets, written with their unit: `512 KiB`, `65536 B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u32);

scalar!(Size, "a size", "`512 KiB`", |text| {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let scale = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return None,
    };
    number.parse::<u32>().ok()?.checked_mul(scale).map(Self)
});

/// A local time of day in minutes after midnight, written `22:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(pub u16);

scalar!(TimeOfDay, "a time of day from 00:00 to 24:00", "`22:30`", time_of_day);

/// An interval of the day, written `22:00-06:00`; over midnight when the end is before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayWindow {
    /// Minutes after midnight.
    pub from: TimeOfDay,
    /// Minutes after midnight, not included.
    pub to: TimeOfDay,
}

scalar!(DayWindow, "an interval of the day", "`22:00-06:00`", |text| {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (time_of_day(from.trim())?, time_of_day(to.trim())?);
    (from != to).then_some(Self { from, to })
});

/// How many nodes a stage takes: a count, `25 %`, or `rest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// So many.
    Count(u16),
    /// So many per cent of the fleet.
    Percent(u8),
    /// All that are left.
    Rest,
}

scalar!(Take, "a number of nodes, a share or `rest`", "`8`, `25 %` or `rest`", |text| {
    if text == "rest" {
        return Some(Self::Rest);
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.strip_suffix('%').map(str::trim_end) {
        Some(share) if digits(share) => share.parse().ok().filter(|p| (1..=100).contains(p)).map(Self::Percent),
        Some(_) => None,
        None if digits(text) => text.parse().ok().filter(|n| *n > 0).map(Self::Count),
        None => None,
    }
});

fn time_of_day(text: &str) -> Option<TimeOfDay> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?;
    let (hours, minutes): (u16, u16) = (two(hours)?, two(minutes)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= 24 * 60).then_some(TimeOfDay(total))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("95 %", Some(950))]
    #[case("2.5 %", Some(25))]
    #[case("100%", Some(1_000))]
    #[case("100.1 %", None)]
    #[case("95", None)]
    #[case("-1 %", None)]
    #[case("9.55 %", None)]
    #[case("%", None)]
    fn shares_are_read(#[case] text: &str, #[case] want: Option<u16>) {
        assert_eq!(text.parse::<Percent>().ok().map(|p| p.0), want.filter(|_| text != "%"));
    }

    #[rstest]
    #[case("512 KiB", Some(524_288))]
    #[case("1 MiB", Some(1_048_576))]
    #[case("7 B", Some(7))]
    #[case("512", None)]
    #[case("512 KB", None)]
    #[case("4096 MiB", None)]
    fn sizes_are_read(#[case] text: &str, #[case] want: Option<u32>) {
        assert_eq!(text.parse::<Size>().ok().map(|s| s.0), want);
    }

    #[rstest]
    #[case("22:00-06:00", Some((1_320, 360)))]
    #[case("00:00-24:00", Some((0, 1_440)))]
    #[case("06:00-06:00", None)]
    #[case("24:01-06:00", None)]
    #[case("6:00-7:00", None)]
    fn windows_are_read(#[case] text: &str, #[case] want: Option<(u16, u16)>) {
        assert_eq!(text.parse::<DayWindow>().ok().map(|w| (w.from.0, w.to.0)), want);
    }

    #[rstest]
    #[case("8", Some(Take::Count(8)))]
    #[case("25 %", Some(Take::Percent(25)))]
    #[case("rest", Some(Take::Rest))]
    #[case("0", None)]
    #[case("101 %", None)]
    #[case("0 %", None)]
    #[case("70000", None)]
    fn stage_sizes_are_read(#[case] text: &str, #[case] want: Option<Take>) {
        assert_eq!(text.parse::<Take>().ok(), want);
    }
}
