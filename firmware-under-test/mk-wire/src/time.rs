//! The clock of the firmware crates: microseconds since an arbitrary start, handed in by whoever runs the machine.
//!
//! No function of the firmware reads a clock. 64 bits of microseconds last half a million years, so nothing wraps and
//! instants have a total order.

/// A point in time, in microseconds since the caller's start.
pub type Instant = fugit::Instant<u64, 1, 1_000_000, fugit::kind::Monotonic>;

/// A span of time, in microseconds.
pub type Duration = fugit::Duration<u64, 1, 1_000_000>;
