//! What a board gives the bootloader: two flash memories, a key, a watchdog. The only thing a target implements.
//!
//! Nothing here knows registers, and nothing here decides: [`crate::boot()`] asks, the board answers. A board with a hash or
//! signature accelerator overrides [`Hardware::sha256`] and [`Hardware::verify_p256`]; the others inherit the software of
//! [`crate::crypto`].

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};

use crate::{
    crypto,
    geometry::{Geometry, Memory},
};

/// A P-256 public key: 65 octets, SEC1, uncompressed (0x04, x, y). Not yet known to be a point of the curve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 65]);

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Enough to tell two keys apart in a log.
        write!(formatter, "PublicKey({:02x}{:02x}{:02x}{:02x}..)", self.0[1], self.0[2], self.0[3], self.0[4])
    }
}

/// Where the release public key comes from: a locked flash page, a key unit, a secure world. It needs integrity, not
/// secrecy.
pub trait KeyStore {
    /// The provisioned key; `None` on a board that never got one, which then refuses every image.
    fn key(&mut self) -> Option<PublicKey>;
}

/// Who knows the version of the stored configuration. Boot only reads it (design, section 5.3).
pub trait ConfigVersion {
    /// Version of the configuration that the confirmed image works with. During a trial that is still the old one: a
    /// migration writes its result beside it, and the old one goes at confirmation. `None`: nothing is stored yet.
    fn config_version(&mut self) -> Option<u16>;
}

/// A run of octets in one memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Which memory.
    pub memory: Memory,
    /// First address.
    pub address: u32,
    /// Length in octets.
    pub length: u32,
}

/// What the flash was asked to do when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashOperation {
    /// Reading.
    Read,
    /// Writing words.
    Write,
    /// Erasing a page.
    Erase,
}

/// A flash memory that did not do what it was told, or that reads back something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation:?} at {address:#x} of the {memory:?} flash failed")]
pub struct FlashFault {
    /// Which memory.
    pub memory: Memory,
    /// What it was doing.
    pub operation: FlashOperation,
    /// Where: the first address of the call.
    pub address: u32,
}

/// A board, as far as the bootloader and the update code of the application need it.
pub trait Hardware: KeyStore + ConfigVersion {
    /// Internal flash, absolute addresses.
    type Internal: NorFlash;
    /// External flash, addresses from its start.
    type External: NorFlash;

    /// The board's table.
    fn geometry(&self) -> &'static Geometry;
    /// The memory of bank A and the journal.
    fn internal(&mut self) -> &mut Self::Internal;
    /// The memory of the two slots.
    fn external(&mut self) -> &mut Self::External;
    /// Called at least once per page while boot works. The application feeds only while it runs a confirmed image.
    fn feed_watchdog(&mut self);

    /// SHA-256 over the extents in order. Boot never asks for the octets behind a digest twice and trusts what it gets,
    /// so an override must answer for the octets that the flash holds now.
    ///
    /// # Errors
    /// The first read that failed.
    fn sha256(&mut self, extents: &[Extent]) -> Result<[u8; 32], FlashFault> {
        crypto::sha256(self, extents)
    }

    /// Whether `signature` (strict DER, either s accepted) over `digest` verifies under `key`.
    fn verify_p256(&mut self, key: &PublicKey, digest: &[u8; 32], signature: &[u8]) -> bool {
        crypto::verify_p256(key, digest, signature)
    }
}

/// Reads any run of octets, whatever read unit the memory has.
pub(crate) fn read<H: Hardware + ?Sized>(
    hw: &mut H,
    memory: Memory,
    address: u32,
    out: &mut [u8],
) -> Result<(), FlashFault> {
    match memory {
        Memory::Internal => read_unaligned(hw.internal(), address, out),
        Memory::External => read_unaligned(hw.external(), address, out),
    }
    .map_err(|()| FlashFault { memory, operation: FlashOperation::Read, address })
}

/// QSPI parts read whole words: what is not aligned goes through a small buffer.
fn read_unaligned<F: ReadNorFlash>(flash: &mut F, address: u32, out: &mut [u8]) -> Result<(), ()> {
    const BOUNCE: usize = 64;
    let unit = F::READ_SIZE;
    if unit == 1 || ((address as usize).is_multiple_of(unit) && out.len().is_multiple_of(unit)) {
        return flash.read(address, out).map_err(|_| ());
    }
    if unit > BOUNCE || !BOUNCE.is_multiple_of(unit) {
        return Err(());
    }
    let mut bounce = [0_u8; BOUNCE];
    let mut done = 0;
    while done < out.len() {
        let at = address as usize + done;
        let skip = at % unit;
        let wanted = (out.len() - done).min(BOUNCE - skip);
        let length = (skip + wanted).next_multiple_of(unit);
        let start = u32::try_from(at - skip).map_err(|_| ())?;
        flash.read(start, &mut bounce[..length]).map_err(|_| ())?;
        out[done..done + wanted].copy_from_slice(&bounce[skip..skip + wanted]);
        done += wanted;
    }
    Ok(())
}

/// Writes aligned words.
pub(crate) fn write<H: Hardware + ?Sized>(
    hw: &mut H,
    memory: Memory,
    address: u32,
    bytes: &[u8],
) -> Result<(), FlashFault> {
    let fault = FlashFault { memory, operation: FlashOperation::Write, address };
    match memory {
        Memory::Internal => hw.internal().write(address, bytes).map_err(|_| fault),
        Memory::External => hw.external().write(address, bytes).map_err(|_| fault),
    }
}

/// Erases one page of the board's page size.
pub(crate) fn erase_page<H: Hardware + ?Sized>(hw: &mut H, memory: Memory, address: u32) -> Result<(), FlashFault> {
    let fault = FlashFault { memory, operation: FlashOperation::Erase, address };
    let end = address.checked_add(hw.geometry().page_size).ok_or(fault)?;
    match memory {
        Memory::Internal => hw.internal().erase(address, end).map_err(|_| fault),
        Memory::External => hw.external().erase(address, end).map_err(|_| fault),
    }
}
