//! The `embedded-storage` traits, blocking and async: what firmware sees of an array.

use embedded_storage::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use embedded_storage_async::nor_flash as asynch;

use crate::array::{FlashArray, FlashError};

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::OutOfBounds { .. } => NorFlashErrorKind::OutOfBounds,
            Self::Misaligned { .. } => NorFlashErrorKind::NotAligned,
            Self::PowerLost
            | Self::Absent
            | Self::EraseFailed { .. }
            | Self::WriteFailed { .. }
            | Self::TooManyWrites { .. } => NorFlashErrorKind::Other,
        }
    }
}

impl<const PAGE: usize, const READ: usize> ErrorType for FlashArray<PAGE, READ> {
    type Error = FlashError;
}

impl<const PAGE: usize, const READ: usize> ReadNorFlash for FlashArray<PAGE, READ> {
    const READ_SIZE: usize = READ;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        FlashArray::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.size() as usize
    }
}

impl<const PAGE: usize, const READ: usize> NorFlash for FlashArray<PAGE, READ> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        FlashArray::erase(self, from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        FlashArray::write(self, offset, bytes)
    }
}

impl<const PAGE: usize, const READ: usize> MultiwriteNorFlash for FlashArray<PAGE, READ> {}

impl<const PAGE: usize, const READ: usize> asynch::ReadNorFlash for FlashArray<PAGE, READ> {
    const READ_SIZE: usize = READ;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        FlashArray::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.size() as usize
    }
}

impl<const PAGE: usize, const READ: usize> asynch::NorFlash for FlashArray<PAGE, READ> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        FlashArray::erase(self, from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        FlashArray::write(self, offset, bytes)
    }
}

impl<const PAGE: usize, const READ: usize> asynch::MultiwriteNorFlash for FlashArray<PAGE, READ> {}
