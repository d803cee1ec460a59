//! Thread receivers of a distribution: where each stands, when it is asked, when it is given up.

use super::exchange::{Outcome, Purpose};
use super::{BorderRouter, Site};
use crate::journal::GatewayRecord;
use crate::mesh::{ready_to_apply, retrieved};
use crate::receivers::{Known, Receiver};
use crate::settings::Carrier;
use mk_wire::coap::Code;
use mk_wire::distribution::RetrievedPhase;
use mk_wire::time::Instant;
use mk_wire::update::{Phase, Status};
use mk_wire::vendor::{self, BootOutcome, Report};
use mk_wire::{Addr, FwidRef, blob};

/// What is wanted of a receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Fetch the image and verify it.
    Deliver,
    /// Fetching is suspended.
    Suspended,
    /// Wait: verified, or given up.
    Rest,
    /// Accept Apply.
    Apply,
    /// Come back from the reset and tell the version.
    Confirm,
}

/// A Thread receiver of the running distribution.
pub(super) struct Target {
    stage: Stage,
    /// Last time it came nearer to its goal.
    pub progress_at: Instant,
    heard_at: Instant,
    asked_at: Instant,
    stage_since: Instant,
    /// It has had the manifest of this distribution.
    told: bool,
    /// Its acceptance or refusal of the manifest is in the journal.
    recorded: bool,
    /// Its whole transfer is in the journal.
    completed: bool,
    /// When to look at it again.
    pub due: Option<Instant>,
}

impl Target {
    fn new(now: Instant, stage: Stage) -> Self {
        Target {
            stage,
            progress_at: now,
            heard_at: now,
            asked_at: now,
            stage_since: now,
            told: false,
            recorded: false,
            completed: false,
            due: Some(now),
        }
    }

    /// Is the image on offer to this receiver, now or after a suspension?
    pub fn is_offered(&self) -> bool {
        matches!(self.stage, Stage::Deliver | Stage::Suspended)
    }

    pub fn may_fetch(&self) -> bool {
        self.stage == Stage::Deliver
    }

    /// The answer with the last block has left.
    pub fn sent_last(&mut self, now: Instant) {
        self.progress_at = now;
        self.heard_at = now;
        self.due = Some(now);
    }

    fn enter(&mut self, now: Instant, stage: Stage) {
        self.stage = stage;
        self.stage_since = now;
        self.due = Some(now);
    }

    /// The node asks for the image, so it has accepted the metadata.
    pub fn begin_fetching(&mut self, site: &mut Site<'_>, node: Addr) {
        self.told = true;
        self.record_metadata(site, node, true);
        let Some(place) = site.receivers.place_of(node) else { return };
        let begins = site.receivers.get(place).is_some_and(|r| r.is_in(RetrievedPhase::Unknown));
        if begins {
            site.receivers.set_phase(place, RetrievedPhase::TransferActive, site.out);
        }
    }

    fn record_metadata(&mut self, site: &mut Site<'_>, node: Addr, accepted: bool) {
        if let Some(image) = site.image.filter(|_| !self.recorded) {
            self.recorded = true;
            site.out.record(GatewayRecord::MetadataDelivered {
                node,
                metadata_sha256: image.metadata_sha256,
                facts: image.facts(),
                accepted,
            });
        }
    }
}

impl BorderRouter {
    /// Offers the image to every Thread receiver that takes part.
    pub fn deliver(&mut self, site: &mut Site<'_>) {
        self.targets.clear();
        self.fetches.clear();
        let nodes = thread_receivers(site, Receiver::takes_part);
        for node in nodes {
            self.targets.insert(node, Target::new(site.now, Stage::Deliver));
            self.notify(site, node);
        }
    }

    /// Applies the image at every Thread receiver that has verified it.
    pub fn apply(&mut self, site: &mut Site<'_>) {
        self.fetches.clear();
        for node in thread_receivers(site, ready_to_apply) {
            let applying = site.receivers.iter().any(|r| r.address == node && r.is_in(RetrievedPhase::ApplyingUpdate));
            let stage = if applying { Stage::Confirm } else { Stage::Apply };
            self.targets.insert(node, Target::new(site.now, stage));
            if !applying {
                self.exchanges.push(node, Purpose::Apply);
            }
        }
    }

    /// Answers requests for the image with 5.03 from now on.
    pub fn suspend(&mut self, now: Instant) {
        self.fetches.clear();
        for target in self.targets.values_mut().filter(|target| target.stage == Stage::Deliver) {
            target.enter(now, Stage::Suspended);
        }
    }

    /// The window has closed: what waited for air time is answered with 5.03 when it is asked again.
    pub fn hold(&mut self) {
        self.fetches.clear();
    }

    /// Nothing is on offer any more. Nodes that observe are told; the others learn it from 4.04.
    pub fn withdraw(&mut self, site: &mut Site<'_>) {
        self.fetches.clear();
        let targets = core::mem::take(&mut self.targets);
        for node in targets.into_keys() {
            self.exchanges.withdraw(node, |purpose| matches!(purpose, Purpose::Apply | Purpose::Version));
            self.notify(site, node);
        }
    }

