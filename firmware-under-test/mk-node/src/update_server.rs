//! Firmware Update Server of the mesh (protocol sheet section 7), with the BLOB Transfer Server that brings its image.
//!
//! What a request may do in which phase is decided here, row by row of the table; what the update *is* lives in
//! [`crate::update_state`]. Refuses: to open an update whose metadata it would refuse later, without a single write; to
//! change a running update by a repeated or a different Update Start; to answer anything but Success to a repetition.

use mk_blob::server::{
    BlobServer, BlockSink, PullPolicy, Reply, SavedParameters, SavedTransfer, ServerEvent, SinkError,
};
use mk_boot::Slot;
use mk_wire::{
    Addr, Fwid, Reason, Version,
    access::{AccessMessage, Buffer},
    blob::{self, Capabilities, Chunk, arithmetic},
    time::Instant,
    update::{Effect, ImageEntry, ImageList, InformationStatus, Message, Phase, Start, Status},
    vendor::COMPANY_ID,
};

use crate::{
    context::Context,
    effect::TraceEvent,
    hardware::NodeHardware,
    metadata_check,
    outbox::Purpose,
    progress::Progress,
    settings::Carrier,
    staging::{Block, Stager},
    update_state::{Applied, Params, Resumed, StateFault, Transfer, Update},
};

/// Time to live outside an update: the node's default.
pub(crate) const DEFAULT_TTL: u8 = 0xFF;
/// The only image of a node.
const IMAGE_INDEX: u8 = 0;
/// Octets of the largest chunk: an access message less its head.
const MAX_CHUNK_SIZE: u16 = 377;
/// Events that one call of the BLOB server can make at most, with room to spare.
const MAX_EVENTS: usize = 8;

/// An answer to one client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub to: Addr,
    pub ttl: u8,
    pub purpose: Purpose,
    pub bytes: Buffer,
}

/// The server.
#[derive(Debug)]
pub(crate) struct UpdateServer {
    blob: BlobServer,
    /// The block that is gathered in the block buffer.
    block: Option<Block>,
}

/// Where the BLOB server's blocks go.
struct Sink<'a, H: 'static> {
    hw: &'a mut H,
    stager: &'static dyn Stager<H>,
    slot: Slot,
    size: u32,
    block: &'a mut Option<Block>,
    progress: &'a mut Progress,
}

impl<H: NodeHardware> BlockSink for Sink<'_, H> {
    fn begin_transfer(&mut self, size: u32) -> Result<(), SinkError> {
        // The signed metadata says how long the image is: a BLOB of another length is another image.
        if size == self.size { Ok(()) } else { Err(SinkError) }
    }

    fn begin_block(&mut self, offset: u32, len: u32) -> Result<(), SinkError> {
        let block = Block { slot: self.slot, offset, len };
        *self.block = None;
        self.stager.begin(self.hw, block).map_err(|_| SinkError)?;
        *self.block = Some(block);
        Ok(())
    }

    fn chunk(&mut self, offset_in_block: u32, data: &[u8]) {
        if let Some(block) = *self.block
            && self.stager.chunk(self.hw, block, offset_in_block, data).is_err()
        {
            // The block cannot be finished any more.
            *self.block = None;
        }
    }

    fn end_block(&mut self, number: u16, _offset: u32, _len: u32) -> Result<(), SinkError> {
        let block = self.block.take().ok_or(SinkError)?;
        self.stager.finish(self.hw, block).map_err(|_| SinkError)?;
        self.progress.mark(self.hw, number).map_err(|_| SinkError)
    }
}

impl UpdateServer {
    /// A server for this board, with whatever a reset interrupted.
    pub fn new<H: NodeHardware>(now: Instant, hw: &mut H, update: &Update, resumed: &Resumed) -> Self {
        let (page, slot) = (hw.geometry().page_size, hw.geometry().slot(Slot::Zero).length);
        let buffer = hw.block_buffer().len();
        let capabilities = Capabilities {
            // A block is a whole number of flash pages, and fits the block buffer.
            min_block_size_log: log2(page),
            max_block_size_log: log2(u32::try_from(buffer).unwrap_or(u32::MAX)),
            max_total_chunks: mk_blob::MAX_CHUNKS,
            max_chunk_size: MAX_CHUNK_SIZE,
            max_blob_size: slot,
            server_mtu: arithmetic::MAX_MTU,
            push: true,
            pull: true,
        };
        let mut blob = BlobServer::new(capabilities, PullPolicy::default());
        let params = update.params().filter(|params| params.carrier == Carrier::Mesh);
        if let Some(saved) = params.and_then(|params| saved_transfer(params, resumed)) {
            blob.restore(now, &saved);
        }
        UpdateServer { blob, block: None }
    }

