//! Command lines of the two processes: `--name value` and `--flag`, nothing else.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// A command line that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ArgsError {
    /// A word that is no option.
    #[error("unknown option {given:?}; options are {known}")]
    Unknown {
        /// The word.
        given: String,
        /// What there is.
        known: String,
    },
    /// An option without its value, or given twice.
    #[error("option --{name}: {what}")]
    Option {
        /// Which.
        name: String,
        /// What is wrong.
        what: String,
    },
}

/// What an option takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// One value.
    Value,
    /// A value each time it is given.
    Values,
}

/// A command line that was understood.
#[derive(Clone, Debug, Default)]
pub struct Args {
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Args {
    /// Reads a command line by the options there are.
    ///
    /// # Errors
    /// Anything that is none of them.
    pub fn read(
        words: impl IntoIterator<Item = OsString>,
        options: &[(&'static str, Takes)],
    ) -> Result<Self, ArgsError> {
        let mut args = Self::default();
        let mut words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            let found = word.strip_prefix("--").and_then(|name| options.iter().find(|(known, _)| *known == name));
            let Some(&(name, takes)) = found else {
                let known: Vec<String> = options.iter().map(|(name, _)| format!("--{name}")).collect();
                return Err(ArgsError::Unknown { given: word, known: known.join(", ") });
            };
            let wrong = |what: &str| ArgsError::Option { name: name.to_owned(), what: what.to_owned() };
            if takes != Takes::Values && args.values.contains_key(name) {
                return Err(wrong("given twice"));
            }
            let value = match takes {
                Takes::Nothing => String::new(),
                Takes::Value | Takes::Values => words.next().ok_or_else(|| wrong("a value is missing"))?,
            };
            args.values.entry(name).or_default().push(value);
        }
        Ok(args)
    }

    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Every value of an option.
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The value of an option that has to be there.
    ///
    /// # Errors
    /// It is not.
    pub fn required(&self, name: &str) -> Result<&str, ArgsError> {
        let missing = || ArgsError::Option { name: name.to_owned(), what: "is missing".to_owned() };
        self.all(name).first().map(String::as_str).ok_or_else(missing)
    }

    /// The value of an option, read as what it should be.
    ///
    /// # Errors
    /// It cannot be read so.
    pub fn parsed<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, ArgsError>
    where
        T::Err: std::fmt::Display,
    {
        let Some(text) = self.all(name).first() else { return Ok(default) };
        text.parse().map_err(|error| ArgsError::Option { name: name.to_owned(), what: format!("{text:?}: {error}") })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    const OPTIONS: &[(&str, Takes)] = &[("port", Takes::Value), ("quiet", Takes::Nothing), ("gateway", Takes::Values)];

    fn read(words: &[&str]) -> Result<Args, ArgsError> {
        Args::read(words.iter().map(OsString::from), OPTIONS)
    }

    #[test]
    fn options_are_read() {
        let args = read(&["--gateway", "a", "--quiet", "--gateway", "b", "--port", "7"]).unwrap();
        assert_eq!(args.all("gateway"), ["a", "b"]);
        assert!(args.has("quiet"));
        assert_eq!(args.parsed("port", 1_u16), Ok(7));
        assert_eq!(read(&[]).unwrap().parsed("port", 1_u16), Ok(1));
    }

    #[rstest]
    #[case(&["--prt", "7"], "--port")]
    #[case(&["port"], "unknown")]
    #[case(&["--port"], "value is missing")]
    #[case(&["--quiet", "--quiet"], "twice")]
    fn a_mistake_is_named(#[case] words: &[&str], #[case] want: &str) {
        let error = read(words).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn a_value_that_is_none_is_named() {
        let error = read(&["--port", "x"]).unwrap().parsed("port", 1_u16).unwrap_err();
        assert!(error.to_string().starts_with("option --port: \"x\""), "{error}");
        assert!(read(&[]).unwrap().required("port").is_err());
    }
}
