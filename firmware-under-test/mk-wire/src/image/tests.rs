//! What is an image and what is not, entry by entry; and that no octets make the parser panic or read outside.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use proptest::prelude::*;
use rstest::rstest;
use std::vec::Vec;

const PAYLOAD: usize = 100;
/// Start of the protected area in the sample.
const PROTECTED: u32 = HEADER_SIZE as u32 + PAYLOAD as u32;
const SIGNATURE: [u8; 71] = [0x30; 71];

/// Image octets laid out by hand: entries as (type, value).
struct Builder {
    header: [u8; HEADER_LEN],
    protected: Vec<(u16, Vec<u8>)>,
    unprotected: Vec<(u16, Vec<u8>)>,
    tail: Vec<u8>,
}

fn area(magic: u16, entries: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let body: Vec<u8> = entries
        .iter()
        .flat_map(|(tlv, value)| {
            [tlv.to_le_bytes().as_slice(), (value.len() as u16).to_le_bytes().as_slice(), value].concat()
        })
        .collect();
    let len = 4 + body.len() as u16;
    [magic.to_le_bytes().as_slice(), len.to_le_bytes().as_slice(), &body].concat()
}

impl Builder {
    fn new() -> Self {
        let mut header = [0; HEADER_LEN];
        header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[8..10].copy_from_slice(&HEADER_SIZE.to_le_bytes());
        header[12..16].copy_from_slice(&(PAYLOAD as u32).to_le_bytes());
        header[20..28].copy_from_slice(&Version { major: 1, minor: 2, revision: 3, build: 4 }.to_bytes());
        Builder {
            header,
            protected: std::vec![
                (tlv::SECURITY_COUNTER, std::vec![9, 0, 0, 0]),
                (tlv::CONFIG_MIGRATION_VERSION, std::vec![5, 0]),
                (tlv::OLDEST_MIGRATABLE_VERSION, std::vec![2, 0]),
                (tlv::HARDWARE_ID, std::vec![0x44, 0x33, 0x22, 0x11]),
            ],
            unprotected: std::vec![
                (tlv::SHA256, std::vec![0xAA; 32]),
                (tlv::KEYHASH, std::vec![0xBB; 32]),
                (tlv::ECDSA_SIG, SIGNATURE.to_vec()),
            ],
            tail: Vec::new(),
        }
    }

    fn octets(&self) -> Vec<u8> {
        let protected = if self.protected.is_empty() { Vec::new() } else { area(PROTECTED_TLV_MAGIC, &self.protected) };
        let mut header = self.header;
        if header[10..12] == [0, 0] {
            header[10..12].copy_from_slice(&(protected.len() as u16).to_le_bytes());
        }
        let mut image = header.to_vec();
        image.resize(usize::from(HEADER_SIZE) + PAYLOAD, 0x5A);
        image.extend(protected);
        image.extend(area(TLV_MAGIC, &self.unprotected));
        image.extend(&self.tail);
        image
    }

    fn with_protected(mut self, tlv: u16, value: &[u8]) -> Self {
        self.protected.push((tlv, value.to_vec()));
        self
    }

    fn with_unprotected(mut self, tlv: u16, value: &[u8]) -> Self {
        self.unprotected.push((tlv, value.to_vec()));
        self
    }

    fn without(mut self, tlv: u16) -> Self {
        self.protected.retain(|(t, _)| *t != tlv);
        self.unprotected.retain(|(t, _)| *t != tlv);
        self
    }

    fn resized(mut self, tlv: u16, len: usize) -> Self {
        let entries = self.protected.iter_mut().chain(&mut self.unprotected);
        entries.filter(|(t, _)| *t == tlv).for_each(|(_, value)| value.resize(len, 0));
        self
    }

    fn parse(&self) -> Result<ImageFacts, ImageError> {
        parse_slice(&self.octets(), Extent::File)
    }

    fn kind(&self) -> Option<ImageErrorKind> {
        self.parse().err().map(|error| error.kind)
    }
}

#[test]
fn a_whole_image_gives_every_fact() {
    let builder = Builder::new();
    let octets = builder.octets();
    let facts = builder.parse().unwrap();
    assert_eq!(facts.version(), Version { major: 1, minor: 2, revision: 3, build: 4 });
    assert_eq!(facts.hardware_id, 0x1122_3344);
    assert_eq!((facts.config_migration_version, facts.oldest_migratable_version), (5, Some(2)));
    assert_eq!(facts.security_counter, Some(9));
    assert_eq!((facts.sha256, facts.key_hash), ([0xAA; 32], Some([0xBB; 32])));
    assert_eq!(facts.signature.as_deref(), Some(SIGNATURE.as_slice()));
    let at = facts.signature_offset.unwrap() as usize;
    assert_eq!(octets[at..at + SIGNATURE.len()], SIGNATURE);
    assert_eq!((facts.payload(), facts.total_len as usize), (0x200..0x264, octets.len()));
    let signed = facts.signed();
    assert_eq!((signed.start, octets[signed.end as usize..][..2].to_vec()), (0, TLV_MAGIC.to_le_bytes().to_vec()));
}

