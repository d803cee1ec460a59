//! Transmission windows: when in the day firmware may be sent.

use crate::policy::{DAY_MINUTES, Policy, Window};
use mk_wire::time::{Duration, Instant};

const MINUTE_US: u64 = 60_000_000;
const DAY_US: u64 = DAY_MINUTES as u64 * MINUTE_US;

/// Microseconds since local midnight.
fn time_of_day(policy: &Policy, now: Instant) -> u64 {
    (u64::from(policy.start_minute) * MINUTE_US + now.as_ticks() % DAY_US) % DAY_US
}

/// May firmware be sent now?
pub(crate) fn is_open(policy: &Policy, now: Instant) -> bool {
    let time = time_of_day(policy, now);
    policy.windows.is_empty()
        || policy.windows.iter().any(|&Window { from_minute, to_minute }| {
            let (from, to) = (u64::from(from_minute) * MINUTE_US, u64::from(to_minute) * MINUTE_US);
            if from < to { (from..to).contains(&time) } else { time >= from || time < to }
        })
}

/// The next instant after `now` at which a window begins or ends; `None` without windows.
pub(crate) fn next_change(policy: &Policy, now: Instant) -> Option<Instant> {
    let time = time_of_day(policy, now);
    policy
        .windows
        .iter()
        .flat_map(|window| [window.from_minute, window.to_minute])
        .map(|minute| {
            let edge = u64::from(minute) * MINUTE_US % DAY_US;
            // An edge that is now was acted upon now: the next time is tomorrow.
            if edge > time { edge - time } else { edge + DAY_US - time }
        })
        .min()
        .map(|wait| crate::initiator::later(now, Duration::from_ticks(wait)))
}
