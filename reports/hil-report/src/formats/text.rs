//! `summary.txt`: the suite as a terminal shows it, failures with their timelines.

use super::{ReportError, ReportFormat, Sink, Tally};
use crate::timeline::timeline;
use crate::xml_text::clean_line;
use hil_model::{RunRecord, SuiteRecord, Verdict};

/// The format.
pub struct Summary;

impl ReportFormat for Summary {
    fn name(&self) -> &'static str {
        "text"
    }

    fn write(&self, suite: &SuiteRecord, sink: &mut dyn Sink) -> Result<(), ReportError> {
        sink.file("summary.txt", summary(suite).as_bytes())
    }
}

/// The whole summary.
#[must_use]
pub fn summary(suite: &SuiteRecord) -> String {
    let mut out = format!("{} on rack {}, seed {}\n\n", clean_line(&suite.name), clean_line(&suite.rack), suite.seed);
    for run in &suite.runs {
        out += &line(run);
        out.push('\n');
    }
    for run in suite.runs.iter().filter(|run| told(run)) {
        out += "\n----\n\n";
        out += &timeline(run);
        if let Some(bundle) = &run.bundle {
            out += &format!("evidence: {}\n", clean_line(bundle));
        }
    }
    out += "\n----\n\n";
    if !suite.complete {
        out += "INCOMPLETE: the run was interrupted; this is what finished\n";
    }
    out + &totals(suite) + "\n"
}

/// One run in one line.
#[must_use]
pub fn line(run: &RunRecord) -> String {
    let reason = match &run.verdict {
        Verdict::Skipped(why) | Verdict::RackFault(why) => format!(": {}", clean_line(why)),
        Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => String::new(),
    };
    format!("{:<12} {}{reason}", run.verdict.word(), clean_line(&run.name))
}

/// The totals in one line.
#[must_use]
pub fn totals(suite: &SuiteRecord) -> String {
    let tally = Tally::of(suite);
    let mut parts = vec![format!("{} passed", tally.pass), format!("{} failed", tally.fail)];
    for (count, word) in
        [(tally.inconclusive, "inconclusive"), (tally.skipped, "skipped"), (tally.rack_fault, "rack faults")]
    {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    parts.join(", ")
}

fn told(run: &RunRecord) -> bool {
    match run.verdict {
        Verdict::Fail | Verdict::Inconclusive | Verdict::RackFault(_) => true,
        Verdict::Pass | Verdict::Skipped(_) => false,
    }
}
