//! The lower transport layer's PDUs (section 12.4): which kind, which key, which segment.
//!
//! Parsing and writing only; sessions, timers and acknowledgements are in `incoming` and `outgoing`.

use crate::network::{MAX_SEQ, MAX_TRANSPORT};
use heapless::Vec;

/// Octets of an access message's segment; only the last may have fewer.
pub const SEGMENT: usize = 12;
/// Segments of a message at most.
pub const MAX_SEGMENTS: usize = 32;
/// Longest upper transport PDU in octets: text and MIC.
pub const MAX_UPPER: usize = SEGMENT * MAX_SEGMENTS;
/// Longest upper transport PDU that goes unsegmented.
pub const MAX_UNSEGMENTED: usize = 15;
/// Control opcode of a segment acknowledgement.
const ACK: u8 = 0x00;
/// Control opcode of a heartbeat.
const HEARTBEAT: u8 = 0x0A;
/// SeqZero has 13 bits.
const SEQ_ZERO: u32 = 0x1FFF;

/// A transport PDU.
pub type Transport = Vec<u8, MAX_TRANSPORT>;

/// Where a segment belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Identifier of the application key; `None` for the device key.
    pub aid: Option<u8>,
    /// The upper transport's MIC has 64 bits.
    pub long_mic: bool,
    /// Low 13 bits of the first segment's sequence number.
    pub seq_zero: u16,
    /// Number of this segment.
    pub segment: u8,
    /// Number of the last segment.
    pub last: u8,
}

/// A lower transport PDU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lower<'a> {
    /// A whole access message.
    Access {
        /// Identifier of the application key; `None` for the device key.
        aid: Option<u8>,
        /// Upper transport PDU: text and 32-bit MIC.
        upper: &'a [u8],
    },
    /// A segment of an access message.
    Segment {
        /// Where it belongs.
        header: SegmentHeader,
        /// 12 octets, or 1 to 12 in the last one.
        data: &'a [u8],
    },
    /// Acknowledges segments.
    Ack {
        /// A friend speaks for the receiver.
        on_behalf: bool,
        /// Low 13 bits of the first segment's sequence number.
        seq_zero: u16,
        /// One bit per segment received, bit 0 the first; none at all: the receiver refuses the message.
        segments: u32,
    },
    /// A heartbeat.
    Heartbeat {
        /// Time to live with which it was sent.
        initial_ttl: u8,
        /// Features in use: bit 0 relay, 1 proxy, 2 friend, 3 low power.
        features: u16,
    },
}

/// Why a transport PDU is not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LowerError {
    /// Ends too early, or is too long for its kind.
    #[error("transport PDU of {0} octets has the wrong length")]
    Length(usize),
    /// The segment's number is greater than the last segment's.
    #[error("segment {segment} of 0..={last}")]
    SegmentNumber {
        /// Number of the segment.
        segment: u8,
        /// Number of the last.
        last: u8,
    },
    /// A bit that must be zero is set.
    #[error("reserved bits set")]
    ReservedBits,
    /// A control message that only friends and low-power nodes, directed forwarding or the future need.
    #[error("control message {0:#04x} is not supported")]
    Control(u8),
    /// Sequence number and SeqZero do not go together.
    #[error("no message can have begun with this SeqZero")]
    SeqZero,
}

impl<'a> Lower<'a> {
    /// Parses a transport PDU; `control` is the network header's bit.
    ///
    /// # Errors
    /// See [`LowerError`].
    pub fn parse(control: bool, pdu: &'a [u8]) -> Result<Self, LowerError> {
        let length = Err(LowerError::Length(pdu.len()));
        let Some((&first, rest)) = pdu.split_first() else { return length };
        let segmented = first & 0x80 != 0;
        if control {
            return if segmented { Err(LowerError::Control(first & 0x7F)) } else { Self::control(first, rest) };
        }
        let aid = (first & 0x40 != 0).then_some(first & 0x3F);
        if !segmented {
            // An opcode and a MIC at least.
            let fits = rest.len() > 4 && rest.len() <= MAX_UNSEGMENTED;
            return if fits { Ok(Lower::Access { aid, upper: rest }) } else { length };
        }
        let [a, b, c, data @ ..] = rest else { return length };
        let word = u32::from_be_bytes([0, *a, *b, *c]);
        let header = SegmentHeader {
            aid,
            long_mic: word & 0x80_0000 != 0,
            seq_zero: (word >> 10 & SEQ_ZERO) as u16,
            segment: (word >> 5 & 0x1F) as u8,
            last: (word & 0x1F) as u8,
        };
        let SegmentHeader { segment, last, .. } = header;
        if segment > last {
            return Err(LowerError::SegmentNumber { segment, last });
        }
        let whole = if segment < last { data.len() == SEGMENT } else { (1..=SEGMENT).contains(&data.len()) };
        if whole { Ok(Lower::Segment { header, data }) } else { length }
    }

