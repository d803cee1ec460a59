//! The request table of section 8, row by row.

use super::{Distributor, Stage, is_worth_another_try};
use crate::journal::GatewayRecord;
use crate::mesh::MAX_TARGETS;
use crate::outputs::Outputs;
use crate::receivers::Known;
use crate::settings::{Carrier, GatewaySettings};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use mk_wire::blob::TransferMode;
use mk_wire::distribution::{
    Capabilities, DistributionStatus, FirmwareStatus, Message, Multicast, Phase, ReceiverList, ReceiverReport,
    ReceiverSet, RunningDistribution, Start, Status,
};
use mk_wire::time::Instant;
use mk_wire::{Addr, FwidRef};

impl Distributor {
    /// A Firmware Distribution message of the Initiator.
    pub fn on_request(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        carriers: &BTreeMap<Addr, Carrier>,
        settings: &GatewaySettings,
        out: &mut Outputs,
    ) {
        match message {
            Message::ReceiversAdd(receivers) => self.on_receivers_add(receivers, carriers, out),
            Message::ReceiversDeleteAll => self.on_receivers_delete_all(out),
            Message::ReceiversGet { first_index, limit } => self.on_receivers_get(*first_index, *limit, out),
            Message::CapabilitiesGet => self.on_capabilities_get(settings, out),
            Message::Get => self.answer(Status::Success, out),
            Message::Start(start) => self.on_start(now, start, settings, out),
            Message::Suspend => self.on_suspend(now, out),
            Message::Cancel => self.on_cancel(now, settings, out),
            Message::Apply => self.on_apply(now, settings, out),
            Message::UploadGet => self.upload.answer(Status::Success, out),
            Message::UploadStart(start) => self.upload.start(now, start, &self.store, out),
            Message::UploadOobStart(_) => self.upload.answer(Status::UriNotSupported, out),
            Message::UploadCancel => self.upload.cancel(out),
            Message::FirmwareGet(fwid) => self.on_firmware_get(*fwid, out),
            Message::FirmwareGetByIndex(index) => self.on_firmware_get_by_index(*index, out),
            Message::FirmwareDelete(fwid) => self.on_firmware_delete(*fwid, out),
            Message::FirmwareDeleteAll => self.on_firmware_delete_all(out),
            // For the Initiator, not from it.
            Message::ReceiversStatus { .. }
            | Message::ReceiversList(_)
            | Message::CapabilitiesStatus(_)
            | Message::Status(_)
            | Message::UploadStatus(_)
            | Message::FirmwareStatus(_) => {}
        }
    }

    fn on_receivers_add(&mut self, set: &ReceiverSet<'_>, carriers: &BTreeMap<Addr, Carrier>, out: &mut Outputs) {
        let mut status = if self.is_busy() { Status::BusyWithDistribution } else { Status::Success };
        if status == Status::Success {
            let mut receivers = Vec::new();
            for entry in set.iter() {
                let carrier = carriers.get(&entry.address).copied().unwrap_or(Carrier::Mesh);
                if !self.receivers.add(entry, carrier) {
                    status = Status::InsufficientResources;
                    break;
                }
                receivers.push(entry);
            }
            self.receivers_changed = true;
            out.record(GatewayRecord::ReceiversAdded { receivers });
        }
        out.answer(Message::ReceiversStatus { status, count: self.receivers.count() });
    }

    fn on_receivers_delete_all(&mut self, out: &mut Outputs) {
        let status = if self.is_busy() { Status::BusyWithDistribution } else { Status::Success };
        if status == Status::Success {
            self.receivers.clear();
            self.receivers_changed = true;
            out.record(GatewayRecord::ReceiversDeleted);
        }
        out.answer(Message::ReceiversStatus { status, count: self.receivers.count() });
    }

