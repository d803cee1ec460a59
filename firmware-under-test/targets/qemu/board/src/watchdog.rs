//! The watchdog: one time-out, set by the bootloader at every boot; the application only reloads it.
//!
//! On the real part it cannot be changed or stopped once it runs. Here the bench gives it life from outside, by what is
//! written to its registers; every write costs the bench a line, so reloads that come close upon another are left out.

use crate::regs::{WDT_CONFIG, WDT_CRV, WDT_RR0, WDT_RREN, WDT_START};
use mk_wire::time::{Duration, Instant};

const RELOAD: u32 = 0x6E52_4635;
const TICKS_PER_SECOND: u64 = 32_768;
/// Runs while the core sleeps, stands still while a probe halts it.
const RUN_IN_SLEEP: u32 = 1;
/// A reload is left out when less than the time-out divided by this has passed since the last one.
const RELOADS: u32 = 8;

/// The watchdog.
#[derive(Debug)]
pub struct Watchdog {
    gap: Duration,
    last: Option<Instant>,
}

impl Watchdog {
    /// Starts it, or adopts it where it runs already.
    #[must_use]
    pub fn start(timeout: Duration) -> Self {
        let ticks = timeout.as_millis().saturating_mul(TICKS_PER_SECOND) / 1_000;
        WDT_CRV.write(u32::try_from(ticks).unwrap_or(u32::MAX).max(0xF));
        WDT_RREN.write(1);
        WDT_CONFIG.write(RUN_IN_SLEEP);
        WDT_START.write(1);
        WDT_RR0.write(RELOAD);
        Self::running(timeout)
    }

    /// The watchdog that the bootloader started.
    #[must_use]
    pub const fn running(timeout: Duration) -> Self {
        Self { gap: Duration::from_ticks(timeout.as_ticks() / RELOADS as u64), last: None }
    }

    /// Reloads it, if some time has passed since the last reload.
    pub fn feed(&mut self, now: Instant) {
        if self.last.is_none_or(|last| now.checked_duration_since(last).is_none_or(|since| since >= self.gap)) {
            self.reload(now);
        }
    }

    /// Reloads it.
    pub fn reload(&mut self, now: Instant) {
        self.last = Some(now);
        WDT_RR0.write(RELOAD);
    }
}
