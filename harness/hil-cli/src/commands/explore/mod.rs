//! `hil explore`: random fault plans under the oracle. What fails is shrunk and kept as a scenario file and a bundle.
//!
//! Plans are drawn as scenario text, so that a failure *is* a scenario file: there is nothing that the explorer can do and
//! a scenario cannot. Nothing but the oracle judges here; a stimulus that did not come about is counted, no failure.

mod draw;
mod shrink;
mod sketch;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Args;
use hil_engine::{Ended, record};
use hil_model::record::Conclusion;
use hil_model::{Composition, RunRecord, Seed, SuiteRecord, Verdict};
use hil_report::{RunDir, Sink as _, timeline};
use hil_scenario::{BindError, BindOptions, Forge, Plan, bind, source};

use self::draw::draw;
use self::shrink::shrink;
use self::sketch::Sketch;
use crate::exit::{CommandError, ExitClass};
use crate::progress::Progress;
use crate::racks::{BoundRack, RackSource};
use crate::runner;

/// Seeds of one call.
const MOST_SEEDS: u64 = 1_000_000;
/// Drafts of one seed before it is given up: faults that contradict each other are drawn again.
const MOST_DRAFTS: u64 = 16;
/// Failures that are shrunk and kept.
const MOST_KEPT: usize = 20;

/// Arguments of `hil explore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil explore --seeds 1..200
  hil explore --seeds 17 --print                  the scenario that seed 17 stands for
  hil explore --seeds 1..50 --parts never-rolls-back   does the explorer find a wrong composition

Every seed is a scenario: a building, a campaign, up to four faults. The nine rules of the oracle watch. A failure is \
shrunk to the fewest faults, nodes and octets that still break the same rule, and kept under reports/runs/<run>/ as a \
scenario file and a bundle for `hil reproduce`. Exit code 100: a rule was broken.")]
pub struct ExploreArgs {
    /// Seeds, first and last: 1..200, or one.
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: (u64, u64),
    /// Most nodes of a building.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=200))]
    nodes: u16,
    /// Worker threads; as many as there are cores when left out.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Folder of the reports.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
    /// Assemble node, gateway and campaign from wrong parts, to see that the explorer finds them.
    #[arg(long, value_parser = super::composition, default_value = "product")]
    parts: Composition,
    /// Show the scenarios and run nothing.
    #[arg(long)]
    print: bool,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last && last - first < MOST_SEEDS => Ok((first, last)),
        _ => Err(format!("write 1..200 (both included, at most {MOST_SEEDS})")),
    }
}

/// What came of a seed.
#[derive(Debug)]
enum Explored {
    /// The oracle is content, and every stimulus happened.
    Clean,
    /// The oracle is content; a stimulus did not happen.
    Unproven,
    /// A rule is broken, or the rack failed: the sketch and what it breaks.
    Broken(Box<Sketch>, String),
    /// No plan could be drawn.
    NoPlan,
    /// Stopped before it ended.
    Stopped,
}

/// How sketches are run.
struct Laboratory<'a> {
    rack: BoundRack,
    forge: Forge,
    parts: Composition,
    stop: &'a AtomicBool,
}

