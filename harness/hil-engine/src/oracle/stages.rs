//! Oracle 7: a campaign never starts stage n+1 with stage n under its threshold or before its soak ended; a pause always
//! alerts.
//!
//! The campaign's own numbers are not taken for granted: the confirmed nodes of a stage are counted again from what the
//! gateways heard (confirmations and reports) and from the image that each node was last seen to start. Threshold is
//! confirmed over targeted, in permille, targeted being every node addressed in the stage. The soak must be as long as
//! the policy says. The only exemption is an operator's `resume`, and it holds for the stage that paused.
//!
//! A pause alerts within [`ALERT_WITHIN`], or once MeshOS is up again when it went down meanwhile.

use super::tally::{Tally, many};
use super::{Context, Rule, RuleInfo};
use hil_model::{CampaignPolicy, Event, Fact, Finding, NodeId, OperatorOrder, Span, StageIndex, Time, Version};
use std::collections::{BTreeMap, BTreeSet};

/// Longest time from a pause to its alert.
const ALERT_WITHIN: Span = Span::secs(60);

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "oracle-7",
    invariant: "no stage starts before the one before it reached its threshold and its soak ended; a pause always alerts",
    needs: &[],
    make: |context: &Context| Box::new(Stages { policy: context.policy.clone(), ..Stages::default() }),
};

#[derive(Debug, Default)]
struct Stage {
    nodes: Vec<NodeId>,
    /// End of the soak as announced.
    soak_until: Option<Time>,
    passed: bool,
    overridden: bool,
}

#[derive(Debug, Default)]
struct Node {
    /// A gateway heard it on the new version.
    heard: bool,
    /// Version it was last seen to start.
    runs: Option<Version>,
}

/// A pause whose alert is waited for.
#[derive(Debug, Clone, Copy)]
struct Pause {
    seq: u64,
    at: Time,
    /// MeshOS went down since.
    excused: bool,
}

#[derive(Default)]
struct Stages {
    policy: Option<CampaignPolicy>,
    version: Option<Version>,
    permille: u64,
    announced: u8,
    /// Nodes addressed by the campaign.
    targets: u16,
    stages: BTreeMap<StageIndex, Stage>,
    nodes: BTreeMap<NodeId, Node>,
    paused_in: Option<StageIndex>,
    alerts_at: BTreeSet<Time>,
    pause: Option<Pause>,
    tally: Tally,
}

impl Stages {
    /// Nodes of a stage that are on the new version, by independent witnesses.
    fn witnessed(&self, stage: &Stage) -> usize {
        let on_new =
            |id: &&NodeId| self.nodes.get(id).is_some_and(|n| n.heard && (n.runs.is_none() || n.runs == self.version));
        stage.nodes.iter().filter(on_new).count()
    }

    fn enough(&self, confirmed: u64, targeted: u64) -> bool {
        confirmed * 1_000 >= self.permille * targeted
    }

    fn on_stage_started(&mut self, event: &Event, stage: StageIndex, nodes: &[NodeId]) {
        if self.stages.contains_key(&stage) {
            return;
        }
        self.tally.check();
        let before = stage.0.checked_sub(1).filter(|n| *n > 0).map(StageIndex);
        if let Some(why) = before.and_then(|before| self.not_ready(before, event.at)) {
            self.tally.broken(event.seq, format!("stage {} started although {why}", stage.0));
        }
        self.stages.insert(stage, Stage { nodes: nodes.to_vec(), ..Stage::default() });
    }

    /// Why the stage after this one may not start yet.
    fn not_ready(&self, before: StageIndex, now: Time) -> Option<String> {
        let n = before.0;
        let Some(stage) = self.stages.get(&before) else { return Some(format!("stage {n} never started")) };
        if stage.overridden {
            return None;
        }
        if !stage.passed {
            return Some(format!("stage {n} was not passed"));
        }
        match stage.soak_until {
            Some(until) if now < until => return Some(format!("the soak of stage {n} ends only at {until}")),
            None if self.soak(before) > Span::ZERO => return Some(format!("stage {n} had no soak")),
            Some(_) | None => {}
        }
        let (confirmed, targeted) = (self.witnessed(stage), stage.nodes.len());
        (!self.enough(confirmed as u64, targeted as u64))
            .then(|| format!("witnesses find {confirmed} of {targeted} nodes of stage {n} confirmed"))
    }

    fn on_passed(&mut self, event: &Event, index: StageIndex, confirmed: u16, targeted: u16, overridden: bool) {
        self.tally.check();
        let resumed = self.stages.get(&index).is_some_and(|stage| stage.overridden);
        if overridden && !resumed {
            let text = format!("stage {} passed by an override that no operator gave", index.0);
            self.tally.broken(event.seq, text);
        }
        if !resumed && !self.enough(u64::from(confirmed), u64::from(targeted)) {
            let text = format!(
                "stage {} passed with {confirmed} of {targeted} nodes, threshold {} permille",
                index.0, self.permille
            );
            self.tally.broken(event.seq, text);
        }
        if let Some(stage) = self.stages.get(&index) {
            if stage.nodes.len() != usize::from(targeted) {
                let text = format!("stage {} counts {targeted} nodes, {} were addressed", index.0, stage.nodes.len());
                self.tally.broken(event.seq, text);
            }
            let seen = self.witnessed(stage);
            if !resumed && !self.enough(seen as u64, stage.nodes.len() as u64) {
                let text = format!("stage {} passed, but witnesses find {seen} of {targeted} nodes confirmed", index.0);
                self.tally.broken(event.seq, text);
            }
        }
        self.stages.entry(index).or_default().passed = true;
    }

