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

use super::{ConfigError, layout::MIN_RING_PAGES};

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

/// A blocking flash as an asynchronous one, which hands no page out for use that is not blank.
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
        let page = F::ERASE_SIZE as u32;
        // The first word of a page takes it into use. A torn erase or a torn marker may have left something there.
        if offset.is_multiple_of(page) && !is_blank(self.0, offset, page)? {
            self.0.erase(offset, offset + page)?;
        }
        self.0.write(offset, bytes)
    }
}

/// Is every octet of this page erased?
fn is_blank<F: ReadNorFlash>(flash: &mut F, page: u32, length: u32) -> Result<bool, F::Error> {
    let mut part = Buffer([0; MAX_RECORD]);
    for offset in (0..length).step_by(MAX_RECORD) {
        let len = MAX_RECORD.min((length - offset) as usize);
        flash.read(page + offset, &mut part.0[..len])?;
        if part.0[..len].iter().any(|octet| *octet != 0xFF) {
            return Ok(false);
        }
    }
    Ok(true)
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
    /// Opens the store; reads the page markers, and finishes an erase that power cut off.
    pub fn open(flash: &'a mut F, region: Region) -> Result<Self, ConfigError> {
        let range: Range<u32> = region.start..region.end();
        let config = MapConfig::try_new(range).map_err(|_| ConfigError::Region)?;
        if region.length < MIN_RING_PAGES * F::ERASE_SIZE as u32 {
            return Err(ConfigError::Region);
        }
        finish_torn_erase(flash, region).map_err(|_| ConfigError::Flash)?;
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

/// Two pages look half filled only when the erase of the second was cut off after its end and before its start: the library
/// erases nothing but the page after the one in use. It would take that page for the one in use, and its blank records for
/// all there are.
fn finish_torn_erase<F: NorFlash>(flash: &mut F, region: Region) -> Result<(), F::Error> {
    let page = F::ERASE_SIZE as u32;
    let mut address = region.start;
    let mut before = half_filled(flash, region.end() - page)?;
    while address < region.end() {
        let now = half_filled(flash, address)?;
        if before && now {
            return flash.erase(address, address + page);
        }
        before = now;
        address += page;
    }
    Ok(())
}

/// Does this page have its first marker and not its last? Markers count as the library counts them: by zero bits.
fn half_filled<F: NorFlash>(flash: &mut F, page: u32) -> Result<bool, F::Error> {
    const MARKED_FROM: u32 = 4;
    const MAX_UNIT: usize = 32;
    let unit = F::READ_SIZE.min(MAX_UNIT);
    let mut marked = |address: u32| {
        let mut marker = [0xFF; MAX_UNIT];
        flash.read(address, &mut marker[..unit])?;
        Ok(marker.iter().map(|octet| octet.count_zeros()).sum::<u32>() >= MARKED_FROM)
    };
    Ok(marked(page)? && !marked(page + (F::ERASE_SIZE - unit) as u32)?)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::test_flash::{PAGE, RamFlash, Supply, Tear};
    use std::{cell::RefCell, rc::Rc};

    const RING: Region = Region { start: 0, length: 3 * PAGE as u32 };

    fn put(flash: &mut RamFlash, key: Key, value: u32) -> Result<(), ConfigError> {
        // As long as the longest record, so that pages turn soon.
        let mut record = [0_u32; 50];
        record[0] = value;
        Store::open(flash, RING)?.store(key, &record)
    }

    fn get(flash: &mut RamFlash, key: Key) -> Option<u32> {
        Store::open(flash, RING).unwrap().fetch::<[u32; 50]>(key).unwrap().map(|record| record[0])
    }

    /// A torn erase that leaves both page markers is beyond this ring alone: see [`super::super::layout`].
    const TEARS: [Tear; 4] = [Tear::NotDone, Tear::Done, Tear::Partly, Tear::OtherPart];

    #[test]
    fn a_cut_in_a_store_of_one_record_leaves_the_others_alone() {
        let supply = Rc::new(RefCell::new(Supply::default()));
        let mut flash = RamFlash::new(3 * PAGE, &supply);
        put(&mut flash, Key::Trial, 7).unwrap();
        put(&mut flash, Key::Update, 0).unwrap();
        let mut turns = 0;
        for n in 1..200 {
            let before = flash.clone();
            let first = supply.borrow().operations;
            put(&mut flash, Key::Update, n).unwrap();
            if flash.erased.len() == before.erased.len() {
                continue;
            }
            turns += 1;
            for at in 0..supply.borrow().operations - first {
                for tear in TEARS {
                    let mut torn = before.clone();
                    torn.supply = Rc::new(RefCell::new(Supply { cut: Some((at, tear)), ..Supply::default() }));
                    assert_eq!(put(&mut torn, Key::Update, n), Err(ConfigError::Flash));
                    torn.supply = Rc::new(RefCell::new(Supply::default()));
                    assert_eq!(get(&mut torn, Key::Trial), Some(7), "record {n}, operation {at}, {tear:?}");
                    let update = get(&mut torn, Key::Update);
                    assert!(update == Some(n) || update == Some(n - 1), "{n}, {at}, {tear:?}: {update:?}");
                    put(&mut torn, Key::Update, n).unwrap();
                }
            }
        }
        assert!(turns >= 5, "{turns}");
    }

    #[test]
    fn a_page_that_is_not_blank_is_erased_before_it_is_taken_into_use() {
        let supply = Rc::new(RefCell::new(Supply::default()));
        let mut flash = RamFlash::new(3 * PAGE, &supply);
        for page in 0..3 {
            flash.bytes[page * PAGE + 100] = 0;
        }
        put(&mut flash, Key::Trial, 1).unwrap();
        assert_eq!(get(&mut flash, Key::Trial), Some(1));
        assert_eq!(flash.erased, [0]);
    }

    #[test]
    fn a_ring_of_two_pages_is_refused() {
        let supply = Rc::new(RefCell::new(Supply::default()));
        let mut flash = RamFlash::new(2 * PAGE, &supply);
        let region = Region { start: 0, length: 2 * PAGE as u32 };
        assert_eq!(Store::open(&mut flash, region).err(), Some(ConfigError::Region));
    }
}
