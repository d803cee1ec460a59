//! `campaign`: how the campaign as a whole ends, and that a pause alerts the operator.

use super::{Documented, Expectation};
use crate::monitor::Monitor;
use crate::plan::Plan;
use hil_model::record::Conclusion;
use hil_model::{Event, Fact, Finding, StageIndex};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Campaign {
    /// Every stage passed.
    Completed,
    /// Ended by the operator: aborted or rolled back.
    Stopped,
    /// Paused in this stage at the end, with an alert.
    PausedInStage(u8),
}

impl Documented for Campaign {
    const MANUAL: &'static str = "How the campaign ends: `completed`, `stopped` by the operator, or `paused-in-stage: n`, \
        counted from 1. A pause only counts with an alert to the operator.";
    const EXAMPLE: &'static str = "campaign: { paused-in-stage: 1 }";
}

impl Expectation for Campaign {
    fn monitor(&self, rule: &str, _: &Plan) -> Box<dyn Monitor> {
        Box::new(Watch { rule: rule.to_owned(), want: *self, state: State::NotStarted, alerted: None })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    NotStarted,
    Running(u64),
    Paused(u64, StageIndex, String),
    Ended(u64, bool),
}

struct Watch {
    rule: String,
    want: Campaign,
    state: State,
    alerted: Option<u64>,
}

impl Monitor for Watch {
    fn rule(&self) -> &str {
        &self.rule
    }

    fn on_event(&mut self, event: &Event) {
        match &event.fact {
            Fact::CampaignStarted { .. } => self.state = State::Running(event.seq),
            // The alert may be told before or after the pause, never before what ended the last one.
            Fact::CampaignPaused { stage, reason, .. } => {
                self.state = State::Paused(event.seq, *stage, reason.clone());
            }
            Fact::Alert { .. } => self.alerted = Some(event.seq),
            Fact::OperatorActed { .. } if matches!(self.state, State::Paused(..)) => {
                self.state = State::Running(event.seq);
                self.alerted = None;
            }
            Fact::CampaignEnded { completed } => self.state = State::Ended(event.seq, *completed),
            _ => {}
        }
    }

    fn close(&self, _: &Plan) -> Finding {
        let (text, seq) = match &self.state {
            State::NotStarted => ("never started".to_owned(), None),
            State::Running(seq) => ("neither ended nor paused".to_owned(), Some(*seq)),
            State::Paused(seq, stage, reason) => (format!("paused in stage {}: {reason}", stage.0), Some(*seq)),
            State::Ended(seq, true) => ("completed".to_owned(), Some(*seq)),
            State::Ended(seq, false) => ("stopped".to_owned(), Some(*seq)),
        };
        let as_wanted = match (self.want, &self.state) {
            (Campaign::Completed, State::Ended(_, true)) | (Campaign::Stopped, State::Ended(_, false)) => true,
            (Campaign::PausedInStage(want), State::Paused(_, stage, _)) => stage.0 == want,
            _ => false,
        };
        let silent = matches!(self.state, State::Paused(..)) && self.alerted.is_none();
        let (conclusion, text) = match (as_wanted, silent) {
            (true, true) => (Conclusion::Broken, format!("{text}, but nobody was alerted")),
            (true, false) => (Conclusion::Holds, text),
            (false, _) => (Conclusion::Broken, format!("{text}; {:?} expected", self.want)),
        };
        Finding { rule: self.rule.clone(), conclusion, text, events: seq.into_iter().chain(self.alerted).collect() }
    }
}
