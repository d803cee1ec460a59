//! Lines on the debug UART without the formatting machinery of the core library, which would take a tenth of a bootloader.

/// A piece of a line.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Text.
    Text(&'a str),
    /// A number, decimal.
    Number(u32),
    /// An address, eight hexadecimal digits.
    Address(u32),
}

/// Room for the digits of a piece.
pub type Digits = [u8; 10];

impl<'a> Piece<'a> {
    /// The octets of the piece; `digits` is room for numbers.
    pub fn octets(self, digits: &'a mut Digits) -> &'a [u8] {
        let (mut rest, base, least) = match self {
            Piece::Text(text) => return text.as_bytes(),
            Piece::Number(number) => (number, 10, 1),
            Piece::Address(address) => (address, 16, 8),
        };
        let mut at = digits.len();
        while rest > 0 || digits.len() - at < least {
            at -= 1;
            digits[at] = b"0123456789abcdef"[(rest % base) as usize];
            rest /= base;
        }
        &digits[at..]
    }
}

/// Sends a line piece by piece.
pub fn line(pieces: &[Piece<'_>], mut send: impl FnMut(&[u8])) {
    for piece in pieces {
        send(piece.octets(&mut [0; 10]));
    }
    send(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::{Piece, line};
    use std::vec::Vec;

    #[test]
    fn numbers_have_no_leading_zeros_and_addresses_eight_digits() {
        let mut sent = Vec::new();
        let pieces =
            [Piece::Number(0), Piece::Text(" "), Piece::Number(u32::MAX), Piece::Text(" "), Piece::Address(0xE8)];
        line(&pieces, |octets| sent.extend_from_slice(octets));
        assert_eq!(sent, b"0 4294967295 000000e8\r\n");
    }
}
