//! `hil run`: the qualification suite, or a part of it.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use clap::{Args, ValueEnum};
use hil_model::{RackKind, RunRecord, Seed, SuiteRecord, Verdict};
use hil_report::xml_text::clean_line;
use hil_report::{RunDir, timeline};
use hil_scenario::Scenario;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::exit::{CommandError, ExitClass};
use crate::progress::{self, Progress};
use crate::racks::{BoundRack, RackSource};
use crate::runner::{self, Done, Settings, is_flaky};
use crate::selection::{self, Shard, Wanted};

/// Timelines shown on the terminal; the others are in the report.
const MOST_TIMELINES: usize = 5;

/// Arguments of `hil run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil run                                     the whole suite
  hil run bad-signature rollback/             names that contain one of these; `_` and `-` are the same
  hil run --exact 'rejection/bad-signature#wrong-key' --seed 7
  hil run my-scenario.yaml                    a file that is not in the suite
  hil run --shard 2/4 --jobs 2                the second quarter, two at once
  hil run --no-inject                         every stimulus left out: all must end inconclusive

Reports go to reports/runs/<run>/: junit.xml for CI, index.html for people, results.jsonl for scripts, a bundle for \
every run that did not pass. Nothing is ever overwritten. The same seed gives the same bytes with any number of jobs; \
wall times and the time of day, which differ, are left out with --reproducible.

Ctrl-C stops after the present observation and reports what finished; once more stops at once.")]
pub struct RunArgs {
    /// Parts of names, or scenario files (*.yaml); all scenarios when left out.
    filters: Vec<String>,
    /// Filters are whole names.
    #[arg(long)]
    exact: bool,
    /// Rack file; the embedded virtual rack when left out.
    #[arg(long, value_name = "FILE")]
    rack: Option<PathBuf>,
    /// Seed of every run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Worker threads; as many as there are cores when left out. A rack of boards runs one scenario at a time.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Folder of the reports.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
    /// A part of the suite: K of N.
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Show the names and run nothing.
    #[arg(long)]
    list: bool,
    /// Further attempts, with the same seed, at what does not pass. One that passes is shown as flaky, not as a pass.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=i64::from(runner::MOST_RETRIES)))]
    retries: u8,
    /// Leave every stimulus out: scenarios with faults are run and must all end inconclusive.
    #[arg(long)]
    no_inject: bool,
    /// Reports without wall times and without the time of day: two runs are alike to the byte.
    #[arg(long)]
    reproducible: bool,
    /// What standard output looks like.
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each scenario, as `cargo test` has it.
    Pretty,
    /// A JSON object for each scenario, and nothing else.
    Json,
}

/// Runs the command.
///
/// # Errors
/// Whatever is not a pass, by class.
pub fn run(args: &RunArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let wanted =
        Wanted { filters: args.filters.clone(), exact: args.exact, shard: args.shard, only_faults: args.no_inject };
    let selected = selection::select(&wanted)?;
    if args.list {
        for scenario in &selected.scenarios {
            writeln!(out, "{}", scenario.name)?;
        }
        return Ok(());
    }
    let rack = BoundRack::of_option(args.rack.as_deref())?;
    let session = Session::begin(args, &rack, &selected.scenarios)?;
    session.run(&selected.scenarios, selected.filtered_out, out)
}

/// Sets a flag on SIGINT; a second one ends the process at once.
///
/// # Errors
/// The system refuses.
pub fn stop_on_interrupt() -> Result<Arc<AtomicBool>, CommandError> {
    let stop = Arc::new(AtomicBool::new(false));
    let refused = |error: std::io::Error| CommandError::internal(format!("cannot watch for SIGINT: {error}"));
    let code = i32::from(ExitClass::Interrupted.code());
    // Order matters: the shutdown looks at the flag before this signal sets it.
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGINT, code, Arc::clone(&stop))
        .map_err(refused)?;
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop)).map_err(refused)?;
    Ok(stop)
}

/// Half the story is when: name and start of a run, the same for folder and reports.
fn name_and_start(reproducible: bool, rack: &str, seed: u64) -> (String, String, Option<String>) {
    let plain: String = rack.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = format!("{plain}-seed-{seed}");
    if reproducible {
        return (name.clone(), name, None);
    }
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let started = now.format(&Rfc3339).unwrap_or_default();
    let stamp: String = started.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    (format!("{stamp}-{name}"), name, Some(started))
}

/// A run of the suite that is under way.
struct Session<'a> {
    args: &'a RunArgs,
    rack: &'a BoundRack,
    dir: RunDir,
    suite: SuiteRecord,
    stop: Arc<AtomicBool>,
    started: Instant,
    jobs: usize,
}

/// A line of `run.jsonl` and of `--format json`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RunLine<'a> {
    run: &'a str,
    verdict: &'a str,
    flaky: bool,
    seed: Seed,
    ended_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_micros: Option<u64>,
    repeat: &'a str,
}

