//! How often the bootloader was started, in two flash pages.
//!
//! The count names a boot: the gateway acknowledges the confirmation of *this* boot, and an acknowledgement that was meant
//! for an earlier one has no effect. So a number must never come twice, whatever power does.
//!
//! A record is the count and its complement. The highest valid record counts; records are appended, and the page that holds
//! the highest is never erased. A record that a power cut tore is passed over. 512 starts per page of 4 KiB.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use mk_boot::geometry::Region;

/// Octets of a record.
const RECORD: u32 = 8;
/// How often a record is written to a new cell before the pages count as broken.
const MAX_ATTEMPTS: u32 = 4;
const BLANK: [u8; RECORD as usize] = [0xFF; RECORD as usize];

/// The count could not be read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the boot count at {address:#x} could not be {what}")]
pub struct BootCountError {
    /// Where.
    pub address: u32,
    /// What failed: `read`, `written` or `erased`.
    pub what: &'static str,
}

/// The counter of one board. Holds no state: every call looks at the flash.
#[derive(Clone, Copy, Debug)]
pub struct BootCount {
    region: Region,
}

#[derive(Clone, Copy)]
struct Scan {
    count: u32,
    /// Address of the first cell behind all that was ever written on the page of the highest record.
    next: u32,
    /// End of that page.
    page_end: u32,
    /// The other page.
    other: u32,
    other_blank: bool,
}

impl BootCount {
    /// The counter in `region`: two pages.
    #[must_use]
    pub const fn new(region: Region) -> Self {
        Self { region }
    }

    /// Starts so far; 0 on a board from the factory.
    ///
    /// # Errors
    /// A read that failed.
    pub fn load<F: NorFlash>(self, flash: &mut F) -> Result<u32, BootCountError> {
        self.scan(flash).map(|scan| scan.count)
    }

    /// One start more; returns the count with it.
    ///
    /// # Errors
    /// A flash operation that failed, or four cells in a row that did not hold what was written.
    pub fn advance<F: NorFlash>(self, flash: &mut F) -> Result<u32, BootCountError> {
        let mut fault = BootCountError { address: self.region.start, what: "written" };
        for _ in 0..MAX_ATTEMPTS {
            let scan = self.scan(flash)?;
            // The blank word may be no count.
            let count = if scan.count >= u32::MAX - 1 { 1 } else { scan.count + 1 };
            let mut address = scan.next;
            if address + RECORD > scan.page_end {
                address = scan.other;
                let page = F::ERASE_SIZE as u32;
                if !scan.other_blank && flash.erase(address, address + page).is_err() {
                    return Err(BootCountError { address, what: "erased" });
                }
            }
            let mut record = BLANK;
            record[..4].copy_from_slice(&count.to_le_bytes());
            record[4..].copy_from_slice(&(!count).to_le_bytes());
            fault.address = address;
            let mut back = BLANK;
            if flash.write(address, &record).is_ok() && flash.read(address, &mut back).is_ok() && back == record {
                return Ok(count);
            }
        }
        Err(fault)
    }

    fn scan<F: ReadNorFlash + NorFlash>(self, flash: &mut F) -> Result<Scan, BootCountError> {
        const BATCH: usize = 256;
        let page = F::ERASE_SIZE as u32;
        let pages = [self.region.start, self.region.start + page];
        let mut used = pages;
        let mut highest = (0, 0);
        let mut batch = [0_u8; BATCH];
        for (index, start) in pages.into_iter().enumerate() {
            let mut offset = 0;
            while offset < page {
                let part = &mut batch[..(page - offset).min(BATCH as u32) as usize];
                let address = start + offset;
                flash.read(address, part).map_err(|_| BootCountError { address, what: "read" })?;
                for (cell, octets) in part.as_chunks::<{ RECORD as usize }>().0.iter().enumerate() {
                    if *octets == BLANK {
                        continue;
                    }
                    used[index] = address + (cell as u32 + 1) * RECORD;
                    if let Some(count) = valid(octets)
                        && count > highest.0
                    {
                        highest = (count, index);
                    }
                }
                offset += BATCH as u32;
            }
        }
        let (count, at) = highest;
        let other = pages[1 - at];
        Ok(Scan { count, next: used[at], page_end: pages[at] + page, other, other_blank: used[1 - at] == other })
    }
}

/// The count in a record, if it is one.
fn valid(octets: &[u8; RECORD as usize]) -> Option<u32> {
    let [a, b, c, d, e, f, g, h] = *octets;
    let count = u32::from_le_bytes([a, b, c, d]);
    (count == !u32::from_le_bytes([e, f, g, h])).then_some(count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use virtual_flash::{FlashArray, PageStore, PowerCut, PowerSupply, TearModel, Timing};

    const PAGE: u32 = 4096;
    const REGION: Region = Region { start: PAGE, length: 2 * PAGE };

    fn board() -> (FlashArray, PowerSupply) {
        let supply = PowerSupply::new();
        (FlashArray::new("internal", 4 * PAGE, &PageStore::new(PAGE as usize), &supply, Timing::INSTANT), supply)
    }

    #[test]
    fn a_factory_board_counts_from_one() {
        let (mut flash, _) = board();
        let count = BootCount::new(REGION);
        assert_eq!(count.load(&mut flash), Ok(0));
        assert_eq!(count.advance(&mut flash), Ok(1));
        assert_eq!(count.load(&mut flash), Ok(1));
    }

    #[test]
    fn the_count_goes_on_over_both_pages_and_back() {
        let (mut flash, _) = board();
        let count = BootCount::new(REGION);
        for n in 1..=3 * PAGE / RECORD {
            assert_eq!(count.advance(&mut flash), Ok(n));
        }
    }

    #[test]
    fn no_number_comes_twice_whatever_operation_power_fails_in() {
        let (mut full, _) = board();
        let count = BootCount::new(REGION);
        // Two full pages: the next start erases one.
        for _ in 0..2 * PAGE / RECORD {
            count.advance(&mut full).unwrap();
        }
        let before = count.load(&mut full).unwrap();
        for operation in 0..4 {
            for tear in TearModel::all(operation) {
                let (mut flash, supply) = board();
                for _ in 0..before {
                    count.advance(&mut flash).unwrap();
                }
                supply.arm(PowerCut { at_operation: supply.operations() + operation, tear });
                let cut = count.advance(&mut flash);
                supply.disarm();
                supply.power_on();
                let after = count.load(&mut flash).unwrap();
                assert!(after == before || after == before + 1, "{operation} {tear:?}: {before} {after} {cut:?}");
                assert_eq!(count.advance(&mut flash), Ok(after + 1), "{operation} {tear:?}");
            }
        }
    }
}
