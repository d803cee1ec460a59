//! What happens to the cells: words, pages, tears, defects.

use std::{ops::Range, sync::Arc};

use super::{FlashArray, FlashError, OwnPage, Slot, WORD, WriteLimit};
use crate::{
    fault::{FaultMode, StuckBit},
    power::{Fired, LoggedOperation, OperationKind, TearModel, Witness},
    store::{Page, Writes},
};

impl<const PAGE: usize, const READ: usize> FlashArray<PAGE, READ> {
    pub(super) fn answering(&self) -> Result<(), FlashError> {
        if self.supply.is_dark() {
            Err(FlashError::PowerLost)
        } else if self.faults.absent {
            Err(FlashError::Absent)
        } else {
            Ok(())
        }
    }

    pub(super) fn check(&self, address: u32, length: usize, unit: usize) -> Result<(), FlashError> {
        let reported = u32::try_from(length).unwrap_or(u32::MAX);
        if (address as usize).checked_add(length).is_none_or(|end| end > self.pages.len() * PAGE) {
            return Err(FlashError::OutOfBounds { address, length: reported });
        }
        if !(address as usize).is_multiple_of(unit) || !length.is_multiple_of(unit) {
            return Err(FlashError::Misaligned { address, length: reported, unit: unit as u32 });
        }
        Ok(())
    }

    /// Pages that touch the range, as far as there are any.
    pub(super) fn page_range(&self, range: &Range<u32>) -> Range<usize> {
        let first = (range.start as usize / PAGE).min(self.pages.len());
        let behind = (range.end as usize).div_ceil(PAGE).clamp(first, self.pages.len());
        first..behind
    }

    pub(super) fn write_time(&self, address: u32, length: usize) -> u64 {
        if length == 0 {
            return 0;
        }
        let unit = u64::from(self.timing.write_unit.max(1));
        let first = u64::from(address) / unit;
        let last = (u64::from(address) + length as u64 - 1) / unit;
        (last - first + 1) * self.timing.write_ns
    }

    pub(super) fn log_words(&mut self, address: u32, bytes: &[u8]) {
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

    pub(super) fn blank_page(&mut self, page: usize) {
        self.erases[page] += 1;
        self.total.pages_erased += 1;
        self.pages[page] = Slot::Shared(Arc::clone(&self.blank));
        self.apply_stuck(page);
    }

    /// Words within one page.
    pub(super) fn write_in_page(&mut self, address: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let page = address as usize / PAGE;
        self.words[page] += (bytes.len() / WORD) as u32;
        self.total.words_written += (bytes.len() / WORD) as u64;
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

    pub(super) fn tear_word(&mut self, address: u32, word: [u8; WORD], tear: TearModel) -> Witness {
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
        self.total.words_written += 1;
        let own = self.own(page);
        own.bytes[offset..offset + WORD].copy_from_slice(&after);
        let writes = &mut own.writes[offset / WORD];
        own.blank_words -= usize::from(*writes == 0);
        *writes = writes.saturating_add(1);
        self.apply_stuck(page);
        Witness::Word { before, after: word_at(self.pages[page].bytes(), offset) }
    }

    pub(super) fn tear_page(&mut self, page: usize, tear: TearModel) -> Witness {
        let before: Box<[u8]> = self.pages[page].bytes().into();
        match tear {
            TearModel::NotDone => {}
            TearModel::DoneThenDark => self.blank_page(page),
            TearModel::WordRandomBits(seed) => {
                self.erases[page] += 1;
                self.total.pages_erased += 1;
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

    pub(super) fn erase_part(&mut self, page: usize, part: Range<usize>) {
        self.erases[page] += 1;
        self.total.pages_erased += 1;
        let own = self.own(page);
        own.bytes[part.clone()].fill(0xFF);
        own.writes[part.start / WORD..part.end / WORD].fill(0);
        own.blank_words = own.writes.iter().filter(|writes| **writes == 0).count();
    }

    pub(super) fn fired(&self, operation: u64, address: u32, tear: TearModel, witness: Witness) {
        self.supply.set_fired(Fired { operation, memory: self.name, address, tear, witness });
    }

    /// The page as one that can be changed.
    pub(super) fn own(&mut self, page: usize) -> &mut OwnPage {
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
    pub(super) fn share(&mut self, page: usize) {
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
    pub(super) fn loaded_page(&self, content: &[u8]) -> Arc<Page> {
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

    pub(super) fn apply_stuck(&mut self, page: usize) {
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
