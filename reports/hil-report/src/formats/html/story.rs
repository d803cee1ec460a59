//! What the figures draw, taken from the events of a run: which image each node ran when, what happened to it, how the
//! stages went, how full the air was. Keeps bounded lists; draws nothing.

use hil_model::fact::{BootVerdict, Outcome, ResetCause, UpdatePhase};
use hil_model::{About, Digest, Event, Fact, NodeId, Party, RunRecord, StageIndex, Time, words};
use std::collections::{BTreeMap, BTreeSet};

/// Most marks kept for a node.
const MAX_MARKS: usize = 40;
/// Most segments kept for a node.
const MAX_SEGMENTS: usize = 60;

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Runs the image it began with.
    Old,
    /// Runs another image on trial.
    Trial,
    /// Runs another image, acknowledged.
    New,
    /// In the bootloader, crashed or without power.
    Down,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) from: Time,
    pub(super) to: Time,
    pub(super) doing: Doing,
}

/// What a mark on a lane says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkKind {
    /// The node was reset.
    Reset,
    /// The node fell: crash, watchdog, lockup.
    Fall,
    /// The node refused.
    Refused,
    /// The harness acted on it: a fault.
    Fault,
    /// An event that a broken rule cites.
    Wrong,
}

/// A mark.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) at: Time,
    pub(super) kind: MarkKind,
    pub(super) text: String,
}

/// A node over time.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    pub(super) segments: Vec<Segment>,
    /// From accepted metadata to the whole image.
    pub(super) receiving: Option<(Time, Option<Time>)>,
    pub(super) marks: Vec<Mark>,
    pub(super) outcome: Option<Outcome>,
    began_with: Option<Digest>,
    now: Option<(Time, Doing)>,
    /// Marks and segments that were left out.
    pub(super) left_out: usize,
}

/// A stage of the campaign.
#[derive(Debug, Clone, Default)]
pub(super) struct Stage {
    pub(super) nodes: Vec<NodeId>,
    pub(super) started: Option<Time>,
    pub(super) soak: Option<(Time, Time)>,
    pub(super) passed: bool,
    pub(super) overridden: bool,
    pub(super) paused: Option<String>,
}

/// Air use of an interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Air {
    /// The previous report of the same distributor, or the beginning of its distribution.
    pub(super) from: Time,
    pub(super) at: Time,
    pub(super) peak: u16,
    pub(super) throttle: u16,
    pub(super) depth: u16,
}

/// A run as the figures see it.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) lanes: BTreeMap<NodeId, Lane>,
    pub(super) stages: BTreeMap<StageIndex, Stage>,
    pub(super) air: Vec<Air>,
    pub(super) success_permille: Option<u16>,
    pub(super) end: Time,
    /// Times at which something happened that a figure shows.
    pub(super) times: BTreeSet<Time>,
    /// Since when the air use of a distributor is counted.
    sending_since: BTreeMap<About, Time>,
}

impl Story {
    /// The story of a run.
    pub(super) fn of(run: &RunRecord) -> Self {
        let mut story = Self::default();
        let wrong: BTreeSet<u64> = run.first_broken().map(|f| f.events.iter().copied().collect()).unwrap_or_default();
        for event in &run.events {
            story.end = story.end.max(event.at);
            story.on_event(event);
            if let (true, Some(node)) = (wrong.contains(&event.seq), event.about.node()) {
                story.mark(node, event, MarkKind::Wrong);
            }
        }
        story.end = story.end.max(run.ended);
        let end = story.end;
        for lane in story.lanes.values_mut() {
            lane.turn(end, None);
        }
        story.times.insert(Time::ZERO);
        story.times.insert(end);
        story
    }

    fn on_event(&mut self, event: &Event) {
        self.campaign(event);
        if let Fact::Interposed { from, to, .. } = &event.fact {
            let node = [to.as_ref(), Some(from)].into_iter().flatten().find_map(|party| match party {
                Party::Node(node) => Some(*node),
                Party::Gateway(_) | Party::AnyNode | Party::AnyGateway => None,
            });
            if let Some(node) = node {
                self.mark(node, event, MarkKind::Fault);
            }
        }
        let Some(node) = event.about.node() else { return };
        self.lane(node, event);
        match &event.fact {
            Fact::Reset { cause: ResetCause::Watchdog | ResetCause::Lockup, .. } | Fact::Crashed => {
                self.mark(node, event, MarkKind::Fall);
            }
            Fact::Reset { .. } => self.mark(node, event, MarkKind::Reset),
            Fact::MetadataDelivered { accepted: false, .. }
            | Fact::UpdatePhase { phase: UpdatePhase::VerificationFailed, .. }
            | Fact::BootDecided { verdict: BootVerdict::Rejected, .. } => self.mark(node, event, MarkKind::Refused),
            Fact::PowerCut { .. } | Fact::ProbeWrote { .. } => self.mark(node, event, MarkKind::Fault),
            _ => {}
        }
    }

