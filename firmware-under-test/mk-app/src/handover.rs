//! What the application knows of the boot before it: read from flash, not handed over in RAM.
//!
//! The journal says whether the running image is on trial and how the last request ended, bank A says what the image is, and
//! the identity page says who the node is. So a bootloader of one version and an application of another need to agree on
//! nothing but the flash.

use crate::boot_count::{BootCount, BootCountError};
use embedded_storage::nor_flash::ReadNorFlash;
use mk_boot::{
    Area, BootReport, FlashFault, Hardware, PublicKey, ResetCause, Run,
    geometry::Region,
    journal::{Journal, Phase},
    update,
};
use mk_node::{Carrier, Firmware, Settings};
use mk_wire::{
    Reason,
    identity::{Identity, IdentityError},
    time::Duration,
};

/// The application cannot know who or what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandoverError {
    /// The board was not provisioned, or its identity is damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] FlashFault),
    /// The journal is empty: no bootloader ran before this application.
    #[error("the boot journal is empty: no bootloader ran")]
    NoJournal,
    /// Bank A holds no image: the application was put there without header and trailer.
    #[error("bank A has no image header: {0}")]
    NoImage(Reason),
    /// The starts could not be counted.
    #[error(transparent)]
    BootCount(#[from] BootCountError),
}

/// The public key at the start of `page`: 65 octets, SEC1, uncompressed. `None` when the page was never written.
pub fn key<F: ReadNorFlash>(flash: &mut F, page: Region) -> Option<PublicKey> {
    /// Octets of a key, rounded up to whole words: some flash is read in words.
    const READ: usize = 68;
    let mut octets = [0; READ];
    flash.read(page.start, &mut octets).ok()?;
    let key = *octets.first_chunk::<65>()?;
    // Whether it is a point of the curve, the verification finds out.
    key.iter().any(|octet| *octet != 0xFF).then_some(PublicKey(key))
}

/// The identity in `page`.
///
/// # Errors
/// [`IdentityError`]; a page that cannot be read counts as one that is too short.
pub fn identity<F: ReadNorFlash>(flash: &mut F, page: Region) -> Result<Identity, IdentityError> {
    let mut octets = [0; Identity::LENGTH];
    flash.read(page.start, &mut octets).map_err(|_| IdentityError::Truncated { octets: 0 })?;
    Identity::decode(&octets)
}

/// Everything that an application has to know to start.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// Who the node is.
    pub identity: Identity,
    /// What the node's state machine is told.
    pub settings: Settings,
    /// What boot decided.
    pub boot: BootReport,
    /// Starts, this one included.
    pub boot_count: u32,
}

/// Reads what an application has to know to start.
///
/// # Errors
/// [`HandoverError`]: the application must not run.
pub fn provisioned<H: Hardware>(hw: &mut H, cause: ResetCause) -> Result<Provisioned, HandoverError> {
    let geometry = hw.geometry();
    let identity = identity(hw.internal(), geometry.identity)?;
    let boot_count = BootCount::new(geometry.boot_count).load(hw.internal())?;
    let journal = Journal::of(hw);
    let record = journal.load(hw)?.ok_or(HandoverError::NoJournal)?;
    let image = update::image_facts(hw, Area::BankA).map_err(HandoverError::NoImage)?;
    let settings = Settings {
        address: identity.address,
        gateway: identity.gateway,
        carrier: Carrier::Mesh,
        report_interval: Duration::from_millis(u64::from(identity.report_interval_ms)),
        grace_period: Duration::from_millis(u64::from(identity.grace_ms)),
        firmware: Firmware {
            version: image.version(),
            config_version: image.config_migration_version,
            oldest_migratable: image.oldest_migratable_version,
        },
    };
    // `Started` is written right before the jump, so an image that runs under it is on trial.
    let run = Run::Application { trial: record.phase == Phase::Started };
    let boot = BootReport { run, cause, record: Some(record), image: Some(image), decisions: heapless::Vec::new() };
    Ok(Provisioned { identity, settings, boot, boot_count })
}
