//! What the answers of mesh nodes mean in each step.

use super::{Context, Mesh, Step};
use crate::journal::GatewayRecord;
use crate::receivers::Known;
use mk_wire::Addr;
use mk_wire::config;
use mk_wire::distribution::RetrievedPhase;
use mk_wire::update::{self, Effect, InformationStatus, Phase, Status, UpdateStatus};

impl Mesh {
    /// A Firmware Update answer of a node.
    pub fn on_update(&mut self, cx: &mut Context<'_>, from: Addr, message: &update::Message<'_>) {
        let Some(place) = self.awaited(cx, from) else { return };
        match message {
            update::Message::Status(status) => match self.step {
                Step::Start => self.on_start_answer(cx, place, status),
                Step::Verify => self.on_verify_answer(cx, place, status),
                Step::Apply => self.on_apply_answer(cx, place, status),
                Step::Cancel => self.on_cancel_answer(cx, place, status),
                Step::Idle | Step::Subscribe(_) | Step::Transfer | Step::Confirm | Step::Unsubscribe(_) => {}
            },
            update::Message::InformationStatus(status) if self.step == Step::Confirm => {
                self.on_confirm_answer(cx, place, status);
            }
            // Not asked for now, or for servers.
            update::Message::InformationStatus(_)
            | update::Message::MetadataStatus { .. }
            | update::Message::InformationGet { .. }
            | update::Message::MetadataCheck { .. }
            | update::Message::Get
            | update::Message::Start(_)
            | update::Message::Cancel
            | update::Message::Apply => {}
        }
        self.advance(cx);
    }

    /// A Configuration answer of a node.
    pub fn on_config(&mut self, cx: &mut Context<'_>, from: Addr, message: &config::Message) {
        let (config::Message::SubscriptionStatus { status, subscription }, Some(place)) =
            (*message, self.awaited(cx, from))
        else {
            return;
        };
        let (Step::Subscribe(model) | Step::Unsubscribe(model)) = self.step else { return };
        let expected = super::subscription_at(cx, place, model);
        if expected != Some(subscription) {
            return;
        }
        let succeeded = status == config::Status::Success;
        if let Step::Subscribe(_) = self.step {
            // From the first model on, so that a half-formed subscription is dissolved as well.
            if let Some(receiver) = cx.receivers.get_mut(place).filter(|_| succeeded) {
                receiver.subscribed = true;
            }
            if !succeeded {
                cx.receivers.drop_for(place, Status::InternalError, cx.out);
            }
        }
        self.settle(place);
        self.advance(cx);
    }

    /// The receiver's place, if the current step waits for its answer.
    fn awaited(&self, cx: &Context<'_>, from: Addr) -> Option<usize> {
        let place = cx.receivers.place_of(from)?;
        self.asker.as_ref().is_some_and(|asker| asker.awaits(place)).then_some(place)
    }

    fn settle(&mut self, place: usize) {
        if let Some(asker) = &mut self.asker {
            asker.settle(place);
        }
    }

    fn on_start_answer(&mut self, cx: &mut Context<'_>, place: usize, answer: &UpdateStatus) {
        let ours = answer.update.is_some_and(|update| update.blob_id == cx.image.blob_id());
        let accepted = match (answer.status, answer.phase) {
            (Status::Success, Phase::TransferActive) if ours => Some(RetrievedPhase::TransferActive),
            // It holds the image already.
            (Status::Success, Phase::VerifyingUpdate) if ours => Some(RetrievedPhase::VerifyingUpdate),
            (Status::Success, Phase::VerificationSucceeded) if ours => Some(RetrievedPhase::VerificationSucceeded),
            (Status::Success, Phase::ApplyingUpdate) if ours => Some(RetrievedPhase::ApplyingUpdate),
            // Anything else that is well is an answer to an older question.
            (Status::Success, _) => return,
            (Status::WrongPhase, phase) if phase != Phase::ApplyingUpdate && self.clear_once(cx, place) => return,
            (_, _) => None,
        };
        self.note_metadata(cx, place, accepted.is_some(), answer.status);
        if let Some(receiver) = cx.receivers.get_mut(place) {
            receiver.effect = answer.update.map_or(Effect::CompositionUnchanged, |update| update.effect);
        }
        match accepted {
            Some(phase) => cx.receivers.set_phase(place, phase, cx.out),
            None => {
                let known = Known { phase: retrieved(answer.phase), update_status: answer.status, ..Known::NOTHING };
                cx.receivers.learn(place, known, cx.out);
            }
        }
        self.settle(place);
    }

    /// A node that missed the cancellation of another update refuses this one for ever: it is told once more, and asked
    /// again in the next round. False if that was tried before.
    fn clear_once(&self, cx: &mut Context<'_>, place: usize) -> bool {
        let Some(receiver) = cx.receivers.get_mut(place).filter(|receiver| !receiver.cleared) else { return false };
        receiver.cleared = true;
        let to = receiver.address;
        cx.out.send_mesh(to, cx.start.ttl, &update::Message::Cancel.into());
        true
    }

