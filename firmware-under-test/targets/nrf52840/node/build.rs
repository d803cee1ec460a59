//! The linker's memory map of the application.

#[path = "../../memory_map.rs"]
mod memory_map;

use memory_map::{Board, Region, build_record, write};

/// RAM of the SoftDevice. Depends on its configuration; it says at its start when this is too little. To be read off a board.
const SOFTDEVICE_RAM: u32 = 0x3000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ram = Region { start: 0x2000_0000 + SOFTDEVICE_RAM, length: 0x4_0000 - SOFTDEVICE_RAM };
    write(Board::named("mk-node-s140")?.application(), ram, &build_record())
}
