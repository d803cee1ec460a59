//! The judge: a pure function of a plan and a ledger. A recorded run is judged again by the same function, with no rack.
//!
//! Three kinds of findings are weighed. *Proofs*: did every stimulus really happen? *Expectations*: what the scenario
//! says must come of it. The *oracle*: what must hold in every run.
//!
//! | findings | verdict |
//! | --- | --- |
//! | the rack failed | `RackFault` |
//! | an oracle rule broken: it holds whatever was or was not done to the product | `Fail` |
//! | else: a proof missing: what was expected of a stimulus that was not there says nothing | `Inconclusive` |
//! | else: an expectation broken | `Fail` |
//! | else: an expectation, an action or the end of the run missing | `Inconclusive` |
//! | else: an oracle rule unproven although the rack could have witnessed it | `Inconclusive` |
//! | else | `Pass` |
//!
//! A canary turns this round: it passes when its stimulus is proven and exactly the rule it names is broken (others may
//! break along with it, but never instead of it), fails when that rule is not broken, and is inconclusive without proof.

use crate::oracle::{Context, Oracle, weighs};
use crate::run::Outcome;
use crate::schedule::Schedule;
use hil_model::record::Conclusion;
use hil_model::{Event, Fact, Finding, RunRecord, Verdict};
use hil_scenario::{Canary, Monitor, Plan};

/// Name of the finding on the run itself.
const RUN: &str = "run";
/// Name of the finding of a canary.
const CANARY: &str = "canary";

/// A verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// All findings: broken, unproven, then what holds; within each in the order run, actions, proofs, expectations,
    /// oracle.
    pub findings: Vec<Finding>,
}

/// Watches a run as it happens; [`judge`] does the same over a recorded ledger.
pub struct Judge<'p> {
    plan: &'p Plan,
    context: Context,
    oracle: Oracle,
    /// Proofs first, then expectations, as the plan gives them.
    monitors: Vec<Box<dyn Monitor>>,
    schedule: Schedule,
    ended: Option<(u64, bool)>,
}

impl<'p> Judge<'p> {
    /// Fresh monitors for a plan.
    #[must_use]
    pub fn new(plan: &'p Plan) -> Self {
        let context = Context::new(plan);
        let schedule = Schedule::new(&plan.actions);
        Self { plan, oracle: Oracle::new(&context), context, monitors: plan.monitors(), schedule, ended: None }
    }

    /// Take note of an event.
    pub fn on_event(&mut self, event: &Event) {
        if let Fact::RunEnded { timed_out } = event.fact {
            self.ended = Some((event.seq, timed_out));
        }
        self.schedule.on_event(event);
        while self.schedule.take_due(event.at).is_some() {}
        for monitor in self.monitors.iter_mut().filter(|monitor| !monitor.settled()) {
            monitor.on_event(event);
        }
        self.oracle.on_event(event);
    }

    /// The judgement after the last event.
    #[must_use]
    pub fn close(self) -> Judgement {
        let mut findings = vec![run_finding(self.ended)];
        findings.extend(self.schedule.missed().into_iter().map(|place| missed_action(self.plan, place)));
        let proofs = self.plan.faults.len();
        let closed: Vec<Finding> = self.monitors.iter().map(|monitor| monitor.close(self.plan)).collect();
        let proven = closed.iter().take(proofs).all(|finding| finding.conclusion == Conclusion::Holds);
        findings.extend(closed);
        findings.extend(self.oracle.close());
        let verdict = match &self.plan.canary {
            Some(canary) => {
                let (verdict, finding) = canary_verdict(canary, proven, &findings);
                findings.push(finding);
                verdict
            }
            None => weigh(&self.context, proven, &findings),
        };
        findings.sort_by_key(|finding| match finding.conclusion {
            Conclusion::Broken => 0,
            Conclusion::Unproven => 1,
            Conclusion::Holds => 2,
        });
        Judgement { verdict, findings }
    }
}

