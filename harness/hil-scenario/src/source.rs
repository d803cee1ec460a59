//! From text to scenarios: syntax, shape and types, each complaint at its place in the file.
//!
//! Three passes, because each sees what the others cannot. The event parser gives the place of every key and value (the
//! typed reader loses them inside tagged enums). The schema pass compares the whole document with the JSON Schema of
//! the very types that are read next, and finds all unknown keys, missing keys and wrong kinds of values at once. The
//! typed pass reads the rest: units, ids, versions. Any text gives scenarios or diagnostics, never a panic.

mod places;
mod shape;

use crate::diagnostic::Diagnostic;
use crate::scenario::{Lines, Scenario, Written};
use serde_yaml::{Mapping, Value};
use std::sync::Arc;

pub use places::Places;
pub(crate) use shape::Shape;

/// Largest scenario file, in octets.
pub const MOST_OCTETS: usize = 256 * 1024;
/// Most variants of one file.
pub const MOST_VARIANTS: usize = 64;
/// Most faults, timeline entries or expectations of one scenario.
pub const MOST_ENTRIES: usize = 64;

/// Reads a scenario file: `name` is `<theme>/<file stem>`, `file` what diagnostics call it.
///
/// A file without `variants` gives one scenario; with them, one for each. A canary gives one more, named `#control`: the
/// same with the product's composition, which must pass.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn read(name: &str, file: &str, text: &str) -> Result<Vec<Scenario>, Vec<Diagnostic>> {
    let reader = Reader { name, file, text: text.into() };
    let complain = |line, column, message: String| vec![Diagnostic { file: file.to_owned(), line, column, message }];
    if text.len() > MOST_OCTETS {
        return Err(complain(1, 1, format!("the file has {} octets; at most {MOST_OCTETS} are read", text.len())));
    }
    let document: Value = serde_yaml::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        complain(line, column, without_place(&error.to_string()))
    })?;
    let Value::Mapping(base) = document else {
        return Err(complain(1, 1, "a scenario is a mapping: title, faults, expect ...".to_owned()));
    };
    let places = Places::of(text);
    let mut base = base;
    let variants = match base.remove("variants") {
        None => Vec::new(),
        Some(Value::Sequence(variants)) if !variants.is_empty() && variants.len() <= MOST_VARIANTS => variants,
        Some(_) => {
            let (line, column) = places.find("variants");
            return Err(complain(line, column, format!("variants is a list of 1 to {MOST_VARIANTS} entries")));
        }
    };
    reader.scenarios(base, variants, &places)
}

struct Reader<'a> {
    name: &'a str,
    file: &'a str,
    text: Arc<str>,
}

