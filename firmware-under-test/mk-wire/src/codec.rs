//! Cursor types shared by the message codecs: a reader that reports where it stopped, a writer that never overruns.

use crate::access::{DecodeErrorKind, EncodeError, MAX_ACCESS};
use crate::addr::Addr;

/// A decoding fault inside a message, before the opcode is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub offset: usize,
    pub kind: DecodeErrorKind,
}

/// Reads fields off a message; offsets count from the first octet of the whole message.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts behind an opcode of `at` octets.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Reader { bytes, at: at.min(bytes.len()) }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// A fault at the octet read last (`back` octets before the cursor).
    pub fn fault(&self, back: usize, kind: DecodeErrorKind) -> Fault {
        Fault { offset: self.at.saturating_sub(back), kind }
    }

    /// The value in the last `back` octets is one the specification prohibits.
    pub fn prohibited(&self, back: usize, value: impl Into<u32>) -> Fault {
        self.fault(back, DecodeErrorKind::Prohibited { value: value.into() })
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.split_at_checked(len) {
            Some((head, _)) => {
                self.at += len;
                Ok(head)
            }
            None => Err(Fault { offset: self.bytes.len(), kind: DecodeErrorKind::Truncated }),
        }
    }

    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn addr(&mut self) -> Result<Addr, Fault> {
        Ok(Addr(self.u16()?))
    }

    /// A time to live: 0x80 to 0xFE are prohibited, 0xFF stands for the default.
    pub fn ttl(&mut self) -> Result<u8, Fault> {
        match self.u8()? {
            ttl @ 0x80..=0xFE => Err(self.prohibited(1, ttl)),
            ttl => Ok(ttl),
        }
    }

    /// A one-octet enumeration.
    pub fn value<T>(&mut self, from: impl FnOnce(u8) -> Option<T>) -> Result<T, Fault> {
        let value = self.u8()?;
        from(value).ok_or_else(|| self.prohibited(1, value))
    }

    /// Nothing may follow.
    pub fn end(&self) -> Result<(), Fault> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.fault(0, DecodeErrorKind::TrailingOctets)) }
    }
}

/// Writes fields into the caller's buffer. Running out is noticed once, in [`Writer::finish`], so that encoders read as
/// a plain list of fields.
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut [u8]) -> Self {
        Writer { out, at: 0 }
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let end = self.at.saturating_add(bytes.len());
        if let Some(place) = self.out.get_mut(self.at..end) {
            place.copy_from_slice(bytes);
        }
        self.at = end;
        self
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn addr(&mut self, addr: Addr) -> &mut Self {
        self.u16(addr.0)
    }

    /// An opcode of two octets, in the order sent.
    pub fn opcode(&mut self, opcode: u16) -> &mut Self {
        self.bytes(&opcode.to_be_bytes())
    }

    /// The number of octets written.
    pub fn finish(&self) -> Result<usize, EncodeError> {
        if self.at > MAX_ACCESS {
            Err(EncodeError::TooLong { len: self.at })
        } else if self.at > self.out.len() {
            Err(EncodeError::BufferTooSmall { needed: self.at })
        } else {
            Ok(self.at)
        }
    }
}

/// The length of a list whose own length field has one octet.
pub(crate) fn length_octet(bytes: &[u8], field: &'static str) -> Result<u8, EncodeError> {
    u8::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong { field, len: bytes.len() })
}

/// A fieldless enumeration with its wire values: `from_u8` knows every value, `as u8` gives it back.
macro_rules! wire_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $value,)+ }

        impl $name {
            /// Every value, in wire order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The value with this number on the wire, if there is one.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some($name::$variant),)+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use wire_enum;
