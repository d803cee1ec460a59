//! The timeline: bounded, the first wrong line marked, what is healthy counted and not listed.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use hil_model::record::Conclusion;
use hil_model::{Fact, Verdict, Witness};
use hil_report::timeline;
use hil_report::timeline::MAX_LINES;

#[test]
fn the_first_wrong_line_is_marked_and_the_end_says_how_to_repeat() {
    let text = timeline(&common::forged("rejection/bad-signature#wrong-key"));
    let marked: Vec<&str> = text.lines().filter(|line| line.starts_with(">>")).collect();
    assert_eq!(marked.len(), 1);
    assert!(marked[0].contains("0:01:17.123") && marked[0].contains("n03") && marked[0].contains("BAD SIGNATURE"));
    let tail: Vec<&str> = text.lines().rev().take(2).collect();
    assert!(tail[0].starts_with("repeat: cargo run"), "{tail:?}");
    assert!(tail[1].starts_with("seed 42 on rack virtual-24"), "{tail:?}");
}

#[test]
fn healthy_nodes_are_counted() {
    let text = timeline(&common::forged("x/y"));
    assert!(text.contains("of 4 nodes"), "{text}");
    assert!(!text.lines().any(|line| line.contains(" n01 ")), "nothing is wrong with n01:\n{text}");
    assert!(text.lines().any(|line| line.contains(" n03 ")));
}

#[test]
fn the_length_is_bounded_and_the_wrong_line_survives() {
    let mut run = common::record("field/storm", Verdict::Fail);
    let mut tape = common::Tape::new("field/storm", 1);
    let mut wrong = 0;
    for i in 0..5_000_u64 {
        tape.at(i * 10).node(1, Witness::Console, Fact::ConsoleLine { text: format!("line {i}") });
        let seq = tape.node(1, Witness::Probe, Fact::Crashed);
        if i == 3_000 {
            wrong = seq;
        }
    }
    tape.end(&mut run);
    run.findings = vec![common::finding("oracle-2", Conclusion::Broken, "n01 crashed", &[wrong])];
    let text = timeline(&run);
    assert!(text.lines().count() < MAX_LINES + 20, "{}", text.lines().count());
    assert_eq!(text.lines().filter(|line| line.starts_with(">>")).count(), 1);
    assert!(text.contains("lines left out"));
}

#[test]
fn like_lines_in_a_row_are_counted() {
    let mut run = common::record("field/storm", Verdict::Pass);
    let mut tape = common::Tape::new("field/storm", 1);
    for i in 0..500_u64 {
        tape.at(i * 10);
        tape.altered(1, 0, i as u16);
    }
    tape.end(&mut run);
    let text = timeline(&run);
    assert!(text.lines().count() < 20, "{text}");
    assert!(text.contains("497 interposed"), "{text}");
}

#[test]
fn a_run_that_did_not_run_has_a_reason_and_no_story() {
    let text = timeline(&common::record("thread/x", Verdict::Skipped("no Thread nodes".to_owned())));
    assert!(text.starts_with("thread/x: skipped\n") && text.contains("no Thread nodes"));
    assert!(!text.contains("seen by"));
}
