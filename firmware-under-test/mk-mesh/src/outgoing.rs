//! Messages on their way out: waiting, in segments, being acknowledged (section 12.4).
//!
//! Order is kept between messages to the same receiver. Segmented messages of which one goes to a group are not
//! interleaved either: a receiver of both would take the older one's late segments for a replay. Text is encrypted when the
//! first segment leaves, because only then its sequence number is known.

use crate::keys::KeyUse;
use crate::lower::{MAX_UPPER, SEGMENT, all_segments};
use crate::states::States;
use mk_wire::Addr;
use mk_wire::time::{Duration, Instant};

/// Longest access message that goes unsegmented.
pub(crate) const SHORT_ACCESS: usize = 11;
/// Unsegmented messages that wait at most.
pub(crate) const SHORT_MESSAGES: usize = 8;

/// How the PDUs of a message are spaced and repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pacing {
    /// A message that somebody waits for: every PDU is repeated as the Network Transmit state says, segments follow each
    /// other at the segment interval, and to a group they go as many rounds as the SAR state says.
    Control,
    /// One of many, as the chunks of a transfer: every PDU once, `spacing` apart, and what is lost is asked for again by
    /// the layer above.
    Data {
        /// Time between two segments, at least the segment interval.
        spacing: Duration,
    },
}

/// Where a message goes and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Receiver or group.
    pub to: Addr,
    /// Time to live, 0 or 2 to 0x7F; 0xFF for the default TTL.
    pub ttl: u8,
    /// Key to encrypt with.
    pub key: KeyUse,
    /// Spacing and repetition.
    pub pacing: Pacing,
}

impl Destination {
    /// Under the application key with the default TTL, as something that is waited for.
    #[must_use]
    pub const fn application(to: Addr) -> Self {
        Destination { to, ttl: 0xFF, key: KeyUse::Application, pacing: Pacing::Control }
    }

    /// The same under the device key of the conversation.
    #[must_use]
    pub const fn device(to: Addr) -> Self {
        Destination { to, ttl: 0xFF, key: KeyUse::Device, pacing: Pacing::Control }
    }
}

/// Why a message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing to send, or more than 380 octets (376 with a 64-bit MIC).
    #[error("an access message has 1 to 380 octets, not {0}")]
    Length(usize),
    /// The destination cannot be sent to: unassigned, virtual, or the sender itself.
    #[error("nothing can be sent to {0}")]
    Destination(Addr),
    /// Time to live of 1 or beyond 0x7F.
    #[error("time to live {0}")]
    Ttl(u8),
    /// There is no device key for that peer.
    #[error("no device key for {0}")]
    NoKey(Addr),
    /// Every place for a message of this length is taken: try again after the next PDU.
    #[error("too many messages are on their way")]
    Full,
}

/// Segments of one message in transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    /// Sequence number of the first segment.
    pub first: u32,
    pub iv_index: u32,
    /// Octets of the encrypted text.
    pub upper: usize,
    pub last: u8,
    /// Acknowledged segments.
    pub acked: u32,
    /// Segments still to be sent in this round.
    pub todo: u32,
    /// Rounds that may follow this one.
    rounds: u8,
    /// Rounds that may follow without a new acknowledgement.
    fruitless: u8,
}

/// What to do with a message now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Every segment was acknowledged, or all rounds were sent.
    Done,
    /// Nobody acknowledged any more.
    Unacknowledged,
    /// The receiver will not have it.
    Refused,
}

/// A segmented message.
#[derive(Debug)]
pub(crate) struct LongMessage {
    pub order: u32,
    pub destination: Destination,
    /// Resolved time to live.
    pub ttl: u8,
    pub access: usize,
    /// Next segment, or next decision.
    pub due: Instant,
    pub flight: Option<Flight>,
}

/// A place for a segmented message.
#[derive(Debug)]
pub(crate) struct LongSlot {
    pub message: Option<LongMessage>,
    pub buffer: [u8; MAX_UPPER],
}

impl LongSlot {
    pub const fn empty() -> Self {
        LongSlot { message: None, buffer: [0; MAX_UPPER] }
    }
}

/// An unsegmented message.
#[derive(Clone, Debug)]
pub(crate) struct ShortMessage {
    pub order: u32,
    pub destination: Destination,
    pub ttl: u8,
    pub due: Instant,
    pub access: heapless::Vec<u8, SHORT_ACCESS>,
}

impl Flight {
    pub fn new(states: &States, to: Addr, pacing: Pacing, first: u32, iv_index: u32, upper: usize) -> Self {
        let last = (upper.div_ceil(SEGMENT).saturating_sub(1)) as u8;
        let sar = &states.sar_transmitter;
        let (rounds, fruitless) = match pacing {
            _ if to.is_unicast() => (sar.unicast_retransmissions, sar.without_progress),
            Pacing::Control => (sar.multicast_retransmissions, u8::MAX),
            Pacing::Data { .. } => (0, 0),
        };
        Flight { first, iv_index, upper, last, acked: 0, todo: all_segments(last), rounds, fruitless }
    }

