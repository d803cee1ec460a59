//! Racks that break one rule each: the virtual rack behind a wrapper that spoils what goes in or comes out.

use hil_model::fact::Moment;
use hil_model::{Action, Event, Fact, FaultId, NodeId, Power, Provision, RackManifest, Seed, Span, Time};
use hil_rack::{Observation, Rack, RackError};
use rack_virtual::VirtualRack;

/// What a rack does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    RenamesItselfWhenPrepared,
    HasAGapInItsFleet,
    RunsPastTheDeadline,
    ComesBackEarly,
    TurnsTheClockBack,
    TellsTheLastFirst,
    TellsEventsOneByOne,
    TellsTwoInstantsAtOnce,
    LosesAnImageStart,
    LosesTheFirstReading,
    LosesReadings,
    WritesNothing,
    SaysNotWhatWasThere,
    LosesPowerOff,
    LosesResets,
    IgnoresPowerOff,
    CyclesAtOnce,
    StartsTheGatewayAtOnce,
    LosesTheGateway,
    AllowsEverything,
    IsBrokenByNonsense,
    ObservesUnprepared,
    DiesOfASecondRelease,
    DiesOfAnError,
    IsPreparedOnce,
    CountsResetsOn,
    CollectsAllButOne,
    KeepsItsRules,
    ProvesNoDrop,
    ProvesADropForAnother,
    ForgetsLimits,
    LosesCuts,
    ForgetsWhoseCutItIs,
    LosesMeshos,
    NeverTheSame,
}

/// Which case has to fail on which rack.
pub const WRONGS: &[(&str, Wrong)] = &[
    ("manifest_is_fixed_and_agrees_with_itself", Wrong::RenamesItselfWhenPrepared),
    ("manifest_is_fixed_and_agrees_with_itself", Wrong::HasAGapInItsFleet),
    ("observe_keeps_to_its_deadline", Wrong::RunsPastTheDeadline),
    ("observe_keeps_to_its_deadline", Wrong::ComesBackEarly),
    ("a_deadline_gone_by_turns_no_clock_back", Wrong::TurnsTheClockBack),
    ("events_come_in_order_of_time", Wrong::TellsTheLastFirst),
    ("events_of_one_instant_come_together", Wrong::TellsEventsOneByOne),
    ("events_of_one_instant_come_together", Wrong::TellsTwoInstantsAtOnce),
    ("prepare_puts_every_node_on_the_running_image", Wrong::LosesAnImageStart),
    ("prepare_puts_every_node_on_the_running_image", Wrong::LosesTheFirstReading),
    ("probe_read_gives_the_banks", Wrong::LosesReadings),
    ("probe_write_is_proven_and_seen", Wrong::WritesNothing),
    ("probe_write_is_proven_and_seen", Wrong::SaysNotWhatWasThere),
    ("power_off_is_dark_until_power_on", Wrong::LosesPowerOff),
    ("power_off_is_dark_until_power_on", Wrong::LosesResets),
    ("power_off_is_dark_until_power_on", Wrong::IgnoresPowerOff),
    ("power_cycle_keeps_its_dark_time", Wrong::CyclesAtOnce),
    ("power_cycle_keeps_its_dark_time", Wrong::CountsResetsOn),
    ("gateway_restart_comes_back", Wrong::StartsTheGatewayAtOnce),
    ("gateway_restart_comes_back", Wrong::LosesTheGateway),
    ("what_cannot_be_done_is_refused", Wrong::AllowsEverything),
    ("what_cannot_be_done_is_refused", Wrong::IsBrokenByNonsense),
    ("what_the_rack_lacks_is_refused", Wrong::AllowsEverything),
    ("nothing_is_done_before_prepare", Wrong::AllowsEverything),
    ("nothing_is_done_before_prepare", Wrong::ObservesUnprepared),
    ("release_may_come_again_and_after_errors", Wrong::DiesOfASecondRelease),
    ("release_may_come_again_and_after_errors", Wrong::DiesOfAnError),
    ("prepare_again_starts_clean", Wrong::IsPreparedOnce),
    ("prepare_again_starts_clean", Wrong::CountsResetsOn),
    ("a_campaign_leaves_every_node_on_the_new_image", Wrong::CollectsAllButOne),
    ("a_drop_is_proven_and_ends_with_its_rule", Wrong::KeepsItsRules),
    ("a_drop_is_proven_and_ends_with_its_rule", Wrong::ProvesNoDrop),
    ("a_drop_is_proven_and_ends_with_its_rule", Wrong::ProvesADropForAnother),
    ("a_rule_acts_no_oftener_than_its_limit", Wrong::ForgetsLimits),
    ("a_cut_at_an_operation_is_proven", Wrong::LosesCuts),
    ("a_cut_at_an_operation_is_proven", Wrong::ForgetsWhoseCutItIs),
    ("meshos_restart_resumes_the_campaign", Wrong::LosesMeshos),
    ("the_same_course_gives_the_same_events", Wrong::NeverTheSame),
];

