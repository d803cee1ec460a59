//! Access messages: the one place where opcodes are told apart.
//!
//! [`AccessMessage::decode`] is total and strict; [`AccessMessage::encode`] writes only what decodes to the same message
//! again. Encryption, segmentation and addresses belong to the layers below.

mod cost;
#[cfg(test)]
mod tests;

pub use cost::{chunk_network_pdus, network_pdus};

use crate::codec::{Fault, Reader, Writer};
use crate::{blob, config, distribution, update, vendor};

/// Longest access message in octets, opcode included (32 segments of 12 octets less a 32-bit MIC).
pub const MAX_ACCESS: usize = 380;

/// A buffer that holds any access message.
pub type Buffer = heapless::Vec<u8, MAX_ACCESS>;

/// A decoded access message. Lists and chunk data stay in the received octets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum AccessMessage<'a> {
    /// BLOB Transfer models.
    Blob(blob::Message<'a>),
    /// Firmware Update models.
    Update(update::Message<'a>),
    /// Firmware Distribution models.
    Distribution(distribution::Message<'a>),
    /// Configuration messages that form groups.
    Config(config::Message),
    /// Our own messages.
    Vendor(vendor::Message),
}

/// What is wrong with the octets at the offset of a [`DecodeError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The message ends inside a field, or a field that may not be empty is.
    #[error("message ends too early")]
    Truncated,
    /// Octets follow the last field.
    #[error("octets after the last field")]
    TrailingOctets,
    /// Longer than an access message can be.
    #[error("longer than {MAX_ACCESS} octets")]
    TooLong,
    /// No message has this opcode.
    #[error("unknown opcode")]
    UnknownOpcode,
    /// A bit that must be zero is set.
    #[error("reserved bits set")]
    ReservedBits,
    /// A field holds a value that the specification prohibits or reserves.
    #[error("prohibited value {value:#x}")]
    Prohibited {
        /// The value found.
        value: u32,
    },
    /// A list is as long as no list of its kind can be.
    #[error("list length does not fit its entries")]
    ListLength,
    /// An encoded chunk list holds a malformed code, or numbers that do not ascend.
    #[error("malformed chunk list")]
    ChunkList,
}

/// A message that could not be decoded: which, where and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("message {opcode:#04x}, octet {offset}: {kind}")]
pub struct DecodeError {
    /// The opcode's octets in the order sent, as one number (0x66, 0x8301, 0xC0FFFF); 0 for an empty message.
    pub opcode: u32,
    /// Offset in the message of the octet that is wrong, or its length where octets are missing.
    pub offset: usize,
    /// What is wrong there.
    pub kind: DecodeErrorKind,
}

/// A message that cannot be put on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// The caller's buffer is too small.
    #[error("buffer too small, {needed} octets needed")]
    BufferTooSmall {
        /// Octets the message has.
        needed: usize,
    },
    /// The message is longer than an access message can be.
    #[error("message of {len} octets, at most {MAX_ACCESS} allowed")]
    TooLong {
        /// Octets the message would have.
        len: usize,
    },
    /// A field is longer than its length octet can say, or than the specification allows.
    #[error("{field} of {len} octets is too long")]
    FieldTooLong {
        /// The field.
        field: &'static str,
        /// Its length in octets.
        len: usize,
    },
    /// A field holds a value that no receiver would accept, or fields contradict each other.
    #[error("{field} has a prohibited value")]
    Prohibited {
        /// The field.
        field: &'static str,
    },
}

