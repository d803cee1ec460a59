//! The update itself, whatever carries it: phase, parameters, verification, application, and what of it survives a reset.
//!
//! Mesh and Thread share this state, so that a campaign sees one set of phases. In flash lie the parameters (one record when
//! the update begins, one when its transfer begins), a mark per staged block ([`crate::progress`]), a verdict of *failed*,
//! and the request to apply. Verifying and Verification Succeeded are not stored: after a reboot the staged image is
//! verified again from its bytes before anything else is said of it (protocol sheet section 10).

use heapless::Vec;
use mk_blob::BlockBitmap;
use mk_boot::{
    Composition, Slot,
    boot::OneChance,
    checks::RETURN_CHECKS,
    update::{self as boot_update, UpdateError},
};
use mk_wire::{
    Addr, BlobId, Reason, Version,
    blob::TransferMode,
    metadata::FirmwareMetadata,
    time::{Duration, Instant},
    update::{Effect, Phase, RunningUpdate, Status, UpdateStatus},
};
use sequential_storage::map::PostcardValue;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Key, Store},
    context::Context,
    effect::TraceEvent,
    hardware::NodeHardware,
    opening,
    progress::Progress,
    reports::Verdict,
    settings::Carrier,
};

/// From the last block to the verification, which blocks the node for a second or two: long enough for answers to leave.
const VERIFY_DELAY: Duration = Duration::from_millis(200);
/// From the answer to Update Apply, or whatever else ends in a reset, to the reset: two PDUs and their repetitions.
pub(crate) const RESET_DELAY: Duration = Duration::from_millis(300);

/// Parameters of an update, from Update Start or from the manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Params {
    pub carrier: Carrier,
    pub client: Addr,
    pub ttl: u8,
    pub timeout_base: u16,
    pub blob_id: BlobId,
    pub image_index: u8,
    pub metadata: FirmwareMetadata,
}

/// Parameters of its transfer, from Transfer Start or from the first CoAP block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    /// Transfer Mode of a BLOB; 0 on Thread.
    pub mode: u8,
    pub size: u32,
    /// BLOB block, or the run of CoAP blocks that is staged at once.
    pub block_size_log: u8,
    pub mtu: u16,
    /// Entity tag of the image on Thread; empty on the mesh.
    pub etag: Vec<u8, 8>,
}

/// What lies in flash.
#[derive(Serialize, Deserialize)]
struct Saved {
    phase: SavedPhase,
    thread: bool,
    client: u16,
    ttl: u8,
    timeout_base: u16,
    blob_id: u64,
    image_index: u8,
    metadata: Vec<u8, { FirmwareMetadata::SIZE }>,
    slot: u8,
    tag: u32,
    transfer: Option<Transfer>,
}

/// The phases that are stored.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum SavedPhase {
    Active,
    Failed {
        reason: u8,
    },
    /// The journal's last request before this one.
    Applying {
        after_request: u32,
    },
}

/// The record: an update, or none.
#[derive(Serialize, Deserialize)]
struct SavedRecord(Option<Saved>);

impl PostcardValue<'_> for SavedRecord {}

/// What a start after a reset has to do for the carrier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Resumed {
    /// No transfer is open.
    Nothing,
    /// The update was opened; its transfer had not begun.
    BeforeTransfer,
    /// The transfer had begun; these blocks are missing.
    Transfer(Transfer, BlockBitmap),
}

/// Flash failed; what RAM holds is irrelevant from here on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("flash fault in the update state")]
pub(crate) struct StateFault;

/// The update.
#[derive(Debug)]
pub(crate) struct Update {
    phase: Phase,
    params: Option<Params>,
    transfer: Option<Transfer>,
    slot: Slot,
    tag: u32,
    progress: Progress,
    verify_at: Option<Instant>,
    news: Option<Verdict>,
    /// The phase changed, and the carrier has no request by which a gateway would find out soon.
    phase_news: bool,
}

impl Update {
    /// No update.
    pub const fn idle() -> Self {
        Update {
            phase: Phase::Idle,
            params: None,
            transfer: None,
            slot: Slot::Zero,
            tag: 0,
            progress: Progress::NONE,
            verify_at: None,
            news: None,
            phase_news: false,
        }
    }

