//! CoAP for Thread nodes (protocol sheet section 14; RFC 7252, 7641, 7959): messages, block values, timing constants.
//!
//! [`Message::decode`] checks the structure of a datagram; an option's value is checked when it is asked for, because a
//! receiver must ignore a malformed elective option and refuse a malformed critical one (RFC 7252 section 5.4.3). What to
//! fetch, retransmit or observe is not decided here.

mod block;
mod decode;
mod encode;
#[cfg(test)]
mod tests;
pub mod timing;

pub use block::{Block, BlockError};
pub use encode::{EncodeError, Encoder};

use crate::codec::wire_enum;
use core::fmt;

/// Longest datagram that is sent without knowing more of the path, in octets (RFC 7252 section 4.6).
pub const MAX_DATAGRAM: usize = 1152;

wire_enum! {
    /// Type of a message.
    pub enum Kind {
        /// Wants an acknowledgement.
        Confirmable = 0,
        /// Wants none.
        NonConfirmable = 1,
        /// Acknowledges, and may carry the response.
        Acknowledgement = 2,
        /// Cannot make sense of the message.
        Reset = 3,
    }
}

/// Method or response code: class in bits 5-7, detail in bits 0-4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u8);

impl Code {
    /// 0.00, the empty message.
    pub const EMPTY: Code = Code::new(0, 0);
    /// 0.01 GET.
    pub const GET: Code = Code::new(0, 1);
    /// 0.02 POST.
    pub const POST: Code = Code::new(0, 2);
    /// 0.03 PUT.
    pub const PUT: Code = Code::new(0, 3);
    /// 2.01 Created.
    pub const CREATED: Code = Code::new(2, 1);
    /// 2.03 Valid.
    pub const VALID: Code = Code::new(2, 3);
    /// 2.04 Changed.
    pub const CHANGED: Code = Code::new(2, 4);
    /// 2.05 Content.
    pub const CONTENT: Code = Code::new(2, 5);
    /// 2.31 Continue.
    pub const CONTINUE: Code = Code::new(2, 31);
    /// 4.00 Bad Request.
    pub const BAD_REQUEST: Code = Code::new(4, 0);
    /// 4.02 Bad Option.
    pub const BAD_OPTION: Code = Code::new(4, 2);
    /// 4.04 Not Found.
    pub const NOT_FOUND: Code = Code::new(4, 4);
    /// 4.05 Method Not Allowed.
    pub const METHOD_NOT_ALLOWED: Code = Code::new(4, 5);
    /// 4.08 Request Entity Incomplete.
    pub const REQUEST_ENTITY_INCOMPLETE: Code = Code::new(4, 8);
    /// 4.13 Request Entity Too Large.
    pub const REQUEST_ENTITY_TOO_LARGE: Code = Code::new(4, 13);
    /// 5.00 Internal Server Error.
    pub const INTERNAL_SERVER_ERROR: Code = Code::new(5, 0);
    /// 5.03 Service Unavailable; Max-Age says when to try again.
    pub const SERVICE_UNAVAILABLE: Code = Code::new(5, 3);

    const fn new(class: u8, detail: u8) -> Code {
        Code(class << 5 | detail)
    }

    /// 0 request, 2 success, 4 client error, 5 server error.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The two digits after the point.
    #[must_use]
    pub const fn detail(self) -> u8 {
        self.0 & 0x1F
    }

    /// A request?
    #[must_use]
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// A response of any class?
    #[must_use]
    pub const fn is_response(self) -> bool {
        self.class() >= 2
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}

/// Option numbers.
pub mod option {
    /// ETag, 1 to 8 octets, elective.
    pub const ETAG: u16 = 4;
    /// Observe, uint of up to 3 octets, elective.
    pub const OBSERVE: u16 = 6;
    /// One segment of the path, critical.
    pub const URI_PATH: u16 = 11;
    /// Content-Format, uint of up to 2 octets, elective.
    pub const CONTENT_FORMAT: u16 = 12;
    /// Max-Age in seconds, uint of up to 4 octets, elective.
    pub const MAX_AGE: u16 = 14;
    /// One argument of the query, critical.
    pub const URI_QUERY: u16 = 15;
    /// Accept, uint of up to 2 octets, critical.
    pub const ACCEPT: u16 = 17;
    /// Block of the response body, critical.
    pub const BLOCK2: u16 = 23;
    /// Block of the request body, critical.
    pub const BLOCK1: u16 = 27;
    /// Size of the response body, elective.
    pub const SIZE2: u16 = 28;
    /// Size of the request body, elective.
    pub const SIZE1: u16 = 60;
    /// Request-Tag, 0 to 8 octets, elective.
    pub const REQUEST_TAG: u16 = 292;
}

/// Must a receiver that does not know this option refuse the message?
#[must_use]
pub const fn is_critical(number: u16) -> bool {
    number & 1 == 1
}

/// A token: 0 to 8 octets chosen by the client to recognise the response.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Token {
    len: u8,
    octets: [u8; 8],
}

impl Token {
    /// A token of these octets; `None` if there are more than eight.
    #[must_use]
    pub fn new(octets: &[u8]) -> Option<Self> {
        let mut token = Token { len: u8::try_from(octets.len()).ok()?, ..Token::default() };
        token.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(token)
    }

    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(")?;
        self.octets().iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        f.write_str(")")
    }
}

/// A received message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// Type.
    pub kind: Kind,
    /// Method or response code.
    pub code: Code,
    /// Message id, for acknowledgements and duplicates.
    pub message_id: u16,
    /// Token.
    pub token: Token,
    /// Options, in ascending order of their numbers.
    pub options: Options<'a>,
    /// Payload; empty if there is none.
    pub payload: &'a [u8],
}

/// The options of a message, checked for structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'a> {
    octets: &'a [u8],
}

/// What is wrong with a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeErrorKind {
    /// The datagram ends inside a field.
    #[error("datagram ends too early")]
    Truncated,
    /// Another protocol version.
    #[error("version {version}")]
    Version {
        /// The version found.
        version: u8,
    },
    /// A token of more than eight octets.
    #[error("token of {len} octets")]
    TokenLength {
        /// The length found.
        len: u8,
    },
    /// An empty message with more than a header.
    #[error("empty message with octets after the header")]
    NotEmpty,
    /// A reserved option delta or length.
    #[error("reserved option nibble")]
    ReservedNibble,
    /// Option numbers past 65,535.
    #[error("option number out of range")]
    OptionNumber,
    /// A payload marker with nothing behind.
    #[error("payload marker without payload")]
    EmptyPayload,
}

/// A datagram that is no CoAP message: where, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("CoAP octet {offset}: {kind}")]
pub struct DecodeError {
    /// Offset of the octet that is wrong, or the length of the datagram where octets are missing.
    pub offset: usize,
    /// What is wrong there.
    pub kind: DecodeErrorKind,
}

/// An option whose value is not what its number demands, or that appears twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("option {number} is malformed or repeated")]
pub struct OptionError {
    /// Number of the option.
    pub number: u16,
}
