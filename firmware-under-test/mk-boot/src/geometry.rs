//! Where everything lies in a board's two flash memories: one table per board, from `firmware-under-test/boards/*.toml`.
//!
//! Data only. Refuses nothing itself: the build script refuses a table whose regions overlap or are not aligned.

/// A run of whole pages in one memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address, in octets.
    pub start: u32,
    /// Length in octets.
    pub length: u32,
}

impl Region {
    /// First address after the region.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.start + self.length
    }

    /// Whether `address` lies in the region.
    #[must_use]
    pub const fn contains(&self, address: u32) -> bool {
        address >= self.start && address - self.start < self.length
    }
}

/// How long a flash part takes, from its data sheet (design, section 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlashTiming {
    /// Erasing one page or sector, in microseconds.
    pub erase_us: u32,
    /// Programming one write unit, in microseconds.
    pub write_us: u32,
    /// Octets that one programming operation covers: a word of internal flash, a page of QSPI flash.
    pub write_unit: u32,
}

/// One of the two slots on external flash. Which is *staging* and which *golden*, the journal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The first slot.
    Zero,
    /// The second slot.
    One,
}

impl Slot {
    /// Both slots, in order.
    pub const ALL: [Self; 2] = [Self::Zero, Self::One];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Zero => 0,
            Self::One => 1,
        }
    }
}

/// A place that can hold an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Bank A: the only place code runs from. Payload first, header and TLVs in the trailer page (see [`crate::layout`]).
    BankA,
    /// A slot: the file as it was signed, from its first octet.
    Slot(Slot),
}

/// Which of the two memories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The flash the core executes from.
    Internal,
    /// The QSPI flash.
    External,
}

/// A board's table. Internal addresses are absolute, slot addresses count from the start of the external flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The board's name, as in its file name.
    pub name: &'static str,
    /// What an image's hardware id TLV must say to run here.
    pub hardware_id: u32,
    /// Erase unit of both memories, in octets; at most [`MAX_PAGE_SIZE`].
    pub page_size: u32,
    /// Write unit of the internal flash, in octets.
    pub word_size: u32,
    /// Length of an image's padded header, in octets. The trailer holds it before the TLVs.
    pub header_size: u32,
    /// Length of the trailer at the end of bank A, in octets: whole pages.
    pub trailer_length: u32,
    /// Where the core finds the first octet of bank A: the vector table of the running image.
    pub execution_address: u32,
    /// Bank A, internal.
    pub bank_a: Region,
    /// Application data and configuration, internal. Boot reads it only through [`crate::hardware::ConfigVersion`].
    pub config: Region,
    /// The bootloader's own code, internal.
    pub bootloader: Region,
    /// Two journal pages, internal.
    pub journal: Region,
    /// The page of the release public key, internal, never written by firmware.
    pub key_page: Region,
    /// Who the node is (`mk_wire::identity`): a page of internal flash, never written by firmware.
    pub identity: Region,
    /// Two pages of internal flash for sequence numbers and IV index of the mesh stack. Boot leaves them alone.
    pub sequence: Region,
    /// Two pages of internal flash in which the bootloader counts its starts (`mk-app`).
    pub boot_count: Region,
    /// The two slots, external.
    pub slots: [Region; 2],
    /// Timing of the internal flash.
    pub internal_timing: FlashTiming,
    /// Timing of the external flash.
    pub external_timing: FlashTiming,
}

/// Largest page size a board may have, in octets: the engine's copy buffer.
pub const MAX_PAGE_SIZE: usize = 4096;

impl Geometry {
    /// The trailer: the end of bank A, with the header at its start and the TLVs right behind it.
    #[must_use]
    pub const fn trailer(&self) -> Region {
        Region { start: self.bank_a.end() - self.trailer_length, length: self.trailer_length }
    }

    /// Largest payload that bank A takes, in octets: everything before the trailer.
    #[must_use]
    pub const fn max_payload(&self) -> u32 {
        self.bank_a.length - self.trailer_length
    }

    /// Room for both TLV areas together, in octets.
    #[must_use]
    pub const fn max_tlvs(&self) -> u32 {
        self.trailer_length - self.header_size
    }

    /// Where a slot lies on the external flash.
    #[must_use]
    pub const fn slot(&self, slot: Slot) -> Region {
        match slot {
            Slot::Zero => self.slots[0],
            Slot::One => self.slots[1],
        }
    }

    /// Octets of internal flash that the table speaks of: the size a simulated part needs.
    #[must_use]
    pub fn internal_size(&self) -> u32 {
        [
            self.bank_a,
            self.config,
            self.bootloader,
            self.journal,
            self.key_page,
            self.identity,
            self.sequence,
            self.boot_count,
        ]
        .iter()
        .map(Region::end)
        .fold(0, u32::max)
    }

    /// Octets of external flash that the table speaks of.
    #[must_use]
    pub fn external_size(&self) -> u32 {
        self.slots.iter().map(Region::end).fold(0, u32::max)
    }
}

include!(concat!(env!("OUT_DIR"), "/boards.rs"));

/// The board of that name, if there is one.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Geometry> {
    BOARDS.iter().copied().find(|board| board.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_s140_table_is_the_one_of_the_design() {
        let board = by_name("mk-node-s140").expect("the default board has a table");
        assert_eq!((board.bank_a.start, board.bank_a.end()), (0x27000, 0xB7000));
        assert_eq!((board.config.start, board.config.end()), (0xB7000, 0xE4000));
        assert_eq!(board.trailer(), Region { start: 0xB6000, length: 0x1000 });
        assert_eq!(board.max_payload(), 575 * 1024 - 3 * 1024);
    }

    #[test]
    fn a_board_nobody_described_is_not_found() {
        assert_eq!(by_name("mk-node-s999"), None);
    }

    #[test]
    fn a_region_contains_its_first_and_last_octet_and_nothing_beyond() {
        let region = Region { start: 0x1000, length: 0x1000 };
        assert!(region.contains(0x1000) && region.contains(0x1FFF));
        assert!(!region.contains(0xFFF) && !region.contains(0x2000));
    }
}
