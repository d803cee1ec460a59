//! The judge over recorded runs and what can be made of them: one line changed, another verdict.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use common::{Recorded, load};
use hil_engine::{Ended, Ledger, Outcome, judge, judge_outcome, ledger, record};
use hil_model::fact::ResetCause;
use hil_model::record::Conclusion;
use hil_model::{Capability, Event, Fact, Finding, ImageCheck, Verdict};
use hil_rack::RackError;
use hil_report::bundle;
use hil_scenario::Plan;
use hil_scenario::bind::BindOptions;

fn lost() -> Recorded {
    load("confirmation-lost")
}

fn canary() -> Recorded {
    load("canary-caught")
}

/// The events that are left, in their new places.
fn without(events: &[Event], gone: impl Fn(&Fact) -> bool) -> Vec<Event> {
    let mut ledger = Ledger::new();
    for event in events.iter().filter(|event| !gone(&event.fact)) {
        ledger.append(event.clone());
    }
    ledger.into_events()
}

fn changed(events: &[Event], change: impl Fn(&mut Fact)) -> Vec<Event> {
    let mut events = events.to_vec();
    events.iter_mut().for_each(|event| change(&mut event.fact));
    events
}

fn interposed(fact: &Fact) -> bool {
    matches!(fact, Fact::Interposed { .. })
}

/// What only a debug port can see.
fn by_probe(fact: &Fact) -> bool {
    matches!(fact, Fact::Banks { .. } | Fact::ImageStarted { .. } | Fact::ApplicationReady { .. })
}

/// The last image that starts has a signature that does not verify.
fn forged(events: &[Event]) -> Vec<Event> {
    let last = events.iter().rposition(|e| matches!(e.fact, Fact::ImageStarted { .. })).unwrap();
    let mut events = events.to_vec();
    if let Fact::ImageStarted { check, .. } = &mut events[last].fact {
        *check = ImageCheck::BadSignature;
    }
    events
}

fn rules(findings: &[Finding], conclusion: Conclusion) -> Vec<&str> {
    findings.iter().filter(|f| f.conclusion == conclusion).map(|f| f.rule.as_str()).collect()
}

#[test]
fn everything_proven_and_met_is_a_pass() {
    let recorded = lost();
    let judgement = judge(&recorded.plan(), &recorded.events);
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert!(judgement.findings.iter().all(|f| f.conclusion == Conclusion::Holds));
    assert_eq!(judgement.findings.iter().filter(|f| f.rule.starts_with("oracle-")).count(), 9);
}

#[test]
fn no_proof_no_pass() {
    let recorded = lost();
    let events = without(&recorded.events, interposed);
    let judgement = judge(&recorded.plan(), &events);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert_eq!(rules(&judgement.findings, Conclusion::Unproven), ["proof[0] withhold-confirmation"]);
}

#[test]
fn an_injector_switched_off_is_inconclusive_on_any_ledger_without_its_stimulus() {
    let recorded = lost();
    let plan = recorded.plan_with(BindOptions { inject: false });
    assert_eq!(judge(&plan, &without(&recorded.events, interposed)).verdict, Verdict::Inconclusive);
}

#[test]
fn what_the_product_broke_weighs_more_than_a_missing_proof() {
    let recorded = lost();
    let events = forged(&without(&recorded.events, interposed));
    let judgement = judge(&recorded.plan(), &events);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert_eq!(judgement.findings[0].rule, "oracle-1", "broken first: {:#?}", judgement.findings);
    let order: Vec<Conclusion> = judgement.findings.iter().map(|f| f.conclusion).collect();
    let first = |wanted| order.iter().position(|c| *c == wanted).unwrap();
    assert!(first(Conclusion::Broken) < first(Conclusion::Unproven));
    assert!(first(Conclusion::Unproven) < first(Conclusion::Holds));
}

#[test]
fn the_oracle_watches_without_being_asked() {
    let recorded = lost();
    let judgement = judge(&recorded.plan(), &forged(&recorded.events));
    assert_eq!(judgement.verdict, Verdict::Fail);
}

#[test]
fn a_ledger_that_breaks_off_proves_nothing() {
    let recorded = lost();
    let events = without(&recorded.events, |fact| matches!(fact, Fact::RunEnded { .. }));
    assert_eq!(judge(&recorded.plan(), &events).verdict, Verdict::Inconclusive);
    let late = changed(&recorded.events, |fact| {
        if let Fact::RunEnded { timed_out } = fact {
            *timed_out = true;
        }
    });
    let judgement = judge(&recorded.plan(), &late);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert_eq!(rules(&judgement.findings, Conclusion::Unproven), ["run"]);
}

#[test]
fn every_prefix_of_a_ledger_gets_a_verdict_and_none_is_a_pass() {
    let recorded = lost();
    let plan = recorded.plan();
    for len in 0..recorded.events.len() {
        let verdict = judge(&plan, &recorded.events[..len]).verdict;
        assert_ne!(verdict, Verdict::Pass, "after {len} events");
    }
}

