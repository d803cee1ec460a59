//! Plan, run, judge, record: one scenario at a time on each of a few worker threads.
//!
//! Results come out in the order of the scenarios, whatever order they finish in, so that nothing that is printed or
//! written depends on the number of workers. The workers share the image cache and nothing else. Only wall times come
//! from a clock, and they can be left out.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use hil_engine::{Ended, Judgement, Outcome, judge_outcome, record, run_plan};
use hil_model::record::Conclusion;
use hil_model::{Digest, Event, Finding, RunRecord, Seed, Time, Verdict};
use hil_scenario::{BindError, BindOptions, Diagnostic, Forge, Plan, Scenario, bind};

use crate::racks::RackSource;

/// Name of the finding that marks a run whose attempts came out differently.
pub const FLAKY: &str = "flaky";
/// Most attempts at one scenario.
pub const MOST_RETRIES: u8 = 10;

/// How scenarios are run.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Seed of every run.
    pub seed: Seed,
    /// False leaves every stimulus out.
    pub inject: bool,
    /// Further attempts, with the same seed, at a run that did not pass.
    pub retries: u8,
    /// Whether records carry wall times.
    pub wall_times: bool,
    /// Worker threads.
    pub jobs: usize,
    /// The words after the program's name that choose rack and mode, for the command that repeats a run.
    pub options: &'a str,
}

/// What came of one scenario.
#[derive(Debug)]
pub enum Done {
    /// It was run, or skipped with its reason.
    Ran(Box<RunRecord>),
    /// The scenario contradicts itself: there was nothing to run.
    Invalid(Vec<Diagnostic>),
    /// Our own code, or firmware that runs inside this process, panicked.
    Panicked(Box<RunRecord>),
    /// The caller asked to stop before it ended.
    Stopped,
}

impl Done {
    /// The record, if there is one.
    #[must_use]
    pub fn record(&self) -> Option<&RunRecord> {
        match self {
            Self::Ran(record) | Self::Panicked(record) => Some(record),
            Self::Invalid(_) | Self::Stopped => None,
        }
    }

    /// The record, if there is one.
    #[must_use]
    pub fn into_record(self) -> Option<RunRecord> {
        match self {
            Self::Ran(record) | Self::Panicked(record) => Some(*record),
            Self::Invalid(_) | Self::Stopped => None,
        }
    }
}

/// Whether the attempts at a run came out differently.
#[must_use]
pub fn is_flaky(record: &RunRecord) -> bool {
    record.findings.iter().any(|finding| finding.rule == FLAKY)
}

/// Runs all `scenarios`. `on_done` sees each in order, as soon as it and all before it are done.
pub fn run_all(
    scenarios: &[Scenario],
    source: &dyn RackSource,
    forge: &Forge,
    settings: &Settings<'_>,
    stop: &AtomicBool,
    on_done: &mut dyn FnMut(&Scenario, &Done),
) -> Vec<Done> {
    let workers = settings.jobs.min(source.at_once());
    let run = |place: usize| match scenarios.get(place) {
        Some(scenario) => run_guarded(scenario, source, forge, settings, stop),
        None => Done::Stopped,
    };
    let mut all = Vec::with_capacity(scenarios.len());
    in_parallel(scenarios.len(), workers, &run, &mut |place, done| {
        if let Some(scenario) = scenarios.get(place) {
            on_done(scenario, &done);
        }
        all.push(done);
    });
    all
}

/// Does `work` for 0 to `count` on at most `jobs` threads. `on_done` sees the results in order, each as soon as it and
/// all before it are there.
pub fn in_parallel<T: Send>(
    count: usize,
    jobs: usize,
    work: &(dyn Fn(usize) -> T + Sync),
    on_done: &mut dyn FnMut(usize, T),
) {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    // The receiver outlives the scope.
                    if place >= count || sender.send((place, work(place))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early: BTreeMap<usize, T> = BTreeMap::new();
        let mut expected = 0;
        for (place, done) in receiver {
            early.insert(place, done);
            while let Some(done) = early.remove(&expected) {
                on_done(expected, done);
                expected += 1;
            }
        }
    });
}

/// A panic ends one scenario, not the suite: what the others found is still worth reporting.
fn run_guarded(
    scenario: &Scenario,
    source: &dyn RackSource,
    forge: &Forge,
    settings: &Settings<'_>,
    stop: &AtomicBool,
) -> Done {
    guarded(|| run_one(scenario, source, forge, settings, stop)).unwrap_or_else(|why| {
        let record = without_run(scenario, source, settings, Verdict::RackFault(why));
        Done::Panicked(Box::new(record))
    })
}

