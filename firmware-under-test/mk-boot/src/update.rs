//! The application's side of an update: where to stage, how to ask, how to confirm, what became of it.
//!
//! Writes journal records and nothing else. Staging the octets is the receiver's business ([`staging_slot`] says where),
//! installing them is boot's.

use mk_wire::{Reason, Version, image::ImageFacts, metadata::FirmwareMetadata};

use crate::{
    boot::Composition,
    geometry::{Area, Slot},
    hardware::{FlashFault, Hardware},
    inspect::{find, judge},
    journal::{Journal, Outcome, Phase, Record},
};

/// Why an update call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// There is no journal record: the bootloader never ran.
    #[error("the boot journal is empty")]
    NoState,
    /// A request is open already.
    #[error("an update is in phase {0:?} already")]
    Busy(Phase),
    /// There is nothing to confirm: the last request ended like this.
    #[error("no image is on trial, the last request ended {0:?}")]
    NotOnTrial(Outcome),
    /// The journal could not be read or written.
    #[error(transparent)]
    Flash(#[from] FlashFault),
}

/// What a confirmation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The image is confirmed now: its slot is golden, the old golden slot is free.
    Confirmed,
    /// It was confirmed already.
    AlreadyConfirmed,
}

/// What the journal says, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The running image is on trial.
    pub on_trial: bool,
    /// What is going on.
    pub phase: Phase,
    /// How the last request ended.
    pub outcome: Outcome,
    /// Why; [`Reason::None`] when nothing was refused.
    pub reason: Reason,
    /// Number of the last request; 0 before the first.
    pub request: u32,
    /// Version of the image that `outcome` speaks of, while its slot still holds it.
    pub about: Option<Version>,
    /// The slot that may be written.
    pub staging: Slot,
    /// The slot with the copy of the confirmed image.
    pub golden: Option<Slot>,
}

fn load<H: Hardware + ?Sized>(hw: &mut H) -> Result<Record, UpdateError> {
    Journal::of(hw).load(hw)?.ok_or(UpdateError::NoState)
}

/// The slot that a receiver may write. Never the golden one.
///
/// # Errors
/// [`UpdateError::Busy`] while a request is open: then neither slot may be written.
pub fn staging_slot<H: Hardware + ?Sized>(hw: &mut H) -> Result<Slot, UpdateError> {
    let record = load(hw)?;
    match record.phase {
        Phase::Idle => Ok(record.staging()),
        Phase::Pending | Phase::Install | Phase::Trial | Phase::Started | Phase::Rollback => {
            Err(UpdateError::Busy(record.phase))
        }
    }
}

/// Asks boot to install what is staged, at the next reset. Returns the record with the number of the request.
///
/// # Errors
/// [`UpdateError::Busy`] while another request is open.
pub fn request_install<H: Hardware + ?Sized>(hw: &mut H) -> Result<Record, UpdateError> {
    let record = load(hw)?;
    match record.phase {
        Phase::Idle => {}
        Phase::Pending | Phase::Install | Phase::Trial | Phase::Started | Phase::Rollback => {
            return Err(UpdateError::Busy(record.phase));
        }
    }
    let next = Record {
        phase: Phase::Pending,
        target: record.staging(),
        outcome: Outcome::None,
        reason: Reason::None,
        request: record.request.wrapping_add(1) & 0x00FF_FFFF,
        ..record
    };
    Ok(Journal::of(hw).append(hw, next)?)
}

/// Takes a request back that boot has not seen yet.
///
/// # Errors
/// [`UpdateError::NotOnTrial`] when there is none.
pub fn cancel_request<H: Hardware + ?Sized>(hw: &mut H) -> Result<(), UpdateError> {
    let record = load(hw)?;
    if record.phase != Phase::Pending {
        return Err(UpdateError::NotOnTrial(record.outcome));
    }
    let next = Record { phase: Phase::Idle, outcome: Outcome::Rejected, reason: Reason::Cancelled, ..record };
    Journal::of(hw).append(hw, next)?;
    Ok(())
}