    /// One chunk: called some thousand times per update, so nothing else happens here.
    #[inline]
    pub fn on_chunk<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        from: Addr,
        chunk: Chunk<'_>,
    ) -> Option<Answer> {
        self.on_blob(cx, update, from, &blob::Message::Chunk(chunk))
    }

    /// A BLOB Transfer message.
    pub fn on_blob<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        from: Addr,
        message: &blob::Message<'_>,
    ) -> Option<Answer> {
        let (slot, size) = (update.slot(), update.params().map_or(0, |params| params.metadata.size));
        let mut sink = Sink {
            stager: cx.parts.stager,
            hw: &mut *cx.hw,
            slot,
            size,
            block: &mut self.block,
            progress: update.progress_mut(),
        };
        let reply = self.blob.on_message(cx.now, from, message, &mut sink);
        self.settle(cx, update);
        reply.map(answer)
    }

    /// Timers of the transfer.
    pub fn on_timer<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, update: &mut Update) -> Option<Answer> {
        let reply = self.blob.on_timer(cx.now);
        self.settle(cx, update);
        reply.map(answer)
    }

    pub fn next_wakeup(&self) -> Option<Instant> {
        self.blob.next_wakeup()
    }

    /// Carries over what the BLOB server has to tell.
    fn settle<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, update: &mut Update) {
        for _ in 0..MAX_EVENTS {
            let Some(event) = self.blob.poll_event() else { return };
            let done = match event {
                ServerEvent::Started => self.begin_transfer(cx, update),
                // Its mark was written with the block.
                ServerEvent::BlockStored(_) => Ok(()),
                ServerEvent::Completed => {
                    update.transfer_completed(cx);
                    Ok(())
                }
                ServerEvent::Suspended => {
                    update.transfer_stopped(cx, Reason::TransferFailed);
                    Ok(())
                }
                ServerEvent::Failed => {
                    update.transfer_stopped(cx, Reason::FlashFault);
                    Ok(())
                }
                ServerEvent::Resumed => {
                    update.transfer_resumed(cx);
                    Ok(())
                }
                ServerEvent::Cancelled => {
                    update.transfer_stopped(cx, Reason::Cancelled);
                    update.drop_transfer(cx)
                }
            };
            if done.is_err() {
                // What could not be stored must not go on in RAM.
                self.blob.cancel();
                cx.effects.trace(TraceEvent::FlashFault);
                update.transfer_stopped(cx, Reason::FlashFault);
            }
        }
    }

    fn begin_transfer<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
    ) -> Result<(), StateFault> {
        let Some(parameters) = self.blob.saved().and_then(|saved| saved.parameters) else { return Ok(()) };
        let transfer = Transfer {
            mode: parameters.mode as u8,
            size: parameters.size,
            block_size_log: parameters.block_size_log,
            mtu: parameters.mtu,
            etag: heapless::Vec::new(),
        };
        update.begin_transfer(cx, transfer)
    }

    /// A Firmware Update message; `running` is the version of the running image.
    pub fn on_update<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        from: Addr,
        running: Version,
        message: &Message<'_>,
    ) -> Option<Answer> {
        // Answers belong to the update that the request found or opened, so its TTL is taken on both sides of the request.
        let ttl = ttl(update);
        let mut purpose = Purpose::Answer;
        let status = match *message {
            Message::InformationGet { first_index, limit } => {
                return information(update, from, running, first_index, limit);
            }
            Message::MetadataCheck { image_index, metadata } => {
                let status = self.on_metadata_check(cx, update, image_index, metadata);
                let effect = Effect::CompositionUnchanged;
                return encode(from, ttl, purpose, Message::MetadataStatus { status, effect, image_index });
            }
            Message::Get => Status::Success,
            Message::Start(start) => self.on_start(cx, update, from, &start),
            Message::Cancel => {
                self.blob.cancel();
                self.block = None;
                status_of(update.cancel(cx).map_err(|StateFault| Status::InternalError))
            }
            Message::Apply => match update.apply(cx) {
                Ok(Applied::Now) => {
                    purpose = Purpose::Farewell;
                    Status::Success
                }
                Ok(Applied::Already) => Status::Success,
                Err(status) => status,
            },
            // For clients.
            Message::InformationStatus(_) | Message::MetadataStatus { .. } | Message::Status(_) => return None,
        };
        let ttl = if update.phase() == Phase::Idle { ttl } else { self::ttl(update) };
        encode(from, ttl, purpose, Message::Status(update.status(status)))
    }

    fn on_metadata_check<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        image_index: u8,
        metadata: &[u8],
    ) -> Status {
        if image_index != IMAGE_INDEX {
            return Status::WrongFirmwareIndex;
        }
        match metadata_check::check(metadata, cx.schema, cx.hw) {
            Ok(_) => Status::Success,
            Err((reason, about)) => {
                update.refuse(cx, reason, about.map(|metadata| metadata.version));
                Status::MetadataCheckFailed
            }
        }
    }

    fn on_start<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        from: Addr,
        start: &Start<'_>,
    ) -> Status {
        let same = update.params().is_some_and(|params| is_same(params, start));
        match update.phase() {
            Phase::TransferActive | Phase::VerifyingUpdate | Phase::VerificationSucceeded | Phase::ApplyingUpdate => {
                let repeated = same && !start.metadata.is_empty();
                return if repeated { Status::Success } else { Status::WrongPhase };
            }
            Phase::TransferError if same => return self.resume(cx, update, from),
            Phase::Idle | Phase::TransferError | Phase::VerificationFailed => {}
        }
        if start.image_index != IMAGE_INDEX {
            return Status::WrongFirmwareIndex;
        }
        let metadata = match metadata_check::check(start.metadata, cx.schema, cx.hw) {
            Ok(metadata) => metadata,
            Err((reason, about)) => {
                update.refuse(cx, reason, about.map(|metadata| metadata.version));
                return Status::MetadataCheckFailed;
            }
        };
        if self.blob.is_busy() {
            return Status::BlobTransferBusy;
        }
        let params = Params {
            carrier: Carrier::Mesh,
            client: from,
            ttl: start.ttl,
            timeout_base: start.timeout_base,
            blob_id: start.blob_id,
            image_index: start.image_index,
            metadata,
        };
        if let Err(status) = update.open(cx, params) {
            return status;
        }
        // Nothing of an earlier transfer may be taken up, not even under the same BLOB id.
        self.blob.cancel();
        self.block = None;
        self.expect(cx, update, from)
    }

    /// The same update again after its transfer stopped.
    fn resume<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, update: &mut Update, from: Addr) -> Status {
        match self.expect(cx, update, from) {
            Status::Success => {
                update.transfer_resumed(cx);
                Status::Success
            }
            status => status,
        }
    }

    fn expect<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, update: &Update, from: Addr) -> Status {
        let Some(params) = update.params() else { return Status::InternalError };
        let expected = self.blob.expect(cx.now, params.blob_id, params.ttl, params.timeout_base, from);
        if expected.is_ok() { Status::Success } else { Status::BlobTransferBusy }
    }
}

