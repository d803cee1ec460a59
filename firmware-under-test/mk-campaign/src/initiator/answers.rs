//! What the Initiator makes of answers.
//!
//! Answers that fit no open question are ignored: after a repeated request the answer comes twice.

use super::{Context, Initiator, MAX_RESUMES, Step, Upload, later};
use crate::journal::{DistributionEnd, ReceiverResult};
use alloc::boxed::Box;
use mk_wire::access::AccessMessage;
use mk_wire::distribution::{
    DistributionStatus, FirmwareStatus, Message, Phase, ReceiverList, ReceiverSet, Status, UploadPhase, UploadStatus,
};
use mk_wire::time::Instant;

impl Initiator {
    /// A message of the gateway. Octets that are no message are ignored: the link is ours, so they are a fault of the
    /// gateway that repeating the request may cure and patience bounds.
    pub fn on_message(&mut self, now: Instant, bytes: &[u8], context: &Context<'_>) {
        match AccessMessage::decode(bytes) {
            Ok(AccessMessage::Distribution(message)) => self.on_distribution(now, &message, context),
            Ok(AccessMessage::Blob(message)) => {
                if let Step::Uploading(upload) = &mut self.step {
                    upload.on_message(now, self.gateway, &message);
                    self.upload_progress(now);
                }
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn on_distribution(&mut self, now: Instant, message: &Message<'_>, context: &Context<'_>) {
        match message {
            Message::FirmwareStatus(status) => self.on_firmware(now, status, context),
            Message::UploadStatus(status) => self.on_upload(now, status, context),
            Message::ReceiversStatus { status, count } => self.on_receivers(now, *status, *count),
            Message::ReceiversList(list) => self.on_list(now, list, context),
            Message::Status(status) => self.on_status(now, status, context),
            // The rest are requests, which a gateway does not send, and capabilities, which are not asked for.
            _ => {}
        }
    }

    fn on_firmware(&mut self, now: Instant, status: &FirmwareStatus<'_>, context: &Context<'_>) {
        match self.step {
            Step::Find if status.fwid.is_some_and(|id| id != context.package.fwid().as_ref()) => {}
            Step::Find => match (status.status, status.image_index) {
                (Status::Success, Some(index)) => {
                    self.image_index = index;
                    self.go(now, Step::Look);
                }
                (Status::Success | Status::FirmwareNotFound, _) => self.go(now, Step::UploadStart),
                (other, _) => self.refused(other),
            },
            Step::MakeRoom | Step::Discard => match status.status {
                Status::Success => self.start_over(now),
                Status::BusyWithDistribution => self.restart(now, Step::Clear),
                other => self.refused(other),
            },
            _ => {}
        }
    }

    fn on_upload(&mut self, now: Instant, status: &UploadStatus<'_>, context: &Context<'_>) {
        let ours = status.upload.is_none_or(|upload| upload.fwid == context.package.fwid().as_ref());
        match self.step {
            Step::UploadStart => match (status.status, status.phase) {
                (Status::Success, UploadPhase::TransferSuccess) if ours => self.find(now),
                (Status::Success, UploadPhase::TransferActive) if ours => self.begin_upload(now, context),
                (Status::Success, UploadPhase::TransferError) | (Status::BusyWithUpload, _) => {
                    self.restart(now, Step::UploadCancel);
                }
                (Status::BusyWithDistribution, _) => self.restart(now, Step::Clear),
                (Status::InsufficientResources, _) => self.restart(now, Step::MakeRoom),
                // Another image of the same firmware id, for all that can be told from here.
                (Status::InternalError, _) => self.restart(now, Step::Discard),
                // The answer to an earlier Get or Cancel.
                (Status::Success, _) => {}
                (other, _) => self.refused(other),
            },
            Step::UploadCheck { sent } => match status.phase {
                UploadPhase::TransferSuccess if ours => self.find(now),
                // Being stored; asked again, and for how long, patience bounds.
                UploadPhase::TransferActive if ours && sent => {}
                UploadPhase::Idle => self.start_over(now),
                UploadPhase::TransferSuccess | UploadPhase::TransferActive | UploadPhase::TransferError => {
                    self.restart(now, Step::UploadCancel);
                }
            },
            Step::UploadCancel if status.phase == UploadPhase::Idle => self.start_over(now),
            _ => {}
        }
    }

    /// The gateway holds our image; where?
    fn find(&mut self, now: Instant) {
        self.image_checked = true;
        self.go(now, Step::Find);
    }

    fn begin_upload(&mut self, now: Instant, context: &Context<'_>) {
        match Upload::new(now, self.gateway, context) {
            Ok(upload) => self.step = Step::Uploading(Box::new(upload)),
            Err(_) => self.refused(Status::InternalError),
        }
    }

    /// Looks after the transfer of an upload: over, broken off, or going on.
    pub(super) fn upload_progress(&mut self, now: Instant) {
        if let Step::Uploading(upload) = &self.step
            && let Some(sent) = upload.result()
        {
            // The gateway may hold the image although its last answer was lost: it is asked either way.
            self.go(now, Step::UploadCheck { sent });
        }
    }

    fn on_receivers(&mut self, now: Instant, status: Status, count: u16) {
        match (&self.step, status) {
            (Step::Empty, Status::Success) if count == 0 => self.go(now, Step::Add { from: 0 }),
            (Step::Add { from }, Status::Success) => {
                let sent = (*from + ReceiverSet::MAX_ENTRIES).min(self.receivers.len());
                // A count that is short answers an earlier request.
                if usize::from(count) >= self.receivers.len() {
                    self.go(now, Step::Start);
                } else if usize::from(count) >= sent && sent < self.receivers.len() {
                    self.go(now, Step::Add { from: sent });
                }
            }
            (Step::Empty, Status::Success) => {}
            (Step::Empty | Step::Add { .. }, Status::BusyWithDistribution) => self.restart(now, Step::Clear),
            (Step::Empty | Step::Add { .. }, other) => self.refused(other),
            _ => {}
        }
    }

    fn on_status(&mut self, now: Instant, status: &DistributionStatus, context: &Context<'_>) {
        let ours = status.distribution.is_some_and(|d| d.multicast == self.group && d.image_index == self.image_index);
        match &self.step {
            Step::Look => self.looked(now, status.phase, ours),
            Step::Clear if status.phase == Phase::Idle => self.start_over(now),
            Step::Start => self.started(now, status, ours),
            Step::Poll => self.polled(now, status.phase, ours, context),
            Step::Suspend => match (status.status, status.phase) {
                (_, Phase::TransferSuspended) if ours => self.go(now, Step::Held),
                // Too late to suspend: it is being applied, or over. Applying goes on, as a reset cannot be called back.
                (Status::WrongPhase | Status::SuspendFailed, _) => {
                    self.go_at(later(now, context.timing.poll_interval), Step::Poll);
                }
                _ => {}
            },
            Step::Cancel { end } if status.phase == Phase::Idle => self.ended(*end),
            _ => {}
        }
    }

    /// What is at the gateway before anything was asked of it.
    fn looked(&mut self, now: Instant, phase: Phase, ours: bool) {
        match phase {
            Phase::Idle => self.begin(now),
            Phase::Completed if ours && self.adopt => self.collect(now, DistributionEnd::Completed),
            Phase::Failed if ours && self.adopt => self.collect(now, DistributionEnd::Failed),
            Phase::Completed | Phase::Failed => self.begin(now),
            Phase::TransferActive | Phase::TransferSuccess | Phase::ApplyingUpdate if ours && self.adopt => {
                self.go(now, if self.hold { Step::Suspend } else { Step::Poll });
            }
            Phase::TransferSuspended if ours && self.adopt => {
                self.go(now, if self.hold { Step::Held } else { Step::Start });
            }
            Phase::TransferActive
            | Phase::TransferSuccess
            | Phase::ApplyingUpdate
            | Phase::CancelingUpdate
            | Phase::TransferSuspended => self.restart(now, Step::Clear),
        }
    }

    /// Nothing of ours is there: begins with the receivers, once the image is known to be the right one.
    fn begin(&mut self, now: Instant) {
        self.go(now, if self.image_checked { Step::Empty } else { Step::UploadStart });
    }

    fn started(&mut self, now: Instant, status: &DistributionStatus, ours: bool) {
        match (status.status, status.phase) {
            (Status::Success, Phase::Idle | Phase::TransferSuspended) => {}
            (Status::Success, _) if ours => {
                self.adopt = true;
                self.go(now, if self.hold { Step::Suspend } else { Step::Poll });
            }
            (Status::Success, _) => {}
            (Status::BusyWithDistribution, _) => self.restart(now, Step::Clear),
            (Status::ReceiversListEmpty, _) => self.restart(now, Step::Empty),
            (Status::FirmwareNotFound, _) => self.start_over(now),
            (other, _) => self.refused(other),
        }
    }

    fn polled(&mut self, now: Instant, phase: Phase, ours: bool, context: &Context<'_>) {
        if !ours {
            // The gateway came back without its state, or somebody cancelled.
            self.start_over(now);
            return;
        }
        match phase {
            Phase::TransferActive | Phase::TransferSuccess | Phase::ApplyingUpdate => {
                self.listed = 0;
                self.go(now, Step::List { first: 0, last: None });
            }
            Phase::Completed => self.collect(now, DistributionEnd::Completed),
            Phase::Failed => self.collect(now, DistributionEnd::Failed),
            Phase::TransferSuspended if self.hold => self.go(now, Step::Held),
            Phase::TransferSuspended => {
                // Every receiver fell silent, or the gateway was restarted.
                self.resumes += 1;
                if self.resumes > MAX_RESUMES {
                    self.collect(now, DistributionEnd::Cancelled);
                } else {
                    self.go_at(later(now, context.timing.poll_interval), Step::Start);
                }
            }
            Phase::Idle | Phase::CancelingUpdate => {
                self.go_at(later(now, context.timing.poll_interval), Step::Poll);
            }
        }
    }

    /// Reads the receivers list a last time.
    fn collect(&mut self, now: Instant, end: DistributionEnd) {
        self.listed = 0;
        self.go(now, Step::List { first: 0, last: Some(end) });
    }

    fn on_list(&mut self, now: Instant, list: &ReceiverList<'_>, context: &Context<'_>) {
        let Step::List { first, last } = self.step else { return };
        if list.first_index != first {
            return;
        }
        let mut entries = 0u16;
        for report in list.iter() {
            entries += 1;
            let Some(index) = self.receivers.iter().position(|addr| *addr == report.address) else { continue };
            self.listed += 1;
            if let (Some(result), Some(percent)) = (self.results.get_mut(index), self.percent.get_mut(index)) {
                *result = ReceiverResult::new(report.phase, report.update_status);
                *percent = report.percent;
            }
        }
        let next = first.saturating_add(entries);
        if entries > 0 && next < list.count {
            self.go(now, Step::List { first: next, last });
            return;
        }
        match last {
            // Another's receivers: this distribution only looked like ours.
            Some(_) if self.listed < self.receivers.len() => {
                self.adopt = false;
                self.start_over(now);
            }
            // Given up by us: the gateway still has it suspended.
            Some(DistributionEnd::Cancelled) => self.go(now, Step::Cancel { end: DistributionEnd::Failed }),
            Some(end) => self.ended(end),
            None if self.hold => self.go(now, Step::Suspend),
            None => self.go_at(later(now, context.timing.poll_interval), Step::Poll),
        }
    }
}