#[test]
fn a_missed_action_is_named() {
    let recorded = load("trigger-never-came");
    let judgement = judge(&recorded.plan(), &recorded.events);
    let missed = judgement.findings.iter().find(|f| f.rule.starts_with("action[")).unwrap();
    assert_eq!(missed.conclusion, Conclusion::Unproven);
    assert!(missed.text.contains("gw1: restart"), "{}", missed.text);
}

#[test]
fn evidence_that_a_rack_cannot_give_is_shown_and_does_not_weigh() {
    let recorded = lost();
    let events = without(&recorded.events, by_probe);
    let mut plan = recorded.plan();
    // What is left to expect can be seen without a debug port.
    plan.expectations.retain(|e| e.rule.ends_with("campaign"));
    let with_probe = judge(&plan, &events);
    assert_eq!(with_probe.verdict, Verdict::Inconclusive, "the rack could have witnessed it");
    plan.manifest.capabilities.remove(&Capability::ProbeRead);
    let without_probe = judge(&plan, &events);
    assert_eq!(without_probe.verdict, Verdict::Pass, "{:#?}", without_probe.findings);
    assert!(rules(&without_probe.findings, Conclusion::Unproven).contains(&"oracle-1"));
}

#[test]
fn a_canary_passes_when_the_named_rule_breaks() {
    let recorded = canary();
    let judgement = judge(&recorded.plan(), &recorded.events);
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert!(rules(&judgement.findings, Conclusion::Broken).contains(&"oracle-6"));
    let said = judgement.findings.iter().find(|f| f.rule == "canary").unwrap();
    assert!(said.text.contains("was caught"), "{}", said.text);
}

#[test]
fn the_same_ledger_without_the_canary_is_a_failure() {
    let recorded = canary();
    let plan = Plan { canary: None, ..recorded.plan() };
    assert_eq!(judge(&plan, &recorded.events).verdict, Verdict::Fail);
}

#[test]
fn a_canary_that_is_not_caught_fails() {
    let judgement = judge(&canary().plan(), &lost().events);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert_eq!(rules(&judgement.findings, Conclusion::Broken), ["canary"]);
}

#[test]
fn another_failure_does_not_catch_a_canary() {
    let judgement = judge(&canary().plan(), &forged(&lost().events));
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(rules(&judgement.findings, Conclusion::Broken).contains(&"oracle-1"));
}

#[test]
fn a_canary_without_its_stimulus_is_inconclusive() {
    let recorded = canary();
    let events = without(&recorded.events, interposed);
    assert_eq!(judge(&recorded.plan(), &events).verdict, Verdict::Inconclusive);
}

#[test]
fn a_rack_that_failed_decides_everything() {
    let recorded = lost();
    let mut ledger = Ledger::new();
    for event in forged(&recorded.events) {
        ledger.append(event);
    }
    let error = RackError::Refused { action: "power n03".to_owned(), why: "relay 3 does not answer".to_owned() };
    let at = ledger.events().last().unwrap().at;
    let outcome = Outcome { ledger, ended: Ended::RackFailed, at, missed: Vec::new(), rack_error: Some(error.clone()) };
    let judgement = judge_outcome(&recorded.plan(), &outcome);
    assert_eq!(judgement.verdict, Verdict::RackFault(error.to_string()));
    assert!(!judgement.findings.is_empty(), "what was seen is told all the same");
}

#[test]
fn a_bundle_is_judged_as_its_run_was() {
    let recorded = lost();
    let plan = recorded.plan();
    let mut ledger = Ledger::new();
    for event in forged(&recorded.events) {
        ledger.append(event);
    }
    let at = ledger.events().last().unwrap().at;
    let outcome = Outcome { ledger, ended: Ended::Quiet, at, missed: Vec::new(), rack_error: None };
    let judgement = judge_outcome(&plan, &outcome);
    let run = record(&plan, outcome, judgement.clone(), "hil reproduce x".to_owned());
    assert_eq!((run.verdict.clone(), run.ended, run.firmware), (Verdict::Fail, at, recorded.run.firmware));
    let evidence = bundle::read(&bundle::pack(&run).unwrap()).unwrap();
    let events = ledger::read(&evidence.ledger).unwrap().ledger.into_events();
    let again = judge(&plan, &events);
    assert_eq!(again, judgement);
    assert_eq!(evidence.findings, again.findings);
}

#[test]
fn a_reset_nobody_asked_for_after_a_rejection_is_found_in_a_real_ledger() {
    // The same ledger, one node said to have rejected the update, and one watchdog reset put into it.
    let recorded = lost();
    let plan = recorded.plan();
    let events = changed(&recorded.events, |fact| match fact {
        Fact::NodeOutcome { outcome, .. } if matches!(outcome, hil_model::fact::Outcome::RolledBack) => {
            *outcome = hil_model::fact::Outcome::Rejected("update rejected - migration required".to_owned());
        }
        _ => {}
    });
    assert!(events.iter().any(|e| matches!(e.fact, Fact::Reset { cause: ResetCause::Watchdog, .. })));
    let judgement = judge(&plan, &events);
    let five = judgement.findings.iter().find(|f| f.rule == "oracle-5").unwrap();
    assert_eq!(five.conclusion, Conclusion::Broken, "{}", five.text);
}
