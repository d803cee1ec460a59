//! A board's flash as octets on the host: as read by the probe, or as the emulated bench's own copy has it. What is found
//! in it is found by the forge's examiner and by the readers of the product's stores, always on this copy: a witness
//! changes nothing.

use fixture_images::VerifyingKey;
use hil_model::fact::{ConfigState, Fact, FlashUse, Moment};
use hil_model::{BankArea, BankState, Digest};
use mk_boot::geometry::{Geometry, Memory, Region, Slot};
use rack_witness::banks::{Seen, Shape};
use sha2::{Digest as _, Sha256};

use crate::snapshot::{FlashImage, Snapshot};

/// Write unit of internal flash.
const WORD: usize = 4;
/// Erase unit of all boards.
const PAGE: usize = FlashImage::PAGE;

/// The two memories of a board.
#[derive(Debug, Clone)]
pub struct FlashDump {
    table: &'static Geometry,
    copy: Snapshot,
}

/// A run of a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Which memory.
    pub memory: Memory,
    /// Where in it.
    pub region: Region,
}

impl FlashDump {
    /// A blank part.
    #[must_use]
    pub fn blank(table: &'static Geometry) -> Self {
        Self { table, copy: Snapshot::erased(table) }
    }

    /// What a snapshot of the banks needs to read.
    #[must_use]
    pub fn stretches(table: &'static Geometry) -> Vec<Stretch> {
        let internal = [table.journal, table.bank_a, table.config];
        let external = table.slots;
        let of = |memory| move |region| Stretch { memory, region };
        internal.into_iter().map(of(Memory::Internal)).chain(external.into_iter().map(of(Memory::External))).collect()
    }

    /// Puts octets in their place; what lies outside the part is left out.
    pub fn put(&mut self, memory: Memory, address: u32, octets: &[u8]) {
        let size = match memory {
            Memory::Internal => self.table.internal_size(),
            Memory::External => self.table.external_size(),
        };
        let room = size.saturating_sub(address) as usize;
        let octets = octets.get(..room.min(octets.len())).unwrap_or_default();
        // What is left lies inside.
        let _inside = self.copy.load(memory, address, octets);
    }

    /// The octets of a region; nothing for one outside the part.
    #[must_use]
    pub fn region(&self, memory: Memory, region: Region) -> &[u8] {
        let flash = match memory {
            Memory::Internal => &self.copy.internal_flash,
            Memory::External => &self.copy.external_flash,
        };
        flash.get(region.start, region.length).unwrap_or_default()
    }

    /// Where an area lies. Which slot is staging and which golden, the journal says.
    ///
    /// # Errors
    /// The journal cannot be read, or there is no golden slot.
    pub fn area(&self, area: BankArea) -> Result<Stretch, String> {
        let slot = |slot: Slot| Stretch { memory: Memory::External, region: self.table.slot(slot) };
        let internal = |region| Stretch { memory: Memory::Internal, region };
        let status = || {
            let mut copy = self.copy.clone();
            mk_boot::update::status(&mut copy).map_err(|e| format!("the boot journal cannot be read: {e}"))
        };
        Ok(match area {
            BankArea::A => internal(self.table.bank_a),
            BankArea::Config => internal(self.table.config),
            BankArea::Journal => internal(self.table.journal),
            BankArea::Slot0 => slot(Slot::Zero),
            BankArea::Slot1 => slot(Slot::One),
            BankArea::Staging => slot(status()?.staging),
            BankArea::Golden => slot(status()?.golden.ok_or("there is no golden slot")?),
        })
    }

    /// What the examiner finds in bank A.
    #[must_use]
    pub fn bank_a(&self, key: Option<&VerifyingKey>) -> Seen {
        Seen::of(self.region(Memory::Internal, self.table.bank_a), Shape::BankA, self.table.trailer_length, key)
    }

    fn slot(&self, slot: Slot, key: Option<&VerifyingKey>) -> BankState {
        let octets = self.region(Memory::External, self.table.slot(slot));
        Seen::of(octets, Shape::Slot, self.table.trailer_length, key).state
    }

    /// The confirmed configuration.
    #[must_use]
    pub fn config(&self) -> ConfigState {
        let mut copy = self.copy.internal_flash.clone();
        match mk_node::config::read_state(&mut copy, self.table.config) {
            Ok(Some(state)) => ConfigState {
                version: Some(state.schema),
                settings: state.user.map(|user| {
                    let mut octets = user.address.to_le_bytes().to_vec();
                    octets.push(user.level);
                    Digest(Sha256::digest(octets).into())
                }),
            },
            Ok(None) | Err(_) => ConfigState { version: None, settings: None },
        }
    }

    /// All banks as a fact. Use of the flash is what differs from `before`, word by word and page by page: a write that
    /// leaves the octets as they were does not show.
    #[must_use]
    pub fn banks(&self, moment: Moment, before: Option<&Self>, key: Option<&VerifyingKey>) -> Fact {
        let used = |memory, region| before.map_or_else(FlashUse::default, |before| self.used(before, memory, region));
        Fact::Banks {
            moment,
            a: self.bank_a(key).state,
            slot0: self.slot(Slot::Zero, key),
            slot1: self.slot(Slot::One, key),
            config: self.config(),
            use_a: used(Memory::Internal, self.table.bank_a),
            use_slot0: used(Memory::External, self.table.slot(Slot::Zero)),
            use_slot1: used(Memory::External, self.table.slot(Slot::One)),
            use_config: used(Memory::Internal, self.table.config),
        }
    }

    fn used(&self, before: &Self, memory: Memory, region: Region) -> FlashUse {
        let (now, then) = (self.region(memory, region), before.region(memory, region));
        let mut used = FlashUse::default();
        for (now, then) in now.chunks(PAGE).zip(then.chunks(PAGE)).filter(|(now, then)| now != then) {
            let words = now.chunks(WORD).zip(then.chunks(WORD));
            // A bit that became 1 was erased first.
            let erased = now.iter().zip(then).any(|(now, then)| now & !then != 0);
            used.erases += u64::from(erased);
            used.words += words.filter(|(now, then)| now != then).count() as u64;
        }
        used
    }
}
