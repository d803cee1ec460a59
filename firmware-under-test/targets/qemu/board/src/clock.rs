//! Time since the reset, in microseconds, and sleeping until a point in it: TIMER0 at 1 MHz.
//!
//! Interrupts wake the core and are never taken: they stay masked, `wfi` ends when one is pending, and everything happens in
//! thread mode. `wfe` is not used: the emulated core does not sleep on it.

use crate::regs::{
    NVIC_ICPR, NVIC_ISER, TIMER_BITMODE, TIMER_CAPTURE1, TIMER_CC0, TIMER_CC1, TIMER_COMPARE0, TIMER_INTENSET,
    TIMER_MODE, TIMER_PRESCALER, TIMER_START, TIMER_STOP,
};
use mk_wire::time::{Duration, Instant};

/// Interrupt numbers.
const RADIO: u32 = 1 << 1;
const TIMER0: u32 = 1 << 8;
/// The counter has 32 bits, so a lap takes 71 minutes; the core wakes at least this often to count laps.
const LONGEST_SLEEP: Duration = Duration::from_secs(30 * 60);

/// The clock.
#[derive(Debug)]
pub struct Clock {
    laps: u32,
    last: u32,
}

impl Clock {
    /// Starts the counter, or takes over the one that the bootloader started: time counts from the reset.
    #[must_use]
    pub fn start() -> Self {
        // The other registers may not be written while it runs.
        TIMER_STOP.write(1);
        TIMER_MODE.write(0);
        TIMER_BITMODE.write(3);
        TIMER_PRESCALER.write(4);
        TIMER_START.write(1);
        TIMER_INTENSET.write(1 << 16);
        Self { laps: 0, last: counter() }
    }

    /// Now.
    pub fn now(&mut self) -> Instant {
        let count = counter();
        if count < self.last {
            self.laps = self.laps.wrapping_add(1);
        }
        self.last = count;
        Instant::from_ticks(u64::from(self.laps) << 32 | u64::from(count))
    }

    /// Lets timer and radio wake the core.
    pub fn listen(&self) {
        cortex_m::interrupt::disable();
        NVIC_ICPR.write(RADIO | TIMER0);
        NVIC_ISER.write(RADIO | TIMER0);
    }

    /// Sleeps until `until`, or until the radio has something. Returns at once when either is the case already.
    pub fn sleep(&mut self, until: Option<Instant>) {
        let now = self.now();
        let until = until.unwrap_or(now + LONGEST_SLEEP).min(now + LONGEST_SLEEP);
        // The lower half is what the counter shows at that time, in this lap or the next.
        TIMER_CC0.write(until.as_ticks() as u32);
        // Looked at after CC0 is set: if the time is still ahead, the match will come.
        if self.now() < until {
            cortex_m::asm::wfi();
        }
        TIMER_COMPARE0.write(0);
        NVIC_ICPR.write(RADIO | TIMER0);
    }
}

/// Time since the start of the counter, without laps: for the last words of a program.
pub(crate) fn since_start() -> Instant {
    Instant::from_ticks(u64::from(counter()))
}

fn counter() -> u32 {
    TIMER_CAPTURE1.write(1);
    TIMER_CC1.read()
}
