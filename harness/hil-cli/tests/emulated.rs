//! The emulated rack: the conformance suite of all racks and the headline scenarios on four QEMU machines.
//! `cargo test -p hil-cli --test emulated`.
//!
//! Needs QEMU and `cargo xtask firmware emulated`. Where one of them is missing every trial is ignored with that reason,
//! and fails in CI (`CI` is set): a skip there would pass for a proof. One bench runs at a time.

use hil_cli::racks::RackSource;
use hil_cli::runner::{self, Done, Settings};
use hil_model::{Action, RackManifest, Seed, Span, Verdict};
use hil_rack::conformance::{Broken, CASES, Case, ConformanceKit, Patience};
use hil_rack::{Rack, RackError};
use hil_scenario::{BindOptions, Forge, Scenario, bind, catalogue, source};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rack_emulated::EmulatedRack;
use rack_hardware::LabDefinition;
use rack_hardware::lab::{Programs, firmware};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Four nodes and a campaign that all of them take, with time for a confirmation that is dropped twice.
const SCENARIO: &str = "title: What a rack has to carry
rack: { nodes: 4 }
campaign: { stages: [{ take: rest }], grace: 40 s }
expect: [{ campaign: completed }]
";

/// What a trial does on the bench.
type Work = Box<dyn FnOnce(&Bench) -> Result<Completion, Failed> + Send>;

struct Bench {
    lab: LabDefinition,
    manifest: RackManifest,
    forge: Forge,
    kit: ConformanceKit,
}

impl RackSource for Bench {
    fn manifest(&self) -> &RackManifest {
        &self.manifest
    }

    /// This program has no hidden commands; the one that has is built beside it.
    fn open(&self) -> Result<Box<dyn Rack>, RackError> {
        let programs = Programs::of(env!("CARGO_BIN_EXE_hil").into());
        Ok(Box::new(EmulatedRack::new(self.lab.clone(), programs)))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn bench() -> Result<Bench, String> {
    rack_emulated::installed().map_err(|error| error.to_string())?;
    let lines =
        |wrong: Vec<hil_scenario::Diagnostic>| wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let file = "rigs/racks/emulated-4.yaml";
    let text = std::fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))?;
    let lab = LabDefinition::parse(file, "emulated-4", &text).map_err(lines)?;
    let manifest = rack_emulated::manifest(&lab);
    let programs = firmware::programs(&lab.firmware.folder, &lab.profile.board).map_err(|e| e.to_string())?;
    let forge = Forge::with_programs(programs);
    let scenarios = source::read("conformance/kit", "conformance.yaml", SCENARIO).map_err(lines)?;
    let scenario = scenarios.into_iter().next().ok_or("no scenario")?;
    let plan = bind(&scenario, &manifest, Seed(1), &forge, BindOptions::default()).map_err(|e| e.to_string())?;
    let start = plan.actions.iter().find_map(|timed| match &timed.action {
        Action::StartCampaign { policy, package, .. } => Some((package.clone(), policy.clone())),
        _ => None,
    });
    let (package, policy) = start.ok_or("the plan starts no campaign")?;
    let patience = Patience { action: Span::secs(10), boot: Span::secs(30), campaign: Span::mins(4) };
    Ok(Bench { lab, manifest, forge, kit: ConformanceKit { provision: plan.provision, package, policy, patience } })
}

fn conforms(case: &Case, bench: &Bench) -> Result<Completion, Failed> {
    if let Some(first) = case.lacks(&bench.manifest).first() {
        return Ok(Completion::ignored_with(format!("the rack lacks {first}")));
    }
    // Opening starts nothing: it does not fail.
    let mut make = || bench.open().unwrap_or_else(|error| panic!("{error}"));
    match (case.check)(&bench.kit, &mut make) {
        Err(Broken::Failed { doing, error }) => {
            once_more(case.name, &format!("{doing}: {error}"));
            (case.check)(&bench.kit, &mut make)
        }
        result => result,
    }
    .map_err(|broken| Failed::from(broken.to_string()))?;
    Ok(Completion::Completed)
}

/// A rack fault says nothing of the product: on a crowded machine QEMU can miss a deadline of the debug probe. What the
/// product did wrong is never tried again.
fn once_more(trial: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "{trial}: rack fault, tried once more: {why}");
}

fn passes(scenario: &Scenario, bench: &Bench) -> Result<Completion, Failed> {
    match run(scenario, bench) {
        Done::Ran(run) if matches!(run.verdict, Verdict::RackFault(_)) => {
            once_more(&scenario.name, &hil_report::timeline(&run).to_string());
        }
        done => return completion(done),
    }
    completion(run(scenario, bench))
}

fn run(scenario: &Scenario, bench: &Bench) -> Done {
    let settings = Settings { seed: Seed(1), inject: true, retries: 0, wall_times: true, jobs: 1, options: "" };
    runner::run_one(scenario, bench, &bench.forge, &settings, &AtomicBool::new(false))
}

fn completion(done: Done) -> Result<Completion, Failed> {
    match done {
        Done::Ran(run) | Done::Panicked(run) => match run.verdict {
            Verdict::Pass => Ok(Completion::Completed),
            Verdict::Skipped(why) => Ok(Completion::ignored_with(why)),
            Verdict::Fail | Verdict::Inconclusive | Verdict::RackFault(_) => {
                Err(hil_report::timeline(&run).to_string().into())
            }
        },
        Done::Invalid(wrong) => Err(format!("{wrong:?}").into()),
        Done::Stopped => Err("stopped".into()),
    }
}

fn headline() -> Vec<Scenario> {
    let file = root().join("fixtures/scenarios/field/four-boards.yaml");
    catalogue::load(&file).ok().and_then(|file| file.scenarios().ok()).unwrap_or_default()
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Benches share two cores with their own QEMU processes.
    args.test_threads = Some(1);
    // Firmware and racks are named from the repository's root.
    if let Err(error) = std::env::set_current_dir(root()) {
        eprintln!("{}: {error}", root().display());
        return ExitCode::FAILURE;
    }
    let bench = bench().map(Arc::new);
    let in_ci = std::env::var_os("CI").is_some();
    let trial = |name: String, work: Work| {
        let bench = bench.clone();
        Trial::ignorable_test(name, move || match &bench {
            Ok(bench) => work(bench),
            Err(why) if in_ci => Err(why.clone().into()),
            Err(why) => Ok(Completion::ignored_with(why.clone())),
        })
    };
    let mut trials = Vec::new();
    for case in CASES {
        trials.push(trial(format!("conformance::{}", case.name), Box::new(move |bench| conforms(case, bench))));
    }
    for scenario in headline() {
        trials.push(trial(scenario.name.clone(), Box::new(move |bench| passes(&scenario, bench))));
    }
    libtest_mimic::run(&args, trials).exit_code()
}
