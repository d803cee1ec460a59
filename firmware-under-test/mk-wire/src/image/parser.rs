//! The parser itself: a few bounded reads, every length checked in 64 bits before it is used.

use super::*;
use heapless::Vec;

/// Octets that can be read in any order: a file in memory, a flash slot.
pub trait Source {
    /// What can go wrong when reading.
    type Error;

    /// Octets there are.
    fn len(&self) -> u32;

    /// Is there nothing to read?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset`. Only called with ranges inside [`Source::len`].
    ///
    /// # Errors
    /// The source could not be read.
    fn read(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), Self::Error>;
}

/// An image in memory. Octets past 4 GiB are not seen, so such a file is refused as too long for its image.
#[derive(Clone, Copy, Debug)]
pub struct SliceSource<'a>(pub &'a [u8]);

/// A range outside the slice was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("outside the slice")]
pub struct OutsideSlice;

impl Source for SliceSource<'_> {
    type Error = OutsideSlice;

    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn read(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), OutsideSlice> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).ok_or(OutsideSlice)?;
        buf.copy_from_slice(rest.get(..buf.len()).ok_or(OutsideSlice)?);
        Ok(())
    }
}

/// Parses an image in memory.
///
/// # Errors
/// The first thing that is wrong with it, and where.
pub fn parse_slice(image: &[u8], extent: Extent) -> Result<ImageFacts, ImageError> {
    parse(&mut SliceSource(image), extent).map_err(|error| match error {
        ParseError::Image(error) => error,
        // The parser stays inside `len`, where a slice always answers; were that ever wrong, the image is refused.
        ParseError::Source { offset, error: OutsideSlice } => ImageError { offset, kind: ImageErrorKind::TooShort },
    })
}

/// Parses an image from a source, with at most 2 + 2 x [`MAX_TLVS`] reads after the header.
///
/// # Errors
/// The first thing that is wrong with the image, and where; or a failure of the source.
pub fn parse<S: Source>(source: &mut S, extent: Extent) -> Result<ImageFacts, ParseError<S::Error>> {
    let header = read_header(source)?;
    let mut found = Found::default();

    let payload_end = u64::from(header.header_size) + u64::from(header.image_size);
    let protected_start = inside(source, 12, Part::Payload, payload_end)?;
    let signed_end = payload_end + u64::from(header.protected_tlv_size);
    let signed_end = inside(source, 10, Part::ProtectedTlvs, signed_end)?;
    if header.protected_tlv_size != 0 {
        let end = read_area_head(source, protected_start, Part::ProtectedTlvs, Some(header.protected_tlv_size))?;
        read_entries(source, protected_start, end, Part::ProtectedTlvs, &mut found)?;
    }
    let total_len = read_area_head(source, signed_end, Part::Tlvs, None)?;
    read_entries(source, signed_end, total_len, Part::Tlvs, &mut found)?;

    if extent == Extent::File && source.len() > total_len {
        let len = source.len() - total_len;
        return Err(refuse(total_len, ImageErrorKind::Trailing { len }));
    }
    found.into_facts(header, total_len).map_err(ParseError::Image)
}

fn refuse<E>(offset: u32, kind: ImageErrorKind) -> ParseError<E> {
    ParseError::Image(ImageError { offset, kind })
}

fn read<S: Source, const N: usize>(source: &mut S, offset: u32) -> Result<[u8; N], ParseError<S::Error>> {
    let mut buf = [0; N];
    source.read(offset, &mut buf).map_err(|error| ParseError::Source { offset, error })?;
    Ok(buf)
}

/// `end` as an offset, if the source reaches that far; `field` is where the length came from.
fn inside<S: Source>(source: &S, field: u32, what: Part, end: u64) -> Result<u32, ParseError<S::Error>> {
    match u32::try_from(end) {
        Ok(end) if end <= source.len() => Ok(end),
        Ok(_) | Err(_) => Err(refuse(field, ImageErrorKind::PastEnd { what, end, len: source.len() })),
    }
}

