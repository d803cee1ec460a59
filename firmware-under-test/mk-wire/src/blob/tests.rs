//! Both sides of every limit of section 4, and the four formats of missing chunks.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::arithmetic::*;
use super::*;
use proptest::prelude::*;
use rstest::rstest;
use std::vec::Vec;

#[rstest]
#[case::too_small(5, None)]
#[case::smallest(6, Some(64))]
#[case::largest(32, Some(1 << 32))]
#[case::too_large(33, None)]
fn block_sizes_go_from_64_octets_to_4_gigabytes(#[case] log: u8, #[case] size: Option<u64>) {
    assert_eq!(block_size(log), size);
}

#[rstest]
#[case::empty(0, 12, None)]
#[case::one_octet(1, 12, Some(1))]
#[case::exactly_one(4096, 12, Some(1))]
#[case::one_more(4097, 12, Some(2))]
#[case::product(524_288, 12, Some(128))]
#[case::one_block_for_all(u32::MAX, 32, Some(1))]
#[case::most(u32::MAX, 6, Some(1 << 26))]
fn block_counts_round_up(#[case] size: u32, #[case] log: u8, #[case] count: Option<u32>) {
    assert_eq!(block_count(size, log), count);
}

#[rstest]
#[case::first(0, Some((0, 4096)))]
#[case::last_is_the_remainder(2, Some((8192, 1)))]
#[case::past_the_end(3, None)]
fn blocks_of_8193_octets(#[case] block: u16, #[case] place: Option<(u32, u32)>) {
    assert_eq!(block_offset(8193, 12, block).zip(block_len(8193, 12, block)), place);
}

#[test]
fn the_product_image_has_128_blocks_of_11_chunks() {
    assert_eq!(block_count(524_288, 12), Some(128));
    let len = block_len(524_288, 12, 127).unwrap();
    assert_eq!((len, chunk_count(len, 377)), (4096, Some(11)));
    let chunks: Vec<_> = (0..12).map(|n| (chunk_offset(len, 377, n), chunk_len(len, 377, n))).collect();
    assert_eq!(chunks[9], (Some(3393), Some(377)));
    assert_eq!(chunks[10], (Some(3770), Some(326)));
    assert_eq!(chunks[11], (None, None));
}

#[rstest]
#[case::no_size(4096, 0, None)]
#[case::most(65_535, 1, Some(65_535))]
#[case::too_many(65_536, 1, None)]
fn chunk_counts_fit_their_field(#[case] len: u32, #[case] chunk_size: u16, #[case] count: Option<u16>) {
    assert_eq!(chunk_count(len, chunk_size), count);
}

#[rstest]
#[case::client_is_smaller(100, 380, 100)]
#[case::server_is_smaller(380, 100, 100)]
#[case::zephyr_client(384, 380, 380)]
#[case::both_too_large(500, 400, 380)]
fn the_transfer_mtu_is_the_smaller_and_at_most_380(#[case] client: u16, #[case] server: u16, #[case] mtu: u16) {
    assert_eq!(transfer_mtu(client, server), mtu);
}

#[rstest]
#[case(380, 2888)]
#[case(20, 8)]
#[case(19, 0)]
#[case(0, 0)]
fn the_block_bitmap_fits_a_transfer_status(#[case] mtu: u16, #[case] blocks: u32) {
    assert_eq!(max_blocks(mtu), blocks);
}

#[rstest]
#[case::server_limit(256, 380, 256)]
#[case::mtu_limit(65_535, 380, 2992)]
#[case::mtu_limit_small(65_535, 7, 8)]
#[case::no_room(65_535, 6, 0)]
fn the_chunk_bitmap_fits_a_block_status(#[case] total: u16, #[case] mtu: u16, #[case] chunks: u32) {
    assert_eq!(max_chunks(total, mtu), chunks);
}

