//! The linker's memory map of the application.

#[path = "../../memory_map.rs"]
mod memory_map;

use memory_map::{Board, Region, build_record, write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The last 16 octets of RAM are the bench's.
    let ram = Region { start: 0x2000_0000, length: 0x4_0000 - 16 };
    write(Board::named("mk-node-emulated")?.application(), ram, &build_record())
}
