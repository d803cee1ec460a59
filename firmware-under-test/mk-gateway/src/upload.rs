//! Upload of an image by MeshOS: a BLOB transfer over the backhaul into RAM, then into the images list.
//!
//! An upload that is running when the gateway dies is lost, and MeshOS starts it again: a backhaul moves an image in
//! seconds, so keeping half of one is not worth a record per block. Upload out of band (the gateway fetching from a URI)
//! is refused.

use crate::journal::GatewayRecord;
use crate::outputs::Outputs;
use crate::settings::GatewaySettings;
use crate::store::{ImageStore, StoredImage};
use alloc::vec::Vec;
use mk_blob::server::{BlobServer, BlockSink, PullPolicy, ServerEvent, SinkError};
use mk_wire::blob::{self, BlobId, Capabilities};
use mk_wire::distribution::{Message, Status, Upload as Progress, UploadPhase, UploadStart, UploadStatus};
use mk_wire::time::Instant;
use mk_wire::{Addr, Fwid};

/// Smallest and largest block of an upload, as powers of two.
const BLOCK_SIZE_LOGS: (u8, u8) = (6, 16);
/// Largest chunk of an upload: an access message less opcode and number.
const MAX_CHUNK: u16 = 377;

/// The image being received, in RAM.
#[derive(Default)]
struct Received {
    octets: Vec<u8>,
    block_at: usize,
}

impl BlockSink for Received {
    fn begin_transfer(&mut self, size: u32) -> Result<(), SinkError> {
        // The room was promised at Upload Start; a BLOB of another size is another image.
        if usize::try_from(size) == Ok(self.octets.len()) { Ok(()) } else { Err(SinkError) }
    }

    fn begin_block(&mut self, offset: u32, _len: u32) -> Result<(), SinkError> {
        self.block_at = usize::try_from(offset).map_err(|_| SinkError)?;
        Ok(())
    }

    fn chunk(&mut self, offset_in_block: u32, data: &[u8]) {
        let at = self.block_at.saturating_add(usize::try_from(offset_in_block).unwrap_or(usize::MAX));
        if let Some(place) = self.octets.get_mut(at..at.saturating_add(data.len())) {
            place.copy_from_slice(data);
        }
    }

    fn end_block(&mut self, _block: u16, _offset: u32, _len: u32) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What Upload Start asked for.
#[derive(PartialEq, Eq)]
struct Wanted {
    ttl: u8,
    timeout_base: u16,
    blob_id: BlobId,
    size: u32,
    metadata: Vec<u8>,
    fwid: Fwid,
}

/// The upload and its BLOB Transfer Server.
pub(crate) struct Upload {
    phase: UploadPhase,
    wanted: Option<Wanted>,
    received: Received,
    server: BlobServer,
    initiator: Addr,
}

impl Upload {
    pub fn new(settings: &GatewaySettings) -> Self {
        let capabilities = Capabilities {
            min_block_size_log: BLOCK_SIZE_LOGS.0,
            max_block_size_log: BLOCK_SIZE_LOGS.1,
            max_total_chunks: mk_blob::MAX_CHUNKS,
            max_chunk_size: MAX_CHUNK,
            max_blob_size: settings.limits.max_image_size,
            server_mtu: blob::arithmetic::MAX_MTU,
            push: true,
            pull: true,
        };
        Upload {
            phase: UploadPhase::Idle,
            wanted: None,
            received: Received::default(),
            server: BlobServer::new(capabilities, PullPolicy::default()),
            initiator: settings.initiator,
        }
    }

    pub fn next_wakeup(&self) -> Option<Instant> {
        self.server.next_wakeup()
    }

    /// A BLOB Transfer message of the Initiator.
    pub fn on_blob(&mut self, now: Instant, message: &blob::Message<'_>, store: &mut ImageStore, out: &mut Outputs) {
        if let Some(reply) = self.server.on_message(now, self.initiator, message, &mut self.received) {
            out.answer_with(reply.message);
        }
        self.take_events(store, out);
    }

    pub fn on_timer(&mut self, now: Instant, store: &mut ImageStore, out: &mut Outputs) {
        if self.next_wakeup().is_some_and(|at| at <= now) {
            if let Some(reply) = self.server.on_timer(now) {
                out.answer_with(reply.message);
            }
            self.take_events(store, out);
        }
    }

