//! Reports: what is known of a run, written for CI (JUnit), for people (page, text), for tools (JSON Lines) and as
//! evidence (bundle).
//!
//! Sees nothing but [`SuiteRecord`](hil_model::SuiteRecord) and [`RunRecord`](hil_model::RunRecord): a fact that is not
//! in the record is in no report. Judges nothing, runs nothing, reads no clock. The same record gives the same bytes.
//!
//! A format is one file in `formats` and one line in [`FORMATS`].

pub mod formats;
pub mod run_dir;
pub mod timeline;
pub mod xml_text;

pub use formats::bundle::{self, BundleError, Evidence};
pub use formats::{FORMATS, ReportError, ReportFormat, Sink};
pub use run_dir::RunDir;
pub use timeline::timeline;
