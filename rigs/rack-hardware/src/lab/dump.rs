//! A board's flash as octets on the host: as read by the probe, or as the emulated bench's own copy has it. What is found
//! in it is found by the forge's examiner and by the readers of the product's stores, always on this copy: a witness
//! changes nothing.

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use fixture_images::VerifyingKey;
use hil_model::fact::{ConfigState, Fact, FlashUse, Moment};
use hil_model::{BankArea, BankState, Digest};
use mk_boot::geometry::{Geometry, Memory, Region, Slot};
use mk_boot::hardware::{ConfigVersion, Hardware, KeyStore, PublicKey};
use rack_witness::banks::{Seen, Shape};
use sha2::{Digest as _, Sha256};

/// Write unit of the copy's internal flash; a copy is never written, but its type has to say.
const WORD: usize = 4;
/// Erase unit of all boards.
const PAGE: usize = 0x1000;

/// The two memories of a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlashDump {
    table: &'static Geometry,
    internal: Vec<u8>,
    external: Vec<u8>,
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
        Self {
            table,
            internal: vec![0xFF; table.internal_size() as usize],
            external: vec![0xFF; table.external_size() as usize],
        }
    }

    /// What a snapshot of the banks needs to read.
    #[must_use]
    pub fn stretches(table: &'static Geometry) -> Vec<Stretch> {
        let internal = [table.journal, table.bank_a, table.config];
        let external = table.slots;
        let of = |memory| move |region| Stretch { memory, region };
        internal.into_iter().map(of(Memory::Internal)).chain(external.into_iter().map(of(Memory::External))).collect()
    }

    /// The whole of a memory, as far as the table speaks of it.
    #[must_use]
    pub fn whole(table: &Geometry, memory: Memory) -> Region {
        let length = match memory {
            Memory::Internal => table.internal_size(),
            Memory::External => table.external_size(),
        };
        Region { start: 0, length }
    }

    /// Where this flash differs from `other`, as runs to write: differences closer than `gap` octets go together.
    #[must_use]
    pub fn differences(&self, other: &Self, memory: Memory, gap: usize) -> Vec<(u32, Vec<u8>)> {
        let whole = Self::whole(self.table, memory);
        let (shall, is) = (self.region(memory, whole), other.region(memory, whole));
        let mut runs: Vec<core::ops::Range<usize>> = Vec::new();
        for (n, _) in shall.chunks(PAGE).zip(is.chunks(PAGE)).enumerate().filter(|(_, (shall, is))| shall != is) {
            let page = n * PAGE..((n + 1) * PAGE).min(shall.len());
            match runs.last_mut() {
                Some(last) if page.start - last.end < gap => last.end = page.end,
                Some(_) | None => runs.push(page),
            }
        }
        runs.into_iter().map(|run| (run.start as u32, shall.get(run).unwrap_or_default().to_vec())).collect()
    }

    /// Puts octets in their place; what lies outside the part is left out.
    pub fn put(&mut self, memory: Memory, address: u32, octets: &[u8]) {
        let flash = match memory {
            Memory::Internal => &mut self.internal,
            Memory::External => &mut self.external,
        };
        let start = address as usize;
        let end = (start + octets.len()).min(flash.len());
        if let Some(place) = flash.get_mut(start..end) {
            place.copy_from_slice(&octets[..place.len()]);
        }
    }

    /// The octets of a region; nothing for one outside the part.
    #[must_use]
    pub fn region(&self, memory: Memory, region: Region) -> &[u8] {
        let flash = match memory {
            Memory::Internal => &self.internal,
            Memory::External => &self.external,
        };
        flash.get(region.start as usize..region.end() as usize).unwrap_or_default()
    }

    /// Where an area lies. Which slot is staging and which golden, the journal says.
    ///
    /// # Errors
    /// The journal cannot be read, or there is no golden slot.
    pub fn area(&self, area: BankArea) -> Result<Stretch, String> {
        let slot = |slot: Slot| Stretch { memory: Memory::External, region: self.table.slot(slot) };
        let internal = |region| Stretch { memory: Memory::Internal, region };
        let status = || {
            let mut copy = Copy::of(self);
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
        let mut copy = Ram::<WORD>(self.internal.clone());
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

/// RAM that looks like flash with `WRITE`-octet words.
struct Ram<const WRITE: usize>(Vec<u8>);

/// A copy of a board for the readers of the product's own stores.
struct Copy {
    table: &'static Geometry,
    internal: Ram<WORD>,
    external: Ram<WORD>,
}

impl Copy {
    fn of(dump: &FlashDump) -> Self {
        Self { table: dump.table, internal: Ram(dump.internal.clone()), external: Ram(dump.external.clone()) }
    }
}

/// Outside of the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfBounds;

impl embedded_storage::nor_flash::NorFlashError for OutOfBounds {
    fn kind(&self) -> embedded_storage::nor_flash::NorFlashErrorKind {
        embedded_storage::nor_flash::NorFlashErrorKind::OutOfBounds
    }
}

impl<const WRITE: usize> ErrorType for Ram<WRITE> {
    type Error = OutOfBounds;
}

impl<const WRITE: usize> ReadNorFlash for Ram<WRITE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        let start = offset as usize;
        let from = self.0.get(start..start + bytes.len()).ok_or(OutOfBounds)?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl<const WRITE: usize> NorFlash for Ram<WRITE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), OutOfBounds> {
        self.0.get_mut(from as usize..to as usize).ok_or(OutOfBounds)?.fill(0xFF);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let start = offset as usize;
        let place = self.0.get_mut(start..start + bytes.len()).ok_or(OutOfBounds)?;
        place.iter_mut().zip(bytes).for_each(|(cell, octet)| *cell &= octet);
        Ok(())
    }
}

impl KeyStore for Copy {
    fn key(&mut self) -> Option<PublicKey> {
        let octets: [u8; 65] = self.internal.0.get(self.table.key_page.start as usize..)?.first_chunk().copied()?;
        Some(PublicKey(octets))
    }
}

impl ConfigVersion for Copy {
    fn config_version(&mut self) -> Option<u16> {
        None
    }
}

impl Hardware for Copy {
    type Internal = Ram<WORD>;
    type External = Ram<WORD>;

    fn geometry(&self) -> &'static Geometry {
        self.table
    }

    fn internal(&mut self) -> &mut Self::Internal {
        &mut self.internal
    }

    fn external(&mut self) -> &mut Self::External {
        &mut self.external
    }

    fn feed_watchdog(&mut self) {}
}

/// Octets of a configuration partition that holds `fields` and nothing else.
///
/// # Errors
/// The fields do not fit.
pub fn provisioned_config(table: &'static Geometry, fields: &mk_node::config::Config) -> Result<Vec<u8>, String> {
    let mut blank = Ram::<WORD>(vec![0xFF; table.internal_size() as usize]);
    mk_node::config::provision(&mut blank, table.config, fields).map_err(|error| error.to_string())?;
    let region = table.config;
    Ok(blank.0.get(region.start as usize..region.end() as usize).unwrap_or_default().to_vec())
}