impl Wrong {
    /// A rack that does this; the `made`-th one.
    pub fn rack(self, made: u64) -> WrongRack {
        let mut inner = VirtualRack::new();
        let mut manifest = inner.manifest().clone();
        match self {
            Self::HasAGapInItsFleet => {
                manifest.fleet.nodes.remove(3);
            }
            // What it lacks it does all the same.
            Self::AllowsEverything => manifest.capabilities.clear(),
            _ => {}
        }
        if self == Self::AllowsEverything {
            inner = VirtualRack::from_manifest(manifest.clone());
        }
        WrongRack { wrong: self, inner, manifest, made, prepared: 0, released: 0, dead: false, kept: Vec::new() }
    }
}

/// The virtual rack, spoilt.
pub struct WrongRack {
    wrong: Wrong,
    inner: VirtualRack,
    manifest: RackManifest,
    made: u64,
    prepared: u32,
    released: u32,
    dead: bool,
    /// Events not told yet.
    kept: Vec<Event>,
}

const FIRST: NodeId = NodeId(1);

impl WrongRack {
    /// Whether an event gets lost.
    fn loses(&self, event: &Event) -> bool {
        let first = event.about.node() == Some(FIRST);
        match (self.wrong, &event.fact) {
            (Wrong::LosesAnImageStart, Fact::ImageStarted { .. })
            | (Wrong::LosesTheFirstReading, Fact::Banks { moment: Moment::Provisioned, .. }) => first,
            (Wrong::LosesReadings, Fact::Banks { moment: Moment::Asked, .. })
            | (Wrong::LosesPowerOff, Fact::PowerOff)
            | (Wrong::LosesResets, Fact::Reset { .. })
            | (Wrong::LosesTheGateway, Fact::GatewayUp)
            | (Wrong::ProvesNoDrop, Fact::Interposed { .. })
            | (Wrong::LosesCuts, Fact::PowerCut { .. })
            | (Wrong::LosesMeshos, Fact::MeshosUp { .. }) => true,
            _ => false,
        }
    }

    /// Spoils what an event says.
    fn spoil(&self, event: &mut Event) {
        match (self.wrong, &mut event.fact) {
            (Wrong::SaysNotWhatWasThere, Fact::ProbeWrote { before, .. }) => before.fill(0x55),
            (Wrong::CountsResetsOn, Fact::Reset { count, .. }) => *count += 1,
            (Wrong::ProvesADropForAnother, Fact::Interposed { fault, .. }) => *fault = FaultId(99),
            (Wrong::ForgetsWhoseCutItIs, Fact::PowerCut { fault, .. }) => *fault = None,
            _ => {}
        }
    }

    fn spoilt(&self, events: Vec<Event>) -> Vec<Event> {
        let mut events: Vec<Event> = events.into_iter().filter(|e| !self.loses(e)).collect();
        events.iter_mut().for_each(|e| self.spoil(e));
        events
    }
}

fn broken() -> RackError {
    RackError::Broken { part: "rack".to_owned(), what: "it broke".to_owned(), next: "mend it".to_owned() }
}

impl Rack for WrongRack {
    fn manifest(&self) -> &RackManifest {
        &self.manifest
    }