/// Runs something that may panic.
///
/// # Errors
/// It panicked: with which words, and what to do.
pub fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let what = panic_text(payload.as_ref());
        format!("panicked: {what}; a fault of the harness, or of firmware inside it: report it with the seed")
    })
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Runs one scenario: binds it, and tries it until it passes or the retries are used up.
pub fn run_one(
    scenario: &Scenario,
    source: &dyn RackSource,
    forge: &Forge,
    settings: &Settings<'_>,
    stop: &AtomicBool,
) -> Done {
    if stop.load(Ordering::Relaxed) {
        return Done::Stopped;
    }
    let started = Instant::now();
    let options = BindOptions { inject: settings.inject };
    let plan = match bind(scenario, source.manifest(), settings.seed, forge, options) {
        Ok(plan) => plan,
        Err(BindError::Invalid(diagnostics)) => return Done::Invalid(diagnostics),
        Err(lacks @ BindError::Lacks(_)) => {
            return Done::Ran(Box::new(without_run(scenario, source, settings, Verdict::Skipped(lacks.to_string()))));
        }
    };
    let mut first: Option<RunRecord> = None;
    for attempt in 0..=settings.retries.min(MOST_RETRIES) {
        let (outcome, judgement) = attempt_plan(&plan, source, &mut |_| {}, stop);
        if outcome.ended == Ended::Interrupted {
            return Done::Stopped;
        }
        let passed = judgement.verdict == Verdict::Pass;
        let mut run = record(&plan, outcome, judgement, repeat(&scenario.name, settings));
        if settings.wall_times {
            run.wall_micros = Some(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        match (passed, first.take()) {
            (true, None) => return Done::Ran(Box::new(run)),
            (true, Some(failed)) => return Done::Ran(Box::new(flaky(failed, attempt))),
            (false, kept) => first = Some(kept.unwrap_or(run)),
        }
    }
    match first {
        Some(run) => Done::Ran(Box::new(run)),
        None => Done::Stopped,
    }
}

/// Runs a plan once and judges it. A rack that cannot be opened is a rack that failed.
pub fn attempt_plan(
    plan: &Plan,
    source: &dyn RackSource,
    observer: &mut dyn FnMut(&Event),
    stop: &AtomicBool,
) -> (Outcome, Judgement) {
    let outcome = match source.open() {
        Ok(mut rack) => run_plan(plan, rack.as_mut(), observer, stop),
        Err(error) => Outcome {
            ledger: hil_engine::Ledger::new(),
            ended: Ended::RackFailed,
            at: Time::ZERO,
            missed: Vec::new(),
            rack_error: Some(error),
        },
    };
    let judgement = judge_outcome(plan, &outcome);
    (outcome, judgement)
}

/// A run that did not pass, and then passed: the evidence of the attempt that did not is kept, and it is no pass.
fn flaky(mut failed: RunRecord, attempt: u8) -> RunRecord {
    let text = format!(
        "attempt 1 ended {}, attempt {} passed with the same seed: nothing can be said of the product until the \
         difference is explained",
        failed.verdict.word(),
        attempt + 1
    );
    let finding = Finding { rule: FLAKY.to_owned(), conclusion: Conclusion::Unproven, text, events: Vec::new() };
    let place =
        failed.findings.iter().position(|f| f.conclusion != Conclusion::Broken).unwrap_or(failed.findings.len());
    failed.findings.insert(place, finding);
    failed.verdict = Verdict::Inconclusive;
    failed
}

/// The command that repeats one run.
#[must_use]
pub fn repeat(name: &str, settings: &Settings<'_>) -> String {
    format!("cargo run --release -- run --exact '{name}' --seed {}{}", settings.seed, settings.options)
}

/// The record of a scenario that was not run.
fn without_run(scenario: &Scenario, source: &dyn RackSource, settings: &Settings<'_>, verdict: Verdict) -> RunRecord {
    RunRecord {
        name: scenario.name.clone(),
        file: scenario.file.clone(),
        title: scenario.written.title.clone(),
        tags: scenario.written.proves.clone(),
        seed: settings.seed,
        rack: source.manifest().clone(),
        firmware: None::<Digest>,
        verdict,
        findings: Vec::new(),
        events: Vec::new(),
        ended: Time::ZERO,
        wall_micros: None,
        repeat: repeat(&scenario.name, settings),
        bundle: None,
        source: scenario.text.to_string(),
    }
}

#[cfg(test)]
mod tests;
