//! Missing chunks in their four formats (section 3): reading, checking against a block, and choosing the shortest.
//!
//! In the encoded list each number is one UTF-8-shaped code. Zephyr and two derivatives switch to three octets at 0x8000
//! instead of 0x0800; such codes are malformed and refused here, as are overlong ones and numbers that do not ascend.

use super::MissingFormat;
use crate::access::{DecodeErrorKind, EncodeError};
use crate::codec::{Fault, Reader};

/// The chunks a server still misses, as they lie in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MissingChunks<'a> {
    /// Every chunk of the block.
    All,
    /// No chunk of the block.
    None,
    /// One bit per chunk, 1 = missing; chunk i in octet i/8, bit i%8.
    Bitmap(&'a [u8]),
    /// Chunk numbers, each one UTF-8-shaped code, ascending. Empty means none.
    Encoded(&'a [u8]),
}

/// A missing list that does not fit the block it speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MissingError {
    /// The bitmap has another length than the block's chunk count asks for.
    #[error("bitmap of {len} octets for {chunk_count} chunks")]
    BitmapLength {
        /// Octets of the bitmap.
        len: usize,
        /// Chunks of the block.
        chunk_count: u16,
    },
    /// A chunk past the end of the block is named.
    #[error("chunk {number} named, the block has {chunk_count}")]
    NoSuchChunk {
        /// The number.
        number: u16,
        /// Chunks of the block.
        chunk_count: u16,
    },
    /// The encoded list is malformed at this octet.
    #[error("malformed chunk number at octet {offset} of the list")]
    Malformed {
        /// Offset in the list.
        offset: usize,
    },
}

impl<'a> MissingChunks<'a> {
    /// The format on the wire.
    #[must_use]
    pub const fn format(&self) -> MissingFormat {
        match self {
            MissingChunks::All => MissingFormat::All,
            MissingChunks::None => MissingFormat::None,
            MissingChunks::Bitmap(_) => MissingFormat::Bitmap,
            MissingChunks::Encoded(_) => MissingFormat::Encoded,
        }
    }

    /// The octets of the list; none for All and None.
    #[must_use]
    pub const fn octets(&self) -> &'a [u8] {
        match self {
            MissingChunks::All | MissingChunks::None => &[],
            MissingChunks::Bitmap(octets) | MissingChunks::Encoded(octets) => octets,
        }
    }

    /// Checks the list against the chunk count of the block it is about.
    ///
    /// # Errors
    /// A bitmap of the wrong length, a number at or past `chunk_count`, a malformed code.
    pub fn validate(&self, chunk_count: u16) -> Result<(), MissingError> {
        match *self {
            MissingChunks::All | MissingChunks::None => Ok(()),
            MissingChunks::Bitmap(bitmap) if bitmap.len() != usize::from(chunk_count).div_ceil(8) => {
                Err(MissingError::BitmapLength { len: bitmap.len(), chunk_count })
            }
            MissingChunks::Bitmap(bitmap) if !bitmap_fits(bitmap, usize::from(chunk_count)) => {
                let spare = bitmap.last().map_or(0, |last| last >> (chunk_count % 8));
                let number = chunk_count.saturating_add(u16::try_from(spare.trailing_zeros()).unwrap_or(0));
                Err(MissingError::NoSuchChunk { number, chunk_count })
            }
            MissingChunks::Bitmap(_) => Ok(()),
            MissingChunks::Encoded(list) => match check_list(list)? {
                Some(number) if number >= chunk_count => Err(MissingError::NoSuchChunk { number, chunk_count }),
                Some(_) | None => Ok(()),
            },
        }
    }

    /// The missing chunk numbers below `chunk_count`, ascending. Stops at the first malformed code, so call
    /// [`MissingChunks::validate`] first.
    #[must_use]
    pub const fn iter(&self, chunk_count: u16) -> MissingIter<'a> {
        MissingIter { list: *self, next: 0, chunk_count }
    }

    /// Sets the bit of every missing chunk in `bitmap` (one bit per chunk of a block of `chunk_count`).
    pub fn add_to(&self, chunk_count: u16, bitmap: &mut [u8]) {
        if let MissingChunks::Bitmap(octets) = self
            && octets.len() == usize::from(chunk_count).div_ceil(8)
        {
            for (to, from) in bitmap.iter_mut().zip(*octets) {
                *to |= from;
            }
            return;
        }
        for number in self.iter(chunk_count) {
            if let Some(octet) = bitmap.get_mut(usize::from(number / 8)) {
                *octet |= 1 << (number % 8);
            }
        }
    }

    /// The shortest form of what `bitmap` says is missing (1 = missing) of a block of `chunk_count` chunks. An encoded
    /// list is built in `scratch`; the bitmap wins a tie, because it is cheaper to read, and also if `scratch` is too
    /// small. `bitmap` must have one bit per chunk and no bit past the end.
    #[must_use]
    pub fn shortest(bitmap: &'a [u8], chunk_count: u16, scratch: &'a mut [u8]) -> MissingChunks<'a> {
        let bitmap = bitmap.get(..usize::from(chunk_count).div_ceil(8)).unwrap_or(bitmap);
        let missing: u32 = bitmap.iter().map(|octet| octet.count_ones()).sum();
        if missing == 0 {
            return MissingChunks::None;
        }
        if missing >= u32::from(chunk_count) {
            return MissingChunks::All;
        }
        if missing as usize >= bitmap.len() {
            return MissingChunks::Bitmap(bitmap);
        }
        match encode_list(MissingChunks::Bitmap(bitmap).iter(chunk_count), scratch) {
            Some(len) if len < bitmap.len() => match scratch.get(..len) {
                Some(list) => MissingChunks::Encoded(list),
                None => MissingChunks::Bitmap(bitmap),
            },
            Some(_) | None => MissingChunks::Bitmap(bitmap),
        }
    }

    /// An encoded list of the first `limit` chunks missing in `bitmap`, built in `scratch` (three octets per number
    /// always suffice). Pull mode answers with such lists; an empty one says that nothing is missing.
    #[must_use]
    pub fn encoded(bitmap: &[u8], chunk_count: u16, limit: usize, scratch: &'a mut [u8]) -> MissingChunks<'a> {
        let numbers = MissingChunks::Bitmap(bitmap).iter(chunk_count).take(limit);
        let mut at = 0;
        for number in numbers {
            let (code, len) = encode_number(number);
            let Some(place) = scratch.get_mut(at..at + len) else { break };
            place.copy_from_slice(&code[..len]);
            at += len;
        }
        MissingChunks::Encoded(scratch.get(..at).unwrap_or_default())
    }

    /// Takes the rest of a message as an encoded list.
    pub(crate) fn decode_encoded(r: &mut Reader<'a>) -> Result<Self, Fault> {
        let start = r.fault(0, DecodeErrorKind::ChunkList);
        let list = r.rest();
        match check_list(list) {
            Ok(_) => Ok(MissingChunks::Encoded(list)),
            Err(MissingError::Malformed { offset }) => Err(Fault { offset: start.offset + offset, ..start }),
            Err(_) => Err(start),
        }
    }

    /// Refuses to encode what a receiver would not accept.
    pub(crate) fn check_shape(&self) -> Result<(), EncodeError> {
        match self {
            MissingChunks::Bitmap([]) => Err(EncodeError::Prohibited { field: "missing bitmap" }),
            MissingChunks::Encoded(list) if check_list(list).is_err() => {
                Err(EncodeError::Prohibited { field: "missing list" })
            }
            MissingChunks::All | MissingChunks::None | MissingChunks::Bitmap(_) | MissingChunks::Encoded(_) => Ok(()),
        }
    }
}

