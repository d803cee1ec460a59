//! The stretches of a node's life that are swept, and how each may end.

use mk_boot::{
    Composition, FlashFault, ResetCause, Run, boot,
    boot::BootReport,
    engine::Engine,
    journal::{Journal, Outcome, Phase, Record},
    update::{self, UpdateError},
};

use crate::{rig::Rig, scene::Scene};

/// What the node does while the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Journey {
    /// The application asks for the staged image.
    Request,
    /// Boot checks it, installs it and starts the trial.
    Install,
    /// The application confirms.
    Confirm,
    /// Boot rolls an unconfirmed image back.
    RollBack,
}

impl Journey {
    /// All four, in the order of a life.
    pub const ALL: [Self; 4] = [Self::Request, Self::Install, Self::Confirm, Self::RollBack];

    /// Name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Install => "install",
            Self::Confirm => "confirm",
            Self::RollBack => "roll back",
        }
    }

    /// Brings a board from the scene to where this journey starts.
    pub(crate) fn prepare<const PAGE: usize, E: Engine<Rig<PAGE>>>(
        self,
        rig: &mut Rig<PAGE>,
        composition: &Composition<'_, E>,
    ) -> Result<(), UpdateError> {
        match self {
            Self::Request => {}
            Self::Install => {
                update::request_install(rig)?;
            }
            Self::Confirm | Self::RollBack => {
                update::request_install(rig)?;
                boot(rig, composition, ResetCause::Software)?;
            }
        }
        Ok(())
    }

    /// The journey itself.
    pub(crate) fn travel<const PAGE: usize, E: Engine<Rig<PAGE>>>(
        self,
        rig: &mut Rig<PAGE>,
        composition: &Composition<'_, E>,
    ) -> Result<(), UpdateError> {
        match self {
            Self::Request => update::request_install(rig).map(|_| ()),
            Self::Install => Ok(boot(rig, composition, ResetCause::Software).map(|_| ())?),
            Self::Confirm => update::confirm(rig).map(|_| ()),
            Self::RollBack => Ok(boot(rig, composition, ResetCause::Watchdog).map(|_| ())?),
        }
    }

    /// How the boot after a cut must end, given what the journal said when the power came back.
    pub(crate) const fn expected_end(phase: Phase, outcome: Outcome) -> Option<End> {
        match (phase, outcome) {
            (Phase::Idle, Outcome::None) => Some(End::OldUndisturbed),
            (Phase::Idle, Outcome::Confirmed) => Some(End::NewConfirmed),
            (Phase::Idle, Outcome::RolledBack) => Some(End::RolledBack),
            // No journey of a good image ends in a rejection, and golden is sound in every one of them.
            (Phase::Idle, Outcome::Rejected | Outcome::Kept | Outcome::Restored) => None,
            (Phase::Pending | Phase::Install | Phase::Trial, _) => Some(End::NewOnTrial),
            (Phase::Started | Phase::Rollback, _) => Some(End::RolledBack),
        }
    }
}

/// How the boot after a cut ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The old image runs, and no request is known.
    OldUndisturbed,
    /// The new image runs for the first time.
    NewOnTrial,
    /// The new image runs and is confirmed.
    NewConfirmed,
    /// The old image runs, and the journal says why.
    RolledBack,
}

/// Which image bank A holds, octet for octet, as a probe would read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The old one, complete.
    Old,
    /// The new one, complete.
    New,
    /// Neither of them.
    Neither,
}

impl<const PAGE: usize> Scene<PAGE> {
    /// Compares bank A with both images without asking the bootloader.
    #[must_use]
    pub fn held(&self, rig: &Rig<PAGE>) -> Held {
        let geometry = mk_boot::Hardware::geometry(rig);
        let payload = geometry.bank_a.start..geometry.bank_a.start + self.used;
        let trailer = geometry.trailer().start..geometry.trailer().end();
        for (image, held) in [(&self.old, Held::Old), (&self.new, Held::New)] {
            if rig.internal.same_octets(image, trailer.clone()) && rig.internal.same_octets(image, payload.clone()) {
                return held;
            }
        }
        Held::Neither
    }
}

/// What boot claims and what bank A holds, brought together; `None` when they do not fit each other.
pub(crate) fn end_of(report: &BootReport, held: Held) -> Option<End> {
    let record = report.record?;
    match (report.run, held, record.phase, record.outcome) {
        (Run::Application { trial: false }, Held::Old, Phase::Idle, Outcome::None) => Some(End::OldUndisturbed),
        (Run::Application { trial: true }, Held::New, Phase::Started, Outcome::None) => Some(End::NewOnTrial),
        (Run::Application { trial: false }, Held::New, Phase::Idle, Outcome::Confirmed) => Some(End::NewConfirmed),
        (Run::Application { trial: false }, Held::Old, Phase::Idle, Outcome::RolledBack)
            if record.reason == mk_wire::Reason::NotConfirmedInTime =>
        {
            Some(End::RolledBack)
        }
        _ => None,
    }
}

/// The newest record, without its number: the state.
pub(crate) fn state<const PAGE: usize>(rig: &mut Rig<PAGE>) -> Result<Option<Record>, FlashFault> {
    Ok(Journal::of(rig).load(rig)?.map(|record| Record { sequence: 0, ..record }))
}
