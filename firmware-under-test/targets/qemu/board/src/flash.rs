//! The flash behind the NVMC, as two memories: the lower megabyte is the internal flash, the upper one stands for the
//! external flash of the real board, behind the same trait.
//!
//! Refuses what the part refuses: writes that are not whole words, erases that are not whole pages, anything outside. It
//! does not read back: who relies on octets does.

use crate::regs::{self, FICR_CODEPAGESIZE, NVMC_CONFIG, NVMC_ERASEPAGE, NVMC_READY};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// Octets of a page, as the board's table has it. This chip's own erase unit is a quarter of it.
pub const PAGE: usize = 4096;
/// Octets of a word.
pub const WORD: usize = 4;
/// Octets of each half.
pub const HALF: u32 = 0x10_0000;
/// A page erase or word takes milliseconds at most; the controller is asked this often before it counts as broken.
const MAX_POLLS: u32 = 10_000_000;

const READ: u32 = 0;
const WRITE: u32 = 1;
const ERASE: u32 = 2;

/// What the flash did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashError {
    /// The address or length is not a multiple of the unit.
    NotAligned,
    /// Outside the memory.
    OutOfBounds,
    /// The controller did not become ready.
    Stuck,
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            FlashError::NotAligned => NorFlashErrorKind::NotAligned,
            FlashError::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            FlashError::Stuck => NorFlashErrorKind::Other,
        }
    }
}

impl From<NorFlashErrorKind> for FlashError {
    fn from(kind: NorFlashErrorKind) -> Self {
        match kind {
            NorFlashErrorKind::NotAligned => FlashError::NotAligned,
            _ => FlashError::OutOfBounds,
        }
    }
}

/// One half of the flash; addresses count from its start.
#[derive(Debug)]
pub struct Nvmc {
    base: u32,
}

impl Nvmc {
    /// The internal flash: its addresses are those of the core.
    #[must_use]
    pub const fn internal() -> Self {
        Self { base: 0 }
    }

    /// The memory of the two slots.
    #[must_use]
    pub const fn external() -> Self {
        Self { base: HALF }
    }
}

/// The controller set to write or erase; set back to read when dropped, so that a stray store later changes nothing.
struct Mode;

impl Mode {
    fn set(mode: u32) -> Self {
        NVMC_CONFIG.write(mode);
        Self
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        NVMC_CONFIG.write(READ);
    }
}

fn ready() -> Result<(), FlashError> {
    let ready = (0..MAX_POLLS).any(|_| NVMC_READY.read() & 1 == 1);
    if ready { Ok(()) } else { Err(FlashError::Stuck) }
}

impl ErrorType for Nvmc {
    type Error = FlashError;
}

impl ReadNorFlash for Nvmc {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        check_read(self, offset, bytes.len())?;
        if regs::read_flash(self.base + offset, bytes) { Ok(()) } else { Err(FlashError::OutOfBounds) }
    }

    fn capacity(&self) -> usize {
        HALF as usize
    }
}

impl NorFlash for Nvmc {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        check_erase(self, from, to)?;
        let unit = FICR_CODEPAGESIZE.read();
        if unit == 0 || !(PAGE as u32).is_multiple_of(unit) {
            return Err(FlashError::Stuck);
        }
        let _erasing = Mode::set(ERASE);
        for address in (self.base + from..self.base + to).step_by(unit as usize) {
            NVMC_ERASEPAGE.write(address);
            ready()?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        check_write(self, offset, bytes.len())?;
        let _writing = Mode::set(WRITE);
        let mut address = self.base + offset;
        for word in bytes.as_chunks::<WORD>().0 {
            let value = u32::from_le_bytes(*word);
            // All ones clears nothing: no operation, no wear.
            if value != u32::MAX {
                if !regs::program_flash(address, value) {
                    return Err(FlashError::OutOfBounds);
                }
                ready()?;
            }
            address += WORD as u32;
        }
        Ok(())
    }
}