#[test]
fn what_may_be_absent_is_none() {
    let builder = [tlv::OLDEST_MIGRATABLE_VERSION, tlv::SECURITY_COUNTER, tlv::KEYHASH, tlv::ECDSA_SIG];
    let facts = builder.into_iter().fold(Builder::new(), Builder::without).parse().unwrap();
    assert_eq!((facts.oldest_migratable_version, facts.security_counter), (None, None));
    assert_eq!((facts.key_hash, facts.signature, facts.signature_offset), (None, None, None));
}

#[rstest]
#[case(tlv::HARDWARE_ID)]
#[case(tlv::CONFIG_MIGRATION_VERSION)]
#[case(tlv::SHA256)]
fn what_may_not_be_absent_is_missed(#[case] tlv: u16) {
    assert_eq!(Builder::new().without(tlv).kind(), Some(ImageErrorKind::Missing { tlv }));
}

#[test]
fn an_image_without_protected_area_lacks_our_facts() {
    let mut builder = Builder::new();
    builder.protected.clear();
    let kind = ImageErrorKind::Missing { tlv: tlv::HARDWARE_ID };
    assert_eq!(builder.parse(), Err(ImageError { offset: PROTECTED, kind }));
}

#[rstest]
#[case::magic(0, &[0], ImageError { offset: 0, kind: ImageErrorKind::Magic { found: 0x96f3_b800 } })]
#[case::erased(0, &[0xFF; 32], ImageError { offset: 0, kind: ImageErrorKind::Magic { found: u32::MAX } })]
#[case::header_size(8, &[0x20, 0], ImageError { offset: 8, kind: ImageErrorKind::HeaderSize { found: 0x20 } })]
#[case::no_payload(12, &[0; 4], ImageError { offset: 12, kind: ImageErrorKind::EmptyPayload })]
#[case::flag(16, &[4], ImageError { offset: 16, kind: ImageErrorKind::Flags { flags: 4 } })]
fn a_header_that_is_not_ours_is_refused(#[case] at: usize, #[case] octets: &[u8], #[case] error: ImageError) {
    let mut builder = Builder::new();
    builder.header[at..at + octets.len()].copy_from_slice(octets);
    assert_eq!(builder.parse(), Err(error));
}

#[rstest]
#[case::past_the_file(0x1000, 0x1200)]
#[case::wraps_32_bits(u32::MAX, 0x1_0000_01FF)]
#[case::wraps_to_a_small_offset(u32::MAX - 0x1FF, 0x1_0000_0000)]
fn a_payload_past_the_end_is_refused_also_when_the_sum_wraps(#[case] size: u32, #[case] end: u64) {
    let mut builder = Builder::new();
    builder.header[12..16].copy_from_slice(&size.to_le_bytes());
    let len = builder.octets().len() as u32;
    let kind = ImageErrorKind::PastEnd { what: Part::Payload, end, len };
    assert_eq!(builder.parse(), Err(ImageError { offset: 12, kind }));
}

#[rstest]
#[case::past_the_end(0xFFFF)]
#[case::one_less(0x1F)]
#[case::one_more(0x21)]
#[case::shorter_than_its_head(3)]
fn a_protected_size_that_differs_from_the_area_is_refused(#[case] size: u16) {
    let mut builder = Builder::new();
    assert_eq!(area(PROTECTED_TLV_MAGIC, &builder.protected).len(), 0x20);
    builder.header[10..12].copy_from_slice(&size.to_le_bytes());
    let expected = [
        ImageErrorKind::AreaLength { what: Part::ProtectedTlvs, found: 0x20 },
        ImageErrorKind::PastEnd { what: Part::ProtectedTlvs, end: 0x264 + 0xFFFF, len: builder.octets().len() as u32 },
    ];
    assert!(expected.contains(&builder.kind().unwrap()), "{:?}", builder.kind());
}

#[test]
fn an_area_needs_its_magic() {
    let whole = Builder::new().octets();
    for (offset, what) in [(PROTECTED, Part::ProtectedTlvs), (PROTECTED + 0x20, Part::Tlvs)] {
        let mut octets = whole.clone();
        octets[offset as usize] ^= 1;
        let error = parse_slice(&octets, Extent::File).unwrap_err();
        assert!(matches!(error.kind, ImageErrorKind::AreaMagic { what: found, .. } if found == what));
        assert_eq!(error.offset, offset);
    }
}

