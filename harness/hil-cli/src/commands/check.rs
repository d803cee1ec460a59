//! `hil check`: are scenario and rack files right, and where not.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use hil_model::Seed;
use hil_scenario::{BindError, BindOptions, Diagnostic, Forge, bind, catalogue};

use crate::exit::CommandError;
use crate::racks::{BoundRack, RackSource};

/// Arguments of `hil check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil check fixtures/scenarios/rejection/bad-signature.yaml
  hil check rigs/racks/virtual.yaml
  hil check my.yaml --rack rigs/racks/virtual.yaml     does it bind to that rack

A file with `kind` at its top is a rack file, any other a scenario file. Scenarios are bound to a rack as `hil run` \
would: images are forged, nodes and blocks looked up. Exit code 3: something is wrong.")]
pub struct CheckArgs {
    /// Scenario and rack files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Rack file to bind scenarios to; the embedded virtual rack when left out.
    #[arg(long, value_name = "FILE")]
    rack: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Everything that is wrong in the files.
pub fn run(args: &CheckArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let rack = BoundRack::of_option(args.rack.as_deref())?;
    let forge = Forge::new();
    let mut wrong = Vec::new();
    for path in &args.files {
        match check(path, &rack, &forge) {
            Ok(answer) => writeln!(out, "{}: {answer}", path.display())?,
            Err(diagnostics) => {
                diagnostics.iter().try_for_each(|diagnostic| writeln!(out, "{diagnostic}"))?;
                wrong.extend(diagnostics);
            }
        }
    }
    out.flush()?;
    if wrong.is_empty() {
        return Ok(());
    }
    let places = if wrong.len() == 1 { "place" } else { "places" };
    Err(CommandError::invalid_file(format!("{} {places} to put right", wrong.len()))
        .hint("`hil faults` shows every fault and expectation; rigs/racks/virtual.yaml every key of a rack"))
}

/// What is said of a file that is right.
fn check(path: &Path, rack: &BoundRack, forge: &Forge) -> Result<String, Vec<Diagnostic>> {
    let file = catalogue::load(path).map_err(|error| {
        let message = error.error.to_string();
        vec![Diagnostic { file: path.display().to_string(), line: 1, column: 1, message }]
    })?;
    if is_rack(&file.text) {
        let read = BoundRack::read(path)?;
        return Ok(format!("rack {}, {} nodes", read.manifest().name, read.manifest().fleet.nodes.len()));
    }
    let scenarios = file.scenarios()?;
    let mut wrong = Vec::new();
    let mut lacking = Vec::new();
    for scenario in &scenarios {
        match bind(scenario, rack.manifest(), Seed(1), forge, BindOptions::default()) {
            Ok(_) => {}
            Err(BindError::Invalid(diagnostics)) => wrong.extend(diagnostics),
            Err(lacks @ BindError::Lacks(_)) => lacking.push(format!("; {} is skipped: {lacks}", scenario.name)),
        }
    }
    if wrong.is_empty() {
        let noun = if scenarios.len() == 1 { "scenario" } else { "scenarios" };
        return Ok(format!("{} {noun}{}", scenarios.len(), lacking.concat()));
    }
    // What the variants share is wrong in each of them; once is enough.
    wrong.sort();
    wrong.dedup();
    Err(wrong)
}

/// Only rack files say what kind they are.
fn is_rack(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("kind:"))
}
