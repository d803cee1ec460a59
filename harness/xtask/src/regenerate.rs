//! Files that are written by a program and kept in the repository, so that people can read them without building.

use crate::Findings;
use std::path::Path;

/// Each file and its content now.
fn generated() -> [(&'static str, String); 2] {
    [
        ("harness/docs/faults.md", hil_scenario::manual::manual()),
        ("fixtures/scenarios/schema.json", hil_scenario::manual::schema_text()),
    ]
}

/// Writes every generated file.
pub fn write(root: &Path) -> Findings {
    let failed = |(file, text): (&str, String)| {
        std::fs::write(root.join(file), text).err().map(|error| format!("{file}: {error}"))
    };
    generated().into_iter().filter_map(failed).collect()
}

/// Whether every generated file is as it would be written now.
pub fn check(root: &Path) -> Findings {
    let stale = |(file, text): (&str, String)| match std::fs::read_to_string(root.join(file)) {
        Ok(there) if there == text => None,
        Ok(_) => Some(format!("{file}: out of date; run `cargo xtask regenerate`")),
        Err(error) => Some(format!("{file}: {error}; run `cargo xtask regenerate`")),
    };
    generated().into_iter().filter_map(stale).collect()
}
