//! Hexadecimal digits as QEMU's sockets and the probe protocol want them. Knows nothing of either.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends two lower-case digits for each octet.
pub(crate) fn append(out: &mut Vec<u8>, octets: &[u8]) {
    out.reserve(2 * octets.len());
    for octet in octets {
        out.push(DIGITS[usize::from(octet >> 4)]);
        out.push(DIGITS[usize::from(octet & 15)]);
    }
}

/// The octets as a text of digits.
pub(crate) fn text(octets: &[u8]) -> String {
    let mut out = Vec::new();
    append(&mut out, octets);
    String::from_utf8(out).unwrap_or_default()
}

/// The value of a digit.
pub(crate) fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

/// Fills `out` from twice as many digits; `None` if there are fewer or other characters.
pub(crate) fn read(digits: &[u8], out: &mut [u8]) -> Option<()> {
    if digits.len() < 2 * out.len() {
        return None;
    }
    for (octet, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *octet = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

/// A number of up to 16 digits; `None` for none, more, or other characters.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0, |value, character| Some(value << 4 | u64::from(digit(*character)?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn digits_come_back_as_the_octets_they_were() {
        let octets: Vec<u8> = (0..=255).collect();
        let mut back = vec![0; 256];
        read(text(&octets).as_bytes(), &mut back).unwrap();
        assert_eq!(back, octets);
    }

    #[test]
    fn what_is_no_digit_is_no_number() {
        assert_eq!(number(b"5fA0"), Some(0x5FA0));
        for bad in [&b""[..], b"12g4", b"0x12", b"11112222333344445"] {
            assert_eq!(number(bad), None);
        }
        assert_eq!(read(b"12z4", &mut [0; 2]), None);
        assert_eq!(read(b"123", &mut [0; 2]), None);
    }
}
