//! Trace records in frames.

use super::{MAX_RECORD, TraceRecord};
pub use crate::framing::FrameError;
use crate::framing::{Deframer, frame, max_body, max_frame};
use heapless::Vec;

/// Longest frame with its zero octets.
pub const MAX_FRAME: usize = max_frame(MAX_RECORD);

/// A record as it goes over the UART.
#[must_use]
pub fn encode_frame(record: &TraceRecord) -> Vec<u8, MAX_FRAME> {
    frame(&record.encode())
}

/// Reads records from a stream of octets. Keeps at most one frame; counts what it throws away.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    frames: Deframer<{ max_body(MAX_RECORD) }>,
}

impl Decoder {
    /// A reader that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Decoder { frames: Deframer::new() }
    }

    /// Octets that belonged to no record so far, zeros apart.
    #[must_use]
    pub const fn discarded(&self) -> u64 {
        self.frames.discarded()
    }

    /// Takes one octet. A zero ends what came before it: a record, or an error that says what was thrown away.
    pub fn push(&mut self, octet: u8) -> Option<Result<TraceRecord, FrameError>> {
        self.frames.push(octet, TraceRecord::decode)
    }
}