    fn on_receivers_get(&self, first_index: u16, limit: u16, out: &mut Outputs) {
        let limit = usize::from(limit).min(ReceiverList::MAX_ENTRIES);
        let octets: Vec<u8> = self
            .receivers
            .iter()
            .skip(usize::from(first_index))
            .take(limit)
            .flat_map(|receiver| ReceiverReport::from(receiver).to_bytes())
            .collect();
        if let Some(list) = ReceiverList::new(self.receivers.count(), first_index, &octets) {
            out.answer(Message::ReceiversList(list));
        }
    }

    fn on_capabilities_get(&self, settings: &GatewaySettings, out: &mut Outputs) {
        let limits = &settings.limits;
        out.answer(Message::CapabilitiesStatus(Capabilities {
            max_receivers: limits.max_receivers,
            max_images: limits.max_images,
            max_image_size: limits.max_image_size,
            max_upload_space: limits.image_space,
            remaining_space: self.store.remaining_space(),
            oob_schemes: None,
        }));
    }

    /// States the distribution, with this status in front.
    fn answer(&self, status: Status, out: &mut Outputs) {
        let distribution = self.start.filter(|_| self.phase != Phase::Idle).map(|start| RunningDistribution {
            multicast: match start.multicast {
                Multicast::Address(address) => address,
                Multicast::Label(_) => Addr::UNASSIGNED,
            },
            app_key_index: start.app_key_index,
            ttl: start.ttl,
            timeout_base: start.timeout_base,
            mode: start.mode,
            policy: start.policy,
            image_index: start.image_index,
        });
        out.answer(Message::Status(DistributionStatus { status, phase: self.phase, distribution }));
    }

    fn on_start(&mut self, now: Instant, start: &Start, settings: &GatewaySettings, out: &mut Outputs) {
        let same = self.start == Some(*start);
        let status = match self.phase {
            Phase::TransferActive | Phase::TransferSuccess | Phase::ApplyingUpdate if same => Status::Success,
            Phase::TransferSuspended if same => {
                self.resume(now, settings, out);
                Status::Success
            }
            // The same once more, but for receivers that were changed since, is a new distribution.
            Phase::Completed if same && !self.receivers_changed => Status::Success,
            Phase::Idle | Phase::Completed | Phase::Failed => self.begin(now, start, settings, out),
            Phase::TransferActive
            | Phase::TransferSuccess
            | Phase::ApplyingUpdate
            | Phase::TransferSuspended
            | Phase::CancelingUpdate => Status::BusyWithDistribution,
        };
        self.answer(status, out);
    }

    fn begin(&mut self, now: Instant, start: &Start, settings: &GatewaySettings, out: &mut Outputs) -> Status {
        if self.receivers.is_empty() {
            return Status::ReceiversListEmpty;
        }
        if start.app_key_index != settings.app_key_index {
            return Status::InvalidAppKeyIndex;
        }
        let Some(image) = self.store.get(start.image_index) else { return Status::FirmwareNotFound };
        let addressable = match start.multicast {
            Multicast::Address(address) => address == Addr::UNASSIGNED || address.is_group(),
            Multicast::Label(_) => false,
        };
        if !addressable || start.mode != TransferMode::Push {
            return Status::InternalError;
        }
        let on_mesh = self.receivers.iter().filter(|receiver| receiver.carrier == Carrier::Mesh).count();
        if on_mesh > usize::from(settings.limits.group_max).min(MAX_TARGETS) {
            return Status::InsufficientResources;
        }
        out.record(GatewayRecord::DistributionStarted {
            image_sha256: image.image_sha256,
            blob_id: image.blob_id(),
            start: *start,
            receivers: self.receivers.iter().map(|receiver| receiver.address).collect(),
        });
        self.start = Some(*start);
        self.receivers_changed = false;
        self.receivers.begin_distribution();
        self.phase = Phase::TransferActive;
        self.begin_delivery(now, settings, out);
        Status::Success
    }

    fn resume(&mut self, now: Instant, settings: &GatewaySettings, out: &mut Outputs) {
        for place in self.receivers.places(|receiver| is_worth_another_try(receiver.known)) {
            self.receivers.learn(place, Known::NOTHING, out);
        }
        self.enter(Phase::TransferActive, out);
        self.begin_delivery(now, settings, out);
    }

