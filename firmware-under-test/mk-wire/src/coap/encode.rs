//! Writing messages.

use super::*;

/// A message that cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// The caller's buffer is too small.
    #[error("buffer too small")]
    BufferTooSmall,
    /// An option after one with a higher number, or after the payload.
    #[error("option {number} out of order")]
    Order {
        /// Number of the option.
        number: u16,
    },
    /// An option value longer than a length field can say.
    #[error("option {number} is too long")]
    OptionTooLong {
        /// Number of the option.
        number: u16,
    },
}

/// Writes one message: header first, then options in ascending order, then the payload. The first error sticks and comes
/// out of [`Encoder::finish`], so that messages read as a plain list of their parts.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut [u8],
    at: usize,
    number: u16,
    has_payload: bool,
    error: Option<EncodeError>,
}

impl<'a> Encoder<'a> {
    /// Starts a message.
    #[must_use]
    pub fn new(out: &'a mut [u8], kind: Kind, code: Code, message_id: u16, token: Token) -> Self {
        let mut encoder = Encoder { out, at: 0, number: 0, has_payload: false, error: None };
        encoder.put(&[1 << 6 | (kind as u8) << 4 | token.len, code.0]);
        encoder.put(&message_id.to_be_bytes());
        encoder.put(token.octets());
        encoder
    }

    /// Adds an option.
    #[must_use]
    pub fn option(mut self, number: u16, value: &[u8]) -> Self {
        let Some(delta) = number.checked_sub(self.number).filter(|_| !self.has_payload) else {
            return self.fail(EncodeError::Order { number });
        };
        let Ok(len) = u16::try_from(value.len()) else {
            return self.fail(EncodeError::OptionTooLong { number });
        };
        let (delta, delta_more) = nibble(delta);
        let (len, len_more) = nibble(len);
        self.put(&[delta << 4 | len]);
        self.put(&delta_more);
        self.put(&len_more);
        self.put(value);
        self.number = number;
        self
    }

    /// Adds an option whose value is a number, in as few octets as it takes.
    #[must_use]
    pub fn uint(self, number: u16, value: u32) -> Self {
        let octets = value.to_be_bytes();
        let skip = value.leading_zeros() as usize / 8;
        self.option(number, octets.get(skip..).unwrap_or_default())
    }

    /// Adds Block1 or Block2.
    #[must_use]
    pub fn block(self, number: u16, block: Block) -> Self {
        self.uint(number, block.to_uint())
    }

    /// Adds one Uri-Path option per segment of `path`.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        path.split('/').fold(self, |encoder, segment| encoder.option(option::URI_PATH, segment.as_bytes()))
    }

    /// Adds the payload; nothing for an empty one.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        if !payload.is_empty() {
            self.put(&[0xFF]);
            self.put(payload);
        }
        self.has_payload = true;
        self
    }

    /// Length of the message in octets.
    ///
    /// # Errors
    /// The first thing that could not be written.
    pub fn finish(self) -> Result<usize, EncodeError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.at),
        }
    }

    fn put(&mut self, octets: &[u8]) {
        match self.out.get_mut(self.at..).and_then(|rest| rest.get_mut(..octets.len())) {
            Some(place) => {
                place.copy_from_slice(octets);
                self.at += octets.len();
            }
            None => {
                self.error.get_or_insert(EncodeError::BufferTooSmall);
            }
        }
    }

    fn fail(mut self, error: EncodeError) -> Self {
        self.error.get_or_insert(error);
        self
    }
}

/// The nibble of an option delta or length, and the octets that follow for larger values.
fn nibble(value: u16) -> (u8, heapless::Vec<u8, 2>) {
    let mut more = heapless::Vec::new();
    // One or two octets always fit; values below 13 and 269 fit their octets.
    let nibble = match value {
        0..=12 => value as u8,
        13..=268 => {
            let _ = more.push((value - 13) as u8);
            13
        }
        269.. => {
            let _ = more.extend_from_slice(&(value - 269).to_be_bytes());
            14
        }
    };
    (nibble, more)
}
