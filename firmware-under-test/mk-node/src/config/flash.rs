//! The record store: `sequential-storage` over the board's blocking flash.
//!
//! The library's interface is asynchronous. The adapter never waits, so every call is ready at its first poll, and
//! [`block_on`] is a plain call.

use core::ops::Range;

use embassy_futures::block_on;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use embedded_storage_async::nor_flash as asynchronous;
use mk_boot::geometry::Region;
use sequential_storage::{
    cache::{Cache, Uncached},
    map::{MapConfig, MapStorage, Value},
};

use super::ConfigError;

/// Octets of the longest record with its key, rounded up to words.
pub(crate) const MAX_RECORD: usize = 256;

/// What is stored, by key. Numbers are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Key {
    /// The configuration of the confirmed image.
    Confirmed = 1,
    /// The configuration of an image on trial.
    Trial = 2,
    /// The update under way.
    Update = 3,
    /// Groups that models listen to.
    Subscriptions = 4,
}

/// A blocking flash as an asynchronous one.
struct Ready<'a, F>(&'a mut F);

impl<F: ErrorType> ErrorType for Ready<'_, F> {
    type Error = F::Error;
}

impl<F: ReadNorFlash> asynchronous::ReadNorFlash for Ready<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<F: NorFlash> asynchronous::NorFlash for Ready<'_, F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        self.0.erase(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.0.write(offset, bytes)
    }
}

/// Some flash controllers move whole words, from RAM that must be aligned like them.
#[repr(align(8))]
struct Buffer([u8; MAX_RECORD]);

type Map<'a, F> = MapStorage<u8, Ready<'a, F>, Cache<Uncached, Uncached, Uncached, u8>>;

/// The store of one region.
pub(crate) struct Store<'a, F: NorFlash> {
    map: Map<'a, F>,
    buffer: Buffer,
}

impl<'a, F: NorFlash> Store<'a, F> {
    /// Opens the store; reads nothing yet.
    pub fn open(flash: &'a mut F, region: Region) -> Result<Self, ConfigError> {
        let range: Range<u32> = region.start..region.end();
        let config = MapConfig::try_new(range).map_err(|_| ConfigError::Region)?;
        Ok(Store { map: Map::new(Ready(flash), config, Cache::new_uncached()), buffer: Buffer([0; MAX_RECORD]) })
    }

    /// The newest record of this key, whole.
    pub fn fetch<'v, V: Value<'v>>(&'v mut self, key: Key) -> Result<Option<V>, ConfigError> {
        block_on(self.map.fetch_item::<V>(&mut self.buffer.0, &(key as u8))).map_err(failed)
    }

    /// Replaces the record of this key, or leaves the old one if power goes.
    pub fn store<'v, V: Value<'v>>(&mut self, key: Key, value: &V) -> Result<(), ConfigError> {
        block_on(self.map.store_item(&mut self.buffer.0, &(key as u8), value)).map_err(failed)
    }
}

fn failed<E>(error: sequential_storage::Error<E>) -> ConfigError {
    match error {
        sequential_storage::Error::Storage { .. } => ConfigError::Flash,
        sequential_storage::Error::FullStorage | sequential_storage::Error::ItemTooBig => ConfigError::Full,
        sequential_storage::Error::SerializationError(_) => ConfigError::Undecodable { schema: 0 },
        // Corrupt pages, a buffer too small for what is found there, and whatever the library adds.
        _ => ConfigError::Corrupt,
    }
}
