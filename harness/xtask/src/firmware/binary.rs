//! An ELF file as the octets that go into flash.

use object::read::elf::{ElfFile32, ProgramHeader};
use std::path::Path;

/// Where RAM begins on every Cortex-M.
const RAM: u32 = 0x2000_0000;
/// What erased flash holds.
const ERASED: u8 = 0xFF;

/// What a linked program puts into flash and takes of RAM.
pub struct Binary {
    /// Where it begins in flash.
    pub address: u32,
    /// Its octets in flash.
    pub octets: Vec<u8>,
    /// Octets of RAM for its statics. The stack comes on top.
    pub ram: u32,
}

impl Binary {
    /// Reads an ELF file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        let file = std::fs::read(path).map_err(|error| failed(&error))?;
        let elf = ElfFile32::<object::Endianness>::parse(&*file).map_err(|error| failed(&error))?;
        let endian = elf.endian();
        let mut segments = Vec::new();
        let mut ram = 0;
        for header in elf.elf_program_headers() {
            if header.p_type(endian) != object::elf::PT_LOAD {
                continue;
            }
            if header.p_vaddr(endian) >= RAM {
                ram += header.p_memsz(endian);
            }
            let data = header.data(endian, &*file).map_err(|()| failed(&"a segment lies outside the file"))?;
            if !data.is_empty() {
                segments.push((header.p_paddr(endian), data));
            }
        }
        segments.sort_by_key(|(address, _)| *address);
        let Some((address, _)) = segments.first().copied() else { return Err(failed(&"nothing to put into flash")) };
        let mut octets = Vec::new();
        for (at, data) in segments {
            let gap = (at - address) as usize;
            if gap < octets.len() || gap > 0x80_0000 {
                return Err(failed(&format_args!(
                    "the segment at {at:#x} overlaps another, or is far from all others"
                )));
            }
            octets.resize(gap, ERASED);
            octets.extend_from_slice(data);
        }
        // An image is a whole number of words.
        octets.resize(octets.len().next_multiple_of(4), ERASED);
        Ok(Self { address, octets, ram })
    }
}
