//! Records of a stack in two flash pages.
//!
//! One page is in use, named by a header that is written last; records of 16 octets follow each other, each with a CRC. When
//! the page is full, the other one is erased, gets what is still of use, and then its header: a power cut at any word
//! leaves one page that holds everything that was kept. Torn records are passed over; they were never kept.

use crate::record::{Progress, Record, Storage};
use crate::replay::Stamp;
use crate::states::States;
use crc::{CRC_32_ISO_HDLC, Crc};
use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;
use mk_wire::Addr;

/// Octets of a record.
const RECORD: u32 = 16;
/// Sources that are kept at most; those of a page that had more would not leave room for anything else.
const MAX_SOURCES: usize = 64;
/// Kinds of records.
const HEADER: u8 = 0xA5;
const PROGRESS: u8 = 0x01;
const ACCEPTED: u8 = 0x02;
const STATES: u8 = 0x03;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

type Octets = [u8; RECORD as usize];

/// Why records cannot be kept or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FlashError<E: core::fmt::Debug> {
    /// The flash failed.
    #[error("flash: {0:?}")]
    Flash(E),
    /// The area is not two whole pages, or a record is no whole number of words.
    #[error("the area does not suit the flash")]
    Geometry,
}

/// Two pages of a flash.
#[derive(Debug)]
pub struct MeshFlash<F> {
    flash: F,
    start: u32,
    page: u32,
    /// Page in use and where its next record goes; `None` before the first use.
    active: Option<Active>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    second: bool,
    generation: u32,
    next: u32,
}

/// What is still of use.
#[derive(Default)]
struct Live {
    progress: Option<Progress>,
    states: Option<States>,
    accepted: Vec<(Addr, Stamp), MAX_SOURCES>,
}

impl Live {
    fn take(&mut self, record: Record) {
        match record {
            Record::Progress(progress) => self.progress = Some(progress),
            Record::States(states) => self.states = Some(states),
            Record::Accepted { source, stamp } => {
                self.accepted.retain(|(known, _)| *known != source);
                if self.accepted.is_full() {
                    self.accepted.remove(0);
                }
                // There is room now.
                let _ = self.accepted.push((source, stamp));
            }
        }
    }

    fn each(&self, mut each: impl FnMut(Record)) {
        self.progress.iter().for_each(|progress| each(Record::Progress(*progress)));
        self.states.iter().for_each(|states| each(Record::States(*states)));
        self.accepted.iter().for_each(|(source, stamp)| each(Record::Accepted { source: *source, stamp: *stamp }));
    }
}

fn sealed(kind: u8, body: [u8; 11]) -> Octets {
    let mut out = [0; RECORD as usize];
    out[0] = kind;
    out[1..12].copy_from_slice(&body);
    let crc = CRC.checksum(&out[..12]);
    out[12..].copy_from_slice(&crc.to_le_bytes());
    out
}

fn opened(octets: &Octets) -> Option<(u8, [u8; 11])> {
    let (body, crc) = octets.split_at(12);
    if CRC.checksum(body).to_le_bytes() != crc {
        return None;
    }
    let (kind, body) = body.split_first()?;
    Some((*kind, body.try_into().ok()?))
}

fn encode(record: &Record) -> Octets {
    let mut body = [0; 11];
    match record {
        Record::Progress(progress) => {
            body[..4].copy_from_slice(&progress.iv_index.to_le_bytes());
            body[4..8].copy_from_slice(&progress.reserved.to_le_bytes());
            body[8..10].copy_from_slice(&progress.hours.to_le_bytes());
            body[10] = u8::from(progress.updating);
            sealed(PROGRESS, body)
        }
        Record::Accepted { source, stamp } => {
            body[..4].copy_from_slice(&stamp.iv_index.to_le_bytes());
            body[4..8].copy_from_slice(&stamp.seq.to_le_bytes());
            body[8..10].copy_from_slice(&source.0.to_le_bytes());
            sealed(ACCEPTED, body)
        }
        Record::States(states) => sealed(STATES, states.encode()),
    }
}

fn decode(octets: &Octets) -> Option<Record> {
    let (kind, body) = opened(octets)?;
    let [a, b, c, d, e, f, g, h, i, j, k] = body;
    let (first, second) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let third = u16::from_le_bytes([i, j]);
    match kind {
        PROGRESS => {
            Some(Record::Progress(Progress { iv_index: first, reserved: second, hours: third, updating: k == 1 }))
        }
        ACCEPTED => Some(Record::Accepted { source: Addr(third), stamp: Stamp { iv_index: first, seq: second } }),
        STATES => States::decode(&body).map(Record::States),
        _ => None,
    }
}