    /// Takes the next segment of this round.
    pub fn next_segment(&mut self) -> Option<u8> {
        if self.todo == 0 {
            return None;
        }
        let segment = self.todo.trailing_zeros() as u8;
        self.todo &= self.todo - 1;
        Some(segment)
    }

    /// The wait after a round is over: begins the next one, or tells how it ended.
    pub fn round_over(&mut self, to: Addr) -> Option<End> {
        if !to.is_unicast() && self.rounds == 0 {
            return Some(End::Done);
        }
        if self.rounds == 0 || self.fruitless == 0 {
            return Some(End::Unacknowledged);
        }
        self.rounds -= 1;
        self.fruitless -= 1;
        self.todo = all_segments(self.last) & !self.acked;
        None
    }

    /// An acknowledgement of these segments. `Some` when the message is through; else whether it brought news.
    pub fn on_ack(&mut self, states: &States, segments: u32) -> Result<bool, End> {
        if segments == 0 {
            return Err(End::Refused);
        }
        let all = all_segments(self.last);
        let news = segments & all & !self.acked;
        self.acked |= news;
        self.todo &= !self.acked;
        if self.acked == all {
            return Err(End::Done);
        }
        if news != 0 {
            self.fruitless = states.sar_transmitter.without_progress;
        }
        Ok(news != 0)
    }

    /// The wait after the last segment of a round.
    pub fn wait(&self, states: &States, to: Addr, ttl: u8) -> Duration {
        let sar = &states.sar_transmitter;
        if to.is_unicast() {
            sar.unicast_interval(ttl)
        } else if self.rounds == 0 {
            Duration::from_millis(0)
        } else {
            sar.multicast_interval()
        }
    }
}

/// Must the later of two messages wait for the earlier?
pub(crate) fn conflict(a: (Addr, bool), b: (Addr, bool)) -> bool {
    let ((a, a_long), (b, b_long)) = (a, b);
    a == b || (a_long && b_long && !(a.is_unicast() && b.is_unicast()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::same_receiver((Addr(1), false), (Addr(1), false), true)]
    #[case::two_receivers((Addr(1), true), (Addr(2), true), false)]
    #[case::group_and_member_in_segments((Addr(0xC000), true), (Addr(2), true), true)]
    #[case::group_and_a_short_one((Addr(0xC000), true), (Addr(2), false), false)]
    fn what_must_keep_its_order_does(#[case] a: (Addr, bool), #[case] b: (Addr, bool), #[case] want: bool) {
        assert_eq!((conflict(a, b), conflict(b, a)), (want, want));
    }

    fn flight(to: Addr, pacing: Pacing, states: &States) -> Flight {
        Flight::new(states, to, pacing, 0, 0, 36)
    }

    fn round(flight: &mut Flight) -> std::vec::Vec<u8> {
        core::iter::from_fn(|| flight.next_segment()).collect()
    }

    #[test]
    fn only_what_is_missing_is_sent_again() {
        let states = States::DEFAULT;
        let mut flight = flight(Addr(1), Pacing::Control, &states);
        assert_eq!(round(&mut flight), [0, 1, 2]);
        assert_eq!(flight.on_ack(&states, 0b101), Ok(true));
        assert_eq!(flight.round_over(Addr(1)), None);
        assert_eq!(round(&mut flight), [1]);
        assert_eq!(flight.on_ack(&states, 0b111), Err(End::Done));
    }

    #[test]
    fn without_progress_it_ends_after_the_third_round() {
        let states = States::DEFAULT;
        let mut flight = flight(Addr(1), Pacing::Control, &states);
        let mut rounds = 1;
        while flight.round_over(Addr(1)).is_none() {
            rounds += 1;
        }
        assert_eq!(rounds, states.sar_transmitter.without_progress + 1);
    }

    #[test]
    fn an_empty_acknowledgement_is_a_refusal() {
        let states = States::DEFAULT;
        assert_eq!(flight(Addr(1), Pacing::Control, &states).on_ack(&states, 0), Err(End::Refused));
    }

    #[rstest]
    #[case(Pacing::Control, 2)]
    #[case(Pacing::Data { spacing: Duration::from_millis(10) }, 1)]
    fn a_group_is_told_as_often_as_the_state_says_but_data_once(#[case] pacing: Pacing, #[case] want: usize) {
        let mut states = States::DEFAULT;
        states.sar_transmitter.multicast_retransmissions = 1;
        let mut flight = flight(Addr(0xC000), pacing, &states);
        let mut sent = 0;
        loop {
            sent += round(&mut flight).len();
            if flight.round_over(Addr(0xC000)).is_some() {
                break;
            }
        }
        assert_eq!(sent, 3 * want);
    }
}
