//! The process's clock: monotonic since its start, with the wall clock at that moment.

use mk_wire::time::Instant;
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock that begins with the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
    unix_us_at_start: u64,
}

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: std::time::Instant::now(), unix_us_at_start: u64::try_from(unix.as_micros()).unwrap_or(u64::MAX) }
    }

    /// Now, for the machines: microseconds since the start.
    pub fn now(&self) -> Instant {
        Instant::from_ticks(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Milliseconds since the start.
    pub fn ms(&self) -> u64 {
        self.now().as_ticks() / 1_000
    }

    /// Microseconds since 1970 that go on with the monotonic clock: corrections of the wall clock do not show.
    pub fn unix_us(&self) -> u64 {
        self.unix_us_at_start.saturating_add(self.now().as_ticks())
    }

    /// How long it is until `at`; zero when it has passed.
    pub fn until(&self, at: Instant) -> std::time::Duration {
        let us = at.as_ticks().saturating_sub(self.now().as_ticks());
        std::time::Duration::from_micros(us)
    }
}
