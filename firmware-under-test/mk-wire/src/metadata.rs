//! The Firmware Metadata of our images: what a node must know to refuse a hopeless update before any air time or erase.
//!
//! 116 octets, little-endian (design section 5.2). The signature covers everything before it, prefixed with a domain
//! tag and the company id so that no other signature of the same key can be passed off as metadata. This module says
//! which octets are signed; it verifies nothing.

use crate::fwid::Fwid;
use crate::version::Version;

/// Value of [`FirmwareMetadata::oldest_migratable_version`] on the wire when the image has no migration handler.
const NO_HANDLER: u16 = 0xFFFF;
/// Octets before the signature.
const FACTS: usize = FirmwareMetadata::SIZE - FirmwareMetadata::SIGNATURE_SIZE;

/// The facts an operator's package promises about an image, and the release key's signature over them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirmwareMetadata {
    /// Version of the image.
    pub version: Version,
    /// Board the image is for.
    pub hardware_id: u32,
    /// Configuration schema the image's application expects.
    pub config_migration_version: u16,
    /// Oldest schema that the image's migration handler accepts; `None` if it has no handler.
    pub oldest_migratable_version: Option<u16>,
    /// Length of the image file in octets.
    pub size: u32,
    /// The image's own SHA-256 (TLV 0x10).
    pub sha256: [u8; 32],
    /// ECDSA-P256 signature over [`FirmwareMetadata::signed_bytes`]: r then s, big-endian.
    pub signature: [u8; Self::SIGNATURE_SIZE],
}

/// Metadata of a length other than [`FirmwareMetadata::SIZE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("firmware metadata has {len} octets, expected {}", FirmwareMetadata::SIZE)]
pub struct MetadataLengthError {
    /// Octets given.
    pub len: usize,
}

impl FirmwareMetadata {
    /// Octets of encoded metadata.
    pub const SIZE: usize = 116;
    /// Octets of the signature at its end.
    pub const SIGNATURE_SIZE: usize = 64;
    /// Octets that the signature covers.
    pub const SIGNED_SIZE: usize = 5 + 2 + FACTS;

    /// Reads metadata. Every string of the right length is some metadata; whether it is ours, the signature tells.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MetadataLengthError> {
        let bytes: &[u8; Self::SIZE] = bytes.try_into().map_err(|_| MetadataLengthError { len: bytes.len() })?;
        let oldest = u16::from_le_bytes(part(bytes, 14));
        Ok(FirmwareMetadata {
            version: Version::from_bytes(part(bytes, 0)),
            hardware_id: u32::from_le_bytes(part(bytes, 8)),
            config_migration_version: u16::from_le_bytes(part(bytes, 12)),
            oldest_migratable_version: (oldest != NO_HANDLER).then_some(oldest),
            size: u32::from_le_bytes(part(bytes, 16)),
            sha256: part(bytes, 20),
            signature: part(bytes, FACTS),
        })
    }

    /// The 116 octets of this metadata.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[0..8].copy_from_slice(&self.version.to_bytes());
        out[8..12].copy_from_slice(&self.hardware_id.to_le_bytes());
        out[12..14].copy_from_slice(&self.config_migration_version.to_le_bytes());
        out[14..16].copy_from_slice(&self.oldest_migratable_version.unwrap_or(NO_HANDLER).to_le_bytes());
        out[16..20].copy_from_slice(&self.size.to_le_bytes());
        out[20..FACTS].copy_from_slice(&self.sha256);
        out[FACTS..].copy_from_slice(&self.signature);
        out
    }

    /// The octets under the signature: "MKMD1", company id (little-endian), every octet before the signature.
    #[must_use]
    pub fn signed_bytes(&self, company_id: u16) -> [u8; Self::SIGNED_SIZE] {
        let mut out = [0; Self::SIGNED_SIZE];
        out[..5].copy_from_slice(b"MKMD1");
        out[5..7].copy_from_slice(&company_id.to_le_bytes());
        out[7..].copy_from_slice(&self.to_bytes()[..FACTS]);
        out
    }

    /// The firmware id of the image this metadata speaks of.
    #[must_use]
    pub fn fwid(&self, company_id: u16) -> Fwid {
        Fwid::of_version(company_id, self.version)
    }
}

/// `N` octets from `offset`; all uses are constant and inside the array.
fn part<const N: usize>(bytes: &[u8; FirmwareMetadata::SIZE], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[offset..offset + N]);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn sample() -> FirmwareMetadata {
        FirmwareMetadata {
            version: Version { major: 1, minor: 2, revision: 0x0304, build: 0x05060708 },
            hardware_id: 0x11223344,
            config_migration_version: 0x0A0B,
            oldest_migratable_version: Some(0x0C0D),
            size: 0x00080000,
            sha256: [0xAA; 32],
            signature: [0xBB; 64],
        }
    }

    #[test]
    fn the_layout_is_that_of_the_design() {
        let bytes = sample().to_bytes();
        let mut expected =
            std::vec![1, 2, 4, 3, 8, 7, 6, 5, 0x44, 0x33, 0x22, 0x11, 0x0B, 0x0A, 0x0D, 0x0C, 0, 0, 8, 0];
        expected.extend([0xAA; 32]);
        expected.extend([0xBB; 64]);
        assert_eq!(bytes.as_slice(), expected);
    }

    #[test]
    fn the_signature_covers_tag_company_and_every_fact_but_itself() {
        let metadata = sample();
        let signed = metadata.signed_bytes(0x0159);
        assert_eq!(&signed[..7], b"MKMD1\x59\x01");
        assert_eq!(signed[7..], metadata.to_bytes()[..52]);
    }

    #[rstest]
    #[case::empty(0)]
    #[case::one_short(115)]
    #[case::one_long(117)]
    fn another_length_is_refused(#[case] len: usize) {
        assert_eq!(FirmwareMetadata::from_bytes(&std::vec![0; len]), Err(MetadataLengthError { len }));
    }

    #[test]
    fn no_handler_is_not_the_same_as_handler_from_version_zero() {
        let none = FirmwareMetadata { oldest_migratable_version: None, ..sample() };
        let zero = FirmwareMetadata { oldest_migratable_version: Some(0), ..sample() };
        assert_ne!(none.to_bytes(), zero.to_bytes());
        assert_eq!(FirmwareMetadata::from_bytes(&none.to_bytes()).unwrap(), none);
    }

    proptest! {
        #[test]
        fn any_116_octets_survive_the_round_trip(bytes in proptest::array::uniform32(any::<u8>()), fill: u8) {
            let mut raw = [fill; FirmwareMetadata::SIZE];
            raw[..32].copy_from_slice(&bytes);
            prop_assert_eq!(FirmwareMetadata::from_bytes(&raw).unwrap().to_bytes(), raw);
        }
    }
}
