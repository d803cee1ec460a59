//! Oracle 2: every node always comes back to a complete, valid image; none is ever lost.
//!
//! Evidence: the final reading of the banks by probe, and the last start of an image after the last reset. A node that
//! the scenario left without power cannot run; of it one whole image in one of its banks is asked for. In a run that
//! was cut short at its deadline, a node that is not up yet is unproven, not broken.

use super::tally::{Tally, many};
use super::{Context, Rule, RuleInfo};
use hil_model::fact::{BootVerdict, Moment};
use hil_model::{BankState, Capability, Event, Fact, Finding, ImageCheck, NodeId};
use std::collections::BTreeMap;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "oracle-2",
    invariant: "every node always comes back to a complete, valid image; none is ever lost",
    needs: &[Capability::ProbeRead],
    make: |_: &Context| Box::new(Recovery::default()),
};

/// What a node was last seen doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Life {
    /// Nothing seen yet.
    #[default]
    Unseen,
    /// Runs an image since this event.
    Runs,
    /// Was reset at this event and has not started an image since.
    Reset(u64),
    /// Crashed at this event and has not been reset since.
    Crashed(u64),
    /// Has no power since this event.
    Dark,
}

#[derive(Debug, Default)]
struct State {
    life: Life,
    last: Option<(u64, [BankState; 3])>,
}

#[derive(Default)]
struct Recovery {
    nodes: BTreeMap<NodeId, State>,
    tally: Tally,
    starts: u64,
    timed_out: bool,
    ended: bool,
}

impl Rule for Recovery {
    fn on_event(&mut self, event: &Event) {
        if let Fact::RunEnded { timed_out } = event.fact {
            self.ended = true;
            self.timed_out = timed_out;
        }
        let Some(node) = event.about.node() else { return };
        let state = self.nodes.entry(node).or_default();
        match &event.fact {
            Fact::ImageStarted { .. } => {
                self.starts += 1;
                state.life = Life::Runs;
            }
            Fact::Reset { .. } => state.life = Life::Reset(event.seq),
            Fact::Crashed => state.life = Life::Crashed(event.seq),
            Fact::PowerOff => state.life = Life::Dark,
            Fact::Banks { moment: Moment::Final, a, slot0, slot1, .. } => {
                state.last = Some((event.seq, [*a, *slot0, *slot1]));
            }
            Fact::BootDecided { verdict: BootVerdict::Stuck, reason, .. } => {
                self.tally.broken(event.seq, format!("{node} stays in the bootloader: {reason}"));
            }
            _ => {}
        }
    }

    fn close(mut self: Box<Self>) -> Finding {
        let tally = &mut self.tally;
        let complete = self.ended && !self.timed_out;
        for (node, state) in &self.nodes {
            tally.check();
            match (state.life, &state.last) {
                (_, None) => tally.unproven(format!("{node}: the banks were not read at the end")),
                (Life::Dark, Some((seq, banks))) => {
                    if banks.iter().all(|bank| bank.check != ImageCheck::Valid) {
                        tally.broken(*seq, format!("{node} has no power and no valid image in any bank"));
                    }
                }
                (Life::Reset(seq), Some(_)) | (Life::Crashed(seq), Some(_)) if complete => {
                    tally.broken(seq, format!("{node} did not start an image any more after this"));
                }
                (Life::Reset(_) | Life::Crashed(_), Some(_)) => {
                    tally.unproven(format!("{node} was not up yet when the run was cut short"));
                }
                (Life::Unseen | Life::Runs, Some((seq, [a, ..]))) => {
                    if a.check != ImageCheck::Valid {
                        tally.broken(*seq, format!("{node}: the running bank is {:?} at the end", a.check));
                    }
                }
            }
        }
        if tally.checks() == 0 {
            tally.unproven("no node was seen".to_owned());
        } else if self.starts == 0 {
            tally.unproven("no start of an image was witnessed".to_owned());
        }
        let holds = format!("{} ended on a complete, valid image", many(tally.checks(), "node"));
        self.tally.close(INFO.name, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use hil_model::record::Conclusion::{Broken, Holds, Unproven};
    use hil_model::{Fact, ImageCheck};

    #[test]
    fn a_healthy_fleet_is_whole() {
        assert_eq!(Script::healthy(3).finding("oracle-2").conclusion, Holds);
    }

    #[test]
    fn a_node_that_does_not_start_again_is_lost() {
        let mut script = Script::healthy(3);
        script.at(60).reset(2, hil_model::fact::ResetCause::Watchdog);
        let finding = script.finding("oracle-2");
        assert_eq!(finding.conclusion, Broken);
        assert!(finding.text.contains("n02"), "{}", finding.text);
        script.image(2, OLD, false);
        assert_eq!(script.finding("oracle-2").conclusion, Holds);
    }

    #[test]
    fn a_crash_without_a_reset_is_a_loss() {
        let mut script = Script::healthy(1);
        script.at(60).node(1, Fact::Crashed);
        assert_eq!(script.finding("oracle-2").conclusion, Broken);
    }

    #[test]
    fn an_invalid_running_bank_at_the_end_is_a_loss() {
        let mut script = Script::healthy(1);
        script.final_check(1, ImageCheck::HashMismatch);
        assert_eq!(script.finding("oracle-2").conclusion, Broken);
    }

    #[test]
    fn a_dark_node_needs_one_whole_image_somewhere() {
        let mut script = Script::healthy(1);
        script.at(60).node(1, Fact::PowerOff);
        script.final_check(1, ImageCheck::Malformed);
        assert_eq!(script.finding("oracle-2").conclusion, Holds, "golden is whole");
        script.final_golden(1, ImageCheck::HashMismatch);
        assert_eq!(script.finding("oracle-2").conclusion, Broken);
    }

    #[test]
    fn stuck_in_the_bootloader_is_a_loss() {
        let mut script = Script::healthy(1);
        script.at(60).boot(1, hil_model::fact::BootVerdict::Stuck, "neither image fits");
        assert_eq!(script.finding("oracle-2").conclusion, Broken);
    }

    #[test]
    fn a_run_cut_short_says_nothing_of_a_node_that_is_booting() {
        let mut script = Script::healthy(1);
        script.at(60).reset(1, hil_model::fact::ResetCause::Watchdog);
        script.timed_out();
        assert_eq!(script.finding("oracle-2").conclusion, Unproven);
    }
}
