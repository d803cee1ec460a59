//! The external flash: 8 MB on QSPI (MX25R6435F on the kit), through buffers that are aligned as the controller wants them.

use embassy_nrf::qspi::Qspi;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// Octets of the part.
pub const CAPACITY: u32 = 8 * 1024 * 1024;
/// Octets moved at a time: one page program.
const PART: usize = 256;

/// RAM as the controller wants it.
#[repr(align(4))]
struct Aligned([u8; PART]);

/// The external flash.
pub struct External<'d>(Qspi<'d>);

impl<'d> External<'d> {
    /// Around the driver.
    #[must_use]
    pub const fn new(qspi: Qspi<'d>) -> Self {
        Self(qspi)
    }
}

/// The part did not do it, or was asked for what it cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QspiError(pub NorFlashErrorKind);

impl NorFlashError for QspiError {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

const FAILED: QspiError = QspiError(NorFlashErrorKind::Other);

impl ErrorType for External<'_> {
    type Error = QspiError;
}

impl ReadNorFlash for External<'_> {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), QspiError> {
        check_read(self, offset, bytes.len()).map_err(QspiError)?;
        let mut buffer = Aligned([0; PART]);
        let mut address = offset;
        for part in bytes.chunks_mut(PART) {
            let ram = &mut buffer.0[..part.len()];
            self.0.blocking_read(address, ram).map_err(|_| FAILED)?;
            part.copy_from_slice(ram);
            address += part.len() as u32;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY as usize
    }
}

impl NorFlash for External<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), QspiError> {
        check_erase(self, from, to).map_err(QspiError)?;
        for address in (from..to).step_by(Self::ERASE_SIZE) {
            self.0.blocking_erase(address).map_err(|_| FAILED)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), QspiError> {
        check_write(self, offset, bytes.len()).map_err(QspiError)?;
        let mut buffer = Aligned([0; PART]);
        let mut rest = bytes;
        let mut address = offset;
        while !rest.is_empty() {
            // A page program wraps around at the end of its page.
            let room = PART - address as usize % PART;
            let (part, behind) = rest.split_at(room.min(rest.len()));
            let ram = &mut buffer.0[..part.len()];
            ram.copy_from_slice(part);
            self.0.blocking_write(address, ram).map_err(|_| FAILED)?;
            address += part.len() as u32;
            rest = behind;
        }
        Ok(())
    }
}
