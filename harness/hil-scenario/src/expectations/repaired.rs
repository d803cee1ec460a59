//! `repaired`: lost parts of a block were sent again, and only where they were lost.

use super::{Documented, Expectation};
use crate::monitor::{Monitor, cite};
use crate::plan::Plan;
use hil_model::record::Conclusion;
use hil_model::{Event, Fact, Finding};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Repaired {
    /// Which BLOB block; any when left out.
    #[serde(default)]
    pub block: Option<u32>,
    /// Least repetitions.
    #[serde(default = "one")]
    pub at_least: u32,
    /// Most repetitions: only what was lost is sent again.
    #[serde(default)]
    pub at_most: Option<u32>,
}

const fn one() -> u32 {
    1
}

impl Documented for Repaired {
    const MANUAL: &'static str = "Chunks of the block (of any block, when none is named) were sent again, at least \
        `at-least` and at most `at-most` of them, and the block was then held by all its targets: selective \
        retransmission did its work.";
    const EXAMPLE: &'static str = "repaired: { block: 2, at-least: 10, at-most: 20 }";
}

impl Expectation for Repaired {
    fn monitor(&self, rule: &str, _: &Plan) -> Box<dyn Monitor> {
        Box::new(Watch { rule: rule.to_owned(), want: *self, resent: 0, done: false, events: Vec::new() })
    }
}

struct Watch {
    rule: String,
    want: Repaired,
    resent: u32,
    done: bool,
    events: Vec<u64>,
}

impl Monitor for Watch {
    fn rule(&self) -> &str {
        &self.rule
    }

    fn on_event(&mut self, event: &Event) {
        let Fact::BlockDone { block, resent, .. } = event.fact else { return };
        if self.want.block.is_none_or(|want| want == block) {
            self.done = true;
            self.resent = self.resent.saturating_add(resent);
            if resent > 0 {
                cite(&mut self.events, event.seq);
            }
        }
    }

    fn close(&self, _: &Plan) -> Finding {
        let most = self.want.at_most.unwrap_or(u32::MAX);
        let (conclusion, text) = if !self.done {
            (Conclusion::Broken, "the block was never finished".to_owned())
        } else if (self.want.at_least..=most).contains(&self.resent) {
            (Conclusion::Holds, format!("{} chunks sent again", self.resent))
        } else {
            let most = self.want.at_most.map_or_else(String::new, |most| format!(" to {most}"));
            (Conclusion::Broken, format!("{} chunks sent again, {}{most} expected", self.resent, self.want.at_least))
        };
        Finding { rule: self.rule.clone(), conclusion, text, events: self.events.clone() }
    }
}
