//! Counts starts that nobody asked for: a board that starts again and again is of no use, and fills every log.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many starts within what time are too many. An update takes two, a trial that fails three or four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebootLimit {
    /// Starts that nobody asked for.
    pub boots: u32,
    /// Within this time.
    pub within: Duration,
}

impl Default for RebootLimit {
    fn default() -> Self {
        Self { boots: 10, within: Duration::from_secs(30) }
    }
}

/// Watches a board's starts.
#[derive(Debug)]
pub struct RebootWatch {
    limit: RebootLimit,
    seen: VecDeque<Instant>,
    /// Starts that were asked for and have not been seen yet.
    excused: u32,
}

impl RebootWatch {
    /// A watch that has seen none.
    #[must_use]
    pub const fn new(limit: RebootLimit) -> Self {
        Self { limit, seen: VecDeque::new(), excused: 0 }
    }

    /// The next start was asked for.
    pub const fn excuse(&mut self) {
        self.excused = self.excused.saturating_add(1);
    }

    /// The board started. `true` when that was one too many.
    pub fn started(&mut self, at: Instant) -> bool {
        if self.excused > 0 {
            self.excused -= 1;
            return false;
        }
        self.seen.push_back(at);
        while self.seen.front().is_some_and(|first| at.duration_since(*first) > self.limit.within) {
            self.seen.pop_front();
        }
        self.seen.len() > self.limit.boots as usize
    }

    /// Its limit.
    #[must_use]
    pub const fn limit(&self) -> RebootLimit {
        self.limit
    }

    /// Starts counted within the limit's time.
    #[must_use]
    pub fn counted(&self) -> u32 {
        u32::try_from(self.seen.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> RebootWatch {
        RebootWatch::new(RebootLimit { boots: 3, within: Duration::from_secs(10) })
    }

    #[test]
    fn three_starts_are_borne_and_the_fourth_is_one_too_many() {
        let (mut watch, now) = (watch(), Instant::now());
        let second = |s| now + Duration::from_secs(s);
        assert_eq!([1, 2, 3, 4].map(|s| watch.started(second(s))), [false, false, false, true]);
        assert_eq!(watch.counted(), 4);
    }

    #[test]
    fn starts_far_apart_are_forgotten() {
        let (mut watch, now) = (watch(), Instant::now());
        assert!((0..20).all(|n| !watch.started(now + Duration::from_secs(n * 4))));
    }

    #[test]
    fn starts_that_were_asked_for_do_not_count() {
        let (mut watch, now) = (watch(), Instant::now());
        for _ in 0..20 {
            watch.excuse();
            assert!(!watch.started(now));
        }
        assert_eq!(watch.counted(), 0);
    }
}
