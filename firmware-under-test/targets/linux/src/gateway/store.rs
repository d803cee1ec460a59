//! What a gateway keeps on its disk: how often it was started, its machine's journal, its mesh stack's records.
//!
//! All are logs that are only appended to ([`crate::disk`]); nothing here is read again before the next start.

use crate::api::form;
use crate::api::gateway::RecordForm;
use crate::disk::{DiskError, Hold, Log, replace};
use mk_gateway::GatewayRecord;
use mk_mesh::{Progress, Record, Stamp, States, Storage};
use mk_wire::Addr;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A journal record with when it was made.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(with = "RecordForm")]
    record: GatewayRecord,
}

/// The same, to be written: images are too large to be copied for it.
#[derive(Debug, Serialize)]
struct EntryRef<'a> {
    unix_ms: u64,
    #[serde(with = "RecordForm")]
    record: &'a GatewayRecord,
}

/// The machine's journal.
#[derive(Debug)]
pub struct Journal {
    log: Log,
    is_dirty: bool,
    _hold: Hold,
}

impl Journal {
    /// Opens the journal of a folder that is held from now on; gives its records.
    pub fn open(folder: &Path, hold: Hold) -> Result<(Self, Vec<GatewayRecord>), DiskError> {
        let (log, entries) = Log::open::<Entry>(&folder.join("journal.log"))?;
        let records = entries.into_iter().map(|entry| entry.record).collect();
        Ok((Self { log, is_dirty: false, _hold: hold }, records))
    }

    /// Appends a record of the machine's state.
    pub fn append(&mut self, unix_ms: u64, record: &GatewayRecord) -> Result<(), DiskError> {
        self.is_dirty = true;
        self.log.append(&EntryRef { unix_ms, record })
    }

    /// Waits until everything appended is on the disk.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        if std::mem::take(&mut self.is_dirty) { self.log.sync() } else { Ok(()) }
    }

    /// Its octets.
    pub const fn octets(&self) -> u64 {
        self.log.octets()
    }
}

/// From this size on the stack's log is written anew with only what is still of use.
const REWRITE_OCTETS: u64 = 1 << 20;

/// The records of the mesh stack.
#[derive(Debug)]
pub struct MeshLog {
    path: PathBuf,
    log: Log,
    progress: Option<Progress>,
    states: Option<States>,
    accepted: BTreeMap<Addr, Stamp>,
}

impl MeshLog {
    /// Opens the log of a folder.
    pub fn open(folder: &Path) -> Result<Self, DiskError> {
        let path = folder.join("mesh.log");
        let (log, records) = Log::open::<Kept>(&path)?;
        let mut mesh = Self { path, log, progress: None, states: None, accepted: BTreeMap::new() };
        records.iter().for_each(|record| mesh.note(record));
        Ok(mesh)
    }

    fn note(&mut self, kept: &Kept) {
        match kept.record() {
            Record::Progress(progress) => self.progress = Some(progress),
            Record::States(states) => self.states = Some(states),
            Record::Accepted { source, stamp } => {
                self.accepted.insert(source, stamp);
            }
        }
    }

    fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let accepted = self.accepted.iter().map(|(source, stamp)| Record::Accepted { source: *source, stamp: *stamp });
        let rest = [self.progress.map(Record::Progress), self.states.map(Record::States)];
        rest.into_iter().flatten().chain(accepted)
    }

    /// Writes the log anew: beside the old one, which stays until the new one is whole.
    fn rewrite(&mut self) -> Result<(), DiskError> {
        let aside = self.path.with_extension("rewritten");
        replace(&aside, b"")?;
        let (mut log, _) = Log::open::<Kept>(&aside)?;
        for record in self.records() {
            log.append(&Kept::of(&record))?;
        }
        log.sync()?;
        crate::disk::rename_folder(&aside, &self.path)?;
        self.log = log;
        Ok(())
    }
}