    fn prepare(&mut self, provision: &Provision) -> Result<(), RackError> {
        if self.dead {
            return Err(broken());
        }
        self.prepared += 1;
        let mut provision = provision.clone();
        match self.wrong {
            Wrong::RenamesItselfWhenPrepared => self.manifest.name = "another".to_owned(),
            Wrong::IsPreparedOnce if self.prepared > 1 => return Ok(()),
            Wrong::NeverTheSame => provision.seed = Seed(provision.seed.0 + self.made),
            _ => {}
        }
        self.released = 0;
        let prepared = self.inner.prepare(&provision);
        self.dead |= prepared.is_err() && self.wrong == Wrong::DiesOfAnError;
        prepared
    }

    fn apply(&mut self, action: &Action, fault: Option<FaultId>) -> Result<(), RackError> {
        let mut action = action.clone();
        match (self.wrong, &mut action) {
            (Wrong::WritesNothing, Action::ProbeWrite(_, write)) => write.mask.fill(0),
            (Wrong::IgnoresPowerOff, Action::Power(_, Power::Off))
            | (Wrong::KeepsItsRules, Action::RemoveAirRule(_)) => {
                return Ok(());
            }
            (Wrong::CyclesAtOnce, Action::Power(_, Power::Cycle(dark))) => *dark = Span::millis(1),
            (Wrong::StartsTheGatewayAtOnce, Action::RestartGateway(_, down)) => *down = Span::millis(1),
            (Wrong::ForgetsLimits, Action::AddAirRule(rule)) => rule.limit = Some(3),
            _ => {}
        }
        let done = self.inner.apply(&action, fault);
        match (self.wrong, done) {
            (Wrong::AllowsEverything, Err(RackError::Refused { .. })) => Ok(()),
            (Wrong::IsBrokenByNonsense, Err(RackError::Refused { .. })) => Err(broken()),
            (_, done) => done,
        }
    }

    fn observe(&mut self, until: Time) -> Result<Observation, RackError> {
        if !self.kept.is_empty() {
            let event = self.kept.remove(0);
            return Ok(Observation { now: event.at, events: vec![event], quiet: false });
        }
        let asked = if self.wrong == Wrong::RunsPastTheDeadline { until + Span::millis(1) } else { until };
        let seen = match self.inner.observe(asked) {
            Ok(seen) => seen,
            Err(_) if self.wrong == Wrong::ObservesUnprepared => Observation { now: until, ..Observation::default() },
            Err(error) => return Err(error),
        };
        let mut seen = Observation { events: self.spoilt(seen.events), ..seen };
        match self.wrong {
            Wrong::TurnsTheClockBack => seen.now = seen.now.min(until),
            Wrong::ComesBackEarly if seen.events.is_empty() => seen.now = Time(seen.now.0 - seen.now.0 / 1_000),
            Wrong::TellsTheLastFirst if !seen.events.is_empty() => {
                let mut later = self.inner.observe(until)?;
                later.events.append(&mut seen.events);
                seen = later;
            }
            Wrong::TellsEventsOneByOne if seen.events.len() > 1 => {
                self.kept = seen.events.split_off(1);
            }
            Wrong::TellsTwoInstantsAtOnce if !seen.events.is_empty() => {
                let more = self.inner.observe(until)?;
                seen.events.extend(more.events);
                seen.now = more.now;
            }
            _ => {}
        }
        // What was lost on the way would look like a rack that comes back for nothing.
        if seen.events.is_empty() && seen.now < until && self.wrong != Wrong::ComesBackEarly {
            return self.observe(until);
        }
        Ok(seen)
    }

    fn collect(&mut self) -> Result<Vec<Event>, RackError> {
        let mut evidence = self.inner.collect()?;
        if self.wrong == Wrong::CollectsAllButOne {
            evidence.retain(|e| e.about.node() != Some(FIRST));
        }
        Ok(evidence)
    }

    fn release(&mut self) {
        self.released += 1;
        self.dead |= self.released > 1 && self.wrong == Wrong::DiesOfASecondRelease;
        self.inner.release();
    }
}
