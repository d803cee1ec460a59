//! Firmware Distribution Server: images, receivers and the one distribution that may run (section 8).
//!
//! A distribution runs on both carriers at once, mesh receivers by BLOB transfer and Thread receivers by fetching, and
//! goes from phase to phase when the last receiver of either has settled. One lost receiver never fails it; it fails when
//! none is left, and is suspended when the last one was lost to silence in the middle of the transfer.
//!
//! Refused, with the status that says so: Pull mode and labels of virtual addresses (Internal Error, there is no code for
//! them), upload out of band (URI Not Supported), more mesh receivers than a group may have (Insufficient Resources).
//!
//! Window: while it is closed, a transfer is broken off and taken up again like after a restart; the phase stays Transfer
//! Active. What comes after the transfer (verifying, applying) takes next to no air time and goes on.
//!
//! Restart: a running distribution is taken up where its phase began. In Transfer Active that is Update Start, which
//! nodes answer with what they hold, so only what is missing is sent; in Applying it is Update Apply, never Update Start,
//! because a node that already runs the image would take it for a new update. An upload is lost.

mod requests;

use crate::border_router::{Air, BorderRouter, ImageBlock, Site};
use crate::journal::GatewayRecord;
use crate::mesh::{BlobMessage, Context, Delivery, Mesh, ready_to_apply};
use crate::outputs::Outputs;
use crate::receivers::{Known, Receivers};
use crate::settings::{Carrier, GatewaySettings};
use crate::store::{ImageStore, StoredImage};
use crate::throttle::Throttle;
use crate::upload::Upload;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use mk_wire::coap::{self, Token};
use mk_wire::distribution::{Phase, RetrievedPhase, Start, UpdatePolicy};
use mk_wire::time::Instant;
use mk_wire::vendor;
use mk_wire::{AccessMessage, Addr, blob, update};

/// What the phases of a distribution wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing: no distribution, a suspended one, one that waits for Apply, or one that ended.
    Rest,
    /// Every receiver to hold a verified image or to be given up.
    Delivering,
    /// Every receiver to run the image or to have failed.
    Applying,
    /// The group to be dissolved, after which the distribution has failed.
    Failing,
    /// Receivers to drop the update.
    Cancelling,
}

/// The distributor.
pub(crate) struct Distributor {
    phase: Phase,
    stage: Stage,
    /// Parameters of the distribution; `None` when Idle.
    start: Option<Start>,
    /// The receivers list is not the one that the distribution was started with.
    receivers_changed: bool,
    receivers: Receivers,
    store: ImageStore,
    upload: Upload,
    mesh: Mesh,
    border: BorderRouter,
    window_open: bool,
}

/// Runs `$body` with a [`Context`] of the running distribution as `$cx`, if one runs.
macro_rules! with_context {
    ($self:ident, $now:expr, $settings:expr, $out:expr, |$mesh:ident, $cx:ident| $body:expr) => {
        match (&$self.start, $self.start.and_then(|start| $self.store.get(start.image_index))) {
            (Some(start), Some(image)) => {
                let $mesh = &mut $self.mesh;
                let $cx = &mut Context {
                    now: $now,
                    settings: $settings,
                    start,
                    image,
                    receivers: &mut $self.receivers,
                    out: $out,
                };
                Some($body)
            }
            (_, _) => None,
        }
    };
}

/// Runs `$body` with the border router and its [`Site`].
macro_rules! with_site {
    ($self:ident, $now:expr, $settings:expr, $out:expr, |$border:ident, $site:ident| $body:expr) => {{
        let image: Option<&StoredImage> = $self.start.and_then(|start| $self.store.get(start.image_index));
        let $border = &mut $self.border;
        let $site = &mut Site { now: $now, settings: $settings, receivers: &mut $self.receivers, out: $out, image };
        $body
    }};
}

impl Distributor {
    pub fn new(now: Instant, settings: &GatewaySettings) -> Self {
        Distributor {
            phase: Phase::Idle,
            stage: Stage::Rest,
            start: None,
            receivers_changed: false,
            receivers: Receivers::new(settings.limits.max_receivers),
            store: ImageStore::new(&settings.limits),
            upload: Upload::new(settings),
            mesh: Mesh::new(now),
            border: BorderRouter::new(settings),
            window_open: true,
        }
    }

