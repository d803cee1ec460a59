//! How the config region is divided: pages of the record store, and the page of the transfer's progress at its end.

use mk_boot::geometry::Region;

/// Pages of the record store at most. A record is found by looking through them, so more would cost time and buy nothing:
/// eight pages hold some hundred records between two erases of the same page.
const MAX_MAP_PAGES: u32 = 8;

/// The pages of the record store: the first of the region, at most eight, never the last one.
#[must_use]
pub const fn map_region(config: Region, page_size: u32) -> Region {
    let pages = (config.length / page_size).saturating_sub(1);
    let pages = if pages < MAX_MAP_PAGES { pages } else { MAX_MAP_PAGES };
    Region { start: config.start, length: pages * page_size }
}

/// The page that says which blocks of a transfer are staged: the last of the region.
#[must_use]
pub const fn progress_page(config: Region, page_size: u32) -> Region {
    Region { start: config.start + config.length.saturating_sub(page_size), length: page_size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::three_pages(3, 2)]
    #[case::eight_pages(8, 7)]
    #[case::nine_pages(9, 8)]
    #[case::many(49, 8)]
    fn the_store_takes_at_most_eight_pages_and_leaves_the_last(#[case] pages: u32, #[case] map: u32) {
        let config = Region { start: 0x1000, length: pages * 0x1000 };
        assert_eq!(map_region(config, 0x1000), Region { start: 0x1000, length: map * 0x1000 });
        let progress = progress_page(config, 0x1000);
        assert_eq!((progress.end(), progress.length), (config.end(), 0x1000));
        assert!(map_region(config, 0x1000).end() <= progress.start);
    }
}
