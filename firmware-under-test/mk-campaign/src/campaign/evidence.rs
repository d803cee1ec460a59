//! What a node's own words say about its update.
//!
//! Confirmations and reports decide outcomes at any time, also after the campaign ended; later words correct earlier ones.
//! A node's boot count orders its words: what was said before an earlier boot is old news, however late it arrives.

use super::Campaign;
use super::state::{NodeStep, State};
use crate::alert::AlertKind;
use crate::journal::Record;
use crate::outcome::Outcome;
use mk_wire::distribution::RetrievedPhase;
use mk_wire::time::Instant;
use mk_wire::vendor::{BootOutcome, Report};
use mk_wire::{Reason, Version};

/// What a report says about an image version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// Runs it, confirmed.
    Runs,
    /// Runs it on trial.
    Trial,
    /// Runs it, but never confirmed it: the bootloader had nothing to go back to.
    Kept,
    /// Tried or refused it and runs another.
    Verdict(Outcome),
    /// Runs another, and says nothing of it.
    Other,
}

/// Reads a report with a view to one version.
pub(super) fn read(report: &Report, version: Version) -> Reading {
    if report.running == version {
        // Whatever the bootloader decided last about another image: this one is what runs.
        return match report.outcome {
            BootOutcome::FirstBoot | BootOutcome::Unconfirmed => Reading::Trial,
            // Boot says `confirmed` of what it keeps for want of a golden image too. Only its reason tells the two apart.
            BootOutcome::Confirmed if !stands(report.reason) => Reading::Kept,
            BootOutcome::None | BootOutcome::Confirmed | BootOutcome::RolledBack | BootOutcome::Rejected => {
                Reading::Runs
            }
        };
    }
    match report.outcome {
        BootOutcome::RolledBack if report.about == version => Reading::Verdict(Outcome::RolledBack(report.reason)),
        BootOutcome::Rejected if report.about == version => Reading::Verdict(Outcome::Rejected(report.reason)),
        BootOutcome::RolledBack
        | BootOutcome::Rejected
        | BootOutcome::None
        | BootOutcome::FirstBoot
        | BootOutcome::Confirmed
        | BootOutcome::Unconfirmed => Reading::Other,
    }
}

/// Whether a confirmation that comes with this reason is one. A running bank restored from golden holds the image that was
/// confirmed; every other reason says why an image runs that nobody confirmed.
fn stands(reason: Reason) -> bool {
    matches!(reason, Reason::None | Reason::BankCorrupted)
}

/// What is said of a node that runs the new image without a confirmation, and will go on doing so.
const UNCONFIRMED: Outcome = Outcome::Failed(RetrievedPhase::ApplySuccess);

impl State {
    /// The version that is being distributed: the old one while an operator's roll-back runs.
    pub fn wanted_version(&self) -> Version {
        self.wanted_package().version
    }

    /// Did the distributor see this node refuse the image?
    pub fn was_refused(&self, index: usize) -> bool {
        self.nodes
            .get(index)
            .is_some_and(|node| node.result.metadata_refused || node.result.phase == RetrievedPhase::VerificationFailed)
    }
}

impl Campaign {
    /// A first-boot confirmation was heard. The node may miss the acknowledgement and roll back; its report will tell.
    pub(super) fn on_confirmed(&mut self, now: Instant, index: usize, boot_count: u32, version: Version) {
        let Some(outcome) = self.state.nodes.get(index).map(|node| node.outcome) else { return };
        if boot_count < self.boot_count(index) {
            return;
        }
        self.heard_boot(index, boot_count);
        let new = if version == self.state.setup.package.version {
            Outcome::Updated
        } else if self.state.is_reverse() && version == self.state.wanted_version() && is_updated(outcome) {
            Outcome::RolledBack(Reason::Cancelled)
        } else {
            return;
        };
        if outcome != Some(new) {
            self.decide(now, index, new);
        }
    }

    /// A node report.
    pub(super) fn on_report(&mut self, now: Instant, index: usize, report: &Report) {
        if report.boot_count < self.boot_count(index) {
            return;
        }
        self.heard_boot(index, report.boot_count);
        if let Some(live) = self.live.get_mut(index) {
            live.report = Some((now, *report));
        }
        if self.state.is_reverse() {
            self.read_in_reverse(now, index, report);
        } else {
            self.read_forward(now, index, report);
        }
    }

