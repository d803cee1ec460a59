//! Every expectation with a ledger that passes it and ledgers that fail it.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::MANUAL;
use crate::plan::Plan;
use crate::testing;
use hil_model::fact::{BootVerdict, ConfigState, FlashUse, HealthFault, Moment, Outcome, ResetCause, UpdatePhase};
use hil_model::record::Conclusion;
use hil_model::{
    About, BankState, Digest, Event, Fact, GatewayId, ImageCheck, NodeId, OperatorOrder, Span, StageIndex, Time,
    Version, Witness,
};
use rstest::rstest;

const N3: NodeId = NodeId(3);
const OLD: Version = Version::new(1, 0, 0);
const NEW: Version = Version::new(1, 1, 0);

/// A ledger in the making.
struct Story {
    plan: Plan,
    events: Vec<Event>,
    now: Time,
}

impl Story {
    fn new(expectation: &str) -> Self {
        Self::of(testing::plan(&[], &[expectation]))
    }

    fn of(plan: Plan) -> Self {
        Self { plan, events: Vec::new(), now: Time(1) }
    }

    fn after(mut self, span: Span) -> Self {
        self.now += span;
        self
    }

    fn say(mut self, about: About, witness: Witness, fact: Fact) -> Self {
        let seq = self.events.len() as u64;
        self.events.push(Event { seq, at: self.now, about, witness, fact });
        self.now += Span::secs(1);
        self
    }

    fn node(self, node: NodeId, fact: Fact) -> Self {
        self.say(About::Node(node), Witness::Probe, fact)
    }

    fn campaign(self, fact: Fact) -> Self {
        self.say(About::Campaign, Witness::Meshos, fact)
    }

    /// A snapshot; a label names the image in bank A and its golden copy.
    fn banks(self, node: NodeId, moment: Moment, image: &str, written: [u64; 3]) -> Self {
        let (digest, version) = {
            let image = self.plan.labelled(image).unwrap();
            (image.bank_a.unwrap(), image.version)
        };
        let fact = banks(moment, state(digest, Some(version)), state(Digest([9; 32]), Some(version)), written);
        self.node(node, fact)
    }

    fn counted(self, node: NodeId, outcome: Outcome) -> Self {
        self.say(About::Node(node), Witness::Meshos, Fact::NodeOutcome { stage: StageIndex(1), outcome })
    }

    fn started(self, node: NodeId, image: &str, trial: bool) -> Self {
        let image = self.plan.labelled(image).unwrap().clone();
        let fact = Fact::ImageStarted {
            digest: image.digest,
            check: image.check,
            version: Some(image.version),
            build: String::new(),
            trial,
            wants_config: None,
        };
        self.node(node, fact)
    }

    fn reset(self, node: NodeId, cause: ResetCause) -> Self {
        self.say(About::Node(node), Witness::Power, Fact::Reset { cause, count: 1 })
    }

    fn conclusion(&self) -> Conclusion {
        let mut monitors = self.plan.monitors();
        let monitor = monitors.last_mut().unwrap();
        for event in &self.events {
            monitor.on_event(event);
        }
        let finding = monitor.close(&self.plan);
        assert_eq!(finding.rule, self.plan.expectations[0].rule);
        assert!(!finding.text.is_empty());
        assert!(finding.events.iter().all(|seq| (*seq as usize) < self.events.len()), "cites what is not there");
        finding.conclusion
    }

    #[track_caller]
    fn holds(self) {
        assert_eq!(self.conclusion(), Conclusion::Holds);
    }

    #[track_caller]
    fn breaks(self) {
        assert_eq!(self.conclusion(), Conclusion::Broken);
    }

    #[track_caller]
    fn proves_nothing(self) {
        assert_eq!(self.conclusion(), Conclusion::Unproven);
    }
}

const fn state(digest: Digest, version: Option<Version>) -> BankState {
    BankState { digest, check: ImageCheck::Valid, version, config_version: Some(2) }
}

