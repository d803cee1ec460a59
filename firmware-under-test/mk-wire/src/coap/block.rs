//! Block values (RFC 7959): number, more flag, size.

/// One block of a body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Block {
    num: u32,
    more: bool,
    szx: u8,
}

/// A block value that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlockError {
    /// Size exponent 7 is reserved on UDP; larger ones do not exist.
    #[error("size exponent {szx}, at most 6 allowed")]
    Size {
        /// The exponent.
        szx: u8,
    },
    /// Block numbers have 20 bits.
    #[error("block number {num} does not fit 20 bits")]
    Number {
        /// The number.
        num: u32,
    },
}

impl Block {
    /// Largest size exponent: 1,024 octets.
    pub const MAX_SZX: u8 = 6;
    /// Largest block number.
    pub const MAX_NUM: u32 = (1 << 20) - 1;

    /// A block value.
    ///
    /// # Errors
    /// A size exponent above 6, or a number of more than 20 bits.
    pub const fn new(num: u32, more: bool, szx: u8) -> Result<Self, BlockError> {
        if szx > Self::MAX_SZX {
            Err(BlockError::Size { szx })
        } else if num > Self::MAX_NUM {
            Err(BlockError::Number { num })
        } else {
            Ok(Block { num, more, szx })
        }
    }

    /// The block that starts at `offset`.
    ///
    /// # Errors
    /// As [`Block::new`]; an offset inside a block gives that block.
    pub const fn at_offset(offset: u32, szx: u8) -> Result<Self, BlockError> {
        if szx > Self::MAX_SZX { Err(BlockError::Size { szx }) } else { Self::new(offset >> (szx + 4), false, szx) }
    }

    /// Reads the number that the option carries.
    ///
    /// # Errors
    /// The reserved size exponent, or more than 24 bits.
    pub const fn from_uint(value: u32) -> Result<Self, BlockError> {
        // Three bits.
        Self::new(value >> 4, value & 8 != 0, (value & 7) as u8)
    }

    /// The number that the option carries.
    #[must_use]
    pub const fn to_uint(self) -> u32 {
        self.num << 4 | (self.more as u32) << 3 | self.szx as u32
    }

    /// Block number.
    #[must_use]
    pub const fn num(self) -> u32 {
        self.num
    }

    /// More blocks follow.
    #[must_use]
    pub const fn more(self) -> bool {
        self.more
    }

    /// Size exponent, 0 to 6.
    #[must_use]
    pub const fn szx(self) -> u8 {
        self.szx
    }

    /// Size in octets, 16 to 1,024.
    #[must_use]
    pub const fn size(self) -> u32 {
        1 << (self.szx + 4)
    }

    /// Offset in the body of the first octet.
    #[must_use]
    pub const fn offset(self) -> u32 {
        self.num << (self.szx + 4)
    }

    /// The same place in blocks of a smaller size, chosen later in a transfer. A larger size is refused, as is a number
    /// that no longer fits.
    ///
    /// # Errors
    /// As [`Block::new`].
    pub const fn in_smaller(self, szx: u8) -> Result<Self, BlockError> {
        if szx > self.szx {
            return Err(BlockError::Size { szx });
        }
        Self::new(self.num << (self.szx - szx), self.more, szx)
    }
}
