//! The journal: what the bootloader knows across resets, in 16-octet records on two pages used in turn.
//!
//! Every record is the whole state, so the newest valid one is all there is to read; a record that fails its CRC is
//! skipped, which leaves the state before it. A record is appended and read back before anything relies on it. The page
//! that holds the newest record is never erased: when it is full the *other* page is erased and takes the next record.
//! Cells are written once between erases, also after a torn write: a damaged cell is passed over, never tried again.
//!
//! | octets | field |
//! | --- | --- |
//! | 0..4 | sequence number, little-endian; the highest wins |
//! | 4 | phase |
//! | 5 | golden slot: 0, 1, or 0xFF for none |
//! | 6 | target slot of the request, or of the last one: 0 or 1 |
//! | 7 | outcome of the last request |
//! | 8 | reason code |
//! | 9..12 | number of the request, little-endian: two equal outcomes of different requests differ here |
//! | 12..16 | CRC-32 (IEEE) over octets 0..12, little-endian |
//!
//! Wear: an update that is confirmed costs five records, so one page of 4 KiB is erased every 51 updates.

use mk_wire::Reason;

use crate::{
    geometry::{Memory, Region, Slot},
    hardware::{FlashFault, FlashOperation, Hardware, erase_page, read, write},
};

/// Length of a record in octets.
pub const RECORD_SIZE: u32 = 16;

/// How often a record is written to a new cell before the journal is called broken.
const MAX_APPEND_ATTEMPTS: u32 = 4;

/// What the bootloader is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing is going on: bank A holds the confirmed image, the golden slot its copy.
    Idle,
    /// The application asked for the image in the target slot.
    Pending,
    /// The request passed every check: bank A is being written from the target slot.
    Install,
    /// Bank A is complete and verified; the new image never ran.
    Trial,
    /// The new image was jumped to and has not confirmed.
    Started,
    /// Bank A is being written from the golden slot.
    Rollback,
}

impl Phase {
    /// Every phase, in the order of an update.
    pub const ALL: [Self; 6] = [Self::Idle, Self::Pending, Self::Install, Self::Trial, Self::Started, Self::Rollback];

    const fn code(self) -> u8 {
        match self {
            Self::Idle => 0x11,
            Self::Pending => 0x22,
            Self::Install => 0x33,
            Self::Trial => 0x44,
            Self::Started => 0x55,
            Self::Rollback => 0x66,
        }
    }
}

/// How the last request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// No request was ever made, or the last one is still open.
    None,
    /// The new image confirmed in time.
    Confirmed,
    /// Refused before anything was written; the reason says why.
    Rejected,
    /// The old image was installed again; the reason says why.
    RolledBack,
    /// The new image did not confirm, but no usable golden image was left: the new one stays.
    Kept,
    /// Bank A did not hold what it should and was copied again from golden, with no request in between.
    Restored,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Confirmed, Self::Rejected, Self::RolledBack, Self::Kept, Self::Restored];

    const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Confirmed => 1,
            Self::Rejected => 2,
            Self::RolledBack => 3,
            Self::Kept => 4,
            Self::Restored => 5,
        }
    }
}

/// The whole state of the bootloader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Grows by one with every record.
    pub sequence: u32,
    /// What is going on.
    pub phase: Phase,
    /// The slot with the byte copy of the confirmed image; `None` while nobody made one.
    pub golden: Option<Slot>,
    /// The slot of the request (or of the last one): the image that `outcome` speaks of.
    pub target: Slot,
    /// How the last request ended; [`Outcome::None`] while one is open.
    pub outcome: Outcome,
    /// Why it was rejected or rolled back; [`Reason::None`] otherwise.
    pub reason: Reason,
    /// Number of the request, 24 bits: 0 before the first.
    pub request: u32,
}

impl Record {
    /// The state of a board that never updated.
    #[must_use]
    pub const fn factory(golden: Option<Slot>) -> Self {
        Self {
            sequence: 0,
            phase: Phase::Idle,
            golden,
            target: match golden {
                Some(slot) => slot.other(),
                None => Slot::One,
            },
            outcome: Outcome::None,
            reason: Reason::None,
            request: 0,
        }
    }

    /// The slot that may be written: never the golden one.
    #[must_use]
    pub const fn staging(&self) -> Slot {
        match self.golden {
            Some(slot) => slot.other(),
            // The other one is where golden will be made.
            None => self.target,
        }
    }