fn banks(moment: Moment, a: BankState, slot: BankState, written: [u64; 3]) -> Fact {
    let [use_a, use_slot0, use_slot1] = written.map(|words| FlashUse { words, erases: 0 });
    let empty = BankState { digest: Digest([0; 32]), check: ImageCheck::Empty, version: None, config_version: None };
    Fact::Banks {
        moment,
        a,
        slot0: slot,
        slot1: empty,
        config: ConfigState { version: Some(2), settings: Some(Digest([5; 32])) },
        use_a,
        use_slot0,
        use_slot1,
        use_config: FlashUse::default(),
    }
}

fn rejected(text: &str) -> Outcome {
    Outcome::Rejected(text.to_owned())
}

/// One of two examples, by name, so that no expectation of the table goes without.
#[test]
fn every_expectation_of_the_table_binds_with_its_example() {
    for entry in MANUAL {
        let plan = testing::plan(&[], &[entry.example]);
        assert_eq!(plan.expectations[0].spec.name(), entry.name);
        assert!(plan.expectations[0].rule.starts_with("expect[0] "));
        // On an empty ledger no expectation that demands something may hold.
        let finding = plan.monitors().last().unwrap().close(&plan);
        let demands = entry.name != "no-event";
        assert_eq!(finding.conclusion != Conclusion::Holds, demands, "{}", entry.name);
    }
}

mod outcome {
    use super::*;

    const UPDATED: &str = "outcome: { nodes: n03, is: updated }";
    const REJECTED: &str = "outcome: { nodes: n03, is: rejected, reason: because }";

    #[test]
    fn campaign_and_probe_have_to_agree() {
        let good = || Story::new(UPDATED).counted(N3, Outcome::Updated).started(N3, Plan::CANDIDATE, true);
        good().banks(N3, Moment::Final, Plan::CANDIDATE, [0; 3]).holds();
        good().banks(N3, Moment::Final, Plan::RUNNING, [0; 3]).breaks();
        good().started(N3, Plan::RUNNING, false).banks(N3, Moment::Final, Plan::CANDIDATE, [0; 3]).breaks();
        good().proves_nothing();
    }

    #[rstest]
    #[case(rejected("because"), Conclusion::Holds)]
    #[case(rejected("for another reason"), Conclusion::Broken)]
    #[case(Outcome::Failed(UpdatePhase::VerificationFailed), Conclusion::Broken)]
    #[case(Outcome::Updated, Conclusion::Broken)]
    fn class_and_reason_are_compared_word_for_word(#[case] outcome: Outcome, #[case] want: Conclusion) {
        let story = Story::new(REJECTED).counted(N3, outcome).banks(N3, Moment::Final, Plan::RUNNING, [0; 3]);
        assert_eq!(story.conclusion(), want);
    }

    #[test]
    fn the_last_outcome_counts() {
        let story = |last| {
            Story::new("outcome: { nodes: n03, is: rolled-back }")
                .counted(N3, Outcome::Updated)
                .counted(N3, last)
                .banks(N3, Moment::Final, Plan::RUNNING, [0; 3])
        };
        story(Outcome::RolledBack).holds();
        story(Outcome::Updated).breaks();
    }

    #[test]
    fn untouched_means_no_outcome_and_no_reset() {
        let story = || Story::new("outcome: { nodes: n03, is: untouched }");
        story().banks(N3, Moment::Final, Plan::RUNNING, [0; 3]).holds();
        story().counted(N3, Outcome::Unreachable).breaks();
        story().reset(N3, ResetCause::Software).banks(N3, Moment::Final, Plan::RUNNING, [0; 3]).breaks();
    }
}

#[test]
fn outcomes_count_every_class() {
    let story = || Story::new("outcomes: { updated: 1, rejected: 1 }").counted(NodeId(1), Outcome::Updated);
    story().counted(N3, rejected("x")).holds();
    story().breaks();
    story().counted(N3, rejected("x")).counted(NodeId(4), Outcome::Unreachable).breaks();
}

mod campaign {
    use super::*;

    fn started(expectation: &str) -> Story {
        let fact = Fact::CampaignStarted {
            version: NEW,
            targets: 24,
            stages: 1,
            success_permille: 950,
            throttle_permille: 400,
        };
        Story::new(expectation).campaign(fact)
    }

