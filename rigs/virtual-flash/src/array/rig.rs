//! What a rig does with an array: look and load behind the firmware's back, damage it, record and replay operations.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{FlashArray, FlashError, Slot, WORD};
use crate::{
    fault::{FaultMode, StuckBit},
    memo::ContentKey,
    power::{Fired, LoggedOperation, OperationKind, TearModel},
};

impl<const PAGE: usize, const READ: usize> FlashArray<PAGE, READ> {
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
}

fn set(map: &mut BTreeMap<u32, FaultMode>, page: u32, mode: Option<FaultMode>) {
    match mode {
        Some(mode) => {
            map.insert(page, mode);
        }
        None => {
            map.remove(&page);
        }
    }
}
