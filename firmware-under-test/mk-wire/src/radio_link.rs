//! The serial link between the gateway's host and its radio co-processor.
//!
//! The radio sends and hears mesh advertisements; everything above the bearer is the host's. Frames travel as trace records
//! do (`00 COBS(kind || body || CRC-16) 00`), so either side can restart at any time. The host sends [`Frame::Query`] until
//! [`Frame::Hello`] answers, then keeps at most `window` transmissions unanswered; [`Frame::Sent`] says that one went on the
//! air, which is what a throttle has to count.
//!
//! | kind | frame | body |
//! | --- | --- | --- |
//! | 1 | Query | - |
//! | 2 | Hello | protocol version 1, window 1 |
//! | 3 | Transmit | id 2 LE, AD type 1, PDU 1-31 |
//! | 4 | Sent | id 2 LE |
//! | 5 | Received | AD type 1, RSSI 1 (signed, dBm), PDU 1-31 |

pub use crate::framing::FrameError;
use crate::framing::{Deframer, frame, max_body, max_frame};
use heapless::Vec;

/// Version of this protocol.
pub const VERSION: u8 = 1;
/// Transmissions a radio takes before it has sent the first of them.
pub const WINDOW: u8 = 8;
/// AD type of a mesh message (Mesh Protocol 3.3.1): a network PDU.
pub const AD_MESH_MESSAGE: u8 = 0x2A;
/// AD type of a mesh beacon.
pub const AD_MESH_BEACON: u8 = 0x2B;
/// Longest PDU of a legacy advertisement behind length and AD type; a network PDU has at most 29 octets.
pub const MAX_PDU: usize = 29;
/// Kind, id, AD type, PDU.
const MAX_CONTENT: usize = 4 + MAX_PDU;
/// Longest frame with its zero octets.
pub const MAX_FRAME: usize = max_frame(MAX_CONTENT);

/// A PDU of an advertisement.
pub type Pdu = Vec<u8, MAX_PDU>;

mod kind {
    pub const QUERY: u8 = 1;
    pub const HELLO: u8 = 2;
    pub const TRANSMIT: u8 = 3;
    pub const SENT: u8 = 4;
    pub const RECEIVED: u8 = 5;
}

/// What either side says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Host to radio: who is there?
    Query,
    /// Radio to host, at its start and to a query.
    Hello {
        /// [`VERSION`] of the radio.
        version: u8,
        /// Transmissions it takes at once.
        window: u8,
    },
    /// Host to radio: send this.
    Transmit {
        /// Comes back in [`Frame::Sent`].
        id: u16,
        /// [`AD_MESH_MESSAGE`] or [`AD_MESH_BEACON`].
        ad_type: u8,
        /// 1 to [`MAX_PDU`] octets.
        pdu: Pdu,
    },
    /// Radio to host: that transmission has gone on the air.
    Sent {
        /// Of the transmission.
        id: u16,
    },
    /// Radio to host: this was heard.
    Received {
        /// As sent.
        ad_type: u8,
        /// Strength in dBm.
        rssi_dbm: i8,
        /// 1 to [`MAX_PDU`] octets.
        pdu: Pdu,
    },
}

impl Frame {
    /// The frame as it goes over the line.
    #[must_use]
    pub fn encode(&self) -> Vec<u8, MAX_FRAME> {
        let mut content: Vec<u8, MAX_CONTENT> = Vec::new();
        // The capacity is the sum of the longest frame's parts, so nothing here can fail.
        let _ = match self {
            Self::Query => content.push(kind::QUERY).map_err(drop),
            Self::Hello { version, window } => {
                content.extend_from_slice(&[kind::HELLO, *version, *window]).map_err(drop)
            }
            Self::Transmit { id, ad_type, pdu } => {
                let [low, high] = id.to_le_bytes();
                content
                    .extend_from_slice(&[kind::TRANSMIT, low, high, *ad_type])
                    .and_then(|()| content.extend_from_slice(pdu))
                    .map_err(drop)
            }
            Self::Sent { id } => {
                let [low, high] = id.to_le_bytes();
                content.extend_from_slice(&[kind::SENT, low, high]).map_err(drop)
            }
            Self::Received { ad_type, rssi_dbm, pdu } => content
                .extend_from_slice(&[kind::RECEIVED, *ad_type, rssi_dbm.to_le_bytes()[0]])
                .and_then(|()| content.extend_from_slice(pdu))
                .map_err(drop),
        };
        frame(&content)
    }

