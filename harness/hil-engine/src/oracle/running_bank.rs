//! Oracle 3: the running bank's bytes never change before a decision to swap.
//!
//! Evidence: probe readings of bank A at every hand-over between bootloader and application. From the hand-over
//! (`AfterBoot`) to the next reset (`BeforeBoot`) digest and operation counters of bank A must stand still: whatever the
//! application does, an update never touches what is running. During a boot they may change only where the bootloader
//! decided to install, to roll back or to heal; a decision `normal` or `rejected` with a changed bank is broken as well.
//! A boot that power cut short has no decision and may leave the bank half-written. A rack that sees a reset and cannot
//! read before the bootloader runs gives no `BeforeBoot`: then both are judged by the reading at the hand-over.
//!
//! Exempt: what the harness's own probe wrote into bank A.

use super::tally::{Tally, many};
use super::{Context, Rule, RuleInfo};
use hil_model::fact::{BootVerdict, Moment};
use hil_model::{BankArea, Capability, Digest, Event, Fact, Finding, NodeId};
use std::collections::BTreeMap;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "oracle-3",
    invariant: "the running bank's bytes never change before a decision to swap",
    needs: &[Capability::ProbeRead],
    make: |_: &Context| Box::new(RunningBank::default()),
};

#[derive(Debug, Default)]
struct State {
    /// Bank A as last read; none when nothing is known of it, as after a write by the harness.
    known: Option<Digest>,
    /// Whether the bootloader is at work: between the reading at the reset and the hand-over.
    booting: bool,
    /// It was reset, and nobody could read the bank before the bootloader ran.
    unread_reset: bool,
    /// What the bootloader decided in this boot.
    decided: Option<BootVerdict>,
    /// Reading in this boot at which the bank was found changed.
    changed: Option<u64>,
    /// The harness wrote into the bank since the last reading.
    meddled: bool,
}

impl State {
    /// A reading of bank A: whether it changed since the previous one.
    fn read(&mut self, digest: Digest, operations: bool) -> bool {
        let changed = self.known.is_some_and(|known| known != digest) || (self.known.is_some() && operations);
        let meddled = core::mem::take(&mut self.meddled);
        self.known = Some(digest);
        changed && !meddled
    }

    /// In a boot: the reading at which the bank was changed although the decision says that it was not.
    fn against_decision(&mut self) -> Option<u64> {
        match self.decided? {
            BootVerdict::Normal | BootVerdict::Rejected => self.changed.take(),
            BootVerdict::Trial | BootVerdict::RolledBack | BootVerdict::Healed | BootVerdict::Stuck => None,
        }
    }
}

#[derive(Default)]
struct RunningBank {
    nodes: BTreeMap<NodeId, State>,
    tally: Tally,
}

impl Rule for RunningBank {
    fn on_event(&mut self, event: &Event) {
        let Some(node) = event.about.node() else { return };
        let state = self.nodes.entry(node).or_default();
        match &event.fact {
            Fact::Banks { moment, a, use_a, .. } => {
                // Without a reading at the reset, what changed since the one before is the boot's as far as one can tell.
                let was_booting = state.booting || (state.unread_reset && *moment != Moment::BeforeBoot);
                let changed = state.read(a.digest, use_a.any());
                state.unread_reset = false;
                match moment {
                    Moment::Provisioned | Moment::Asked | Moment::Final => {}
                    Moment::BeforeBoot => {
                        state.booting = true;
                        state.decided = None;
                        state.changed = None;
                    }
                    Moment::AfterBoot => state.booting = false,
                }
                if was_booting {
                    if changed && *moment != Moment::BeforeBoot {
                        state.changed = Some(event.seq);
                    }
                } else {
                    self.tally.check();
                    if changed {
                        let text = format!("{node}: the running bank changed while its image ran");
                        self.tally.broken(event.seq, text);
                    }
                }
            }
            Fact::BootDecided { verdict, .. } => state.decided = Some(*verdict),
            Fact::Reset { .. } => {
                state.unread_reset = true;
                state.decided = None;
                state.changed = None;
            }
            // Without a reading at the hand-over: the next reading is a new beginning, not a comparison.
            Fact::ImageStarted { .. } if state.booting => {
                state.booting = false;
                state.known = None;
            }
            Fact::ProbeWrote { area: BankArea::A, .. } => state.meddled = true,
            _ => {}
        }
        if let Some(seq) = state.against_decision() {
            self.tally.broken(seq, format!("{node}: a boot that installed nothing changed the running bank"));
        }
    }