/// Does this Update Start open the update that is there? Its metadata may be left out.
fn is_same(params: &Params, start: &Start<'_>) -> bool {
    params.carrier == Carrier::Mesh
        && params.ttl == start.ttl
        && params.timeout_base == start.timeout_base
        && params.blob_id == start.blob_id
        && params.image_index == start.image_index
        && (start.metadata.is_empty() || start.metadata == params.metadata.to_bytes())
}

/// Information Get: one image. Silent while the node applies an update, as peers expect.
fn information(update: &Update, to: Addr, running: Version, first_index: u8, limit: u8) -> Option<Answer> {
    if update.phase() == Phase::ApplyingUpdate {
        return None;
    }
    let fwid = Fwid::of_version(COMPANY_ID, running);
    let entry = (first_index == IMAGE_INDEX && limit > 0).then_some(ImageEntry { fwid: fwid.as_ref(), uri: &[] });
    let mut octets = [0; 2 + Fwid::MK_SIZE];
    let images = ImageList::build(entry, &mut octets);
    encode(
        to,
        ttl(update),
        Purpose::Answer,
        Message::InformationStatus(InformationStatus { count: 1, first_index, images }),
    )
}

/// The TTL of the update while there is one.
fn ttl(update: &Update) -> u8 {
    match update.phase() {
        Phase::Idle => DEFAULT_TTL,
        Phase::TransferError
        | Phase::TransferActive
        | Phase::VerifyingUpdate
        | Phase::VerificationSucceeded
        | Phase::VerificationFailed
        | Phase::ApplyingUpdate => update.params().map_or(DEFAULT_TTL, |params| params.ttl),
    }
}

fn status_of(result: Result<(), Status>) -> Status {
    result.err().unwrap_or(Status::Success)
}

fn encode(to: Addr, ttl: u8, purpose: Purpose, message: Message<'_>) -> Option<Answer> {
    let bytes = AccessMessage::Update(message).to_buffer().ok()?;
    Some(Answer { to, ttl, purpose, bytes })
}

fn answer(reply: Reply) -> Answer {
    Answer { to: reply.to, ttl: reply.ttl, purpose: Purpose::Answer, bytes: reply.message }
}

/// What the BLOB server has to know of a transfer that a reset interrupted.
fn saved_transfer(params: &Params, resumed: &Resumed) -> Option<SavedTransfer> {
    let parameters = match resumed {
        Resumed::Nothing => return None,
        Resumed::BeforeTransfer => None,
        Resumed::Transfer(transfer, missing) => Some(SavedParameters {
            mode: transfer.transfer_mode(),
            size: transfer.size,
            block_size_log: transfer.block_size_log,
            mtu: transfer.mtu,
            blocks_missing: *missing,
        }),
    };
    let Params { client, ttl, timeout_base, blob_id, .. } = *params;
    Some(SavedTransfer { blob_id, ttl, timeout_base, client, parameters })
}

/// The largest power of two that is not above `value`; 0 for 0.
fn log2(value: u32) -> u8 {
    // At most 31.
    value.checked_ilog2().unwrap_or(0) as u8
}