    /// The sixteen octets of the record.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_SIZE as usize] {
        let mut bytes = [0_u8; RECORD_SIZE as usize];
        bytes[..4].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[4] = self.phase.code();
        bytes[5] = match self.golden {
            Some(Slot::Zero) => 0,
            Some(Slot::One) => 1,
            None => 0xFF,
        };
        bytes[6] = match self.target {
            Slot::Zero => 0,
            Slot::One => 1,
        };
        bytes[7] = self.outcome.code();
        bytes[8] = self.reason as u8;
        bytes[9..12].copy_from_slice(&self.request.to_le_bytes()[..3]);
        let check = checksum(&bytes[..12]);
        bytes[12..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The record in sixteen octets, or `None` if the check fails or a field means nothing.
    #[must_use]
    pub fn decode(bytes: &[u8; RECORD_SIZE as usize]) -> Option<Self> {
        let [s0, s1, s2, s3, phase, golden, target, outcome, reason, r0, r1, r2, c0, c1, c2, c3] = *bytes;
        if checksum(&bytes[..12]) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return None;
        }
        Some(Self {
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            phase: Phase::ALL.into_iter().find(|known| known.code() == phase)?,
            golden: match golden {
                0 => Some(Slot::Zero),
                1 => Some(Slot::One),
                0xFF => None,
                _ => return None,
            },
            target: match target {
                0 => Slot::Zero,
                1 => Slot::One,
                _ => return None,
            },
            outcome: Outcome::ALL.into_iter().find(|known| known.code() == outcome)?,
            reason: Reason::from_u8(reason)?,
            request: u32::from_le_bytes([r0, r1, r2, 0]),
        })
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    CRC.checksum(bytes)
}

/// What a look at both pages found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scan {
    newest: Option<Record>,
    /// Where the next record goes: page and cell. `None` when both pages are blank.
    page: usize,
    /// First blank cell behind everything that was ever written on `page`.
    next_cell: u32,
    /// Whether the other page is blank.
    other_blank: bool,
}

/// Reads and appends records. Holds no state: every call looks at the flash.
#[derive(Clone, Copy, Debug)]
pub struct Journal {
    region: Region,
    page_size: u32,
}

impl Journal {
    /// The journal of a board.
    #[must_use]
    pub fn of<H: Hardware + ?Sized>(hw: &H) -> Self {
        let geometry = hw.geometry();
        Self { region: geometry.journal, page_size: geometry.page_size }
    }

    /// The newest valid record; `None` when there is none, as on a board fresh from the factory.
    ///
    /// # Errors
    /// A read that failed.
    pub fn load<H: Hardware + ?Sized>(self, hw: &mut H) -> Result<Option<Record>, FlashFault> {
        Ok(self.scan(hw)?.newest)
    }

    /// Appends `record` under the next sequence number, reads it back, and returns it as stored.
    ///
    /// # Errors
    /// An operation that failed, or four cells in a row that did not hold what was written.
    pub fn append<H: Hardware + ?Sized>(self, hw: &mut H, record: Record) -> Result<Record, FlashFault> {
        let mut fault =
            FlashFault { memory: Memory::Internal, operation: FlashOperation::Write, address: self.region.start };
        for _ in 0..MAX_APPEND_ATTEMPTS {
            let scan = self.scan(hw)?;
            let sequence = scan.newest.map_or(1, |newest| newest.sequence.wrapping_add(1));
            let stored = Record { sequence, ..record };
            let address = match self.cell_for_next(hw, scan) {
                Ok(address) => address,
                Err(erase) => {
                    fault = erase;
                    continue;
                }
            };
            let bytes = stored.encode();
            // A write that fails may have damaged the cell: the next attempt finds it not blank and goes one further.
            if let Err(write) = write(hw, Memory::Internal, address, &bytes) {
                fault = write;
                continue;
            }
            let mut back = [0_u8; RECORD_SIZE as usize];
            read(hw, Memory::Internal, address, &mut back)?;
            if back == bytes {
                return Ok(stored);
            }
            fault.address = address;
        }
        Err(fault)
    }

    fn cell_for_next<H: Hardware + ?Sized>(self, hw: &mut H, scan: Scan) -> Result<u32, FlashFault> {
        let page_address = |page: usize| self.region.start + page as u32 * self.page_size;
        let cells = self.page_size / RECORD_SIZE;
        if scan.next_cell < cells {
            return Ok(page_address(scan.page) + scan.next_cell * RECORD_SIZE);
        }
        // This page is full and holds the newest record, so it stays; the other one holds only older ones.
        let other = page_address(1 - scan.page);
        if !scan.other_blank {
            erase_page(hw, Memory::Internal, other)?;
        }
        Ok(other)
    }

    fn scan<H: Hardware + ?Sized>(self, hw: &mut H) -> Result<Scan, FlashFault> {
        const BATCH: usize = 256;
        let mut newest: Option<Record> = None;
        let mut newest_page = None;
        let mut used = [0_u32; 2];
        let mut buffer = [0_u8; BATCH];
        for (page, used) in used.iter_mut().enumerate() {
            let start = self.region.start + page as u32 * self.page_size;
            let mut offset = 0;
            while offset < self.page_size {
                let batch = (self.page_size - offset).min(BATCH as u32);
                let part = &mut buffer[..batch as usize];
                read(hw, Memory::Internal, start + offset, part)?;
                for (index, cell) in part.as_chunks::<{ RECORD_SIZE as usize }>().0.iter().enumerate() {
                    if u128::from_le_bytes(*cell) == u128::MAX {
                        continue;
                    }
                    *used = offset / RECORD_SIZE + index as u32 + 1;
                    if let Some(record) = Record::decode(cell)
                        && newest.is_none_or(|newest| record.sequence >= newest.sequence)
                    {
                        newest = Some(record);
                        newest_page = Some(page);
                    }
                }
                offset += batch;
            }
        }
        // With no valid record at all, append behind the fuller page's rubbish or, when that is full, on the other.
        let page = newest_page.unwrap_or(if used[0] == 0 || used[0] >= used[1] { 0 } else { 1 });
        Ok(Scan { newest, page, next_cell: used[page], other_blank: used[1 - page] == 0 })
    }
}

#[cfg(test)]
mod tests;
