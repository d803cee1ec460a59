//! `airtime`: what firmware took of the channel.

use super::{Documented, Expectation};
use crate::monitor::{Monitor, cite};
use crate::plan::Plan;
use crate::scalars::Percent;
use hil_model::record::Conclusion;
use hil_model::{Event, Fact, Finding};
use schemars::JsonSchema;
use serde::Deserialize;

/// The expectation.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Airtime {
    /// Most data air time in any one second, beside the bucket's depth; the campaign's throttle when left out.
    #[serde(default)]
    pub at_most: Option<Percent>,
    /// Least data air time in the busiest second: the throttle is used, not only kept.
    #[serde(default)]
    pub at_least: Option<Percent>,
}

impl Documented for Airtime {
    const MANUAL: &'static str = "In no second did firmware data, with their estimated relay copies, take more of the \
        channel than the throttle and the bucket's depth allow; with `at-least`, the busiest second took so much, so that \
        a throttle that is merely never reached does not pass. Rests on the rack's own count of PDUs, and is unproven \
        where no data were sent.";
    const EXAMPLE: &'static str = "airtime: { at-most: 20 %, at-least: 15 % }";
}

impl Expectation for Airtime {
    fn monitor(&self, rule: &str, plan: &Plan) -> Box<dyn Monitor> {
        let most = self.at_most.map_or(plan.policy.throttle_permille, |share| share.0);
        Box::new(Watch {
            rule: rule.to_owned(),
            most,
            least: self.at_least.map_or(0, |share| share.0),
            peak: None,
            over: Vec::new(),
        })
    }
}

struct Watch {
    rule: String,
    most: u16,
    least: u16,
    peak: Option<(u16, u64)>,
    over: Vec<u64>,
}

impl Monitor for Watch {
    fn rule(&self) -> &str {
        &self.rule
    }

    fn on_event(&mut self, event: &Event) {
        let Fact::AirUse { data_pdus, peak_permille, depth_permille, .. } = event.fact else { return };
        if data_pdus == 0 {
            return;
        }
        if self.peak.is_none_or(|(peak, _)| peak_permille > peak) {
            self.peak = Some((peak_permille, event.seq));
        }
        if peak_permille > self.most.saturating_add(depth_permille) {
            cite(&mut self.over, event.seq);
        }
    }

    fn close(&self, _: &Plan) -> Finding {
        let (conclusion, text, events) = match self.peak {
            None => (Conclusion::Unproven, "no firmware data were seen on the air".to_owned(), Vec::new()),
            Some((peak, _)) if !self.over.is_empty() => {
                let text = format!("{peak} permille of a second taken; {} allowed", self.most);
                (Conclusion::Broken, text, self.over.clone())
            }
            Some((peak, seq)) if peak < self.least => {
                let text = format!("only {peak} permille in the busiest second; {} expected", self.least);
                (Conclusion::Broken, text, vec![seq])
            }
            Some((peak, seq)) => {
                (Conclusion::Holds, format!("at most {peak} permille of any second taken"), vec![seq])
            }
        };
        Finding { rule: self.rule.clone(), conclusion, text, events }
    }
}
