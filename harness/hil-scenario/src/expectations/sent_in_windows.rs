//! `sent-in-windows`: firmware was sent within the campaign's transmission windows only.

use super::{Documented, Expectation};
use crate::monitor::{Monitor, cite};
use crate::plan::Plan;
use hil_model::record::Conclusion;
use hil_model::{Event, Fact, Finding, Span, Time, Window};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SentInWindows {
    /// Least blocks that were sent, so that silence does not pass.
    #[serde(default = "one")]
    pub blocks: u32,
}

const fn one() -> u32 {
    1
}

impl Documented for SentInWindows {
    const MANUAL: &'static str = "Every BLOB block was finished within a transmission window of the campaign's local time \
        (with five seconds for its status round), and at least `blocks` were.";
    const EXAMPLE: &'static str = "sent-in-windows: { blocks: 16 }";
}

impl Expectation for SentInWindows {
    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        Box::new(Watch {
            rule: rule.to_owned(),
            least: self.blocks,
            windows: plan.policy.windows.clone(),
            start_minute: plan.policy.start_minute,
            blocks: 0,
            outside: Vec::new(),
        })
    }
}

/// The last chunk goes out in the window, the statuses after it may pass its end.
const STATUS_ROUND: Span = Span::secs(5);

struct Watch {
    rule: String,
    least: u32,
    windows: Vec<Window>,
    start_minute: u16,
    blocks: u32,
    outside: Vec<u64>,
}

impl Watch {
    fn inside(&self, at: Time) -> bool {
        const DAY: u64 = 24 * 60 * 60;
        let second = |minute: u16| u64::from(minute) * 60;
        let local = |time: Time| (Span(time.0).as_secs() + second(self.start_minute)) % DAY;
        let open = |time: Time| {
            let now = local(time);
            self.windows.iter().any(|window| {
                let (from, to) = (second(window.from_minute), second(window.to_minute));
                if from < to { (from..to).contains(&now) } else { now >= from || now < to }
            })
        };
        self.windows.is_empty() || open(at) || open(at - STATUS_ROUND)
    }
}

impl Monitor for Watch {
    fn rule(&self) -> &str {
        &self.rule
    }

    fn on_event(&mut self, event: &Event) {
        if let Fact::BlockDone { .. } = event.fact {
            self.blocks = self.blocks.saturating_add(1);
            if !self.inside(event.at) {
                cite(&mut self.outside, event.seq);
            }
        }
    }

    fn close(&self, _: &Plan) -> Finding {
        let (conclusion, text) = if !self.outside.is_empty() {
            (Conclusion::Broken, "a block was sent outside the windows".to_owned())
        } else if self.blocks < self.least {
            (Conclusion::Broken, format!("{} blocks sent, at least {} expected", self.blocks, self.least))
        } else {
            (Conclusion::Holds, format!("{} blocks, all within the windows", self.blocks))
        };
        Finding { rule: self.rule.clone(), conclusion, text, events: self.outside.clone() }
    }
}
