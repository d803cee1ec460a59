//! Every scenario as a test: `cargo test -p hil-cli --test scenarios -- bad_signature` lists and filters as for any test.
//!
//! A trial is called `<theme>::<file>::<variant>`, hyphens written as underscores. A run passes when its verdict is what it
//! has to be: Pass; for a canary that its wrong composition is caught; and for `no_inject::...`, the same scenario with
//! every stimulus left out, Inconclusive. A scenario that the rack cannot run is ignored with its reason, never passed.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hil_cli::racks::{BoundRack, RackSource as _};
use hil_cli::runner::{self, Done, Settings};
use hil_cli::selection::{self, Wanted};
use hil_model::{Seed, Verdict};
use hil_report::timeline;
use hil_scenario::{Forge, Scenario};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Seed of every trial; `hil run --seed` tries others, `hil explore` many.
const SEED: Seed = Seed(1);

/// What the trials share: the rack, and the images that were forged already.
struct Bench {
    rack: BoundRack,
    forge: Forge,
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // People type the names of files.
    args.filter = args.filter.map(|filter| plain(&filter));
    args.skip = args.skip.iter().map(|skip| plain(skip)).collect();
    let scenarios = match selection::select(&Wanted::default()) {
        Ok(selected) => selected.scenarios,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let bench = Arc::new(Bench { rack: BoundRack::embedded(), forge: Forge::new() });
    let mut trials = Vec::new();
    for scenario in scenarios {
        let scenario = Arc::new(scenario);
        if !scenario.written.faults.is_empty() && scenario.written.canary.is_none() {
            trials.push(trial(&bench, &scenario, Wanting::Inconclusive));
        }
        trials.push(trial(&bench, &scenario, Wanting::Pass));
    }
    libtest_mimic::run(&args, trials).exit_code()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanting {
    /// The verdict is Pass; of a canary, that it is caught.
    Pass,
    /// Without its stimulus it proves nothing.
    Inconclusive,
}

fn trial(bench: &Arc<Bench>, scenario: &Arc<Scenario>, wanting: Wanting) -> Trial {
    let name = plain(&scenario.name);
    let name = match wanting {
        Wanting::Pass => name,
        Wanting::Inconclusive => format!("no_inject::{name}"),
    };
    let (bench, scenario) = (Arc::clone(bench), Arc::clone(scenario));
    Trial::ignorable_test(name, move || judge(&bench, &scenario, wanting))
}

/// `rejection/bad-signature#wrong-key` as a test is called: `rejection::bad_signature::wrong_key`.
fn plain(name: &str) -> String {
    name.replace(['/', '#'], "::").replace('-', "_")
}

fn judge(bench: &Bench, scenario: &Scenario, wanting: Wanting) -> Result<Completion, Failed> {
    let settings = Settings {
        seed: SEED,
        inject: wanting == Wanting::Pass,
        retries: 0,
        wall_times: false,
        jobs: 1,
        options: if wanting == Wanting::Pass { "" } else { " --no-inject" },
    };
    let record = match runner::run_one(scenario, &bench.rack, &bench.forge, &settings, &AtomicBool::new(false)) {
        Done::Ran(record) | Done::Panicked(record) => record,
        Done::Invalid(diagnostics) => {
            let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
            return Err(lines.join("\n").into());
        }
        Done::Stopped => return Err("the run was stopped".into()),
    };
    match (&record.verdict, wanting) {
        (Verdict::Pass, Wanting::Pass) | (Verdict::Inconclusive, Wanting::Inconclusive) => Ok(Completion::Completed),
        (Verdict::Skipped(why), _) => Ok(Completion::ignored_with(format!("{why} ({})", bench.rack.manifest().name))),
        (_, Wanting::Pass) => Err(timeline(&record).into()),
        (_, Wanting::Inconclusive) => {
            Err(format!("has to be inconclusive without its stimulus\n{}", timeline(&record)).into())
        }
    }
}
