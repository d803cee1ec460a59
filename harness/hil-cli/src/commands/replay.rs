//! `hil replay`: judges the ledger of a bundle again, with no rack. Also the reader of bundles for `hil reproduce`.

use std::fs::File;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use hil_engine::{Judgement, ReadLedger, judge, ledger};
use hil_model::{Finding, RunRecord, Verdict};
use hil_report::bundle::{self, Evidence};
use hil_report::{timeline, xml_text::clean_line};
use hil_scenario::{BindError, BindOptions, Plan, Scenario, bind, source};

use crate::exit::{CommandError, ExitClass};
use crate::racks::{self, RackSource as _};
use crate::runner::FLAKY;

/// Arguments of `hil replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil replay reports/runs/<run>/bundle-rejection--bad-signature--wrong-key-1.zip
  hil replay bundle.zip --timeline

A verdict is a function of plan and ledger; the bundle holds both, so no rack is needed. Exit code 0: the verdict is the \
recorded one, whatever it is; 1: this version of the harness judges otherwise.")]
pub struct ReplayArgs {
    /// A bundle.
    file: PathBuf,
    /// Show the timeline too.
    #[arg(long)]
    timeline: bool,
}

/// Runs the command.
///
/// # Errors
/// No bundle, or another judgement.
pub fn run(args: &ReplayArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let case = Case::open(&args.file)?;
    let judgement = case.judge();
    let recorded = &case.evidence.run.verdict;
    let events = case.ledger.ledger.events();
    if let Some(line) = case.ledger.torn_line {
        writeln!(out, "ledger.jsonl: line {line} broke off and is left out")?;
    }
    writeln!(out, "{}: seed {}, {} events", clean_line(&case.plan.name), case.plan.seed, events.len())?;
    if args.timeline {
        writeln!(out, "\n{}", timeline(&case.record(&judgement)))?;
    }
    writeln!(out, "recorded: {}\njudged:   {}", recorded.word(), judgement.verdict.word())?;
    let same = case.agrees(&judgement);
    for finding in judgement.findings.iter().filter(|finding| !case.evidence.findings.contains(finding)) {
        writeln!(out, "  new: {}", timeline::finding_line(finding))?;
    }
    if same {
        writeln!(out, "the same judgement, findings and all")?;
        return Ok(());
    }
    Err(CommandError::internal("this version of the harness judges the ledger otherwise")
        .hint("if the rules were changed on purpose, record the run anew with `hil reproduce`"))
}

impl Case {
    /// Whether a judgement is the recorded one. What a ledger cannot tell stays out: a rack that failed, an attempt
    /// that came out differently.
    #[must_use]
    pub fn agrees(&self, judgement: &Judgement) -> bool {
        let known = |finding: &&Finding| finding.rule != FLAKY;
        let recorded: Vec<&Finding> = self.evidence.findings.iter().filter(known).collect();
        let judged: Vec<&Finding> = judgement.findings.iter().collect();
        let flaky = recorded.len() != self.evidence.findings.len();
        let verdict = match &self.evidence.run.verdict {
            Verdict::RackFault(_) => true,
            recorded => flaky || *recorded == judgement.verdict,
        };
        verdict && recorded == judged
    }
}

/// A bundle with its plan bound and its ledger read.
#[derive(Debug)]
pub struct Case {
    /// As read.
    pub evidence: Evidence,
    /// The plan it was judged under.
    pub plan: Plan,
    /// Its scenario.
    pub scenario: Scenario,
    /// Its ledger.
    pub ledger: ReadLedger,
}

impl Case {
    /// Opens a bundle.
    ///
    /// # Errors
    /// It is no bundle, with the file's name and the entry that is wrong.
    pub fn open(path: &Path) -> Result<Self, CommandError> {
        let wrong = |what: String| CommandError::invalid_file(format!("{}: {what}", path.display()));
        let mut bytes = Vec::new();
        let limit = bundle::MAX_BUNDLE as u64 + 1;
        File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(|error| wrong(error.to_string()))?;
        let evidence = bundle::read(&bytes).map_err(|error| {
            wrong(error.to_string())
                .hint("a bundle is a zip that `hil run` wrote; for a scenario file: `hil reproduce`")
        })?;
        let run = &evidence.run;
        racks::sound(&run.rack).map_err(|why| wrong(format!("run.yaml: {why}")))?;
        let file_name = run.name.split('#').next().unwrap_or_default();
        let scenarios = source::read(file_name, &run.file, &run.scenario)
            .map_err(|d| wrong(format!("run.yaml: the scenario in it is wrong: {}", lines(&d))))?;
        let scenario = scenarios
            .into_iter()
            .find(|scenario| scenario.name == run.name)
            .ok_or_else(|| wrong(format!("run.yaml: its scenario has no variant `{}`", clean_line(&run.name))))?;
        // A run without stimuli says so in the command that repeats it.
        let options = BindOptions { inject: !run.repeat.ends_with(" --no-inject") };
        // A rack whose nodes ran real programs is judged by the images made of them.
        let forge = racks::BoundRack::of_manifest(run.rack.clone()).and_then(|rack| rack.forge());
        let forge = forge.map_err(|why| wrong(format!("run.yaml: {why}")))?;
        let plan = bind(&scenario, &run.rack, run.seed, &forge, options).map_err(|error| match error {
            BindError::Invalid(d) => wrong(format!("run.yaml: the scenario in it is wrong: {}", lines(&d))),
            BindError::Lacks(_) => wrong(format!("run.yaml: {error}")),
        })?;
        let ledger = ledger::read(&evidence.ledger).map_err(|error| wrong(format!("ledger.jsonl: {error}")))?;
        Ok(Self { evidence, plan, scenario, ledger })
    }

    /// The judgement of this version.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        judge(&self.plan, self.ledger.ledger.events())
    }

    /// The run as a record, for its timeline.
    fn record(&self, judgement: &Judgement) -> RunRecord {
        let run = &self.evidence.run;
        RunRecord {
            name: run.name.clone(),
            file: run.file.clone(),
            title: run.title.clone(),
            tags: run.tags.clone(),
            seed: run.seed,
            rack: run.rack.clone(),
            firmware: run.firmware,
            verdict: judgement.verdict.clone(),
            findings: judgement.findings.clone(),
            events: self.ledger.ledger.events().to_vec(),
            ended: run.ended,
            wall_micros: None,
            repeat: run.repeat.clone(),
            bundle: None,
            source: run.scenario.clone(),
        }
    }
}

fn lines(diagnostics: &[hil_scenario::Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// The ending that belongs to a verdict.
#[must_use]
pub fn class_of(verdict: &Verdict) -> Option<ExitClass> {
    match verdict {
        Verdict::Pass | Verdict::Skipped(_) => None,
        Verdict::Fail => Some(ExitClass::Product),
        Verdict::Inconclusive => Some(ExitClass::Inconclusive),
        Verdict::RackFault(_) => Some(ExitClass::RackFault),
    }
}