    fn decode(content: &[u8]) -> Option<Self> {
        match *content {
            [kind::QUERY] => Some(Self::Query),
            [kind::HELLO, version, window] => Some(Self::Hello { version, window }),
            [kind::TRANSMIT, low, high, ad_type, ref pdu @ ..] => {
                Some(Self::Transmit { id: u16::from_le_bytes([low, high]), ad_type, pdu: pdu_of(pdu)? })
            }
            [kind::SENT, low, high] => Some(Self::Sent { id: u16::from_le_bytes([low, high]) }),
            [kind::RECEIVED, ad_type, rssi, ref pdu @ ..] => {
                Some(Self::Received { ad_type, rssi_dbm: i8::from_le_bytes([rssi]), pdu: pdu_of(pdu)? })
            }
            _ => None,
        }
    }
}

/// A PDU that is neither empty nor too long.
fn pdu_of(octets: &[u8]) -> Option<Pdu> {
    if octets.is_empty() { None } else { Vec::from_slice(octets).ok() }
}

/// Reads frames from the line. Keeps at most one; counts what it throws away.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    frames: Deframer<{ max_body(MAX_CONTENT) }>,
}

impl Decoder {
    /// A reader that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Decoder { frames: Deframer::new() }
    }

    /// Octets that belonged to no frame so far, zeros apart.
    #[must_use]
    pub const fn discarded(&self) -> u64 {
        self.frames.discarded()
    }

    /// Takes one octet. A zero ends what came before it: a frame, or an error that says what was thrown away.
    pub fn push(&mut self, octet: u8) -> Option<Result<Frame, FrameError>> {
        self.frames.push(octet, Frame::decode)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn pdu(length: usize) -> Pdu {
        (0..length).map(|i| u8::try_from(i % 7).unwrap()).collect()
    }

    fn read(decoder: &mut Decoder, octets: &[u8]) -> std::vec::Vec<Result<Frame, FrameError>> {
        octets.iter().filter_map(|octet| decoder.push(*octet)).collect()
    }

    #[rstest]
    #[case::query(Frame::Query)]
    #[case::hello(Frame::Hello { version: VERSION, window: WINDOW })]
    #[case::shortest_pdu(Frame::Transmit { id: 0, ad_type: AD_MESH_BEACON, pdu: pdu(1) })]
    #[case::longest_pdu(Frame::Transmit { id: 0xFFFF, ad_type: AD_MESH_MESSAGE, pdu: pdu(MAX_PDU) })]
    #[case::sent(Frame::Sent { id: 0x0100 })]
    #[case::received(Frame::Received { ad_type: AD_MESH_MESSAGE, rssi_dbm: -91, pdu: pdu(MAX_PDU) })]
    fn a_frame_comes_back_as_it_was(#[case] frame: Frame) {
        let octets = frame.encode();
        assert_eq!(octets.iter().filter(|octet| **octet == 0).count(), 2, "zeros only at the ends");
        assert_eq!(read(&mut Decoder::new(), &octets), [Ok(frame)]);
    }

    #[rstest]
    #[case::empty_pdu(&[3, 1, 0, 0x2A])]
    #[case::unknown_kind(&[9])]
    #[case::hello_too_long(&[2, 1, 8, 0])]
    fn a_whole_frame_without_a_meaning_is_an_error(#[case] content: &[u8]) {
        let octets: Vec<u8, MAX_FRAME> = frame(content);
        let read = read(&mut Decoder::new(), &octets);
        assert!(matches!(read.as_slice(), [Err(FrameError::Record { .. })]), "{read:?}");
    }

    proptest! {
        #[test]
        fn whatever_comes_before_the_next_frame_is_read(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new();
            let _ = read(&mut decoder, &garbage);
            let frame = Frame::Sent { id: 7 };
            let read = read(&mut decoder, &frame.encode());
            prop_assert_eq!(read.last(), Some(&Ok(frame)));
        }
    }
}
