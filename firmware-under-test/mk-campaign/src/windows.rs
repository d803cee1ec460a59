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

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::vec;

    fn policy(start_minute: u16, windows: &[(u16, u16)]) -> Policy {
        let windows = windows.iter().map(|&(from_minute, to_minute)| Window { from_minute, to_minute }).collect();
        Policy { start_minute, windows, ..Policy::default() }
    }

    fn minute(minute: u64) -> Instant {
        Instant::from_ticks(minute * MINUTE_US)
    }

    #[rstest]
    #[case::before(59, false)]
    #[case::first_minute(60, true)]
    #[case::last_minute(119, true)]
    #[case::after(120, false)]
    #[case::next_day(1440 + 60, true)]
    fn a_window_is_open_from_its_first_to_before_its_last_minute(#[case] now: u64, #[case] open: bool) {
        assert_eq!(is_open(&policy(0, &[(60, 120)]), minute(now)), open);
    }

    #[rstest]
    #[case::evening(22 * 60 - 1, false)]
    #[case::begins(22 * 60, true)]
    #[case::midnight(24 * 60, true)]
    #[case::before_its_end(24 * 60 + 5 * 60 - 1, true)]
    #[case::ends(24 * 60 + 5 * 60, false)]
    fn a_window_may_run_over_midnight(#[case] now: u64, #[case] open: bool) {
        assert_eq!(is_open(&policy(0, &[(22 * 60, 5 * 60)]), minute(now)), open);
    }

    #[rstest]
    #[case::to_the_end_of_the_day(policy(0, &[(60, 1440)]), 1439, true)]
    #[case::not_over_it(policy(0, &[(60, 1440)]), 1440, false)]
    #[case::local_time(policy(1380, &[(0, 60)]), 59, false)]
    #[case::local_midnight(policy(1380, &[(0, 60)]), 60, true)]
    #[case::no_windows(policy(0, &[]), 700, true)]
    fn local_time_counts(#[case] policy: Policy, #[case] now: u64, #[case] open: bool) {
        assert_eq!(is_open(&policy, minute(now)), open);
    }

    #[test]
    fn changes_are_the_edges_and_every_state_lasts_until_the_next() {
        let policy = policy(100, &[(22 * 60, 5 * 60), (720, 780)]);
        let mut now = minute(0);
        let mut edges = vec![];
        for _ in 0..4 {
            let next = next_change(&policy, now).unwrap_or(now);
            let before = Instant::from_ticks(next.as_ticks() - 1);
            assert_eq!(is_open(&policy, before), is_open(&policy, now));
            assert_ne!(is_open(&policy, before), is_open(&policy, next));
            edges.push(next.as_ticks() / MINUTE_US + 100);
            now = next;
        }
        assert_eq!(edges, [300, 720, 780, 1320]);
        assert_eq!(next_change(&Policy::default(), now), None);
    }
}
