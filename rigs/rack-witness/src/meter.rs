//! The radio of the rack as a meter: what the distributor put on the air, and most in any one second.

use hil_model::fact::Fact;
use hil_model::{Span, Time};
use std::collections::VecDeque;

/// Air time of one network PDU (radio model, section 3).
pub const PDU_AIR: Span = Span::micros(376);
/// Estimated copies of one PDU: the original and its relays (section 7).
pub const COPIES: u64 = 25;
/// The window over which the throttle is judged.
const WINDOW: Span = Span::secs(1);

/// Counts since the last report.
#[derive(Debug, Default)]
pub struct Meter {
    starts: VecDeque<Time>,
    peak: usize,
    data_pdus: u64,
    control_pdus: u64,
    deliveries: u64,
    losses: u64,
}

impl Meter {
    /// A data message whose PDUs begin at `at`, `spacing` apart.
    pub fn data(&mut self, at: Time, pdus: u16, spacing: Span) {
        self.data_pdus += u64::from(pdus);
        for n in 0..u64::from(pdus) {
            let start = at + spacing.times(n);
            while self.starts.front().is_some_and(|first| start.since(*first) >= WINDOW) {
                self.starts.pop_front();
            }
            self.starts.push_back(start);
            self.peak = self.peak.max(self.starts.len());
        }
    }

    /// A message that is no image data.
    pub const fn control(&mut self, pdus: u16) {
        self.control_pdus += pdus as u64;
    }

    /// Deliveries of one message, and those that the air swallowed.
    pub const fn delivered(&mut self, heard: u64, lost: u64) {
        self.deliveries += heard;
        self.losses += lost;
    }

    /// What was counted since the last report; none when no data was sent.
    pub fn report(&mut self, throttle_permille: u16) -> Option<Fact> {
        self.report_with(throttle_permille, COPIES as u16, 1)
    }

    /// [`Meter::report`], with `copies` of every PDU on the air, and `depth` PDUs in the sender's bucket.
    pub fn report_with(&mut self, throttle_permille: u16, copies: u16, depth: u16) -> Option<Fact> {
        if self.data_pdus == 0 {
            return None;
        }
        let airtime = |pdus: u64| pdus * u64::from(copies) * PDU_AIR.as_micros();
        let permille = |pdus: u64| (airtime(pdus) / 1_000) as u16;
        let fact = Fact::AirUse {
            data_pdus: self.data_pdus,
            data_airtime_us: airtime(self.data_pdus),
            peak_permille: permille(self.peak as u64),
            throttle_permille,
            depth_permille: permille(u64::from(depth)) + 1,
            control_pdus: self.control_pdus,
            deliveries: self.deliveries,
            losses: self.losses,
        };
        let starts = core::mem::take(&mut self.starts);
        *self = Self { peak: starts.len(), starts, ..Self::default() };
        Some(fact)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn peak(spacing_ms: u64) -> u16 {
        let mut meter = Meter::default();
        for n in 0..20 {
            meter.data(Time(0) + Span::millis(spacing_ms * 16).times(n), 16, Span::millis(spacing_ms));
        }
        let Some(Fact::AirUse { peak_permille, .. }) = meter.report(400) else { panic!("no report") };
        peak_permille
    }

    /// 9.4 ms of air time per PDU: 100 in a second at 10 ms, 20 at 50 ms.
    #[test]
    fn the_peak_is_that_of_the_densest_second() {
        assert_eq!(peak(10), 940);
        assert_eq!(peak(50), 188);
    }

    #[test]
    fn nothing_sent_is_nothing_to_report() {
        let mut meter = Meter::default();
        meter.control(3);
        assert!(meter.report(400).is_none());
    }
}
