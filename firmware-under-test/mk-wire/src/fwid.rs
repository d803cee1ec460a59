//! Firmware identifiers: company id and up to 106 octets that the vendor chooses (section 7).

use crate::version::Version;
use heapless::Vec;

/// Longest vendor part of a firmware id, in octets.
pub const MAX_VERSION: usize = 106;

/// A firmware id as it lies in a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FwidRef<'a> {
    /// Bluetooth company identifier.
    pub company_id: u16,
    /// The vendor's part, 0 to [`MAX_VERSION`] octets.
    pub version: &'a [u8],
}

impl<'a> FwidRef<'a> {
    /// Reads a firmware id that fills `bytes`; `None` if it is shorter than a company id or too long.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (company_id, version) = bytes.split_first_chunk::<2>()?;
        (version.len() <= MAX_VERSION).then_some(FwidRef { company_id: u16::from_le_bytes(*company_id), version })
    }

    /// Octets of the encoded id.
    #[expect(clippy::len_without_is_empty, reason = "a firmware id holds at least its company id")]
    #[must_use]
    pub const fn len(&self) -> usize {
        2 + self.version.len()
    }

    /// A copy that owns its octets; `None` if the vendor's part is too long.
    #[must_use]
    pub fn to_owned(&self) -> Option<Fwid> {
        Some(Fwid { company_id: self.company_id, version: Vec::from_slice(self.version).ok()? })
    }

    /// The version, if this is one of our ids (see [`Fwid::of_version`]).
    #[must_use]
    pub fn mk_version(&self) -> Option<Version> {
        (self.company_id == crate::vendor::COMPANY_ID).then_some(())?;
        Some(Version::from_bytes(self.version.try_into().ok()?))
    }
}

/// A firmware id that owns its octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fwid {
    /// Bluetooth company identifier.
    pub company_id: u16,
    /// The vendor's part.
    pub version: Vec<u8, MAX_VERSION>,
}

impl Fwid {
    /// Octets of an encoded id of ours: company id and version.
    pub const MK_SIZE: usize = 2 + Version::SIZE;

    /// Our firmware id: company id and the eight octets of the version.
    #[must_use]
    pub fn of_version(company_id: u16, version: Version) -> Self {
        let mut octets = Vec::new();
        // Eight octets always fit 106.
        let _ = octets.extend_from_slice(&version.to_bytes());
        Fwid { company_id, version: octets }
    }

    /// The same id, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> FwidRef<'_> {
        FwidRef { company_id: self.company_id, version: &self.version }
    }

    /// The version, if this is one of our ids.
    #[must_use]
    pub fn mk_version(&self) -> Option<Version> {
        self.as_ref().mk_version()
    }
}

/// The ten octets of our firmware id.
#[must_use]
pub fn mk_fwid_bytes(company_id: u16, version: Version) -> [u8; Fwid::MK_SIZE] {
    let [c0, c1] = company_id.to_le_bytes();
    let [v0, v1, v2, v3, v4, v5, v6, v7] = version.to_bytes();
    [c0, c1, v0, v1, v2, v3, v4, v5, v6, v7]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::no_company(1, false)]
    #[case::company_only(2, true)]
    #[case::longest(2 + 106, true)]
    #[case::one_too_long(2 + 107, false)]
    fn a_firmware_id_has_2_to_108_octets(#[case] len: usize, #[case] accepted: bool) {
        let bytes = std::vec![7u8; len];
        let fwid = FwidRef::from_bytes(&bytes);
        assert_eq!(fwid.is_some(), accepted);
        if let Some(fwid) = fwid {
            assert_eq!(fwid.len(), len);
            assert_eq!(fwid.to_owned().unwrap().as_ref(), fwid);
        }
    }

    #[test]
    fn our_firmware_id_is_company_and_version() {
        let version = Version { major: 1, minor: 2, revision: 3, build: 4 };
        let bytes = mk_fwid_bytes(crate::vendor::COMPANY_ID, version);
        assert_eq!(bytes, [0xff, 0xff, 1, 2, 3, 0, 4, 0, 0, 0]);
        let fwid = FwidRef::from_bytes(&bytes).unwrap();
        assert_eq!(fwid.mk_version(), Some(version));
        assert_eq!(fwid, Fwid::of_version(crate::vendor::COMPANY_ID, version).as_ref());
        assert_eq!(FwidRef { company_id: 0x0059, ..fwid }.mk_version(), None);
        assert_eq!(FwidRef { version: &bytes[2..9], ..fwid }.mk_version(), None);
    }
}
