//! The flash of one node, kept beside QEMU: cells, counters and the power cut.
//!
//! QEMU has the flash that the core reads, and loses it when it ends; a lockup of the firmware ends it. So the bench keeps
//! a second copy, built from QEMU's own trace of every store in the order in which the core made them. The copy is what
//! a power cut leaves: at the n-th operation nothing behind it is taken in, whatever the core did before it was killed.
//! It is written to a file as it changes, so that it outlives QEMU and the harness.
//!
//! An operation is a word write or a page erase that the controller accepts. The emulated controller erases 1 KiB at
//! a time and the product's pages have 4 KiB: erasing the next part of the page just begun belongs to the same operation.
//!
//! Refuses: to guess. Stores while the controller does not accept them change nothing and are counted apart.

use crate::machine::FlashShape;
use hil_model::action::Tear;
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

const WORD: usize = 4;
const BLANK: u8 = 0xFF;
/// Octets of the file that are written together.
const FILE_BLOCK: usize = 4096;

/// Registers of the flash controller.
mod nvmc {
    pub const CONFIG: u32 = 0x4001_E504;
    pub const ERASE_PAGE: u32 = 0x4001_E508;
    pub const ERASE_ALL: u32 = 0x4001_E50C;
    /// The same as [`ERASE_PAGE`] in the emulated controller.
    pub const ERASE_PROTECTED_PAGE: u32 = 0x4001_E510;
    pub const WRITE_ENABLE: u32 = 1;
    pub const ERASE_ENABLE: u32 = 2;
}

/// What the flash has done since the bench started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlashCounts {
    /// Word writes and page erases.
    pub operations: u64,
    /// Words written.
    pub words_written: u64,
    /// Pages erased, in pages of the product.
    pub pages_erased: u64,
    /// Stores to flash or to an erase register that the controller was not open for.
    pub refused: u64,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashOperation {
    /// Writes a word.
    Word {
        /// What it was to become, over what stood there.
        value: u32,
    },
    /// Erases a page.
    Page,
}

/// A power cut that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiredCut {
    /// Which operation since the bench started, from 0.
    pub operation: u64,
    /// Where.
    pub address: u32,
    /// What it was.
    pub kind: FlashOperation,
    /// What is left of it.
    pub tear: Tear,
    /// The word, or the first word of the page, before.
    pub before: [u8; 4],
    /// The same word after.
    pub after: [u8; 4],
}

#[derive(Clone, Copy, Debug)]
struct ArmedCut {
    /// Counted like [`FlashCounts::operations`].
    at: u64,
    tear: Tear,
}

/// The flash of one node.
#[derive(Debug)]
pub(crate) struct NodeFlash {
    cells: Vec<u8>,
    shape: FlashShape,
    file: File,
    dirty: Vec<bool>,
    any_dirty: bool,
    config: u32,
    counts: FlashCounts,
    /// Where the next erase belongs to the operation just counted.
    erase_goes_on_at: Option<u32>,
    cut: Option<ArmedCut>,
    /// A cut has come: nothing of this machine counts any more.
    dark: bool,
    seed: u64,
}

