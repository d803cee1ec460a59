//! The machine: what goes in, what comes out, and when it wants to be called again.

mod state;
mod view;

use self::state::State;
use crate::alert::Alert;
use crate::fleet::{FleetError, NodeInfo};
use crate::journal::{OperatorOrder, Record, Setup};
use crate::package::Package;
use crate::policy::{Policy, PolicyError};
use crate::stages::Parts;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use mk_wire::Addr;
use mk_wire::north::{Notice, Order};
use mk_wire::time::Instant;

/// A campaign that cannot be created.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CampaignError {
    /// The policy cannot be carried out.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    /// The fleet cannot be addressed.
    #[error("fleet: {0}")]
    Fleet(#[from] FleetError),
    /// A package cannot be sent: no image, an image over 4 GB, or metadata over 255 octets.
    #[error("package {version}: image of {image} octets with metadata of {metadata} octets cannot be distributed")]
    Package {
        /// Its version.
        version: mk_wire::Version,
        /// Octets of its image.
        image: usize,
        /// Octets of its metadata.
        metadata: usize,
    },
    /// The package to roll back to has the version that is distributed: no report could tell the two apart.
    #[error("the package to roll back to has the same version, {0}, as the one distributed")]
    SameVersion(mk_wire::Version),
}

/// A journal that no campaign can be resumed from.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResumeError {
    /// The first record is not [`Record::Created`].
    #[error("the journal does not begin with the creation of a campaign")]
    NotCreated,
    /// The setup in the journal is not one that a campaign can be created from.
    #[error("journalled setup: {0}")]
    Setup(#[from] CampaignError),
    /// A package differs from the one that the campaign was created with.
    #[error(
        "the package given has version {given:?}, the campaign was created with {journalled:?}, or their images differ"
    )]
    OtherPackage {
        /// Version given.
        given: Option<mk_wire::Version>,
        /// Version in the journal.
        journalled: Option<mk_wire::Version>,
    },
    /// A record speaks of a node, stage or distribution that does not exist, or cannot follow the ones before it.
    #[error("record {index} of the journal does not follow from the ones before it")]
    Inconsistent {
        /// Which record, from 0.
        index: usize,
    },
}

/// An operator's order that was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrderError {
    /// The campaign does not run.
    #[error("the campaign is not running")]
    NotRunning,
    /// Resume without a pause, or a pause while paused.
    #[error("the order does not fit: the campaign is {}", if *.paused { "paused already" } else { "not paused" })]
    WrongState {
        /// Whether it is paused.
        paused: bool,
    },
    /// There is no package to roll back to.
    #[error("no package to roll back to was given")]
    NoRollBackPackage,
}

/// A campaign.
pub struct Campaign {
    state: State,
    parts: Parts,
    images: Images,
    orders: VecDeque<(Addr, Order)>,
    alerts: VecDeque<Alert>,
    journal: VecDeque<Record>,
}

/// The image files; the journal holds only their digests.
struct Images {
    package: Vec<u8>,
    rollback: Vec<u8>,
}

impl Campaign {
    /// A new campaign: checks everything, journals [`Record::Created`], and waits for [`Campaign::start`].
    ///
    /// # Errors
    /// A policy, fleet or package that no campaign can be made of.
    pub fn new(
        policy: Policy,
        fleet: Vec<NodeInfo>,
        package: Package,
        rollback: Option<Package>,
        parts: Parts,
    ) -> Result<Self, CampaignError> {
        for package in [Some(&package), rollback.as_ref()].into_iter().flatten() {
            check_package(package)?;
        }
        if rollback.as_ref().is_some_and(|old| old.version == package.version) {
            return Err(CampaignError::SameVersion(package.version));
        }
        let setup = Setup { policy, fleet, package: package.info(), rollback: rollback.as_ref().map(Package::info) };
        let mut campaign = Self::assemble(setup.clone(), package, rollback, parts)?;
        campaign.journal.push_back(Record::Created(setup));
        Ok(campaign)
    }

    /// The campaign whose journal is given, as it was when the last of these records was made. The host calls
    /// [`Campaign::on_timer`] next, or [`Campaign::start`] if the journal ends before the start.
    ///
    /// # Errors
    /// Records that are no campaign's journal, or packages that are not the journalled ones.
    pub fn resume(
        records: impl IntoIterator<Item = Record>,
        package: Package,
        rollback: Option<Package>,
        parts: Parts,
    ) -> Result<Self, ResumeError> {
        let mut records = records.into_iter();
        let Some(Record::Created(setup)) = records.next() else { return Err(ResumeError::NotCreated) };
        for (given, journalled) in [
            (Some(package.info()), Some(&setup.package)),
            (rollback.as_ref().map(Package::info), setup.rollback.as_ref()),
        ] {
            if given.as_ref() != journalled {
                let (given, journalled) = (given.map(|p| p.version), journalled.map(|p| p.version));
                return Err(ResumeError::OtherPackage { given, journalled });
            }
        }
        let mut campaign = Self::assemble(setup, package, rollback, parts)?;
        for (index, record) in (1..).zip(records) {
            campaign.state.apply(&record).map_err(|_| ResumeError::Inconsistent { index })?;
        }
        Ok(campaign)
    }

    fn assemble(
        setup: Setup,
        package: Package,
        rollback: Option<Package>,
        parts: Parts,
    ) -> Result<Self, CampaignError> {
        Ok(Campaign {
            state: State::new(setup)?,
            parts,
            images: Images { package: package.image, rollback: rollback.map(|p| p.image).unwrap_or_default() },
            orders: VecDeque::new(),
            alerts: VecDeque::new(),
            journal: VecDeque::new(),
        })
    }

    /// Begins. Has no effect on a campaign that has begun.
    pub fn start(&mut self, now: Instant) {}

    /// A notice from a gateway.
    pub fn on_notice(&mut self, now: Instant, gateway: Addr, notice: &Notice) {}

    /// An order of the operator.
    ///
    /// # Errors
    /// An order that does not fit; nothing changes.
    pub fn on_order(&mut self, now: Instant, order: OperatorOrder) -> Result<(), OrderError> {
        Ok(())
    }

    /// Something may be due.
    pub fn on_timer(&mut self, now: Instant) {}

    /// When [`Campaign::on_timer`] is next wanted; `None` when only a notice or an order can change anything.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        None
    }

    /// The next order to a gateway. To be carried out after every record of [`Campaign::poll_journal`] is persisted.
    pub fn poll_order(&mut self) -> Option<(Addr, Order)> {
        self.orders.pop_front()
    }

    /// The next alert to the operator. To be given after every record of [`Campaign::poll_journal`] is persisted.
    pub fn poll_alert(&mut self) -> Option<Alert> {
        self.alerts.pop_front()
    }

    /// The next journal record to persist.
    pub fn poll_journal(&mut self) -> Option<Record> {
        self.journal.pop_front()
    }
}

/// Can this package be sent at all?
fn check_package(package: &Package) -> Result<(), CampaignError> {
    let (image, metadata) = (package.image.len(), package.metadata.len());
    if image == 0 || u32::try_from(image).is_err() || metadata > 255 {
        return Err(CampaignError::Package { version: package.version, image, metadata });
    }
    Ok(())
}
