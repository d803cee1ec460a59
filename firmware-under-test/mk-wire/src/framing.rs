//! Frames on a serial line, and a reader that finds them again in whatever a UART delivers.
//!
//! What is framed travels as `00 COBS(content || CRC-16) 00`, so a reader that starts in the middle, or behind garbage and
//! console text, finds the next frame at the next zero octet. The CRC is CRC-16/IBM-SDLC, least significant octet first.

use crc::{CRC_16_IBM_SDLC, Crc};
use heapless::Vec;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_SDLC);
/// Octets of the CRC behind the content.
const CRC_LEN: usize = 2;

/// Longest COBS body of a content of `content` octets: the capacity of a [`Deframer`].
pub(crate) const fn max_body(content: usize) -> usize {
    cobs::max_encoding_length(content + CRC_LEN)
}

/// Longest frame with its two zero octets.
pub(crate) const fn max_frame(content: usize) -> usize {
    max_body(content) + 2
}

/// `content` as it goes over the line. `N` is at least [`max_frame`] of its length; a longer content gives an empty frame.
pub(crate) fn frame<const N: usize>(content: &[u8]) -> Vec<u8, N> {
    let mut out = Vec::new();
    let _ = out.resize_default(N);
    let length = encode(content, &mut out).unwrap_or(0);
    out.truncate(length);
    out
}

fn encode(content: &[u8], out: &mut [u8]) -> Option<usize> {
    let (first, rest) = out.split_first_mut()?;
    *first = 0;
    let mut body = cobs::CobsEncoder::new(rest);
    body.push(content).ok()?;
    body.push(&CRC.checksum(content).to_le_bytes()).ok()?;
    let end = 1 + body.finalize();
    *out.get_mut(end)? = 0;
    Some(end + 1)
}

/// Octets between two zeros that hold nothing. A mid-frame start and console text give these too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// More octets without a zero than a frame has.
    #[error("no frame in {octets} octets")]
    TooLong {
        /// Octets discarded.
        octets: usize,
    },
    /// The octets are not encoded as a frame.
    #[error("{octets} octets are no frame")]
    Encoding {
        /// Octets discarded.
        octets: usize,
    },
    /// The CRC does not match.
    #[error("{octets} octets with a wrong CRC")]
    Crc {
        /// Octets discarded.
        octets: usize,
    },
    /// The frame is whole, but what it holds is nothing that we know.
    #[error("{octets} octets with an unknown record")]
    Record {
        /// Octets discarded.
        octets: usize,
    },
}

/// Reads frames from a stream of octets. Keeps at most one frame, whose body has at most `N` octets; counts what it throws
/// away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deframer<const N: usize> {
    body: Vec<u8, N>,
    /// Octets since the last zero that did not fit.
    overflow: usize,
    discarded: u64,
}

impl<const N: usize> Deframer<N> {
    pub const fn new() -> Self {
        Deframer { body: Vec::new(), overflow: 0, discarded: 0 }
    }

    /// Octets that belonged to no frame so far, zeros apart.
    pub const fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Takes one octet. A zero ends what came before it: what `read` makes of the content, or an error that says what was
    /// thrown away.
    pub fn push<T>(&mut self, octet: u8, read: impl FnOnce(&[u8]) -> Option<T>) -> Option<Result<T, FrameError>> {
        if octet != 0 {
            if self.overflow > 0 || self.body.push(octet).is_err() {
                self.overflow = self.overflow.saturating_add(1);
            }
            return None;
        }
        let octets = self.body.len().saturating_add(self.overflow);
        if octets == 0 {
            return None;
        }
        let result = if self.overflow > 0 { Err(FrameError::TooLong { octets }) } else { open(&self.body, read) };
        if result.is_err() {
            self.discarded = self.discarded.saturating_add(octets as u64);
        }
        self.body.clear();
        self.overflow = 0;
        Some(result)
    }
}

fn open<T, const N: usize>(body: &Vec<u8, N>, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, FrameError> {
    let octets = body.len();
    let mut raw = [0; N];
    let report = cobs::decode(body, &mut raw).map_err(|_| FrameError::Encoding { octets })?;
    let raw = raw.get(..report.frame_size()).unwrap_or_default();
    let (content, crc) = raw.split_last_chunk::<CRC_LEN>().ok_or(FrameError::Encoding { octets })?;
    if CRC.checksum(content) != u16::from_le_bytes(*crc) {
        return Err(FrameError::Crc { octets });
    }
    read(content).ok_or(FrameError::Record { octets })
}
