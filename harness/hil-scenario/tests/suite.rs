//! The scenarios of the repository: they read, bind to the virtual rack, plan as reviewed, and prove nothing by themselves.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use hil_model::record::Conclusion;
use hil_model::{Capability, Fleet, Profile, RackKind, RackManifest, Seed};
use hil_scenario::{
    BindError, BindOptions, Forge, Monitor as _, Plan, ProofMonitor, Scenario, bind, catalogue, manual,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn manifest() -> RackManifest {
    RackManifest {
        name: "virtual".to_owned(),
        kind: RackKind::Virtual,
        capabilities: Capability::ALL.iter().copied().collect(),
        profile: Profile::default(),
        fleet: Fleet::building(24, 2, 1, 6, 2),
    }
}

fn scenarios() -> Vec<Scenario> {
    let read = |file: catalogue::ScenarioFile| {
        file.scenarios().unwrap_or_else(|diagnostics| {
            let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"))
        })
    };
    catalogue::embedded().into_iter().flat_map(read).collect()
}

fn plan(scenario: &Scenario, forge: &Forge, inject: bool) -> Plan {
    bind(scenario, &manifest(), Seed(1), forge, BindOptions { inject })
        .unwrap_or_else(|error| panic!("{}: {error}", scenario.name))
}

/// Compares with the file; `HIL_BLESS=1` writes it.
fn golden(path: &Path, text: &str) {
    if env::var_os("HIL_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        return;
    }
    let want = fs::read_to_string(path).unwrap_or_default();
    if let Some((n, (old, new))) = want.lines().zip(text.lines()).enumerate().find(|(_, (old, new))| old != new) {
        panic!("{}:{}: \n  was {old}\n  is  {new}\nreview and rerun with HIL_BLESS=1", path.display(), n + 1);
    }
    assert_eq!(want, text, "{} is not current; review and rerun with HIL_BLESS=1", path.display());
}

#[test]
fn every_plan_is_the_reviewed_one() {
    let forge = Forge::new();
    let mut themes: BTreeMap<String, String> = BTreeMap::new();
    for scenario in scenarios() {
        let theme = scenario.name.split('/').next().unwrap().to_owned();
        let text = themes.entry(theme).or_default();
        text.push_str(&plan(&scenario, &forge, true).describe());
        text.push('\n');
    }
    for (theme, text) in themes {
        golden(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(format!("{theme}.txt")), &text);
    }
}

#[test]
fn the_schema_in_the_repository_is_current() {
    golden(&repository().join(catalogue::FOLDER).join("schema.json"), &manual::schema_text());
}

#[test]
fn the_manual_in_the_repository_is_current() {
    golden(&repository().join("harness/docs/faults.md"), &manual::manual());
}

/// Design, section 5.15: variants differ in injection point or expected end, never only in seed.
#[test]
fn no_two_scenarios_are_the_same() {
    let forge = Forge::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for scenario in scenarios() {
        let described = plan(&scenario, &forge, true).describe();
        // What follows the name and the title is what happens and what is expected; a canary's control differs from it
        // in the composition alone, which is the point of it.
        let body = described.split_once('\n').unwrap().1.to_owned();
        if let Some(other) = seen.insert(body, scenario.name.clone()) {
            panic!("{} and {other} are the same run", scenario.name);
        }
    }
}

#[test]
fn the_suite_has_the_variants_that_were_asked_for() {
    let names: BTreeSet<String> = scenarios().into_iter().map(|scenario| scenario.name).collect();
    assert!(names.len() >= 45, "{} runs", names.len());
    for theme in ["rejection", "rollback", "integrity", "stage-pause", "throttle", "thread", "field", "canary"] {
        assert!(names.iter().any(|name| name.starts_with(&format!("{theme}/"))), "no scenario in {theme}");
    }
    let headline = ["corrupt-block", "bad-signature", "missing-migration", "withhold-confirmation"];
    let of_headline =
        scenarios().iter().filter(|s| s.written.faults.iter().any(|fault| headline.contains(&fault.name()))).count();
    assert!(of_headline >= 30, "{of_headline} variants of the four headline faults");
}

#[test]
fn the_six_wrong_compositions_have_their_canaries_and_controls() {
    let all = scenarios();
    let canaries: Vec<&Scenario> = all.iter().filter(|s| s.written.canary.is_some()).collect();
    let compositions: BTreeSet<String> =
        canaries.iter().map(|s| format!("{:?}", s.written.canary.as_ref().unwrap().composition)).collect();
    assert_eq!(compositions.len(), 6, "{compositions:?}");
    for canary in canaries {
        let control = format!("{}#control", canary.name);
        assert!(all.iter().any(|s| s.name == control), "{control} is missing");
    }
}

#[test]
fn every_fault_of_the_manual_is_used_by_a_scenario() {
    let used: BTreeSet<&str> =
        scenarios().iter().flat_map(|s| s.written.faults.iter().map(|fault| fault.name())).collect();
    let known: BTreeSet<&str> = hil_scenario::faults::MANUAL.iter().map(|entry| entry.name).collect();
    assert_eq!(known.difference(&used).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn with_the_injector_off_every_stimulus_is_gone_and_every_proof_stays() {
    let forge = Forge::new();
    for scenario in scenarios() {
        let (with, without) = (plan(&scenario, &forge, true), plan(&scenario, &forge, false));
        assert!(without.actions.iter().all(|action| action.fault.is_none()), "{}: an action is left", scenario.name);
        assert_eq!(with.faults.len(), without.faults.len());
        for fault in &without.faults {
            assert!(!fault.proof.clauses.is_empty(), "{}: {} proves nothing", scenario.name, fault.kind);
            let monitor = ProofMonitor::new(usize::from(fault.id.0), fault.kind, &fault.proof);
            assert_eq!(monitor.close(&without).conclusion, Conclusion::Unproven, "{}: {}", scenario.name, fault.kind);
        }
        let shaped = with.provision.programs.len() > without.provision.programs.len()
            || with.images[1].digest != without.images[1].digest;
        assert!(
            without.images[1].label.0 == Plan::CANDIDATE && without.images[1].check == hil_model::ImageCheck::Valid,
            "{shaped}"
        );
    }
}

/// A bench of four boards: what it lacks skips a scenario there, nothing makes one invalid, and the headline faults run.
#[test]
fn a_small_rack_skips_what_it_cannot_do() {
    let lacking = [Capability::LargeFleet, Capability::VirtualTime, Capability::Thread, Capability::Compositions];
    let bench = RackManifest {
        name: "bench".to_owned(),
        kind: RackKind::Emulated,
        capabilities: Capability::ALL.iter().copied().filter(|c| !lacking.contains(c)).collect(),
        profile: Profile { board: "mk-node-emulated".to_owned(), image_size: 32 * 1024, ..Profile::default() },
        fleet: Fleet::building(4, 1, 1, 0, 2),
    };
    let forge = Forge::new();
    let mut bound = Vec::new();
    for scenario in scenarios() {
        match bind(&scenario, &bench, Seed(1), &forge, BindOptions::default()) {
            Ok(plan) => bound.push(plan.name),
            Err(BindError::Lacks(capabilities)) => assert!(!capabilities.is_empty()),
            Err(BindError::Invalid(diagnostics)) => panic!("{}: {diagnostics:?}", scenario.name),
        }
    }
    assert_eq!(bound.iter().filter(|name| name.starts_with("field/four-boards#")).count(), 6, "{bound:?}");
}

#[test]
fn the_same_seed_gives_the_same_plan_and_a_shared_forge_makes_no_difference() {
    let shared = Forge::new();
    for scenario in scenarios().iter().step_by(9) {
        let (one, two) = (plan(scenario, &shared, true), plan(scenario, &Forge::new(), true));
        assert_eq!(one.images, two.images);
        assert_eq!(one.describe(), two.describe());
    }
}
