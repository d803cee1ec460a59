//! Time since the start of the program, in microseconds.
//!
//! The application has RTC1 (30 us steps, never stops). The bootloader counts core cycles, which is enough for the 67 s that
//! the counter lasts: an install of a full bank takes a quarter of that.

use mk_wire::time::Instant;

/// Now.
#[cfg(feature = "softdevice")]
#[must_use]
pub fn now() -> Instant {
    Instant::from_ticks(embassy_time::Instant::now().as_micros())
}

/// Now.
#[cfg(not(feature = "softdevice"))]
#[must_use]
pub fn now() -> Instant {
    const CYCLES_PER_US: u32 = 64;
    Instant::from_ticks(u64::from(cortex_m::peripheral::DWT::cycle_count() / CYCLES_PER_US))
}

/// Starts the cycle counter; the application has no need of it.
#[cfg(not(feature = "softdevice"))]
pub fn start() {
    if let Some(mut core) = cortex_m::Peripherals::take() {
        core.DCB.enable_trace();
        core.DWT.set_cycle_count(0);
        core.DWT.enable_cycle_counter();
    }
}
