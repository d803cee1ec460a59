//! The check of Firmware Metadata at Update Start and Metadata Check: the layer that refuses a hopeless update before any air
//! time and any erase. It reads, and writes nothing.
//!
//! Order: layout, board, **configuration**, size, key, **signature**; the first refusal is the reason. The configuration comes
//! before the signature so that an operator reads "migration required" and not a symptom; a refusal needs no proof. There
//! is no version floor here: the floor is the image's security counter, which the metadata does not carry, so it is judged
//! in Verifying and by boot.

use mk_boot::{Slot, checks::config_fits};
use mk_wire::{Reason, metadata::FirmwareMetadata, vendor::COMPANY_ID};
use p256::ecdsa::Signature;
use sha2::{Digest, Sha256};

use crate::hardware::NodeHardware;

/// Judges metadata for this board and for a stored configuration of schema `stored`.
///
/// # Errors
/// The reason, and the metadata as far as it could be read, so that a report can name the version.
pub(crate) fn check<H: NodeHardware>(
    bytes: &[u8],
    stored: u16,
    hw: &mut H,
) -> Result<FirmwareMetadata, (Reason, Option<FirmwareMetadata>)> {
    let metadata = FirmwareMetadata::from_bytes(bytes).map_err(|_| (Reason::MetadataBad, None))?;
    match judge(&metadata, stored, hw) {
        Ok(()) => Ok(metadata),
        Err(reason) => Err((reason, Some(metadata))),
    }
}

fn judge<H: NodeHardware>(metadata: &FirmwareMetadata, stored: u16, hw: &mut H) -> Result<(), Reason> {
    let geometry = hw.geometry();
    if metadata.hardware_id != geometry.hardware_id {
        return Err(Reason::WrongBoard);
    }
    if !config_fits(metadata.config_migration_version, metadata.oldest_migratable_version, Some(stored)) {
        return Err(Reason::MigrationRequired);
    }
    // Both slots are of one length; a size of nothing could never be transferred.
    if metadata.size > geometry.slot(Slot::Zero).length {
        return Err(Reason::TooLarge);
    }
    if metadata.size == 0 {
        return Err(Reason::MetadataBad);
    }
    let key = hw.key().ok_or(Reason::NoKey)?;
    let digest: [u8; 32] = Sha256::digest(metadata.signed_bytes(COMPANY_ID)).into();
    // Refuses r or s that are zero or not below the order of the curve.
    let signature = Signature::from_slice(&metadata.signature).map_err(|_| Reason::MetadataSignatureBad)?;
    if hw.verify_p256(&key, &digest, signature.to_der().as_bytes()) {
        Ok(())
    } else {
        Err(Reason::MetadataSignatureBad)
    }
}