    fn lane(&mut self, node: NodeId, event: &Event) {
        let lane = self.lanes.entry(node).or_default();
        let doing = match &event.fact {
            Fact::NodeProvisioned { running, .. } => {
                lane.began_with = Some(*running);
                Some(Doing::Old)
            }
            Fact::ImageStarted { digest, trial, .. } => match (*trial, lane.began_with == Some(*digest)) {
                (_, true) => Some(Doing::Old),
                (true, false) => Some(Doing::Trial),
                (false, false) => Some(Doing::New),
            },
            Fact::ConfirmationAcked { .. } if lane.now.is_some_and(|(_, doing)| doing == Doing::Trial) => {
                Some(Doing::New)
            }
            Fact::Reset { .. } | Fact::PowerOff | Fact::PowerCut { .. } | Fact::Crashed => Some(Doing::Down),
            Fact::MetadataDelivered { accepted: true, .. } => {
                lane.receiving = Some((event.at, None));
                None
            }
            Fact::TransferComplete { .. } => {
                if let Some((_, until)) = &mut lane.receiving {
                    until.get_or_insert(event.at);
                }
                None
            }
            Fact::NodeOutcome { outcome, .. } => {
                lane.outcome = Some(outcome.clone());
                None
            }
            _ => return,
        };
        if doing.is_some() {
            lane.turn(event.at, doing);
        }
        self.times.insert(event.at);
    }

    fn campaign(&mut self, event: &Event) {
        match &event.fact {
            Fact::CampaignStarted { success_permille, .. } => self.success_permille = Some(*success_permille),
            Fact::StageStarted { stage, nodes } => {
                let stage = self.stages.entry(*stage).or_default();
                stage.nodes.clone_from(nodes);
                stage.started.get_or_insert(event.at);
            }
            Fact::SoakStarted { stage, until, .. } => {
                self.stages.entry(*stage).or_default().soak = Some((event.at, *until));
            }
            Fact::StagePassed { stage, overridden, .. } => {
                let stage = self.stages.entry(*stage).or_default();
                stage.passed = true;
                stage.overridden = *overridden;
            }
            Fact::CampaignPaused { stage, reason, .. } => {
                self.stages.entry(*stage).or_default().paused = Some(reason.clone());
            }
            Fact::DistributionStarted { .. } => {
                self.sending_since.insert(event.about, event.at);
            }
            Fact::AirUse { peak_permille, throttle_permille, depth_permille, .. } => self.air.push(Air {
                from: self.sending_since.insert(event.about, event.at).unwrap_or(event.at),
                at: event.at,
                peak: *peak_permille,
                throttle: *throttle_permille,
                depth: *depth_permille,
            }),
            _ => return,
        }
        self.times.insert(event.at);
    }

    fn mark(&mut self, node: NodeId, event: &Event, kind: MarkKind) {
        self.times.insert(event.at);
        let lane = self.lanes.entry(node).or_default();
        if lane.marks.len() >= MAX_MARKS {
            lane.left_out += 1;
        } else {
            let text = format!("{} {}: {}", event.at, node, words::describe(&event.fact));
            lane.marks.push(Mark { at: event.at, kind, text });
        }
    }
}

impl Lane {
    /// Close what the node was doing and begin something else.
    fn turn(&mut self, at: Time, next: Option<Doing>) {
        if let Some((from, doing)) = self.now {
            if next == Some(doing) {
                return;
            }
            if self.segments.len() >= MAX_SEGMENTS {
                self.left_out += 1;
            } else if at > from {
                self.segments.push(Segment { from, to: at, doing });
            }
        }
        self.now = next.map(|doing| (at, doing));
    }

    /// Whether something out of the ordinary happened to this node.
    pub(super) fn notable(&self) -> bool {
        let plain = matches!(self.outcome, None | Some(Outcome::Updated));
        !plain || self.marks.iter().any(|mark| mark.kind != MarkKind::Reset)
    }
}