    /// The distribution is over: nothing more is said about it.
    pub fn finish(&mut self) {
        self.fetches.clear();
        self.targets.clear();
    }

    /// Is anybody still on the way to a goal?
    pub fn is_settled(&self) -> bool {
        self.targets.values().all(|target| matches!(target.stage, Stage::Rest))
    }

    /// Tells an observer what the manifest is now.
    fn notify(&mut self, site: &mut Site<'_>, node: Addr) {
        let Some(token) = self.observers.get(&node).copied() else { return };
        let (etag, body) = self.manifest(site, node);
        self.sequence = (self.sequence + 1) & 0x00FF_FFFF;
        self.exchanges.push(node, Purpose::Notify { token, sequence: self.sequence, etag, body });
    }

    /// A node was heard, whatever it said.
    pub(super) fn heard(&mut self, now: Instant, node: Addr) {
        if let Some(target) = self.targets.get_mut(&node) {
            target.heard_at = now;
        }
    }

    /// A node got the manifest.
    pub(super) fn manifest_told(&mut self, now: Instant, node: Addr) {
        if let Some(target) = self.targets.get_mut(&node).filter(|target| !target.told) {
            target.told = true;
            target.progress_at = now;
            // A node that already holds the image, or refuses it, will not ask for it: ask soon.
            target.asked_at = now;
        }
    }

    /// What is due: questions to silent receivers, and the end of those that stayed silent.
    pub fn on_timer(&mut self, site: &mut Site<'_>, window_open: bool) {
        let due: alloc::vec::Vec<Addr> = self
            .targets
            .iter()
            .filter(|(_, t)| t.due.is_some_and(|at| at <= site.now))
            .map(|(node, _)| *node)
            .collect();
        for node in due {
            self.look_at(site, node, window_open);
        }
    }

    fn look_at(&mut self, site: &mut Site<'_>, node: Addr, window_open: bool) {
        let now = site.now;
        let busy = self.exchanges.is_busy(node);
        let Some(place) = site.receivers.place_of(node) else {
            self.targets.remove(&node);
            return;
        };
        let verifying = site.receivers.get(place).is_some_and(|r| r.is_in(RetrievedPhase::VerifyingUpdate));
        let thread = &site.settings.thread;
        let patience = &site.settings.patience;
        let Some(target) = self.targets.get_mut(&node) else { return };
        let (interval, limit) = match target.stage {
            Stage::Deliver if verifying => (patience.verify_interval, target.progress_at + patience.verify_deadline),
            Stage::Deliver => (thread.poll_interval, target.progress_at + thread.patience),
            Stage::Apply | Stage::Confirm => (patience.apply_interval, target.stage_since + patience.apply_deadline),
            Stage::Suspended | Stage::Rest => {
                target.due = None;
                return;
            }
        };
        if target.stage == Stage::Deliver && !verifying && !window_open {
            // Nobody can make progress: the time does not count.
            target.progress_at = now;
            target.due = Some(now + interval);
            return;
        }
        if now >= limit {
            let delivering = target.stage == Stage::Deliver;
            target.enter(now, Stage::Rest);
            if delivering {
                site.receivers.drop_for(place, Status::InternalError, site.out);
            } else {
                site.receivers.set_phase(place, RetrievedPhase::ApplyFailed, site.out);
            }
            self.exchanges.withdraw(node, |_| true);
            return;
        }
        let quiet_since = target.heard_at.max(target.asked_at).max(target.stage_since);
        if now >= quiet_since + interval && !busy {
            target.asked_at = now;
            let purpose = match target.stage {
                Stage::Confirm => Purpose::Version,
                Stage::Apply => Purpose::Apply,
                Stage::Deliver | Stage::Suspended | Stage::Rest => {
                    self.send_vendor(node, vendor::Message::ReportGet);
                    self.schedule(node, now + interval, limit);
                    return;
                }
            };
            self.exchanges.push(node, purpose);
            self.schedule(node, now + interval, limit);
        } else {
            self.schedule(node, (quiet_since + interval).max(now + patience.unicast_gap), limit);
        }
    }

    fn schedule(&mut self, node: Addr, at: Instant, limit: Instant) {
        if let Some(target) = self.targets.get_mut(&node) {
            target.due = Some(at.min(limit));
        }
    }

