//! The manual and the JSON Schema, from the same types and texts that the reader uses.

use crate::scenario::Written;
use crate::{expectations, faults};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What the file of a fault or an expectation gives to the manual.
pub trait Documented {
    /// What it does or demands, and the proof or evidence it rests on; one paragraph.
    const MANUAL: &'static str;
    /// An entry of a scenario's list that uses it.
    const EXAMPLE: &'static str;
}

/// A row of the manual.
#[derive(Debug, Clone, Copy)]
pub struct ManualEntry {
    /// Key in the scenario file.
    pub name: &'static str,
    /// What it is.
    pub manual: &'static str,
    /// A worked example, YAML.
    pub example: &'static str,
}

/// The manual of faults and expectations, Markdown.
#[must_use]
pub fn manual() -> String {
    let mut text = String::from(
        "<!-- Generated from harness/hil-scenario by `cargo xtask regenerate`; edit the fault's file instead. -->\n\
         # Faults and expectations\n\n\
         A scenario file injects faults and says what must come out. Every example here is read, bound and tested.\n\n\
         ## Faults\n",
    );
    entries(&mut text, faults::MANUAL);
    text.push_str("\n## Expectations\n");
    entries(&mut text, expectations::MANUAL);
    text
}

fn entries(text: &mut String, entries: &[ManualEntry]) {
    for entry in entries {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n### `{}`\n\n{}\n\n```yaml\n- {}\n```\n", entry.name, entry.manual, entry.example);
    }
}

/// The JSON Schema of a scenario file, for editors.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Written).to_value();
    let mut variant = json!({
        "type": "object",
        "description": "a run of its own: what it says replaces what the file says; mappings are merged",
        "required": ["name"],
        "additionalProperties": false,
    });
    if let Some(properties) = schema.get("properties").cloned()
        && let Some(object) = variant.as_object_mut()
    {
        object.insert("properties".to_owned(), properties);
    }
    if let Some(properties) = variant.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("name".to_owned(), json!({ "type": "string", "pattern": "^[a-z0-9-]{1,64}$" }));
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let list =
            json!({ "type": "array", "minItems": 1, "maxItems": crate::source::MOST_VARIANTS, "items": variant });
        properties.insert("variants".to_owned(), list);
    }
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), json!("Scenario"));
    }
    schema
}

/// The schema as the file in the repository has it.
#[must_use]
pub fn schema_text() -> String {
    // Serialising a value of strings, numbers and maps cannot fail.
    let mut text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    text.push('\n');
    text
}