impl<'a> Session<'a> {
    fn begin(args: &'a RunArgs, rack: &'a BoundRack, scenarios: &[Scenario]) -> Result<Self, CommandError> {
        let manifest = rack.manifest();
        let (folder, name, started) = name_and_start(args.reproducible, &manifest.name, args.seed);
        let dir = RunDir::create(&args.reports, &folder)
            .map_err(|error| CommandError::internal(error.to_string()).hint("--reports DIR puts them elsewhere"))?;
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let jobs = args.jobs.map_or(cores, NonZeroUsize::get).min(scenarios.len().max(1)).min(rack.at_once());
        let suite = SuiteRecord {
            name,
            rack: manifest.name.clone(),
            kind: manifest.kind,
            seed: Seed(args.seed),
            started,
            complete: true,
            runs: Vec::new(),
        };
        Ok(Self { args, rack, dir, suite, stop: stop_on_interrupt()?, started: Instant::now(), jobs })
    }

    fn pretty(&self) -> bool {
        self.args.format == Format::Pretty
    }

    fn run(mut self, scenarios: &[Scenario], filtered_out: usize, out: &mut dyn Write) -> Result<(), CommandError> {
        if self.pretty() {
            self.head(scenarios.len(), out)?;
        }
        let options = self.options();
        let settings = Settings {
            seed: Seed(self.args.seed),
            inject: !self.args.no_inject,
            retries: self.args.retries,
            wall_times: !self.args.reproducible,
            jobs: self.jobs,
            options: &options,
        };
        let dones = self.run_all(scenarios, &settings, out)?;
        let mut invalid = Vec::new();
        let mut panicked = 0;
        for done in dones {
            match done {
                Done::Invalid(diagnostics) => {
                    self.suite.complete = false;
                    invalid.extend(diagnostics);
                }
                Done::Stopped => self.suite.complete = false,
                Done::Panicked(record) => {
                    panicked += 1;
                    self.suite.runs.push(*record);
                }
                Done::Ran(record) => self.suite.runs.push(*record),
            }
        }
        self.dir.write_all(&mut self.suite).map_err(|error| CommandError::internal(error.to_string()))?;
        if self.pretty() {
            self.tail(filtered_out, out)?;
        }
        invalid.sort();
        invalid.dedup();
        self.ending(&invalid, panicked)
    }

    /// What of the command line changes what a run does.
    fn options(&self) -> String {
        let mut options = String::new();
        if let Some(file) = &self.rack.file {
            options += &format!(" --rack '{}'", file.display());
        }
        if self.args.no_inject {
            options += " --no-inject";
        }
        options
    }

    fn run_all(
        &self,
        scenarios: &[Scenario],
        settings: &Settings<'_>,
        out: &mut dyn Write,
    ) -> Result<Vec<Done>, CommandError> {
        let progress = Progress::new(scenarios.len(), "{bar:30} {pos}/{len} {elapsed} {msg}");
        let path = self.dir.path().join("run.jsonl");
        let mut live =
            File::create_new(&path).map_err(|error| CommandError::internal(format!("{}: {error}", path.display())))?;
        let mut failed = None;
        let forge = self.rack.forge().map_err(|why| CommandError::new(ExitClass::RackFault, why))?;
        let dones = runner::run_all(scenarios, self.rack, &forge, settings, &self.stop, &mut |scenario, done| {
            let told = self.tell(scenario, done, &progress, &mut live, out);
            if let Err(error) = told {
                // Nobody reads, or the disk is full: there is no point in going on.
                self.stop.store(true, Ordering::Relaxed);
                failed.get_or_insert(error);
            }
        });
        progress.finish();
        failed.map_or(Ok(dones), |error| Err(error.into()))
    }

    fn tell(
        &self,
        scenario: &Scenario,
        done: &Done,
        progress: &Progress,
        live: &mut File,
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        progress.step(scenario.name.clone());
        let line = done.record().map(json_line).transpose()?;
        if let Some(line) = &line {
            writeln!(live, "{line}")?;
        }
        let shown = if self.pretty() { progress::test_line(&scenario.name, done) } else { line };
        shown.map_or(Ok(()), |line| progress.line(out, &line))
    }

    fn head(&self, count: usize, out: &mut dyn Write) -> std::io::Result<()> {
        let manifest = self.rack.manifest();
        let kind = match manifest.kind {
            RackKind::Virtual => "virtual",
            RackKind::Emulated => "emulated",
            RackKind::Lab => "lab",
        };
        let (nodes, gateways) = (manifest.fleet.nodes.len(), manifest.fleet.gateways().len());
        writeln!(out, "seed {}", self.args.seed)?;
        writeln!(
            out,
            "rack {} ({kind}): {nodes} nodes, {gateways} gateway{}, board {}, images of {} KiB",
            clean_line(&manifest.name),
            if gateways == 1 { "" } else { "s" },
            manifest.profile.board,
            manifest.profile.image_size / 1024
        )?;
        if self.args.no_inject {
            writeln!(out, "no stimulus is injected: every run must end inconclusive")?;
        }
        writeln!(out, "\nrunning {count} scenarios")?;
        out.flush()
    }