impl Reader<'_> {
    fn scenarios(
        &self,
        base: Mapping,
        variants: Vec<Value>,
        places: &Places,
    ) -> Result<Vec<Scenario>, Vec<Diagnostic>> {
        let shape = Shape::new();
        let mut found = Vec::new();
        let mut diagnostics = Vec::new();
        if variants.is_empty() {
            collect(self.one(None, Value::Mapping(base), places.clone(), &shape), &mut found, &mut diagnostics);
        } else {
            let mut names: Vec<String> = Vec::new();
            for (index, variant) in variants.into_iter().enumerate() {
                let places = places.clone().for_variant(index);
                match self.merged(&base, variant, &places, &names) {
                    Ok((name, document)) => {
                        names.push(name.clone());
                        collect(self.one(Some(&name), document, places, &shape), &mut found, &mut diagnostics);
                    }
                    Err(diagnostic) => diagnostics.push(diagnostic),
                }
            }
        }
        if diagnostics.is_empty() {
            return Ok(found.into_iter().flat_map(with_control).collect());
        }
        // What is wrong in the common part is wrong in every variant; once is enough.
        diagnostics.sort();
        diagnostics.dedup();
        Err(diagnostics)
    }

    /// A variant's name and the document with its overrides.
    fn merged(
        &self,
        base: &Mapping,
        variant: Value,
        places: &Places,
        taken: &[String],
    ) -> Result<(String, Value), Diagnostic> {
        let Value::Mapping(mut overrides) = variant else {
            return Err(self.diagnostic(places, "", "a variant is a mapping: name, and what differs".to_owned()));
        };
        let name = match overrides.remove("name") {
            Some(Value::String(name)) if is_name(&name) => name,
            Some(_) | None => {
                let message = "a variant has a name of small letters, digits and hyphens".to_owned();
                return Err(self.diagnostic(places, "name", message));
            }
        };
        if taken.contains(&name) {
            return Err(self.diagnostic(places, "name", format!("there is already a variant \"{name}\"")));
        }
        if overrides.is_empty() {
            return Err(self.diagnostic(places, "", format!("variant \"{name}\" differs in nothing")));
        }
        let mut document = Value::Mapping(base.clone());
        merge(&mut document, Value::Mapping(overrides));
        Ok((name, document))
    }

    fn one(
        &self,
        variant: Option<&str>,
        document: Value,
        places: Places,
        shape: &Shape,
    ) -> Result<Scenario, Vec<Diagnostic>> {
        let wrong = shape.check(&document);
        if !wrong.is_empty() {
            return Err(wrong.into_iter().map(|(path, message)| self.diagnostic(&places, &path, message)).collect());
        }
        let lines = Lines { faults: lines_of(&document, "faults"), expect: lines_of(&document, "expect") };
        let written = typed(document)
            .map_err(|(path, message)| vec![self.diagnostic(&places, &path, without_place(&message))])?;
        let name = variant.map_or_else(|| self.name.to_owned(), |variant| format!("{}#{variant}", self.name));
        Ok(Scenario { name, file: self.file.to_owned(), text: Arc::clone(&self.text), written, places, lines })
    }

    fn diagnostic(&self, places: &Places, path: &str, message: String) -> Diagnostic {
        let (line, column) = places.find(path);
        Diagnostic { file: self.file.to_owned(), line, column, message }
    }
}

fn collect(result: Result<Scenario, Vec<Diagnostic>>, found: &mut Vec<Scenario>, diagnostics: &mut Vec<Diagnostic>) {
    match result {
        Ok(scenario) => found.push(scenario),
        Err(more) => diagnostics.extend(more),
    }
}

/// A canary and its control: the same with the right parts.
fn with_control(scenario: Scenario) -> Vec<Scenario> {
    if scenario.written.canary.is_none() {
        return vec![scenario];
    }
    let separator = if scenario.name.contains('#') { '-' } else { '#' };
    let mut control = scenario.clone();
    control.name = format!("{}{separator}control", scenario.name);
    control.written.canary = None;
    vec![scenario, control]
}

/// Deep override: mappings are merged, everything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Mapping(into), Value::Mapping(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(slot) => merge(slot, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (slot, value) => *slot = value,
    }
}

/// The typed reading of a document; on error the key path and what is wrong there.
fn typed(document: Value) -> Result<Written, (String, String)> {
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(document, &mut track);
    serde_yaml::with::singleton_map_recursive::deserialize(tracked)
        .map_err(|error: serde_yaml::Error| (path_of(&track.path()), error.to_string()))
}

fn path_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            // Enum variants show as the key of their one-entry mapping already.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// serde_yaml appends ` at line 3 column 5`; the diagnostic says so in front.
fn without_place(message: &str) -> String {
    match message.find(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message.to_owned(),
    }
}

fn is_name(text: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= 64 && text != "control" && text.bytes().all(fine)
}

/// Every entry of a list as one line of flow style.
fn lines_of(document: &Value, key: &str) -> Vec<String> {
    let entries = document.get(key).and_then(Value::as_sequence);
    entries.map(|entries| entries.iter().map(|entry| one_line(entry, true)).collect()).unwrap_or_default()
}

fn one_line(value: &Value, outermost: bool) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Sequence(items) => {
            let items: Vec<String> = items.iter().map(|item| one_line(item, false)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Mapping(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", one_line(key, false), one_line(value, false)))
                .collect();
            if outermost { entries.join(", ") } else { format!("{{ {} }}", entries.join(", ")) }
        }
        Value::Tagged(tagged) => one_line(&tagged.value, outermost),
    }
}

#[cfg(test)]
mod tests;
