//! Oracle 6: an unconfirmed node is back on its old image within grace period + install + boot, and says so.
//!
//! A trial opens when the core begins to execute a trial image. It may end well only by an acknowledgement of the
//! gateway that reached the node within the grace period: acknowledgements that the interposer dropped or holds do not
//! count, released ones count when they are released in time. Without one, another image must have been started within
//! [`Context::roll_back_bound`]; dark time is added, and one install and boot for every cut. "Says so" is the
//! bootloader's account or a node report heard by the gateway.
//!
//! Evidence: `ImageStarted` by probe, `ConfirmationAcked` by the gateway, `Interposed` by the radio. The node's own claim
//! to be confirmed counts for nothing.

use super::tally::{Tally, many};
use super::{Context, Rule, RuleInfo};
use hil_model::air::MessageKind;
use hil_model::fact::{BootVerdict, Interposition};
use hil_model::{Capability, Digest, Event, Fact, Finding, NodeId, Party, Span, Time, Version};
use std::collections::BTreeMap;

pub(super) const INFO: RuleInfo = RuleInfo {
    name: "oracle-6",
    invariant: "an unconfirmed node is back on its old image within grace + install + boot, and says so",
    needs: &[Capability::ProbeRead],
    make: |context: &Context| {
        Box::new(Trials {
            context: context.clone(),
            nodes: BTreeMap::new(),
            tally: Tally::default(),
            starts: 0,
            end: Time::ZERO,
        })
    },
};

/// A trial under way.
#[derive(Debug, Clone, Copy)]
struct Trial {
    seq: u64,
    at: Time,
    digest: Digest,
    version: Option<Version>,
    /// Acknowledgements sent in time, less those that the interposer kept from the node.
    acks: i32,
    /// Dark time, and what every cut costs.
    extra: Span,
}

/// A node that came back and has to say so.
#[derive(Debug, Clone, Copy)]
struct Returned {
    seq: u64,
    version: Option<Version>,
    said: bool,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Trial>,
    returned: Option<Returned>,
    dark_since: Option<Time>,
    /// The bootloader's account came before the start of the old image.
    boot_said: bool,
}

struct Trials {
    context: Context,
    nodes: BTreeMap<NodeId, State>,
    tally: Tally,
    starts: u64,
    end: Time,
}

impl Trials {
    fn on_start(&mut self, node: NodeId, event: &Event, digest: Digest, version: Option<Version>, trial: bool) {
        self.starts += 1;
        let bound = self.context.roll_back_bound();
        let state = self.nodes.entry(node).or_default();
        match state.open {
            // Once more the image on trial: the time goes on; an acknowledged one that is no trial any more is settled.
            Some(open) if open.digest == digest => {
                if open.acks > 0 && !trial {
                    state.open = None;
                }
                return;
            }
            Some(open) => {
                self.tally.check();
                let took = event.at.since(open.at);
                if open.acks <= 0 && took > bound + open.extra {
                    let text = format!(
                        "{node} was back {} s after the start of its trial, {} s allowed",
                        took.as_secs(),
                        bound.as_secs()
                    );
                    self.tally.broken(event.seq, text);
                }
                state.open = None;
                if !trial {
                    let said = core::mem::take(&mut state.boot_said);
                    state.returned = Some(Returned { seq: event.seq, version: open.version, said });
                }
            }
            None => {}
        }
        if trial {
            let trial = Trial { seq: event.seq, at: event.at, digest, version, acks: 0, extra: Span::ZERO };
            state.open = Some(trial);
            state.boot_said = false;
        }
    }
}

impl State {
    /// An acknowledgement was sent (+1), kept from the node (-1) or released to it (+1).
    fn ack(&mut self, at: Time, grace: Span, count: i32) {
        if let Some(open) = self.open.as_mut().filter(|open| at.since(open.at) <= grace + open.extra) {
            open.acks += count;
        }
    }

    fn lights_on(&mut self, at: Time, cost: Span) {
        if let (Some(since), Some(open)) = (self.dark_since.take(), &mut self.open) {
            open.extra = open.extra + at.since(since) + cost;
        }
    }

    fn says(&mut self, about: Option<Version>) {
        if let Some(returned) = &mut self.returned {
            returned.said |= about.is_none() || returned.version.is_none() || about == returned.version;
        }
    }
}

impl Rule for Trials {
    fn on_event(&mut self, event: &Event) {
        self.end = self.end.max(event.at);
        let grace = self.context.grace;
        if let Fact::Interposed { kind: MessageKind::ConfirmAck, did, to: Some(Party::Node(node)), .. } = &event.fact {
            let count = match did {
                Interposition::Dropped | Interposition::Held => -1,
                Interposition::Released => 1,
                Interposition::Altered
                | Interposition::Duplicated
                | Interposition::Reordered
                | Interposition::Replayed => 0,
            };
            self.nodes.entry(*node).or_default().ack(event.at, grace, count);
            return;
        }
        let Some(node) = event.about.node() else { return };
        if let Fact::ImageStarted { digest, version, trial, .. } = &event.fact {
            return self.on_start(node, event, *digest, *version, *trial);
        }
        let cost = self.context.install + self.context.boot;
        let state = self.nodes.entry(node).or_default();
        match &event.fact {
            Fact::ConfirmationAcked { .. } => state.ack(event.at, grace, 1),
            Fact::PowerOff | Fact::PowerCut { .. } => {
                state.dark_since.get_or_insert(event.at);
            }
            Fact::Reset { .. } => state.lights_on(event.at, cost),
            Fact::BootDecided { verdict: BootVerdict::RolledBack, .. } => {
                state.boot_said = true;
                state.says(None);
            }
            Fact::ReportHeard { about, says, .. } if says.starts_with("rolled back") => state.says(Some(*about)),
            _ => {}
        }
    }

