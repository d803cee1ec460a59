//! A board's flash as the probe read it, behind the interfaces that the firmware's own readers take: what the journal, the
//! slots and the configuration say is found with the code that wrote them, on a copy.
//!
//! Octets that were not read are erased octets. Nothing here reaches a board.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use mk_boot::geometry::{Geometry, Memory};
use mk_boot::hardware::{ConfigVersion, Hardware, KeyStore, PublicKey};

/// A copy of one flash memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlashImage {
    octets: Vec<u8>,
}

/// An access outside the memory, or one that no flash does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAccess(NorFlashErrorKind);

impl NorFlashError for BadAccess {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

impl FlashImage {
    /// Erase unit of every board there is, octets.
    pub const PAGE: usize = 4_096;

    /// An erased memory.
    #[must_use]
    pub fn erased(size: u32) -> Self {
        Self { octets: vec![0xFF; size as usize] }
    }

    /// All octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// A run of octets; `None` outside the memory.
    #[must_use]
    pub fn get(&self, start: u32, length: u32) -> Option<&[u8]> {
        self.octets.get(start as usize..(start as usize).checked_add(length as usize)?)
    }

    /// Puts octets as they are, without erasing. `false` outside the memory.
    #[must_use]
    pub fn load(&mut self, start: u32, octets: &[u8]) -> bool {
        let end = (start as usize).saturating_add(octets.len());
        match self.octets.get_mut(start as usize..end) {
            Some(place) => {
                place.copy_from_slice(octets);
                true
            }
            None => false,
        }
    }

    fn range(&mut self, start: u32, length: usize) -> Result<&mut [u8], BadAccess> {
        let end = (start as usize).saturating_add(length);
        self.octets.get_mut(start as usize..end).ok_or(BadAccess(NorFlashErrorKind::OutOfBounds))
    }
}

impl ErrorType for FlashImage {
    type Error = BadAccess;
}

impl ReadNorFlash for FlashImage {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), BadAccess> {
        bytes.copy_from_slice(self.range(offset, bytes.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.octets.len()
    }
}

impl NorFlash for FlashImage {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = Self::PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), BadAccess> {
        let page = Self::PAGE as u32;
        if !from.is_multiple_of(page) || !to.is_multiple_of(page) || to < from {
            return Err(BadAccess(NorFlashErrorKind::NotAligned));
        }
        self.range(from, (to - from) as usize)?.fill(0xFF);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), BadAccess> {
        if !offset.is_multiple_of(4) || !bytes.len().is_multiple_of(4) {
            return Err(BadAccess(NorFlashErrorKind::NotAligned));
        }
        for (cell, octet) in self.range(offset, bytes.len())?.iter_mut().zip(bytes) {
            *cell &= octet;
        }
        Ok(())
    }
}

/// A copy of a board: both memories and the provisioned key.
#[derive(Debug, Clone)]
pub struct Snapshot {
    geometry: &'static Geometry,
    /// Internal flash, absolute addresses.
    pub internal_flash: FlashImage,
    /// External flash, from its start.
    pub external_flash: FlashImage,
}

impl Snapshot {
    /// A board whose flash is erased.
    #[must_use]
    pub fn erased(geometry: &'static Geometry) -> Self {
        Self {
            geometry,
            internal_flash: FlashImage::erased(geometry.internal_size()),
            external_flash: FlashImage::erased(geometry.external_size()),
        }
    }

    /// Puts what was read where it was read from. `false` outside the memory.
    #[must_use]
    pub fn load(&mut self, memory: Memory, start: u32, octets: &[u8]) -> bool {
        match memory {
            Memory::Internal => self.internal_flash.load(start, octets),
            Memory::External => self.external_flash.load(start, octets),
        }
    }
}

impl KeyStore for Snapshot {
    fn key(&mut self) -> Option<PublicKey> {
        let page = self.internal_flash.get(self.geometry.key_page.start, 65)?;
        let key: [u8; 65] = page.try_into().ok()?;
        (key[0] == 0x04).then_some(PublicKey(key))
    }
}

impl ConfigVersion for Snapshot {
    fn config_version(&mut self) -> Option<u16> {
        mk_node::config::stored_version(&mut self.internal_flash, self.geometry.config)
    }
}

impl Hardware for Snapshot {
    type Internal = FlashImage;
    type External = FlashImage;

    fn geometry(&self) -> &'static Geometry {
        self.geometry
    }

    fn internal(&mut self) -> &mut FlashImage {
        &mut self.internal_flash
    }

    fn external(&mut self) -> &mut FlashImage {
        &mut self.external_flash
    }

    fn feed_watchdog(&mut self) {}
}