    pub const fn phase(&self) -> Phase {
        self.phase
    }

    pub const fn params(&self) -> Option<&Params> {
        self.params.as_ref()
    }

    pub const fn transfer(&self) -> Option<&Transfer> {
        self.transfer.as_ref()
    }

    /// The slot being filled.
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    pub fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    /// Something to report that the node did not know yet.
    pub fn take_news(&mut self) -> Option<Verdict> {
        self.news.take()
    }

    /// Whether the phase is worth a report of its own. Asked once per change.
    pub fn take_phase_news(&mut self) -> bool {
        core::mem::take(&mut self.phase_news)
    }

    pub fn next_wakeup(&self) -> Option<Instant> {
        self.verify_at
    }

    /// The answer to whatever was asked about the update.
    pub fn status(&self, status: Status) -> UpdateStatus {
        let update = match self.phase {
            Phase::Idle => None,
            Phase::TransferError
            | Phase::TransferActive
            | Phase::VerifyingUpdate
            | Phase::VerificationSucceeded
            | Phase::VerificationFailed
            | Phase::ApplyingUpdate => self.params.as_ref().map(|params| RunningUpdate {
                ttl: params.ttl,
                effect: Effect::CompositionUnchanged,
                timeout_base: params.timeout_base,
                blob_id: params.blob_id,
                image_index: params.image_index,
            }),
        };
        UpdateStatus { status, phase: self.phase, update }
    }