    fn paused(stage: u8) -> Fact {
        Fact::CampaignPaused { stage: StageIndex(stage), reason: "below".to_owned(), confirmed: 7, targeted: 8 }
    }

    #[test]
    fn its_end_is_told_apart() {
        started("campaign: completed").campaign(Fact::CampaignEnded { completed: true }).holds();
        started("campaign: completed").campaign(Fact::CampaignEnded { completed: false }).breaks();
        started("campaign: stopped").campaign(Fact::CampaignEnded { completed: false }).holds();
        started("campaign: stopped").breaks();
    }

    #[test]
    fn a_pause_counts_with_its_alert_only() {
        let story = |stage| started("campaign: { paused-in-stage: 1 }").campaign(paused(stage));
        let alert = || Fact::Alert { text: "paused".to_owned() };
        story(1).campaign(alert()).holds();
        story(1).breaks();
        story(2).campaign(alert()).breaks();
        let resumed = Fact::OperatorActed { order: OperatorOrder::Resume };
        story(1).campaign(alert()).campaign(resumed.clone()).breaks();
        // The alert of the first pause does not cover the second.
        story(1).campaign(alert()).campaign(resumed).campaign(paused(1)).breaks();
    }

    #[test]
    fn stages_count_once_each() {
        let start = |n| Fact::StageStarted { stage: StageIndex(n), nodes: vec![N3] };
        let pass = |overridden| Fact::StagePassed { stage: StageIndex(1), confirmed: 1, targeted: 1, overridden };
        let story =
            || Story::new("stages: { started: 1, passed: 1, overridden: 0 }").campaign(start(1)).campaign(start(1));
        story().campaign(pass(false)).holds();
        story().campaign(pass(true)).breaks();
        story().breaks();
        story().campaign(pass(false)).campaign(start(2)).breaks();
    }
}

mod refusal {
    use super::*;

    fn metadata(accepted: bool) -> Fact {
        Fact::MetadataDelivered { version: NEW, config_version: 2, metadata: Digest([1; 32]), accepted }
    }

    fn phase(phase: UpdatePhase) -> Fact {
        Fact::UpdatePhase { phase, reason: None }
    }

    #[test]
    fn at_update_start_nothing_follows() {
        let story = || Story::new("refused-at: { nodes: n03, layer: update-start }").node(N3, metadata(false));
        story().holds();
        story().node(N3, Fact::TransferComplete { image: Digest([1; 32]) }).breaks();
        story().reset(N3, ResetCause::Software).breaks();
        Story::new("refused-at: { nodes: n03, layer: update-start }").node(N3, metadata(true)).breaks();
    }

    #[test]
    fn at_verifying_there_is_no_reset() {
        let story = || Story::new("refused-at: { nodes: n03, layer: verifying }").node(N3, metadata(true));
        story().node(N3, phase(UpdatePhase::VerificationFailed)).holds();
        story().node(N3, phase(UpdatePhase::VerificationFailed)).reset(N3, ResetCause::Software).breaks();
        story().node(N3, phase(UpdatePhase::VerificationSucceeded)).breaks();
        story().breaks();
    }

    #[test]
    fn at_boot_there_is_one_reset() {
        let refused = || Fact::BootDecided { verdict: BootVerdict::Rejected, reason: String::new(), about: Some(NEW) };
        let story = || {
            Story::new("refused-at: { nodes: n03, layer: boot }")
                .node(N3, phase(UpdatePhase::VerificationSucceeded))
                .reset(N3, ResetCause::Software)
        };
        story().node(N3, refused()).holds();
        story().node(N3, refused()).reset(N3, ResetCause::Watchdog).breaks();
        story().breaks();
        story().node(N3, refused()).started(N3, Plan::CANDIDATE, true).breaks();
    }
}

mod rolled_back {
    use super::*;

    fn report(says: &str) -> Fact {
        Fact::ReportHeard { running: OLD, config_version: 2, says: says.to_owned(), about: NEW, boot_count: 2 }
    }

    fn back_after(span: Span) -> Story {
        Story::new("rolled-back: { nodes: n03, within: 120 s, says: rolled back - late }")
            .started(N3, Plan::CANDIDATE, true)
            .after(span)
            .started(N3, Plan::RUNNING, false)
    }