    pub fn start(&mut self, now: Instant, start: &UploadStart<'_>, store: &ImageStore, out: &mut Outputs) {
        let status = self.try_start(now, start, store);
        self.answer(status, out);
    }

    fn try_start(&mut self, now: Instant, start: &UploadStart<'_>, store: &ImageStore) -> Status {
        let Some(fwid) = start.fwid.to_owned() else { return Status::InternalError };
        let wanted = Wanted {
            ttl: start.ttl,
            timeout_base: start.timeout_base,
            blob_id: start.blob_id,
            size: start.size,
            metadata: start.metadata.to_vec(),
            fwid,
        };
        let same = self.wanted.as_ref() == Some(&wanted);
        match self.phase {
            UploadPhase::TransferActive if same => return Status::Success,
            UploadPhase::TransferActive => return Status::BusyWithUpload,
            UploadPhase::Idle | UploadPhase::TransferError | UploadPhase::TransferSuccess => {}
        }
        if let Some((_, stored)) = store.find(start.fwid) {
            // An image that only shares its firmware id must not pass for the one that is wanted.
            if stored.metadata != start.metadata || stored.size() != start.size {
                return Status::InternalError;
            }
            self.drop_data();
            self.phase = UploadPhase::TransferSuccess;
            self.wanted = Some(wanted);
            return Status::Success;
        }
        if start.size == 0 || !store.has_room(start.size) {
            return Status::InsufficientResources;
        }
        if !same {
            self.server.cancel();
        }
        if self.server.expect(now, start.blob_id, start.ttl, start.timeout_base, self.initiator).is_err() {
            return Status::BusyWithUpload;
        }
        if !same || self.received.octets.is_empty() {
            let size = usize::try_from(start.size).unwrap_or(usize::MAX);
            self.received = Received { octets: alloc::vec![0; size], block_at: 0 };
        }
        self.phase = UploadPhase::TransferActive;
        self.wanted = Some(wanted);
        Status::Success
    }

    pub fn cancel(&mut self, out: &mut Outputs) {
        self.server.cancel();
        self.drop_data();
        self.phase = UploadPhase::Idle;
        self.wanted = None;
        self.answer(Status::Success, out);
    }

    /// States the upload, with this status in front.
    pub fn answer(&self, status: Status, out: &mut Outputs) {
        let upload = match (&self.wanted, self.phase) {
            (None, _) | (_, UploadPhase::Idle) => None,
            (Some(wanted), _) => Some(Progress { percent: self.percent(), oob: false, fwid: wanted.fwid.as_ref() }),
        };
        out.answer(Message::UploadStatus(UploadStatus { status, phase: self.phase, upload }));
    }

    /// Images were deleted: an upload that ended with one of them is over as if it had not been.
    pub fn forget_finished(&mut self) {
        if self.phase == UploadPhase::TransferSuccess {
            self.phase = UploadPhase::Idle;
            self.wanted = None;
        }
    }

    fn percent(&self) -> u8 {
        if self.phase == UploadPhase::TransferSuccess {
            return 100;
        }
        let (stored, all) = self.server.progress();
        match u32::from(stored).saturating_mul(100).checked_div(u32::from(all)) {
            Some(percent) => u8::try_from(percent).unwrap_or(100),
            None => 0,
        }
    }

    fn drop_data(&mut self) {
        self.received = Received::default();
    }

    fn take_events(&mut self, store: &mut ImageStore, out: &mut Outputs) {
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::Started | ServerEvent::BlockStored(_) => {}
                ServerEvent::Resumed => self.phase = UploadPhase::TransferActive,
                ServerEvent::Completed => self.finish(store, out),
                ServerEvent::Suspended | ServerEvent::Cancelled | ServerEvent::Failed => {
                    self.phase = UploadPhase::TransferError;
                }
            }
        }
    }

    fn finish(&mut self, store: &mut ImageStore, out: &mut Outputs) {
        let Some(wanted) = &self.wanted else { return };
        let image = core::mem::take(&mut self.received).octets;
        out.record(GatewayRecord::ImageStored {
            fwid: wanted.fwid.clone(),
            metadata: wanted.metadata.clone(),
            image: image.clone(),
        });
        store.put(StoredImage::new(wanted.fwid.clone(), wanted.metadata.clone(), image));
        self.phase = UploadPhase::TransferSuccess;
    }
}