/// Runs the command.
///
/// # Errors
/// A rule was broken, or the run was interrupted.
pub fn run(args: &ExploreArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let (first, last) = args.seeds;
    let stop = super::run::stop_on_interrupt()?;
    let lab = Laboratory { rack: BoundRack::embedded(), forge: Forge::new(), parts: args.parts, stop: &stop };
    if args.print {
        for seed in first..=last {
            match lab.sketch(seed, args.nodes) {
                Some((sketch, _)) => writeln!(out, "# seed {seed}\n{}", sketch.text())?,
                None => writeln!(out, "# seed {seed}: no plan")?,
            }
        }
        return Ok(());
    }
    writeln!(out, "seeds {first} to {last}, buildings of up to {} nodes", args.nodes)?;
    out.flush()?;
    let count = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let jobs = args.jobs.map_or(cores, NonZeroUsize::get);
    let progress = Progress::new(count, "{bar:30} {pos}/{len} {elapsed} {msg}");
    let mut failures = Vec::new();
    let mut tally = Tally::default();
    let explore = |place: usize| lab.explore(first + place as u64, args.nodes);
    let mut told = Ok(());
    runner::in_parallel(count, jobs, &explore, &mut |place, explored: Explored| {
        let seed = first + place as u64;
        progress.step(format!("seed {seed}"));
        tally.count(&explored);
        if let Explored::Broken(sketch, rule) = explored {
            if told.is_ok() {
                told = progress.line(out, &format!("seed {seed}: {rule}"));
            }
            failures.push((seed, *sketch, rule));
        }
    });
    progress.finish();
    told?;
    let kept = failures.len().min(MOST_KEPT);
    if kept > 0 {
        keep(&lab, args, failures.drain(..kept), out)?;
    }
    writeln!(
        out,
        "\n{} seeds: {} clean, {} with a stimulus that did not come about, {} BROKEN{}",
        tally.all(),
        tally.clean,
        tally.unproven,
        tally.broken,
        if tally.no_plan > 0 { format!(", {} without a plan", tally.no_plan) } else { String::new() }
    )?;
    writeln!(out, "seeds {first} to {last}")?;
    out.flush()?;
    if stop.load(Ordering::Relaxed) {
        return Err(CommandError::new(ExitClass::Interrupted, format!("interrupted after {} seeds", tally.all())));
    }
    if tally.broken > 0 {
        return Err(CommandError::product(format!("{} of {} seeds break a rule", tally.broken, tally.all())));
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Tally {
    clean: usize,
    unproven: usize,
    broken: usize,
    no_plan: usize,
}

impl Tally {
    fn count(&mut self, explored: &Explored) {
        match explored {
            Explored::Clean => self.clean += 1,
            Explored::Unproven => self.unproven += 1,
            Explored::Broken(..) => self.broken += 1,
            Explored::NoPlan => self.no_plan += 1,
            Explored::Stopped => {}
        }
    }

    fn all(&self) -> usize {
        self.clean + self.unproven + self.broken + self.no_plan
    }
}

/// Shrinks and writes failures down.
fn keep(
    lab: &Laboratory<'_>,
    args: &ExploreArgs,
    failures: impl Iterator<Item = (u64, Sketch, String)>,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let (first, last) = args.seeds;
    let unwritten = |error: hil_report::ReportError| CommandError::internal(error.to_string());
    let mut dir = RunDir::create(&args.reports, &format!("explore-{first}-{last}")).map_err(unwritten)?;
    let manifest = lab.rack.manifest();
    let mut suite = SuiteRecord {
        name: format!("explore-{first}-{last}"),
        rack: manifest.name.clone(),
        kind: manifest.kind,
        seed: Seed(first),
        started: None,
        complete: !lab.stop.load(Ordering::Relaxed),
        runs: Vec::new(),
    };
    for (seed, sketch, rule) in failures {
        let faults = sketch.faults.len();
        let (small, tries) = shrink(sketch, |candidate| lab.breaks(candidate, seed, &rule));
        let file = format!("seed-{seed}.yaml");
        let text = small.judged_text(lab.parts, &rule);
        dir.file(&file, text.as_bytes()).map_err(unwritten)?;
        let path = dir.path().join(&file);
        writeln!(
            out,
            "\nseed {seed}: {rule}\n  shrunk from {faults} faults to {} on {} nodes in {tries} tries: {}",
            small.faults.len(),
            small.nodes,
            path.display()
        )?;
        if let Some(mut run) = lab.record(&text, seed, &path.display().to_string()) {
            writeln!(out, "{}", timeline(&run))?;
            run.bundle = Some(hil_report::bundle::file_name(&run));
            suite.runs.push(run);
        }
    }
    dir.write_all(&mut suite).map_err(unwritten)?;
    writeln!(out, "kept in {}", dir.path().display())?;
    Ok(())
}

impl Laboratory<'_> {
    /// The sketch of a seed and its plan.
    fn sketch(&self, seed: u64, most_nodes: u16) -> Option<(Sketch, Plan)> {
        (0..MOST_DRAFTS).find_map(|draft| {
            let sketch = draw(seed, draft, most_nodes);
            let plan = self.plan(&sketch.text(), seed).ok()?;
            Some((sketch, plan))
        })
    }

    fn plan(&self, text: &str, seed: u64) -> Result<Plan, BindError> {
        let name = format!("explore/seed-{seed}");
        let scenarios = source::read(&name, &format!("{name}.yaml"), text).map_err(BindError::Invalid)?;
        let scenario = scenarios.first().ok_or_else(|| BindError::Invalid(Vec::new()))?;
        let mut plan = bind(scenario, self.rack.manifest(), Seed(seed), &self.forge, BindOptions::default())?;
        if self.parts != Composition::Product {
            plan.provision.composition = self.parts;
        }
        Ok(plan)
    }

    fn explore(&self, seed: u64, most_nodes: u16) -> Explored {
        if self.stop.load(Ordering::Relaxed) {
            return Explored::Stopped;
        }
        match self.sketch(seed, most_nodes) {
            None => Explored::NoPlan,
            Some((sketch, plan)) => match self.judge(&plan) {
                Ok(explored) => explored,
                Err(rule) => Explored::Broken(Box::new(sketch), rule),
            },
        }
    }

    /// What came of a plan; in the error, the first rule that it breaks.
    fn judge(&self, plan: &Plan) -> Result<Explored, String> {
        let attempt = || runner::attempt_plan(plan, &self.rack, &mut |_| {}, self.stop);
        let (outcome, judgement) = runner::guarded(attempt)?;
        if outcome.ended == Ended::Interrupted {
            return Ok(Explored::Stopped);
        }
        if let Verdict::RackFault(why) = &judgement.verdict {
            return Err(format!("rack fault: {why}"));
        }
        let broken = |finding: &&hil_model::Finding| {
            finding.conclusion == Conclusion::Broken && finding.rule.starts_with("oracle-")
        };
        match judgement.findings.iter().find(broken) {
            Some(finding) => Err(finding.rule.clone()),
            None if judgement.verdict == Verdict::Pass => Ok(Explored::Clean),
            None => Ok(Explored::Unproven),
        }
    }

    /// Whether a sketch still breaks the same rule, or fails the rack in the same way.
    fn breaks(&self, sketch: &Sketch, seed: u64, rule: &str) -> bool {
        if self.stop.load(Ordering::Relaxed) {
            return false;
        }
        let kind = |rule: &str| rule.split(": ").next().map(str::to_owned);
        match self.plan(&sketch.text(), seed).map(|plan| self.judge(&plan)) {
            Ok(Err(found)) => kind(&found) == kind(rule),
            Ok(Ok(_)) | Err(_) => false,
        }
    }

    /// The record of a kept scenario, as its file says it.
    fn record(&self, text: &str, seed: u64, file: &str) -> Option<RunRecord> {
        let name = format!("explore/seed-{seed}");
        let scenario = source::read(&name, file, text).ok()?.into_iter().next()?;
        let plan = bind(&scenario, self.rack.manifest(), Seed(seed), &self.forge, BindOptions::default()).ok()?;
        let attempt = || runner::attempt_plan(&plan, &self.rack, &mut |_| {}, self.stop);
        let (outcome, judgement) = runner::guarded(attempt).ok()?;
        let repeat = format!("cargo run --release -- reproduce '{file}' --seed {seed}");
        Some(record(&plan, outcome, judgement, repeat))
    }
}