    #[test]
    fn in_time_and_it_says_so() {
        back_after(Span::secs(119)).node(N3, report("rolled back - late")).holds();
        back_after(Span::secs(120)).node(N3, report("rolled back - late")).breaks();
        back_after(Span::secs(1)).breaks();
        back_after(Span::secs(1)).node(N3, report("rolled back - otherwise")).breaks();
        back_after(Span::secs(1)).started(N3, Plan::CANDIDATE, true).breaks();
        Story::new("rolled-back: { nodes: n03 }").started(N3, Plan::RUNNING, false).breaks();
    }

    #[test]
    fn the_limit_is_the_boards_own_when_none_is_written() {
        let story = |extra: Span| {
            let story = Story::new("rolled-back: { nodes: n03 }").started(N3, Plan::CANDIDATE, true);
            let limit = Span(story.plan.limits.back_on_old_image().0 - Span::secs(1).0);
            story.after(limit + extra).started(N3, Plan::RUNNING, false).node(N3, report("rolled back - x"))
        };
        story(Span::ZERO).holds();
        story(Span::nanos(1)).breaks();
    }
}

#[test]
fn resets_are_counted_with_their_causes() {
    let story = || Story::new("resets: { nodes: n03, count: 2, causes: [software, watchdog] }");
    story().reset(N3, ResetCause::Software).reset(N3, ResetCause::Watchdog).holds();
    story().reset(N3, ResetCause::Software).breaks();
    story().reset(N3, ResetCause::Watchdog).reset(N3, ResetCause::Software).breaks();
    let mut provisioning = story();
    provisioning.now = Time::ZERO;
    let provisioned = provisioning.reset(N3, ResetCause::PowerOn);
    provisioned.reset(N3, ResetCause::Software).reset(N3, ResetCause::Watchdog).holds();
}

#[test]
fn bank_a_is_compared_and_its_operations_counted() {
    let story = |is: &str, image: &str, written| {
        Story::new(&format!("bank-a: {{ nodes: n03, is: {is} }}"))
            .banks(N3, Moment::Provisioned, Plan::RUNNING, [7; 3])
            .banks(N3, Moment::AfterBoot, Plan::RUNNING, [written, 0, 0])
            .banks(N3, Moment::Final, image, [0; 3])
    };
    story("never-written", Plan::RUNNING, 0).holds();
    story("never-written", Plan::RUNNING, 1).breaks();
    story("unchanged", Plan::RUNNING, 1).holds();
    story("unchanged", Plan::CANDIDATE, 1).breaks();
    story("candidate", Plan::CANDIDATE, 1).holds();
    story("candidate", Plan::RUNNING, 0).breaks();
    Story::new("bank-a: { nodes: n03, is: unchanged }").proves_nothing();
}

#[test]
fn slots_are_looked_into() {
    let story = |is: &str, a: Version, slot: Version, written| {
        let story = Story::new(&format!("staging: {{ nodes: n03, is: {is} }}"));
        let digest = Digest([1; 32]);
        story.node(N3, banks(Moment::Final, state(digest, Some(a)), state(digest, Some(slot)), [0, written, 0]))
    };
    story("never-written", OLD, OLD, 0).holds();
    story("never-written", OLD, OLD, 1).breaks();
    story("not-valid", OLD, OLD, 1).holds();
    story("not-valid", OLD, NEW, 1).breaks();
    story("golden-sound", NEW, NEW, 1).holds();
    story("golden-sound", NEW, OLD, 1).breaks();
    Story::new("staging: { nodes: n03, is: not-valid }").proves_nothing();
}

#[test]
fn configuration_and_settings_are_compared() {
    let story = |version, settings| {
        let first = banks(Moment::Provisioned, state(Digest([1; 32]), Some(OLD)), state(Digest([1; 32]), None), [0; 3]);
        let mut last = banks(Moment::Final, state(Digest([1; 32]), Some(OLD)), state(Digest([1; 32]), None), [0; 3]);
        if let Fact::Banks { config, .. } = &mut last {
            *config = ConfigState { version, settings };
        }
        Story::new("config: { nodes: n03, version: 3 }").node(N3, first).node(N3, last)
    };
    story(Some(3), Some(Digest([5; 32]))).holds();
    story(Some(2), Some(Digest([5; 32]))).breaks();
    story(Some(3), Some(Digest([6; 32]))).breaks();
    story(Some(3), None).breaks();
    story(None, None).breaks();
    Story::new("config: { nodes: n03, version: 3 }").proves_nothing();
}