    /// Soak of a stage by the policy; zero where the policy is not known.
    fn soak(&self, stage: StageIndex) -> Span {
        let place = usize::from(stage.0).wrapping_sub(1);
        self.policy.as_ref().and_then(|policy| policy.stages.get(place)).map_or(Span::ZERO, |stage| stage.soak)
    }

    fn on_soak(&mut self, event: &Event, index: StageIndex, until: Time) {
        let wanted = self.soak(index);
        if until.since(event.at) < wanted {
            let text = format!("the soak of stage {} is announced until {until}, {wanted} are due", index.0);
            self.tally.broken(event.seq, text);
        }
        self.stages.entry(index).or_default().soak_until = Some(until);
    }

    fn on_pause(&mut self, event: &Event, stage: StageIndex) {
        self.close_pause();
        self.paused_in = Some(stage);
        self.tally.check();
        // An alert of the same instant may stand before the pause in the ledger.
        if !self.alerts_at.contains(&event.at) {
            self.pause = Some(Pause { seq: event.seq, at: event.at, excused: false });
        }
    }

    /// The pause before this one, or the last: its alert did not come.
    fn close_pause(&mut self) {
        if let Some(pause) = self.pause.take() {
            self.tally.broken(pause.seq, "the campaign paused and sent no alert".to_owned());
        }
    }

    fn on_alert(&mut self, event: &Event) {
        self.alerts_at.insert(event.at);
        if let Some(pause) = self.pause.take() {
            let took = event.at.since(pause.at);
            if took > ALERT_WITHIN && !pause.excused {
                self.tally.broken(pause.seq, format!("the alert of this pause came after {} s", took.as_secs()));
            }
        }
    }

    fn on_end(&mut self, event: &Event) {
        // A fleet smaller than the policy leaves the last stages without a node: those are never opened.
        let passed = self.stages.values().filter(|stage| stage.passed).count();
        let addressed: usize = self.stages.values().filter(|stage| stage.passed).map(|stage| stage.nodes.len()).sum();
        if passed < usize::from(self.announced) && addressed < usize::from(self.targets) {
            let text = format!("the campaign ended as completed with {passed} of {} stages passed", self.announced);
            self.tally.broken(event.seq, text);
        }
    }
}

impl Rule for Stages {
    fn on_event(&mut self, event: &Event) {
        match &event.fact {
            Fact::CampaignStarted { version, success_permille, stages, targets, .. } => {
                self.version = Some(*version);
                self.permille = u64::from(*success_permille);
                self.announced = *stages;
                self.targets = *targets;
                self.tally.check();
                if let Some(policy) = self.policy.as_ref().filter(|p| p.success_permille != *success_permille) {
                    let text = format!(
                        "the campaign takes {success_permille} permille for its threshold, not {}",
                        policy.success_permille
                    );
                    self.tally.broken(event.seq, text);
                }
            }
            Fact::StageStarted { stage, nodes } => self.on_stage_started(event, *stage, nodes),
            Fact::SoakStarted { stage, until, .. } => self.on_soak(event, *stage, *until),
            Fact::StagePassed { stage, confirmed, targeted, overridden } => {
                self.on_passed(event, *stage, *confirmed, *targeted, *overridden);
            }
            Fact::CampaignPaused { stage, .. } => self.on_pause(event, *stage),
            Fact::Alert { .. } => self.on_alert(event),
            Fact::MeshosDown => {
                if let Some(pause) = &mut self.pause {
                    pause.excused = true;
                }
            }
            Fact::OperatorActed { order: OperatorOrder::Resume } => {
                if let Some(stage) = self.paused_in.take() {
                    self.stages.entry(stage).or_default().overridden = true;
                }
            }
            Fact::CampaignEnded { completed: true } => self.on_end(event),
            Fact::ImageStarted { version, .. } => {
                if let Some(id) = event.about.node() {
                    self.nodes.entry(id).or_default().runs = *version;
                }
            }
            Fact::ConfirmationHeard { version, .. } | Fact::ReportHeard { running: version, .. } => {
                if let Some(id) = event.about.node() {
                    self.nodes.entry(id).or_default().heard |= self.version == Some(*version);
                }
            }
            _ => {}
        }
    }

