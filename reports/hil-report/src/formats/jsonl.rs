//! `results.jsonl`: one line on the suite, then one on every run, for scripts. No events: those are in the bundles.

use super::{ReportError, ReportFormat, Sink, Tally};
use hil_model::record::Conclusion;
use hil_model::{Finding, RunRecord, SuiteRecord, Verdict};
use serde::Serialize;

/// The format.
pub struct JsonLines;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SuiteLine<'a> {
    suite: &'a str,
    rack: &'a str,
    kind: hil_model::RackKind,
    seed: hil_model::Seed,
    started: Option<&'a str>,
    complete: bool,
    pass: usize,
    fail: usize,
    inconclusive: usize,
    skipped: usize,
    rack_fault: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RunLine<'a> {
    run: &'a str,
    file: &'a str,
    tags: &'a [String],
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    seed: hil_model::Seed,
    firmware: Option<hil_model::Digest>,
    ended_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_micros: Option<u64>,
    events: usize,
    /// Findings that do not hold.
    findings: Vec<&'a Finding>,
    repeat: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<&'a str>,
}

/// Verdict as a key: without spaces and capitals.
#[must_use]
pub const fn key(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Skipped(_) => "skipped",
        Verdict::RackFault(_) => "rack-fault",
    }
}

/// Why a run was skipped, or what failed in the rack.
#[must_use]
pub fn reason(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Skipped(why) | Verdict::RackFault(why) => Some(why),
        Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => None,
    }
}

impl ReportFormat for JsonLines {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn write(&self, suite: &SuiteRecord, sink: &mut dyn Sink) -> Result<(), ReportError> {
        let tally = Tally::of(suite);
        let mut out = Vec::new();
        let head = SuiteLine {
            suite: &suite.name,
            rack: &suite.rack,
            kind: suite.kind,
            seed: suite.seed,
            started: suite.started.as_deref(),
            complete: suite.complete,
            pass: tally.pass,
            fail: tally.fail,
            inconclusive: tally.inconclusive,
            skipped: tally.skipped,
            rack_fault: tally.rack_fault,
        };
        push(&mut out, &head)?;
        suite.runs.iter().try_for_each(|run| push(&mut out, &run_line(run)))?;
        sink.file("results.jsonl", &out)
    }
}

fn run_line(run: &RunRecord) -> RunLine<'_> {
    RunLine {
        run: &run.name,
        file: &run.file,
        tags: &run.tags,
        verdict: key(&run.verdict),
        reason: reason(&run.verdict),
        seed: run.seed,
        firmware: run.firmware,
        ended_ns: run.ended.0,
        wall_micros: run.wall_micros,
        events: run.events.len(),
        findings: run.findings.iter().filter(|f| f.conclusion != Conclusion::Holds).collect(),
        repeat: &run.repeat,
        bundle: run.bundle.as_deref(),
    }
}

fn push(out: &mut Vec<u8>, line: &impl Serialize) -> Result<(), ReportError> {
    serde_json::to_writer(&mut *out, line)
        .map_err(|error| ReportError::Format { format: "jsonl", why: error.to_string() })?;
    out.push(b'\n');
    Ok(())
}
