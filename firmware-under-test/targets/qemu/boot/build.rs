//! The linker's memory map of the bootloader.

#[path = "../../memory_map.rs"]
mod memory_map;

use memory_map::{Board, Region, write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The last 16 octets of RAM are the bench's.
    write(Board::named("mk-node-emulated")?.boot(), Region { start: 0x2000_0000, length: 0x4_0000 - 16 }, "")
}
