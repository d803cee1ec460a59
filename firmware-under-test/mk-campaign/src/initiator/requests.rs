//! What the Initiator sends.

use super::{Context, Initiator, Step, later};
use mk_wire::access::{AccessMessage, Buffer};
use mk_wire::blob::TransferMode;
use mk_wire::distribution::{
    Message, Multicast, ReceiverEntry, ReceiverList, ReceiverSet, Start, UpdatePolicy, UploadStart,
};
use mk_wire::time::Instant;

/// Most receivers in one Receivers Get; what fits one answer.
const PAGE: u16 = ReceiverList::MAX_ENTRIES as u16;

impl Initiator {
    /// The next message to the gateway, if one is due.
    pub fn poll(&mut self, now: Instant, context: &Context<'_>) -> Option<Buffer> {
        if let Step::Uploading(upload) = &mut self.step {
            let message = upload.poll(now, context.image);
            self.upload_progress(now);
            return message;
        }
        if self.next_wakeup().is_none_or(|at| at > now) {
            return None;
        }
        if self.asked_since.is_some_and(|since| later(since, context.timing.gateway_patience) <= now) {
            self.lost();
            return None;
        }
        self.asked_since.get_or_insert(now);
        self.send_at = later(now, context.timing.gateway_wait);
        self.request(context)
    }

    /// The request of the current step. `None` only for steps that have none, or a package that `Campaign::new` refuses.
    fn request(&self, context: &Context<'_>) -> Option<Buffer> {
        let fwid = context.package.fwid();
        let mut octets = Buffer::new();
        let message = match &self.step {
            Step::Find => Message::FirmwareGet(fwid.as_ref()),
            Step::UploadStart => Message::UploadStart(UploadStart {
                ttl: context.radio.ttl,
                timeout_base: context.radio.timeout_base,
                blob_id: context.package.blob_id(),
                size: context.package.size,
                metadata: &context.package.metadata,
                fwid: fwid.as_ref(),
            }),
            Step::UploadCheck { .. } => Message::UploadGet,
            Step::UploadCancel => Message::UploadCancel,
            Step::Discard => Message::FirmwareDelete(fwid.as_ref()),
            Step::MakeRoom => Message::FirmwareDeleteAll,
            Step::Look | Step::Poll => Message::Get,
            Step::Clear | Step::Cancel { .. } => Message::Cancel,
            Step::Empty => Message::ReceiversDeleteAll,
            Step::Add { from } => {
                for address in self.receivers.iter().skip(*from).take(ReceiverSet::MAX_ENTRIES) {
                    octets.extend_from_slice(&ReceiverEntry { address: *address, image_index: 0 }.to_bytes()).ok()?;
                }
                Message::ReceiversAdd(ReceiverSet::from_bytes(&octets)?)
            }
            Step::Start => Message::Start(Start {
                app_key_index: context.radio.app_key_index,
                ttl: context.radio.ttl,
                timeout_base: context.radio.timeout_base,
                mode: TransferMode::Push,
                policy: UpdatePolicy::VerifyAndApply,
                image_index: self.image_index,
                multicast: Multicast::Address(self.group),
            }),
            Step::List { first, .. } => Message::ReceiversGet { first_index: *first, limit: PAGE },
            Step::Suspend => Message::Suspend,
            Step::Uploading(_) | Step::Held | Step::Stuck | Step::Done => return None,
        };
        AccessMessage::from(message).to_buffer().ok()
    }
}
