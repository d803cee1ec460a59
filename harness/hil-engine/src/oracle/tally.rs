//! Collects what a rule found and turns it into its finding.

use hil_model::Finding;
use hil_model::record::Conclusion;

/// Most events cited by a finding.
const MAX_CITED: usize = 32;

/// Broken and unproven points of a rule, in the order of their discovery.
#[derive(Debug, Default)]
pub(super) struct Tally {
    broken: Vec<(u64, String)>,
    unproven: Vec<String>,
    /// Single checks made: a rule that checked nothing has proven nothing.
    checks: u64,
}

impl Tally {
    /// A check was made and held, or is about to be found broken.
    pub(super) fn check(&mut self) {
        self.checks += 1;
    }

    /// How many checks were made.
    pub(super) const fn checks(&self) -> u64 {
        self.checks
    }

    /// The invariant is broken, as event `seq` shows.
    pub(super) fn broken(&mut self, seq: u64, text: String) {
        self.broken.push((seq, text));
    }

    /// Evidence is missing.
    pub(super) fn unproven(&mut self, text: String) {
        self.unproven.push(text);
    }

    /// The finding. `holds` is said where nothing is wrong.
    pub(super) fn close(mut self, rule: &str, holds: String) -> Finding {
        // In the order of the ledger, so that the first cited is the first wrong one.
        self.broken.sort_by_key(|(seq, _)| *seq);
        let events: Vec<u64> = self.broken.iter().map(|(seq, _)| *seq).take(MAX_CITED).collect();
        let (conclusion, text) = if let Some((_, first)) = self.broken.first() {
            (Conclusion::Broken, and_more(first, self.broken.len()))
        } else if let Some(first) = self.unproven.first() {
            (Conclusion::Unproven, and_more(first, self.unproven.len()))
        } else {
            (Conclusion::Holds, holds)
        };
        Finding { rule: rule.to_owned(), conclusion, text, events }
    }
}

/// A count with its noun: `1 node`, `2 nodes`.
pub(super) fn many(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn and_more(first: &str, count: usize) -> String {
    match count {
        0 | 1 => first.to_owned(),
        more => format!("{first} (and {} more)", more - 1),
    }
}