/// Judge a ledger under a plan.
#[must_use]
pub fn judge(plan: &Plan, events: &[Event]) -> Judgement {
    let mut judge = Judge::new(plan);
    for event in events {
        judge.on_event(event);
    }
    judge.close()
}

/// Judge what came of a run: as [`judge`], but a rack that failed decides everything.
#[must_use]
pub fn judge_outcome(plan: &Plan, outcome: &Outcome) -> Judgement {
    let mut judgement = judge(plan, outcome.ledger.events());
    if let Some(error) = &outcome.rack_error {
        judgement.verdict = Verdict::RackFault(error.to_string());
    }
    judgement
}

/// Everything a report may know of a run. `repeat` is the command that repeats it; bundle and wall time are for the
/// caller, who alone has files and a clock.
#[must_use]
pub fn record(plan: &Plan, outcome: Outcome, judgement: Judgement, repeat: String) -> RunRecord {
    RunRecord {
        name: plan.name.clone(),
        file: plan.file.clone(),
        title: plan.title.clone(),
        tags: plan.proves.clone(),
        seed: plan.seed,
        rack: plan.manifest.clone(),
        firmware: plan.labelled(Plan::CANDIDATE).map(|image| image.digest),
        verdict: judgement.verdict,
        findings: judgement.findings,
        ended: outcome.at,
        events: outcome.ledger.into_events(),
        wall_micros: None,
        repeat,
        bundle: None,
        source: plan.source.clone(),
    }
}

fn weigh(context: &Context, proven: bool, findings: &[Finding]) -> Verdict {
    let broken = |finding: &Finding| finding.conclusion == Conclusion::Broken;
    if findings.iter().any(|finding| broken(finding) && finding.rule.starts_with("oracle-")) {
        return Verdict::Fail;
    }
    if !proven {
        return Verdict::Inconclusive;
    }
    if findings.iter().any(broken) {
        return Verdict::Fail;
    }
    let open = |finding: &Finding| {
        finding.conclusion == Conclusion::Unproven && (!finding.rule.starts_with("oracle-") || weighs(context, finding))
    };
    if findings.iter().any(open) { Verdict::Inconclusive } else { Verdict::Pass }
}

fn canary_verdict(canary: &Canary, proven: bool, findings: &[Finding]) -> (Verdict, Finding) {
    let named = findings.iter().find(|f| f.conclusion == Conclusion::Broken && canary.means(&f.rule));
    let finding = |conclusion, text, events| Finding { rule: CANARY.to_owned(), conclusion, text, events };
    match (named, proven) {
        (Some(broken), true) => {
            let text = format!("{:?} was caught: {} is broken as it has to be", canary.composition, broken.rule);
            (Verdict::Pass, finding(Conclusion::Holds, text, broken.events.clone()))
        }
        (None, true) => {
            let text = format!("{:?} was not caught: {} is not broken", canary.composition, canary.must_break);
            (Verdict::Fail, finding(Conclusion::Broken, text, Vec::new()))
        }
        (_, false) => {
            let text = format!("{:?} was not put to the test: its stimulus is not proven", canary.composition);
            (Verdict::Inconclusive, finding(Conclusion::Unproven, text, Vec::new()))
        }
    }
}

fn run_finding(ended: Option<(u64, bool)>) -> Finding {
    let (conclusion, text, events) = match ended {
        Some((_, false)) => (Conclusion::Holds, "everything came to rest", Vec::new()),
        Some((seq, true)) => (Conclusion::Unproven, "the deadline passed before things were quiet", vec![seq]),
        None => (Conclusion::Unproven, "the ledger breaks off: the run was interrupted or the rack failed", Vec::new()),
    };
    Finding { rule: RUN.to_owned(), conclusion, text: text.to_owned(), events }
}

fn missed_action(plan: &Plan, place: usize) -> Finding {
    let what = plan.actions.get(place).map(|timed| timed.action.describe()).unwrap_or_default();
    Finding {
        rule: format!("action[{place}]"),
        conclusion: Conclusion::Unproven,
        text: format!("never applied, what it waits for did not happen: {what}"),
        events: Vec::new(),
    }
}
