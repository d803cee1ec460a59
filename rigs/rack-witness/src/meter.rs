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
#[derive(Debug)]
pub struct Meter {
    /// Air time of one mesh PDU with its copies, in microseconds.
    pdu_us: u64,
    /// What may come on top of the throttle by PDUs, in microseconds.
    slack_us: u64,
    /// Data that began within the last second, and what it takes of the air, in microseconds.
    window: VecDeque<(Time, u64)>,
    in_window_us: u64,
    peak_us: u64,
    /// Longest datagram: it cannot be spread over time.
    longest_us: u64,
    data_pdus: u64,
    data_us: u64,
    control_pdus: u64,
    deliveries: u64,
    losses: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new(COPIES as u16, 1)
    }
}

impl Meter {
    /// A meter on an air with `copies` of every mesh PDU, for a sender whose bucket holds `slack_pdus` of them.
    #[must_use]
    pub fn new(copies: u16, slack_pdus: u16) -> Self {
        let pdu_us = u64::from(copies) * PDU_AIR.as_micros();
        Self {
            pdu_us,
            slack_us: u64::from(slack_pdus) * pdu_us,
            window: VecDeque::new(),
            in_window_us: 0,
            peak_us: 0,
            longest_us: 0,
            data_pdus: 0,
            data_us: 0,
            control_pdus: 0,
            deliveries: 0,
            losses: 0,
        }
    }

    /// A mesh data message whose PDUs begin at `at`, `spacing` apart.
    pub fn data(&mut self, at: Time, pdus: u16, spacing: Span) {
        for n in 0..u64::from(pdus) {
            self.take(at + spacing.times(n), 1, self.pdu_us);
        }
    }

    /// A datagram of image data in `frames` frames that takes `air` in all. Frames are not relayed as mesh PDUs are: what
    /// is counted is what its sender put on the air.
    pub fn datagram(&mut self, at: Time, frames: u16, air: Span) {
        self.longest_us = self.longest_us.max(air.as_micros());
        self.take(at, frames, air.as_micros());
    }

    fn take(&mut self, start: Time, pdus: u16, air_us: u64) {
        self.data_pdus += u64::from(pdus);
        self.data_us += air_us;
        while let Some((_, gone)) = self.window.front().filter(|(first, _)| start.since(*first) >= WINDOW) {
            self.in_window_us -= gone;
            self.window.pop_front();
        }
        self.window.push_back((start, air_us));
        self.in_window_us += air_us;
        self.peak_us = self.peak_us.max(self.in_window_us);
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
        if self.data_pdus == 0 {
            return None;
        }
        let permille = |air_us: u64| u16::try_from(air_us / 1_000).unwrap_or(u16::MAX);
        let fact = Fact::AirUse {
            data_pdus: self.data_pdus,
            data_airtime_us: self.data_us,
            peak_permille: permille(self.peak_us),
            throttle_permille,
            depth_permille: permille(self.slack_us.max(self.longest_us)) + 1,
            control_pdus: self.control_pdus,
            deliveries: self.deliveries,
            losses: self.losses,
        };
        // What the last second holds counts towards the next report's busiest one too.
        self.peak_us = self.in_window_us;
        (self.data_pdus, self.data_us, self.control_pdus, self.deliveries, self.losses) = (0, 0, 0, 0, 0);
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

    /// A datagram goes out at once: what may come on top of the throttle is one of them.
    #[test]
    fn datagrams_count_as_they_are_and_deepen_the_bucket() {
        let mut meter = Meter::default();
        for n in 0..100 {
            meter.datagram(Time(0) + Span::millis(50).times(n), 3, Span::micros(14_000));
        }
        let Some(Fact::AirUse { peak_permille, depth_permille, data_pdus, data_airtime_us, .. }) = meter.report(400)
        else {
            panic!("no report")
        };
        assert_eq!((peak_permille, depth_permille), (280, 15));
        assert_eq!((data_pdus, data_airtime_us), (300, 1_400_000));
    }

    #[test]
    fn nothing_sent_is_nothing_to_report() {
        let mut meter = Meter::default();
        meter.control(3);
        assert!(meter.report(400).is_none());
    }
}