/// Iterator over missing chunk numbers, see [`MissingChunks::iter`].
#[derive(Clone, Debug)]
pub struct MissingIter<'a> {
    list: MissingChunks<'a>,
    /// Next number to look at; for an encoded list, the offset of the next code.
    next: usize,
    chunk_count: u16,
}

impl Iterator for MissingIter<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let end = usize::from(self.chunk_count);
        match self.list {
            MissingChunks::None => None,
            MissingChunks::All => {
                let number = u16::try_from(self.next).ok().filter(|n| *n < self.chunk_count)?;
                self.next += 1;
                Some(number)
            }
            MissingChunks::Bitmap(bitmap) => {
                while self.next < end {
                    let octet = bitmap.get(self.next / 8)? >> (self.next % 8);
                    if octet == 0 {
                        self.next = (self.next / 8 + 1) * 8;
                        continue;
                    }
                    let number = self.next + octet.trailing_zeros() as usize;
                    self.next = number + 1;
                    return u16::try_from(number).ok().filter(|n| *n < self.chunk_count);
                }
                None
            }
            MissingChunks::Encoded(list) => {
                let (number, len) = decode_number(list.get(self.next..)?)?;
                self.next += len;
                (number < self.chunk_count).then_some(number)
            }
        }
    }
}

/// Does the bitmap have one bit per item and none past the last?
pub(super) fn bitmap_fits(bitmap: &[u8], items: usize) -> bool {
    bitmap.len() == items.div_ceil(8)
        && (items.is_multiple_of(8) || bitmap.last().is_none_or(|last| last >> (items % 8) == 0))
}

/// Checks codes and order; gives the largest number.
fn check_list(list: &[u8]) -> Result<Option<u16>, MissingError> {
    let mut at = 0;
    let mut last = None;
    while at < list.len() {
        match decode_number(list.get(at..).unwrap_or_default()) {
            Some((number, len)) if last.is_none_or(|last| number > last) => {
                last = Some(number);
                at += len;
            }
            Some(_) | None => return Err(MissingError::Malformed { offset: at }),
        }
    }
    Ok(last)
}

/// The number at the start of `list` and the length of its code; `None` if malformed or empty.
fn decode_number(list: &[u8]) -> Option<(u16, usize)> {
    let tail = |octet: u8| (octet & 0xC0 == 0x80).then_some(u16::from(octet & 0x3F));
    match *list {
        [a @ 0x00..=0x7F, ..] => Some((u16::from(a), 1)),
        [a @ 0xC2..=0xDF, b, ..] => Some((u16::from(a & 0x1F) << 6 | tail(b)?, 2)),
        [a @ 0xE0..=0xEF, b, c, ..] => {
            let number = u16::from(a & 0x0F) << 12 | tail(b)? << 6 | tail(c)?;
            (number >= 0x0800).then_some((number, 3))
        }
        _ => None,
    }
}

/// The code of a number and its length.
fn encode_number(number: u16) -> ([u8; 3], usize) {
    // Each part has at most 6 bits below its marker, so the casts keep every bit.
    let low = 0x80 | (number & 0x3F) as u8;
    let middle = (number >> 6 & 0x3F) as u8;
    match number {
        0x0000..=0x007F => ([number as u8, 0, 0], 1),
        0x0080..=0x07FF => ([0xC0 | middle, low, 0], 2),
        0x0800..=0xFFFF => ([0xE0 | (number >> 12) as u8, 0x80 | middle, low], 3),
    }
}

fn encode_list(numbers: impl Iterator<Item = u16>, out: &mut [u8]) -> Option<usize> {
    let mut at = 0;
    for number in numbers {
        let (code, len) = encode_number(number);
        out.get_mut(at..at + len)?.copy_from_slice(&code[..len]);
        at += len;
    }
    Some(at)
}