    fn control(first: u8, rest: &'a [u8]) -> Result<Self, LowerError> {
        match (first, rest) {
            (ACK, [a, b, c, d, e, f]) => {
                let word = u16::from_be_bytes([*a, *b]);
                if word & 3 != 0 {
                    return Err(LowerError::ReservedBits);
                }
                let seq_zero = (u32::from(word >> 2) & SEQ_ZERO) as u16;
                let segments = u32::from_be_bytes([*c, *d, *e, *f]);
                Ok(Lower::Ack { on_behalf: word & 0x8000 != 0, seq_zero, segments })
            }
            (HEARTBEAT, [ttl, a, b]) if ttl & 0x80 == 0 => {
                Ok(Lower::Heartbeat { initial_ttl: *ttl, features: u16::from_be_bytes([*a, *b]) })
            }
            (HEARTBEAT, [_, _, _]) => Err(LowerError::ReservedBits),
            (ACK | HEARTBEAT, _) => Err(LowerError::Length(rest.len() + 1)),
            _ => Err(LowerError::Control(first)),
        }
    }

    /// Whether the network header's control bit belongs to it.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        match self {
            Lower::Access { .. } | Lower::Segment { .. } => false,
            Lower::Ack { .. } | Lower::Heartbeat { .. } => true,
        }
    }

    /// Writes the transport PDU; `None` if its data is longer than a PDU carries.
    #[must_use]
    pub fn write(&self) -> Option<Transport> {
        let mut out = Transport::new();
        match *self {
            Lower::Access { aid, upper } => {
                out.push(key_octet(aid)).ok()?;
                out.extend_from_slice(upper).ok()?;
            }
            Lower::Segment { header, data } => {
                let word = u32::from(header.long_mic) << 23
                    | (u32::from(header.seq_zero) & SEQ_ZERO) << 10
                    | u32::from(header.segment & 0x1F) << 5
                    | u32::from(header.last & 0x1F);
                out.push(0x80 | key_octet(header.aid)).ok()?;
                out.extend_from_slice(&word.to_be_bytes()[1..]).ok()?;
                out.extend_from_slice(data).ok()?;
            }
            Lower::Ack { on_behalf, seq_zero, segments } => {
                let word = u16::from(on_behalf) << 15 | (seq_zero & SEQ_ZERO as u16) << 2;
                out.push(ACK).ok()?;
                out.extend_from_slice(&word.to_be_bytes()).ok()?;
                out.extend_from_slice(&segments.to_be_bytes()).ok()?;
            }
            Lower::Heartbeat { initial_ttl, features } => {
                out.extend_from_slice(&[HEARTBEAT, initial_ttl & 0x7F]).ok()?;
                out.extend_from_slice(&features.to_be_bytes()).ok()?;
            }
        }
        Some(out)
    }
}

fn key_octet(aid: Option<u8>) -> u8 {
    aid.map_or(0, |aid| 0x40 | aid & 0x3F)
}

/// Sequence number of a message's first segment, from one segment's own and the SeqZero in it.
///
/// # Errors
/// [`LowerError::SeqZero`] where that would lie before number 0.
pub const fn seq_auth(seq: u32, seq_zero: u16) -> Result<u32, LowerError> {
    let back = (seq & SEQ_ZERO).wrapping_sub(seq_zero as u32) & SEQ_ZERO;
    match seq.checked_sub(back) {
        Some(first) if first <= MAX_SEQ => Ok(first),
        Some(_) | None => Err(LowerError::SeqZero),
    }
}

/// The 13 bits of a sequence number that segments carry.
#[must_use]
pub const fn seq_zero(seq: u32) -> u16 {
    (seq & SEQ_ZERO) as u16
}

/// Bits of a complete message whose last segment has this number.
#[must_use]
pub const fn all_segments(last: u8) -> u32 {
    u32::MAX >> (31 - (last & 0x1F) as u32)
}
