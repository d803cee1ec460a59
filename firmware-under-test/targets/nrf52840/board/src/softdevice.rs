//! The internal flash while the SoftDevice runs: it alone may touch the controller, and it fits every operation between radio
//! events. An operation that found no gap is tried again; the core waits meanwhile, interrupts and radio go on.

use crate::regs;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// How often an operation is asked for before the flash counts as broken.
const ATTEMPTS: u32 = 16;
/// Words per operation: 2.6 ms, which finds a gap more easily than a page.
const WORDS: usize = 64;

/// The internal flash; absolute addresses.
#[derive(Debug)]
pub struct SdFlash;

/// The SoftDevice did not do it, or was asked for what it cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdFlashError(pub NorFlashErrorKind);

impl NorFlashError for SdFlashError {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

const FAILED: SdFlashError = SdFlashError(NorFlashErrorKind::Other);

fn tried(operation: impl Fn() -> bool) -> Result<(), SdFlashError> {
    if (0..ATTEMPTS).any(|_| operation()) { Ok(()) } else { Err(FAILED) }
}

impl ErrorType for SdFlash {
    type Error = SdFlashError;
}

impl ReadNorFlash for SdFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), SdFlashError> {
        check_read(self, offset, bytes.len()).map_err(SdFlashError)?;
        if regs::read_flash(offset, bytes) { Ok(()) } else { Err(SdFlashError(NorFlashErrorKind::OutOfBounds)) }
    }

    fn capacity(&self) -> usize {
        regs::FLASH_END as usize
    }
}

impl NorFlash for SdFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), SdFlashError> {
        check_erase(self, from, to).map_err(SdFlashError)?;
        (from..to).step_by(Self::ERASE_SIZE).try_for_each(|page| tried(|| regs::erase_page(page)))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), SdFlashError> {
        check_write(self, offset, bytes.len()).map_err(SdFlashError)?;
        let mut address = offset;
        let mut words = [0_u32; WORDS];
        for part in bytes.as_chunks::<4>().0.chunks(WORDS) {
            for (word, octets) in words.iter_mut().zip(part) {
                *word = u32::from_le_bytes(*octets);
            }
            tried(|| regs::program_words(address, &words[..part.len()]))?;
            address += 4 * part.len() as u32;
        }
        Ok(())
    }
}
