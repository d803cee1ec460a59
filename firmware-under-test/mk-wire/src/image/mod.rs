//! MCUboot images and our facts inside them (design section 2, "Image"): a total parser, from octets or from flash.
//!
//! The parser judges layout only: it hashes nothing and verifies nothing. It gives the ranges that the hash and the
//! signature cover, so that the bootloader can check them from the same octets.
//!
//! Layout: header of 32 octets, padded to [`HEADER_SIZE`]; payload; protected TLV area (covered by hash and signature
//! like everything before it); TLV area. Integers are little-endian.
//!
//! # What is refused, and why
//! - *Anything outside the signature but the three entries that must be there* (SHA-256, key hash, signature): octets that
//!   nobody signed may be changed by anybody, so nothing may depend on them and none are needed.
//! - *The same TLV type twice*, in one area or across both: two readers could each believe another one.
//! - *Our facts, the security counter or any other signed entry in the unprotected area*, even as a copy.
//! - *Entries that demand something we do not do*: encryption, compression, dependencies. Other entries in the protected
//!   area are allowed and ignored; the holder of the key put them there.
//! - *Header flags*: every flag asks for something we do not do.
//! - *More than [`MAX_TLVS`] entries*: work is bounded.
//!
//! The padding between header and payload is not examined: it is signed, and nothing reads it.

mod parser;
#[cfg(test)]
mod tests;

pub use parser::{SliceSource, Source, parse, parse_slice};

use crate::version::Version;
use core::ops::Range;

/// First word of an image.
pub const MAGIC: u32 = 0x96f3_b83d;
/// Octets from the start of the header to the payload.
pub const HEADER_SIZE: u16 = 0x200;
/// Octets of the header itself.
pub const HEADER_LEN: usize = 32;
/// First half-word of the protected TLV area.
pub const PROTECTED_TLV_MAGIC: u16 = 0x6908;
/// First half-word of the TLV area.
pub const TLV_MAGIC: u16 = 0x6907;
/// Octets of an area's head (magic, total length) and of an entry's head (type, length).
pub const TLV_HEAD: u16 = 4;
/// Most entries in both areas together.
pub const MAX_TLVS: usize = 16;
/// Longest signature entry in octets. A P-256 signature in DER has at most 72; room for more keeps it the verifier's
/// business to refuse those.
pub const MAX_SIGNATURE: usize = 96;

/// TLV types.
pub mod tlv {
    /// SHA-256 of the public key (in its DER SubjectPublicKeyInfo form), 32 octets, unprotected.
    pub const KEYHASH: u16 = 0x0001;
    /// SHA-256 over the signed octets, 32 octets, unprotected.
    pub const SHA256: u16 = 0x0010;
    /// ECDSA signature in DER, unprotected.
    pub const ECDSA_SIG: u16 = 0x0022;
    /// Encryption keys, the first; refused.
    pub const ENCRYPTION_FIRST: u16 = 0x0030;
    /// Encryption keys, the last; refused.
    pub const ENCRYPTION_LAST: u16 = 0x0034;
    /// Dependency on another image; refused.
    pub const DEPENDENCY: u16 = 0x0040;
    /// Security counter, u32, protected.
    pub const SECURITY_COUNTER: u16 = 0x0050;
    /// Compression, the first; refused.
    pub const COMPRESSION_FIRST: u16 = 0x0070;
    /// Compression, the last; refused.
    pub const COMPRESSION_LAST: u16 = 0x0073;
    /// Ours: configuration schema that the application expects, u16, protected.
    pub const CONFIG_MIGRATION_VERSION: u16 = 0x00A0;
    /// Ours: oldest schema that the migration handler accepts, u16, protected; absent if there is no handler.
    pub const OLDEST_MIGRATABLE_VERSION: u16 = 0x00A1;
    /// Ours: board the image is for, u32, protected.
    pub const HARDWARE_ID: u16 = 0x00A2;
}

/// The fields of the image header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageHeader {
    /// Load address; not used by us.
    pub load_address: u32,
    /// Octets from the start of the header to the payload.
    pub header_size: u16,
    /// Octets of the protected TLV area, its head included; 0 if there is none.
    pub protected_tlv_size: u16,
    /// Octets of the payload.
    pub image_size: u32,
    /// Flags; always 0 in an image that was accepted.
    pub flags: u32,
    /// Version of the image.
    pub version: Version,
}

/// A signature entry's octets; not yet looked into.
pub type Signature = heapless::Vec<u8, MAX_SIGNATURE>;

/// Everything an image says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageFacts {
    /// The header.
    pub header: ImageHeader,
    /// Board the image is for.
    pub hardware_id: u32,
    /// Configuration schema that the application expects.
    pub config_migration_version: u16,
    /// Oldest schema that the migration handler accepts; `None` if there is no handler.
    pub oldest_migratable_version: Option<u16>,
    /// Counter against downgrade.
    pub security_counter: Option<u32>,
    /// SHA-256 that the image states over its signed octets.
    pub sha256: [u8; 32],
    /// SHA-256 of the public key that the image says it was signed with.
    pub key_hash: Option<[u8; 32]>,
    /// Signature in DER; `None` for an unsigned image.
    pub signature: Option<Signature>,
    /// Where the signature's octets lie, for messages.
    pub signature_offset: Option<u32>,
    /// Octets of the whole image, TLV area included.
    pub total_len: u32,
}