    pub const fn phase(&self) -> Phase {
        self.phase
    }

    pub const fn receivers(&self) -> &Receivers {
        &self.receivers
    }

    /// Is a distribution under way that its images and receivers must not change under?
    const fn is_busy(&self) -> bool {
        match self.phase {
            Phase::Idle | Phase::Completed | Phase::Failed => false,
            Phase::TransferActive
            | Phase::TransferSuccess
            | Phase::ApplyingUpdate
            | Phase::CancelingUpdate
            | Phase::TransferSuspended => true,
        }
    }

    /// A BLOB Transfer message of the Initiator: the upload.
    pub fn on_upload_blob(&mut self, now: Instant, message: &blob::Message<'_>, out: &mut Outputs) {
        self.upload.on_blob(now, message, &mut self.store, out);
    }

    /// A DFU message of a mesh node.
    pub fn on_node(
        &mut self,
        now: Instant,
        from: Addr,
        message: &AccessMessage<'_>,
        settings: &GatewaySettings,
        out: &mut Outputs,
    ) {
        with_context!(self, now, settings, out, |mesh, cx| match message {
            AccessMessage::Blob(message) => mesh.on_blob(cx, from, message),
            AccessMessage::Update(message) => mesh.on_update(cx, from, message),
            AccessMessage::Config(message) => mesh.on_config(cx, from, message),
            AccessMessage::Distribution(_) | AccessMessage::Vendor(_) => {}
        });
        self.advance(now, settings, out);
    }

    /// A datagram of a Thread node; gives the message of ours that it may carry.
    pub fn on_coap(
        &mut self,
        now: Instant,
        from: Addr,
        message: &coap::Message<'_>,
        throttle: &Throttle,
        settings: &GatewaySettings,
        out: &mut Outputs,
    ) -> Option<vendor::Message> {
        let air = Air { throttle, shared: self.mesh.chunk_waits().is_some() };
        let vendor = with_site!(self, now, settings, out, |border, site| border.on_datagram(site, from, message, air));
        self.advance(now, settings, out);
        vendor
    }

    /// A report of a Thread node, which says what CoAP does not.
    pub fn on_report(
        &mut self,
        now: Instant,
        from: Addr,
        report: &vendor::Report,
        settings: &GatewaySettings,
        out: &mut Outputs,
    ) {
        with_site!(self, now, settings, out, |border, site| border.on_report(site, from, report));
        self.advance(now, settings, out);
    }

    /// One of our own messages to a Thread node.
    pub fn send_vendor(&mut self, node: Addr, message: vendor::Message) {
        self.border.send_vendor(node, message);
    }

    /// Handles what is due.
    pub fn on_timer(&mut self, now: Instant, settings: &GatewaySettings, out: &mut Outputs) {
        let window_open = self.window_open;
        self.upload.on_timer(now, &mut self.store, out);
        with_context!(self, now, settings, out, |mesh, cx| mesh.on_timer(cx));
        with_site!(self, now, settings, out, |border, site| {
            border.on_timer(site, window_open);
            border.poll_exchanges(site);
        });
        self.advance(now, settings, out);
    }

    /// When [`Distributor::on_timer`] or [`Distributor::poll_blob`] have something to do, image data apart.
    pub fn next_wakeup(&self) -> Option<Instant> {
        let wakeups = [self.upload.next_wakeup(), self.mesh.next_wakeup(), self.border.next_wakeup()];
        wakeups.into_iter().flatten().min()
    }

    /// From when on a chunk could go to the mesh, if one waits.
    pub fn chunk_waits(&self) -> Option<Instant> {
        self.mesh.chunk_waits()
    }

    /// Does a Thread node wait for an image block?
    pub fn image_waits(&self) -> bool {
        self.border.image_waits()
    }

