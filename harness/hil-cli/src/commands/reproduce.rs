//! `hil reproduce`: repeats a bundle or a scenario file on a rack, and says whether it came out the same.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use hil_engine::Ended;
use hil_model::{Digest, Seed, Verdict};
use hil_report::xml_text::clean_line;
use hil_scenario::{BindError, BindOptions, Forge, Plan, bind, catalogue};

use super::replay::{Case, class_of};
use crate::exit::{CommandError, ExitClass};
use crate::racks::{BoundRack, RackSource};
use crate::{runner, selection};

/// Arguments of `hil reproduce`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil reproduce reports/runs/<run>/bundle-rejection--bad-signature--wrong-key-1.zip
  hil reproduce bundle.zip --rack rigs/racks/virtual.yaml
  hil reproduce fixtures/scenarios/field/bad-day.yaml --seed 7

A bundle is repeated with its own scenario and seed, on its own rack or on the one given, and compared with what it \
recorded: the verdict, and on a virtual rack the digest of the whole ledger. A scenario file has recorded nothing: each of \
its scenarios is run twice and the two are compared. Exit code 0: the same verdict as recorded (of a file: a pass); \
6: it came out differently.")]
pub struct ReproduceArgs {
    /// A bundle (*.zip) or a scenario file (*.yaml).
    file: PathBuf,
    /// Rack file; a bundle's own rack, or the embedded virtual rack, when left out.
    #[arg(long, value_name = "FILE")]
    rack: Option<PathBuf>,
    /// Seed, for a scenario file.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How a repetition ended.
struct Repeated {
    verdict: Verdict,
    digest: Digest,
}

/// Runs the command.
///
/// # Errors
/// It came out differently, or badly.
pub fn run(args: &ReproduceArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let stop = super::run::stop_on_interrupt()?;
    if args.file.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") {
        scenario_file(args, out, &stop)
    } else {
        bundle(args, out, &stop)
    }
}

fn bundle(args: &ReproduceArgs, out: &mut dyn Write, stop: &AtomicBool) -> Result<(), CommandError> {
    let case = Case::open(&args.file)?;
    let recorded = &case.evidence.run;
    let own = args.rack.is_none();
    let rack = match &args.rack {
        Some(path) => BoundRack::of_option(Some(path))?,
        None => BoundRack::of_manifest(recorded.rack.clone())
            .map_err(|why| CommandError::invalid_file(format!("{}: run.yaml: {why}", args.file.display())))?,
    };
    let plan = if own {
        case.plan.clone()
    } else {
        let options = BindOptions { inject: case.plan.injected };
        bind(&case.scenario, rack.manifest(), recorded.seed, &forge(&rack)?, options).map_err(unbound)?
    };
    let repeated = once(&plan, &rack, stop)?;
    let before = case.ledger.ledger.digest();
    writeln!(out, "{}: seed {}, rack {}", clean_line(&plan.name), plan.seed, clean_line(&rack.manifest().name))?;
    writeln!(out, "verdict  recorded {}, now {}", recorded.verdict.word(), repeated.verdict.word())?;
    writeln!(out, "ledger   recorded {}, now {}", before.short(), repeated.digest.short())?;
    let verdict = recorded.verdict.word() == repeated.verdict.word();
    match (verdict, before == repeated.digest) {
        (true, true) => writeln!(out, "reproduced: the same verdict and the same ledger, octet for octet")?,
        (true, false) if own => {
            writeln!(out, "reproduced: the same verdict; the ledger differs: firmware, rack or harness changed since")?;
        }
        (true, false) => writeln!(out, "reproduced: the same verdict, with another ledger on another rack")?,
        (false, _) => {
            return Err(CommandError::new(ExitClass::Inconclusive, "not reproduced: another verdict")
                .hint("`hil replay` judges the recorded ledger again; a fixed product ends in another verdict too"));
        }
    }
    Ok(())
}

/// Where images for a rack come from.
fn forge(rack: &BoundRack) -> Result<Forge, CommandError> {
    rack.forge().map_err(|why| CommandError::new(ExitClass::RackFault, why))
}

fn scenario_file(args: &ReproduceArgs, out: &mut dyn Write, stop: &AtomicBool) -> Result<(), CommandError> {
    let file = load(&args.file)?;
    let rack = BoundRack::of_option(args.rack.as_deref())?;
    let forge = forge(&rack)?;
    let mut worst: Option<Verdict> = None;
    let mut differing = 0;
    for scenario in selection::scenarios(&[file])? {
        let plan = match bind(&scenario, rack.manifest(), Seed(args.seed), &forge, BindOptions::default()) {
            Ok(plan) => plan,
            Err(lacks @ BindError::Lacks(_)) => {
                writeln!(out, "{}: skipped: {lacks}", scenario.name)?;
                continue;
            }
            Err(error) => return Err(unbound(error)),
        };
        let (first, second) = (once(&plan, &rack, stop)?, once(&plan, &rack, stop)?);
        let same = first.digest == second.digest;
        differing += usize::from(!same);
        let word = if same { "twice the same ledger" } else { "TWO DIFFERENT LEDGERS" };
        writeln!(out, "{}: seed {}: {}, {word} {}", plan.name, plan.seed, first.verdict.word(), first.digest.short())?;
        if class_of(&first.verdict).map(ExitClass::code) > worst.as_ref().and_then(class_of).map(ExitClass::code) {
            worst = Some(first.verdict);
        }
    }
    if differing > 0 {
        return Err(CommandError::new(
            ExitClass::Inconclusive,
            format!("{differing} runs differ from their repetition"),
        )
        .hint("on a virtual rack this is a fault of the harness or of the firmware: report it with the seed"));
    }
    match worst.as_ref().and_then(|verdict| Some((class_of(verdict)?, verdict.word()))) {
        Some((class, word)) => Err(CommandError::new(class, format!("the worst verdict is {word}"))),
        None => Ok(()),
    }
}

fn load(path: &Path) -> Result<catalogue::ScenarioFile, CommandError> {
    catalogue::load(path).map_err(|error| CommandError::invalid_file(error.to_string()))
}

fn unbound(error: BindError) -> CommandError {
    match error {
        BindError::Invalid(diagnostics) => selection::invalid(&diagnostics),
        BindError::Lacks(_) => {
            CommandError::new(ExitClass::NothingSelected, error.to_string()).hint("choose another rack with --rack")
        }
    }
}

fn once(plan: &Plan, rack: &BoundRack, stop: &AtomicBool) -> Result<Repeated, CommandError> {
    let (outcome, judgement) = runner::attempt_plan(plan, rack, &mut |_| {}, stop);
    if outcome.ended == Ended::Interrupted {
        return Err(CommandError::new(ExitClass::Interrupted, "interrupted"));
    }
    Ok(Repeated { verdict: judgement.verdict, digest: outcome.ledger.digest() })
}
