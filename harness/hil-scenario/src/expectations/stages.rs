//! `stages`: how many stages were started, passed, and passed by override.

use super::{Documented, Expectation};
use crate::monitor::{Monitor, cite};
use crate::plan::Plan;
use hil_model::record::Conclusion;
use hil_model::{Event, Fact, Finding};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation; what is left out is not looked at.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Stages {
    /// Stages that were started.
    #[serde(default)]
    pub started: Option<u8>,
    /// Stages that were passed.
    #[serde(default)]
    pub passed: Option<u8>,
    /// Stages that were passed by the operator's override.
    #[serde(default)]
    pub overridden: Option<u8>,
}

impl Documented for Stages {
    const MANUAL: &'static str = "How many stages were started, how many passed, and how many of those only because the \
        operator said so. A stage counts once, however often a restart tells of it.";
    const EXAMPLE: &'static str = "stages: { started: 1, passed: 0 }";
}

impl Expectation for Stages {
    fn monitor(&self, rule: &str, _: &Plan) -> Box<dyn Monitor> {
        Box::new(Watch { rule: rule.to_owned(), want: *self, seen: Default::default() })
    }
}

struct Watch {
    rule: String,
    want: Stages,
    /// Stage numbers with their events: started, passed, overridden.
    seen: [Vec<(u8, u64)>; 3],
}

impl Watch {
    fn note(&mut self, which: usize, stage: u8, seq: u64) {
        if let Some(list) = self.seen.get_mut(which)
            && list.iter().all(|(seen, _)| *seen != stage)
        {
            list.push((stage, seq));
        }
    }
}

impl Monitor for Watch {
    fn rule(&self) -> &str {
        &self.rule
    }

    fn on_event(&mut self, event: &Event) {
        match event.fact {
            Fact::StageStarted { stage, .. } => self.note(0, stage.0, event.seq),
            Fact::StagePassed { stage, overridden, .. } => {
                self.note(1, stage.0, event.seq);
                if overridden {
                    self.note(2, stage.0, event.seq);
                }
            }
            _ => {}
        }
    }

    fn close(&self, _: &Plan) -> Finding {
        let wants = [self.want.started, self.want.passed, self.want.overridden];
        let mut wrong = Vec::new();
        let mut events = Vec::new();
        for ((want, seen), name) in wants.into_iter().zip(&self.seen).zip(["started", "passed", "overridden"]) {
            let Some(want) = want else { continue };
            if seen.len() != usize::from(want) {
                wrong.push(format!("{} stages {name}, {want} expected", seen.len()));
            }
            seen.iter().for_each(|(_, seq)| cite(&mut events, *seq));
        }
        let (conclusion, text) = if wrong.is_empty() {
            (Conclusion::Holds, "as many stages as expected".to_owned())
        } else {
            (Conclusion::Broken, wrong.join("; "))
        };
        Finding { rule: self.rule.clone(), conclusion, text, events }
    }
}
