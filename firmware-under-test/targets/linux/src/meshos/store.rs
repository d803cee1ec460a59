//! Campaigns on disk: one folder each, numbered, of which the last is the present one.
//!
//! ```text
//! campaigns/0001/origin        microseconds from 1970 to the campaign's instant zero
//!                package       the image file
//!                rollback      the old image file, if there is one
//!                journal       the campaign machine's journal
//! ```
//! A folder is made under another name and renamed when everything in it is on the disk: a crash leaves a whole campaign or
//! none.

use crate::api::meshos::CampaignClock;
use crate::disk::{self, Append, DiskError};
use mk_campaign::journal::{self, DamagedJournal, EncodeError};
use mk_campaign::{Campaign, Package, PackageInfo, Parts, Record};
use mk_wire::time::Instant;
use std::path::{Path, PathBuf};

/// Largest image file read.
const MOST_IMAGE: u64 = 16 << 20;
/// Name of a folder that is being made.
const UNFINISHED: &str = "unfinished";

/// A campaign on disk that cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The journal.
    #[error("{path}: {error}")]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong.
        error: DamagedJournal,
    },
    /// A record is too long.
    #[error("a journal record cannot be written: {0}; the fleet is too large for one campaign")]
    Record(#[from] EncodeError),
    /// The journal and the files beside it do not fit each other.
    #[error("{path}: {problem}")]
    Contents {
        /// The campaign's folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The present campaign's files.
#[derive(Debug)]
pub struct Store {
    number: u32,
    clock: CampaignClock,
    journal: Append,
}

/// A campaign that was under way.
pub struct Found {
    pub store: Store,
    pub campaign: Campaign,
    pub records: u32,
    /// No later than this was the latest record made.
    pub latest: Instant,
}

fn campaigns(folder: &Path) -> PathBuf {
    folder.join("campaigns")
}

/// Number of the last campaign in a folder; 0: there is none.
fn last_number(folder: &Path) -> Result<u32, DiskError> {
    let names = disk::list(&campaigns(folder))?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).max().unwrap_or(0))
}

impl Store {
    /// Number of the campaign.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Where its times begin.
    pub const fn clock(&self) -> CampaignClock {
        self.clock
    }

    /// Makes the folder of a new campaign, with its first records.
    pub fn create(
        folder: &Path,
        clock: CampaignClock,
        package: &Package,
        rollback: Option<&Package>,
        records: &[Record],
    ) -> Result<Self, StoreError> {
        let number = last_number(folder)?.saturating_add(1);
        let unfinished = campaigns(folder).join(UNFINISHED);
        disk::remove_folder(&unfinished)?;
        disk::make_folder(&unfinished)?;
        disk::replace(&unfinished.join("origin"), clock.origin_unix_us.to_string().as_bytes())?;
        disk::replace(&unfinished.join("package"), &package.image)?;
        if let Some(rollback) = rollback {
            disk::replace(&unfinished.join("rollback"), &rollback.image)?;
        }
        let mut octets = Vec::new();
        for record in records {
            record.encode(&mut octets)?;
        }
        disk::replace(&unfinished.join("journal"), &octets)?;
        let path = campaigns(folder).join(format!("{number:04}"));
        disk::rename_folder(&unfinished, &path)?;
        let (journal, _) = Append::open(&path.join("journal"))?;
        Ok(Self { number, clock, journal })
    }

    /// Finds the last campaign; none: there is none. A last record that a crash tore is cut off.
    pub fn find(folder: &Path, parts: Parts) -> Result<Option<Found>, StoreError> {
        disk::make_folder(&campaigns(folder))?;
        let number = last_number(folder)?;
        if number == 0 {
            return Ok(None);
        }
        let path = campaigns(folder).join(format!("{number:04}"));
        let wrong = |problem: String| StoreError::Contents { path: path.clone(), problem };
        let origin = disk::read(&path.join("origin"), 32)?;
        let origin = String::from_utf8_lossy(&origin).trim().parse();
        let origin_unix_us = origin.map_err(|_| wrong("origin is no number of microseconds".to_owned()))?;
        let journal_path = path.join("journal");
        let (mut journal, octets) = Append::open(&journal_path)?;
        let contents = journal::read(&octets).map_err(|error| StoreError::Journal { path: journal_path, error })?;
        journal.cut(contents.good_len as u64)?;
        let Some(Record::Created(setup)) = contents.records.first() else {
            return Err(wrong("the journal does not begin with the creation of a campaign".to_owned()));
        };
        let read = |info: &PackageInfo, name: &str| -> Result<Package, StoreError> {
            let image = disk::read(&path.join(name), MOST_IMAGE)?;
            let PackageInfo { version, config_version, metadata, .. } = info.clone();
            Ok(Package { version, config_version, metadata, image })
        };
        let package = read(&setup.package, "package")?;
        let rollback = setup.rollback.as_ref().map(|info| read(info, "rollback")).transpose()?;
        let records = u32::try_from(contents.records.len()).unwrap_or(u32::MAX);
        let latest = contents.records.iter().filter_map(made_at).max().unwrap_or(Instant::from_ticks(0));
        let campaign = Campaign::resume(contents.records, package, rollback, parts);
        let campaign = campaign.map_err(|error| wrong(error.to_string()))?;
        let store = Self { number, clock: CampaignClock { origin_unix_us }, journal };
        Ok(Some(Found { store, campaign, records, latest }))
    }

