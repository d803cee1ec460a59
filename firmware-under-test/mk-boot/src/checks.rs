//! The checks an image has to pass, as parts that a board's `main` puts in order.
//!
//! The order is the product's promise (protocol sheet "Bootloader", section 1): header, board, **configuration**, version
//! floor, hash, **signature**, golden image. The configuration comes early only for the sake of the message: its verdict on
//! octets that nobody proved yet can only refuse, never write. A list may be shorter or in another order; whoever
//! assembles such a list has built another product.

use mk_wire::{Reason, image::ImageFacts};

/// The image under judgement, as a check sees it. Everything is worked out when first asked for.
pub trait Candidate {
    /// What the parser read.
    ///
    /// # Errors
    /// [`Reason::HeaderBad`], [`Reason::TooLarge`] or [`Reason::FlashFault`] when there is no such image.
    fn facts(&mut self) -> Result<&ImageFacts, Reason>;

    /// Hardware id of this board.
    fn board(&self) -> u32;

    /// Version of the stored configuration; `None`: nothing is stored.
    fn config_version(&mut self) -> Option<u16>;

    /// Security counter of the golden image: nothing below it is installed. `None`: it carries none.
    ///
    /// # Errors
    /// [`Reason::GoldenInvalid`] when there is no golden image to read it from.
    fn floor(&mut self) -> Result<Option<u32>, Reason>;

    /// SHA-256 over the signed octets as the flash holds them.
    ///
    /// # Errors
    /// As [`Candidate::facts`].
    fn digest(&mut self) -> Result<[u8; 32], Reason>;

    /// Whether the image's signature over [`Candidate::digest`] verifies under the provisioned key.
    ///
    /// # Errors
    /// [`Reason::NoKey`], or as [`Candidate::facts`].
    fn signature_verifies(&mut self) -> Result<bool, Reason>;

    /// Whether the golden slot holds an image that passes every check a running image has to pass.
    ///
    /// # Errors
    /// [`Reason::FlashFault`].
    fn golden_is_sound(&mut self) -> Result<bool, Reason>;
}

/// One check. It answers for one thing and refuses with one reason.
pub trait Check: Sync {
    /// Name in traces.
    fn name(&self) -> &'static str;

    /// Accepts, or refuses.
    ///
    /// # Errors
    /// The reason of the refusal.
    fn judge(&self, image: &mut dyn Candidate) -> Result<(), Reason>;
}

/// Header magic, bounds, TLV areas; the payload fits bank A.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBounds;

/// The image is made for this board.
#[derive(Clone, Copy, Debug)]
pub struct BoardId;

/// The image works with the stored configuration, or says that it can migrate it.
#[derive(Clone, Copy, Debug)]
pub struct ConfigMigration;

/// The security counter is not below that of the golden image.
#[derive(Clone, Copy, Debug)]
pub struct VersionFloor;

/// SHA-256 over all signed octets is the one that the hash TLV states.
#[derive(Clone, Copy, Debug)]
pub struct SignedHash;

/// ECDSA-P256 under the provisioned key.
#[derive(Clone, Copy, Debug)]
pub struct EcdsaSignature;

/// There is something to roll back to.
#[derive(Clone, Copy, Debug)]
pub struct GoldenSound;

impl Check for HeaderBounds {
    fn name(&self) -> &'static str {
        "header"
    }

    fn judge(&self, image: &mut dyn Candidate) -> Result<(), Reason> {
        image.facts().map(|_| ())
    }
}

impl Check for BoardId {
    fn name(&self) -> &'static str {
        "board"
    }

    fn judge(&self, image: &mut dyn Candidate) -> Result<(), Reason> {
        let board = image.board();
        if image.facts()?.hardware_id == board { Ok(()) } else { Err(Reason::WrongBoard) }
    }
}

/// Whether an image with these two versions can start on a configuration of version `stored`.
///
/// `made_for` is what the image works with; `oldest` the oldest version its migration handler accepts, `None` without one.
/// A configuration *newer* than the image is never migrated: there are no handlers downwards.
#[must_use]
pub fn config_fits(made_for: u16, oldest: Option<u16>, stored: Option<u16>) -> bool {
    match stored {
        None => true,
        Some(stored) => stored == made_for || (stored < made_for && oldest.is_some_and(|oldest| oldest <= stored)),
    }
}

impl Check for ConfigMigration {
    fn name(&self) -> &'static str {
        "configuration"
    }

    fn judge(&self, image: &mut dyn Candidate) -> Result<(), Reason> {
        let stored = image.config_version();
        let facts = image.facts()?;
        if config_fits(facts.config_migration_version, facts.oldest_migratable_version, stored) {
            Ok(())
        } else {
            Err(Reason::MigrationRequired)
        }
    }
}

impl Check for VersionFloor {
    fn name(&self) -> &'static str {
        "version floor"
    }

    fn judge(&self, image: &mut dyn Candidate) -> Result<(), Reason> {
        // Without a golden image there is no floor to read; the check for the golden image says so in its turn, after
        // the checks that speak of the image itself.
        let floor = image.floor().unwrap_or(None);
        let counter = image.facts()?.security_counter;
        // An image without a counter counts as lower than any image with one.
        if counter >= floor { Ok(()) } else { Err(Reason::VersionTooOld) }
    }
}

impl Check for SignedHash {
    fn name(&self) -> &'static str {
        "hash"
    }

    fn judge(&self, image: &mut dyn Candidate) -> Result<(), Reason> {
        let digest = image.digest()?;
        if image.facts()?.sha256 == digest { Ok(()) } else { Err(Reason::HashMismatch) }
    }
}

impl Check for EcdsaSignature {
    fn name(&self) -> &'static str {
        "signature"
    }

    fn judge(&self, image: &mut dyn Candidate) -> Result<(), Reason> {
        if image.signature_verifies()? { Ok(()) } else { Err(Reason::SignatureBad) }
    }
}

impl Check for GoldenSound {
    fn name(&self) -> &'static str {
        "golden"
    }

    fn judge(&self, image: &mut dyn Candidate) -> Result<(), Reason> {
        if image.golden_is_sound()? { Ok(()) } else { Err(Reason::GoldenInvalid) }
    }
}

/// What a requested image must pass before bank A is touched.
pub static INSTALL_CHECKS: &[&dyn Check] =
    &[&HeaderBounds, &BoardId, &ConfigMigration, &VersionFloor, &SignedHash, &EcdsaSignature, &GoldenSound];

/// What bank A must pass at every boot before it runs, and a slot before it counts as golden.
pub static RUN_CHECKS: &[&dyn Check] = &[&HeaderBounds, &BoardId, &SignedHash, &EcdsaSignature];

/// What the golden image must pass before a roll-back installs it: also that the configuration is still the one it knows.
pub static RETURN_CHECKS: &[&dyn Check] = &[&HeaderBounds, &BoardId, &ConfigMigration, &SignedHash, &EcdsaSignature];
