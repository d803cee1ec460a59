//! How long a board may take: install and boot times from the board table's flash timing, not drawn from anywhere.

use crate::plan::Limits;
use fixture_images::Board;
use fixture_images::boards::FlashTiming;
use hil_model::Span;

/// An install may need a second pass over every page (boot sheet, section 1).
const PASSES: u64 = 2;
/// Hashes of three areas of a full bank and as many signature checks, each within the 1.6 s of the radio model's
/// section 9, with as much again for the way into and out of the bootloader.
const BOOT: Span = Span::secs(10);

/// The limits of a board for images of `size` octets.
#[must_use]
pub fn of_board(board: &Board, size: u32, grace: Span) -> Limits {
    let FlashTiming { erase_us, write_us, write_unit } = board.timing.internal;
    let page = u64::from(board.page_size).max(1);
    let writes = page.div_ceil(write_unit.max(1));
    // The trailer page comes on top of the payload's.
    let pages = u64::from(size).div_ceil(page) + 1;
    let install = Span::micros((erase_us + writes * write_us) * pages * PASSES);
    Limits { grace, install, boot: BOOT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_mebibyte_installs_in_a_third_of_a_minute_per_pass() {
        let limits = of_board(&Board::mk_node_s140(), 512 * 1024, Span::secs(120));
        // 129 pages of 85 ms and 1,024 words of 41 us, twice.
        assert_eq!(limits.install, Span::micros(129 * (85_000 + 1_024 * 41) * 2));
        assert!(limits.back_on_old_image() > limits.grace + limits.install);
    }
}
