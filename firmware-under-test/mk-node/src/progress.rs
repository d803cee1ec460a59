//! Which blocks of a transfer are staged: one page of the config region, one word per block.
//!
//! The page is erased when a transfer begins and then only appended to, so that the end of a block costs one word write
//! (41 microseconds on the nRF52840) and the wear is one erase per update, like that of every page of the staging slot.
//! A record store entry per block would cost some twenty times that.
//!
//! | word | content |
//! | --- | --- |
//! | 0 | tag of the transfer |
//! | 1 | the tag, inverted |
//! | 2.. | block number in the low half, the same inverted in the high half; in the order of arrival |
//!
//! A word that a power cut tore has too many ones somewhere, so number and inversion disagree and the block counts as not
//! staged. Cells are written once between erases, also after a torn write: such a word is passed over. Whatever this page
//! says is only a saving of air time: a staged image is verified from its bytes before it is applied.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use mk_blob::BlockBitmap;
use mk_boot::{Hardware, geometry::Region};

use crate::config::ConfigLayout;

/// Octets of a word on the part with the longest words that is supported.
const MAX_UNIT: usize = 16;
/// Words before the first mark.
const HEAD_WORDS: u32 = 2;
/// What erased flash reads.
const BLANK: u32 = u32::MAX;

/// The page could not be read or written, or is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("progress page failed or is full")]
pub(crate) struct ProgressError;

/// The page, and the word that comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    next_word: u32,
}

fn page<H: Hardware>(hw: &H) -> Region {
    let geometry = hw.geometry();
    ConfigLayout::new(geometry.config, geometry.page_size).progress
}

/// Octets from one word to the next: the write unit, and never less than the four that a word has.
const fn unit<F: NorFlash>() -> usize {
    if F::WRITE_SIZE > 4 { F::WRITE_SIZE } else { 4 }
}

impl Progress {
    /// No transfer; [`Progress::mark`] has to follow a [`Progress::begin`] or [`Progress::resume`].
    pub const NONE: Self = Progress { next_word: 0 };

    /// Forgets what the page says and begins a transfer.
    pub fn begin<H: Hardware>(hw: &mut H, tag: u32) -> Result<Self, ProgressError> {
        let page = page(hw);
        hw.internal().erase(page.start, page.end()).map_err(|_| ProgressError)?;
        let mut progress = Progress { next_word: 0 };
        progress.append(hw, tag)?;
        progress.append(hw, !tag)?;
        Ok(progress)
    }

    /// Block `block` is staged.
    pub fn mark<H: Hardware>(&mut self, hw: &mut H, block: u16) -> Result<(), ProgressError> {
        self.append(hw, mark(block))
    }

    /// Reads the page after a reboot: clears the staged blocks in `missing`. `None` when the page speaks of another transfer:
    /// then nothing is staged.
    pub fn resume<H: Hardware>(hw: &mut H, tag: u32, missing: &mut BlockBitmap) -> Result<Option<Self>, ProgressError> {
        let words = page(hw).length / unit::<H::Internal>() as u32;
        if read_word(hw, 0)? != tag || read_word(hw, 1)? != !tag {
            return Ok(None);
        }
        let mut next_word = HEAD_WORDS;
        for word in HEAD_WORDS..words {
            let value = read_word(hw, word)?;
            if value == BLANK {
                continue;
            }
            next_word = word + 1;
            let block = value as u16;
            if value == mark(block) {
                missing.clear(block);
            }
        }
        Ok(Some(Progress { next_word }))
    }

    fn append<H: Hardware>(&mut self, hw: &mut H, value: u32) -> Result<(), ProgressError> {
        let (page, unit) = (page(hw), unit::<H::Internal>());
        let offset = self.next_word * unit as u32;
        if unit > MAX_UNIT || offset + unit as u32 > page.length {
            return Err(ProgressError);
        }
        let mut octets = [0xFF; MAX_UNIT];
        octets[..4].copy_from_slice(&value.to_le_bytes());
        self.next_word += 1;
        hw.internal().write(page.start + offset, &octets[..unit]).map_err(|_| ProgressError)
    }
}

const fn mark(block: u16) -> u32 {
    block as u32 | (!block as u32) << 16
}

fn read_word<H: Hardware>(hw: &mut H, word: u32) -> Result<u32, ProgressError> {
    let (page, unit) = (page(hw), unit::<H::Internal>());
    let mut octets = [0; MAX_UNIT];
    // A read unit is never longer than a write unit.
    let part = octets.get_mut(..unit).ok_or(ProgressError)?;
    hw.internal().read(page.start + word * unit as u32, part).map_err(|_| ProgressError)?;
    let [a, b, c, d, ..] = octets;
    Ok(u32::from_le_bytes([a, b, c, d]))
}