fn read_header<S: Source>(source: &mut S) -> Result<ImageHeader, ParseError<S::Error>> {
    if (source.len() as usize) < HEADER_LEN {
        return Err(refuse(0, ImageErrorKind::TooShort));
    }
    let raw: [u8; HEADER_LEN] = read(source, 0)?;
    let found = u32::from_le_bytes(field(&raw, 0));
    if found != MAGIC {
        return Err(refuse(0, ImageErrorKind::Magic { found }));
    }
    let header = ImageHeader {
        load_address: u32::from_le_bytes(field(&raw, 4)),
        header_size: u16::from_le_bytes(field(&raw, 8)),
        protected_tlv_size: u16::from_le_bytes(field(&raw, 10)),
        image_size: u32::from_le_bytes(field(&raw, 12)),
        flags: u32::from_le_bytes(field(&raw, 16)),
        version: Version::from_bytes(field(&raw, 20)),
    };
    if header.header_size != HEADER_SIZE {
        return Err(refuse(8, ImageErrorKind::HeaderSize { found: header.header_size }));
    }
    if header.image_size == 0 {
        return Err(refuse(12, ImageErrorKind::EmptyPayload));
    }
    if header.flags != 0 {
        return Err(refuse(16, ImageErrorKind::Flags { flags: header.flags }));
    }
    Ok(header)
}

/// `N` octets of the header; all uses are constant and inside it.
fn field<const N: usize>(raw: &[u8; HEADER_LEN], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&raw[offset..offset + N]);
    out
}

/// Reads an area's head at `start` and gives the offset of its end.
fn read_area_head<S: Source>(
    source: &mut S,
    start: u32,
    what: Part,
    expected: Option<u16>,
) -> Result<u32, ParseError<S::Error>> {
    inside(source, start, what, u64::from(start) + u64::from(TLV_HEAD))?;
    let [m0, m1, l0, l1] = read(source, start)?;
    let (magic, len) = (u16::from_le_bytes([m0, m1]), u16::from_le_bytes([l0, l1]));
    let wanted = if what == Part::ProtectedTlvs { PROTECTED_TLV_MAGIC } else { TLV_MAGIC };
    if magic != wanted {
        return Err(refuse(start, ImageErrorKind::AreaMagic { what, found: magic }));
    }
    if len < TLV_HEAD || expected.is_some_and(|expected| expected != len) {
        return Err(refuse(start + 2, ImageErrorKind::AreaLength { what, found: len }));
    }
    inside(source, start + 2, what, u64::from(start) + u64::from(len))
}

fn read_entries<S: Source>(
    source: &mut S,
    start: u32,
    end: u32,
    area: Part,
    found: &mut Found,
) -> Result<(), ParseError<S::Error>> {
    let mut at = start + u32::from(TLV_HEAD);
    // Both areas together hold at most MAX_TLVS entries, so this ends.
    while at < end {
        if end - at < u32::from(TLV_HEAD) {
            return Err(refuse(at, ImageErrorKind::AreaRemainder));
        }
        let [t0, t1, l0, l1] = read(source, at)?;
        let (tlv, len) = (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([l0, l1]));
        let value = at + u32::from(TLV_HEAD);
        if u32::from(len) > end - value {
            return Err(refuse(at, ImageErrorKind::EntryLength { tlv }));
        }
        found.admit(tlv, area).map_err(|kind| refuse(at, kind))?;
        let mut buf = [0; MAX_SIGNATURE];
        // Entries that we ignore may be longer than any that we read.
        if let Some(longest) = longest_value(tlv) {
            match buf.get_mut(..usize::from(len)) {
                Some(buf) if len <= longest => {
                    source.read(value, buf).map_err(|error| ParseError::Source { offset: value, error })?;
                    found.take(tlv, value, buf).map_err(|kind| refuse(at, kind))?;
                }
                Some(_) | None => return Err(refuse(at, ImageErrorKind::ValueLength { tlv, len })),
            }
        }
        at = value + u32::from(len);
    }
    Ok(())
}

/// Longest value of a type that we read; `None` for types that we ignore.
fn longest_value(tlv: u16) -> Option<u16> {
    match tlv {
        tlv::KEYHASH | tlv::SHA256 => Some(32),
        tlv::ECDSA_SIG => Some(MAX_SIGNATURE as u16),
        tlv::SECURITY_COUNTER | tlv::HARDWARE_ID => Some(4),
        tlv::CONFIG_MIGRATION_VERSION | tlv::OLDEST_MIGRATABLE_VERSION => Some(2),
        _ => None,
    }
}

