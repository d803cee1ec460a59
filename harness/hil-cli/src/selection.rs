//! Which scenarios: files on disk where there are some, else those compiled in; filters; shards.

use std::path::Path;

use hil_scenario::{Diagnostic, Scenario, catalogue};

use crate::exit::{CommandError, ExitClass};

/// A part of the suite, for machines that share it: `2/4` is the second of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    part: usize,
    parts: usize,
}

impl std::str::FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
        match parsed {
            Some((part, parts)) if part >= 1 && part <= parts => Ok(Self { part, parts }),
            Some(_) | None => Err("write K/N with K from 1 to N, such as 2/4".to_owned()),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Parts of names; files that end in `.yaml` are read as scenario files.
    pub filters: Vec<String>,
    /// Filters are whole names.
    pub exact: bool,
    /// Part of the suite.
    pub shard: Option<Shard>,
    /// Only scenarios with faults that are no canaries: those that end inconclusive without their injectors.
    pub only_faults: bool,
}

/// The scenarios selected, by name, and how many were left out.
#[derive(Debug)]
pub struct Selected {
    /// By name.
    pub scenarios: Vec<Scenario>,
    /// Left out by filters and shard.
    pub filtered_out: usize,
}

/// Every scenario there is, by name.
///
/// # Errors
/// What is wrong in the files, or a file that cannot be read.
pub fn all() -> Result<Vec<Scenario>, CommandError> {
    let folder = Path::new(catalogue::FOLDER);
    let files = if folder.is_dir() {
        catalogue::discover(folder).map_err(|error| CommandError::invalid_file(error.to_string()))?
    } else {
        catalogue::embedded()
    };
    scenarios(&files)
}

/// The scenarios of files, by name.
///
/// # Errors
/// Everything that is wrong in any of them.
pub fn scenarios(files: &[catalogue::ScenarioFile]) -> Result<Vec<Scenario>, CommandError> {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for file in files {
        match file.scenarios() {
            Ok(scenarios) => found.extend(scenarios),
            Err(diagnostics) => wrong.extend(diagnostics),
        }
    }
    if !wrong.is_empty() {
        return Err(invalid(&wrong));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Diagnostics as an ending.
#[must_use]
pub fn invalid(diagnostics: &[Diagnostic]) -> CommandError {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    CommandError::invalid_file(lines.join("\n")).hint("`hil faults` shows every fault and expectation with an example")
}

/// Selects.
///
/// # Errors
/// A file is wrong, or nothing is selected.
pub fn select(wanted: &Wanted) -> Result<Selected, CommandError> {
    let (files, filters): (Vec<String>, Vec<String>) =
        wanted.filters.iter().cloned().partition(|filter| filter.ends_with(".yaml"));
    let files: Result<Vec<_>, _> = files.iter().map(|path| catalogue::load(Path::new(path))).collect();
    let files = files.map_err(|error| CommandError::invalid_file(error.to_string()))?;
    let known = if files.is_empty() { all()? } else { scenarios(&files)? };
    let count = known.len();
    let meant = |scenario: &Scenario| match wanted.exact {
        true => filters.contains(&scenario.name),
        false => catalogue::selected(&scenario.name, &filters),
    };
    let faulty = |scenario: &Scenario| !scenario.written.faults.is_empty() && scenario.written.canary.is_none();
    let mut chosen: Vec<Scenario> =
        known.into_iter().filter(|s| meant(s) && (!wanted.only_faults || faulty(s))).collect();
    if let Some(Shard { part, parts }) = wanted.shard {
        let mut place = 0;
        chosen.retain(|_| {
            place += 1;
            (place - 1) % parts == part - 1
        });
    }
    if chosen.is_empty() {
        let what = if filters.is_empty() { "this shard".to_owned() } else { format!("`{}`", filters.join("`, `")) };
        return Err(CommandError::new(ExitClass::NothingSelected, format!("no scenario is selected by {what}"))
            .hint("`hil run --list` shows all names"));
    }
    Ok(Selected { filtered_out: count - chosen.len(), scenarios: chosen })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("1/1", true)]
    #[case("4/4", true)]
    #[case("0/4", false)]
    #[case("5/4", false)]
    #[case("1/0", false)]
    #[case("1", false)]
    fn shards_count_from_one(#[case] text: &str, #[case] fine: bool) {
        assert_eq!(text.parse::<Shard>().is_ok(), fine);
    }

    #[test]
    fn the_shards_of_a_suite_are_its_parts() {
        let names = |shard: Option<&str>| -> Vec<String> {
            let wanted = Wanted { shard: shard.map(|text| text.parse().unwrap()), ..Wanted::default() };
            select(&wanted).unwrap().scenarios.into_iter().map(|s| s.name).collect()
        };
        let mut parts: Vec<String> = ["1/3", "2/3", "3/3"].into_iter().flat_map(|k| names(Some(k))).collect();
        parts.sort();
        assert_eq!(parts, names(None));
    }
}