impl ImageFacts {
    /// Version of the image.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.header.version
    }

    /// Where the payload lies.
    #[must_use]
    pub const fn payload(&self) -> Range<u32> {
        let start = self.header.header_size as u32;
        // The parser has checked that the sum stays inside the source.
        start..start + self.header.image_size
    }

    /// What hash and signature cover: header, payload, protected TLV area.
    #[must_use]
    pub const fn signed(&self) -> Range<u32> {
        0..self.payload().end + self.header.protected_tlv_size as u32
    }
}

/// May octets follow the image?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// The source is a file: the image ends where it ends.
    File,
    /// The source is a flash slot: what follows the image is padding.
    Slot,
}

/// What is wrong with an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageErrorKind {
    /// The source ends inside the header.
    #[error("shorter than an image header")]
    TooShort,
    /// No image starts here.
    #[error("magic {found:#010x}, expected {MAGIC:#010x}")]
    Magic {
        /// The word found; 0xFFFFFFFF in erased flash.
        found: u32,
    },
    /// The header is not padded to the size of our images.
    #[error("header size {found:#x}, expected {HEADER_SIZE:#x}")]
    HeaderSize {
        /// The size stated.
        found: u16,
    },
    /// The image has no payload.
    #[error("empty payload")]
    EmptyPayload,
    /// A flag is set.
    #[error("unsupported flags {flags:#x}")]
    Flags {
        /// The flags.
        flags: u32,
    },
    /// A stated length leads past the end of the source.
    #[error("{what} ends at {end}, the source at {len}")]
    PastEnd {
        /// What.
        what: Part,
        /// Where it would end.
        end: u64,
        /// Where the source ends.
        len: u32,
    },
    /// An area does not start with its magic.
    #[error("{what} starts with {found:#06x}")]
    AreaMagic {
        /// Which area.
        what: Part,
        /// The half-word found.
        found: u16,
    },
    /// An area's length contradicts the header, or is shorter than its own head.
    #[error("{what} states {found} octets")]
    AreaLength {
        /// Which area.
        what: Part,
        /// The length stated.
        found: u16,
    },
    /// An entry leads past the end of its area.
    #[error("entry {tlv:#06x} leads past the end of its area")]
    EntryLength {
        /// Type of the entry.
        tlv: u16,
    },
    /// Octets between the last entry and the end of its area, too few for another.
    #[error("octets left over in a TLV area")]
    AreaRemainder,
    /// An entry whose value has another length than its type demands.
    #[error("entry {tlv:#06x} has {len} octets")]
    ValueLength {
        /// Type of the entry.
        tlv: u16,
        /// Its length.
        len: u16,
    },
    /// The same type twice.
    #[error("entry {tlv:#06x} appears twice")]
    Duplicate {
        /// Type of the entry.
        tlv: u16,
    },
    /// An entry that must be signed lies in the unprotected area.
    #[error("entry {tlv:#06x} outside the protected area")]
    NotProtected {
        /// Type of the entry.
        tlv: u16,
    },
    /// Hash, key hash or signature lies in the area that they cover.
    #[error("entry {tlv:#06x} inside the protected area")]
    Protected {
        /// Type of the entry.
        tlv: u16,
    },
    /// An entry that demands something we do not do.
    #[error("entry {tlv:#06x} is not supported")]
    Unsupported {
        /// Type of the entry.
        tlv: u16,
    },
    /// More entries than [`MAX_TLVS`].
    #[error("more than {MAX_TLVS} entries")]
    TooManyEntries,
    /// An entry that our images must have is absent.
    #[error("entry {tlv:#06x} is missing")]
    Missing {
        /// Type of the entry.
        tlv: u16,
    },
    /// Octets follow the image in a file.
    #[error("{len} octets after the image")]
    Trailing {
        /// How many.
        len: u32,
    },
}

/// A part of an image, in messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The payload.
    Payload,
    /// The protected TLV area.
    ProtectedTlvs,
    /// The TLV area.
    Tlvs,
}

impl core::fmt::Display for Part {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Part::Payload => "payload",
            Part::ProtectedTlvs => "protected TLV area",
            Part::Tlvs => "TLV area",
        })
    }
}

/// An image that was refused: where, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("image octet {offset:#x}: {kind}")]
pub struct ImageError {
    /// Offset of the field or entry that is wrong.
    pub offset: u32,
    /// What is wrong with it.
    pub kind: ImageErrorKind,
}

/// Why an image could not be read from a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError<E> {
    /// The image is malformed.
    #[error(transparent)]
    Image(ImageError),
    /// The source failed.
    #[error("reading at {offset:#x} failed")]
    Source {
        /// Where.
        offset: u32,
        /// The source's own error.
        error: E,
    },
}
