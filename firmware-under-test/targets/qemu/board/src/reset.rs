//! Why the core was reset, and resetting it.

use crate::regs::{RESET_CAUSE, UNIQUE_ID};
use mk_boot::ResetCause;

/// Bits of the cell, as in the nRF's RESETREAS.
const PIN: u32 = 1 << 0;
const WATCHDOG: u32 = 1 << 1;
const SOFTWARE: u32 = 1 << 2;
const LOCKUP: u32 = 1 << 3;

/// Why the core came out of the last reset. Where several bits are set, the worst of them.
#[must_use]
pub fn cause() -> ResetCause {
    let bits = RESET_CAUSE.read();
    let has = |bit| bits & bit != 0;
    if has(LOCKUP) {
        ResetCause::Lockup
    } else if has(WATCHDOG) {
        ResetCause::Watchdog
    } else if has(PIN) {
        ResetCause::Pin
    } else if has(SOFTWARE) {
        ResetCause::Software
    } else {
        ResetCause::PowerOn
    }
}

/// Number of this board, from the bench.
#[must_use]
pub fn unique_id() -> u64 {
    let [low, high] = UNIQUE_ID;
    u64::from(high.read()) << 32 | u64::from(low.read())
}

/// Resets the core.
pub fn software() -> ! {
    // The part would set this bit itself.
    RESET_CAUSE.write(SOFTWARE);
    cortex_m::peripheral::SCB::sys_reset()
}