#[test]
fn air_time_has_an_upper_and_a_lower_limit() {
    let story = |data_pdus, peak_permille| {
        let fact = Fact::AirUse {
            data_pdus,
            data_airtime_us: 1,
            peak_permille,
            throttle_permille: 200,
            depth_permille: 9,
            control_pdus: 1,
            deliveries: 1,
            losses: 0,
        };
        Story::new("airtime: { at-most: 20 %, at-least: 15 % }").say(About::Gateway(GatewayId(1)), Witness::Radio, fact)
    };
    story(1, 209).holds();
    story(1, 210).breaks();
    story(1, 150).holds();
    story(1, 149).breaks();
    story(0, 0).proves_nothing();
}

#[test]
fn only_measured_latency_counts() {
    let story = |p95_us, missed, measured| {
        let fact = Fact::SceneLatency { scenes: 100, missed, p50_us: 1, p95_us, p99_us: 1, measured };
        Story::new("scene-latency: { p95: 250 ms, missed: 1 }").say(About::Rack, Witness::Radio, fact)
    };
    story(250_000, 1, true).holds();
    story(250_001, 1, true).breaks();
    story(250_000, 2, true).breaks();
    story(250_000, 1, false).proves_nothing();
}

#[test]
fn repairs_are_counted_for_the_block_named() {
    let story = |block, resent| {
        let fact = Fact::BlockDone { block, rounds: 2, chunks_sent: 178, resent };
        Story::new("repaired: { block: 2, at-least: 10, at-most: 20 }").say(
            About::Gateway(GatewayId(1)),
            Witness::Gateway,
            fact,
        )
    };
    story(2, 10).holds();
    story(2, 20).holds();
    story(2, 9).breaks();
    story(2, 21).breaks();
    story(3, 10).breaks();
}

#[test]
fn blocks_belong_into_windows() {
    let bound = |at: &str| {
        let text = format!(
            "title: t\ncampaign: {{ windows: [22:00-06:00], start: \"{at}\" }}\nexpect: [{{ sent-in-windows: {{}} }}]\n"
        );
        let scenario = crate::source::read("t/x", "x.yaml", &text).unwrap().remove(0);
        let plan =
            crate::bind(&scenario, &testing::manifest(), hil_model::Seed(1), &testing::forge(), Default::default());
        Story::of(plan.unwrap())
    };
    let sent = |at: &str, after: Span| {
        let fact = Fact::BlockDone { block: 0, rounds: 1, chunks_sent: 1, resent: 0 };
        bound(at).after(after).say(About::Gateway(GatewayId(1)), Witness::Gateway, fact)
    };
    sent("21:59", Span::secs(59)).breaks();
    sent("21:59", Span::secs(60)).holds();
    sent("23:00", Span::hours(6)).holds();
    // The status round of the last block may pass the window's end by five seconds.
    sent("05:59", Span::secs(64)).holds();
    sent("05:59", Span::secs(66)).breaks();
    bound("23:00").breaks();
}

#[test]
fn events_are_found_by_name_node_and_text() {
    let unhealthy = |fault| Fact::Unhealthy { fault };
    let story = || Story::new("event: { fact: unhealthy, nodes: [n03, n04], contains: degraded }");
    story().node(N3, unhealthy(HealthFault::Degraded)).node(NodeId(4), unhealthy(HealthFault::Degraded)).holds();
    story().node(N3, unhealthy(HealthFault::Degraded)).breaks();
    story().node(N3, unhealthy(HealthFault::Degraded)).node(NodeId(4), unhealthy(HealthFault::WeakSignal)).breaks();
    Story::new("no-event: { fact: crashed }").node(N3, Fact::PowerOff).holds();
    Story::new("no-event: { fact: crashed }").node(N3, Fact::Crashed).breaks();
}
