//! `index.html`: one self-contained page for people. No asset from elsewhere, no script needed; the little there is
//! filters the list. Light and dark after the reader's setting. The same record gives the same bytes.

mod axis;
mod figures;
mod story;

use super::jsonl::{key, reason};
use super::{ReportError, ReportFormat, Sink, Tally};
use crate::timeline::timeline;
use crate::xml_text::{clean_line, escape, html};
use hil_model::record::Conclusion;
use hil_model::{Finding, RackKind, RunRecord, SuiteRecord, Verdict};
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Runs whose figures are drawn; a page of thousands of explored seeds stays readable and loads.
const MAX_DRAWN: usize = 400;

/// The format.
pub struct Page;

impl ReportFormat for Page {
    fn name(&self) -> &'static str {
        "html"
    }

    fn write(&self, suite: &SuiteRecord, sink: &mut dyn Sink) -> Result<(), ReportError> {
        sink.file("index.html", page(suite).as_bytes())
    }
}

fn line(text: &str) -> String {
    escape(&clean_line(text))
}

/// The whole page.
#[must_use]
pub fn page(suite: &SuiteRecord) -> String {
    let tally = Tally::of(suite);
    let mut out = String::new();
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{} - {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        line(&headline(tally)),
        line(&suite.name)
    );
    out += &header(suite, tally);
    out += "<main>\n";
    if !suite.complete {
        out += "<p class=\"warn\">Incomplete: the run was interrupted. This is what finished.</p>\n";
    }
    for (i, run) in in_order(suite).into_iter().enumerate() {
        out += &one_run(run, i < MAX_DRAWN);
    }
    if suite.runs.is_empty() {
        out += "<p>No scenario ran.</p>\n";
    }
    let _ = write!(
        out,
        "<footer>Everything here is drawn from the ledgers of the runs. Seed {} repeats the suite.</footer>\n</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        suite.seed
    );
    out
}

fn headline(tally: Tally) -> String {
    let bad = tally.fail + tally.inconclusive + tally.rack_fault;
    match (bad, tally.pass) {
        (0, 0) => "nothing ran".to_owned(),
        (0, n) => format!("{n} scenarios passed"),
        (_, _) if tally.fail > 0 => format!("{} failed", tally.fail),
        (n, _) => format!("{n} without a verdict"),
    }
}

/// What needs a person first, then by name.
fn in_order(suite: &SuiteRecord) -> Vec<&RunRecord> {
    let mut runs: Vec<&RunRecord> = suite.runs.iter().collect();
    runs.sort_by_key(|run| match run.verdict {
        Verdict::Fail => 0,
        Verdict::RackFault(_) => 1,
        Verdict::Inconclusive => 2,
        Verdict::Pass => 3,
        Verdict::Skipped(_) => 4,
    });
    runs
}

fn header(suite: &SuiteRecord, tally: Tally) -> String {
    let kind = match suite.kind {
        RackKind::Virtual => "virtual",
        RackKind::Emulated => "emulated",
        RackKind::Lab => "lab",
    };
    let started = suite.started.as_ref().map_or(String::new(), |at| format!(", started <b>{}</b>", line(at)));
    let mut out = format!(
        "<header><div>\n<h1>{}</h1>\n<p>{}: rack <b>{}</b> ({kind}), seed <b>{}</b>{started}</p>\n",
        line(&headline(tally)),
        line(&suite.name),
        line(&suite.rack),
        suite.seed
    );
    let parts = [
        ("pass", "passed", tally.pass),
        ("fail", "failed", tally.fail),
        ("inconclusive", "inconclusive", tally.inconclusive),
        ("rack-fault", if tally.rack_fault == 1 { "rack fault" } else { "rack faults" }, tally.rack_fault),
        ("skipped", "skipped", tally.skipped),
    ];
    out += "<div class=\"bar\">";
    for (name, _, count) in parts.iter().filter(|part| part.2 > 0) {
        let _ = write!(out, "<i class=\"b-{name}\" style=\"flex:{count}\"></i>");
    }
    out += "</div>\n<div class=\"chips\">\n";
    for (name, words, count) in parts.iter().filter(|part| part.2 > 0 || part.0 == "pass") {
        let _ = writeln!(
            out,
            "<button type=\"button\" data-verdict=\"{name}\" aria-pressed=\"false\"><i class=\"b-{name}\"></i>{count} {words}</button>"
        );
    }
    out + "<input id=\"find\" type=\"search\" placeholder=\"filter by name, title or tag\" aria-label=\"filter\" hidden>\n</div>\n</div></header>\n"
}