#[rstest]
#[case::none(12, 0, false)]
#[case::largest(12, 377, true)]
#[case::over_the_mtu(12, 378, false)]
#[case::exactly_256_chunks(12, 16, true)]
#[case::more_than_256_chunks(12, 15, false)]
#[case::no_such_block(33, 377, false)]
fn chunk_sizes_have_limits_on_both_sides(#[case] log: u8, #[case] chunk_size: u16, #[case] allowed: bool) {
    assert_eq!(chunk_size_allowed(log, chunk_size, 400, 256, 380), allowed);
}

#[test]
fn the_servers_own_chunk_limit_counts_too() {
    assert!(chunk_size_allowed(12, 100, 100, 256, 380));
    assert!(!chunk_size_allowed(12, 101, 100, 256, 380));
}

const CAPABLE: Capabilities = Capabilities {
    min_block_size_log: 8,
    max_block_size_log: 12,
    max_total_chunks: 256,
    max_chunk_size: 377,
    max_blob_size: 524_288,
    server_mtu: 380,
    push: true,
    pull: false,
};

#[rstest]
#[case::fine(CAPABLE, true)]
#[case::smallest_min(Capabilities { min_block_size_log: 6, ..CAPABLE }, true)]
#[case::min_too_small(Capabilities { min_block_size_log: 5, ..CAPABLE }, false)]
#[case::largest_max(Capabilities { max_block_size_log: 32, ..CAPABLE }, true)]
#[case::max_too_large(Capabilities { max_block_size_log: 33, ..CAPABLE }, false)]
#[case::one_size(Capabilities { max_block_size_log: 8, ..CAPABLE }, true)]
#[case::max_below_min(Capabilities { max_block_size_log: 7, ..CAPABLE }, false)]
#[case::one_chunk(Capabilities { max_total_chunks: 1, ..CAPABLE }, true)]
#[case::no_chunks(Capabilities { max_total_chunks: 0, ..CAPABLE }, false)]
#[case::smallest_chunk(Capabilities { max_chunk_size: 8, ..CAPABLE }, true)]
#[case::chunk_too_small(Capabilities { max_chunk_size: 7, ..CAPABLE }, false)]
#[case::one_octet(Capabilities { max_blob_size: 1, ..CAPABLE }, true)]
#[case::no_size(Capabilities { max_blob_size: 0, ..CAPABLE }, false)]
#[case::smallest_mtu(Capabilities { server_mtu: 20, ..CAPABLE }, true)]
#[case::mtu_too_small(Capabilities { server_mtu: 19, ..CAPABLE }, false)]
fn capabilities_that_make_no_sense_are_noticed(#[case] capabilities: Capabilities, #[case] sane: bool) {
    assert_eq!(capabilities.is_sane(), sane);
}

#[rstest]
#[case::recorded_peer(CAPABLE, 384, 100, Some((12, 377)))]
#[case::largest_blob(CAPABLE, 380, 524_288, Some((12, 377)))]
#[case::blob_too_large(CAPABLE, 380, 524_289, None)]
#[case::few_chunks_make_small_blocks(Capabilities { max_total_chunks: 4, ..CAPABLE }, 380, 5000, Some((10, 377)))]
#[case::one_chunk_is_too_few(Capabilities { max_total_chunks: 1, min_block_size_log: 9, ..CAPABLE }, 380, 5000, None)]
#[case::client_mtu_limits_chunks(CAPABLE, 103, 5000, Some((12, 100)))]
#[case::bitmap_does_not_fit(Capabilities { max_block_size_log: 8, ..CAPABLE }, 20, 8 * 256 + 1, None)]
fn the_client_takes_the_largest_sizes(
    #[case] common: Capabilities,
    #[case] client_mtu: u16,
    #[case] size: u32,
    #[case] chosen: Option<(u8, u16)>,
) {
    let sizes = choose_sizes(&common, client_mtu, size);
    assert_eq!(sizes.map(|sizes| (sizes.block_size_log, sizes.chunk_size)), chosen);
}