impl NodeFlash {
    /// Opens the file at `path`, or makes a blank one.
    pub fn open(path: &Path, shape: FlashShape, seed: u64) -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut cells = Vec::with_capacity(shape.size);
        (&mut file).take(shape.size as u64).read_to_end(&mut cells)?;
        let kept = cells.len();
        cells.resize(shape.size, BLANK);
        let blocks = shape.size.div_ceil(FILE_BLOCK);
        let mut flash = Self {
            cells,
            shape,
            file,
            dirty: vec![kept < shape.size; blocks],
            any_dirty: kept < shape.size,
            config: 0,
            counts: FlashCounts::default(),
            erase_goes_on_at: None,
            cut: None,
            dark: false,
            seed,
        };
        flash.save()?;
        Ok(flash)
    }

    /// The cells.
    pub fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// What has been done.
    pub const fn counts(&self) -> FlashCounts {
        self.counts
    }

    /// Cuts the power at the operation `from_now` operations from now, 0 being the next.
    pub const fn arm(&mut self, from_now: u64, tear: Tear) {
        self.cut = Some(ArmedCut { at: self.counts.operations.saturating_add(from_now), tear });
        // A page erase that has begun is not torn: the next erase counts as an operation of its own.
        self.erase_goes_on_at = None;
    }

    /// Takes the cut back. False if there was none.
    pub const fn disarm(&mut self) -> bool {
        self.cut.take().is_some()
    }

    /// Whether a cut waits for its operation.
    pub const fn armed(&self) -> bool {
        self.cut.is_some()
    }

    /// Whether it matters on which side of a power cut something was done: one is armed, or has just come.
    pub const fn in_doubt(&self) -> bool {
        self.cut.is_some() || self.dark
    }

    /// The machine is new.
    pub const fn machine_started(&mut self) {
        self.dark = false;
        self.machine_reset();
    }

    /// The machine was reset: the controller is closed.
    pub const fn machine_reset(&mut self) {
        self.config = 0;
        self.erase_goes_on_at = None;
    }

    /// Replaces the content, as a programmer does that has the part out of its socket.
    pub fn load(&mut self, address: usize, octets: &[u8]) -> bool {
        let Some(cells) = self.cells.get_mut(address..address + octets.len()) else { return false };
        cells.copy_from_slice(octets);
        self.touch(address, octets.len());
        true
    }

    /// Whether a store to `address` concerns the flash.
    pub const fn concerns(&self, address: u32) -> bool {
        (address as usize) < self.shape.size
            || matches!(address, nvmc::CONFIG | nvmc::ERASE_PAGE | nvmc::ERASE_ALL | nvmc::ERASE_PROTECTED_PAGE)
    }

    /// Takes in a store. `Some` if the power went at it: then nothing later may be taken in.
    pub fn store(&mut self, address: u32, value: u32) -> Option<FiredCut> {
        match address {
            nvmc::CONFIG => {
                self.config = value & 3;
                None
            }
            nvmc::ERASE_PAGE | nvmc::ERASE_PROTECTED_PAGE => {
                let unit = value as usize / self.shape.unit * self.shape.unit;
                if self.config & nvmc::ERASE_ENABLE == 0 || unit >= self.shape.size {
                    self.counts.refused += 1;
                    return None;
                }
                self.erase_unit(unit)
            }
            nvmc::ERASE_ALL => {
                if self.config & nvmc::ERASE_ENABLE == 0 || value != 1 {
                    self.counts.refused += 1;
                    return None;
                }
                (0..self.shape.size).step_by(self.shape.unit).find_map(|unit| self.erase_unit(unit))
            }
            _ => {
                let at = address as usize / WORD * WORD;
                if self.config & nvmc::WRITE_ENABLE == 0 || at + WORD > self.shape.size {
                    self.counts.refused += 1;
                    return None;
                }
                self.write_word(at, value)
            }
        }
    }

    fn write_word(&mut self, at: usize, value: u32) -> Option<FiredCut> {
        self.erase_goes_on_at = None;
        let cut = self.operation();
        let before = self.word(at);
        let wanted = before & value;
        let after = match cut {
            None => wanted,
            // Of the bits that were to be cleared, some still stand.
            Some(cut) => wanted | before & bits_left(cut.tear, self.seed, cut.at, at),
        };
        self.counts.words_written += 1;
        self.cells[at..at + WORD].copy_from_slice(&after.to_le_bytes());
        self.touch(at, WORD);
        self.fired(cut, at, FlashOperation::Word { value }, before)
    }

    fn erase_unit(&mut self, unit: usize) -> Option<FiredCut> {
        let page = unit / self.shape.page * self.shape.page;
        let goes_on = self.erase_goes_on_at == Some(unit as u32);
        let next = unit + self.shape.unit;
        self.erase_goes_on_at = (next < page + self.shape.page).then_some(next as u32);
        if goes_on {
            self.blank(unit, self.shape.unit);
            return None;
        }
        let cut = self.operation();
        let before = self.word(page);
        self.counts.pages_erased += 1;
        match cut {
            None => self.blank(unit, self.shape.unit),
            Some(cut) => self.tear_page(page, cut),
        }
        self.fired(cut, page, FlashOperation::Page, before)
    }

    /// Leaves of an erased page what the tear leaves; the page is the product's, however many erases the controller needs.
    fn tear_page(&mut self, page: usize, cut: ArmedCut) {
        match cut.tear {
            Tear::NotDone => {}
            Tear::Done => self.blank(page, self.shape.page),
            Tear::HalfErased => self.blank(page, self.shape.page / 2),
            Tear::FirstWordLeft => self.blank(page + WORD, self.shape.page - WORD),
            Tear::RandomBits => {
                for at in (page..page + self.shape.page).step_by(WORD) {
                    let set = mix(self.seed ^ cut.at.rotate_left(32) ^ at as u64) as u32;
                    let word = self.word(at) | set;
                    self.cells[at..at + WORD].copy_from_slice(&word.to_le_bytes());
                }
                self.touch(page, self.shape.page);
            }
        }
    }

    /// Counts an operation and says whether the power goes at it.
    fn operation(&mut self) -> Option<ArmedCut> {
        let this = self.counts.operations;
        self.counts.operations += 1;
        let cut = self.cut.filter(|cut| cut.at == this);
        if cut.is_some() {
            self.cut = None;
            self.dark = true;
        }
        cut
    }

    fn fired(&self, cut: Option<ArmedCut>, address: usize, kind: FlashOperation, before: u32) -> Option<FiredCut> {
        let (before, after) = (before.to_le_bytes(), self.word(address).to_le_bytes());
        cut.map(|cut| FiredCut { operation: cut.at, address: address as u32, kind, tear: cut.tear, before, after })
    }

    fn word(&self, at: usize) -> u32 {
        self.cells[at..at + WORD].iter().rev().fold(0, |word, octet| word << 8 | u32::from(*octet))
    }

    fn blank(&mut self, at: usize, length: usize) {
        self.cells[at..at + length].fill(BLANK);
        self.touch(at, length);
    }

    fn touch(&mut self, at: usize, length: usize) {
        self.dirty[at / FILE_BLOCK..(at + length).div_ceil(FILE_BLOCK)].fill(true);
        self.any_dirty = true;
    }

    /// Writes what has changed to the file.
    pub fn save(&mut self) -> io::Result<()> {
        if !self.any_dirty {
            return Ok(());
        }
        let mut block = 0;
        while block < self.dirty.len() {
            let end = block + self.dirty[block..].iter().take_while(|dirty| **dirty).count();
            if end > block {
                let range = block * FILE_BLOCK..(end * FILE_BLOCK).min(self.cells.len());
                self.file.write_all_at(&self.cells[range.clone()], range.start as u64)?;
                self.dirty[block..end].fill(false);
            }
            block = end + 1;
        }
        self.any_dirty = false;
        Ok(())
    }
}

