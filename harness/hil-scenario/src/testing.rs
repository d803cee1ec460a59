//! What the tests of this crate share: a rack that can do everything, and a forge kept for the whole test process.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::forge::Forge;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::{BindOptions, bind};
use hil_model::{Capability, Fleet, Profile, RackKind, RackManifest, Seed};
use std::sync::{Arc, OnceLock};

/// A virtual rack with small images.
pub(crate) fn manifest() -> RackManifest {
    RackManifest {
        name: "test".to_owned(),
        kind: RackKind::Virtual,
        capabilities: Capability::ALL.iter().copied().collect(),
        profile: Profile { image_size: 64 * 1024, block_size_log: 12, ..Profile::default() },
        fleet: Fleet::building(24, 2, 1, 6, 2),
    }
}

/// One cache for all tests: forging is most of their work.
pub(crate) fn forge() -> Arc<Forge> {
    static FORGE: OnceLock<Arc<Forge>> = OnceLock::new();
    Arc::clone(FORGE.get_or_init(|| Arc::new(Forge::new())))
}

/// A scenario with these faults and expectations, each one flow entry.
pub(crate) fn scenario(faults: &[&str], expect: &[&str]) -> Scenario {
    let list = |entries: &[&str]| entries.iter().map(|entry| format!("  - {entry}\n")).collect::<String>();
    let mut text = "title: test\ncampaign: { stages: [{ take: rest }] }\n".to_owned();
    if !faults.is_empty() {
        text.push_str(&format!("faults:\n{}", list(faults)));
    }
    text.push_str(&format!("expect:\n{}", list(expect)));
    crate::source::read("t/x", "x.yaml", &text).unwrap_or_else(|e| panic!("{e:#?}\n{text}")).remove(0)
}

/// Its plan.
pub(crate) fn plan(faults: &[&str], expect: &[&str]) -> Plan {
    planned(faults, expect, true)
}

/// Its plan, with or without the stimuli.
pub(crate) fn planned(faults: &[&str], expect: &[&str], inject: bool) -> Plan {
    let options = BindOptions { inject };
    bind(&scenario(faults, expect), &manifest(), Seed(1), &forge(), options).unwrap()
}