    fn tail(&self, filtered_out: usize, out: &mut dyn Write) -> std::io::Result<()> {
        let told: Vec<&RunRecord> = self.suite.runs.iter().filter(|run| !self.fine(run)).collect();
        if !told.is_empty() {
            writeln!(out, "\nfailures:")?;
            for run in told.iter().take(MOST_TIMELINES) {
                writeln!(out, "\n---- {} ----\n{}", clean_line(&run.name), timeline(run))?;
                if let Some(bundle) = &run.bundle {
                    writeln!(out, "evidence: {}", self.dir.path().join(bundle).display())?;
                }
            }
            writeln!(out, "\nfailures:")?;
            told.iter().try_for_each(|run| writeln!(out, "    {}", clean_line(&run.name)))?;
        }
        let count = |pick: &dyn Fn(&RunRecord) -> bool| self.suite.runs.iter().filter(|run| pick(run)).count();
        let result = match (told.is_empty(), self.suite.complete) {
            (true, true) => "ok",
            (false, _) => "FAILED",
            (true, false) => "INCOMPLETE",
        };
        let inconclusive = count(&|run| run.verdict == Verdict::Inconclusive);
        writeln!(
            out,
            "\ntest result: {result}. {} passed; {} failed; {} ignored; {inconclusive} inconclusive; {} rack faults; \
             {filtered_out} filtered out; finished in {:.2}s",
            count(&|run| run.verdict == Verdict::Pass),
            count(&|run| run.verdict == Verdict::Fail),
            count(&|run| matches!(run.verdict, Verdict::Skipped(_))),
            count(&|run| matches!(run.verdict, Verdict::RackFault(_))),
            self.started.elapsed().as_secs_f64()
        )?;
        if !self.suite.complete {
            writeln!(out, "the run is incomplete: what finished is reported")?;
        }
        writeln!(out, "\nreports: {}", shown(self.dir.path(), "index.html"))?;
        writeln!(out, "         {}", shown(self.dir.path(), "junit.xml"))?;
        writeln!(out, "seed {}", self.args.seed)
    }

    /// Whether a run ended as it has to.
    fn fine(&self, run: &RunRecord) -> bool {
        match (&run.verdict, self.args.no_inject) {
            (Verdict::Skipped(_), _) | (Verdict::Pass, false) => true,
            (Verdict::Inconclusive, true) => !is_flaky(run),
            (Verdict::Pass, true) | (Verdict::Inconclusive, false) | (Verdict::Fail | Verdict::RackFault(_), _) => {
                false
            }
        }
    }

    /// The worst thing that happened decides.
    fn ending(&self, invalid: &[hil_scenario::Diagnostic], panicked: usize) -> Result<(), CommandError> {
        let bad: Vec<&RunRecord> = self.suite.runs.iter().filter(|run| !self.fine(run)).collect();
        let all = self.suite.runs.len();
        let first = bad.iter().find_map(|run| run.bundle.as_ref());
        let hint = first.map(|bundle| format!("hil replay '{}'", self.dir.path().join(bundle).display()));
        let end = |class, message: String| {
            let error = CommandError::new(class, message);
            Err(match &hint {
                Some(hint) => error.hint(hint.clone()),
                None => error,
            })
        };
        if self.stop.load(Ordering::Relaxed) {
            return Err(CommandError::new(ExitClass::Interrupted, format!("interrupted after {all} runs")));
        }
        if panicked > 0 {
            return end(ExitClass::Internal, format!("{panicked} runs panicked; see the lines above"));
        }
        if !invalid.is_empty() {
            return Err(selection::invalid(invalid));
        }
        let failed = bad.iter().filter(|run| run.verdict == Verdict::Fail).count();
        if failed > 0 {
            return end(ExitClass::Product, format!("{failed} of {all} runs failed"));
        }
        let passed = bad.iter().filter(|run| run.verdict == Verdict::Pass).count();
        if passed > 0 {
            return end(ExitClass::Product, format!("{passed} of {all} runs passed without their stimulus"));
        }
        if bad.iter().any(|run| matches!(run.verdict, Verdict::RackFault(_))) {
            return end(ExitClass::RackFault, "the rack failed; nothing can be said of the product".to_owned());
        }
        if !bad.is_empty() {
            return end(ExitClass::Inconclusive, format!("{} of {all} runs are inconclusive", bad.len()));
        }
        Ok(())
    }
}

fn json_line(record: &RunRecord) -> std::io::Result<String> {
    let line = RunLine {
        run: &record.name,
        verdict: record.verdict.word(),
        flaky: is_flaky(record),
        seed: record.seed,
        ended_ns: record.ended.0,
        wall_micros: record.wall_micros,
        repeat: &record.repeat,
    };
    serde_json::to_string(&line).map_err(Into::into)
}

fn shown(dir: &Path, file: &str) -> String {
    dir.join(file).display().to_string()
}