impl<'a> AccessMessage<'a> {
    /// Decodes one access message that fills `bytes`.
    ///
    /// # Errors
    /// Anything that is not exactly one well-formed message of ours, with the offset of the first wrong octet.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        // Once per node and chunk in a campaign: tens of thousands of times more often than anything else.
        if let [blob::CHUNK_TRANSFER, low, high, data @ ..] = bytes
            && !data.is_empty()
            && bytes.len() <= MAX_ACCESS
        {
            let number = u16::from_le_bytes([*low, *high]);
            return Ok(AccessMessage::Blob(blob::Message::Chunk(blob::Chunk { number, data })));
        }
        Self::decode_any(bytes)
    }

    fn decode_any(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (opcode, size) = match *bytes {
            [] => (0, 0),
            [first, ..] if first & 0x80 == 0 => (u32::from(first), 1),
            [first, second, ..] if first & 0x40 == 0 => (u32::from_be_bytes([0, 0, first, second]), 2),
            [first, second, third, ..] => (u32::from_be_bytes([0, first, second, third]), 3),
            [first, ..] => {
                return Err(DecodeError {
                    opcode: u32::from(first),
                    offset: bytes.len(),
                    kind: DecodeErrorKind::Truncated,
                });
            }
        };
        Self::decode_known(opcode, size, bytes).map_err(|Fault { offset, kind }| DecodeError { opcode, offset, kind })
    }

    fn decode_known(opcode: u32, size: usize, bytes: &'a [u8]) -> Result<Self, Fault> {
        if bytes.is_empty() {
            return Err(Fault { offset: 0, kind: DecodeErrorKind::Truncated });
        }
        if bytes.len() > MAX_ACCESS {
            return Err(Fault { offset: MAX_ACCESS, kind: DecodeErrorKind::TooLong });
        }
        let reader = &mut Reader::new(bytes, size);
        if size == 3 {
            let company = u16::from_le_bytes([bytes[1], bytes[2]]);
            return match vendor::Opcode::from_u8(bytes[0]) {
                Some(opcode) if company == vendor::COMPANY_ID => {
                    vendor::Message::decode(opcode, reader).map(AccessMessage::Vendor)
                }
                Some(_) | None => Err(Fault { offset: 0, kind: DecodeErrorKind::UnknownOpcode }),
            };
        }
        match opcode {
            0x801B | 0x801C | 0x801F => config::Message::decode(opcode, reader).map(AccessMessage::Config),
            0x66..=0x68 | 0x8300..=0x8307 => blob::Message::decode(opcode, reader).map(AccessMessage::Blob),
            0x8308..=0x8310 => update::Message::decode(opcode, reader).map(AccessMessage::Update),
            0x8311..=0x8327 => distribution::Message::decode(opcode, reader).map(AccessMessage::Distribution),
            _ => Err(Fault { offset: 0, kind: DecodeErrorKind::UnknownOpcode }),
        }
    }

    /// Writes the message to the start of `out` and returns its length in octets.
    ///
    /// # Errors
    /// A buffer that is too small, or a message that no receiver would accept; `out` may then hold part of it.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut w = Writer::new(out);
        match self {
            AccessMessage::Blob(m) => m.encode(&mut w)?,
            AccessMessage::Update(m) => m.encode(&mut w)?,
            AccessMessage::Distribution(m) => m.encode(&mut w)?,
            AccessMessage::Config(m) => m.encode(&mut w),
            AccessMessage::Vendor(m) => m.encode(&mut w),
        }
        w.finish()
    }

    /// The message in a buffer of its own.
    ///
    /// # Errors
    /// A message that no receiver would accept.
    pub fn to_buffer(&self) -> Result<Buffer, EncodeError> {
        let mut buffer = Buffer::new();
        // Every buffer holds MAX_ACCESS octets, so this cannot fail.
        let _ = buffer.resize(MAX_ACCESS, 0);
        let len = self.encode(&mut buffer)?;
        buffer.truncate(len);
        Ok(buffer)
    }
}

impl<'a> From<blob::Message<'a>> for AccessMessage<'a> {
    fn from(message: blob::Message<'a>) -> Self {
        AccessMessage::Blob(message)
    }
}

impl<'a> From<update::Message<'a>> for AccessMessage<'a> {
    fn from(message: update::Message<'a>) -> Self {
        AccessMessage::Update(message)
    }
}

impl<'a> From<distribution::Message<'a>> for AccessMessage<'a> {
    fn from(message: distribution::Message<'a>) -> Self {
        AccessMessage::Distribution(message)
    }
}

impl From<config::Message> for AccessMessage<'_> {
    fn from(message: config::Message) -> Self {
        AccessMessage::Config(message)
    }
}

impl From<vendor::Message> for AccessMessage<'_> {
    fn from(message: vendor::Message) -> Self {
        AccessMessage::Vendor(message)
    }
}