impl<F: NorFlash> MeshFlash<F> {
    /// The area of two pages that begins at `start`.
    ///
    /// # Errors
    /// [`FlashError::Geometry`].
    pub fn new(flash: F, start: u32, length: u32) -> Result<Self, FlashError<F::Error>> {
        let (page, erase) = (length / 2, F::ERASE_SIZE as u32);
        let whole = erase > 0 && page > 0 && page.is_multiple_of(erase) && start.is_multiple_of(erase);
        let words = |size: usize| size > 0 && (RECORD as usize).is_multiple_of(size);
        // Everything that is still of use has to fit twice, or pages would be erased at every record.
        let roomy = page / RECORD >= 2 * (MAX_SOURCES as u32 + 3);
        let inside = start.checked_add(length).is_some_and(|end| end as usize <= flash.capacity());
        if whole && roomy && inside && length.is_multiple_of(2) && words(F::WRITE_SIZE) && words(F::READ_SIZE) {
            Ok(MeshFlash { flash, start, page, active: None })
        } else {
            Err(FlashError::Geometry)
        }
    }

    /// Gives the flash back.
    #[must_use]
    pub fn release(self) -> F {
        self.flash
    }

    const fn base(&self, second: bool) -> u32 {
        if second { self.start + self.page } else { self.start }
    }

    fn read(&mut self, address: u32) -> Result<Octets, FlashError<F::Error>> {
        let mut octets = [0; RECORD as usize];
        self.flash.read(address, &mut octets).map_err(FlashError::Flash)?;
        Ok(octets)
    }

    fn generation(&mut self, second: bool) -> Result<Option<u32>, FlashError<F::Error>> {
        let octets = self.read(self.base(second))?;
        Ok(match opened(&octets) {
            Some((HEADER, [a, b, c, d, ..])) => Some(u32::from_le_bytes([a, b, c, d])),
            Some(_) | None => None,
        })
    }

    /// Finds the page in use and reads what it holds.
    fn scan(&mut self) -> Result<Live, FlashError<F::Error>> {
        let mut live = Live::default();
        let (first, second) = (self.generation(false)?, self.generation(true)?);
        let (second, generation) = match (first, second) {
            (None, None) => {
                self.active = None;
                return Ok(live);
            }
            (Some(a), Some(b)) if b > a => (true, b),
            (Some(a), _) => (false, a),
            (None, Some(b)) => (true, b),
        };
        let base = self.base(second);
        // Behind the last place that is not blank: what follows a torn record must not be written over.
        let mut next = RECORD;
        let mut at = RECORD;
        while at + RECORD <= self.page {
            let octets = self.read(base + at)?;
            if octets != [0xFF; RECORD as usize] {
                next = at + RECORD;
                if let Some(record) = decode(&octets) {
                    live.take(record);
                }
            }
            at += RECORD;
        }
        self.active = Some(Active { second, generation, next });
        Ok(live)
    }

    fn write(&mut self, address: u32, octets: &Octets) -> Result<(), FlashError<F::Error>> {
        self.flash.write(address, octets).map_err(FlashError::Flash)
    }

    /// Moves what is of use, and one record more, to the other page.
    fn turn_over(&mut self, record: &Record) -> Result<(), FlashError<F::Error>> {
        let mut live = self.scan()?;
        live.take(*record);
        let (second, generation) =
            self.active.map_or((false, 0), |active| (!active.second, active.generation.wrapping_add(1)));
        // Until the new header stands, a failure must lead back to the page in use.
        self.active = None;
        let base = self.base(second);
        self.flash.erase(base, base + self.page).map_err(FlashError::Flash)?;
        let mut next = RECORD;
        let mut result = Ok(());
        live.each(|record| {
            if result.is_ok() {
                result = self.write(base + next, &encode(&record));
                next += RECORD;
            }
        });
        result?;
        let mut body = [0; 11];
        body[..4].copy_from_slice(&generation.to_le_bytes());
        self.write(base, &sealed(HEADER, body))?;
        self.active = Some(Active { second, generation, next });
        Ok(())
    }
}

impl<F: NorFlash> Storage for MeshFlash<F> {
    type Error = FlashError<F::Error>;

    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), Self::Error> {
        let live = self.scan()?;
        live.each(each);
        Ok(())
    }

    fn save(&mut self, record: &Record) -> Result<(), Self::Error> {
        if self.active.is_none() {
            self.scan()?;
        }
        let Some(active) = self.active else { return self.turn_over(record) };
        if active.next + RECORD > self.page {
            return self.turn_over(record);
        }
        // A failed write may have left half a record: its place is used up either way.
        self.active = Some(Active { next: active.next + RECORD, ..active });
        self.write(self.base(active.second) + active.next, &encode(record))
    }
}