    fn read_forward(&mut self, now: Instant, index: usize, report: &Report) {
        let Some(node) = self.state.nodes.get(index).copied() else { return };
        let reading = read(report, self.state.setup.package.version);
        self.set_verified(index, reading == Reading::Runs);
        match reading {
            Reading::Runs if is_updated(node.outcome) => {}
            Reading::Runs => self.decide(now, index, Outcome::Updated),
            Reading::Trial => {}
            Reading::Kept if node.outcome == Some(UNCONFIRMED) => {}
            Reading::Kept if node.attempts > 0 || is_updated(node.outcome) => self.decide(now, index, UNCONFIRMED),
            Reading::Kept => {}
            Reading::Verdict(outcome) => {
                let old_news = node.prior_verdict == Some(report.boot_count) && !self.state.was_refused(index);
                if node.outcome == Some(outcome) {
                    return;
                }
                if is_updated(node.outcome) || (node.attempts > 0 && !old_news) {
                    self.decide(now, index, outcome);
                } else if node.attempts == 0 && node.prior_verdict != Some(report.boot_count) {
                    let node = report_source(&self.state, index);
                    self.commit(Record::PriorVerdict { node, boot_count: report.boot_count });
                }
            }
            Reading::Other if is_updated(node.outcome) => {
                self.decide(now, index, Outcome::RolledBack(Reason::None));
            }
            Reading::Other => {}
        }
    }

    /// While the old image is being distributed, the new one is what a node should get rid of.
    fn read_in_reverse(&mut self, now: Instant, index: usize, report: &Report) {
        let Some(node) = self.state.nodes.get(index).copied() else { return };
        // Whether somebody confirmed it does not matter here: it is there, or it is gone.
        let runs_new = matches!(read(report, self.state.setup.package.version), Reading::Runs | Reading::Kept);
        match read(report, self.state.wanted_version()) {
            Reading::Trial => {}
            Reading::Runs | Reading::Kept if is_updated(node.outcome) => {
                self.decide(now, index, Outcome::RolledBack(Reason::Cancelled));
            }
            Reading::Runs | Reading::Kept => {}
            // It will not take the old image: it stays on the new one, and that is the end of it.
            Reading::Verdict(_) if node.step == NodeStep::Settling && node.attempts > 0 && runs_new => {
                self.decide(now, index, Outcome::Updated);
            }
            Reading::Verdict(_) | Reading::Other if runs_new && !is_updated(node.outcome) => {
                self.decide(now, index, Outcome::Updated);
            }
            Reading::Verdict(_) | Reading::Other => {}
        }
    }

    /// Records an outcome, and tells the operator when it takes back an update.
    pub(super) fn decide(&mut self, now: Instant, index: usize, outcome: Outcome) {
        let Some(node) = self.state.nodes.get(index).copied() else { return };
        let addr = report_source(&self.state, index);
        let boot_count = self.boot_count(index);
        self.commit(Record::NodeOutcome { node: addr, stage: node.stage, at: now, outcome, boot_count });
        if is_updated(node.outcome) && !outcome.is_updated() && !self.state.is_reverse() {
            self.alert(now, AlertKind::ConfirmationWithdrawn { node: addr });
        }
    }

    /// Highest boot count heard of.
    fn boot_count(&self, index: usize) -> u32 {
        let journalled = self.state.nodes.get(index).map_or(0, |node| node.boot_count);
        self.live.get(index).map_or(0, |live| live.boot_count).max(journalled)
    }

    fn heard_boot(&mut self, index: usize, boot_count: u32) {
        if let Some(live) = self.live.get_mut(index) {
            live.boot_count = boot_count;
        }
    }

    fn set_verified(&mut self, index: usize, verified: bool) {
        if let Some(live) = self.live.get_mut(index) {
            live.verified = verified;
        }
    }
}

/// The address of the node at that index, which comes from the fleet itself.
fn report_source(state: &State, index: usize) -> mk_wire::Addr {
    state.fleet.node(index).map_or(mk_wire::Addr::UNASSIGNED, |node| node.addr)
}

pub(super) fn is_updated(outcome: Option<Outcome>) -> bool {
    outcome.is_some_and(Outcome::is_updated)
}
