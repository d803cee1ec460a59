//! One flash memory: pages, counters, defects, and what each call does to them.

mod cells;
mod rig;

use std::{ops::Range, sync::Arc};

use crate::{
    fault::{FaultMode, Faults},
    power::{LoggedOperation, OperationKind, PowerSupply},
    store::{Page, PageStore},
};

const WORD: usize = 4;

/// How long the part takes, in nanoseconds of its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Erasing one page.
    pub erase_ns: u64,
    /// One programming operation.
    pub write_ns: u64,
    /// Octets that one programming operation covers at most: a word, or a page of a QSPI part.
    pub write_unit: u32,
}

impl Timing {
    /// A part that takes no time.
    pub const INSTANT: Self = Self { erase_ns: 0, write_ns: 0, write_unit: 4 };

    /// From microseconds, as board tables have them.
    #[must_use]
    pub const fn from_us(erase_us: u32, write_us: u32, write_unit: u32) -> Self {
        Self { erase_ns: erase_us as u64 * 1000, write_ns: write_us as u64 * 1000, write_unit }
    }
}

/// What happens when a word is written once more than the part allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteLimit {
    /// The call fails. The nRF52840 allows two writes of a word between erases.
    Refuse(u8),
    /// The word is written and counted as a violation.
    Count(u8),
}

/// A call that did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlashError {
    /// The power is gone, since or during this call.
    #[error("power lost")]
    PowerLost,
    /// The part does not answer.
    #[error("no such flash")]
    Absent,
    /// The call leaves the array.
    #[error("{length} octets at {address:#x} leave the flash")]
    OutOfBounds {
        /// First address.
        address: u32,
        /// Octets asked for.
        length: u32,
    },
    /// The call is not aligned to the unit of the operation.
    #[error("{length} octets at {address:#x} are not aligned to {unit}")]
    Misaligned {
        /// First address.
        address: u32,
        /// Octets asked for.
        length: u32,
        /// The unit.
        unit: u32,
    },
    /// A page that does not erase.
    #[error("the page at {address:#x} does not erase")]
    EraseFailed {
        /// The page.
        address: u32,
    },
    /// A page that takes no words.
    #[error("the page at {address:#x} takes no words")]
    WriteFailed {
        /// The page.
        address: u32,
    },
    /// A word that was written too often since its page was erased.
    #[error("the word at {address:#x} was written {writes} times already")]
    TooManyWrites {
        /// The word.
        address: u32,
        /// Writes since the erase.
        writes: u8,
    },
}

/// What was done to a stretch of flash since the array was made. Preloading and defects do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Activity {
    /// Words written.
    pub words_written: u64,
    /// Pages erased.
    pub pages_erased: u64,
}

/// A page that is being written: the only kind that changes.
#[derive(Clone, Debug)]
struct OwnPage {
    bytes: Box<[u8]>,
    writes: Box<[u8]>,
    /// Words never written since the erase.
    blank_words: usize,
}

#[derive(Clone, Debug)]
enum Slot {
    Shared(Arc<Page>),
    Own(Box<OwnPage>),
}

impl Slot {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(page) => &page.bytes,
            Self::Own(page) => &page.bytes,
        }
    }
}

/// One NOR flash memory with pages of `PAGE` octets, words of four, and reads in multiples of `READ`.
///
/// A clone is a snapshot that costs a reference per page; it shares store and supply with the original.
#[derive(Clone, Debug)]
pub struct FlashArray<const PAGE: usize = 4096, const READ: usize = 1> {
    name: &'static str,
    pages: Vec<Slot>,
    erases: Vec<u32>,
    words: Vec<u32>,
    total: Activity,
    store: PageStore,
    blank: Arc<Page>,
    supply: PowerSupply,
    timing: Timing,
    limit: WriteLimit,
    violations: u64,
    busy_ns: u64,
    faults: Faults,
    log: Option<Vec<LoggedOperation>>,
}

impl<const PAGE: usize, const READ: usize> FlashArray<PAGE, READ> {
    /// A blank memory of `size` octets (rounded up to whole pages), powered by `supply`.
    ///
    /// # Panics
    /// If the store has pages of another size: two parts of one rig were put together wrongly.
    #[must_use]
    pub fn new(name: &'static str, size: u32, store: &PageStore, supply: &PowerSupply, timing: Timing) -> Self {
        assert_eq!(store.page_size(), PAGE, "store and array have pages of different size");
        let count = (size as usize).div_ceil(PAGE);
        Self {
            name,
            pages: vec![Slot::Shared(store.blank()); count],
            erases: vec![0; count],
            words: vec![0; count],
            total: Activity::default(),
            store: store.clone(),
            blank: store.blank(),
            supply: supply.clone(),
            timing,
            limit: WriteLimit::Refuse(2),
            violations: 0,
            busy_ns: 0,
            faults: Faults::default(),
            log: None,
        }
    }

