//! Every recorded run is judged again as it was judged when it was recorded.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use hil_engine::judge;
use hil_model::record::Conclusion;
use hil_model::{Finding, Verdict};
use std::collections::BTreeSet;

/// Rules that do not hold, and how.
fn open(findings: &[Finding]) -> BTreeSet<(String, Conclusion)> {
    let open = findings.iter().filter(|finding| finding.conclusion != Conclusion::Holds);
    open.map(|finding| (finding.rule.clone(), finding.conclusion)).collect()
}

#[test]
fn recorded_runs_are_judged_as_before() {
    let mut verdicts = BTreeSet::new();
    for name in common::names() {
        let recorded = common::load(&name);
        let plan = recorded.plan();
        let candidate = plan.labelled(hil_scenario::Plan::CANDIDATE).map(|image| image.digest);
        assert_eq!(
            candidate, recorded.run.firmware,
            "{name}: the forge makes another image than at the time of recording; record this run again"
        );
        let judgement = judge(&plan, &recorded.events);
        assert_eq!(judgement.verdict, recorded.run.verdict, "{name}: {:#?}", judgement.findings);
        assert_eq!(open(&judgement.findings), open(&recorded.findings), "{name}");
        verdicts.insert(recorded.run.verdict.word());
    }
    for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive] {
        assert!(verdicts.contains(verdict.word()), "no recorded run ends as {}", verdict.word());
    }
}