#[test]
fn what_two_servers_can_do_is_what_both_can() {
    let other = Capabilities {
        min_block_size_log: 10,
        max_block_size_log: 14,
        max_total_chunks: 100,
        max_chunk_size: 400,
        max_blob_size: 1,
        server_mtu: 50,
        push: true,
        pull: true,
    };
    let both = Capabilities {
        min_block_size_log: 10,
        max_block_size_log: 12,
        max_total_chunks: 100,
        max_chunk_size: 377,
        max_blob_size: 1,
        server_mtu: 50,
        push: true,
        pull: false,
    };
    assert_eq!((CAPABLE.common(other), other.common(CAPABLE)), (both, both));
}

/// A bitmap of `len` octets with these bits set.
fn bitmap(len: usize, numbers: &[u16]) -> Vec<u8> {
    let mut octets = std::vec![0; len];
    numbers.iter().for_each(|n| octets[usize::from(n / 8)] |= 1 << (n % 8));
    octets
}

#[rstest]
#[case(0x0000, &[0x00])]
#[case(0x007F, &[0x7F])]
#[case(0x0080, &[0xC2, 0x80])]
#[case(0x07FF, &[0xDF, 0xBF])]
#[case(0x0800, &[0xE0, 0xA0, 0x80])]
#[case::no_surrogates_here(0xD800, &[0xED, 0xA0, 0x80])]
#[case(0xFFFE, &[0xEF, 0xBF, 0xBE])]
fn a_chunk_number_takes_one_to_three_octets(#[case] number: u16, #[case] code: &[u8]) {
    let mut scratch = [0; 3];
    let octets = bitmap(8192, &[number]);
    let list = MissingChunks::encoded(&octets, u16::MAX, 9, &mut scratch);
    assert_eq!(list, MissingChunks::Encoded(code));
    assert!(list.iter(u16::MAX).eq([number]));
}

/// Zephyr switches to three octets at 0x8000: it sends two octets for 0x0800 to 0x7FFF, which say something else.
#[rstest]
#[case::continuation_first(&[0x80])]
#[case::overlong_two(&[0xC1, 0xBF])]
#[case::two_without_tail(&[0xC2])]
#[case::two_with_wrong_tail(&[0xC2, 0x40])]
#[case::overlong_three(&[0xE0, 0x9F, 0xBF])]
#[case::three_cut_short(&[0xE0, 0xA0])]
#[case::three_with_wrong_tail(&[0xE0, 0xA0, 0xC0])]
#[case::four_octet_code(&[0xF0, 0x90, 0x80, 0x80])]
#[case::zephyr_0x0800(&[0xE0, 0x80])]
fn malformed_codes_end_the_list(#[case] list: &[u8]) {
    assert_eq!(MissingChunks::Encoded(list).validate(u16::MAX), Err(MissingError::Malformed { offset: 0 }));
    assert_eq!(MissingChunks::Encoded(list).iter(u16::MAX).count(), 0);
}

#[rstest]
#[case::all(MissingChunks::All, Ok(()))]
#[case::none(MissingChunks::None, Ok(()))]
#[case::bitmap(MissingChunks::Bitmap(&[0xFF, 0x07]), Ok(()))]
#[case::bitmap_too_short(MissingChunks::Bitmap(&[0xFF]), Err(MissingError::BitmapLength { len: 1, chunk_count: 11 }))]
#[case::bitmap_too_long(MissingChunks::Bitmap(&[0, 0, 0]), Err(MissingError::BitmapLength { len: 3, chunk_count: 11 }))]
#[case::bit_11(MissingChunks::Bitmap(&[0, 0x08]), Err(MissingError::NoSuchChunk { number: 11, chunk_count: 11 }))]
#[case::bit_15(MissingChunks::Bitmap(&[0, 0x80]), Err(MissingError::NoSuchChunk { number: 15, chunk_count: 11 }))]
#[case::number_10(MissingChunks::Encoded(&[10]), Ok(()))]
#[case::number_11(MissingChunks::Encoded(&[11]), Err(MissingError::NoSuchChunk { number: 11, chunk_count: 11 }))]
#[case::not_ascending(MissingChunks::Encoded(&[3, 3]), Err(MissingError::Malformed { offset: 1 }))]
fn missing_chunks_have_to_fit_a_block_of_11(
    #[case] missing: MissingChunks<'_>,
    #[case] result: Result<(), MissingError>,
) {
    assert_eq!(missing.validate(11), result);
}

