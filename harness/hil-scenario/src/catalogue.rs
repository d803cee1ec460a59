//! The scenario files there are: those in the repository and the same compiled in, so that the binary runs without it.
//!
//! A file is `<theme>/<name>.yaml` below a folder. Order is by name, always.

use crate::diagnostic::Diagnostic;
use crate::scenario::Scenario;
use crate::source::{self, MOST_OCTETS};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Folder of the scenarios in the repository.
pub const FOLDER: &str = "fixtures/scenarios";

/// A scenario file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioFile {
    /// `<theme>/<file stem>`.
    pub name: String,
    /// As diagnostics and reports call it.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// A file or folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct Unreadable {
    /// Which.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

impl ScenarioFile {
    /// Its scenarios.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub fn scenarios(&self) -> Result<Vec<Scenario>, Vec<Diagnostic>> {
        source::read(&self.name, &self.file, &self.text)
    }
}

const EMBEDDED: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

/// The files compiled in.
#[must_use]
pub fn embedded() -> Vec<ScenarioFile> {
    let file = |(relative, text): &(&str, &str)| ScenarioFile {
        name: relative.trim_end_matches(".yaml").to_owned(),
        file: format!("{FOLDER}/{relative}"),
        text: (*text).to_owned(),
    };
    EMBEDDED.iter().map(file).collect()
}

/// The files of a folder of themes.
///
/// # Errors
/// The first file or folder that cannot be read.
pub fn discover(folder: &Path) -> Result<Vec<ScenarioFile>, Unreadable> {
    let mut files = Vec::new();
    for theme in sorted(folder)?.into_iter().filter(|path| path.is_dir()) {
        for path in sorted(&theme)?.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "yaml")) {
            files.push(load(&path)?);
        }
    }
    Ok(files)
}

/// One file. Its name is taken from its folder and its stem; no more than a scenario's size is read.
///
/// # Errors
/// It cannot be read, or is no UTF-8 text.
pub fn load(path: &Path) -> Result<ScenarioFile, Unreadable> {
    let unreadable = |error| Unreadable { path: path.to_owned(), error };
    let mut text = String::new();
    // One octet more than allowed, so that the reader can say that it is too long.
    let limit = MOST_OCTETS as u64 + 1;
    fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)).map_err(unreadable)?;
    let part = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = part(path.file_stem());
    let theme = part(path.parent().and_then(Path::file_name));
    let name = if theme.is_empty() { stem } else { format!("{theme}/{stem}") };
    Ok(ScenarioFile { name, file: path.display().to_string(), text })
}

/// Whether a scenario of this name is meant by the filters: every text contained in a name means it; no filter means all.
#[must_use]
pub fn selected(name: &str, filters: &[String]) -> bool {
    // People type `bad_signature` for `bad-signature`, as test runners do.
    let plain = |text: &str| text.replace('_', "-");
    filters.is_empty() || filters.iter().any(|filter| plain(name).contains(&plain(filter)))
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let unreadable = |error| Unreadable { path: folder.to_owned(), error };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn the_files_compiled_in_are_those_of_the_repository() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FOLDER);
        let found = discover(&folder).unwrap();
        let inside: Vec<_> = embedded().into_iter().map(|file| (file.name, file.text)).collect();
        let outside: Vec<_> = found.into_iter().map(|file| (file.name, file.text)).collect();
        assert_eq!(inside, outside);
    }

    #[test]
    fn filters_are_parts_of_names() {
        let filter = |text: &str| selected("rejection/bad-signature#wrong-key", &[text.to_owned()]);
        assert!(filter("bad_signature") && filter("#wrong") && filter("rejection/") && !filter("rollback"));
        assert!(selected("anything", &[]));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("no/such.yaml")).unwrap_err();
        assert!(error.to_string().starts_with("no/such.yaml: "), "{error}");
    }
}
