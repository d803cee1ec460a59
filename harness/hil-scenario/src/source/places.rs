//! Where in a scenario file a key path stands.
//!
//! An event parser walks the text once and notes line and column of every key and every list entry. A path that is not
//! in the text (a default, an inherited value) is found at the nearest parent that is.

use saphyr_parser::{Event, Parser};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Places of a file, seen from the base document or from one of its variants. Lines and columns count from 1.
#[derive(Debug, Clone, Default)]
pub struct Places {
    index: Arc<BTreeMap<String, (usize, usize)>>,
    variant: Option<usize>,
}

/// Most places kept: more keys than any file of the allowed size can sensibly have.
const MOST_PLACES: usize = 20_000;
/// Deepest nesting followed.
const DEEPEST: usize = 64;

/// Longest path kept; deeper places are found at their parent.
const LONGEST_PATH: usize = 256;

/// A collection that is open while the parser walks.
enum Open {
    Mapping { path: String, key: Option<String> },
    Sequence { path: String, next: usize },
}

impl Places {
    /// Notes every place of the text. What cannot be parsed ends the walk; places before it stand.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut index = BTreeMap::new();
        let mut open: Vec<Open> = Vec::new();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            if index.len() >= MOST_PLACES || open.len() > DEEPEST {
                break;
            }
            let at = (span.start.line(), span.start.col() + 1);
            match event {
                Event::Scalar(value, ..) => {
                    if let Some(Open::Mapping { path, key: key @ None }) = open.last_mut() {
                        // Flow keys and block keys alike: the value that follows belongs to this path.
                        index.entry(join(path, &value)).or_insert(at);
                        *key = Some(value.into_owned());
                    } else {
                        let _ = child(&mut open, &mut index, at);
                    }
                }
                Event::MappingStart(..) => {
                    let path = child(&mut open, &mut index, at);
                    open.push(Open::Mapping { path, key: None });
                }
                Event::SequenceStart(..) => {
                    let path = child(&mut open, &mut index, at);
                    open.push(Open::Sequence { path, next: 0 });
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    open.pop();
                }
                Event::Alias(..) => {
                    let _ = child(&mut open, &mut index, at);
                }
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(..)
                | Event::DocumentEnd => {}
            }
        }
        Self { index: Arc::new(index), variant: None }
    }

    /// The same places, looked up in this variant first.
    #[must_use]
    pub fn for_variant(self, index: usize) -> Self {
        Self { variant: Some(index), ..self }
    }

    /// Line and column of the path or of its nearest parent.
    #[must_use]
    pub fn find(&self, path: &str) -> (usize, usize) {
        let Some(variant) = self.variant else {
            return self.nearest(path).map_or((1, 1), |(_, at)| at);
        };
        // The longer match wins: a fault list overridden by the variant is found there, the rest in the base.
        let root = format!("variants[{variant}]");
        let own = self.nearest(&join(&root, path)).map(|(len, at)| (len.saturating_sub(root.len() + 1), at));
        match (own, self.nearest(path)) {
            (Some((0, at)), None) => at,
            (Some((own, at)), base) if own > 0 && base.is_none_or(|(base, _)| own >= base) => at,
            (_, Some((_, at))) => at,
            (_, None) => self.index.get(&root).copied().unwrap_or((1, 1)),
        }
    }

    /// Length and place of the longest prefix of `path` that the file has.
    fn nearest(&self, path: &str) -> Option<(usize, (usize, usize))> {
        let mut path = path;
        while !path.is_empty() {
            if let Some(at) = self.index.get(path) {
                return Some((path.len(), *at));
            }
            path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
        }
        None
    }
}

/// The path of the value that begins now; list entries are noted, values of keys have been.
fn child(open: &mut [Open], index: &mut BTreeMap<String, (usize, usize)>, at: (usize, usize)) -> String {
    match open.last_mut() {
        None => String::new(),
        Some(Open::Mapping { path, key }) => match key.take() {
            Some(key) => join(path, &key),
            // A key that is itself a collection: no path leads there.
            None => join(path, "?"),
        },
        Some(Open::Sequence { path, next }) => {
            let entry = format!("{path}[{next}]");
            *next += 1;
            index.entry(entry.clone()).or_insert(at);
            entry
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else if key.is_empty() || path.len() + key.len() > LONGEST_PATH {
        path.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