/// What the TLV areas have given so far.
#[derive(Default)]
struct Found {
    seen: Vec<u16, MAX_TLVS>,
    hardware_id: Option<u32>,
    config_migration_version: Option<u16>,
    oldest_migratable_version: Option<u16>,
    security_counter: Option<u32>,
    sha256: Option<[u8; 32]>,
    key_hash: Option<[u8; 32]>,
    signature: Option<(u32, Signature)>,
}

impl Found {
    /// May this type stand in this area, here and now?
    fn admit(&mut self, tlv: u16, area: Part) -> Result<(), ImageErrorKind> {
        if self.seen.contains(&tlv) {
            return Err(ImageErrorKind::Duplicate { tlv });
        }
        self.seen.push(tlv).map_err(|_| ImageErrorKind::TooManyEntries)?;
        match tlv {
            tlv::ENCRYPTION_FIRST..=tlv::ENCRYPTION_LAST
            | tlv::COMPRESSION_FIRST..=tlv::COMPRESSION_LAST
            | tlv::DEPENDENCY => Err(ImageErrorKind::Unsupported { tlv }),
            tlv::KEYHASH | tlv::SHA256 | tlv::ECDSA_SIG if area == Part::ProtectedTlvs => {
                Err(ImageErrorKind::Protected { tlv })
            }
            tlv::KEYHASH | tlv::SHA256 | tlv::ECDSA_SIG => Ok(()),
            _ if area == Part::ProtectedTlvs => Ok(()),
            _ => Err(ImageErrorKind::NotProtected { tlv }),
        }
    }

    /// Stores the value of a type that we read.
    fn take(&mut self, tlv: u16, offset: u32, value: &[u8]) -> Result<(), ImageErrorKind> {
        // At most MAX_SIGNATURE octets, so the cast keeps the length.
        let bad = ImageErrorKind::ValueLength { tlv, len: value.len() as u16 };
        match tlv {
            tlv::SHA256 => self.sha256 = Some(exact(value, bad)?),
            tlv::KEYHASH => self.key_hash = Some(exact(value, bad)?),
            tlv::ECDSA_SIG => self.signature = Some((offset, Vec::from_slice(value).map_err(|_| bad)?)),
            tlv::SECURITY_COUNTER => self.security_counter = Some(u32::from_le_bytes(exact(value, bad)?)),
            tlv::HARDWARE_ID => self.hardware_id = Some(u32::from_le_bytes(exact(value, bad)?)),
            tlv::CONFIG_MIGRATION_VERSION => {
                self.config_migration_version = Some(u16::from_le_bytes(exact(value, bad)?));
            }
            tlv::OLDEST_MIGRATABLE_VERSION => {
                self.oldest_migratable_version = Some(u16::from_le_bytes(exact(value, bad)?));
            }
            _ => {}
        }
        Ok(())
    }

    fn into_facts(self, header: ImageHeader, total_len: u32) -> Result<ImageFacts, ImageError> {
        let signed_end = u32::from(header.header_size) + header.image_size + u32::from(header.protected_tlv_size);
        let protected = signed_end - u32::from(header.protected_tlv_size);
        let missing = |offset, tlv| ImageError { offset, kind: ImageErrorKind::Missing { tlv } };
        let (signature_offset, signature) = self.signature.unzip();
        Ok(ImageFacts {
            header,
            hardware_id: self.hardware_id.ok_or(missing(protected, tlv::HARDWARE_ID))?,
            config_migration_version: self
                .config_migration_version
                .ok_or(missing(protected, tlv::CONFIG_MIGRATION_VERSION))?,
            oldest_migratable_version: self.oldest_migratable_version,
            security_counter: self.security_counter,
            sha256: self.sha256.ok_or(missing(signed_end, tlv::SHA256))?,
            key_hash: self.key_hash,
            signature,
            signature_offset,
            total_len,
        })
    }
}

fn exact<const N: usize>(value: &[u8], bad: ImageErrorKind) -> Result<[u8; N], ImageErrorKind> {
    value.try_into().map_err(|_| bad)
}
