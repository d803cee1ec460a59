//! Evidence bundles: a failure that can be held in the hand. One zip per run that did not pass, with everything that is
//! needed to judge it again without a rack or to repeat it on one.
//!
//! | entry | is |
//! | --- | --- |
//! | `run.yaml` | scenario as text, variant, seed, rack manifest, verdict, versions |
//! | `ledger.jsonl` | every event |
//! | `findings.json` | what was found |
//! | `timeline.txt` | the story for people |
//! | `README.txt` | how to replay and how to reproduce |
//!
//! The bytes depend on the record alone: fixed times, fixed order. The reader believes nothing: every size has a limit,
//! every entry a known name, and each error says which entry and what is wrong with it.

use super::{ReportError, ReportFormat, Sink};
use crate::timeline::timeline;
use hil_model::{Digest, Event, Finding, RackManifest, RunRecord, Seed, SuiteRecord, Time, Verdict};
use serde::{Deserialize, Serialize};
use std::io::{Cursor, Read, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Version of the layout of a bundle.
pub const FORMAT: u32 = 1;
/// Largest bundle that is read, in octets.
pub const MAX_BUNDLE: usize = 256 << 20;
/// Largest ledger that is read, in octets.
pub const MAX_LEDGER: u64 = 1 << 30;
/// Largest other entry that is read, in octets.
pub const MAX_ENTRY: u64 = 16 << 20;

const RUN: &str = "run.yaml";
const LEDGER: &str = "ledger.jsonl";
const FINDINGS: &str = "findings.json";
const TIMELINE: &str = "timeline.txt";
const README: &str = "README.txt";

/// The format.
pub struct Bundles;

/// `run.yaml`: what was run, where, and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunFile {
    /// Version of the layout, [`FORMAT`].
    pub format: u32,
    /// Version of the harness that wrote it.
    pub harness: String,
    /// Name of the run, its variant after `#`.
    pub name: String,
    /// Scenario file it came from.
    pub file: String,
    /// One line on what it proves.
    pub title: String,
    /// Requirement tags.
    pub tags: Vec<String>,
    /// Seed.
    pub seed: Seed,
    /// Digest of the image under test.
    pub firmware: Option<Digest>,
    /// Verdict.
    pub verdict: Verdict,
    /// Rack time at the end, in nanoseconds.
    pub ended: Time,
    /// Command that repeats the run from the sources.
    pub repeat: String,
    /// The rack as it said of itself.
    pub rack: RackManifest,
    /// The scenario file's text.
    pub scenario: String,
}

/// `findings.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FindingsFile {
    verdict: Verdict,
    findings: Vec<Finding>,
}

/// A bundle that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// What was run.
    pub run: RunFile,
    /// The ledger as JSON Lines, not parsed yet.
    pub ledger: Vec<u8>,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// A file that is no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The file is too large.
    #[error("{octets} octets; a bundle has at most {MAX_BUNDLE}")]
    TooLarge {
        /// Its size.
        octets: usize,
    },
    /// No zip, or a broken one.
    #[error("not a readable zip: {why}")]
    NotAZip {
        /// What the reader said.
        why: String,
    },
    /// An entry with a name that no bundle has, a path among them.
    #[error("entry {name:?} does not belong in a bundle")]
    UnexpectedEntry {
        /// The name.
        name: String,
    },
    /// An entry is missing.
    #[error("{entry} is missing")]
    MissingEntry {
        /// Which.
        entry: &'static str,
    },
    /// An entry is larger than it may be.
    #[error("{entry} is larger than {limit} octets")]
    EntryTooLarge {
        /// Which.
        entry: &'static str,
        /// The limit.
        limit: u64,
    },
    /// An entry could not be read to its end.
    #[error("{entry}: {why}")]
    Unreadable {
        /// Which.
        entry: &'static str,
        /// What the reader said.
        why: String,
    },
    /// An entry is not what it should be.
    #[error("{entry}: {why}")]
    Malformed {
        /// Which.
        entry: &'static str,
        /// What the parser said, with the place.
        why: String,
    },
    /// A bundle of another version.
    #[error("written in format {found}; this version reads format {FORMAT}")]
    OtherFormat {
        /// Its version.
        found: u32,
    },
}

impl ReportFormat for Bundles {
    fn name(&self) -> &'static str {
        "bundle"
    }

    fn write(&self, suite: &SuiteRecord, sink: &mut dyn Sink) -> Result<(), ReportError> {
        for run in &suite.runs {
            if let Some(name) = &run.bundle {
                sink.file(name, &pack(run)?)?;
            }
        }
        Ok(())
    }
}

/// `bundle-<name>-<seed>.zip`, with everything that is no plain character spelled out, so that two names never meet.
#[must_use]
pub fn file_name(run: &RunRecord) -> String {
    /// Longest part of the name that is kept; longer ones end in a checksum.
    const LONGEST: usize = 120;
    let mut name = String::new();
    for c in run.name.chars() {
        match c {
            '/' | '#' => name.push_str("--"),
            c if c.is_ascii_alphanumeric() || c == '-' || c == '.' => name.push(c),
            c => name.push_str(&format!("_{:x}_", u32::from(c))),
        }
    }
    if name.len() > LONGEST {
        let sum = name
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325_u64, |sum, b| (sum ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3));
        name.truncate(LONGEST);
        name.push_str(&format!("_{sum:016x}"));
    }
    format!("bundle-{name}-{}.zip", run.seed)
}