    /// Octets.
    #[must_use]
    pub fn size(&self) -> u32 {
        (self.pages.len() * PAGE) as u32
    }

    /// The name it reports cuts under.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The supply that its operations are counted on.
    #[must_use]
    pub const fn supply(&self) -> &PowerSupply {
        &self.supply
    }

    /// The store that its pages are shared through.
    #[must_use]
    pub const fn store(&self) -> &PageStore {
        &self.store
    }

    /// Sets what happens to a word written too often; [`WriteLimit::Refuse`] of 2 at first.
    pub const fn set_write_limit(&mut self, limit: WriteLimit) {
        self.limit = limit;
    }

    /// Words written more often than the limit allows.
    #[must_use]
    pub const fn violations(&self) -> u64 {
        self.violations
    }

    /// Nanoseconds the part was busy since this was last asked.
    pub const fn take_busy_ns(&mut self) -> u64 {
        core::mem::replace(&mut self.busy_ns, 0)
    }

    /// Erases of the page at `address` since the array was made: its wear.
    #[must_use]
    pub fn erase_count(&self, address: u32) -> u32 {
        self.erases.get(address as usize / PAGE).copied().unwrap_or(0)
    }

    /// What was done to every page that touches the range.
    #[must_use]
    pub fn activity(&self, range: Range<u32>) -> Activity {
        let pages = self.page_range(&range);
        Activity {
            words_written: self.words[pages.clone()].iter().map(|words| u64::from(*words)).sum(),
            pages_erased: self.erases[pages].iter().map(|erases| u64::from(*erases)).sum(),
        }
    }

    /// What was done to the whole array; costs nothing to ask.
    #[must_use]
    pub const fn total_activity(&self) -> Activity {
        self.total
    }

    /// Reads.
    ///
    /// # Errors
    /// No power, no part, not aligned, or outside the array.
    pub fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), FlashError> {
        self.answering()?;
        self.check(address, out.len(), READ)?;
        self.peek(address, out)
    }

    /// Writes words: clears bits, never sets one.
    ///
    /// # Errors
    /// No power (also when it goes during the call), no part, not aligned, outside the array, a broken page, or a word
    /// that was written too often. What came before the error is done.
    pub fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.answering()?;
        self.check(address, bytes.len(), WORD)?;
        let (whole, cut) = self.supply.reserve((bytes.len() / WORD) as u64);
        let (done, torn) = bytes.split_at(whole as usize * WORD);
        self.log_words(address, done);
        self.busy_ns += self.write_time(address, done.len());
        let mut at = address;
        let mut rest = done;
        while !rest.is_empty() {
            let room = PAGE - at as usize % PAGE;
            let (now, behind) = rest.split_at(room.min(rest.len()));
            self.write_in_page(at, now)?;
            at += now.len() as u32;
            rest = behind;
        }
        match (cut, torn.first_chunk::<WORD>()) {
            (Some((operation, tear)), Some(word)) => {
                let witness = self.tear_word(at, *word, tear);
                self.fired(operation, at, tear, witness);
                Err(FlashError::PowerLost)
            }
            (Some(_), None) | (None, _) => Ok(()),
        }
    }

    /// Erases whole pages.
    ///
    /// # Errors
    /// As [`FlashArray::write`].
    pub fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.answering()?;
        let length = to.checked_sub(from).ok_or(FlashError::OutOfBounds { address: from, length: 0 })?;
        self.check(from, length as usize, PAGE)?;
        for page in from as usize / PAGE..to as usize / PAGE {
            let address = (page * PAGE) as u32;
            let (_, cut) = self.supply.reserve(1);
            if let Some((operation, tear)) = cut {
                let witness = self.tear_page(page, tear);
                self.fired(operation, address, tear, witness);
                return Err(FlashError::PowerLost);
            }
            if let Some(log) = &mut self.log {
                let operation = self.supply.operations() - 1;
                log.push(LoggedOperation { operation, address, kind: OperationKind::Erase });
            }
            self.busy_ns += self.timing.erase_ns;
            match self.faults.erase.get(&(page as u32)) {
                Some(FaultMode::Fails) => return Err(FlashError::EraseFailed { address }),
                Some(FaultMode::Silent) => {}
                None => self.blank_page(page),
            }
        }
        Ok(())
    }
}