    fn close(mut self: Box<Self>) -> Finding {
        self.close_pause();
        let holds = match self.tally.checks() {
            0 => "no campaign".to_owned(),
            _ => format!(
                "{}, none opened before the one before it had passed and soaked; every pause alerted",
                many(self.stages.len() as u64, "stage")
            ),
        };
        self.tally.close(INFO.name, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use hil_model::record::Conclusion::{self, Broken, Holds};
    use hil_model::{Fact, OperatorOrder, StageIndex};
    use rstest::rstest;

    /// Stage 1 of 100 nodes, `confirmed` of them heard; soak of 600 s from 200 s on.
    fn stage_of_100(confirmed: u16) -> Script {
        let mut script = Script::healthy(101);
        script.at(50).campaign(101).stage(1, 1..=100);
        for node in 1..=confirmed {
            script.at(100).image(node, NEW, true).confirmed(node);
        }
        script.at(200).soak(1, 800, confirmed, 100);
        script
    }

    #[rstest]
    #[case(94, Broken)]
    #[case(95, Holds)]
    #[case(96, Holds)]
    fn ninety_five_of_a_hundred_open_the_next_stage(#[case] confirmed: u16, #[case] want: Conclusion) {
        let mut script = stage_of_100(confirmed);
        script.at(800).passed(1, confirmed, 100, false).stage(2, 101..=101);
        assert_eq!(script.finding("oracle-7").conclusion, want);
    }

    #[test]
    fn a_count_that_witnesses_do_not_share_breaks_it() {
        let mut script = stage_of_100(94);
        script.at(800).passed(1, 95, 100, false);
        assert_eq!(script.finding("oracle-7").conclusion, Broken);
        // A node that confirmed and rolled back does not count either.
        let mut script = stage_of_100(95);
        script.at(300).image(7, OLD, false).at(800).passed(1, 95, 100, false);
        assert_eq!(script.finding("oracle-7").conclusion, Broken);
    }

    #[rstest]
    #[case::at_its_end(800, Holds)]
    #[case::a_second_early(799, Broken)]
    fn the_soak_is_waited_for(#[case] at: u64, #[case] want: Conclusion) {
        let mut script = stage_of_100(100);
        script.at(at).passed(1, 100, 100, false).stage(2, 101..=101);
        assert_eq!(script.finding("oracle-7").conclusion, want);
    }

    #[test]
    fn a_soak_shorter_than_the_policy_breaks_it() {
        let mut script = Script::healthy(1);
        script.at(50).campaign(1).stage(1, 1..=1).at(100).image(1, NEW, true).confirmed(1).soak(1, 699, 1, 1);
        assert_eq!(script.finding("oracle-7").conclusion, Broken);
    }

    #[rstest]
    #[case::by_the_operator(true, Holds)]
    #[case::by_itself(false, Broken)]
    fn only_an_operator_may_override(#[case] operator: bool, #[case] want: Conclusion) {
        let mut script = stage_of_100(94);
        script.at(800).paused(1, 94, 100).alert();
        if operator {
            script.at(900).campaign_fact(Fact::OperatorActed { order: OperatorOrder::Resume });
        }
        script.at(900).passed(1, 94, 100, true).stage(2, 101..=101);
        assert_eq!(script.finding("oracle-7").conclusion, want);
    }

    #[test]
    fn an_override_holds_for_the_stage_that_paused_only() {
        let mut script = stage_of_100(94);
        script.at(800).paused(1, 94, 100).alert();
        script.at(900).campaign_fact(Fact::OperatorActed { order: OperatorOrder::Resume });
        script.passed(1, 94, 100, true).stage(2, 101..=101).at(950).soak(2, 1550, 0, 1);
        script.at(1550).passed(2, 0, 1, true);
        assert_eq!(script.finding("oracle-7").conclusion, Broken);
    }

    #[rstest]
    #[case::at_once(Some(0), Holds)]
    #[case::within_a_minute(Some(60), Holds)]
    #[case::later(Some(61), Broken)]
    #[case::never(None, Broken)]
    fn a_pause_alerts(#[case] after: Option<u64>, #[case] want: Conclusion) {
        let mut script = stage_of_100(94);
        script.at(800).paused(1, 94, 100);
        if let Some(after) = after {
            script.at(800 + after).alert();
        }
        assert_eq!(script.finding("oracle-7").conclusion, want);
    }

    #[test]
    fn an_alert_of_the_same_instant_may_come_first() {
        let mut script = stage_of_100(94);
        script.at(800).alert().paused(1, 94, 100);
        assert_eq!(script.finding("oracle-7").conclusion, Holds);
    }

    #[test]
    fn a_campaign_is_complete_when_every_stage_passed() {
        let mut script = stage_of_100(100);
        script.at(800).passed(1, 100, 100, false).campaign_fact(Fact::CampaignEnded { completed: true });
        assert_eq!(script.finding("oracle-7").conclusion, Broken, "two stages were announced");
        let mut script = stage_of_100(100);
        script.at(800).passed(1, 100, 100, false).stage(2, 101..=101);
        script.at(900).image(101, NEW, true).confirmed(101).soak(2, 1500, 1, 1);
        script.at(1500).passed(2, 1, 1, false).campaign_fact(Fact::CampaignEnded { completed: true });
        assert_eq!(script.finding("oracle-7").conclusion, Holds);
        assert_eq!(StageIndex(1).0, 1);
    }
}
