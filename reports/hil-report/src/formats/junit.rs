//! `junit.xml` for CI: one suite per scenario file, one case per variant.
//!
//! Written by the `junit-report` crate from cleaned text, then completed with what that crate leaves out: counts of
//! skipped cases, the suite's file, totals, and properties (seed, rack, its kind, firmware digest, bundles). The schema
//! knows properties per suite only, so what belongs to a variant stands in its `system-out` as well.
//!
//! | verdict | element |
//! | --- | --- |
//! | Pass | none |
//! | Fail | `failure` |
//! | Inconclusive | `error` of type `inconclusive` |
//! | RackFault | `error` of type `rack-fault` |
//! | Skipped | `skipped` with its reason |
//!
//! An inconclusive run is an error because a gate must not take it for a pass. `time` is wall time, zero where reports
//! have to be byte-identical; rack time stands in `system-out`.

use super::{ReportError, ReportFormat, Sink, Tally};
use crate::timeline::{finding_line, timeline};
use crate::xml_text::{clean, clean_line};
use hil_model::record::Conclusion;
use hil_model::{RackKind, RunRecord, SuiteRecord, Verdict};
use junit_report::{Duration, OffsetDateTime, Report, ReportBuilder, TestCase, TestCaseBuilder, TestSuiteBuilder};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, Writer};
use std::collections::BTreeMap;

/// The format.
pub struct Junit;

/// What is added to a suite.
struct Extra {
    file: String,
    skipped: usize,
    properties: Vec<(String, String)>,
}

impl ReportFormat for Junit {
    fn name(&self) -> &'static str {
        "junit"
    }

    fn write(&self, suite: &SuiteRecord, sink: &mut dyn Sink) -> Result<(), ReportError> {
        let (report, extras) = report(suite);
        let mut plain = Vec::new();
        report.write_xml(&mut plain).map_err(failed)?;
        let whole = complete(&plain, suite, &extras)?;
        sink.file("junit.xml", &whole)
    }
}

fn failed(error: impl core::fmt::Display) -> ReportError {
    ReportError::Format { format: "junit", why: error.to_string() }
}

fn report(suite: &SuiteRecord) -> (Report, Vec<Extra>) {
    // One suite per file, in the order in which the files come first: runs are sorted by name, and so are files.
    let mut files: BTreeMap<&str, Vec<&RunRecord>> = BTreeMap::new();
    for run in &suite.runs {
        files.entry(&run.file).or_default().push(run);
    }
    let started = timestamp(suite.started.as_deref());
    let mut builder = ReportBuilder::new();
    let mut extras = Vec::new();
    for (file, runs) in files {
        let mut one = TestSuiteBuilder::new(&clean_line(&suite_name(file)));
        one.set_timestamp(started);
        one.add_testcases(runs.iter().map(|run| case(run)));
        builder.add_testsuite(one.build());
        extras.push(extra(suite, file, &runs));
    }
    (builder.build(), extras)
}

