//! Oracle 5: a rejected node shows no error state, no partial write visible to boot, and no extra reboot.
//!
//! Which nodes: those that the campaign counts as rejected in the end, and those whose own last word on an update was a
//! refusal where no campaign counts them. Evidence, from reset lines and probe: no crash, no lockup, no watchdog after
//! the campaign began; no reset at all when the metadata or the staged image was refused, exactly the one software
//! reset that Apply asked for when the bootloader refused; bank A at the end as it was at the start; and, where only
//! metadata was ever refused, no flash operation in either slot. Resets by power or pin are the harness's doing.

use super::tally::{Tally, many};
use super::{Context, Rule, RuleInfo};
use hil_model::fact::{BootVerdict, FlashUse, Outcome, OutcomeClass, RefusalLayer, ResetCause, UpdatePhase};
use hil_model::{BankArea, Capability, Digest, Event, Fact, Finding, NodeId};
use std::collections::BTreeMap;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "oracle-5",
    invariant: "a rejected node shows no error state, no partial write visible to boot, and no extra reboot",
    needs: &[Capability::ProbeRead],
    make: |_: &Context| Box::new(Rejection::default()),
};

#[derive(Debug, Default)]
struct State {
    /// How the campaign counts it.
    outcome: Option<OutcomeClass>,
    /// Deepest layer that refused; the node's last word on an update.
    refused: Option<RefusalLayer>,
    /// Metadata was accepted at least once.
    accepted: bool,
    first_a: Option<Digest>,
    last_a: Option<(u64, Digest)>,
    meddled: bool,
    software: Vec<u64>,
    errors: Vec<(u64, &'static str)>,
    slot_use: Option<u64>,
}

impl State {
    fn rejected(&self) -> bool {
        match self.outcome {
            Some(class) => class == OutcomeClass::Rejected,
            None => self.refused.is_some(),
        }
    }

    fn on_refusal(&mut self, fact: &Fact) {
        match fact {
            Fact::MetadataDelivered { accepted: true, .. } => {
                self.accepted = true;
                self.refused = None;
            }
            Fact::MetadataDelivered { accepted: false, .. } => {
                self.refused = self.refused.max(Some(RefusalLayer::UpdateStart));
            }
            Fact::UpdatePhase { phase: UpdatePhase::VerificationFailed, .. } => {
                self.refused = self.refused.max(Some(RefusalLayer::Verifying));
            }
            Fact::BootDecided { verdict: BootVerdict::Rejected, .. } => self.refused = Some(RefusalLayer::Boot),
            Fact::BootDecided { verdict: BootVerdict::Trial, .. } => self.refused = None,
            Fact::NodeOutcome { outcome, .. } => self.outcome = Some(Outcome::class(outcome)),
            _ => {}
        }
    }
}

#[derive(Default)]
struct Rejection {
    nodes: BTreeMap<NodeId, State>,
    campaign: bool,
    readings: u64,
    tally: Tally,
}

impl Rule for Rejection {
    fn on_event(&mut self, event: &Event) {
        if let Fact::CampaignStarted { .. } | Fact::DistributionStarted { .. } = event.fact {
            self.campaign = true;
        }
        let Some(node) = event.about.node() else { return };
        let state = self.nodes.entry(node).or_default();
        state.on_refusal(&event.fact);
        match &event.fact {
            Fact::Banks { a, use_slot0, use_slot1, .. } => {
                self.readings += 1;
                state.first_a.get_or_insert(a.digest);
                state.last_a = Some((event.seq, a.digest));
                if self.campaign && (FlashUse::any(*use_slot0) || FlashUse::any(*use_slot1)) {
                    state.slot_use.get_or_insert(event.seq);
                }
            }
            Fact::Reset { cause, .. } if self.campaign => match cause {
                ResetCause::Software => state.software.push(event.seq),
                ResetCause::Watchdog => state.errors.push((event.seq, "was reset by its watchdog")),
                ResetCause::Lockup => state.errors.push((event.seq, "locked up")),
                ResetCause::PowerOn | ResetCause::Pin => {}
            },
            Fact::Crashed if self.campaign => state.errors.push((event.seq, "crashed")),
            Fact::ProbeWrote { area, .. } => state.meddled |= *area == BankArea::A,
            _ => {}
        }
    }

