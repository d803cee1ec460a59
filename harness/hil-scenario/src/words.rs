//! Short words for the types of the vocabulary, as findings, plans and the manual use them.

use hil_model::fact::Interposition;
use hil_model::{Capability, CapabilitySet, MessageKind, NodeId};

/// `n03`, `n01, n02` or `n01..n24`; long lists are given as runs.
#[must_use]
pub fn nodes(ids: &[NodeId]) -> String {
    let mut runs: Vec<(NodeId, NodeId)> = Vec::new();
    for &id in ids {
        match runs.last_mut() {
            Some((_, last)) if last.0.checked_add(1) == Some(id.0) => *last = id,
            Some(_) | None => runs.push((id, id)),
        }
    }
    let parts: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| match last.0 - first.0 {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first}..{last}"),
        })
        .collect();
    if parts.is_empty() { "no node".to_owned() } else { parts.join(", ") }
}

/// A message kind in words.
#[must_use]
pub fn kind(kind: MessageKind) -> String {
    kebab(&format!("{kind:?}")).replace('-', " ")
}

/// What the interposer did, after "message".
#[must_use]
pub const fn interposition(did: Interposition) -> &'static str {
    match did {
        Interposition::Dropped => "dropped",
        Interposition::Altered => "altered",
        Interposition::Held => "held back",
        Interposition::Released => "released late",
        Interposition::Duplicated => "duplicated",
        Interposition::Reordered => "overtaken",
        Interposition::Replayed => "replayed",
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_nodes_are_short() {
        let ids = |numbers: &[u16]| numbers.iter().copied().map(NodeId).collect::<Vec<_>>();
        assert_eq!(nodes(&ids(&[3])), "n03");
        assert_eq!(nodes(&ids(&[3, 4, 9])), "n03, n04, n09");
        assert_eq!(nodes(&ids(&[1, 2, 3, 4, 9])), "n01..n04, n09");
        assert_eq!(nodes(&[]), "no node");
    }
}
