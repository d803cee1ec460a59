//! Oracle 9: what the campaign says of a node is what an independent witness finds on it once things are quiet.
//!
//! The campaign's last word per node against the image that the core was last seen to start and the running bank as
//! read at the end. `updated`: the candidate, valid. `rolled back`: the old image, and a trial was seen. `rejected`: the
//! old image. `failed`: not the candidate, or the campaign hides an update; but a node whose new image answered and was not
//! confirmed may run it, where no other image was left to go back to. `unreachable`: the campaign says that it does
//! not know, so nothing is compared. A completed campaign has a word for every node it staged.
//!
//! A run cut short at its deadline was not quiet: what differs then is unproven.

use super::tally::Tally;
use super::{Context, Rule, RuleInfo};
use hil_model::fact::{Moment, Outcome, UpdatePhase};
use hil_model::{BankState, Capability, Digest, Event, Fact, Finding, ImageCheck, NodeId};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "oracle-9",
    invariant: "what the campaign says of a node is what an independent witness finds on it once things are quiet",
    needs: &[Capability::ProbeRead],
    make: |context: &Context| {
        Box::new(WordsAndDeeds {
            running: context.running,
            candidate: context.candidate,
            staged: BTreeSet::new(),
            nodes: BTreeMap::new(),
            completed: None,
            timed_out: false,
            tally: Tally::default(),
        })
    },
};

#[derive(Debug, Default)]
struct State {
    said: Option<(u64, Outcome)>,
    runs: Option<Digest>,
    tried: bool,
    bank: Option<BankState>,
    /// A slot held a valid image of another version at the end.
    way_back: bool,
}

struct WordsAndDeeds {
    running: Digest,
    candidate: Option<Digest>,
    staged: BTreeSet<NodeId>,
    nodes: BTreeMap<NodeId, State>,
    completed: Option<u64>,
    timed_out: bool,
    tally: Tally,
}

impl WordsAndDeeds {
    /// What a witness finds that contradicts the campaign's word.
    fn contradiction(&self, state: &State, said: &Outcome, runs: Digest) -> Option<String> {
        let on_candidate = self.candidate == Some(runs);
        let on_old = self.running == runs;
        let found = if on_candidate {
            "the candidate".to_owned()
        } else if on_old {
            "the old image".to_owned()
        } else {
            format!("image {}", runs.short())
        };
        match said {
            Outcome::Updated if !on_candidate => Some(format!("it runs {found}")),
            Outcome::Updated => match state.bank {
                Some(bank) if bank.check != ImageCheck::Valid => Some(format!("its running bank is {:?}", bank.check)),
                Some(_) | None => None,
            },
            Outcome::RolledBack if !on_old => Some(format!("it runs {found}")),
            Outcome::RolledBack if !state.tried => Some("it never started a trial".to_owned()),
            Outcome::Rejected(_) if !on_old => Some(format!("it runs {found}")),
            Outcome::Failed(UpdatePhase::ApplySuccess) if on_candidate && !state.way_back => None,
            Outcome::Failed(_) if on_candidate && !on_old => Some("it runs the candidate".to_owned()),
            Outcome::RolledBack | Outcome::Rejected(_) | Outcome::Failed(_) | Outcome::Unreachable => None,
        }
    }
}

impl Rule for WordsAndDeeds {
    fn on_event(&mut self, event: &Event) {
        match &event.fact {
            Fact::StageStarted { nodes, .. } => self.staged.extend(nodes),
            Fact::CampaignEnded { completed } => self.completed = completed.then_some(event.seq),
            Fact::RunEnded { timed_out } => self.timed_out = *timed_out,
            Fact::DistributionStarted { image, .. } => {
                self.candidate.get_or_insert(*image);
            }
            _ => {}
        }
        let Some(node) = event.about.node() else { return };
        let state = self.nodes.entry(node).or_default();
        match &event.fact {
            Fact::NodeOutcome { outcome, .. } => state.said = Some((event.seq, outcome.clone())),
            Fact::ImageStarted { digest, trial, .. } => {
                state.runs = Some(*digest);
                state.tried |= trial;
            }
            Fact::Banks { moment: Moment::Final, a, slot0, slot1, .. } => {
                state.bank = Some(*a);
                let other = |slot: &&BankState| slot.check == ImageCheck::Valid && slot.version != a.version;
                state.way_back = [slot0, slot1].iter().any(other);
            }
            _ => {}
        }
    }

