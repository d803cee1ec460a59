//! Times and counts of section 14.2, and when a notification is news.

use crate::time::Duration;

/// First wait for an acknowledgement, before the random factor.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// The first wait is longer by a random share of up to this, in percent (ACK_RANDOM_FACTOR 1.5).
pub const ACK_RANDOM_PERCENT: u64 = 50;
/// Retransmissions of a confirmable message.
pub const MAX_RETRANSMIT: u8 = 4;
/// Requests outstanding at one peer.
pub const NSTART: u8 = 1;
/// Octets per second to a peer that does not answer.
pub const PROBING_RATE: u32 = 1;
/// From the first transmission of a confirmable message to the last.
pub const MAX_TRANSMIT_SPAN: Duration = Duration::from_secs(45);
/// From the first transmission of a confirmable message to giving up.
pub const MAX_TRANSMIT_WAIT: Duration = Duration::from_secs(93);
/// A confirmable message id may not be used again within this; the same id within it is a duplicate.
pub const EXCHANGE_LIFETIME: Duration = Duration::from_secs(247);
/// The same for non-confirmable messages.
pub const NON_LIFETIME: Duration = Duration::from_secs(145);
/// After this long, any notification is news.
pub const OBSERVE_FRESHNESS: Duration = Duration::from_secs(128);

/// Wait after transmission number `sent` (from 0) of a confirmable message. `random` spreads the first wait evenly over
/// [`ACK_TIMEOUT`] to 1.5 times that; the later ones double it. `None` after the last transmission's wait.
#[must_use]
pub fn retransmit_wait(sent: u8, random: u16) -> Option<Duration> {
    if sent > MAX_RETRANSMIT {
        return None;
    }
    let base = ACK_TIMEOUT.as_micros();
    let first = base + base * ACK_RANDOM_PERCENT * u64::from(random) / (100 * u64::from(u16::MAX));
    Some(Duration::from_micros(first << sent))
}

/// Is a notification with sequence number `new` news to somebody who last saw `last`, `age` ago? (RFC 7641 section 3.4;
/// sequence numbers have 24 bits and wrap.)
#[must_use]
pub fn is_news(last: u32, new: u32, age: Duration) -> bool {
    const HALF: u32 = 1 << 23;
    (last < new && new - last < HALF) || (last > new && last - new > HALF) || age > OBSERVE_FRESHNESS
}
