//! Verdicts and run records: everything a report may know.

use crate::event::Event;
use crate::ids::{Digest, Seed};
use crate::provision::{RackKind, RackManifest};
use crate::time::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The outcome of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every fault is proven, every expectation met, the oracle content.
    Pass,
    /// The product did what it must not do.
    Fail,
    /// A stimulus was not proven, or evidence is missing: nothing can be said of the product.
    Inconclusive,
    /// The rack lacks what the scenario needs.
    Skipped(String),
    /// The rack failed; nothing can be said of the product.
    RackFault(String),
}

impl Verdict {
    /// One word for tables.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Inconclusive => "inconclusive",
            Self::Skipped(_) => "skipped",
            Self::RackFault(_) => "rack fault",
        }
    }
}

/// How a rule, expectation or proof ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// Holds.
    Holds,
    /// Broken by the product.
    Broken,
    /// Not enough evidence.
    Unproven,
}

/// What a monitor found, with the events it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Finding {
    /// Name of the rule: `oracle-1`, `expect[0] outcome`, `proof[0] corrupt-block`.
    pub rule: String,
    /// How it ended.
    pub conclusion: Conclusion,
    /// What was found, for a person.
    pub text: String,
    /// Events (by `seq`) that it rests on; the first is the first wrong one where it is broken.
    pub events: Vec<u64>,
}

/// Everything known of one scenario's run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunRecord {
    /// Name: `<theme>/<file stem>` or with a `#variant`.
    pub name: String,
    /// Scenario file as found, relative to the repository.
    pub file: String,
    /// One line on what it proves.
    pub title: String,
    /// Requirement tags.
    pub tags: Vec<String>,
    /// Seed.
    pub seed: Seed,
    /// Rack.
    pub rack: RackManifest,
    /// Digest of the image under test.
    pub firmware: Option<Digest>,
    /// Verdict.
    pub verdict: Verdict,
    /// All findings, broken first.
    pub findings: Vec<Finding>,
    /// The ledger. Empty for scenarios that did not run.
    pub events: Vec<Event>,
    /// Rack time at the end.
    pub ended: Time,
    /// Wall time in microseconds; absent where reports must be byte-identical.
    pub wall_micros: Option<u64>,
    /// Command that repeats the run.
    pub repeat: String,
    /// Path of the evidence bundle, relative to the run's folder, if one was written.
    pub bundle: Option<String>,
    /// The scenario as text, for the bundle.
    pub source: String,
}

impl RunRecord {
    /// The first broken finding.
    #[must_use]
    pub fn first_broken(&self) -> Option<&Finding> {
        self.findings.iter().find(|f| f.conclusion == Conclusion::Broken)
    }
}

/// A whole run of the suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SuiteRecord {
    /// Name of the run.
    pub name: String,
    /// Which rack.
    pub rack: String,
    /// Which of the three.
    pub kind: RackKind,
    /// Seed of the run.
    pub seed: Seed,
    /// Start of the run, RFC 3339 UTC; absent where reports must be byte-identical.
    pub started: Option<String>,
    /// False when the run was interrupted: what is here is what finished.
    pub complete: bool,
    /// Scenarios in the order of their names.
    pub runs: Vec<RunRecord>,
}
