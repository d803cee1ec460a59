//! `index.html`: self-contained, and markup only where we wrote it, whatever the texts hold.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use hil_model::record::Conclusion;
use hil_model::{Fact, SuiteRecord, Verdict};
use hil_report::formats::html::page;

const NASTY: &str = "</pre></title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{0}\u{1b}[31m]]>\u{202e}";

/// The page as XML, its few void elements closed: anything that breaks the markup breaks the parse.
fn parsed(page: &str) -> String {
    let body = &page[page.find("<body>").unwrap()..page.rfind("<script>").unwrap()];
    let body = body.replace(" hidden>", " hidden=\"\">").replace(" open>", " open=\"\">");
    let mut out = String::new();
    for (i, part) in body.split("<input").enumerate() {
        if i > 0 {
            let end = part.find('>').unwrap();
            out += &format!("<input{}/>{}", &part[..end], &part[end + 1..]);
        } else {
            out += part;
        }
    }
    format!("{out}</body>")
}

#[test]
fn the_markup_is_well_formed() {
    for suite in [common::small_suite(), common::large_suite()] {
        let xml = parsed(&page(&suite));
        roxmltree::Document::parse(&xml).unwrap();
    }
}

#[test]
fn nothing_comes_from_elsewhere() {
    let page = page(&common::large_suite());
    for forbidden in ["http://", "https://", "src=", "@import", "url(", "<link"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn hostile_texts_are_shown_and_not_run() {
    let mut suite = common::small_suite();
    suite.name = NASTY.to_owned();
    suite.rack = NASTY.to_owned();
    suite.started = Some(NASTY.to_owned());
    for run in &mut suite.runs {
        run.name = NASTY.to_owned();
        run.file = NASTY.to_owned();
        run.title = NASTY.to_owned();
        run.tags = vec![NASTY.to_owned()];
        run.repeat = NASTY.to_owned();
        run.rack.name = NASTY.to_owned();
        run.rack.profile.board = NASTY.to_owned();
        run.bundle = Some(format!("javascript:{NASTY}"));
        run.findings.push(common::finding(NASTY, Conclusion::Broken, NASTY, &[3]));
        if let Verdict::Skipped(why) | Verdict::RackFault(why) = &mut run.verdict {
            *why = NASTY.to_owned();
        }
        for event in &mut run.events {
            match &mut event.fact {
                Fact::ConsoleLine { text } | Fact::BootDecided { reason: text, .. } => *text = NASTY.to_owned(),
                Fact::NodeOutcome { outcome, .. } => *outcome = hil_model::fact::Outcome::Rejected(NASTY.to_owned()),
                _ => {}
            }
        }
    }
    let page = page(&suite);
    assert_eq!(page.matches("<script>").count(), 1, "only our own");
    assert!(!page.contains("<img") && !page.contains("href=\"javascript:"));
    let xml = parsed(&page);
    let document = roxmltree::Document::parse(&xml).unwrap();
    assert!(document.descendants().filter_map(|n| n.text()).any(|text| text.contains("\\x1b[31m")));
}

#[test]
fn every_run_is_there_with_its_verdict() {
    let suite = common::small_suite();
    let page = page(&suite);
    for run in &suite.runs {
        assert!(page.contains(&format!("id=\"{}\"", run.name)), "{}", run.name);
    }
    assert!(page.contains("1 failed"));
    assert!(page.contains("<mark>&gt;&gt;"), "the first wrong line is marked");
    assert!(page.contains("stage 1") && page.contains("Channel use") && page.contains("Nodes over time"));
}

#[test]
fn an_interrupted_run_says_so() {
    let suite = SuiteRecord { complete: false, ..common::small_suite() };
    assert!(page(&suite).contains("Incomplete"));
    let empty = SuiteRecord { runs: Vec::new(), ..common::small_suite() };
    assert!(page(&empty).contains("No scenario ran"));
}

/// For looking at: `HIL_SAMPLE=/some/folder cargo test -p hil-report --test html -- sample` writes the page there.
#[test]
fn a_sample_page_can_be_written() {
    let page = page(&common::large_suite());
    assert!(page.len() < 4 << 20, "{} octets for thirty runs", page.len());
    if let Some(dir) = std::env::var_os("HIL_SAMPLE") {
        std::fs::write(std::path::Path::new(&dir).join("index.html"), page).unwrap();
    }
}