    /// A request was refused for its metadata: nothing changes but what the next report says.
    pub fn refuse<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, reason: Reason, about: Option<Version>) {
        cx.effects.trace(TraceEvent::MetadataRefused(reason));
        self.news = Some(Verdict::refused(reason, about.unwrap_or_default()));
    }

    /// Opens an update whose metadata was accepted.
    ///
    /// # Errors
    /// The status to answer with. Nothing is written while a request is open in the boot journal.
    pub fn open<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, params: Params) -> Result<(), Status> {
        let slot = boot_update::staging_slot(cx.hw).map_err(|error| match error {
            UpdateError::Busy(_) => Status::TemporarilyUnavailable,
            UpdateError::NoState | UpdateError::NotOnTrial(_) | UpdateError::Flash(_) => Status::InternalError,
        })?;
        let opened = Update { slot, params: Some(params), tag: self.tag, news: self.news.take(), ..Update::idle() };
        let before = core::mem::replace(self, opened);
        if self.save(cx, SavedPhase::Active).is_err() {
            *self = before;
            return Err(Status::InternalError);
        }
        self.enter(cx, Phase::TransferActive, Reason::None);
        Ok(())
    }

    /// Its transfer begins from nothing.
    pub fn begin_transfer<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        transfer: Transfer,
    ) -> Result<(), StateFault> {
        // The page is cleared before the record points to it, so no mark of another transfer can ever be believed.
        self.tag = self.tag.wrapping_add(1);
        self.progress = Progress::begin(cx.hw, self.tag).map_err(|_| StateFault)?;
        self.transfer = Some(transfer);
        self.save(cx, SavedPhase::Active)
    }

    /// Everything received so far is worthless: another image lies at the source, or the client dropped the transfer.
    pub fn drop_transfer<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>) -> Result<(), StateFault> {
        if self.transfer.take().is_some() { self.save(cx, SavedPhase::Active) } else { Ok(()) }
    }

    /// The transfer stopped, for now.
    pub fn transfer_stopped<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, reason: Reason) {
        if self.phase == Phase::TransferActive {
            self.enter(cx, Phase::TransferError, reason);
        }
    }

    /// The transfer goes on.
    pub fn transfer_resumed<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>) {
        if self.phase == Phase::TransferError {
            self.enter(cx, Phase::TransferActive, Reason::None);
        }
    }

    /// Every block is staged.
    pub fn transfer_completed<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>) {
        if matches!(self.phase, Phase::TransferActive | Phase::TransferError) {
            self.verify_at = Some(cx.now + VERIFY_DELAY);
            self.enter(cx, Phase::VerifyingUpdate, Reason::None);
        }
    }

    /// The verification, when it is due.
    pub fn on_timer<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>) -> Result<(), StateFault> {
        if self.verify_at.is_none_or(|at| at > cx.now) {
            return Ok(());
        }
        self.verify_at = None;
        let Some(params) = &self.params else { return Ok(()) };
        let composition = Composition {
            install_checks: cx.parts.install_checks,
            run_checks: cx.parts.run_checks,
            return_checks: RETURN_CHECKS,
            rollback: &OneChance,
            engine: (),
        };
        match boot_update::verify_staged(cx.hw, &composition, Some(&params.metadata)) {
            Ok(_) => self.enter(cx, Phase::VerificationSucceeded, Reason::None),
            Err(reason) => {
                self.news = Some(Verdict::refused(reason, params.metadata.version));
                self.save(cx, SavedPhase::Failed { reason: reason as u8 })?;
                self.enter(cx, Phase::VerificationFailed, reason);
            }
        }
        Ok(())
    }

    /// Update Apply: asks boot to install the staged image. The caller resets once its answer has left.
    ///
    /// # Errors
    /// The status to answer with.
    pub fn apply<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>) -> Result<Applied, Status> {
        match self.phase {
            Phase::ApplyingUpdate => return Ok(Applied::Already),
            Phase::VerificationSucceeded => {}
            Phase::Idle
            | Phase::TransferError
            | Phase::TransferActive
            | Phase::VerifyingUpdate
            | Phase::VerificationFailed => return Err(Status::WrongPhase),
        }
        let before = boot_update::status(cx.hw).map_err(|_| Status::InternalError)?.request;
        self.save(cx, SavedPhase::Applying { after_request: before }).map_err(|_| Status::InternalError)?;
        boot_update::request_install(cx.hw).map_err(|_| Status::InternalError)?;
        self.enter(cx, Phase::ApplyingUpdate, Reason::None);
        Ok(Applied::Now)
    }

    /// Update Cancel: whatever there is, is dropped. A request that boot has not seen is taken back.
    pub fn cancel<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>) -> Result<(), StateFault> {
        if self.phase == Phase::Idle {
            return Ok(());
        }
        if self.phase == Phase::ApplyingUpdate {
            match boot_update::cancel_request(cx.hw) {
                Ok(()) | Err(UpdateError::NotOnTrial(_)) => {}
                Err(UpdateError::NoState | UpdateError::Busy(_) | UpdateError::Flash(_)) => return Err(StateFault),
            }
        }
        *self = Update { news: self.news.take(), tag: self.tag, ..Update::idle() };
        self.erase(cx)?;
        self.enter(cx, Phase::Idle, Reason::Cancelled);
        Ok(())
    }

    /// Takes up what a reset interrupted.
    pub fn restore<H: NodeHardware>(cx: &mut Context<'_, H>) -> Result<(Self, Resumed), StateFault> {
        let region = opening::layout(cx.hw).records;
        let record = Store::open(cx.hw.internal(), region)
            .and_then(|mut store| store.fetch::<SavedRecord>(Key::Update))
            .map_err(|_| StateFault)?;
        let Some(saved) = record.and_then(|record| record.0) else {
            return Ok((Update::idle(), Resumed::Nothing));
        };
        let journal = boot_update::status(cx.hw).map_err(|_| StateFault)?;
        let Some(mut update) = Update::of(&saved).filter(|update| update.slot == journal.staging) else {
            // The slots changed roles since: that update is over.
            return Self::over(cx);
        };
        match saved.phase {
            SavedPhase::Applying { after_request } if after_request != journal.request => Self::over(cx),
            SavedPhase::Applying { .. } | SavedPhase::Active => {
                let resumed = update.resume(cx)?;
                Ok((update, resumed))
            }
            SavedPhase::Failed { reason } => {
                let reason = Reason::from_u8(reason).unwrap_or(Reason::None);
                let version = update.params.as_ref().map(|params| params.metadata.version).unwrap_or_default();
                update.news = Some(Verdict::refused(reason, version));
                update.enter(cx, Phase::VerificationFailed, reason);
                Ok((update, Resumed::Nothing))
            }
        }
    }

    /// Boot has settled the request, one way or the other.
    fn over<H: NodeHardware>(cx: &mut Context<'_, H>) -> Result<(Self, Resumed), StateFault> {
        let update = Update::idle();
        update.erase(cx)?;
        Ok((update, Resumed::Nothing))
    }

    fn resume<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>) -> Result<Resumed, StateFault> {
        let Some(transfer) = self.transfer.clone() else {
            self.enter(cx, Phase::TransferActive, Reason::None);
            return Ok(Resumed::BeforeTransfer);
        };
        let blocks = mk_wire::blob::arithmetic::block_count(transfer.size, transfer.block_size_log)
            .and_then(|count| u16::try_from(count).ok())
            .unwrap_or(0);
        let mut missing = BlockBitmap::full(blocks);
        match Progress::resume(cx.hw, self.tag, &mut missing).map_err(|_| StateFault)? {
            Some(progress) => self.progress = progress,
            None => {
                self.transfer = None;
                self.enter(cx, Phase::TransferActive, Reason::None);
                return Ok(Resumed::BeforeTransfer);
            }
        }
        self.enter(cx, Phase::TransferError, Reason::TransferFailed);
        if missing.is_empty() {
            self.transfer_completed(cx);
        }
        Ok(Resumed::Transfer(transfer, missing))
    }

    fn enter<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, phase: Phase, reason: Reason) {
        let thread = self.params.as_ref().is_some_and(|params| params.carrier == Carrier::Thread);
        self.phase_news |= thread && self.phase != phase;
        self.phase = phase;
        cx.effects.trace(TraceEvent::Phase { phase, reason });
    }

    fn of(saved: &Saved) -> Option<Self> {
        Some(Update {
            params: Some(Params {
                carrier: if saved.thread { Carrier::Thread } else { Carrier::Mesh },
                client: Addr(saved.client),
                ttl: saved.ttl,
                timeout_base: saved.timeout_base,
                blob_id: BlobId(saved.blob_id),
                image_index: saved.image_index,
                metadata: FirmwareMetadata::from_bytes(&saved.metadata).ok()?,
            }),
            slot: Slot::ALL.into_iter().find(|slot| slot.index() == usize::from(saved.slot))?,
            tag: saved.tag,
            transfer: saved.transfer.clone(),
            ..Update::idle()
        })
    }

    fn save<H: NodeHardware>(&self, cx: &mut Context<'_, H>, phase: SavedPhase) -> Result<(), StateFault> {
        let Some(params) = &self.params else { return Ok(()) };
        let saved = Saved {
            phase,
            thread: params.carrier == Carrier::Thread,
            client: params.client.0,
            ttl: params.ttl,
            timeout_base: params.timeout_base,
            blob_id: params.blob_id.0,
            image_index: params.image_index,
            metadata: Vec::from_slice(&params.metadata.to_bytes()).map_err(|_| StateFault)?,
            slot: self.slot.index() as u8,
            tag: self.tag,
            transfer: self.transfer.clone(),
        };
        store(cx, &SavedRecord(Some(saved)))
    }

    fn erase<H: NodeHardware>(&self, cx: &mut Context<'_, H>) -> Result<(), StateFault> {
        store(cx, &SavedRecord(None))
    }
}

fn store<H: NodeHardware>(cx: &mut Context<'_, H>, record: &SavedRecord) -> Result<(), StateFault> {
    let region = opening::layout(cx.hw).records;
    Store::open(cx.hw.internal(), region).and_then(|mut store| store.store(Key::Update, record)).map_err(|_| StateFault)
}

/// What Update Apply did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Applied {
    /// Boot was asked; a reset is due.
    Now,
    /// It had been asked before.
    Already,
}

impl Transfer {
    /// The BLOB transfer mode.
    pub fn transfer_mode(&self) -> TransferMode {
        TransferMode::from_u8(self.mode).unwrap_or(TransferMode::None)
    }
}
