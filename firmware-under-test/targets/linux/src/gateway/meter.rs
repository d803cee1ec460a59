//! What went on the air, counted as the co-processor reports it.

use crate::api::gateway::AirUse;
use mk_wire::time::{Duration, Instant};
use std::collections::VecDeque;

/// The window in which the densest use is looked for.
const WINDOW: Duration = Duration::from_secs(1);
/// Data PDUs remembered at most: more than any radio sends in a second.
const MOST: usize = 4_096;

/// What a PDU carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// Image data, which the throttle limits.
    Data,
    /// Anything else.
    Control,
}

/// Counts since the last report.
#[derive(Debug)]
pub struct Meter {
    begun: Instant,
    counts: AirUse,
    recent: VecDeque<Instant>,
}

impl Meter {
    /// Begins to count.
    pub fn new(now: Instant) -> Self {
        Self { begun: now, counts: AirUse::default(), recent: VecDeque::new() }
    }

    /// A PDU of ours went on the air.
    pub fn sent(&mut self, now: Instant, load: Load) {
        match load {
            Load::Control => self.counts.control_pdus += 1,
            Load::Data => {
                self.counts.data_pdus += 1;
                let old = |first: &Instant| now.checked_duration_since(*first).is_some_and(|age| age >= WINDOW);
                while self.recent.front().is_some_and(old) || self.recent.len() >= MOST {
                    self.recent.pop_front();
                }
                self.recent.push_back(now);
                let peak = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
                self.counts.peak_data_pdus = self.counts.peak_data_pdus.max(peak);
            }
        }
    }

    /// PDUs of ours of which nothing was heard again.
    pub fn lost(&mut self, pdus: usize) {
        self.counts.lost_pdus += pdus as u64;
    }

    /// A PDU was received.
    pub fn received(&mut self) {
        self.counts.received_pdus += 1;
    }

    /// The counts since the last report; none if nothing of image data was sent.
    pub fn report(&mut self, now: Instant, throttle_permille: u16) -> Option<AirUse> {
        if self.counts.data_pdus == 0 {
            return None;
        }
        let interval_ms = now.checked_duration_since(self.begun).map_or(0, |span| span.as_millis());
        let use_of_air = AirUse { throttle_permille, interval_ms, ..self.counts };
        // The last second belongs to the next interval too: a peak may lie across the border.
        self.counts = AirUse { peak_data_pdus: 0, ..AirUse::default() };
        self.begun = now;
        Some(use_of_air)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    const fn at(ms: u64) -> Instant {
        Instant::from_ticks(ms * 1_000)
    }

    #[rstest]
    #[case::fast(10, 100)]
    #[case::slow(50, 20)]
    fn the_peak_is_that_of_the_densest_second(#[case] spacing_ms: u64, #[case] want: u32) {
        let mut meter = Meter::new(at(0));
        for n in 0..320 {
            meter.sent(at(n * spacing_ms), Load::Data);
        }
        assert_eq!(meter.report(at(16_000), 400).unwrap().peak_data_pdus, want);
    }

    #[test]
    fn a_peak_across_two_reports_is_seen_in_the_second() {
        let mut meter = Meter::new(at(0));
        (0..30).for_each(|n| meter.sent(at(n * 10), Load::Data));
        assert_eq!(meter.report(at(300), 400).unwrap().peak_data_pdus, 30);
        (30..60).for_each(|n| meter.sent(at(n * 10), Load::Data));
        let second = meter.report(at(600), 400).unwrap();
        assert_eq!((second.peak_data_pdus, second.data_pdus, second.interval_ms), (60, 30, 300));
    }

    #[test]
    fn without_data_there_is_nothing_to_report() {
        let mut meter = Meter::new(at(0));
        meter.sent(at(1), Load::Control);
        meter.received();
        assert_eq!(meter.report(at(2), 400), None);
    }
}
