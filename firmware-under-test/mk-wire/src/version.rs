//! Firmware versions as MCUboot stores them: eight octets, little-endian.

use core::fmt;
use core::str::FromStr;

/// A firmware version. Order is that of its fields from left to right; the build number counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Version {
    /// Major number.
    pub major: u8,
    /// Minor number.
    pub minor: u8,
    /// Revision, the third number.
    pub revision: u16,
    /// Build number, written after a plus sign when not zero.
    pub build: u32,
}

impl Version {
    /// Octets of an encoded version.
    pub const SIZE: usize = 8;

    /// A version with build number zero.
    #[must_use]
    pub const fn new(major: u8, minor: u8, revision: u16) -> Self {
        Version { major, minor, revision, build: 0 }
    }

    /// Reads the eight octets of a version.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [major, minor, r0, r1, b0, b1, b2, b3] = bytes;
        Version { major, minor, revision: u16::from_le_bytes([r0, r1]), build: u32::from_le_bytes([b0, b1, b2, b3]) }
    }

    /// The eight octets of this version.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        let [r0, r1] = self.revision.to_le_bytes();
        let [b0, b1, b2, b3] = self.build.to_le_bytes();
        [self.major, self.minor, r0, r1, b0, b1, b2, b3]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.revision)?;
        if self.build != 0 {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

/// A text that is no version: expected `major.minor.revision` or `major.minor.revision+build`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a version: expected MAJOR.MINOR.REVISION or MAJOR.MINOR.REVISION+BUILD with numbers in range")]
pub struct ParseVersionError;

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fn number<T: FromStr>(text: &str) -> Result<T, ParseVersionError> {
            // `u8::from_str` accepts a leading plus sign, a version does not.
            if !text.bytes().all(|c| c.is_ascii_digit()) {
                return Err(ParseVersionError);
            }
            text.parse().map_err(|_| ParseVersionError)
        }
        let (numbers, build) = match text.split_once('+') {
            Some((numbers, build)) => (numbers, number(build)?),
            None => (text, 0),
        };
        let mut fields = numbers.splitn(3, '.');
        let mut next = || fields.next().ok_or(ParseVersionError);
        Ok(Version { major: number(next()?)?, minor: number(next()?)?, revision: number(next()?)?, build })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;
    use std::string::ToString;

    #[rstest]
    #[case("1.2.3", [1, 2, 3, 0, 0, 0, 0, 0])]
    #[case("255.0.65535+4294967295", [255, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])]
    #[case("0.0.0+16909060", [0, 0, 0, 0, 4, 3, 2, 1])]
    fn text_and_octets_say_the_same(#[case] text: &str, #[case] bytes: [u8; 8]) {
        let version: Version = text.parse().unwrap();
        assert_eq!(version.to_bytes(), bytes);
        assert_eq!(Version::from_bytes(bytes), version);
        assert_eq!(version.to_string(), text);
    }

    #[rstest]
    #[case("")]
    #[case("1.2")]
    #[case("1.2.3.4")]
    #[case("256.0.0")]
    #[case("1.2.65536")]
    #[case("1.2.3+")]
    #[case("1.2.+3")]
    #[case("1.2.3+4294967296")]
    fn text_that_is_no_version_is_refused(#[case] text: &str) {
        assert_eq!(text.parse::<Version>(), Err(ParseVersionError));
    }

    #[test]
    fn versions_are_ordered_field_by_field() {
        let mut versions = ["1.10.0", "1.9.9", "2.0.0", "1.10.0+1"].map(|t| t.parse::<Version>().unwrap());
        versions.sort();
        assert_eq!(versions.map(|v| v.to_string()), ["1.9.9", "1.10.0", "1.10.0+1", "2.0.0"]);
    }
}
