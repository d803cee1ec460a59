//! Diagnostics: where in which file, what is wrong, and what may have been meant.

use std::fmt;

/// Something wrong in a scenario file. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// File as given.
    pub file: String,
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// Something wrong within a fault or an expectation, before its place in the file is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Key path relative to the entry, `nodes`; empty for the entry itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl Trouble {
    /// Trouble at a key of the entry.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// Trouble with the entry as a whole.
    pub fn here(message: impl Into<String>) -> Self {
        Self::at("", message)
    }
}

/// The name among `known` that was probably meant by `written`.
#[must_use]
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// `; did you mean "block"?`, or the names there are when none is near.
#[must_use]
pub fn hint<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match did_you_mean(written, known.clone()) {
        Some(name) => format!("; did you mean \"{name}\"?"),
        None => {
            let names: Vec<&str> = known.into_iter().collect();
            format!("; there are: {}", names.join(", "))
        }
    }
}
