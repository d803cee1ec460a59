//! The folder of a run: created afresh, never one that is there already, every file written whole or not at all.
//!
//! A file appears under its name only once all its bytes are on disk, so that a run that is killed leaves behind whole
//! reports of what was written before. Names are those of the formats; nothing from a scenario becomes a path unseen.

use crate::formats::{FORMATS, ReportError, Sink, name_bundles};
use hil_model::SuiteRecord;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Most folders of one name.
const MAX_SUFFIX: u32 = 10_000;

/// A folder that belongs to this run alone.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Create `<reports>/runs/<name>/`, or `<name>-2/`, `<name>-3/` and so on where that is taken.
    ///
    /// # Errors
    /// The folder could not be created, `name` is no plain name, or all suffixes are taken.
    pub fn create(reports: &Path, name: &str) -> Result<Self, ReportError> {
        if !plain(name) {
            return Err(ReportError::BadName { name: name.to_owned() });
        }
        let runs = reports.join("runs");
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| ReportError::Io { path, why: error.to_string() }
        };
        fs::create_dir_all(&runs).map_err(failed(&runs))?;
        for suffix in 1..=MAX_SUFFIX {
            let path = match suffix {
                1 => runs.join(name),
                n => runs.join(format!("{name}-{n}")),
            };
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path)(error)),
            }
        }
        Err(ReportError::Full { path: runs.join(name).display().to_string() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Write every format. Runs that deserve a bundle get its name first, so that all formats point to it.
    ///
    /// # Errors
    /// The first format that could not be written.
    pub fn write_all(&mut self, suite: &mut SuiteRecord) -> Result<(), ReportError> {
        name_bundles(suite);
        FORMATS.iter().try_for_each(|format| format.write(suite, self))
    }
}

impl Sink for RunDir {
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ReportError> {
        if !plain(name) {
            return Err(ReportError::BadName { name: name.to_owned() });
        }
        let (temporary, path) = (self.path.join(format!(".{name}.part")), self.path.join(name));
        let written = fs::File::create(&temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
            .and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|error| ReportError::Io { path: path.display().to_string(), why: error.to_string() })
    }
}

/// A name that is no path, not hidden, and short enough for every file system.
fn plain(name: &str) -> bool {
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.chars().all(fit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_folder_is_never_used_twice() {
        let root = tempfile::tempdir().unwrap();
        let mut first = RunDir::create(root.path(), "suite-42").unwrap();
        first.file("junit.xml", b"one").unwrap();
        let second = RunDir::create(root.path(), "suite-42").unwrap();
        assert_eq!(second.path().file_name().unwrap(), "suite-42-2");
        assert_eq!(fs::read(first.path().join("junit.xml")).unwrap(), b"one");
        assert_eq!(fs::read_dir(second.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_part_of_a_file_stays_behind() {
        let root = tempfile::tempdir().unwrap();
        let mut dir = RunDir::create(root.path(), "r").unwrap();
        dir.file("a.txt", b"1").unwrap();
        dir.file("a.txt", b"22").unwrap();
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["a.txt"]);
        assert_eq!(fs::read(dir.path().join("a.txt")).unwrap(), b"22");
    }

    #[test]
    fn an_interrupted_run_leaves_every_report_whole_and_marked() {
        let root = tempfile::tempdir().unwrap();
        let mut dir = RunDir::create(root.path(), "suite-42").unwrap();
        let mut suite = SuiteRecord {
            name: "suite".to_owned(),
            rack: "virtual".to_owned(),
            kind: hil_model::RackKind::Virtual,
            seed: hil_model::Seed(42),
            started: None,
            complete: false,
            runs: Vec::new(),
        };
        dir.write_all(&mut suite).unwrap();
        let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        roxmltree::Document::parse(&text("junit.xml")).unwrap();
        assert!(text("index.html").contains("Incomplete") && text("summary.txt").contains("INCOMPLETE"));
        assert!(text("results.jsonl").contains("\"complete\":false"));
    }

    #[rstest]
    #[case("../x")]
    #[case("a/b")]
    #[case("")]
    #[case(".hidden")]
    #[case("a\nb")]
    fn names_are_no_paths(#[case] name: &str) {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(RunDir::create(root.path(), name), Err(ReportError::BadName { .. })));
        let mut dir = RunDir::create(root.path(), "r").unwrap();
        assert!(matches!(dir.file(name, b""), Err(ReportError::BadName { .. })));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("taken");
        fs::write(&file, b"").unwrap();
        let error = RunDir::create(&file, "r").unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
    }
}