    /// The BLOB client's next message.
    pub fn poll_blob(
        &mut self,
        now: Instant,
        throttle: &Throttle,
        settings: &GatewaySettings,
        out: &mut Outputs,
        buffer: &mut [u8],
    ) -> Option<BlobMessage> {
        let message =
            with_context!(self, now, settings, out, |mesh, cx| mesh.poll_blob(cx, throttle, buffer)).flatten();
        if message.is_none() {
            self.advance(now, settings, out);
        }
        message
    }

    /// The next image block for a Thread node.
    pub fn poll_image(
        &mut self,
        now: Instant,
        settings: &GatewaySettings,
        out: &mut Outputs,
        buffer: &mut Vec<u8>,
    ) -> Option<ImageBlock> {
        with_site!(self, now, settings, out, |border, site| border.poll_image(site, buffer))
    }

    fn begin_delivery(&mut self, now: Instant, settings: &GatewaySettings, out: &mut Outputs) {
        self.stage = Stage::Delivering;
        with_context!(self, now, settings, out, |mesh, cx| mesh.deliver(cx));
        with_site!(self, now, settings, out, |border, site| border.deliver(site));
        if !self.window_open {
            self.mesh.hold();
        }
    }

    /// The window has opened or closed.
    pub fn set_window(&mut self, now: Instant, open: bool, settings: &GatewaySettings, out: &mut Outputs) {
        self.window_open = open;
        if open {
            with_context!(self, now, settings, out, |mesh, cx| mesh.release(cx));
        } else {
            self.mesh.hold();
            self.border.hold();
        }
        self.advance(now, settings, out);
    }

    fn begin_applying(&mut self, now: Instant, settings: &GatewaySettings, out: &mut Outputs) {
        self.stage = Stage::Applying;
        with_context!(self, now, settings, out, |mesh, cx| mesh.apply(cx));
        with_site!(self, now, settings, out, |border, site| border.apply(site));
    }

    fn begin_cancelling(&mut self, now: Instant, settings: &GatewaySettings, out: &mut Outputs) {
        self.stage = Stage::Cancelling;
        with_context!(self, now, settings, out, |mesh, cx| mesh.cancel(cx));
        for place in self.receivers.places(|receiver| receiver.carrier == Carrier::Thread) {
            self.receivers.set_phase(place, RetrievedPhase::TransferCanceled, out);
        }
        with_site!(self, now, settings, out, |border, site| border.withdraw(site));
    }

    fn any_applied(&self) -> bool {
        self.receivers.iter().any(|receiver| receiver.known.phase == RetrievedPhase::ApplySuccess)
    }

    fn enter(&mut self, phase: Phase, out: &mut Outputs) {
        self.phase = phase;
        out.record(GatewayRecord::DistributionPhase { phase });
    }

    /// Goes from phase to phase while nothing is waited for. Each pass leaves a stage for a later one, so few are made.
    fn advance(&mut self, now: Instant, settings: &GatewaySettings, out: &mut Outputs) {
        loop {
            let before = self.stage;
            match self.stage {
                Stage::Rest => return,
                Stage::Delivering => self.end_delivery(now, settings, out),
                Stage::Applying if self.mesh.is_idle() && self.border.is_settled() => {
                    self.stage = Stage::Rest;
                    self.border.finish();
                    self.enter(if self.any_applied() { Phase::Completed } else { Phase::Failed }, out);
                }
                Stage::Failing if self.mesh.is_idle() => {
                    self.stage = Stage::Rest;
                    self.enter(Phase::Failed, out);
                }
                Stage::Cancelling if self.mesh.is_idle() => {
                    self.stage = Stage::Rest;
                    self.start = None;
                    self.enter(Phase::Idle, out);
                }
                Stage::Applying | Stage::Failing | Stage::Cancelling => return,
            }
            if self.stage == before {
                return;
            }
        }
    }

