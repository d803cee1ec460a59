//! Why the core was reset, and resetting it.
//!
//! RESETREAS gathers bits until somebody clears them. The bootloader does, and leaves what it read in GPREGRET2 for the
//! application; boot state is never kept there, because that register was seen to be lost over a watchdog reset.

use crate::regs::{POWER_GPREGRET2, POWER_RESETREAS};
use mk_boot::ResetCause;

const CAUSES: [(u32, ResetCause); 4] = [
    // The worst first.
    (1 << 3, ResetCause::Lockup),
    (1 << 1, ResetCause::Watchdog),
    (1 << 0, ResetCause::Pin),
    (1 << 2, ResetCause::Software),
];

/// Why the core came out of the last reset. For the bootloader: clears the register.
#[must_use]
pub fn take_cause() -> ResetCause {
    let bits = POWER_RESETREAS.read();
    POWER_RESETREAS.write(bits);
    POWER_GPREGRET2.write(bits & 0xF);
    from_bits(bits)
}

/// What the bootloader found. For the application, before it enables the SoftDevice.
#[must_use]
pub fn cause() -> ResetCause {
    from_bits(POWER_GPREGRET2.read())
}

fn from_bits(bits: u32) -> ResetCause {
    CAUSES.into_iter().find(|(bit, _)| bits & bit != 0).map_or(ResetCause::PowerOn, |(_, cause)| cause)
}

/// Resets the core.
pub fn software() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
