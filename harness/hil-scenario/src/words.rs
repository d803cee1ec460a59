//! Short words for the types of the vocabulary, as findings, plans and the manual use them. What reports say too is in
//! [`hil_model::words`].

use hil_model::{Capability, CapabilitySet, MessageKind};

/// A message kind in words.
#[must_use]
pub fn kind(kind: MessageKind) -> String {
    kebab(&format!("{kind:?}")).replace('-', " ")
}

/// Names of capabilities.
#[must_use]
pub fn capabilities(set: &CapabilitySet) -> String {
    let names: Vec<&str> = set.iter().map(|capability: &Capability| capability.name()).collect();
    if names.is_empty() { "nothing special".to_owned() } else { names.join(", ") }
}

/// `CamelCase` to `kebab-case`.
#[must_use]
pub fn kebab(camel: &str) -> String {
    let mut text = String::with_capacity(camel.len() + 4);
    for (i, c) in camel.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}