    fn close(mut self: Box<Self>) -> Finding {
        let bound = self.context.roll_back_bound();
        let tally = &mut self.tally;
        for (node, state) in &self.nodes {
            if let Some(open) = state.open {
                tally.check();
                let waited = self.end.since(open.at);
                if open.acks <= 0 && state.dark_since.is_none() {
                    if waited > bound + open.extra {
                        let text = format!(
                            "{node} still runs its trial image after {} s without an acknowledgement, {} s allowed",
                            waited.as_secs(),
                            bound.as_secs()
                        );
                        tally.broken(open.seq, text);
                    } else {
                        tally.unproven(format!("{node}: the run ended before its trial was decided"));
                    }
                }
            }
            if let Some(returned) = state.returned.filter(|returned| !returned.said) {
                tally.broken(returned.seq, format!("{node} came back to its old image and never said so"));
            }
        }
        if self.starts == 0 {
            tally.unproven("no start of an image was witnessed".to_owned());
        }
        let holds = match tally.checks() {
            0 => "no trial to decide".to_owned(),
            n => format!("{} decided in time", many(n, "trial")),
        };
        self.tally.close(INFO.name, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use hil_model::fact::{BootVerdict, Interposition, ResetCause};
    use hil_model::record::Conclusion::{self, Broken, Holds, Unproven};
    use hil_model::{Fact, Span};
    use rstest::rstest;

    /// A trial at 100 s; grace 120 s, so that the bound is at 100 + `bound` seconds.
    fn on_trial() -> Script {
        let mut script = Script::healthy(1);
        script.at(50).campaign(1).at(100).reset(1, ResetCause::Software).image(1, NEW, true);
        script
    }

    fn bound_ms(script: &Script) -> u64 {
        script.context().roll_back_bound().as_millis()
    }

    #[rstest]
    #[case::in_time(0, Holds)]
    #[case::one_ms_late(1, Broken)]
    fn the_old_image_is_back_within_the_bound(#[case] late_ms: u64, #[case] want: Conclusion) {
        let mut script = on_trial();
        let back = 100_000 + bound_ms(&script) + late_ms;
        script.at_ms(back).boot(1, BootVerdict::RolledBack, "not confirmed").image(1, OLD, false);
        script.at_ms(back + 60_000);
        assert_eq!(script.finding("oracle-6").conclusion, want);
    }

    #[rstest]
    #[case::said_by_boot(true, false, Holds)]
    #[case::said_in_a_report(false, true, Holds)]
    #[case::silent(false, false, Broken)]
    fn a_roll_back_is_told(#[case] boot: bool, #[case] report: bool, #[case] want: Conclusion) {
        let mut script = on_trial();
        script.at(225);
        if boot {
            script.boot(1, BootVerdict::RolledBack, "not confirmed");
        }
        script.image(1, OLD, false);
        if report {
            script.report(1, "rolled back - not confirmed within the grace period");
        }
        script.at(900);
        assert_eq!(script.finding("oracle-6").conclusion, want);
    }

    #[rstest]
    #[case::acked(110, None, Holds)]
    #[case::acked_at_the_limit(220, None, Holds)]
    #[case::acked_too_late(221, None, Broken)]
    #[case::ack_dropped(110, Some(Interposition::Dropped), Broken)]
    #[case::ack_held(110, Some(Interposition::Held), Broken)]
    #[case::ack_duplicated(110, Some(Interposition::Duplicated), Holds)]
    fn only_an_acknowledgement_that_arrives_keeps_the_new_image(
        #[case] at: u64,
        #[case] did: Option<Interposition>,
        #[case] want: Conclusion,
    ) {
        let mut script = on_trial();
        script.at(at).node(1, Fact::ConfirmationAcked { boot_count: 2 });
        if let Some(did) = did {
            script.ack_interposed(1, did);
        }
        script.at(900);
        assert_eq!(script.finding("oracle-6").conclusion, want);
    }

    #[rstest]
    #[case::in_time(219, Holds)]
    #[case::late(221, Broken)]
    fn a_held_acknowledgement_counts_when_it_is_released(#[case] at: u64, #[case] want: Conclusion) {
        let mut script = on_trial();
        script.at(110).node(1, Fact::ConfirmationAcked { boot_count: 2 }).ack_interposed(1, Interposition::Held);
        script.at(at).ack_interposed(1, Interposition::Released).at(900);
        assert_eq!(script.finding("oracle-6").conclusion, want);
    }

    #[test]
    fn dark_time_is_added() {
        let mut script = on_trial();
        script.at(150).node(1, Fact::PowerOff).at(650).reset(1, ResetCause::PowerOn);
        script.at(670).boot(1, BootVerdict::RolledBack, "").image(1, OLD, false).at(900);
        assert_eq!(script.finding("oracle-6").conclusion, Holds);
    }

    #[test]
    fn the_same_unconfirmed_image_again_does_not_restart_the_time() {
        let mut script = on_trial();
        script.at(221).reset(1, ResetCause::Watchdog).image(1, NEW, false);
        script.at(900);
        assert_eq!(script.finding("oracle-6").conclusion, Broken);
    }

    #[test]
    fn a_run_that_ends_within_the_bound_is_unproven() {
        let mut script = on_trial();
        script.at(130);
        assert!(script.context().roll_back_bound() > Span::secs(30));
        assert_eq!(script.finding("oracle-6").conclusion, Unproven);
    }
}