    fn end_delivery(&mut self, now: Instant, settings: &GatewaySettings, out: &mut Outputs) {
        if self.mesh.delivery() == Delivery::Running || !self.border.is_settled() {
            return;
        }
        let policy = self.start.map_or(UpdatePolicy::VerifyOnly, |start| start.policy);
        if self.receivers.iter().any(ready_to_apply) {
            self.stage = Stage::Rest;
            match policy {
                UpdatePolicy::VerifyOnly => self.enter(Phase::TransferSuccess, out),
                UpdatePolicy::VerifyAndApply => {
                    // Written before the first Apply leaves: a restart must not send Update Start any more.
                    self.enter(Phase::ApplyingUpdate, out);
                    self.begin_applying(now, settings, out);
                }
            }
        } else if self.any_applied() {
            // Whoever took part ran the image before.
            self.begin_applying(now, settings, out);
        } else if self.mesh.delivery() == Delivery::AllSilent {
            self.stage = Stage::Rest;
            self.enter(Phase::TransferSuspended, out);
        } else {
            self.stage = Stage::Failing;
            self.border.finish();
            with_context!(self, now, settings, out, |mesh, cx| mesh.finish(cx));
        }
    }

    /// Takes over what a record says; nothing is sent or written.
    pub fn replay(&mut self, record: &GatewayRecord, carriers: &BTreeMap<Addr, Carrier>) {
        match record {
            GatewayRecord::ImageStored { fwid, metadata, image } => {
                self.store.put(StoredImage::new(fwid.clone(), metadata.clone(), image.clone()));
            }
            GatewayRecord::ImageDeleted { fwid } => {
                self.store.delete(fwid.as_ref());
            }
            GatewayRecord::ImagesDeleted => self.store.delete_all(),
            GatewayRecord::ReceiversAdded { receivers } => {
                self.receivers_changed = true;
                for entry in receivers {
                    let carrier = carriers.get(&entry.address).copied().unwrap_or(Carrier::Mesh);
                    self.receivers.add(*entry, carrier);
                }
            }
            GatewayRecord::ReceiversDeleted => {
                self.receivers_changed = true;
                self.receivers.clear();
            }
            GatewayRecord::DistributionStarted { start, .. } => {
                self.receivers_changed = false;
                self.receivers.begin_distribution();
                self.start = Some(*start);
                self.phase = Phase::TransferActive;
            }
            GatewayRecord::DistributionPhase { phase } => {
                self.phase = *phase;
                if *phase == Phase::Idle {
                    self.start = None;
                }
            }
            GatewayRecord::ReceiverPhase { node, phase, update_status, transfer_status, percent } => {
                let known = Known { phase: *phase, update_status: *update_status, transfer_status: *transfer_status };
                self.receivers.restore(*node, known, *percent);
            }
            GatewayRecord::ObserverAdded { node, token } => self.border.restore_observer(*node, Token::new(token)),
            GatewayRecord::ObserverRemoved { node } => self.border.restore_observer(*node, None),
            GatewayRecord::WindowSet { open } => self.window_open = *open,
            GatewayRecord::ThrottleSet { .. }
            | GatewayRecord::ConfirmationHeard { .. }
            | GatewayRecord::ConfirmationPassedOn { .. }
            | GatewayRecord::ConfirmationAcked { .. }
            | GatewayRecord::MetadataDelivered { .. }
            | GatewayRecord::BlockDone { .. }
            | GatewayRecord::TransferComplete { .. }
            | GatewayRecord::ReportHeard { .. } => {}
        }
    }

    /// After the last record: takes a running distribution up again.
    pub fn resume_after_restart(&mut self, now: Instant, settings: &GatewaySettings, out: &mut Outputs) {
        // Who was subscribed is not written down: asking to dissolve what is not there does no harm.
        self.receivers.iter_mut().for_each(|r| r.subscribed = r.carrier == Carrier::Mesh);
        match self.phase {
            Phase::TransferActive => self.begin_delivery(now, settings, out),
            Phase::ApplyingUpdate => self.begin_applying(now, settings, out),
            Phase::CancelingUpdate => self.begin_cancelling(now, settings, out),
            Phase::Idle | Phase::TransferSuccess | Phase::Completed | Phase::Failed | Phase::TransferSuspended => {}
        }
        self.advance(now, settings, out);
    }
}

/// A receiver that was lost to silence or in the middle of the transfer is tried again when MeshOS resumes.
fn is_worth_another_try(known: Known) -> bool {
    known.update_status == update::Status::InternalError || known.phase == RetrievedPhase::TransferError
}