#[rstest]
#[case(tlv::SHA256, 31)]
#[case(tlv::SHA256, 33)]
#[case(tlv::KEYHASH, 31)]
#[case(tlv::KEYHASH, 33)]
#[case(tlv::ECDSA_SIG, 97)]
#[case(tlv::SECURITY_COUNTER, 3)]
#[case(tlv::SECURITY_COUNTER, 5)]
#[case(tlv::HARDWARE_ID, 3)]
#[case(tlv::HARDWARE_ID, 5)]
#[case(tlv::CONFIG_MIGRATION_VERSION, 1)]
#[case(tlv::CONFIG_MIGRATION_VERSION, 3)]
#[case(tlv::OLDEST_MIGRATABLE_VERSION, 0)]
#[case(tlv::OLDEST_MIGRATABLE_VERSION, 3)]
fn an_entry_of_the_wrong_length_is_refused(#[case] tlv: u16, #[case] len: usize) {
    let kind = ImageErrorKind::ValueLength { tlv, len: len as u16 };
    assert_eq!(Builder::new().resized(tlv, len).kind(), Some(kind));
}

#[rstest]
#[case(0)]
#[case(63)]
#[case(72)]
#[case(96)]
fn signatures_of_any_length_up_to_96_are_left_to_the_verifier(#[case] len: usize) {
    let facts = Builder::new().resized(tlv::ECDSA_SIG, len).parse().unwrap();
    assert_eq!(facts.signature.unwrap().len(), len);
}

#[rstest]
#[case(tlv::HARDWARE_ID)]
#[case(tlv::CONFIG_MIGRATION_VERSION)]
#[case::ignored_ones_too(0x00B7)]
fn the_same_type_twice_in_the_protected_area_is_refused(#[case] tlv: u16) {
    let builder = Builder::new()
        .without(tlv)
        .with_protected(tlv, &[1, 0])
        .resized(tlv, if tlv == tlv::HARDWARE_ID { 4 } else { 2 });
    assert_eq!(builder.kind(), None);
    assert_eq!(builder.with_protected(tlv, &[2, 0]).kind(), Some(ImageErrorKind::Duplicate { tlv }));
}

#[rstest]
#[case(tlv::SHA256)]
#[case(tlv::KEYHASH)]
#[case(tlv::ECDSA_SIG)]
fn hash_and_signature_twice_are_refused(#[case] tlv: u16) {
    let builder = Builder::new().with_unprotected(tlv, &[0; 32]);
    assert_eq!(builder.kind(), Some(ImageErrorKind::Duplicate { tlv }));
}

#[rstest]
#[case(tlv::SHA256)]
#[case(tlv::KEYHASH)]
#[case(tlv::ECDSA_SIG)]
fn hash_and_signature_may_not_lie_in_what_they_cover(#[case] tlv: u16) {
    let builder = Builder::new().without(tlv).with_protected(tlv, &[0; 32]);
    assert_eq!(builder.kind(), Some(ImageErrorKind::Protected { tlv }));
}

#[rstest]
#[case(tlv::HARDWARE_ID, &[0; 4])]
#[case(tlv::CONFIG_MIGRATION_VERSION, &[0; 2])]
#[case(tlv::OLDEST_MIGRATABLE_VERSION, &[0; 2])]
#[case(tlv::SECURITY_COUNTER, &[0; 4])]
#[case::unknown(0x00B7, &[])]
fn nothing_unsigned_is_believed(#[case] tlv: u16, #[case] value: &[u8]) {
    let alone = Builder::new().without(tlv).with_unprotected(tlv, value);
    assert_eq!(alone.kind(), Some(ImageErrorKind::NotProtected { tlv }));
    if tlv != 0x00B7 {
        let copy = Builder::new().with_unprotected(tlv, value);
        assert_eq!(copy.kind(), Some(ImageErrorKind::Duplicate { tlv }), "an unprotected copy of a protected entry");
    }
}

#[rstest]
#[case::encryption(0x30)]
#[case::encryption_last(0x34)]
#[case::dependency(0x40)]
#[case::compression(0x70)]
#[case::compression_last(0x73)]
fn entries_that_demand_what_we_do_not_do_are_refused(#[case] tlv: u16) {
    assert_eq!(Builder::new().with_protected(tlv, &[]).kind(), Some(ImageErrorKind::Unsupported { tlv }));
    assert_eq!(Builder::new().with_unprotected(tlv, &[]).kind(), Some(ImageErrorKind::Unsupported { tlv }));
}