    /// A node's report, as far as the distribution goes.
    pub fn on_report(&mut self, site: &mut Site<'_>, node: Addr, report: &Report) {
        let (Some(image), Some(place)) = (site.image, site.receivers.place_of(node)) else { return };
        let offered = image.facts().map(|facts| facts.version);
        // An offer whose metadata cannot be read has no version that a refusal could name.
        let about_ours = offered.is_none_or(|version| report.about == version);
        let Some(target) = self.targets.get_mut(&node) else { return };
        match target.stage {
            // What a node says before it had the manifest is about something else.
            Stage::Deliver if !target.told => {}
            // It has this image already, and will not fetch it again.
            Stage::Deliver if Some(report.running) == offered && report.update_phase == Phase::Idle => {
                target.record_metadata(site, node, true);
                self.applied(site, node, place, true);
            }
            Stage::Deliver => {
                // What it rolled back or refused before, it does not fetch again either.
                let refused = about_ours && matches!(report.outcome, BootOutcome::Rejected | BootOutcome::RolledBack);
                self.on_delivery_report(site, node, place, report.update_phase, refused);
            }
            Stage::Apply | Stage::Confirm if Some(report.running) == offered => self.applied(site, node, place, true),
            // Back on the old image, and it says that it was this one that it gave up.
            Stage::Apply | Stage::Confirm if about_ours => match report.outcome {
                BootOutcome::RolledBack | BootOutcome::Rejected => self.applied(site, node, place, false),
                BootOutcome::None | BootOutcome::FirstBoot | BootOutcome::Confirmed | BootOutcome::Unconfirmed => {}
            },
            Stage::Confirm | Stage::Suspended | Stage::Rest | Stage::Apply => {}
        }
    }

    fn on_delivery_report(&mut self, site: &mut Site<'_>, node: Addr, place: usize, phase: Phase, refused: bool) {
        let now = site.now;
        let Some(target) = self.targets.get_mut(&node) else { return };
        match phase {
            Phase::VerifyingUpdate | Phase::VerificationSucceeded | Phase::VerificationFailed => {
                target.record_metadata(site, node, true);
                if let (false, Some(image)) = (target.completed, site.image) {
                    target.completed = true;
                    target.progress_at = now;
                    if let Some(receiver) = site.receivers.get_mut(place) {
                        receiver.percent = 100;
                    }
                    site.out.record(GatewayRecord::TransferComplete { node, image_sha256: image.image_sha256 });
                }
                site.receivers.set_phase(place, retrieved(phase), site.out);
                if phase != Phase::VerifyingUpdate {
                    target.enter(now, Stage::Rest);
                }
            }
            Phase::Idle if refused => {
                target.record_metadata(site, node, false);
                target.enter(now, Stage::Rest);
                let known = Known {
                    phase: RetrievedPhase::Idle,
                    update_status: Status::MetadataCheckFailed,
                    transfer_status: blob::Status::Success,
                };
                site.receivers.learn(place, known, site.out);
            }
            // It is not fetching: the manifest was lost on it, or it gave up; tell it again.
            Phase::Idle | Phase::TransferError => self.notify(site, node),
            Phase::TransferActive | Phase::ApplyingUpdate => {}
        }
    }

    fn applied(&mut self, site: &mut Site<'_>, node: Addr, place: usize, success: bool) {
        if let Some(target) = self.targets.get_mut(&node) {
            target.enter(site.now, Stage::Rest);
            let phase = if success { RetrievedPhase::ApplySuccess } else { RetrievedPhase::ApplyFailed };
            site.receivers.set_phase(place, phase, site.out);
        }
        self.exchanges.withdraw(node, |purpose| *purpose == Purpose::Version);
    }

    /// One of our own messages ended.
    pub fn on_ended(&mut self, site: &mut Site<'_>, node: Addr, purpose: &Purpose, outcome: &Outcome) {
        match (purpose, outcome) {
            (Purpose::Notify { body, .. }, Outcome::Response(..)) if !body.is_empty() => {
                self.manifest_told(site.now, node);
            }
            (Purpose::Notify { .. }, Outcome::Reset | Outcome::Timeout) => self.remove_observer(site, node),
            (Purpose::Apply, Outcome::Response(code, _)) => self.on_apply_answer(site, node, *code),
            (Purpose::Version, Outcome::Response(Code::CONTENT, fwid)) => {
                let runs_new = site.image.is_some_and(|i| FwidRef::from_bytes(fwid) == Some(i.fwid.as_ref()));
                let confirming = self.targets.get(&node).is_some_and(|target| target.stage == Stage::Confirm);
                if let Some(place) = site.receivers.place_of(node).filter(|_| confirming) {
                    self.applied(site, node, place, runs_new);
                }
            }
            // Asked again when the node has been silent for a while.
            (Purpose::Notify { .. } | Purpose::Vendor(_) | Purpose::Apply | Purpose::Version, _) => {}
        }
    }

    fn on_apply_answer(&mut self, site: &mut Site<'_>, node: Addr, code: Code) {
        let Some(place) = site.receivers.place_of(node) else { return };
        let Some(target) = self.targets.get_mut(&node).filter(|target| target.stage == Stage::Apply) else { return };
        // A refusal says little: the node may be back from its reset already, because the answer to our first request was
        // lost or this gateway was restarted. What it runs decides.
        if code != Code::SERVICE_UNAVAILABLE {
            target.enter(site.now, Stage::Confirm);
        }
        if code.class() == 2 {
            site.receivers.set_phase(place, RetrievedPhase::ApplyingUpdate, site.out);
        }
    }
}

fn thread_receivers(site: &Site<'_>, wanted: impl Fn(&Receiver) -> bool) -> alloc::vec::Vec<Addr> {
    site.receivers.iter().filter(|r| r.carrier == Carrier::Thread && wanted(r)).map(|r| r.address).collect()
}