    fn on_suspend(&mut self, now: Instant, out: &mut Outputs) {
        let status = match self.phase {
            Phase::TransferActive => {
                // Once the last receiver has failed there is nothing to suspend.
                if self.stage == Stage::Delivering {
                    self.mesh.suspend();
                    self.border.suspend(now);
                    self.stage = Stage::Rest;
                    self.enter(Phase::TransferSuspended, out);
                    Status::Success
                } else {
                    Status::SuspendFailed
                }
            }
            Phase::TransferSuspended => Status::Success,
            Phase::Idle
            | Phase::TransferSuccess
            | Phase::ApplyingUpdate
            | Phase::Completed
            | Phase::Failed
            | Phase::CancelingUpdate => Status::WrongPhase,
        };
        self.answer(status, out);
    }

    fn on_apply(&mut self, now: Instant, settings: &GatewaySettings, out: &mut Outputs) {
        let status = match self.phase {
            Phase::TransferSuccess => {
                self.enter(Phase::ApplyingUpdate, out);
                self.begin_applying(now, settings, out);
                self.advance(now, settings, out);
                Status::Success
            }
            Phase::ApplyingUpdate | Phase::Completed => Status::Success,
            Phase::Idle | Phase::TransferActive | Phase::Failed | Phase::CancelingUpdate | Phase::TransferSuspended => {
                Status::WrongPhase
            }
        };
        self.answer(status, out);
    }

    fn on_cancel(&mut self, now: Instant, settings: &GatewaySettings, out: &mut Outputs) {
        match self.phase {
            Phase::Idle | Phase::CancelingUpdate => {}
            Phase::Completed | Phase::Failed => {
                self.start = None;
                self.enter(Phase::Idle, out);
            }
            Phase::TransferActive | Phase::TransferSuccess | Phase::ApplyingUpdate | Phase::TransferSuspended => {
                self.enter(Phase::CancelingUpdate, out);
                self.begin_cancelling(now, settings, out);
                self.advance(now, settings, out);
            }
        }
        self.answer(Status::Success, out);
    }

    fn on_firmware_get(&self, fwid: FwidRef<'_>, out: &mut Outputs) {
        let found = self.store.find(fwid);
        let status = if found.is_some() { Status::Success } else { Status::FirmwareNotFound };
        self.answer_firmware(status, found.map(|(index, _)| index), Some(fwid), out);
    }

    fn on_firmware_get_by_index(&self, index: u16, out: &mut Outputs) {
        match self.store.get(index) {
            Some(image) => self.answer_firmware(Status::Success, Some(index), Some(image.fwid.as_ref()), out),
            None => self.answer_firmware(Status::FirmwareNotFound, None, None, out),
        }
    }

    fn on_firmware_delete(&mut self, fwid: FwidRef<'_>, out: &mut Outputs) {
        let status = if self.phase != Phase::Idle {
            Status::BusyWithDistribution
        } else {
            if self.store.delete(fwid)
                && let Some(fwid) = fwid.to_owned()
            {
                self.upload.forget_finished();
                out.record(GatewayRecord::ImageDeleted { fwid });
            }
            // What is not there is as good as deleted.
            Status::Success
        };
        self.answer_firmware(status, None, Some(fwid), out);
    }

    fn on_firmware_delete_all(&mut self, out: &mut Outputs) {
        let status = if self.phase != Phase::Idle {
            Status::BusyWithDistribution
        } else {
            self.store.delete_all();
            self.upload.forget_finished();
            out.record(GatewayRecord::ImagesDeleted);
            Status::Success
        };
        self.answer_firmware(status, None, None, out);
    }

    fn answer_firmware(&self, status: Status, index: Option<u16>, fwid: Option<FwidRef<'_>>, out: &mut Outputs) {
        let entry_count = self.store.count();
        out.answer(Message::FirmwareStatus(FirmwareStatus { status, entry_count, image_index: index, fwid }));
    }
}
