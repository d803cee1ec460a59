//! Recorded runs from `fixtures/ledgers/`: an unpacked evidence bundle each.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use hil_engine::ledger;
use hil_model::{Event, Finding};
use hil_report::bundle::RunFile;
use hil_scenario::bind::{BindOptions, bind};
use hil_scenario::{Forge, Plan, source};
use std::path::{Path, PathBuf};

/// A recorded run.
pub struct Recorded {
    pub run: RunFile,
    pub events: Vec<Event>,
    pub findings: Vec<Finding>,
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/ledgers")
}

/// Names of all recorded runs, in order.
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> =
        entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn load(name: &str) -> Recorded {
    let dir = folder().join(name);
    let run: RunFile = serde_yaml::from_str(&std::fs::read_to_string(dir.join("run.yaml")).unwrap()).unwrap();
    let read = ledger::read(&std::fs::read(dir.join("ledger.jsonl")).unwrap()).unwrap();
    assert_eq!(read.torn_line, None, "{name}");
    let text = std::fs::read_to_string(dir.join("findings.json")).unwrap();
    let findings: serde_json::Value = serde_json::from_str(&text).unwrap();
    let findings = serde_json::from_value(findings["findings"].clone()).unwrap();
    Recorded { run, events: read.ledger.into_events(), findings }
}

impl Recorded {
    /// The plan of the recorded scenario, bound to the recorded rack and seed.
    pub fn plan(&self) -> Plan {
        self.plan_with(BindOptions::default())
    }

    pub fn plan_with(&self, options: BindOptions) -> Plan {
        let run = &self.run;
        let (file_name, _) = run.name.split_once('#').unwrap_or((&run.name, ""));
        let scenarios = source::read(file_name, &run.file, &run.scenario).unwrap();
        let scenario = scenarios.iter().find(|scenario| scenario.name == run.name).unwrap();
        bind(scenario, &run.rack, run.seed, &Forge::new(), options).unwrap()
    }
}
