//! The watchdog that QEMU's machine lacks, as the nRF52840's: registers written by the firmware, time of the host.
//!
//! Once started it can be neither stopped nor changed until a reset that reaches it: pin, watchdog and power-on do, a soft
//! reset and a lockup do not. It stands still while a debugger holds the core, unless CONFIG.HALT says otherwise.

use crate::event::ResetReason;
use std::time::Duration;

const START: u32 = 0x000;
const CRV: u32 = 0x504;
const RREN: u32 = 0x508;
const CONFIG: u32 = 0x50C;
const RELOAD: u32 = 0x600;
const RELOADS: u32 = 8;
const RELOAD_KEY: u32 = 0x6E52_4635;
/// CONFIG: go on while the core is halted.
const RUN_WHILE_HALTED: u32 = 8;
const CLOCK_HZ: u64 = 32_768;

#[derive(Clone, Copy, Debug)]
enum Run {
    /// Until then.
    Until(Duration),
    /// Held, with so much left.
    Held(Duration),
}

/// The watchdog of one node. Times are since the start of the bench.
#[derive(Clone, Debug)]
pub(crate) struct Watchdog {
    counter: u32,
    enabled: u32,
    config: u32,
    /// Reload requests that came since the last reload.
    requested: u32,
    run: Option<Run>,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { counter: u32::MAX, enabled: 1, config: 1, requested: 0, run: None }
    }
}

impl Watchdog {
    /// The firmware wrote a register.
    pub fn store(&mut self, now: Duration, offset: u32, value: u32) {
        match offset {
            START if value == 1 && self.run.is_none() => self.reload(now),
            // The registers are locked while it runs.
            CRV if self.run.is_none() => self.counter = value.max(0xF),
            RREN if self.run.is_none() => self.enabled = value & 0xFF,
            CONFIG if self.run.is_none() => self.config = value,
            _ if (RELOAD..RELOAD + 4 * RELOADS).contains(&offset) && value == RELOAD_KEY && self.run.is_some() => {
                self.requested |= 1 << ((offset - RELOAD) / 4);
                if self.requested & self.enabled == self.enabled {
                    self.reload(now);
                }
            }
            _ => {}
        }
    }

    fn reload(&mut self, now: Duration) {
        self.requested = 0;
        let time = Duration::from_nanos((u64::from(self.counter) + 1) * 1_000_000_000 / CLOCK_HZ);
        self.run = Some(match self.run {
            Some(Run::Held(_)) => Run::Held(time),
            _ => Run::Until(now + time),
        });
    }

    /// When it resets the node, unless it is reloaded before.
    pub const fn deadline(&self) -> Option<Duration> {
        match self.run {
            Some(Run::Until(end)) => Some(end),
            _ => None,
        }
    }

    /// A debugger stopped the core.
    pub fn hold(&mut self, now: Duration) {
        if let Some(Run::Until(end)) = self.run
            && self.config & RUN_WHILE_HALTED == 0
        {
            self.run = Some(Run::Held(end.saturating_sub(now)));
        }
    }

    /// The core runs again.
    pub fn go_on(&mut self, now: Duration) {
        if let Some(Run::Held(left)) = self.run {
            self.run = Some(Run::Until(now + left));
        }
    }

    /// The node was reset.
    pub fn reset(&mut self, reason: ResetReason) {
        match reason {
            ResetReason::PowerOn | ResetReason::Pin | ResetReason::Watchdog => *self = Self::default(),
            ResetReason::Soft | ResetReason::Lockup => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SECOND: Duration = Duration::from_secs(1);
    const TICK: Duration = Duration::from_nanos(1_000_000_000 / 32_768);

    fn started() -> Watchdog {
        let mut dog = Watchdog::default();
        dog.store(Duration::ZERO, CRV, 32_767);
        dog.store(Duration::ZERO, START, 1);
        dog
    }

    #[test]
    fn it_ends_one_tick_behind_its_counter() {
        assert_eq!(started().deadline(), Some(SECOND));
        assert_eq!(Watchdog::default().deadline(), None);
        let mut shortest = Watchdog::default();
        shortest.store(Duration::ZERO, CRV, 0);
        shortest.store(Duration::ZERO, START, 1);
        let end = shortest.deadline().unwrap_or_default();
        assert!(end >= 16 * TICK && end < 17 * TICK, "{end:?}");
    }

    #[rstest]
    #[case::key(0x600, RELOAD_KEY, 2)]
    #[case::wrong_key(0x600, RELOAD_KEY + 1, 1)]
    #[case::register_not_enabled(0x604, RELOAD_KEY, 1)]
    #[case::start_again(START, 1, 1)]
    #[case::counter_while_it_runs(CRV, u32::MAX, 1)]
    fn only_the_key_in_an_enabled_register_reloads(#[case] offset: u32, #[case] value: u32, #[case] ends_s: u32) {
        let mut dog = started();
        dog.store(SECOND, offset, value);
        assert_eq!(dog.deadline(), Some(ends_s * SECOND));
    }

    #[test]
    fn all_enabled_registers_have_to_ask() {
        let mut dog = Watchdog::default();
        dog.store(Duration::ZERO, CRV, 32_767);
        dog.store(Duration::ZERO, RREN, 3);
        dog.store(Duration::ZERO, START, 1);
        dog.store(SECOND / 2, 0x600, RELOAD_KEY);
        assert_eq!(dog.deadline(), Some(SECOND));
        dog.store(SECOND / 2, 0x604, RELOAD_KEY);
        assert_eq!(dog.deadline(), Some(SECOND + SECOND / 2));
    }

    #[test]
    fn it_stands_still_while_a_debugger_holds_the_core() {
        let mut dog = started();
        dog.hold(SECOND / 4);
        assert_eq!(dog.deadline(), None);
        dog.go_on(10 * SECOND);
        assert_eq!(dog.deadline(), Some(10 * SECOND + SECOND * 3 / 4));
    }

    #[test]
    fn it_goes_on_while_halted_if_told_so() {
        let mut dog = Watchdog::default();
        dog.store(Duration::ZERO, CRV, 32_767);
        dog.store(Duration::ZERO, CONFIG, 9);
        dog.store(Duration::ZERO, START, 1);
        dog.hold(SECOND / 4);
        assert_eq!(dog.deadline(), Some(SECOND));
    }

    #[rstest]
    #[case(ResetReason::Soft, true)]
    #[case(ResetReason::Lockup, true)]
    #[case(ResetReason::Pin, false)]
    #[case(ResetReason::Watchdog, false)]
    #[case(ResetReason::PowerOn, false)]
    fn a_reset_by_the_core_itself_does_not_stop_it(#[case] reason: ResetReason, #[case] runs: bool) {
        let mut dog = started();
        dog.reset(reason);
        assert_eq!(dog.deadline().is_some(), runs);
    }
}
