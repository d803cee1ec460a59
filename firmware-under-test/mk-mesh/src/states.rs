//! The configurable states of the lower layers (sections 12.1 and 12.4): default TTL, relay, repetition, segmentation.
//!
//! Kept in the encoding of the Configuration messages, so that what a configuration client wrote is what it reads back.

use mk_wire::time::Duration;

/// How often a PDU is sent: bits 0-2 further transmissions, bits 3-7 interval in steps of 10 ms less one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit(pub u8);

impl Transmit {
    /// `sends` transmissions (1 to 8), `interval_ms` apart (10 to 320, in steps of 10).
    #[must_use]
    pub const fn new(sends: u8, interval_ms: u16) -> Self {
        let (count, steps) = (sends.saturating_sub(1), (interval_ms / 10).saturating_sub(1));
        let (count, steps) = (if count > 7 { 7 } else { count }, if steps > 31 { 31 } else { steps as u8 });
        Transmit(steps << 3 | count)
    }

    /// Transmissions in all.
    #[must_use]
    pub const fn sends(self) -> u8 {
        (self.0 & 7) + 1
    }

    /// Time between two of them.
    #[must_use]
    pub const fn interval(self) -> Duration {
        Duration::from_millis((self.0 as u64 / 8 + 1) * 10)
    }
}

/// SAR Transmitter state: how segmented messages are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SarTransmitter {
    /// Segment interval: (step + 1) times 10 ms between two segments.
    pub interval_step: u8,
    /// Rounds to a single receiver, less one.
    pub unicast_retransmissions: u8,
    /// Rounds without a new acknowledgement until it is given up, less one.
    pub without_progress: u8,
    /// Wait for an acknowledgement: (step + 1) times 25 ms ...
    pub unicast_interval_step: u8,
    /// ... and (increment + 1) times 25 ms per hop after the first.
    pub unicast_interval_increment: u8,
    /// Rounds to a group, less one.
    pub multicast_retransmissions: u8,
    /// Time between two of these rounds: (step + 1) times 25 ms.
    pub multicast_interval_step: u8,
}

impl SarTransmitter {
    /// 10 ms between segments, up to 8 rounds to one receiver, one round to a group: the chunks of a transfer are asked
    /// for again at the block's end.
    pub const DEFAULT: Self = SarTransmitter {
        interval_step: 0,
        unicast_retransmissions: 7,
        without_progress: 2,
        unicast_interval_step: 7,
        unicast_interval_increment: 1,
        multicast_retransmissions: 0,
        multicast_interval_step: 9,
    };

    /// Time between two segments.
    #[must_use]
    pub const fn segment_interval(&self) -> Duration {
        Duration::from_millis((self.interval_step as u64 + 1) * 10)
    }

    /// Wait for an acknowledgement at this time to live.
    #[must_use]
    pub const fn unicast_interval(&self, ttl: u8) -> Duration {
        let hops = ttl.saturating_sub(1) as u64;
        let (base, increment) = (self.unicast_interval_step as u64 + 1, self.unicast_interval_increment as u64 + 1);
        Duration::from_millis(25 * (base + increment * hops))
    }

    /// Time between two rounds to a group.
    #[must_use]
    pub const fn multicast_interval(&self) -> Duration {
        Duration::from_millis(25 * (self.multicast_interval_step as u64 + 1))
    }

    /// The octets of the Configuration message.
    #[must_use]
    pub const fn encode(&self) -> [u8; 4] {
        [
            self.interval_step & 15 | self.unicast_retransmissions << 4,
            self.without_progress & 15 | self.unicast_interval_step << 4,
            self.unicast_interval_increment & 15 | self.multicast_retransmissions << 4,
            self.multicast_interval_step & 15,
        ]
    }

    /// From the octets of the Configuration message; `None` if the four reserved bits are set.
    #[must_use]
    pub const fn decode(octets: [u8; 4]) -> Option<Self> {
        let [a, b, c, d] = octets;
        if d > 15 {
            return None;
        }
        Some(SarTransmitter {
            interval_step: a & 15,
            unicast_retransmissions: a >> 4,
            without_progress: b & 15,
            unicast_interval_step: b >> 4,
            unicast_interval_increment: c & 15,
            multicast_retransmissions: c >> 4,
            multicast_interval_step: d,
        })
    }
}

/// SAR Receiver state: how segmented messages are acknowledged and given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SarReceiver {
    /// Messages with more segments than this are acknowledged more than once (5 bits).
    pub segments_threshold: u8,
    /// Delay of an acknowledgement, in segment intervals less one and a half (3 bits).
    pub ack_delay_increment: u8,
    /// (n + 1) times 5 s without a new segment and a message is discarded (4 bits).
    pub discard_timeout: u8,
    /// The sender's segment interval: (step + 1) times 10 ms (4 bits).
    pub interval_step: u8,
    /// How often such an acknowledgement is repeated, less one (2 bits).
    pub ack_retransmissions: u8,
}

impl SarReceiver {
    /// Acknowledged after 25 ms at a 10 ms interval, discarded after 10 s.
    pub const DEFAULT: Self = SarReceiver {
        segments_threshold: 3,
        ack_delay_increment: 1,
        discard_timeout: 1,
        interval_step: 0,
        ack_retransmissions: 0,
    };

    /// Delay of the acknowledgement of a message whose last segment has this number.
    #[must_use]
    pub const fn ack_delay(&self, last: u8) -> Duration {
        // Half intervals: min(last + 0.5, increment + 1.5).
        let (by_length, by_state) = (2 * last as u64 + 1, 2 * self.ack_delay_increment as u64 + 3);
        let halves = if by_length < by_state { by_length } else { by_state };
        Duration::from_millis(halves * (self.interval_step as u64 + 1) * 5)
    }