fn one_run(run: &RunRecord, drawn: bool) -> String {
    let verdict = key(&run.verdict);
    let find = format!("{} {} {}", run.name, run.title, run.tags.join(" ")).to_lowercase();
    let wall =
        run.wall_micros.map_or(String::new(), |us| format!(" in {}.{:03} s", us / 1_000_000, us / 1_000 % 1_000));
    let ran = !run.events.is_empty();
    let time = if ran { format!("{}{wall}", short_time(run)) } else { String::new() };
    let open = if matches!(run.verdict, Verdict::Fail) { " open" } else { "" };
    let mut out = format!(
        "<details class=\"run r-{verdict}\" id=\"{}\" data-verdict=\"{verdict}\" data-find=\"{}\"{open}>\n\
         <summary><span class=\"verdict v-{verdict}\">{}</span><span><span class=\"name\">{}</span><span class=\"title\">{}</span></span><span class=\"time\">{time}</span></summary>\n<div class=\"body\">\n",
        line(&run.name),
        line(&find),
        run.verdict.word(),
        line(&run.name),
        line(&run.title)
    );
    if let Some(why) = reason(&run.verdict) {
        let _ = writeln!(out, "<p>{}</p>", line(why));
    }
    out += &findings(&run.findings);
    if drawn {
        out += &figures::figures(run);
    }
    if ran {
        let told = if tells_story(run) { " open" } else { "" };
        let _ = write!(out, "<details class=\"more\"{told}><summary>Timeline</summary>\n{}</details>\n", story(run));
    }
    out += &facts(run);
    out + "</div>\n</details>\n"
}

fn tells_story(run: &RunRecord) -> bool {
    matches!(run.verdict, Verdict::Fail)
}

/// Rack time without milliseconds.
fn short_time(run: &RunRecord) -> String {
    run.ended.to_string().split('.').next().unwrap_or_default().to_owned()
}

fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let row = |finding: &Finding| {
        let (class, word) = match finding.conclusion {
            Conclusion::Broken => ("f-broken", "broken"),
            Conclusion::Unproven => ("f-unproven", "unproven"),
            Conclusion::Holds => ("f-holds", "holds"),
        };
        format!(
            "<tr><td class=\"end {class}\">{word}</td><td class=\"rule\">{}</td><td class=\"what\">{}</td></tr>\n",
            line(&finding.rule),
            line(&finding.text)
        )
    };
    let table = |rows: Vec<String>| format!("<table><tbody>\n{}</tbody></table>\n", rows.concat());
    let (held, open): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| finding.conclusion == Conclusion::Holds);
    let mut out = String::new();
    if !open.is_empty() {
        out += "<h3>Findings</h3>\n";
        out += &table(open.into_iter().map(row).collect());
    }
    if !held.is_empty() {
        let _ = writeln!(out, "<details class=\"more\"><summary>{} findings hold</summary>", held.len());
        out += &table(held.into_iter().map(row).collect());
        out += "</details>\n";
    }
    out
}

/// The timeline, its first wrong line marked.
fn story(run: &RunRecord) -> String {
    let mut out = String::from("<pre>");
    for text in timeline(run).lines() {
        if text.starts_with(">>") {
            let _ = writeln!(out, "<mark>{}</mark>", html(text));
        } else {
            let _ = writeln!(out, "{}", html(text));
        }
    }
    out + "</pre>\n"
}

fn facts(run: &RunRecord) -> String {
    let profile = &run.rack.profile;
    let mut out = format!(
        "<div class=\"facts\"><span>file <b>{}</b></span><span>seed <b>{}</b></span><span>rack <b>{}</b></span>\
         <span>board <b>{}</b></span><span>image <b>{} KiB</b></span><span>events <b>{}</b></span>",
        line(&run.file),
        run.seed,
        line(&run.rack.name),
        line(&profile.board),
        profile.image_size / 1_024,
        run.events.len()
    );
    if !run.tags.is_empty() {
        let _ = write!(out, "<span>proves <b>{}</b></span>", line(&run.tags.join(", ")));
    }
    if let Some(firmware) = run.firmware {
        let _ = write!(out, "<span>firmware <b>{}</b></span>", firmware.short());
    }
    if let Some(bundle) = &run.bundle {
        // Linked only where it is a plain file beside this page: anything else could be a scheme.
        let name = line(bundle);
        let plain = bundle.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        let _ = match plain {
            true => write!(out, "<span>evidence <a href=\"{name}\">{name}</a></span>"),
            false => write!(out, "<span>evidence {name}</span>"),
        };
    }
    let _ = write!(out, "</div>\n<p>repeat: <code>{}</code></p>\n", line(&run.repeat));
    out
}