impl Storage for MeshLog {
    type Error = DiskError;

    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), DiskError> {
        self.records().for_each(each);
        Ok(())
    }

    fn save(&mut self, record: &Record) -> Result<(), DiskError> {
        let kept = Kept::of(record);
        self.log.append(&kept)?;
        // A replay entry that is lost with the power lets one old message in; sequence numbers must never be lost.
        if !matches!(record, Record::Accepted { .. }) {
            self.log.sync()?;
        }
        self.note(&kept);
        if self.log.octets() > REWRITE_OCTETS { self.rewrite() } else { Ok(()) }
    }
}

/// A record of the mesh stack as it lies in the log.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kept {
    Progress {
        iv_index: u32,
        updating: bool,
        hours: u16,
        reserved: u32,
    },
    Accepted {
        #[serde(with = "form::addr")]
        source: Addr,
        iv_index: u32,
        seq: u32,
    },
    States {
        /// As [`States::encode`] gives them.
        octets: [u8; States::LENGTH],
    },
}

impl Kept {
    fn of(record: &Record) -> Self {
        match *record {
            Record::Progress(Progress { iv_index, updating, hours, reserved }) => {
                Kept::Progress { iv_index, updating, hours, reserved }
            }
            Record::Accepted { source, stamp: Stamp { iv_index, seq } } => Kept::Accepted { source, iv_index, seq },
            Record::States(states) => Kept::States { octets: states.encode() },
        }
    }

    /// The record; octets that no states have are those of the product.
    fn record(&self) -> Record {
        match *self {
            Kept::Progress { iv_index, updating, hours, reserved } => {
                Record::Progress(Progress { iv_index, updating, hours, reserved })
            }
            Kept::Accepted { source, iv_index, seq } => Record::Accepted { source, stamp: Stamp { iv_index, seq } },
            Kept::States { octets } => Record::States(States::decode(&octets).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const fn progress(reserved: u32) -> Record {
        Record::Progress(Progress { iv_index: 5, updating: true, hours: 24, reserved })
    }

    fn accepted(source: u16, seq: u32) -> Record {
        Record::Accepted { source: Addr(source), stamp: Stamp { iv_index: 5, seq } }
    }

    fn load(folder: &Path) -> Vec<Record> {
        let mut records = Vec::new();
        MeshLog::open(folder).unwrap().load(&mut |record| records.push(record)).unwrap();
        records
    }

    #[test]
    fn the_latest_record_of_a_kind_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = MeshLog::open(folder.path()).unwrap();
        let states = Record::States(States { relay: true, ..States::DEFAULT });
        for record in [progress(10), accepted(0x101, 1), states, accepted(0x102, 7), progress(20), accepted(0x101, 2)] {
            log.save(&record).unwrap();
        }
        drop(log);
        assert_eq!(load(folder.path()), [progress(20), states, accepted(0x101, 2), accepted(0x102, 7)]);
    }

    #[test]
    fn a_log_that_grew_is_written_anew_and_says_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = MeshLog::open(folder.path()).unwrap();
        log.save(&progress(9)).unwrap();
        let mut seq = 0;
        while log.log.octets() <= REWRITE_OCTETS - 100 {
            seq += 1;
            log.save(&accepted(0x101, seq)).unwrap();
        }
        (0..4).for_each(|more| log.save(&accepted(0x102, more)).unwrap());
        assert!(log.log.octets() < 1_000, "{}", log.log.octets());
        log.save(&progress(10)).unwrap();
        drop(log);
        assert_eq!(load(folder.path()), [progress(10), accepted(0x101, seq), accepted(0x102, 3)]);
    }

    #[test]
    fn a_journal_gives_its_records_back() {
        let folder = tempfile::tempdir().unwrap();
        let records = [GatewayRecord::ThrottleSet { permille: 300 }, GatewayRecord::ImagesDeleted];
        let (mut journal, old) = Journal::open(folder.path(), Hold::take(folder.path()).unwrap()).unwrap();
        assert!(old.is_empty());
        records.iter().for_each(|record| journal.append(1, record).unwrap());
        journal.sync().unwrap();
        drop(journal);
        assert_eq!(Journal::open(folder.path(), Hold::take(folder.path()).unwrap()).unwrap().1, records);
    }
}
