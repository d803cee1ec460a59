//! The linker's memory map of the bootloader.

#[path = "../../memory_map.rs"]
mod memory_map;

use memory_map::{Board, Region, write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The first eight octets of RAM are the master boot record's.
    write(Board::named("mk-node-s140")?.boot(), Region { start: 0x2000_0008, length: 0x4_0000 - 8 }, "")
}
