//! The lamp: its level, what it has drawn, and which presses it has seen. It knows nothing of updates and never stops for one.
//!
//! The level in use is not stored: scenes change it all day, and flash wears. After power-up it is the user's stored one.

use mk_wire::{Addr, time::Instant, vendor::LightSet};

/// What the lamp draws at full level, in watts.
const FULL_POWER_W: u64 = 40;

/// The lamp.
#[derive(Debug)]
pub(crate) struct Lamp {
    level: u8,
    /// Level times microseconds up to `since`.
    drawn: u64,
    since: Instant,
    /// Repeats of one press carry one transaction id.
    last_press: Option<(Addr, u8)>,
}

impl Lamp {
    pub const fn new(now: Instant, level: u8) -> Self {
        Lamp { level, drawn: 0, since: now, last_press: None }
    }

    pub const fn level(&self) -> u8 {
        self.level
    }

    pub fn set(&mut self, now: Instant, from: Addr, set: LightSet) {
        if self.last_press == Some((from, set.tid)) {
            return;
        }
        self.last_press = Some((from, set.tid));
        self.drawn = self.drawn_until(now);
        self.since = now;
        self.level = set.level;
    }

    /// Energy drawn since the last reset, in watt hours.
    pub fn energy_wh(&self, now: Instant) -> u32 {
        const MICROSECONDS_PER_HOUR: u64 = 3_600_000_000;
        let hours_at_full_level = self.drawn_until(now) / u64::from(u8::MAX) * FULL_POWER_W / MICROSECONDS_PER_HOUR;
        u32::try_from(hours_at_full_level).unwrap_or(u32::MAX)
    }

    /// 2,000 years at full level fit.
    fn drawn_until(&self, now: Instant) -> u64 {
        let lit = now.checked_duration_since(self.since).map_or(0, |span| span.as_ticks());
        self.drawn.saturating_add(lit.saturating_mul(u64::from(self.level)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn hours(hours: u64) -> Instant {
        Instant::from_ticks(hours * 3_600_000_000)
    }

    #[rstest]
    #[case::full(255, 40)]
    #[case::dark(0, 0)]
    #[case::a_fifth(51, 8)]
    fn an_hour_draws_its_share_of_the_full_power(#[case] level: u8, #[case] wh: u32) {
        assert_eq!(Lamp::new(hours(1), level).energy_wh(hours(2)), wh);
    }

    #[test]
    fn energy_adds_up_over_changes_of_the_level() {
        let mut lamp = Lamp::new(hours(0), 255);
        lamp.set(hours(1), Addr(5), LightSet { level: 0, tid: 1 });
        lamp.set(hours(2), Addr(5), LightSet { level: 51, tid: 2 });
        assert_eq!(lamp.energy_wh(hours(3)), 48);
    }

    #[test]
    fn a_repeat_of_a_press_changes_nothing_and_another_switch_has_its_own_presses() {
        let mut lamp = Lamp::new(hours(0), 0);
        lamp.set(hours(0), Addr(5), LightSet { level: 10, tid: 1 });
        lamp.set(hours(0), Addr(5), LightSet { level: 20, tid: 1 });
        assert_eq!(lamp.level(), 10);
        lamp.set(hours(0), Addr(6), LightSet { level: 30, tid: 1 });
        assert_eq!(lamp.level(), 30);
    }
}
