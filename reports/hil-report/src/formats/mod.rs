//! The formats. Each is one file behind [`ReportFormat`], and one line in [`FORMATS`].

pub mod bundle;
pub mod html;
pub mod jsonl;
pub mod junit;
pub mod text;

use hil_model::{SuiteRecord, Verdict};
use std::collections::BTreeMap;

/// Every format, in the order they are written: bundles first, so that nothing points to a file that is not there yet.
pub const FORMATS: &[&dyn ReportFormat] =
    &[&bundle::Bundles, &junit::Junit, &html::Page, &jsonl::JsonLines, &text::Summary];

/// A report could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The file system refused.
    #[error("{path}: {why}")]
    Io {
        /// Which file or folder.
        path: String,
        /// What the system said.
        why: String,
    },
    /// A name that would be a path.
    #[error("`{name}` is not a plain file name")]
    BadName {
        /// The name.
        name: String,
    },
    /// Too many folders of one name.
    #[error("{path}: all numbered folders of this name are taken; remove old ones")]
    Full {
        /// The folder that was wanted.
        path: String,
    },
    /// A library refused to write what it was given.
    #[error("{format}: {why}")]
    Format {
        /// Which format.
        format: &'static str,
        /// What it said.
        why: String,
    },
}

/// Where files go.
pub trait Sink {
    /// Write a file whole. `name` is a plain name.
    ///
    /// # Errors
    /// The file could not be written.
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ReportError>;
}

/// A sink in memory, for tests and for callers that want the bytes.
impl Sink for BTreeMap<String, Vec<u8>> {
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ReportError> {
        self.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

/// A way to write a suite down.
pub trait ReportFormat: Sync {
    /// Its name, for messages.
    fn name(&self) -> &'static str;

    /// Write `suite`. The same suite gives the same bytes.
    ///
    /// # Errors
    /// A file could not be written.
    fn write(&self, suite: &SuiteRecord, sink: &mut dyn Sink) -> Result<(), ReportError>;
}

/// How many runs ended in each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed.
    pub pass: usize,
    /// Failed.
    pub fail: usize,
    /// Nothing can be said.
    pub inconclusive: usize,
    /// Not run on this rack.
    pub skipped: usize,
    /// The rack failed.
    pub rack_fault: usize,
}

impl Tally {
    /// Count the runs of a suite.
    #[must_use]
    pub fn of(suite: &SuiteRecord) -> Self {
        let mut tally = Self::default();
        for run in &suite.runs {
            match run.verdict {
                Verdict::Pass => tally.pass += 1,
                Verdict::Fail => tally.fail += 1,
                Verdict::Inconclusive => tally.inconclusive += 1,
                Verdict::Skipped(_) => tally.skipped += 1,
                Verdict::RackFault(_) => tally.rack_fault += 1,
            }
        }
        tally
    }
}

/// Give every run that neither passed nor was skipped the name of its bundle. Names given before stay.
pub fn name_bundles(suite: &mut SuiteRecord) {
    for run in &mut suite.runs {
        match run.verdict {
            Verdict::Fail | Verdict::Inconclusive | Verdict::RackFault(_) => {
                let name = bundle::file_name(run);
                run.bundle.get_or_insert(name);
            }
            Verdict::Pass | Verdict::Skipped(_) => {}
        }
    }
}
