//! A NOR flash in RAM that counts operations, cuts power at one of them and tears it.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use std::{cell::RefCell, rc::Rc, vec, vec::Vec};

pub const PAGE: usize = 4096;
pub const WORD: usize = 4;

/// What the operation under the cut leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tear {
    /// Nothing happened.
    NotDone,
    /// It was done; then the lights went out.
    Done,
    /// A word with only some of its bits programmed; a page of which the first half is erased.
    Partly,
    /// A page erased but for its first word; a word with the other bits programmed.
    OtherPart,
    /// Every bit that was to change did so or did not, by seed.
    Random(u32),
}

/// A random octet mask for the octet at `at`.
fn mask(seed: u32, at: usize) -> u8 {
    let mixed = (seed ^ at as u32).wrapping_mul(0x9E37_79B1);
    ((mixed ^ mixed >> 15).wrapping_mul(0x85EB_CA77) >> 21) as u8
}

/// Power: one supply feeds both memories.
#[derive(Debug, Default)]
pub struct Supply {
    /// Word writes and page erases so far.
    pub operations: usize,
    /// The operation that power fails in, and how.
    pub cut: Option<(usize, Tear)>,
    pub dark: bool,
    /// Words written twice between erases.
    pub rewrites: usize,
}

impl Supply {
    /// Counts an operation; says how it ends if power fails in it.
    fn next(&mut self) -> Option<Tear> {
        let number = self.operations;
        self.operations += 1;
        match self.cut {
            Some((at, tear)) if at == number => {
                self.dark = true;
                Some(tear)
            }
            Some(_) | None => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct RamFlash {
    pub bytes: Vec<u8>,
    pub supply: Rc<RefCell<Supply>>,
    /// First addresses of erased pages, in order.
    pub erased: Vec<u32>,
}

#[derive(Debug)]
pub struct Dark;

impl NorFlashError for Dark {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl RamFlash {
    pub fn new(len: usize, supply: &Rc<RefCell<Supply>>) -> Self {
        RamFlash { bytes: vec![0xFF; len], supply: Rc::clone(supply), erased: Vec::new() }
    }

    fn check(&self, offset: u32, len: usize, unit: usize) -> Result<(), Dark> {
        assert!(
            (offset as usize).is_multiple_of(unit) && len.is_multiple_of(unit),
            "access at {offset:#x} of {len} is not aligned"
        );
        assert!(offset as usize + len <= self.bytes.len(), "access at {offset:#x} of {len} past the end");
        if self.supply.borrow().dark { Err(Dark) } else { Ok(()) }
    }
}

impl ErrorType for RamFlash {
    type Error = Dark;
}

impl ReadNorFlash for RamFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Dark> {
        self.check(offset, bytes.len(), 1)?;
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for RamFlash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Dark> {
        self.check(from, (to - from) as usize, PAGE)?;
        for page in (from as usize..to as usize).step_by(PAGE) {
            let torn = self.supply.borrow_mut().next();
            let span = match torn {
                None | Some(Tear::Done) => page..page + PAGE,
                Some(Tear::NotDone) => page..page,
                Some(Tear::Partly) => page..page + PAGE / 2,
                Some(Tear::OtherPart) => page + WORD..page + PAGE,
                Some(Tear::Random(seed)) => {
                    (page..page + PAGE).for_each(|at| self.bytes[at] |= mask(seed, at));
                    page..page
                }
            };
            self.bytes[span].fill(0xFF);
            self.erased.push(page as u32);
            if torn.is_some() {
                return Err(Dark);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Dark> {
        self.check(offset, bytes.len(), WORD)?;
        for (n, word) in bytes.chunks_exact(WORD).enumerate() {
            let mut supply = self.supply.borrow_mut();
            let (number, torn) = (supply.operations * WORD, supply.next());
            let place = &mut self.bytes[offset as usize + n * WORD..][..WORD];
            supply.rewrites += usize::from(place.iter().any(|octet| *octet != 0xFF));
            for (at, (octet, new)) in place.iter_mut().zip(word).enumerate() {
                let bits = match torn {
                    None | Some(Tear::Done) => 0xFF,
                    Some(Tear::NotDone) => 0,
                    Some(Tear::Partly) => 0b0101_1010,
                    Some(Tear::OtherPart) => 0b1010_0101,
                    Some(Tear::Random(seed)) => mask(seed, number + at),
                };
                *octet &= new | !bits;
            }
            if torn.is_some() {
                return Err(Dark);
            }
        }
        Ok(())
    }
}
