//! `scene-latency`: how quickly the lights obey while firmware is on the air.

use super::{Documented, Expectation};
use crate::monitor::{Monitor, cite};
use crate::plan::Plan;
use hil_model::record::Conclusion;
use hil_model::{Event, Fact, Finding, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SceneLatency {
    /// Largest 95th percentile of any interval.
    pub p95: Span,
    /// Most scenes missed, in all.
    #[serde(default)]
    pub missed: u32,
}

impl Documented for SceneLatency {
    const MANUAL: &'static str = "In every interval reported, 95 of 100 lighting scenes took effect within `p95`, and no \
        more than `missed` were missed in all. Only measured latency counts: where the air is simulated at link level it \
        is drawn from a table, and the expectation is unproven.";
    const EXAMPLE: &'static str = "scene-latency: { p95: 250 ms, missed: 1 }";
}

impl Expectation for SceneLatency {
    fn monitor(&self, rule: &str, _: &Plan) -> Box<dyn Monitor> {
        Box::new(Watch { rule: rule.to_owned(), want: *self, worst_us: 0, missed: 0, scenes: 0, events: Vec::new() })
    }
}

struct Watch {
    rule: String,
    want: SceneLatency,
    worst_us: u32,
    missed: u32,
    scenes: u32,
    events: Vec<u64>,
}

impl Monitor for Watch {
    fn rule(&self) -> &str {
        &self.rule
    }

    fn on_event(&mut self, event: &Event) {
        let Fact::SceneLatency { scenes, missed, p95_us, measured: true, .. } = event.fact else { return };
        self.scenes = self.scenes.saturating_add(scenes);
        self.missed = self.missed.saturating_add(missed);
        self.worst_us = self.worst_us.max(p95_us);
        if Span::micros(p95_us.into()) > self.want.p95 || missed > 0 {
            cite(&mut self.events, event.seq);
        }
    }

    fn close(&self, _: &Plan) -> Finding {
        let slow = Span::micros(self.worst_us.into()) > self.want.p95;
        let found = format!("p95 {} us over {} scenes, {} missed", self.worst_us, self.scenes, self.missed);
        let (conclusion, text) = if self.scenes == 0 {
            (Conclusion::Unproven, "no scene was measured".to_owned())
        } else if slow || self.missed > self.want.missed {
            (Conclusion::Broken, format!("{found}; {} and {} allowed", self.want.p95, self.want.missed))
        } else {
            (Conclusion::Holds, found)
        };
        Finding { rule: self.rule.clone(), conclusion, text, events: self.events.clone() }
    }
}
