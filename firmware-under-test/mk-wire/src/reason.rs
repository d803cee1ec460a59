//! Why a node refused, gave up or rolled back: one list for boot journal, node reports and the campaign's journal.
//!
//! The codes are stored in flash and sent over the air, so a code is never reused and never changes its sense. The
//! texts are what an operator reads.

use crate::codec::wire_enum;
use core::fmt;

wire_enum! {
    /// The reason that goes with an outcome; [`Reason::None`] where nothing went wrong.
    pub enum Reason {
        /// Nothing was refused.
        None = 0,
        /// The image header or its TLV areas are malformed.
        HeaderBad = 1,
        /// The image is for another board.
        WrongBoard = 2,
        /// The stored configuration cannot be brought to the image's schema.
        MigrationRequired = 3,
        /// The image's security counter is under the floor.
        VersionTooOld = 4,
        /// The SHA-256 over the signed octets is not the one the image names.
        HashMismatch = 5,
        /// The image signature does not verify under the provisioned key, or there is none.
        SignatureBad = 6,
        /// No key is provisioned, so nothing can be verified.
        NoKey = 7,
        /// Firmware Metadata and image do not say the same.
        MetadataMismatch = 8,
        /// The signature over the Firmware Metadata does not verify.
        MetadataSignatureBad = 9,
        /// The image does not fit its slot.
        TooLarge = 10,
        /// The gateway did not acknowledge the first-boot confirmation within the grace period. A crashed or hung image
        /// looks the same from the bootloader, so there is no separate code for it.
        NotConfirmedInTime = 11,
        /// The golden slot holds no valid image, so there would be nothing to roll back to.
        GoldenInvalid = 12,
        /// A flash operation failed or did not read back.
        FlashFault = 13,
        /// Bank A differs from the staged image after every install pass.
        InstallFailed = 14,
        /// The new image's migration handler failed.
        MigrationFailed = 15,
        /// The node did not answer.
        Unreachable = 16,
        /// The BLOB transfer did not complete.
        TransferFailed = 17,
        /// The Firmware Metadata is not laid out as it should be.
        MetadataBad = 18,
        /// An operator cancelled the update.
        Cancelled = 19,
        /// Bank A did not hold the image that the journal says it should, and was copied again from golden.
        BankCorrupted = 20,
    }
}

impl Reason {
    /// What an operator reads.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Reason::None => "no reason to report",
            Reason::HeaderBad => "update rejected - image header malformed",
            Reason::WrongBoard => "update rejected - image is for another board",
            Reason::MigrationRequired => "update rejected - migration required",
            Reason::VersionTooOld => "update rejected - older than the version floor",
            Reason::HashMismatch => "update rejected - image hash mismatch",
            Reason::SignatureBad => "update rejected - image signature invalid",
            Reason::NoKey => "update rejected - no verification key provisioned",
            Reason::MetadataMismatch => "update rejected - metadata and image disagree",
            Reason::MetadataSignatureBad => "update rejected - metadata signature invalid",
            Reason::TooLarge => "update rejected - image too large",
            Reason::NotConfirmedInTime => "rolled back - not confirmed within the grace period",
            Reason::GoldenInvalid => "update rejected - no valid image to roll back to",
            Reason::FlashFault => "flash fault",
            Reason::InstallFailed => "rolled back - installed image did not read back",
            Reason::MigrationFailed => "rolled back - configuration migration failed",
            Reason::Unreachable => "node unreachable",
            Reason::TransferFailed => "transfer failed",
            Reason::MetadataBad => "update rejected - metadata malformed",
            Reason::Cancelled => "update cancelled",
            Reason::BankCorrupted => "running bank restored from the golden image",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use std::collections::BTreeSet;

    #[test]
    fn a_missing_migration_reads_as_the_product_says() {
        assert_eq!(Reason::MigrationRequired.text(), "update rejected - migration required");
    }

    #[test]
    fn every_reason_has_its_own_code_and_text() {
        let codes: BTreeSet<u8> = Reason::ALL.iter().map(|r| *r as u8).collect();
        let texts: BTreeSet<&str> = Reason::ALL.iter().map(|r| r.text()).collect();
        assert_eq!((codes.len(), texts.len()), (Reason::ALL.len(), Reason::ALL.len()));
        for value in 0..=u8::MAX {
            assert_eq!(Reason::from_u8(value).map(|r| r as u8), codes.contains(&value).then_some(value));
        }
    }
}
