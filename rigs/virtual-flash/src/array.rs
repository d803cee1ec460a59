//! One flash memory: pages, counters, defects, and what each call does to them.

use std::{ops::Range, sync::Arc};

use crate::{
    fault::{FaultMode, Faults, StuckBit},
    memo::ContentKey,
    power::{Fired, LoggedOperation, OperationKind, PowerSupply, TearModel, Witness},
    store::{Page, PageStore, Writes},
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

    // --- what firmware does -------------------------------------------------------------------------------------------

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

    // --- what a rig does ----------------------------------------------------------------------------------------------

    /// Reads without power, alignment or defects of the part: what a witness does with a probe.
    ///
    /// # Errors
    /// Outside the array.
    pub fn peek(&self, address: u32, out: &mut [u8]) -> Result<(), FlashError> {
        self.check(address, out.len(), 1)?;
        let mut at = address as usize;
        let mut rest = out;
        while !rest.is_empty() {
            let offset = at % PAGE;
            let length = rest.len().min(PAGE - offset);
            let (now, behind) = rest.split_at_mut(length);
            now.copy_from_slice(&self.pages[at / PAGE].bytes()[offset..offset + length]);
            at += length;
            rest = behind;
        }
        Ok(())
    }

    /// Puts octets there as a programmer would: pages touched keep what they held elsewhere, every word of them counts as
    /// written once where it is not blank. No operation is counted.
    ///
    /// # Errors
    /// Outside the array.
    pub fn load(&mut self, address: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.check(address, bytes.len(), 1)?;
        let mut at = address as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (page, offset) = (at / PAGE, at % PAGE);
            let (now, behind) = rest.split_at(rest.len().min(PAGE - offset));
            let mut content = self.pages[page].bytes().to_vec();
            content[offset..offset + now.len()].copy_from_slice(now);
            self.pages[page] = Slot::Shared(self.loaded_page(&content));
            self.apply_stuck(page);
            at += now.len();
            rest = behind;
        }
        Ok(())
    }

    /// Blanks a stretch of pages without counting it.
    ///
    /// # Errors
    /// Outside the array or not whole pages.
    pub fn load_blank(&mut self, range: Range<u32>) -> Result<(), FlashError> {
        let length = range.end.saturating_sub(range.start);
        self.check(range.start, length as usize, PAGE)?;
        for page in self.page_range(&range) {
            self.pages[page] = Slot::Shared(Arc::clone(&self.blank));
            self.apply_stuck(page);
        }
        Ok(())
    }

    /// Flips one bit, either way, whatever the physics say: bit rot.
    ///
    /// # Errors
    /// Outside the array.
    pub fn flip_bit(&mut self, address: u32, bit: u8) -> Result<(), FlashError> {
        self.check(address, 1, 1)?;
        let page = address as usize / PAGE;
        self.own(page).bytes[address as usize % PAGE] ^= 1 << (bit & 7);
        Ok(())
    }

    /// A cell that reads the same from now on.
    ///
    /// # Errors
    /// Outside the array.
    pub fn stick_bit(&mut self, stuck: StuckBit) -> Result<(), FlashError> {
        self.check(stuck.address, 1, 1)?;
        self.faults.stuck.push(stuck);
        self.apply_stuck(stuck.address as usize / PAGE);
        Ok(())
    }

    /// The page at `address` does not erase from now on; `None` heals it.
    pub fn break_erase(&mut self, address: u32, mode: Option<FaultMode>) {
        set(&mut self.faults.erase, address / PAGE as u32, mode);
    }

    /// The page at `address` takes no words from now on; `None` heals it.
    pub fn break_write(&mut self, address: u32, mode: Option<FaultMode>) {
        set(&mut self.faults.write, address / PAGE as u32, mode);
    }

    /// The part does not answer any more, or again.
    pub const fn set_absent(&mut self, absent: bool) {
        self.faults.absent = absent;
    }

    /// Starts a log of every operation, or stops it.
    pub fn record_operations(&mut self, on: bool) {
        self.log = on.then(Vec::new);
    }

    /// Takes the log out and goes on recording.
    pub fn take_log(&mut self) -> Vec<LoggedOperation> {
        match &mut self.log {
            Some(log) => core::mem::take(log),
            None => Vec::new(),
        }
    }

    /// Does a recorded operation again, without counting it on the supply.
    ///
    /// # Errors
    /// As [`FlashArray::write`].
    pub fn apply(&mut self, operation: &LoggedOperation) -> Result<(), FlashError> {
        match operation.kind {
            OperationKind::Write(word) => {
                self.check(operation.address, WORD, WORD)?;
                self.write_in_page(operation.address, &word)
            }
            OperationKind::Erase => {
                self.check(operation.address, PAGE, PAGE)?;
                self.blank_page(operation.address as usize / PAGE);
                Ok(())
            }
        }
    }

    /// Leaves of a recorded operation what `tear` leaves of it, and returns the proof.
    ///
    /// # Errors
    /// Outside the array or not aligned.
    pub fn apply_torn(&mut self, operation: &LoggedOperation, tear: TearModel) -> Result<Fired, FlashError> {
        let witness = match operation.kind {
            OperationKind::Write(word) => {
                self.check(operation.address, WORD, WORD)?;
                self.tear_word(operation.address, word, tear)
            }
            OperationKind::Erase => {
                self.check(operation.address, PAGE, PAGE)?;
                self.tear_page(operation.address as usize / PAGE, tear)
            }
        };
        Ok(Fired { operation: operation.operation, memory: self.name, address: operation.address, tear, witness })
    }

    /// What the range holds, as a key for [`crate::Memo`]; pages that are being written become shared ones by it.
    /// A range that leaves the array gives the key of what is inside.
    pub fn content_key(&mut self, start: u32, length: u32) -> ContentKey {
        let range = start..start.saturating_add(length).min(self.size());
        let pages = self.page_range(&range);
        let mut key =
            ContentKey { pages: Vec::with_capacity(pages.len()), stretches: vec![(start % PAGE as u32, length)] };
        for page in pages {
            self.share(page);
            if let Slot::Shared(shared) = &self.pages[page] {
                key.pages.push(shared.id);
            }
        }
        key
    }

    /// Whether both hold the same octets in the range. Cheap where pages are shared.
    #[must_use]
    pub fn same_octets(&self, other: &Self, range: Range<u32>) -> bool {
        self.page_range(&range).all(|page| match (self.pages.get(page), other.pages.get(page)) {
            (Some(Slot::Shared(left)), Some(Slot::Shared(right))) if Arc::ptr_eq(left, right) => true,
            (Some(left), Some(right)) => {
                // Only the octets inside the range count.
                let from = (range.start as usize).saturating_sub(page * PAGE).min(PAGE);
                let to = (range.end as usize).saturating_sub(page * PAGE).min(PAGE);
                left.bytes()[from..to] == right.bytes()[from..to]
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        })
    }

    /// Makes the pages of the range those of `other`, octets and write counts; counters stay. A reference per page.
    pub fn restore_from(&mut self, other: &Self, range: Range<u32>) {
        for page in self.page_range(&range) {
            if let Some(source) = other.pages.get(page) {
                self.pages[page].clone_from(source);
            }
        }
    }

    // --- inside -------------------------------------------------------------------------------------------------------

    fn answering(&self) -> Result<(), FlashError> {
        if self.supply.is_dark() {
            Err(FlashError::PowerLost)
        } else if self.faults.absent {
            Err(FlashError::Absent)
        } else {
            Ok(())
        }
    }

    fn check(&self, address: u32, length: usize, unit: usize) -> Result<(), FlashError> {
        let reported = u32::try_from(length).unwrap_or(u32::MAX);
        if (address as usize).checked_add(length).is_none_or(|end| end > self.pages.len() * PAGE) {
            return Err(FlashError::OutOfBounds { address, length: reported });
        }
        if address as usize % unit != 0 || length % unit != 0 {
            return Err(FlashError::Misaligned { address, length: reported, unit: unit as u32 });
        }
        Ok(())
    }

    /// Pages that touch the range, as far as there are any.
    fn page_range(&self, range: &Range<u32>) -> Range<usize> {
        let first = (range.start as usize / PAGE).min(self.pages.len());
        let behind = (range.end as usize).div_ceil(PAGE).clamp(first, self.pages.len());
        first..behind
    }

    fn write_time(&self, address: u32, length: usize) -> u64 {
        if length == 0 {
            return 0;
        }
        let unit = u64::from(self.timing.write_unit.max(1));
        let first = u64::from(address) / unit;
        let last = (u64::from(address) + length as u64 - 1) / unit;
        (last - first + 1) * self.timing.write_ns
    }

    fn log_words(&mut self, address: u32, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            let words = bytes.as_chunks::<WORD>().0;
            // A torn word behind them was counted as well; it is not part of the log.
            let torn = u64::from(self.supply.is_dark());
            let first = self.supply.operations() - torn - words.len() as u64;
            for (index, word) in words.iter().enumerate() {
                log.push(LoggedOperation {
                    operation: first + index as u64,
                    address: address + (index * WORD) as u32,
                    kind: OperationKind::Write(*word),
                });
            }
        }
    }

    fn blank_page(&mut self, page: usize) {
        self.erases[page] += 1;
        self.pages[page] = Slot::Shared(Arc::clone(&self.blank));
        self.apply_stuck(page);
    }

    /// Words within one page.
    fn write_in_page(&mut self, address: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let page = address as usize / PAGE;
        self.words[page] += (bytes.len() / WORD) as u32;
        if bytes.len() == PAGE
            && self.faults.none()
            && let Slot::Shared(shared) = &self.pages[page]
            && Arc::ptr_eq(shared, &self.blank)
        {
            self.pages[page] = Slot::Shared(self.store.intern(bytes, Writes::Once));
            return Ok(());
        }
        match self.faults.write.get(&(page as u32)) {
            Some(FaultMode::Fails) => return Err(FlashError::WriteFailed { address: (page * PAGE) as u32 }),
            Some(FaultMode::Silent) => return Ok(()),
            None => {}
        }
        let (limit, refuse) = match self.limit {
            WriteLimit::Refuse(limit) => (limit, true),
            WriteLimit::Count(limit) => (limit, false),
        };
        let first = address as usize % PAGE;
        let mut violations = 0;
        let own = self.own(page);
        for (index, word) in bytes.as_chunks::<WORD>().0.iter().enumerate() {
            let offset = first + index * WORD;
            let writes = &mut own.writes[offset / WORD];
            if *writes >= limit {
                violations += 1;
                if refuse {
                    let error = FlashError::TooManyWrites { address: (page * PAGE + offset) as u32, writes: *writes };
                    self.violations += 1;
                    return Err(error);
                }
            }
            own.blank_words -= usize::from(*writes == 0);
            *writes = writes.saturating_add(1);
            for (cell, octet) in own.bytes[offset..offset + WORD].iter_mut().zip(word) {
                *cell &= octet;
            }
        }
        let full = own.blank_words == 0;
        self.violations += violations;
        self.apply_stuck(page);
        if full {
            self.share(page);
        }
        Ok(())
    }

    fn tear_word(&mut self, address: u32, word: [u8; WORD], tear: TearModel) -> Witness {
        let page = address as usize / PAGE;
        let offset = address as usize % PAGE;
        let before = word_at(self.pages[page].bytes(), offset);
        let wanted = u32::from_le_bytes(before) & u32::from_le_bytes(word);
        let kept = match tear {
            TearModel::NotDone => return Witness::Word { before, after: before },
            TearModel::DoneThenDark => 0,
            TearModel::WordRandomBits(seed) => mix(seed ^ (u64::from(address) << 20)) as u32,
            TearModel::HalfErasedPage => 0xFFFF_0000,
            TearModel::PageErasedExceptFirstWord => 0x0000_00FF,
        };
        // Of the bits that were to be cleared, those in `kept` still stand.
        let after = (wanted | (u32::from_le_bytes(before) & kept)).to_le_bytes();
        self.words[page] += 1;
        let own = self.own(page);
        own.bytes[offset..offset + WORD].copy_from_slice(&after);
        let writes = &mut own.writes[offset / WORD];
        own.blank_words -= usize::from(*writes == 0);
        *writes = writes.saturating_add(1);
        self.apply_stuck(page);
        Witness::Word { before, after: word_at(self.pages[page].bytes(), offset) }
    }

    fn tear_page(&mut self, page: usize, tear: TearModel) -> Witness {
        let before: Box<[u8]> = self.pages[page].bytes().into();
        match tear {
            TearModel::NotDone => {}
            TearModel::DoneThenDark => self.blank_page(page),
            TearModel::WordRandomBits(seed) => {
                self.erases[page] += 1;
                let own = self.own(page);
                for (index, word) in own.bytes.as_chunks_mut::<WORD>().0.iter_mut().enumerate() {
                    let set = mix(seed ^ ((page as u64) << 40) ^ index as u64) as u32;
                    *word = (u32::from_le_bytes(*word) | set).to_le_bytes();
                }
            }
            TearModel::HalfErasedPage => self.erase_part(page, 0..PAGE / 2),
            TearModel::PageErasedExceptFirstWord => self.erase_part(page, WORD..PAGE),
        }
        self.apply_stuck(page);
        Witness::Page { before, after: self.pages[page].bytes().into() }
    }

    fn erase_part(&mut self, page: usize, part: Range<usize>) {
        self.erases[page] += 1;
        let own = self.own(page);
        own.bytes[part.clone()].fill(0xFF);
        own.writes[part.start / WORD..part.end / WORD].fill(0);
        own.blank_words = own.writes.iter().filter(|writes| **writes == 0).count();
    }

    fn fired(&self, operation: u64, address: u32, tear: TearModel, witness: Witness) {
        self.supply.set_fired(Fired { operation, memory: self.name, address, tear, witness });
    }

    /// The page as one that can be changed.
    fn own(&mut self, page: usize) -> &mut OwnPage {
        let slot = &mut self.pages[page];
        if let Slot::Shared(shared) = slot {
            let (writes, blank_words): (Box<[u8]>, usize) = match &shared.writes {
                Writes::Blank => (vec![0; PAGE / WORD].into(), PAGE / WORD),
                Writes::Once => (vec![1; PAGE / WORD].into(), 0),
                Writes::Each(each) => (each.clone(), each.iter().filter(|writes| **writes == 0).count()),
            };
            *slot = Slot::Own(Box::new(OwnPage { bytes: shared.bytes.clone(), writes, blank_words }));
        }
        match slot {
            Slot::Own(own) => own,
            Slot::Shared(_) => unreachable!("the page was made our own just above"),
        }
    }

    /// The page as a shared one.
    fn share(&mut self, page: usize) {
        if let Slot::Own(own) = &self.pages[page] {
            let writes = if own.writes.iter().all(|writes| *writes == 1) {
                Writes::Once
            } else if own.blank_words == PAGE / WORD {
                Writes::Blank
            } else {
                Writes::Each(own.writes.clone())
            };
            self.pages[page] = Slot::Shared(self.store.intern(&own.bytes, writes));
        }
    }

    /// A page as a programmer leaves it: words that are not blank count as written once.
    fn loaded_page(&self, content: &[u8]) -> Arc<Page> {
        let counts: Box<[u8]> =
            content.as_chunks::<WORD>().0.iter().map(|word| u8::from(*word != [0xFF; WORD])).collect();
        let writes = if counts.iter().all(|count| *count == 0) {
            Writes::Blank
        } else if counts.iter().all(|count| *count == 1) {
            Writes::Once
        } else {
            Writes::Each(counts)
        };
        self.store.intern(content, writes)
    }

    fn apply_stuck(&mut self, page: usize) {
        if self.faults.stuck.is_empty() {
            return;
        }
        let stuck: Vec<StuckBit> =
            self.faults.stuck.iter().filter(|stuck| stuck.address as usize / PAGE == page).copied().collect();
        for bit in stuck {
            let cell = &mut self.own(page).bytes[bit.address as usize % PAGE];
            let mask = 1 << (bit.bit & 7);
            *cell = if bit.value { *cell | mask } else { *cell & !mask };
        }
    }
}

fn set(map: &mut std::collections::BTreeMap<u32, FaultMode>, page: u32, mode: Option<FaultMode>) {
    match mode {
        Some(mode) => {
            map.insert(page, mode);
        }
        None => {
            map.remove(&page);
        }
    }
}

fn word_at(bytes: &[u8], offset: usize) -> [u8; WORD] {
    let mut word = [0; WORD];
    word.copy_from_slice(&bytes[offset..offset + WORD]);
    word
}

/// Steele and Vigna's SplitMix64 step: well mixed bits from a counter.
const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