/// The bundle of a run.
///
/// # Errors
/// The record could not be written down.
pub fn pack(run: &RunRecord) -> Result<Vec<u8>, ReportError> {
    let findings = FindingsFile { verdict: run.verdict.clone(), findings: run.findings.clone() };
    let mut findings = serde_json::to_vec_pretty(&findings).map_err(failed)?;
    findings.push(b'\n');
    let head = serde_yaml::to_string(&run_file(run)).map_err(failed)?;
    let entries: [(&str, Vec<u8>); 5] = [
        (RUN, head.into_bytes()),
        (LEDGER, ledger(&run.events)?),
        (FINDINGS, findings),
        (TIMELINE, timeline(run).into_bytes()),
        (README, readme(run).into_bytes()),
    ];
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(name, options).map_err(failed)?;
        writer.write_all(&bytes).map_err(failed)?;
    }
    Ok(writer.finish().map_err(failed)?.into_inner())
}

fn failed(error: impl core::fmt::Display) -> ReportError {
    ReportError::Format { format: "bundle", why: error.to_string() }
}

fn run_file(run: &RunRecord) -> RunFile {
    RunFile {
        format: FORMAT,
        harness: env!("CARGO_PKG_VERSION").to_owned(),
        name: run.name.clone(),
        file: run.file.clone(),
        title: run.title.clone(),
        tags: run.tags.clone(),
        seed: run.seed,
        firmware: run.firmware,
        verdict: run.verdict.clone(),
        ended: run.ended,
        repeat: run.repeat.clone(),
        rack: run.rack.clone(),
        scenario: run.source.clone(),
    }
}

fn ledger(events: &[Event]) -> Result<Vec<u8>, ReportError> {
    let mut out = Vec::new();
    for event in events {
        serde_json::to_writer(&mut out, event).map_err(failed)?;
        out.push(b'\n');
    }
    Ok(out)
}

fn readme(run: &RunRecord) -> String {
    format!(
        "Evidence of one run: {name}, seed {seed}, rack {rack}: {verdict}\n\n\
         timeline.txt   what happened, the first wrong line marked >>\n\
         findings.json  every rule, expectation and proof, and the events each rests on\n\
         ledger.jsonl   every event, one per line\n\
         run.yaml       scenario, variant, seed, rack\n\n\
         Judge it again without a rack:  hil replay <this file>\n\
         Repeat it on a rack:            hil reproduce <this file>\n\
         Repeat it from the sources:     {repeat}\n",
        name = crate::xml_text::clean_line(&run.name),
        seed = run.seed,
        rack = crate::xml_text::clean_line(&run.rack.name),
        verdict = run.verdict.word(),
        repeat = crate::xml_text::clean_line(&run.repeat),
    )
}

/// Read a bundle.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Evidence, BundleError> {
    if bytes.len() > MAX_BUNDLE {
        return Err(BundleError::TooLarge { octets: bytes.len() });
    }
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|error| BundleError::NotAZip { why: error.to_string() })?;
    let known = [RUN, LEDGER, FINDINGS, TIMELINE, README];
    for name in archive.file_names() {
        let name = name.map_err(|error| BundleError::NotAZip { why: error.to_string() })?;
        if !known.contains(&&*name) {
            return Err(BundleError::UnexpectedEntry { name: name.chars().take(80).collect() });
        }
    }
    let run = entry(&mut archive, RUN, MAX_ENTRY)?;
    let ledger = entry(&mut archive, LEDGER, MAX_LEDGER)?;
    let findings = entry(&mut archive, FINDINGS, MAX_ENTRY)?;
    let run: RunFile = serde_yaml::from_slice(&run).map_err(|error| malformed(RUN, error))?;
    if run.format != FORMAT {
        return Err(BundleError::OtherFormat { found: run.format });
    }
    let findings: FindingsFile = serde_json::from_slice(&findings).map_err(|error| malformed(FINDINGS, error))?;
    Ok(Evidence { run, ledger, findings: findings.findings })
}

fn malformed(entry: &'static str, error: impl core::fmt::Display) -> BundleError {
    BundleError::Malformed { entry, why: error.to_string() }
}

fn entry(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &'static str, limit: u64) -> Result<Vec<u8>, BundleError> {
    let file = match archive.by_name(name) {
        Ok(file) => file,
        Err(zip::result::ZipError::FileNotFound) => return Err(BundleError::MissingEntry { entry: name }),
        Err(error) => return Err(BundleError::Unreadable { entry: name, why: error.to_string() }),
    };
    let mut bytes = Vec::new();
    // The size in the directory is the writer's claim: the limit is kept while reading.
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| BundleError::Unreadable { entry: name, why: error.to_string() })?;
    if bytes.len() as u64 > limit {
        return Err(BundleError::EntryTooLarge { entry: name, limit });
    }
    Ok(bytes)
}