    /// Time without a new segment until a message is discarded.
    #[must_use]
    pub const fn discard_timeout(&self) -> Duration {
        Duration::from_secs((self.discard_timeout as u64 + 1) * 5)
    }

    /// The octets of the Configuration message.
    #[must_use]
    pub const fn encode(&self) -> [u8; 3] {
        [
            self.segments_threshold & 0x1F | self.ack_delay_increment << 5,
            self.discard_timeout & 15 | self.interval_step << 4,
            self.ack_retransmissions & 3,
        ]
    }

    /// From the octets of the Configuration message; `None` if the reserved bits are set.
    #[must_use]
    pub const fn decode(octets: [u8; 3]) -> Option<Self> {
        let [a, b, c] = octets;
        if c > 3 {
            return None;
        }
        Some(SarReceiver {
            segments_threshold: a & 0x1F,
            ack_delay_increment: a >> 5,
            discard_timeout: b & 15,
            interval_step: b >> 4,
            ack_retransmissions: c,
        })
    }
}

/// All of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct States {
    /// Time to live of messages that do not say (0, 2 to 127).
    pub default_ttl: u8,
    /// Does the node relay?
    pub relay: bool,
    /// How often PDUs of the node's own messages are sent.
    pub network_transmit: Transmit,
    /// How often relayed PDUs are.
    pub relay_retransmit: Transmit,
    /// Sending of segmented messages.
    pub sar_transmitter: SarTransmitter,
    /// Their reception.
    pub sar_receiver: SarReceiver,
}

impl States {
    /// Octets of [`States::encode`].
    pub const LENGTH: usize = 11;

    /// TTL 5, no relay, own PDUs three times 20 ms apart, relayed ones once: the radio model's figures.
    pub const DEFAULT: Self = States {
        default_ttl: 5,
        relay: false,
        network_transmit: Transmit::new(3, 20),
        relay_retransmit: Transmit::new(1, 20),
        sar_transmitter: SarTransmitter::DEFAULT,
        sar_receiver: SarReceiver::DEFAULT,
    };

    /// The octets that are stored.
    #[must_use]
    pub const fn encode(&self) -> [u8; Self::LENGTH] {
        let [t0, t1, t2, t3] = self.sar_transmitter.encode();
        let [r0, r1, r2] = self.sar_receiver.encode();
        let relay = self.relay as u8;
        [self.default_ttl, relay, self.network_transmit.0, self.relay_retransmit.0, t0, t1, t2, t3, r0, r1, r2]
    }

    /// From stored octets; `None` for any that [`States::encode`] does not give.
    #[must_use]
    pub fn decode(octets: &[u8; Self::LENGTH]) -> Option<Self> {
        let [default_ttl, relay @ 0..=1, network, retransmit, t0, t1, t2, t3, r0, r1, r2] = *octets else {
            return None;
        };
        if !ttl_allowed(default_ttl) {
            return None;
        }
        Some(States {
            default_ttl,
            relay: relay == 1,
            network_transmit: Transmit(network),
            relay_retransmit: Transmit(retransmit),
            sar_transmitter: SarTransmitter::decode([t0, t1, t2, t3])?,
            sar_receiver: SarReceiver::decode([r0, r1, r2])?,
        })
    }
}

impl Default for States {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A default TTL may be 0 or 2 to 127: 1 would be as good as 0.
#[must_use]
pub const fn ttl_allowed(ttl: u8) -> bool {
    ttl == 0 || (ttl >= 2 && ttl <= 0x7F)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Section 12.4's defaults of Zephyr give section 12.4's times.
    #[rstest]
    fn the_formulas_give_the_times_of_the_sheet() {
        let zephyr = SarTransmitter { interval_step: 5, multicast_retransmissions: 2, ..SarTransmitter::DEFAULT };
        assert_eq!(zephyr.segment_interval(), Duration::from_millis(60));
        assert_eq!(zephyr.unicast_interval(1), Duration::from_millis(200));
        assert_eq!(zephyr.unicast_interval(4), Duration::from_millis(350));
        assert_eq!(zephyr.multicast_interval(), Duration::from_millis(250));
        let receiver = SarReceiver { interval_step: 5, ..SarReceiver::DEFAULT };
        assert_eq!(receiver.ack_delay(31), Duration::from_millis(150));
        assert_eq!(receiver.ack_delay(1), Duration::from_millis(90));
        assert_eq!(receiver.discard_timeout(), Duration::from_secs(10));
    }

    #[rstest]
    #[case(1, 20, 0x08)]
    #[case(3, 20, 0x0A)]
    #[case(8, 320, 0xFF)]
    #[case::held_at_the_ends(9, 999, 0xFF)]
    #[case::held_at_the_start(0, 0, 0x00)]
    fn repetitions_are_coded_as_the_standard_says(#[case] sends: u8, #[case] interval: u16, #[case] octet: u8) {
        assert_eq!(Transmit::new(sends, interval), Transmit(octet));
    }

    #[rstest]
    fn stored_states_come_back_and_others_are_refused() {
        let states = States { relay: true, default_ttl: 0x7F, ..States::DEFAULT };
        assert_eq!(States::decode(&states.encode()), Some(states));
        for (at, value) in [(0, 1), (0, 0x80), (1, 2), (7, 0x10), (10, 4)] {
            let mut octets = states.encode();
            octets[at] = value;
            assert_eq!(States::decode(&octets), None, "octet {at} = {value:#x}");
        }
    }
}