    fn close(mut self: Box<Self>) -> Finding {
        if self.tally.checks() == 0 {
            self.tally.unproven("the running bank was never read twice".to_owned());
        }
        let holds = format!("{}, the running bank changed only in a swap", many(self.tally.checks(), "reading"));
        self.tally.close(INFO.name, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use hil_model::BankArea;
    use hil_model::fact::{BootVerdict, Moment};
    use hil_model::record::Conclusion::{Broken, Holds, Unproven};
    use rstest::rstest;

    #[test]
    fn an_update_changes_the_bank_in_the_swap_only() {
        let mut script = Script::healthy(1);
        script.update(1);
        assert_eq!(script.finding("oracle-3").conclusion, Holds);
    }

    #[test]
    fn a_write_while_the_image_runs_breaks_it() {
        let mut script = Script::healthy(1);
        script.at(60).banks(1, Moment::BeforeBoot, NEW, true);
        assert_eq!(script.finding("oracle-3").conclusion, Broken);
    }

    #[test]
    fn a_write_that_leaves_the_bytes_alone_breaks_it_too() {
        let mut script = Script::healthy(1);
        script.at(60).banks(1, Moment::BeforeBoot, OLD, true);
        assert_eq!(script.finding("oracle-3").conclusion, Broken);
    }

    #[rstest]
    #[case::normal(BootVerdict::Normal, Broken)]
    #[case::rejected(BootVerdict::Rejected, Broken)]
    #[case::trial(BootVerdict::Trial, Holds)]
    #[case::healed(BootVerdict::Healed, Holds)]
    #[case::rolled_back(BootVerdict::RolledBack, Holds)]
    fn a_boot_may_change_the_bank_only_by_decision(
        #[case] verdict: BootVerdict,
        #[case] want: hil_model::record::Conclusion,
        #[values(true, false)] says_first: bool,
    ) {
        let mut script = Script::healthy(1);
        script.at(60).banks(1, Moment::BeforeBoot, OLD, false);
        if says_first {
            script.boot(1, verdict, "");
        }
        script.banks(1, Moment::AfterBoot, NEW, true);
        if !says_first {
            script.boot(1, verdict, "");
        }
        script.image(1, NEW, false).final_bank(1, NEW);
        assert_eq!(script.finding("oracle-3").conclusion, want);
    }

    #[test]
    fn a_boot_cut_short_may_leave_the_bank_half_written() {
        let mut script = Script::healthy(1);
        script.at(60).banks(1, Moment::BeforeBoot, OLD, false);
        script.at(70).banks(1, Moment::BeforeBoot, 0x77, true);
        script.boot(1, BootVerdict::Trial, "").banks(1, Moment::AfterBoot, NEW, true);
        script.image(1, NEW, true).final_bank(1, NEW);
        assert_eq!(script.finding("oracle-3").conclusion, Holds);
    }

    #[test]
    fn what_the_harness_wrote_is_not_held_against_the_product() {
        let mut script = Script::healthy(1);
        script.at(60).probe_wrote(1, BankArea::A);
        script.banks(1, Moment::BeforeBoot, 0x77, true).boot(1, BootVerdict::Healed, "");
        script.banks(1, Moment::AfterBoot, OLD, true).image(1, OLD, false);
        assert_eq!(script.finding("oracle-3").conclusion, Holds);
        script.at(70).banks(1, Moment::Asked, 0x77, true);
        assert_eq!(script.finding("oracle-3").conclusion, Broken, "the exemption is for one reading");
    }

    #[rstest]
    #[case::an_install(BootVerdict::Trial, Holds)]
    #[case::nothing(BootVerdict::Normal, Broken)]
    fn without_a_reading_at_the_reset_the_decision_has_to_explain_the_change(
        #[case] verdict: BootVerdict,
        #[case] want: hil_model::record::Conclusion,
    ) {
        let mut script = Script::healthy(1);
        script.at(60).node(1, hil_model::Fact::Reset { cause: hil_model::fact::ResetCause::Software, count: 1 });
        script.boot(1, verdict, "").banks(1, Moment::AfterBoot, NEW, true).image(1, NEW, false).final_bank(1, NEW);
        assert_eq!(script.finding("oracle-3").conclusion, want);
    }

    #[test]
    fn without_a_witness_nothing_is_said() {
        assert_eq!(Script::blind(1).finding("oracle-3").conclusion, Unproven);
    }
}
