//! How the config region is divided: the record store, the mirror of the confirmed configuration, and the page of the
//! transfer's progress.
//!
//! The record store is `sequential-storage` in its ring of pages. When power fails while it erases the oldest page, and the
//! erase leaves both page markers standing over garbled records (some bits of a page erase before others), the library
//! takes the page for whole and erases the copies it had made of it. What it loses then must not be the configuration, so
//! the confirmed record has a second home in a ring of its own. One power cut can tear only one of the two.

use mk_boot::geometry::Region;

/// Pages of the record store at most. A record is found by looking through them, so more would cost time and buy nothing:
/// eight pages hold some hundred records between two erases of the same page.
const MAX_RECORD_PAGES: u32 = 8;
/// Pages of the mirror, and of the record store at least: with three the page after the one in use is another than the one
/// before it, which tells a torn erase from a page in use.
pub(super) const MIN_RING_PAGES: u32 = 3;

/// The parts of a board's config region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigLayout {
    /// The record store: the first pages, at most eight.
    pub records: Region,
    /// The mirror of the confirmed configuration: the three pages before the last.
    pub mirror: Region,
    /// Which blocks of a transfer are staged: the last page.
    pub progress: Region,
}

impl ConfigLayout {
    /// The parts of `config`, which has at least seven pages of `page_size`; with fewer, opening a store refuses.
    #[must_use]
    pub const fn new(config: Region, page_size: u32) -> Self {
        let pages = config.length / page_size;
        let records = pages.saturating_sub(MIN_RING_PAGES + 1);
        let records = if records < MAX_RECORD_PAGES { records } else { MAX_RECORD_PAGES };
        let progress = config.start + pages.saturating_sub(1) * page_size;
        let mirror = config.start + pages.saturating_sub(MIN_RING_PAGES + 1) * page_size;
        ConfigLayout {
            records: Region { start: config.start, length: records * page_size },
            mirror: Region { start: mirror, length: MIN_RING_PAGES * page_size },
            progress: Region { start: progress, length: page_size },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::seven_pages(7, 3)]
    #[case::eight_pages(8, 4)]
    #[case::eleven_pages(11, 7)]
    #[case::twelve_pages(12, 8)]
    #[case::many(49, 8)]
    fn records_mirror_and_progress_share_the_region_without_touching(#[case] pages: u32, #[case] records: u32) {
        let config = Region { start: 0x1000, length: pages * 0x1000 };
        let layout = ConfigLayout::new(config, 0x1000);
        assert_eq!(layout.records, Region { start: 0x1000, length: records * 0x1000 });
        assert!(layout.records.end() <= layout.mirror.start);
        assert_eq!((layout.mirror.end(), layout.mirror.length), (layout.progress.start, 0x3000));
        assert_eq!((layout.progress.end(), layout.progress.length), (config.end(), 0x1000));
    }
}
