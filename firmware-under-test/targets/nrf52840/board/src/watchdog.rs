//! The watchdog: one time-out, set by the bootloader at the first boot after power came up; it cannot be changed or stopped
//! after that, and keeps running through a soft reset. So a running one is adopted.

use crate::regs::{WDT_CONFIG, WDT_CRV, WDT_RREN, WDT_RUNSTATUS, WDT_START, wdt_reload};
use mk_wire::time::Duration;

const RELOAD: u32 = 0x6E52_4635;
const TICKS_PER_SECOND: u64 = 32_768;
/// Runs while the core sleeps, stands still while a probe halts it.
const RUN_IN_SLEEP: u32 = 1;

/// The watchdog.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    reloads: u8,
}

/// A watchdog that runs with another time-out: nobody may feed it, and when it ends the board starts with the right one.
#[derive(Clone, Copy, Debug)]
pub struct OtherTimeout;

impl Watchdog {
    /// Starts it, or adopts the one that runs.
    ///
    /// # Errors
    /// [`OtherTimeout`] when it runs with another: wait for the reset.
    pub fn start(timeout: Duration) -> Result<Self, OtherTimeout> {
        let ticks = timeout.as_millis().saturating_mul(TICKS_PER_SECOND) / 1_000;
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX).max(0xF);
        if WDT_RUNSTATUS.read() & 1 == 0 {
            WDT_CRV.write(ticks);
            WDT_RREN.write(1);
            WDT_CONFIG.write(RUN_IN_SLEEP);
            WDT_START.write(1);
        } else if WDT_CRV.read() != ticks {
            return Err(OtherTimeout);
        }
        let watchdog = Self::running();
        watchdog.feed();
        Ok(watchdog)
    }

    /// The watchdog that the bootloader started.
    #[must_use]
    pub fn running() -> Self {
        // Every reload register that is enabled has to be written, whoever enabled it.
        Self { reloads: WDT_RREN.read() as u8 }
    }

    /// Reloads it.
    pub fn feed(self) {
        for index in (0..8).filter(|index| self.reloads >> index & 1 == 1) {
            wdt_reload(index).write(RELOAD);
        }
    }
}