/// Confirms the running image: one record, in which the slots change roles. May be called again.
///
/// # Errors
/// [`UpdateError::NotOnTrial`] when the running image is not on trial: above all after a roll-back.
pub fn confirm<H: Hardware + ?Sized>(hw: &mut H) -> Result<Confirmation, UpdateError> {
    let record = load(hw)?;
    match (record.phase, record.outcome) {
        (Phase::Started, _) => {}
        (Phase::Idle, Outcome::Confirmed) => return Ok(Confirmation::AlreadyConfirmed),
        (_, outcome) => return Err(UpdateError::NotOnTrial(outcome)),
    }
    let next = Record {
        phase: Phase::Idle,
        golden: Some(record.target),
        outcome: Outcome::Confirmed,
        reason: Reason::None,
        ..record
    };
    Journal::of(hw).append(hw, next)?;
    Ok(Confirmation::Confirmed)
}

/// Gives the running trial up, for a reason the application knows better than boot: a migration handler that failed.
/// The roll-back happens at the next reset, which the application causes.
///
/// # Errors
/// [`UpdateError::NotOnTrial`] when there is no trial.
pub fn abandon_trial<H: Hardware + ?Sized>(hw: &mut H, reason: Reason) -> Result<(), UpdateError> {
    let record = load(hw)?;
    if record.phase != Phase::Started {
        return Err(UpdateError::NotOnTrial(record.outcome));
    }
    Journal::of(hw).append(hw, Record { phase: Phase::Rollback, reason, ..record })?;
    Ok(())
}

/// What the journal says.
///
/// # Errors
/// [`UpdateError::NoState`] or a read that failed.
pub fn status<H: Hardware + ?Sized>(hw: &mut H) -> Result<Status, UpdateError> {
    let record = load(hw)?;
    let about = match record.request {
        0 => None,
        _ => find(hw, Area::Slot(record.target)).ok().map(|found| found.facts.version()),
    };
    Ok(Status {
        on_trial: record.phase == Phase::Started,
        phase: record.phase,
        outcome: record.outcome,
        reason: record.reason,
        request: record.request,
        about,
        staging: record.staging(),
        golden: record.golden,
    })
}

/// What the parser reads in an area. Proves nothing about hash or signature.
///
/// # Errors
/// [`Reason::HeaderBad`], [`Reason::TooLarge`] or [`Reason::FlashFault`].
pub fn image_facts<H: Hardware + ?Sized>(hw: &mut H, area: Area) -> Result<ImageFacts, Reason> {
    find(hw, area).map(|found| found.facts)
}

/// The Verifying phase: the staged image against boot's own install checks, in boot's order, and then against the Firmware
/// Metadata it was announced with. Writes nothing.
///
/// # Errors
/// The reason of the first check that refused; [`Reason::MetadataMismatch`] when image and metadata differ.
pub fn verify_staged<H: Hardware + ?Sized, E>(
    hw: &mut H,
    composition: &Composition<'_, E>,
    metadata: Option<&FirmwareMetadata>,
) -> Result<ImageFacts, Reason> {
    let record = load(hw).map_err(|_| Reason::FlashFault)?;
    let area = Area::Slot(record.staging());
    judge(hw, area, record.golden, composition.install_checks, composition.run_checks)?;
    let facts = find(hw, area)?.facts;
    match metadata {
        Some(metadata) if !agrees(&facts, metadata) => Err(Reason::MetadataMismatch),
        Some(_) | None => Ok(facts),
    }
}

/// Whether image and metadata say the same wherever both speak (design, section 5.2).
#[must_use]
pub fn agrees(facts: &ImageFacts, metadata: &FirmwareMetadata) -> bool {
    facts.version() == metadata.version
        && facts.hardware_id == metadata.hardware_id
        && facts.config_migration_version == metadata.config_migration_version
        && facts.oldest_migratable_version == metadata.oldest_migratable_version
        && facts.total_len == metadata.size
        && facts.sha256 == metadata.sha256
}