#[test]
fn other_signed_entries_are_ignored_up_to_the_limit() {
    // Seven entries are the sample's own.
    let full = (0..MAX_TLVS as u16 - 7).fold(Builder::new(), |b, n| b.with_protected(0xC0 + n, &[0; 200]));
    assert_eq!(full.kind(), None);
    assert_eq!(full.with_protected(0xE0, &[]).kind(), Some(ImageErrorKind::TooManyEntries));
}

#[test]
fn a_file_ends_with_its_image_and_a_slot_does_not() {
    let mut builder = Builder::new();
    let total = builder.octets().len() as u32;
    builder.tail = std::vec![0xFF; 5];
    let octets = builder.octets();
    let kind = ImageErrorKind::Trailing { len: 5 };
    assert_eq!(parse_slice(&octets, Extent::File), Err(ImageError { offset: total, kind }));
    assert_eq!(parse_slice(&octets, Extent::Slot).unwrap().total_len, total);
}

#[test]
fn every_shorter_file_is_refused_where_it_ends_or_before() {
    let octets = Builder::new().octets();
    for len in 0..octets.len() {
        for extent in [Extent::File, Extent::Slot] {
            let error = parse_slice(&octets[..len], extent).unwrap_err();
            assert!(error.offset as usize <= len, "{len}: {error}");
        }
    }
}

#[test]
fn every_shorter_or_longer_area_is_refused() {
    let octets = Builder::new().octets();
    let length_field = (PROTECTED + 0x20 + 2) as usize;
    let right = u16::from_le_bytes([octets[length_field], octets[length_field + 1]]);
    for len in (0..right + 20).chain([u16::MAX]).filter(|len| *len != right) {
        let mut octets = octets.clone();
        octets[length_field..length_field + 2].copy_from_slice(&len.to_le_bytes());
        assert!(parse_slice(&octets, Extent::File).is_err(), "{len}");
    }
}

/// A source that checks where it is read, and fails at a chosen read.
struct Watched<'a> {
    octets: &'a [u8],
    reads: usize,
    fail_at: Option<usize>,
}

impl Source for Watched<'_> {
    type Error = &'static str;

    fn len(&self) -> u32 {
        self.octets.len() as u32
    }

    fn read(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), &'static str> {
        assert!(offset as usize + buf.len() <= self.octets.len(), "read past the end");
        if self.fail_at == Some(self.reads) {
            return Err("flash");
        }
        self.reads += 1;
        buf.copy_from_slice(&self.octets[offset as usize..][..buf.len()]);
        Ok(())
    }
}

#[test]
fn a_failing_source_is_told_apart_from_a_bad_image() {
    let octets = Builder::new().octets();
    let mut whole = Watched { octets: &octets, reads: 0, fail_at: None };
    assert!(parse(&mut whole, Extent::File).is_ok());
    for read in 0..whole.reads {
        let mut source = Watched { octets: &octets, reads: 0, fail_at: Some(read) };
        let error = parse(&mut source, Extent::File).unwrap_err();
        assert!(matches!(error, ParseError::Source { error: "flash", .. }));
    }
}

fn work_is_bounded(octets: &[u8]) {
    for extent in [Extent::File, Extent::Slot] {
        let mut source = Watched { octets, reads: 0, fail_at: None };
        if let Err(ParseError::Image(error)) = parse(&mut source, extent) {
            assert!(error.offset as usize <= octets.len());
        }
        assert!(source.reads <= 1 + 2 + 2 * (MAX_TLVS + 1));
    }
}

proptest! {
    #[test]
    fn any_octets_are_an_image_or_an_error_inside_them(octets in proptest::collection::vec(any::<u8>(), 0..700)) {
        work_is_bounded(&octets);
    }

    #[test]
    fn any_damage_is_survived(
        edits in proptest::collection::vec((0usize..32, 0usize..400, any::<u8>()), 1..6), cut in 0usize..900
    ) {
        let mut octets = Builder::new().octets();
        let areas = PROTECTED as usize;
        for (in_header, in_areas, value) in edits {
            let at = if value & 1 == 0 { in_header } else { areas + in_areas };
            if let Some(octet) = octets.get_mut(at) {
                *octet = value;
            }
        }
        octets.truncate(cut.max(40));
        work_is_bounded(&octets);
    }

    #[test]
    fn any_entries_are_survived(entries in proptest::collection::vec((0u16..0x100, 0usize..40), 0..20)) {
        let builder = entries.iter().fold(Builder::new(), |b, (tlv, len)| b.with_protected(*tlv, &std::vec![0; *len]));
        work_is_bounded(&builder.octets());
    }
}
