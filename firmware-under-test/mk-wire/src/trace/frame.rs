//! Frames around records, and a reader that finds them again in whatever a UART delivers.

use super::{MAX_RECORD, TraceRecord};
use crc::{CRC_16_IBM_SDLC, Crc};
use heapless::Vec;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_SDLC);
/// Octets of the CRC behind a record.
const CRC_LEN: usize = 2;
/// Longest frame between its zero octets.
const MAX_BODY: usize = cobs::max_encoding_length(MAX_RECORD + CRC_LEN);
/// Longest frame with its zero octets.
pub const MAX_FRAME: usize = MAX_BODY + 2;

/// A record as it goes over the UART.
#[must_use]
pub fn encode_frame(record: &TraceRecord) -> Vec<u8, MAX_FRAME> {
    let mut raw: Vec<u8, { MAX_RECORD + CRC_LEN }> = Vec::new();
    let mut frame = Vec::new();
    // The capacities are sums of what is put in, so nothing here can fail.
    let _ = raw.extend_from_slice(&record.encode());
    let crc = CRC.checksum(&raw);
    let _ = raw.extend_from_slice(&crc.to_le_bytes());
    let _ = frame.resize_default(MAX_FRAME);
    let len = cobs::try_encode_including_sentinels(&raw, &mut frame).unwrap_or(0);
    frame.truncate(len);
    frame
}

/// Octets between two zeros that are no record. A mid-frame start and console text give these too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// More octets without a zero than a frame has.
    #[error("no record in {octets} octets")]
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
    /// The frame is whole, but its record is none that we know.
    #[error("{octets} octets with an unknown record")]
    Record {
        /// Octets discarded.
        octets: usize,
    },
}

/// Reads records from a stream of octets. Keeps at most one frame; counts what it throws away.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    body: Vec<u8, MAX_BODY>,
    /// Octets since the last zero that did not fit.
    overflow: usize,
    discarded: u64,
}

impl Decoder {
    /// A reader that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Decoder { body: Vec::new(), overflow: 0, discarded: 0 }
    }

    /// Octets that belonged to no record so far, zeros apart.
    #[must_use]
    pub const fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Takes one octet. A zero ends what came before it: a record, or an error that says what was thrown away.
    pub fn push(&mut self, octet: u8) -> Option<Result<TraceRecord, FrameError>> {
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
        let result = if self.overflow > 0 { Err(FrameError::TooLong { octets }) } else { open(&self.body) };
        if result.is_err() {
            self.discarded = self.discarded.saturating_add(octets as u64);
        }
        self.body.clear();
        self.overflow = 0;
        Some(result)
    }
}

fn open(body: &[u8]) -> Result<TraceRecord, FrameError> {
    let octets = body.len();
    let mut raw = [0; MAX_BODY];
    let report = cobs::decode(body, &mut raw).map_err(|_| FrameError::Encoding { octets })?;
    let raw = raw.get(..report.frame_size()).unwrap_or_default();
    let (record, crc) = raw.split_last_chunk::<CRC_LEN>().ok_or(FrameError::Encoding { octets })?;
    if CRC.checksum(record) != u16::from_le_bytes(*crc) {
        return Err(FrameError::Crc { octets });
    }
    TraceRecord::decode(record).ok_or(FrameError::Record { octets })
}