    fn close(mut self: Box<Self>) -> Finding {
        let tally = &mut self.tally;
        for (node, state) in self.nodes.iter().filter(|(_, state)| state.rejected()) {
            tally.check();
            for (seq, what) in &state.errors {
                tally.broken(*seq, format!("{node} rejected the update and {what}"));
            }
            let allowed = usize::from(state.refused == Some(RefusalLayer::Boot));
            if let Some(seq) = state.software.get(allowed) {
                let text = format!("{node} rejected the update with {} resets, {allowed} due", state.software.len());
                tally.broken(*seq, text);
            }
            match (state.first_a, state.last_a) {
                (Some(first), Some((seq, last))) if first != last && !state.meddled => {
                    tally.broken(seq, format!("{node} rejected the update, but its running bank changed"));
                }
                (Some(_), Some(_)) => {}
                (None, _) | (_, None) => tally.unproven(format!("{node}: its banks were not read")),
            }
            let start_only = state.refused == Some(RefusalLayer::UpdateStart) && !state.accepted;
            if let (true, Some(seq)) = (start_only, state.slot_use) {
                tally.broken(seq, format!("{node} refused the metadata and yet wrote to a slot"));
            }
        }
        let holds = match tally.checks() {
            0 => "no node rejected an update".to_owned(),
            n => format!("{} rejected without error, partial write or extra reboot", many(n, "node")),
        };
        self.tally.close(INFO.name, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use hil_model::fact::{BootVerdict, Moment, Outcome, RefusalLayer, ResetCause};
    use hil_model::record::Conclusion::{self, Broken, Holds, Unproven};
    use rstest::rstest;

    fn rejected(layer: RefusalLayer) -> Script {
        let mut script = Script::healthy(2);
        script.at(50).campaign(2).refuse(1, layer).outcome(1, Outcome::Rejected("x".to_owned()));
        script
    }

    #[rstest]
    #[case::at_start(RefusalLayer::UpdateStart, 0, Holds)]
    #[case::at_start_with_reset(RefusalLayer::UpdateStart, 1, Broken)]
    #[case::verifying(RefusalLayer::Verifying, 0, Holds)]
    #[case::verifying_with_reset(RefusalLayer::Verifying, 1, Broken)]
    #[case::boot(RefusalLayer::Boot, 0, Holds)] // `refuse` makes the one reset of Apply
    #[case::boot_with_another(RefusalLayer::Boot, 1, Broken)]
    fn only_the_boot_layer_costs_a_reset(#[case] layer: RefusalLayer, #[case] more: u32, #[case] want: Conclusion) {
        let mut script = rejected(layer);
        for _ in 0..more {
            script.at(90).reset(1, ResetCause::Software).boot(1, BootVerdict::Normal, "").image(1, OLD, false);
        }
        assert_eq!(script.finding("oracle-5").conclusion, want);
    }

    #[rstest]
    #[case(ResetCause::Watchdog, Broken)]
    #[case(ResetCause::Lockup, Broken)]
    #[case(ResetCause::PowerOn, Holds)]
    #[case(ResetCause::Pin, Holds)]
    fn the_harness_may_reset_but_the_node_may_not_fall(#[case] cause: ResetCause, #[case] want: Conclusion) {
        let mut script = rejected(RefusalLayer::Verifying);
        script.at(90).reset(1, cause).image(1, OLD, false);
        assert_eq!(script.finding("oracle-5").conclusion, want);
    }

    #[test]
    fn a_changed_bank_breaks_it() {
        let mut script = rejected(RefusalLayer::Verifying);
        script.final_bank(1, NEW);
        assert_eq!(script.finding("oracle-5").conclusion, Broken);
    }

    #[rstest]
    #[case(RefusalLayer::UpdateStart, Broken)]
    #[case(RefusalLayer::Verifying, Holds)]
    fn refused_metadata_means_no_write_at_all(#[case] layer: RefusalLayer, #[case] want: Conclusion) {
        let mut script = rejected(layer);
        script.at(90).slot_written(1, Moment::Asked);
        assert_eq!(script.finding("oracle-5").conclusion, want);
    }

    #[test]
    fn a_node_that_updated_after_a_refusal_is_not_a_rejected_node() {
        let mut script = Script::healthy(1);
        script.at(50).campaign(1).refuse(1, RefusalLayer::Verifying);
        script.update(1);
        script.outcome(1, Outcome::Updated);
        assert_eq!(script.finding("oracle-5").conclusion, Holds);
    }

    #[test]
    fn a_rejection_that_nobody_witnessed_is_unproven() {
        let mut script = Script::blind(1);
        script.at(50).campaign(1).outcome(1, Outcome::Rejected("x".to_owned()));
        assert_eq!(script.finding("oracle-5").conclusion, Unproven);
    }
}
