//! What is distributed: the image, its signed metadata, and what the package's manifest says of them.
//!
//! The campaign neither parses nor verifies an image: nodes do. It needs to know which version to expect in reports.

use crate::codec;
use alloc::vec::Vec;
use mk_wire::{BlobId, Fwid, Version, vendor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A package as uploaded by an operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// Version of the image; nodes report it once they run it.
    pub version: Version,
    /// Configuration schema the image wants.
    pub config_version: u16,
    /// Firmware Metadata as it goes into Update Start, at most 255 octets.
    pub metadata: Vec<u8>,
    /// The image file.
    pub image: Vec<u8>,
}

/// What the journal keeps of a package.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PackageInfo {
    /// Version of the image.
    #[serde(with = "codec::version")]
    pub version: Version,
    /// Configuration schema the image wants.
    pub config_version: u16,
    /// Firmware Metadata.
    pub metadata: Vec<u8>,
    /// Octets of the image file.
    pub size: u32,
    /// SHA-256 over the image file.
    pub digest: [u8; 32],
}

impl Package {
    /// What the journal keeps of this package.
    #[must_use]
    pub fn info(&self) -> PackageInfo {
        PackageInfo {
            version: self.version,
            config_version: self.config_version,
            metadata: self.metadata.clone(),
            // An image over 4 GB is refused by `Campaign::new`, before this number matters.
            size: u32::try_from(self.image.len()).unwrap_or(u32::MAX),
            digest: Sha256::digest(&self.image).into(),
        }
    }
}

impl PackageInfo {
    /// The firmware id under which gateways store the image.
    #[must_use]
    pub fn fwid(&self) -> Fwid {
        Fwid::of_version(vendor::COMPANY_ID, self.version)
    }

    /// The BLOB id of an upload to a gateway: the first octets of the digest, so that a resumed campaign names the same
    /// upload and another image names another.
    #[must_use]
    pub fn blob_id(&self) -> BlobId {
        let [a, b, c, d, e, f, g, h, ..] = self.digest;
        BlobId(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }
}