/// The bits of a torn word that were to be cleared and still stand. The same masks as `virtual-flash` uses.
fn bits_left(tear: Tear, seed: u64, operation: u64, at: usize) -> u32 {
    match tear {
        Tear::NotDone => u32::MAX,
        Tear::Done => 0,
        Tear::RandomBits => mix(seed ^ operation.rotate_left(32) ^ at as u64) as u32,
        Tear::HalfErased => 0xFFFF_0000,
        Tear::FirstWordLeft => 0x0000_00FF,
    }
}

/// Scrambles a number: the finaliser of SplitMix64.
pub(crate) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    const SHAPE: FlashShape = FlashShape { size: 0x4000, unit: 0x400, page: 0x1000 };

    fn flash() -> (NodeFlash, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (NodeFlash::open(&folder.path().join("n.flash"), SHAPE, 7).unwrap(), folder)
    }

    fn erase(flash: &mut NodeFlash, units: impl IntoIterator<Item = u32>) -> Option<FiredCut> {
        flash.store(nvmc::CONFIG, nvmc::ERASE_ENABLE);
        units.into_iter().find_map(|unit| flash.store(nvmc::ERASE_PAGE, unit * 0x400))
    }

    #[test]
    fn writing_clears_bits_and_only_erasing_sets_them() {
        let (mut flash, _folder) = flash();
        flash.store(nvmc::CONFIG, nvmc::WRITE_ENABLE);
        flash.store(8, 0xFF00_FF00);
        flash.store(8, 0xF0F0_F0F0);
        assert_eq!(flash.word(8), 0xF000_F000);
        erase(&mut flash, [0]);
        assert_eq!(flash.word(8), u32::MAX);
        assert_eq!((flash.counts().words_written, flash.counts().pages_erased), (2, 1));
    }

    #[rstest]
    #[case::write_while_closed(0, 8, 0)]
    #[case::write_while_erasing(2, 8, 0)]
    #[case::erase_while_writing(1, nvmc::ERASE_PAGE, 0)]
    #[case::erase_beyond_the_end(2, nvmc::ERASE_PAGE, 0x4000)]
    #[case::erase_all_with_a_zero(2, nvmc::ERASE_ALL, 0)]
    fn what_the_controller_is_not_open_for_changes_nothing(
        #[case] config: u32,
        #[case] address: u32,
        #[case] value: u32,
    ) {
        let (mut flash, _folder) = flash();
        flash.load(0, &[0x5A; 0x4000]);
        flash.arm(0, Tear::Done);
        flash.store(nvmc::CONFIG, config);
        assert_eq!(flash.store(address, value), None, "no operation, so no cut");
        assert_eq!((flash.counts().operations, flash.counts().refused), (0, 1));
        assert!(flash.cells().iter().all(|cell| *cell == 0x5A));
    }

    #[rstest]
    #[case::a_page(&[0, 1, 2, 3], 1)]
    #[case::two_pages(&[0, 1, 2, 3, 4, 5, 6, 7], 2)]
    #[case::backwards(&[3, 2, 1, 0], 4)]
    #[case::the_same_twice(&[0, 0], 2)]
    #[case::with_a_gap(&[0, 2], 2)]
    #[case::from_the_middle(&[2, 3, 4], 2)]
    fn erasing_on_through_a_page_is_one_operation(#[case] units: &[u32], #[case] operations: u64) {
        let (mut flash, _folder) = flash();
        erase(&mut flash, units.iter().copied());
        assert_eq!(flash.counts().operations, operations);
    }

    #[test]
    fn a_write_in_between_ends_the_erase() {
        let (mut flash, _folder) = flash();
        erase(&mut flash, [0, 1]);
        flash.store(nvmc::CONFIG, nvmc::WRITE_ENABLE);
        flash.store(0, 0);
        erase(&mut flash, [2, 3]);
        assert_eq!(flash.counts().operations, 3);
    }

    #[test]
    fn erasing_everything_is_an_operation_for_each_page_and_can_be_cut_between_them() {
        let (mut flash, _folder) = flash();
        flash.load(0, &[0; 0x4000]);
        flash.arm(2, Tear::HalfErased);
        flash.store(nvmc::CONFIG, nvmc::ERASE_ENABLE);
        let fired = flash.store(nvmc::ERASE_ALL, 1).unwrap();
        assert_eq!((fired.operation, fired.address, fired.kind), (2, 0x2000, FlashOperation::Page));
        assert!(flash.cells()[..0x2800].iter().all(|cell| *cell == BLANK));
        assert!(flash.cells()[0x2800..].iter().all(|cell| *cell == 0));
        assert!(flash.in_doubt() && !flash.armed());
    }

    #[test]
    fn random_tears_keep_to_what_was_to_change_and_come_out_the_same_again() {
        let torn = |operation| {
            let (mut flash, _folder) = flash();
            flash.load(0x1000, &[0x0F; 0x1000]);
            flash.arm(operation, Tear::RandomBits);
            if erase(&mut flash, [4]).is_none() {
                flash.store(nvmc::CONFIG, nvmc::WRITE_ENABLE);
                flash.store(0x2000, 0x0000_FFFF);
            }
            flash.cells().to_vec()
        };
        let (page, word) = (torn(0), torn(1));
        assert_eq!((torn(0), torn(1)), (page.clone(), word.clone()));
        let half = &page[0x1000..0x2000];
        assert!(half.iter().all(|cell| cell & 0x0F == 0x0F) && half.contains(&0x0F) && half.iter().any(|c| *c != 0x0F));
        assert_eq!(word[0x2000..0x2002], [0xFF; 2]);
        assert!(word[0x2002..0x2004] != [0; 2] && word[0x2002..0x2004] != [0xFF; 2]);
    }

    #[test]
    fn what_is_saved_is_there_again_and_a_file_that_is_too_short_is_blank_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n.flash");
        std::fs::write(&path, [1, 2, 3]).unwrap();
        let mut flash = NodeFlash::open(&path, SHAPE, 0).unwrap();
        assert_eq!(flash.cells()[..4], [1, 2, 3, BLANK]);
        flash.load(0x3FFC, &[9; 4]);
        assert!(!flash.load(0x3FFD, &[9; 4]), "beyond the end");
        flash.save().unwrap();
        let again = NodeFlash::open(&path, SHAPE, 0).unwrap();
        assert_eq!(again.cells(), flash.cells());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0x4000);
    }
}
