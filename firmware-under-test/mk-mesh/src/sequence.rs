//! Sequence numbers, none of which is ever used twice under one IV index, whatever happens to the power.
//!
//! Numbers are reserved ahead in blocks: a number is only given out when a record that says "below this, anything may
//! have been used" is already kept. After a power cut the node goes on at that mark; what was left of the block is lost.

use crate::network::MAX_SEQ;

/// One more than the highest number.
const END: u32 = MAX_SEQ + 1;

/// Gives out sequence numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sequence {
    next: u32,
    reserved: u32,
    block: u32,
}

impl Sequence {
    /// Goes on behind everything that may have been used: `reserved` of the last record kept. `block` numbers are
    /// reserved at a time.
    #[must_use]
    pub const fn resume(reserved: u32, block: u32) -> Self {
        let reserved = if reserved > END { END } else { reserved };
        Sequence { next: reserved, reserved, block: if block == 0 { 1 } else { block } }
    }

    /// A number, if one is reserved.
    #[must_use]
    pub const fn take(&mut self) -> Option<u32> {
        if self.next >= self.reserved {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    /// Is a number left?
    #[must_use]
    pub const fn ready(&self) -> bool {
        self.next < self.reserved
    }

    /// The number that would be given out next.
    #[must_use]
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// The mark to keep next; `None` while more than half a block is left, or there are no more numbers.
    #[must_use]
    pub const fn wanted(&self) -> Option<u32> {
        let left = self.reserved - self.next;
        if left > self.block / 2 || self.reserved == END {
            return None;
        }
        let mark = self.reserved.saturating_add(self.block);
        Some(if mark > END { END } else { mark })
    }

    /// This mark is kept now.
    pub const fn granted(&mut self, reserved: u32) {
        if reserved > self.reserved && reserved <= END {
            self.reserved = reserved;
        }
    }

    /// The mark kept last.
    #[must_use]
    pub const fn reserved(&self) -> u32 {
        self.reserved
    }

    /// Numbers begin anew under a new IV index. None is reserved yet.
    pub const fn restart(&mut self) {
        (self.next, self.reserved) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_out_before_it_is_reserved() {
        let mut sequence = Sequence::resume(0, 4);
        assert_eq!((sequence.take(), sequence.wanted()), (None, Some(4)));
        sequence.granted(4);
        assert_eq!([(); 5].map(|()| sequence.take()), [Some(0), Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn more_is_wanted_when_half_a_block_is_left_and_not_before() {
        let mut sequence = Sequence::resume(0, 4);
        sequence.granted(4);
        assert_eq!((sequence.take(), sequence.wanted()), (Some(0), None));
        assert_eq!((sequence.take(), sequence.wanted()), (Some(1), Some(8)));
    }

    #[test]
    fn after_a_power_cut_it_goes_on_behind_the_mark() {
        let mut sequence = Sequence::resume(0, 4);
        sequence.granted(4);
        let _ = sequence.take();
        let mut again = Sequence::resume(sequence.reserved(), 4);
        assert_eq!(again.take(), None);
        again.granted(8);
        assert_eq!(again.take(), Some(4));
    }

    #[test]
    fn the_last_number_is_the_last() {
        let mut sequence = Sequence::resume(MAX_SEQ, 4);
        assert_eq!(sequence.wanted(), Some(END));
        sequence.granted(END);
        assert_eq!((sequence.take(), sequence.take(), sequence.wanted()), (Some(MAX_SEQ), None, None));
    }
}
