//! The shape of a document against the JSON Schema of the scenario types: unknown keys, missing keys, wrong kinds of
//! values, unknown words. All of them at once, each with its key path; what is inside a text is not looked at.

use crate::diagnostic::hint;
use crate::scenario::Written;
use serde_json::Value as Json;
use serde_yaml::Value;

/// The schema, made once per file read.
#[derive(Debug)]
pub(crate) struct Shape {
    root: Json,
}

/// Deepest nesting of a document that is followed.
const DEEPEST: usize = 32;

type Wrong = Vec<(String, String)>;

impl Shape {
    pub(crate) fn new() -> Self {
        Self { root: schemars::schema_for!(Written).to_value() }
    }

    /// Key paths and what is wrong there.
    pub(crate) fn check(&self, document: &Value) -> Wrong {
        let mut wrong = Wrong::new();
        self.value(&self.root, document, "", 0, &mut wrong);
        wrong
    }

    fn value(&self, schema: &Json, value: &Value, path: &str, depth: usize, wrong: &mut Wrong) {
        if depth > DEEPEST {
            wrong.push((path.to_owned(), format!("nested more than {DEEPEST} deep")));
            return;
        }
        if let Value::Tagged(tagged) = value {
            wrong.push((path.to_owned(), format!("scenario files use no YAML tags such as {}", tagged.tag)));
            return;
        }
        let schema = self.resolved(schema);
        if let Some(options) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Json::as_array) {
            self.one_of(options, value, path, depth, wrong);
            return;
        }
        if let Some(words) = words_of(schema) {
            match value {
                Value::String(word) if words.contains(&word.as_str()) => {}
                Value::String(word) => {
                    wrong.push((path.to_owned(), format!("unknown word \"{word}\"{}", hint(word, words))));
                }
                _ => wrong.push((path.to_owned(), format!("expected one of: {}", words.join(", ")))),
            }
            return;
        }
        if !fits(schema, value) {
            wrong.push((path.to_owned(), format!("expected {}, found {}", wanted(schema), found(value))));
            return;
        }
        match value {
            Value::Mapping(entries) => self.mapping(schema, entries, path, depth, wrong),
            Value::Sequence(items) => self.list(schema, items, path, depth, wrong),
            Value::Number(number) => self.number(schema, number, path, wrong),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Tagged(_) => {}
        }
    }

    /// Follows `$ref` into the definitions; a schema with siblings of its `$ref` still means the definition.
    fn resolved<'a>(&'a self, schema: &'a Json) -> &'a Json {
        let mut schema = schema;
        for _ in 0..DEEPEST {
            let name = schema.get("$ref").and_then(Json::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
            match name.and_then(|name| self.root.get("$defs")?.get(name)) {
                Some(definition) => schema = definition,
                None => break,
            }
        }
        schema
    }

    /// A choice: by key where the alternatives are one-entry mappings, by word where they are words, by kind otherwise.
    fn one_of(&self, options: &[Json], value: &Value, path: &str, depth: usize, wrong: &mut Wrong) {
        let options: Vec<&Json> = options.iter().map(|option| self.resolved(option)).collect();
        let words: Vec<&str> = options.iter().filter_map(|option| words_of(option)).flatten().collect();
        let keys: Vec<(&str, &Json)> = options.iter().filter_map(|option| single_key(option)).collect();
        match value {
            Value::String(word) if words.contains(&word.as_str()) => return,
            Value::Mapping(entries) if !keys.is_empty() => {
                let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
                let mut written = entries.iter();
                let (Some((Value::String(key), inner)), None) = (written.next(), written.next()) else {
                    let message = format!("expected exactly one of the keys: {}", names.join(", "));
                    wrong.push((path.to_owned(), message));
                    return;
                };
                let place = join(path, key);
                match keys.iter().find(|(name, _)| name == key) {
                    Some((_, schema)) => self.value(schema, inner, &place, depth + 1, wrong),
                    None if words.contains(&key.as_str()) => {
                        wrong.push((place, format!("\"{key}\" is written alone, without a value")));
                    }
                    None => wrong.push((place, format!("unknown key \"{key}\" in {}{}", at(path), hint(key, names)))),
                }
                return;
            }
            _ => {}
        }
        // Alternatives of different kinds: `null` or a value, a text or a list.
        let fitting: Vec<&Json> = options.iter().copied().filter(|option| self.kind_fits(option, value)).collect();
        let only_words = fitting.iter().all(|option| words_of(option).is_some());
        match (fitting.as_slice(), value) {
            (_, Value::String(word)) if only_words && !(words.is_empty() && keys.is_empty()) => {
                let all: Vec<&str> = words.iter().copied().chain(keys.iter().map(|(name, _)| *name)).collect();
                let message = if keys.iter().any(|(name, _)| name == word) {
                    format!("\"{word}\" takes a value: `{word}: ...`")
                } else {
                    format!("unknown word \"{word}\"{}", hint(word, all))
                };
                wrong.push((path.to_owned(), message));
            }
            ([], _) => {
                let kinds: Vec<String> = options.iter().map(|option| wanted(option)).collect();
                wrong.push((path.to_owned(), format!("expected {}, found {}", kinds.join(" or "), found(value))));
            }
            (several, _) => {
                let mut least: Option<Wrong> = None;
                for option in several {
                    let mut own = Wrong::new();
                    self.value(option, value, path, depth + 1, &mut own);
                    if least.as_ref().is_none_or(|best| own.len() < best.len()) {
                        least = Some(own);
                    }
                }
                wrong.extend(least.unwrap_or_default());
            }
        }
    }

    /// Whether an alternative is of the value's kind at all, so that its complaints are the ones to show.
    fn kind_fits(&self, schema: &Json, value: &Value) -> bool {
        let options = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Json::as_array);
        match options {
            Some(options) => {
                let options: Vec<&Json> = options.iter().map(|option| self.resolved(option)).collect();
                options.iter().any(|option| match value {
                    Value::String(_) => words_of(option).is_some() || self.kind_fits(option, value),
                    _ => self.kind_fits(option, value),
                }) || (matches!(value, Value::String(_)) && options.iter().any(|o| single_key(o).is_some()))
            }
            None if words_of(schema).is_some() => matches!(value, Value::String(_)),
            None => fits(schema, value),
        }
    }

    fn mapping(&self, schema: &Json, entries: &serde_yaml::Mapping, path: &str, depth: usize, wrong: &mut Wrong) {
        let empty = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
        for (key, value) in entries {
            let Value::String(key) = key else {
                wrong.push((path.to_owned(), format!("keys are words; found {}", found(key))));
                continue;
            };
            let place = join(path, key);
            match properties.get(key) {
                Some(schema) => self.value(schema, value, &place, depth + 1, wrong),
                None => {
                    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
                    wrong.push((place, format!("unknown key \"{key}\" in {}{}", at(path), hint(key, names))));
                }
            }
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        for name in required.filter_map(Json::as_str).filter(|name| !entries.contains_key(*name)) {
            wrong.push((path.to_owned(), format!("{} lacks \"{name}\"", at(path))));
        }
    }

    fn list(&self, schema: &Json, items: &[Value], path: &str, depth: usize, wrong: &mut Wrong) {
        // Tuples describe each place, lists all of them alike.
        let places = schema.get("prefixItems").and_then(Json::as_array);
        if let Some(places) = places
            && places.len() != items.len()
        {
            wrong.push((path.to_owned(), format!("expected {} entries, found {}", places.len(), items.len())));
            return;
        }
        if items.len() > super::MOST_ENTRIES && path.split('.').count() == 1 {
            let message = format!("{} entries; at most {} are taken", items.len(), super::MOST_ENTRIES);
            wrong.push((path.to_owned(), message));
            return;
        }
        for (index, item) in items.iter().enumerate() {
            let own = places.and_then(|places| places.get(index)).or_else(|| schema.get("items"));
            if let Some(own) = own {
                self.value(own, item, &format!("{path}[{index}]"), depth + 1, wrong);
            }
        }
    }

    fn number(&self, schema: &Json, number: &serde_yaml::Number, path: &str, wrong: &mut Wrong) {
        let limit = |name| schema.get(name).and_then(Json::as_f64);
        let value = number.as_f64().unwrap_or(f64::NAN);
        let (least, most) = (limit("minimum").unwrap_or(f64::MIN), limit("maximum").unwrap_or(f64::MAX));
        if !(least..=most).contains(&value) {
            wrong.push((path.to_owned(), format!("{number} is outside {least} to {most}")));
        }
    }
}

