//! The forge and the bootloader read the board tables each for itself; here both readings are laid side by side.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use fixture_images::Board;
use mk_boot::geometry;

#[test]
fn forge_and_bootloader_read_the_same_boards() {
    assert_eq!(Board::names().count(), geometry::BOARDS.len());
    for name in Board::names() {
        let (forge, boot) = (Board::named(name).unwrap(), geometry::by_name(name).unwrap());
        let region = |r: fixture_images::boards::Region| (r.start, r.length);
        let area = |r: geometry::Region| (r.start, r.length);
        assert_eq!(forge.hardware_id, boot.hardware_id);
        assert_eq!((forge.page_size, forge.trailer_length), (boot.page_size, boot.trailer_length));
        assert_eq!(forge.execution_address, boot.execution_address);
        assert_eq!(region(forge.bank_a), area(boot.bank_a));
        assert_eq!(forge.slots.map(region), boot.slots.map(area));
    }
}
