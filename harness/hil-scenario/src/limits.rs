//! How long a board may take: install and boot times from the board table's flash timing, not drawn from anywhere.

use crate::plan::Limits;
use fixture_images::Board;
use hil_model::Span;
use serde::Deserialize;

/// Board tables with the entries that the forge does not need.
const TABLES: [(&str, &str); 2] = [
    ("mk-node-s140", include_str!("../../../firmware-under-test/boards/mk-node-s140.toml")),
    ("mk-node-emulated", include_str!("../../../firmware-under-test/boards/mk-node-emulated.toml")),
];

#[derive(Debug, Deserialize)]
struct Table {
    timing: Timing,
}

#[derive(Debug, Deserialize)]
struct Timing {
    internal: FlashTiming,
}

/// Times of the internal flash in microseconds, for a page erase and for a write of `write_unit` octets.
#[derive(Debug, Clone, Copy, Deserialize)]
struct FlashTiming {
    erase_us: u64,
    write_us: u64,
    write_unit: u64,
}

/// An install may need a second pass over every page (boot sheet, section 1).
const PASSES: u64 = 2;
/// Hashes of three areas of a full bank and as many signature checks, each within the 1.6 s of the radio model's
/// section 9, with as much again for the way into and out of the bootloader.
const BOOT: Span = Span::secs(10);

/// The limits of a board for images of `size` octets.
///
/// # Errors
/// There is no table for the board, or it has no flash timing.
pub fn of_board(board: &Board, size: u32, grace: Span) -> Result<Limits, String> {
    let name = &board.name;
    let table = TABLES.iter().find(|(known, _)| known == name).ok_or_else(|| format!("no board is called {name}"))?;
    let table: Table = toml::from_str(table.1).map_err(|error| format!("board table {name}: {error}"))?;
    let FlashTiming { erase_us, write_us, write_unit } = table.timing.internal;
    let page = u64::from(board.page_size).max(1);
    let writes = page.div_ceil(write_unit.max(1));
    // The trailer page comes on top of the payload's.
    let pages = u64::from(size).div_ceil(page) + 1;
    let install = Span::micros((erase_us + writes * write_us) * pages * PASSES);
    Ok(Limits { grace, install, boot: BOOT })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn half_a_mebibyte_installs_in_a_third_of_a_minute_per_pass() {
        let limits = of_board(&Board::mk_node_s140(), 512 * 1024, Span::secs(120)).unwrap();
        // 129 pages of 85 ms and 1,024 words of 41 us, twice.
        assert_eq!(limits.install, Span::micros(129 * (85_000 + 1_024 * 41) * 2));
        assert!(limits.back_on_old_image() > limits.grace + limits.install);
    }

    #[test]
    fn every_board_of_the_forge_has_its_times() {
        for name in Board::names() {
            let board = Board::named(name).unwrap();
            assert!(of_board(&board, 65_536, Span::ZERO).is_ok(), "{name}");
        }
    }
}