    fn note_metadata(&self, cx: &mut Context<'_>, place: usize, accepted: bool, status: Status) {
        let (Some(receiver), true) = (cx.receivers.get(place), accepted || status == Status::MetadataCheckFailed)
        else {
            return;
        };
        cx.out.record(GatewayRecord::MetadataDelivered {
            node: receiver.address,
            metadata_sha256: cx.image.metadata_sha256,
            facts: cx.image.facts(),
            accepted,
        });
    }

    fn on_verify_answer(&mut self, cx: &mut Context<'_>, place: usize, answer: &UpdateStatus) {
        let ours = answer.update.is_some_and(|update| update.blob_id == cx.image.blob_id());
        match (answer.status, answer.phase) {
            // Still at it, or an answer to Update Start that took its time.
            (Status::Success, Phase::VerifyingUpdate | Phase::TransferActive) => return,
            (Status::Success, Phase::VerificationSucceeded) if ours => {
                cx.receivers.set_phase(place, RetrievedPhase::VerificationSucceeded, cx.out);
            }
            (Status::Success, Phase::VerificationFailed) if ours => {
                cx.receivers.set_phase(place, RetrievedPhase::VerificationFailed, cx.out);
            }
            (Status::Success, Phase::TransferError) if ours => {
                cx.receivers.set_phase(place, RetrievedPhase::TransferError, cx.out);
            }
            // It dropped the update, or is at another one.
            (Status::Success, _) => {
                let known =
                    Known { phase: retrieved(answer.phase), update_status: Status::InternalError, ..Known::NOTHING };
                cx.receivers.learn(place, known, cx.out);
            }
            (status, _) => cx.receivers.drop_for(place, status, cx.out),
        }
        self.settle(place);
    }

    fn on_apply_answer(&mut self, cx: &mut Context<'_>, place: usize, answer: &UpdateStatus) {
        match (answer.status, answer.phase) {
            // Asked on until it is back from its reset.
            (Status::Success, Phase::ApplyingUpdate) => {
                cx.receivers.set_phase(place, RetrievedPhase::ApplyingUpdate, cx.out);
                return;
            }
            // Back: what it runs is read in the next step.
            (Status::WrongPhase, Phase::Idle) => cx.receivers.set_phase(place, RetrievedPhase::ApplyingUpdate, cx.out),
            // It was reset for another reason and verifies the staged image once more before it honours Apply.
            (Status::WrongPhase, Phase::VerifyingUpdate) => return,
            // An answer of the step before, Verification Succeeded foremost: neither counted nor held against the node.
            (Status::Success, _) => return,
            (status, _) => {
                let known = Known { phase: RetrievedPhase::ApplyFailed, update_status: status, ..Known::NOTHING };
                cx.receivers.learn(place, known, cx.out);
            }
        }
        self.settle(place);
    }

    fn on_confirm_answer(&mut self, cx: &mut Context<'_>, place: usize, answer: &InformationStatus<'_>) {
        let Some(receiver) = cx.receivers.get(place) else { return };
        let wanted = usize::from(receiver.image_index);
        let Some(first) = wanted.checked_sub(usize::from(answer.first_index)) else { return };
        let runs_new = answer.images.iter().nth(first).is_some_and(|image| image.fwid == cx.image.fwid.as_ref());
        // A node that was to be unprovisioned by the update cannot answer with our keys any more.
        let applied = runs_new && receiver.effect != Effect::Unprovisioned;
        let phase = if applied { RetrievedPhase::ApplySuccess } else { RetrievedPhase::ApplyFailed };
        cx.receivers.set_phase(place, phase, cx.out);
        self.settle(place);
    }

    fn on_cancel_answer(&mut self, cx: &mut Context<'_>, place: usize, answer: &UpdateStatus) {
        // Anything else is an overtaken answer to another request.
        if (answer.status, answer.phase) == (Status::Success, Phase::Idle) {
            cx.receivers.set_phase(place, RetrievedPhase::TransferCanceled, cx.out);
            self.settle(place);
        }
    }
}

/// The phase a Receivers List states for what a node said of itself.
pub(crate) const fn retrieved(phase: Phase) -> RetrievedPhase {
    match phase {
        Phase::Idle => RetrievedPhase::Idle,
        Phase::TransferError => RetrievedPhase::TransferError,
        Phase::TransferActive => RetrievedPhase::TransferActive,
        Phase::VerifyingUpdate => RetrievedPhase::VerifyingUpdate,
        Phase::VerificationSucceeded => RetrievedPhase::VerificationSucceeded,
        Phase::VerificationFailed => RetrievedPhase::VerificationFailed,
        Phase::ApplyingUpdate => RetrievedPhase::ApplyingUpdate,
    }
}