/// `rejection/bad-signature` for `fixtures/scenarios/rejection/bad-signature.yaml`.
fn suite_name(file: &str) -> String {
    let path = file.strip_suffix(".yaml").unwrap_or(file);
    let parts: Vec<&str> = path.rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

fn extra(suite: &SuiteRecord, file: &str, runs: &[&RunRecord]) -> Extra {
    let kind = match suite.kind {
        RackKind::Virtual => "virtual",
        RackKind::Emulated => "emulated",
        RackKind::Lab => "lab",
    };
    let mut properties: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| properties.push((name.to_owned(), clean_line(&value)));
    add("run", suite.name.clone());
    add("complete", suite.complete.to_string());
    add("seed", suite.seed.to_string());
    add("rack", suite.rack.clone());
    add("rack-kind", kind.to_owned());
    for run in runs {
        let variant = run.name.split_once('#').map_or(String::new(), |(_, variant)| format!(".{variant}"));
        add(&clean_line(&format!("seed{variant}")), run.seed.to_string());
        if let Some(firmware) = run.firmware {
            add(&clean_line(&format!("firmware-sha256{variant}")), firmware.to_string());
        }
        if let Some(bundle) = &run.bundle {
            add(&clean_line(&format!("bundle{variant}")), bundle.clone());
        }
    }
    properties.dedup();
    let skipped = runs.iter().filter(|run| matches!(run.verdict, Verdict::Skipped(_))).count();
    Extra { file: clean_line(file), skipped, properties }
}

fn case(run: &RunRecord) -> TestCase {
    let name = clean_line(&run.name);
    let time = Duration::milliseconds(i64::try_from(run.wall_micros.unwrap_or(0) / 1_000).unwrap_or(i64::MAX));
    let first = |conclusion| run.findings.iter().find(|finding| finding.conclusion == conclusion);
    let message =
        |conclusion| first(conclusion).map_or_else(String::new, |f| clean_line(&format!("{}: {}", f.rule, f.text)));
    let mut builder = match &run.verdict {
        Verdict::Pass => TestCaseBuilder::success(&name, time),
        Verdict::Fail => {
            let kind = first(Conclusion::Broken).map_or_else(|| "fail".to_owned(), |f| clean_line(&f.rule));
            TestCaseBuilder::failure(&name, time, &kind, &message(Conclusion::Broken))
        }
        Verdict::Inconclusive => TestCaseBuilder::error(&name, time, "inconclusive", &message(Conclusion::Unproven)),
        Verdict::RackFault(why) => TestCaseBuilder::error(&name, time, "rack-fault", &clean_line(why)),
        Verdict::Skipped(why) => TestCaseBuilder::skipped_with_cause(&name, "skipped", &clean_line(why)),
    };
    builder.set_classname(&clean_line(&suite_name(&run.file)));
    if matches!(run.verdict, Verdict::Fail | Verdict::Inconclusive) {
        builder.set_trace(&clean(&timeline(run)));
    }
    builder.set_system_out(&clean(&system_out(run)));
    builder.build()
}

fn system_out(run: &RunRecord) -> String {
    let mut out = format!("{}\n", run.title);
    out += &format!("seed {}, rack {}, {} of rack time\n", run.seed, run.rack.name, run.ended);
    let profile = &run.rack.profile;
    out += &format!("profile: board {}, image {} octets, grace {}\n", profile.board, profile.image_size, profile.grace);
    for finding in &run.findings {
        out += &finding_line(finding);
        out.push('\n');
    }
    if let Some(bundle) = &run.bundle {
        out += &format!("evidence: {bundle}\n");
    }
    out += &format!("repeat: {}\n", run.repeat);
    out
}

/// The crate's output with what it leaves out. Suites come in the order of `extras`.
fn complete(plain: &[u8], suite: &SuiteRecord, extras: &[Extra]) -> Result<Vec<u8>, ReportError> {
    let mut reader = Reader::from_reader(plain);
    let mut writer = Writer::new(Vec::with_capacity(plain.len() + 512 * extras.len()));
    let mut extras = extras.iter();
    let tally = Tally::of(suite);
    loop {
        match reader.read_event().map_err(failed)? {
            Event::Eof => break,
            Event::Start(mut start) if start.name().as_ref() == b"testsuites" => {
                totals(&mut start, suite, tally);
                writer.write_event(Event::Start(start)).map_err(failed)?;
            }
            Event::Empty(mut start) if start.name().as_ref() == b"testsuites" => {
                totals(&mut start, suite, tally);
                writer.write_event(Event::Empty(start)).map_err(failed)?;
            }
            Event::Start(mut start) if start.name().as_ref() == b"testsuite" => {
                let Some(extra) = extras.next() else { return Err(failed("more suites than files")) };
                start.push_attribute(("skipped", extra.skipped.to_string().as_str()));
                start.push_attribute(("file", extra.file.as_str()));
                writer.write_event(Event::Start(start)).map_err(failed)?;
                properties(&mut writer, &extra.properties)?;
            }
            other => writer.write_event(other).map_err(failed)?,
        }
    }
    let mut out = writer.into_inner();
    out.push(b'\n');
    Ok(out)
}

fn totals(start: &mut BytesStart<'_>, suite: &SuiteRecord, tally: Tally) {
    start.push_attribute(("name", clean_line(&suite.name).as_str()));
    start.push_attribute(("tests", suite.runs.len().to_string().as_str()));
    start.push_attribute(("failures", tally.fail.to_string().as_str()));
    start.push_attribute(("errors", (tally.inconclusive + tally.rack_fault).to_string().as_str()));
}

fn properties(writer: &mut Writer<Vec<u8>>, all: &[(String, String)]) -> Result<(), ReportError> {
    let start = BytesStart::new("properties");
    writer.write_event(Event::Start(start.borrow())).map_err(failed)?;
    for (name, value) in all {
        let mut property = BytesStart::new("property");
        property.push_attribute(("name", name.as_str()));
        property.push_attribute(("value", value.as_str()));
        writer.write_event(Event::Empty(property)).map_err(failed)?;
    }
    writer.write_event(Event::End(start.to_end())).map_err(failed)
}

/// An RFC 3339 time in UTC; 1970 where there is none or it is not readable, so that nothing stamps "now".
fn timestamp(text: Option<&str>) -> OffsetDateTime {
    text.and_then(unix_seconds)
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Seconds since 1970 of `2026-11-01T08:30:00Z`.
fn unix_seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from the civil calendar; the year begins in March, so that a leap day is its last day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_era = year.rem_euclid(400);
    let days = year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day
        - 719_469;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("1970-01-01T00:00:00Z", Some(0))]
    #[case("2026-11-01T08:30:15Z", Some(1_793_521_815))]
    #[case("2024-02-29T23:59:59Z", Some(1_709_251_199))]
    #[case("2024-13-01T00:00:00Z", None)]
    #[case("yesterday", None)]
    #[case("é970-01-01T00:00:00Z", None)]
    fn times_are_read(#[case] text: &str, #[case] want: Option<i64>) {
        assert_eq!(unix_seconds(text), want);
    }

    #[rstest]
    #[case("fixtures/scenarios/rejection/bad-signature.yaml", "rejection/bad-signature")]
    #[case("x.yaml", "x")]
    #[case("", "")]
    fn suites_are_named_after_their_files(#[case] file: &str, #[case] want: &str) {
        assert_eq!(suite_name(file), want);
    }
}