    fn close(mut self: Box<Self>) -> Finding {
        let mut tally = core::mem::take(&mut self.tally);
        for (node, state) in &self.nodes {
            let Some((seq, said)) = &state.said else { continue };
            tally.check();
            if matches!(said, Outcome::Unreachable) {
                continue;
            }
            let Some(runs) = state.runs else {
                tally.unproven(format!("{node}: no witness saw what it runs"));
                continue;
            };
            if let Some(found) = self.contradiction(state, said, runs) {
                let text = format!("the campaign says that {node} is {}, but {found}", hil_model::words::outcome(said));
                if self.timed_out { tally.unproven(text) } else { tally.broken(*seq, text) }
            }
        }
        if let Some(seq) = self.completed {
            let said = |id: &&NodeId| self.nodes.get(id).is_none_or(|state| state.said.is_none());
            for node in self.staged.iter().filter(said) {
                tally.broken(seq, format!("the campaign is complete and has no word on {node}"));
            }
        }
        let holds = match tally.checks() {
            0 => "the campaign said nothing of any node".to_owned(),
            1 => "the one node counted is what the campaign says of it".to_owned(),
            n => format!("{n} nodes are what the campaign says of them"),
        };
        tally.close(INFO.name, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use hil_model::fact::{Outcome, ResetCause, UpdatePhase};
    use hil_model::record::Conclusion::{self, Broken, Holds, Unproven};
    use hil_model::{Fact, ImageCheck};
    use rstest::rstest;

    fn rejected() -> Outcome {
        Outcome::Rejected("update rejected - migration required".to_owned())
    }

    #[rstest]
    #[case::updated(NEW, Outcome::Updated, Holds)]
    #[case::updated_but_old(OLD, Outcome::Updated, Broken)]
    #[case::updated_but_something_else(0x77, Outcome::Updated, Broken)]
    #[case::rejected(OLD, rejected(), Holds)]
    #[case::rejected_but_new(NEW, rejected(), Broken)]
    #[case::failed(OLD, Outcome::Failed(UpdatePhase::TransferError), Holds)]
    #[case::failed_but_new(NEW, Outcome::Failed(UpdatePhase::TransferError), Broken)]
    #[case::unreachable(NEW, Outcome::Unreachable, Holds)]
    fn the_word_is_compared_with_what_runs(#[case] runs: u8, #[case] said: Outcome, #[case] want: Conclusion) {
        let mut script = Script::healthy(2);
        script.at(50).campaign(2).at(100).image(1, runs, false).outcome(1, said);
        assert_eq!(script.finding("oracle-9").conclusion, want);
    }

    #[rstest]
    #[case::after_a_trial(true, Holds)]
    #[case::without_one(false, Broken)]
    fn a_roll_back_needs_a_trial(#[case] trial: bool, #[case] want: Conclusion) {
        let mut script = Script::healthy(1);
        script.at(50).campaign(1);
        if trial {
            script.at(100).image(1, NEW, true).at(230).reset(1, ResetCause::Watchdog);
        }
        script.at(240).image(1, OLD, false).outcome(1, Outcome::RolledBack);
        assert_eq!(script.finding("oracle-9").conclusion, want);
    }

    /// The bootloader keeps an unconfirmed image for want of a golden one; then `failed` is the truth about it.
    #[rstest]
    #[case::nothing_to_go_back_to(ImageCheck::HashMismatch, UpdatePhase::ApplySuccess, Holds)]
    #[case::golden_was_sound(ImageCheck::Valid, UpdatePhase::ApplySuccess, Broken)]
    #[case::failed_before(ImageCheck::HashMismatch, UpdatePhase::TransferError, Broken)]
    fn an_unconfirmed_image_may_stay_where_golden_is_lost(
        #[case] golden: ImageCheck,
        #[case] phase: UpdatePhase,
        #[case] want: Conclusion,
    ) {
        let mut script = Script::healthy(1);
        script.at(50).campaign(1).at(100).image(1, NEW, true).at(230).image(1, NEW, false);
        script.outcome(1, Outcome::Failed(phase)).final_bank(1, NEW).final_golden(1, golden);
        assert_eq!(script.finding("oracle-9").conclusion, want);
    }

    #[test]
    fn only_the_last_word_counts() {
        let mut script = Script::healthy(1);
        script.at(50).campaign(1).at(100).image(1, NEW, true).outcome(1, Outcome::Updated);
        script.at(240).image(1, OLD, false).outcome(1, Outcome::RolledBack);
        assert_eq!(script.finding("oracle-9").conclusion, Holds);
    }

    #[test]
    fn an_updated_node_has_a_valid_bank() {
        let mut script = Script::healthy(1);
        script.at(50).campaign(1).at(100).image(1, NEW, true).outcome(1, Outcome::Updated);
        script.final_check(1, ImageCheck::BadSignature);
        assert_eq!(script.finding("oracle-9").conclusion, Broken);
    }

    #[test]
    fn a_complete_campaign_has_a_word_for_everyone() {
        let mut script = Script::healthy(2);
        script.at(50).campaign(2).stage(1, 1..=2).at(100).image(1, NEW, true).outcome(1, Outcome::Updated);
        assert_eq!(script.finding("oracle-9").conclusion, Holds);
        script.campaign_fact(Fact::CampaignEnded { completed: true });
        assert_eq!(script.finding("oracle-9").conclusion, Broken);
    }

    #[test]
    fn a_run_cut_short_was_not_quiet() {
        let mut script = Script::healthy(1);
        script.at(50).campaign(1).outcome(1, Outcome::Updated);
        script.timed_out();
        assert_eq!(script.finding("oracle-9").conclusion, Unproven);
    }

    #[test]
    fn a_word_without_a_witness_is_unproven() {
        let mut script = Script::blind(1);
        script.at(50).campaign(1).outcome(1, Outcome::Updated);
        assert_eq!(script.finding("oracle-9").conclusion, Unproven);
    }
}