/// The words of a schema that allows just these texts.
fn words_of(schema: &Json) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const").and_then(Json::as_str) {
        return Some(vec![word]);
    }
    schema.get("enum").and_then(Json::as_array).map(|words| words.iter().filter_map(Json::as_str).collect())
}

/// Name and value of an alternative that is a mapping with one fixed key.
fn single_key(schema: &Json) -> Option<(&str, &Json)> {
    let required = schema.get("required")?.as_array()?;
    let properties = schema.get("properties")?.as_object()?;
    match (required.as_slice(), properties.len()) {
        ([name], 1) => properties.iter().next().filter(|(key, _)| Some(key.as_str()) == name.as_str()),
        _ => None,
    }
    .map(|(key, value)| (key.as_str(), value))
}

fn kinds(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(kind)) => vec![kind],
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn fits(schema: &Json, value: &Value) -> bool {
    let kinds = kinds(schema);
    kinds.is_empty()
        || kinds.into_iter().any(|kind| match (kind, value) {
            ("null", Value::Null)
            | ("boolean", Value::Bool(_))
            | ("string", Value::String(_))
            | ("array", Value::Sequence(_))
            | ("object", Value::Mapping(_))
            | ("number", Value::Number(_)) => true,
            ("integer", Value::Number(number)) => number.is_i64() || number.is_u64(),
            _ => false,
        })
}

fn wanted(schema: &Json) -> String {
    let kinds: Vec<&str> = kinds(schema)
        .into_iter()
        .filter(|kind| *kind != "null")
        .map(|kind| match kind {
            "boolean" => "true or false",
            "string" => "a text",
            "array" => "a list",
            "object" => "a mapping",
            "integer" => "a whole number",
            _ => "a number",
        })
        .collect();
    let example = schema.get("examples").and_then(Json::as_array).and_then(|all| all.first());
    match (kinds.is_empty(), example.and_then(Json::as_str)) {
        (true, _) => "something else".to_owned(),
        (false, Some(example)) => format!("{} such as {example}", kinds.join(" or ")),
        (false, None) => kinds.join(" or "),
    }
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("\"{}\"", text.chars().take(40).collect::<String>()),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Tagged(_) => "a YAML tag".to_owned(),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn at(path: &str) -> &str {
    if path.is_empty() { "the scenario" } else { path }
}
