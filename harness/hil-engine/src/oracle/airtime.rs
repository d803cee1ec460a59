//! Oracle 8: DFU airtime over any one-second window stays within the throttle; live traffic stays within its latency
//! budget.
//!
//! Evidence: the radio's own count of originated data PDUs with their estimated relay copies (`AirUse`), the busiest
//! second of every interval against throttle plus bucket depth; and the throttle itself against the policy. Latency of
//! lighting scenes is judged where it was measured, at a throttle up to [`JUDGED_UP_TO_PERMILLE`]; where the level of the
//! simulation draws it from a table it is no evidence, and the finding says so.

use super::tally::{Tally, many};
use super::{Context, Rule, RuleInfo};
use hil_model::{Capability, Event, Fact, Finding};

/// 95th percentile of scene latency that live traffic is promised.
const P95_BUDGET_US: u32 = 250_000;
/// Highest throttle for which the promise is made.
const JUDGED_UP_TO_PERMILLE: u16 = 400;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "oracle-8",
    invariant: "DFU airtime over any second stays within the throttle; live traffic stays within its latency budget",
    needs: &[Capability::AirObserve],
    make: |context: &Context| {
        Box::new(AirTime { throttle: context.policy.as_ref().map(|p| p.throttle_permille), ..AirTime::default() })
    },
};

#[derive(Default)]
struct AirTime {
    /// Throttle of the policy.
    throttle: Option<u16>,
    /// Blocks were sent over the mesh: there must be reports of air use.
    blocks: u64,
    peak: u16,
    measured: u32,
    drawn: u32,
    tally: Tally,
}

impl Rule for AirTime {
    fn on_event(&mut self, event: &Event) {
        match &event.fact {
            Fact::BlockDone { .. } => self.blocks += 1,
            Fact::AirUse { peak_permille, throttle_permille, depth_permille, .. } => {
                self.tally.check();
                self.peak = self.peak.max(*peak_permille);
                let allowed = throttle_permille.saturating_add(*depth_permille);
                if *peak_permille > allowed {
                    let text =
                        format!("{}: {peak_permille} permille of a second on the air, {allowed} allowed", event.about);
                    self.tally.broken(event.seq, text);
                }
                if let Some(policy) = self.throttle.filter(|policy| policy < throttle_permille) {
                    let text =
                        format!("{}: throttled to {throttle_permille} permille, the policy says {policy}", event.about);
                    self.tally.broken(event.seq, text);
                }
            }
            Fact::SceneLatency { scenes, p95_us, measured: true, .. } => {
                self.measured += scenes;
                let judged = self.throttle.is_none_or(|throttle| throttle <= JUDGED_UP_TO_PERMILLE);
                if judged && *scenes > 0 && *p95_us > P95_BUDGET_US {
                    let text = format!("95 % of the lighting scenes took up to {} ms, 250 ms allowed", p95_us / 1_000);
                    self.tally.broken(event.seq, text);
                }
            }
            Fact::SceneLatency { scenes, measured: false, .. } => self.drawn += scenes,
            _ => {}
        }
    }

    fn close(mut self: Box<Self>) -> Finding {
        if self.tally.checks() == 0 && self.blocks > 0 {
            self.tally.unproven("blocks were sent, but nobody reported their air use".to_owned());
        }
        let latency = match (self.measured, self.drawn) {
            (0, 0) => "no lighting scene took place".to_owned(),
            (0, n) => format!("latency of {n} scenes not witnessed at this level of the simulation"),
            (n, _) => format!("{n} scenes within their latency budget"),
        };
        let holds = match self.tally.checks() {
            0 => format!("no firmware over the mesh; {latency}"),
            n => format!("{} of air use, at most {} permille in a second; {latency}", many(n, "report"), self.peak),
        };
        self.tally.close(INFO.name, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use hil_model::record::Conclusion::{self, Broken, Holds, Unproven};
    use rstest::rstest;

    #[rstest]
    #[case::below(400, 400, 50, Holds)]
    #[case::with_the_bucket(450, 400, 50, Holds)]
    #[case::above(451, 400, 50, Broken)]
    #[case::throttle_not_the_policys(300, 500, 50, Broken)]
    fn the_busiest_second_is_within_the_throttle(
        #[case] peak: u16,
        #[case] throttle: u16,
        #[case] depth: u16,
        #[case] want: Conclusion,
    ) {
        let mut script = Script::healthy(1);
        script.at(60).air_use(peak, throttle, depth);
        assert_eq!(script.finding("oracle-8").conclusion, want);
    }

    #[rstest]
    #[case::at_the_budget(250_000, true, Holds)]
    #[case::above(250_001, true, Broken)]
    #[case::drawn_from_a_table(900_000, false, Holds)]
    fn latency_is_judged_where_it_was_measured(#[case] p95: u32, #[case] measured: bool, #[case] want: Conclusion) {
        let mut script = Script::healthy(1);
        script.at(60).air_use(1, 400, 50).latency(p95, measured);
        let finding = script.finding("oracle-8");
        assert_eq!(finding.conclusion, want);
        assert_eq!(finding.text.contains("not witnessed"), !measured);
    }

    #[test]
    fn no_latency_is_promised_above_the_default_throttle() {
        let mut script = Script::healthy(1);
        script.policy(|policy| policy.throttle_permille = 1_000);
        script.at(60).air_use(900, 1_000, 0).latency(900_000, true);
        assert_eq!(script.finding("oracle-8").conclusion, Holds);
    }

    #[test]
    fn blocks_without_a_report_are_unproven() {
        let mut script = Script::healthy(1);
        script.at(60).block_done(0);
        assert_eq!(script.finding("oracle-8").conclusion, Unproven);
    }
}
