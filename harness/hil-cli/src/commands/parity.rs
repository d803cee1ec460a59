//! `hil parity`: the same scenarios on several racks, verdicts side by side.
//!
//! A difference between racks is a finding about a rack or about the product, and either has to be explained: it fails the
//! command. A scenario that a rack skips is no difference where the reason is a capability that the rack does not list.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;
use hil_model::{Seed, Verdict};
use hil_report::xml_text::clean_line;
use hil_scenario::{BindError, BindOptions, Forge, Scenario, bind};

use super::run::stop_on_interrupt;
use crate::exit::{CommandError, ExitClass};
use crate::racks::{BoundRack, RackSource};
use crate::runner::{self, Done, Settings};
use crate::selection::{self, Wanted};

/// Arguments of `hil parity`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil parity --rack rigs/racks/emulated-4.yaml             the embedded virtual rack against the emulated one
  hil parity four-boards --rack a.yaml --rack b.yaml       two racks of files, without the embedded one

Runs what every rack can run. Exit code 100 when verdicts differ.")]
pub struct ParityArgs {
    /// Parts of names, or scenario files (*.yaml); all scenarios when left out.
    filters: Vec<String>,
    /// Rack file, once for each rack; one alone is compared with the embedded virtual rack.
    #[arg(long, value_name = "FILE", required = true)]
    rack: Vec<PathBuf>,
    /// Seed of every run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

struct Contender {
    rack: BoundRack,
    forge: Forge,
}

impl Contender {
    /// Why it does not run this scenario; none when it does.
    fn skips(&self, scenario: &Scenario, seed: u64) -> Result<Option<String>, CommandError> {
        match bind(scenario, self.rack.manifest(), Seed(seed), &self.forge, BindOptions::default()) {
            Ok(_) => Ok(None),
            Err(BindError::Lacks(lacking)) => {
                // A capability that it says it has is no reason to skip.
                let listed = &self.rack.manifest().capabilities;
                let names: Vec<&str> = lacking.iter().map(|capability| capability.name()).collect();
                let excuse = lacking.iter().any(|capability| !listed.contains(capability));
                let mark = if excuse { "" } else { "! " };
                Ok(Some(format!("{mark}{} lacks {}", clean_line(&self.rack.manifest().name), names.join(", "))))
            }
            Err(BindError::Invalid(wrong)) => {
                let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                Err(CommandError::invalid_file(lines.join("\n")))
            }
        }
    }

    fn run(&self, scenario: &Scenario, settings: &Settings<'_>, stop: &std::sync::atomic::AtomicBool) -> Outcome {
        let began = Instant::now();
        let done = runner::run_one(scenario, &self.rack, &self.forge, settings, stop);
        let verdict = match done {
            Done::Ran(record) | Done::Panicked(record) => record.verdict,
            Done::Invalid(_) => Verdict::Skipped("invalid".to_owned()),
            Done::Stopped => Verdict::Skipped("stopped".to_owned()),
        };
        Outcome { verdict, seconds: began.elapsed().as_secs_f32() }
    }
}

struct Outcome {
    verdict: Verdict,
    seconds: f32,
}

/// Runs the command.
///
/// # Errors
/// A rack that cannot be read, a scenario that contradicts itself, or verdicts that differ.
pub fn run(args: &ParityArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let wanted = Wanted { filters: args.filters.clone(), exact: false, shard: None, only_faults: false };
    let selected = selection::select(&wanted)?;
    let mut racks = Vec::new();
    if args.rack.len() == 1 {
        racks.push(BoundRack::embedded());
    }
    for file in &args.rack {
        racks.push(BoundRack::of_option(Some(file))?);
    }
    let mut contenders = Vec::new();
    for rack in racks {
        let forge = rack.forge().map_err(|why| CommandError::new(ExitClass::RackFault, why))?;
        contenders.push(Contender { rack, forge });
    }
    let stop = stop_on_interrupt()?;
    let settings = Settings { seed: Seed(args.seed), inject: true, retries: 0, wall_times: true, jobs: 1, options: "" };
    let names: Vec<String> = contenders.iter().map(|c| clean_line(&c.rack.manifest().name).to_string()).collect();
    let cells: Vec<String> = names.iter().map(|name| format!("{name:>22}")).collect();
    writeln!(out, "{:<56}{}", "scenario", cells.concat())?;
    let (mut same, mut differing, mut unexcused) = (0, Vec::new(), 0);
    let mut skipped = Vec::new();
    for scenario in &selected.scenarios {
        let mut why = Vec::new();
        for contender in &contenders {
            why.extend(contender.skips(scenario, args.seed)?);
        }
        if !why.is_empty() {
            unexcused += usize::from(why.iter().any(|why| why.starts_with('!')));
            skipped.push((scenario, why));
            continue;
        }
        let outcomes: Vec<Outcome> = contenders.iter().map(|c| c.run(scenario, &settings, &stop)).collect();
        if stop.load(Ordering::Relaxed) {
            return Err(CommandError::new(ExitClass::Interrupted, "stopped"));
        }
        let words: Vec<&str> = outcomes.iter().map(|outcome| outcome.verdict.word()).collect();
        let equal = words.windows(2).all(|pair| pair[0] == pair[1]);
        let cell = |outcome: &Outcome| format!("{:>14}{:>7.1}s", outcome.verdict.word(), outcome.seconds);
        let cells: Vec<String> = outcomes.iter().map(cell).collect();
        let mark = if equal { "" } else { "  DIFFERS" };
        writeln!(out, "{:<56}{}{mark}", clean_line(&scenario.name), cells.concat())?;
        out.flush()?;
        if equal {
            same += 1;
        } else {
            differing.push(scenario.name.clone());
        }
    }
    for (scenario, why) in &skipped {
        writeln!(out, "{:<56}  not compared: {}", clean_line(&scenario.name), why.join("; "))?;
    }
    writeln!(out, "\n{same} alike, {} different, {} not compared", differing.len(), skipped.len())?;
    if differing.is_empty() && unexcused == 0 {
        return Ok(());
    }
    let message = if unexcused > 0 {
        format!("{unexcused} scenarios are skipped for a capability that the rack lists")
    } else {
        format!("the racks differ on {}", differing.join(", "))
    };
    Err(CommandError::new(ExitClass::Product, message).hint("`hil run --exact NAME --rack FILE` shows either side"))
}