#[rstest]
#[case::none(&[], MissingFormat::None)]
#[case::one_is_shorter_than_two_octets(&[10], MissingFormat::Encoded)]
#[case::two_tie_and_the_bitmap_wins(&[9, 10], MissingFormat::Bitmap)]
#[case::ten(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], MissingFormat::Bitmap)]
#[case::eleven(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], MissingFormat::All)]
fn the_shortest_form_is_chosen(#[case] numbers: &[u16], #[case] format: MissingFormat) {
    let octets = bitmap(2, numbers);
    let mut scratch = [0; 32];
    let shortest = MissingChunks::shortest(&octets, 11, &mut scratch);
    assert_eq!(shortest.format(), format);
    assert!(shortest.iter(11).eq(numbers.iter().copied()));
}

#[test]
fn two_octet_numbers_count_when_the_shortest_form_is_chosen() {
    let mut scratch = [0; 512];
    let octets = bitmap(32, &(240..256).collect::<Vec<_>>());
    // 16 numbers of two octets: as long as the bitmap.
    assert_eq!(MissingChunks::shortest(&octets, 256, &mut scratch).format(), MissingFormat::Bitmap);
    let octets = bitmap(32, &(241..256).collect::<Vec<_>>());
    assert_eq!(MissingChunks::shortest(&octets, 256, &mut scratch).octets().len(), 30);
    assert_eq!(MissingChunks::shortest(&octets, 256, &mut [0; 8]).format(), MissingFormat::Bitmap);
}

proptest! {
    #[test]
    fn every_form_names_the_same_chunks(chunk_count in 1u16..3000, picks in proptest::collection::vec(any::<u16>(), 0..400)) {
        let numbers: std::collections::BTreeSet<u16> = picks.iter().map(|n| n % chunk_count).collect();
        let numbers: Vec<u16> = numbers.into_iter().collect();
        let octets = bitmap(usize::from(chunk_count).div_ceil(8), &numbers);
        let (mut scratch, mut list) = (std::vec![0; 9000], std::vec![0; 9000]);
        let shortest = MissingChunks::shortest(&octets, chunk_count, &mut scratch);
        let encoded = MissingChunks::encoded(&octets, chunk_count, usize::MAX, &mut list);
        for form in [shortest, encoded, MissingChunks::Bitmap(&octets)] {
            prop_assert_eq!(form.validate(chunk_count), Ok(()));
            prop_assert_eq!(form.iter(chunk_count).collect::<Vec<_>>(), numbers.clone());
            let mut added = std::vec![0; octets.len()];
            form.add_to(chunk_count, &mut added);
            prop_assert_eq!(&added, &octets);
            prop_assert!(shortest.octets().len() <= form.octets().len());
        }
    }

    #[test]
    fn any_list_is_read_or_refused(list in proptest::collection::vec(any::<u8>(), 0..30), chunk_count: u16) {
        let missing = MissingChunks::Encoded(&list);
        let numbers: Vec<u16> = missing.iter(chunk_count).collect();
        if missing.validate(chunk_count).is_ok() {
            prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        }
        prop_assert!(numbers.iter().all(|number| *number < chunk_count));
        let mut small = [0; 4];
        missing.add_to(chunk_count, &mut small);
    }

    #[test]
    fn blocks_and_chunks_cover_a_blob_without_gap_or_overlap(size in 1u32..200_000, log in 6u8..16, chunk_size in 8u16..378) {
        let mut next = 0;
        for block in 0..block_count(size, log).unwrap() as u16 {
            prop_assert_eq!(block_offset(size, log, block), Some(next));
            let len = block_len(size, log, block).unwrap();
            let chunks = chunk_count(len, chunk_size).unwrap();
            let sum: u32 = (0..chunks).map(|chunk| u32::from(chunk_len(len, chunk_size, chunk).unwrap())).sum();
            prop_assert_eq!(sum, len);
            prop_assert_eq!(chunk_len(len, chunk_size, chunks), None);
            next += len;
        }
        prop_assert_eq!(next, size);
    }
}