    /// Appends records and waits until they are on the disk.
    pub fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut octets = Vec::new();
        for record in records {
            record.encode(&mut octets)?;
        }
        self.journal.append(&octets)?;
        self.journal.sync()?;
        Ok(())
    }

    /// The journal as it lies on the disk.
    pub fn read_journal(&self, folder: &Path) -> Result<Vec<u8>, DiskError> {
        let path = campaigns(folder).join(format!("{:04}", self.number)).join("journal");
        disk::read(&path, disk::MOST_OCTETS)
    }
}

/// When a record was made, as far as it says.
const fn made_at(record: &Record) -> Option<Instant> {
    match record {
        Record::Started { at }
        | Record::StageStarted { at, .. }
        | Record::Surveyed { at }
        | Record::DistributionStarted { at, .. }
        | Record::DistributionEnded { at, .. }
        | Record::NodeOutcome { at, .. }
        | Record::Health { at, .. }
        | Record::SoakStarted { at, .. }
        | Record::StagePassed { at, .. }
        | Record::Paused { at, .. }
        | Record::Operator { at, .. }
        | Record::RollBackStarted { at, .. }
        | Record::Ended { at, .. } => Some(*at),
        Record::Created(_) | Record::PriorVerdict { .. } | Record::Retry { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use mk_campaign::{Carrier, NodeInfo, NodeKind, Policy};
    use mk_wire::{Addr, Version};

    fn package(minor: u8) -> Package {
        Package {
            version: Version::new(1, minor, 0),
            config_version: 1,
            metadata: vec![minor; 9],
            image: vec![minor; 99],
        }
    }

    fn begun(folder: &Path) -> (Store, Campaign) {
        disk::make_folder(&campaigns(folder)).unwrap();
        let node = NodeInfo {
            addr: Addr(0x101),
            floor: 1,
            kind: NodeKind::Luminaire,
            carrier: Carrier::Mesh,
            gateway: Addr(1),
        };
        let (new, old) = (package(2), package(1));
        let mut campaign =
            Campaign::new(Policy::default(), vec![node], new.clone(), Some(old.clone()), Parts::product()).unwrap();
        campaign.start(Instant::from_ticks(5));
        let records: Vec<Record> = std::iter::from_fn(|| campaign.poll_journal()).collect();
        let clock = CampaignClock { origin_unix_us: 77 };
        (Store::create(folder, clock, &new, Some(&old), &records).unwrap(), campaign)
    }

    #[test]
    fn a_campaign_is_found_again_with_its_packages_and_clock() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::find(folder.path(), Parts::product()).unwrap().is_none());
        let (_, campaign) = begun(folder.path());
        let found = Store::find(folder.path(), Parts::product()).unwrap().unwrap();
        assert_eq!((found.store.number(), found.store.clock().origin_unix_us), (1, 77));
        assert_eq!(found.campaign.activity(), campaign.activity());
        assert_eq!(found.latest, Instant::from_ticks(5));
    }

    #[test]
    fn a_torn_last_record_is_cut_and_a_damaged_journal_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        begun(folder.path());
        let path = folder.path().join("campaigns/0001/journal");
        let mut octets = std::fs::read(&path).unwrap();
        let whole = octets.len();
        octets.extend([9, 0, 0, 0, 1, 2]);
        std::fs::write(&path, &octets).unwrap();
        assert!(Store::find(folder.path(), Parts::product()).unwrap().is_some());
        assert_eq!(std::fs::read(&path).unwrap().len(), whole);
        octets.truncate(whole);
        octets[12] ^= 1;
        std::fs::write(&path, &octets).unwrap();
        assert!(matches!(Store::find(folder.path(), Parts::product()), Err(StoreError::Journal { .. })));
    }

    #[test]
    fn an_image_that_was_changed_on_disk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        begun(folder.path());
        std::fs::write(folder.path().join("campaigns/0001/package"), [1, 2, 3]).unwrap();
        assert!(matches!(Store::find(folder.path(), Parts::product()), Err(StoreError::Contents { .. })));
    }

    #[test]
    fn a_crash_while_a_campaign_is_made_leaves_none_and_the_next_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        disk::make_folder(&campaigns(folder.path()).join(UNFINISHED).join("rest")).unwrap();
        assert!(Store::find(folder.path(), Parts::product()).unwrap().is_none());
        begun(folder.path());
        let (second, _) = begun(folder.path());
        assert_eq!(second.number(), 2);
    }
}
