//! The Firmware Update Client: takes the mesh receivers of a distribution through the steps of section 9.
//!
//! Subscription Add, Update Start, BLOB transfer, Update Get while nodes verify; then, when the distribution says so,
//! Update Apply, Information Get, Subscription Delete. One receiver that is lost at any step is given up alone and keeps
//! what was last learnt of it. Answers that belong to an earlier step are neither counted nor held against a receiver
//! (stale-answer rule).
//!
//! Nothing of this is kept over a restart but what the receivers list says: the steps are taken again from Update Start,
//! which nodes answer with what they have, so that only missing blocks are sent.

mod answers;

pub(crate) use answers::retrieved;

use crate::asker::{Ask, Asker};
use crate::journal::GatewayRecord;
use crate::outputs::Outputs;
use crate::receivers::{Known, Receiver, Receivers};
use crate::settings::{Carrier, GatewaySettings};
use crate::store::StoredImage;
use crate::throttle::Throttle;
use alloc::boxed::Box;
use alloc::vec::Vec;
use mk_blob::client::{BlobClient, BlobSource, ClientEvent, Config, DropReason, Kind};
use mk_blob::client_timeout;
use mk_wire::access::network_pdus;
use mk_wire::blob::arithmetic::{MAX_MTU, Sizes};
use mk_wire::blob::{self, TransferMode};
use mk_wire::config::{self, ModelId, Subscription};
use mk_wire::distribution::{Multicast, RetrievedPhase, Start};
use mk_wire::time::{Duration, Instant};
use mk_wire::update::{self, Effect};
use mk_wire::{AccessMessage, Addr};

/// Most targets that the BLOB client keeps track of; `Limits::group_max` may not be larger.
pub(crate) const MAX_TARGETS: usize = 128;

/// The models that listen to the group.
const MODELS: [ModelId; 2] = [ModelId::BLOB_TRANSFER_SERVER, ModelId::FIRMWARE_UPDATE_SERVER];

/// What the parts of a distribution have to do with.
pub(crate) struct Context<'a> {
    pub now: Instant,
    pub settings: &'a GatewaySettings,
    pub start: &'a Start,
    pub image: &'a StoredImage,
    pub receivers: &'a mut Receivers,
    pub out: &'a mut Outputs,
}

impl Context<'_> {
    /// T_cli of this distribution.
    fn client_timeout(&self) -> Duration {
        client_timeout(self.start.timeout_base, self.start.ttl)
    }

    fn mesh_places(&self, mut wanted: impl FnMut(&Receiver) -> bool) -> Vec<usize> {
        self.receivers.places(|receiver| receiver.carrier == Carrier::Mesh && wanted(receiver))
    }
}

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Nothing.
    Idle,
    /// Subscription Add for `MODELS[_]`.
    Subscribe(usize),
    /// Update Start.
    Start,
    /// The BLOB transfer.
    Transfer,
    /// Update Get.
    Verify,
    /// Update Apply.
    Apply,
    /// Information Get.
    Confirm,
    /// Update Cancel.
    Cancel,
    /// Subscription Delete for `MODELS[_]`.
    Unsubscribe(usize),
}

/// How a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// Under way.
    Running,
    /// Every receiver has a verdict or was given up.
    Settled,
    /// The last receiver was lost to silence in the middle of the BLOB transfer.
    AllSilent,
}

/// The procedure.
pub(crate) struct Mesh {
    step: Step,
    asker: Option<Asker>,
    client: Option<Box<BlobClient<MAX_TARGETS>>>,
    /// The group, for two receivers or more.
    group: Option<Addr>,
    /// The last chunk is on the air until then.
    busy_until: Instant,
    delivery: Delivery,
    /// The delivery waits for the window to open.
    held: bool,
}

/// The image as the BLOB client reads it.
struct ImageSource<'a>(&'a [u8]);

impl BlobSource for ImageSource<'_> {
    fn read(&mut self, offset: u32, out: &mut [u8]) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(octets) = self.0.get(offset..offset.saturating_add(out.len())) {
            out.copy_from_slice(octets);
        }
    }
}

/// A message of the BLOB client in the caller's buffer.
pub(crate) struct BlobMessage {
    pub to: Addr,
    pub ttl: u8,
    pub is_data: bool,
    pub len: usize,
    pub pdus: u16,
}

impl Mesh {
    pub fn new(now: Instant) -> Self {
        Mesh {
            step: Step::Idle,
            asker: None,
            client: None,
            group: None,
            busy_until: now,
            delivery: Delivery::Settled,
            held: false,
        }
    }

    pub const fn is_idle(&self) -> bool {
        matches!(self.step, Step::Idle)
    }

    pub const fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// Takes the receivers that take part from the first step to a verdict on their staged image.
    pub fn deliver(&mut self, cx: &mut Context<'_>) {
        let many = cx.mesh_places(Receiver::takes_part).len() > 1;
        self.group = group_of(cx.start).filter(|_| many);
        self.delivery = Delivery::Running;
        self.client = None;
        self.enter(cx, if self.group.is_some() { Step::Subscribe(0) } else { Step::Start });
        self.advance(cx);
    }

    /// Applies the image at every receiver that has verified it, and reads back what they run then.
    pub fn apply(&mut self, cx: &mut Context<'_>) {
        let many = cx.mesh_places(|r| ready_to_apply(r) && r.subscribed).len() > 1;
        self.group = group_of(cx.start).filter(|_| many);
        self.enter(cx, Step::Apply);
        self.advance(cx);
    }

    /// Dissolves the group; [`Mesh::is_idle`] when done.
    pub fn finish(&mut self, cx: &mut Context<'_>) {
        self.client = None;
        self.enter(cx, Step::Unsubscribe(0));
        self.advance(cx);
    }

    /// Tells every receiver to drop the update, then dissolves the group; [`Mesh::is_idle`] when done.
    pub fn cancel(&mut self, cx: &mut Context<'_>) {
        self.client = None;
        self.enter(cx, Step::Cancel);
        self.advance(cx);
    }

    /// Stops sending. Nothing is said to the nodes: they suspend themselves.
    pub fn suspend(&mut self) {
        self.held = false;
        self.step = Step::Idle;
        self.asker = None;
        self.client = None;
    }

    /// The window has closed. A transfer is not kept waiting for it, because servers give up on a silent client within
    /// seconds: it is broken off here and taken up by [`Mesh::release`]. Questions after the transfer go on.
    pub fn hold(&mut self) {
        if self.delivery == Delivery::Running {
            match self.step {
                Step::Subscribe(_) | Step::Start | Step::Transfer => {
                    self.suspend();
                    self.held = true;
                }
                Step::Idle | Step::Verify | Step::Apply | Step::Confirm | Step::Cancel | Step::Unsubscribe(_) => {}
            }
        }
    }

    /// The window is open again.
    pub fn release(&mut self, cx: &mut Context<'_>) {
        if self.held {
            self.deliver(cx);
        }
    }

    /// When [`Mesh::on_timer`] or [`Mesh::poll_blob`] have something to do. Chunks that wait for the throttle do not count.
    pub fn next_wakeup(&self) -> Option<Instant> {
        let asker = self.asker.as_ref().and_then(Asker::next_wakeup);
        let client = self.client.as_ref().and_then(|client| client.next_wakeup()).map(|at| at.max(self.busy_until));
        [asker, client].into_iter().flatten().min()
    }

    /// Does a chunk wait for the throttle, and from when on could it go?
    pub fn chunk_waits(&self) -> Option<Instant> {
        self.client.as_ref()?.next_chunk_len().map(|_| self.busy_until)
    }

    /// Sends what is due and notices who is late.
    pub fn on_timer(&mut self, cx: &mut Context<'_>) {
        if self.asker.as_ref().is_some_and(|asker| asker.is_late(cx.now)) {
            self.give_up_silent(cx);
        }
        while let Some(ask) = self.asker.as_mut().and_then(|asker| asker.poll(cx.now)) {
            self.send(cx, ask);
        }
        self.advance(cx);
    }

    /// The BLOB client's next message. Chunks are only given when the throttle allows.
    pub fn poll_blob(&mut self, cx: &mut Context<'_>, throttle: &Throttle, buffer: &mut [u8]) -> Option<BlobMessage> {
        // The client counts its waits from when a message has left the air.
        if cx.now < self.busy_until {
            return None;
        }
        let client = self.client.as_mut()?;
        let allowed = throttle.allows(cx.now);
        let sent = client.poll_transmit(cx.now, allowed, &mut ImageSource(&cx.image.image), buffer);
        self.take_events(cx);
        let sent = sent?;
        let pdus = u16::try_from(network_pdus(sent.len, false)).unwrap_or(u16::MAX);
        let is_data = sent.kind == Kind::Data;
        if is_data {
            self.busy_until = cx.now + throttle.spacing() * u32::from(pdus);
        }
        Some(BlobMessage { to: sent.to, ttl: sent.ttl, is_data, len: sent.len, pdus })
    }

    /// A BLOB Transfer answer of a node.
    pub fn on_blob(&mut self, cx: &mut Context<'_>, from: Addr, message: &blob::Message<'_>) {
        if let Some(client) = &mut self.client {
            client.on_message(cx.now, from, message);
            self.take_events(cx);
        }
    }

    /// Goes to the next step while nothing keeps the current one.
    fn advance(&mut self, cx: &mut Context<'_>) {
        while self.asker.as_ref().is_some_and(Asker::is_done) {
            match self.step {
                Step::Idle | Step::Transfer => return,
                Step::Subscribe(model) if model + 1 < MODELS.len() => self.enter(cx, Step::Subscribe(model + 1)),
                Step::Subscribe(_) => self.enter(cx, Step::Start),
                Step::Start => self.enter(cx, Step::Transfer),
                Step::Verify => self.end_delivery(Delivery::Settled),
                Step::Apply => self.enter(cx, Step::Confirm),
                Step::Confirm | Step::Cancel => self.enter(cx, Step::Unsubscribe(0)),
                Step::Unsubscribe(model) if model + 1 < MODELS.len() => self.enter(cx, Step::Unsubscribe(model + 1)),
                Step::Unsubscribe(_) => {
                    cx.receivers.iter_mut().for_each(|receiver| receiver.subscribed = false);
                    self.end_delivery(self.delivery);
                }
            }
        }
    }

    fn end_delivery(&mut self, delivery: Delivery) {
        self.step = Step::Idle;
        self.asker = None;
        self.client = None;
        self.delivery = delivery;
    }

    /// Begins a step: whom it concerns, how often they are asked, and until when.
    fn enter(&mut self, cx: &mut Context<'_>, step: Step) {
        self.held = false;
        self.step = step;
        self.asker = None;
        let patience = &cx.settings.patience;
        let now = cx.now;
        let timeout = cx.client_timeout();
        let configuring = patience.subscribe_interval * u32::from(patience.subscribe_tries.max(1));
        let (places, group, interval, limit) = match step {
            Step::Idle => return,
            Step::Transfer => return self.begin_transfer(cx),
            Step::Subscribe(_) => {
                (cx.mesh_places(Receiver::takes_part), None, patience.subscribe_interval, configuring)
            }
            Step::Start => {
                let places = cx.mesh_places(Receiver::takes_part);
                let group = self.group.filter(|_| same_image_index(cx, &places));
                (places, group, timeout / 5, timeout)
            }
            Step::Verify => {
                let places = cx.mesh_places(|r| r.is_in(RetrievedPhase::VerifyingUpdate));
                (places, self.group, patience.verify_interval, patience.verify_deadline)
            }
            Step::Apply => {
                (cx.mesh_places(ready_to_apply), self.group, patience.apply_interval, patience.apply_deadline)
            }
            Step::Confirm => {
                let places = cx.mesh_places(|r| r.is_in(RetrievedPhase::ApplyingUpdate));
                (places, self.group, timeout / 5, timeout)
            }
            Step::Cancel => (cx.mesh_places(|_| true), self.group, timeout / 5, timeout),
            Step::Unsubscribe(_) => (cx.mesh_places(|r| r.subscribed), None, patience.subscribe_interval, configuring),
        };
        let asker = Asker::new(now, places, group, interval, now + limit, patience);
        // Nodes need time to verify: asked at once, they could only say that they are at it.
        self.asker = Some(if step == Step::Verify { asker.not_at_once() } else { asker });
    }

    fn begin_transfer(&mut self, cx: &mut Context<'_>) {
        let targets: Vec<Addr> = cx
            .receivers
            .iter()
            .filter(|r| r.carrier == Carrier::Mesh && r.is_in(RetrievedPhase::TransferActive))
            .map(|r| r.address)
            .collect();
        if targets.is_empty() {
            return self.enter(cx, Step::Verify);
        }
        let config = Config {
            blob_id: cx.image.blob_id(),
            size: cx.image.size(),
            mode: TransferMode::Push,
            ttl: cx.start.ttl,
            timeout_base: cx.start.timeout_base,
            mtu: MAX_MTU,
            group: self.group,
            own_address: cx.settings.address,
            ask_capabilities: true,
            sizes: Some(Sizes { block_size_log: cx.settings.block_size_log, chunk_size: cx.settings.chunk_size }),
            policy: cx.settings.blob,
        };
        match BlobClient::new(config, targets.iter().copied()) {
            Ok(mut client) => {
                client.start(cx.now);
                self.client = Some(Box::new(client));
            }
            // Sizes that cannot be used for this image, or targets that the list should not have held: our own fault, and
            // the receivers' loss.
            Err(_) => {
                for place in cx.mesh_places(|r| r.is_in(RetrievedPhase::TransferActive)) {
                    drop_from_transfer(cx, place, blob::Status::InternalError);
                }
                self.enter(cx, Step::Verify);
            }
        }
    }

    fn take_events(&mut self, cx: &mut Context<'_>) {
        while let Some(event) = self.client.as_mut().and_then(|client| client.poll_event()) {
            match event {
                ClientEvent::SizesChosen(_) | ClientEvent::BlockStarted { .. } | ClientEvent::RoundDone { .. } => {}
                ClientEvent::BlockDone { block, rounds, chunks_sent, resent } => {
                    cx.out.record(GatewayRecord::BlockDone { block, rounds, chunks_sent, resent });
                    self.note_progress(cx);
                }
                ClientEvent::TargetDropped { addr, why } => {
                    if let Some(place) = cx.receivers.place_of(addr) {
                        drop_from_transfer(cx, place, status_of(why));
                    }
                }
                ClientEvent::Completed => {
                    self.note_completed(cx);
                    self.client = None;
                    self.enter(cx, Step::Verify);
                    self.advance(cx);
                }
                // Whoever is left besides those that were just lost has the image from before.
                ClientEvent::Suspended | ClientEvent::Failed | ClientEvent::Cancelled => {
                    let silent = event == ClientEvent::Suspended;
                    let others = cx.mesh_places(Receiver::takes_part);
                    if silent && others.is_empty() {
                        self.end_delivery(Delivery::AllSilent);
                    } else {
                        self.client = None;
                        self.enter(cx, Step::Verify);
                        self.advance(cx);
                    }
                }
            }
        }
    }

    fn note_progress(&self, cx: &mut Context<'_>) {
        let Some(client) = &self.client else { return };
        let (_, count) = client.progress();
        for target in client.targets() {
            let Some(percent) = (u32::from(target.blocks()) * 100).checked_div(u32::from(count)) else { return };
            if let Some(receiver) = cx.receivers.place_of(target.addr()).and_then(|place| cx.receivers.get_mut(place)) {
                receiver.percent = u8::try_from(percent).unwrap_or(100);
            }
        }
    }

    fn note_completed(&self, cx: &mut Context<'_>) {
        for place in cx.mesh_places(|r| r.is_in(RetrievedPhase::TransferActive)) {
            if let Some(receiver) = cx.receivers.get_mut(place) {
                receiver.percent = 100;
                let node = receiver.address;
                cx.out.record(GatewayRecord::TransferComplete { node, image_sha256: cx.image.image_sha256 });
            }
            cx.receivers.set_phase(place, RetrievedPhase::VerifyingUpdate, cx.out);
        }
    }

    /// Sends the request of the current step.
    fn send(&self, cx: &mut Context<'_>, ask: Ask) {
        let receiver = match ask {
            Ask::Group(_) => self.asker.as_ref().and_then(|asker| asker.silent().first()).copied(),
            Ask::One(place) => Some(place),
        };
        let Some(receiver) = receiver.and_then(|place| cx.receivers.get(place)).copied() else { return };
        let to = match ask {
            Ask::Group(group) => group,
            Ask::One(_) => receiver.address,
        };
        let ttl = cx.start.ttl;
        let message: AccessMessage<'_> = match self.step {
            Step::Idle | Step::Transfer => return,
            Step::Subscribe(model) => config::Message::SubscriptionAdd(subscription(cx, &receiver, model)).into(),
            Step::Unsubscribe(model) => config::Message::SubscriptionDelete(subscription(cx, &receiver, model)).into(),
            Step::Start => update::Message::Start(update::Start {
                ttl,
                timeout_base: cx.start.timeout_base,
                blob_id: cx.image.blob_id(),
                image_index: receiver.image_index,
                metadata: &cx.image.metadata,
            })
            .into(),
            Step::Verify => update::Message::Get.into(),
            Step::Apply => update::Message::Apply.into(),
            Step::Confirm => update::Message::InformationGet { first_index: 0, limit: 255 }.into(),
            Step::Cancel => update::Message::Cancel.into(),
        };
        cx.out.send_mesh(to, ttl, &message);
    }

    /// The receivers that did not answer in time.
    fn give_up_silent(&mut self, cx: &mut Context<'_>) {
        let Some(asker) = self.asker.take() else { return };
        for place in asker.silent().iter().copied() {
            match self.step {
                Step::Idle | Step::Transfer | Step::Cancel | Step::Unsubscribe(_) => {}
                Step::Subscribe(_) | Step::Start | Step::Verify => {
                    cx.receivers.drop_for(place, update::Status::InternalError, cx.out);
                }
                // A node that has begun to apply may be back without our having heard of it: the next step asks.
                Step::Apply if cx.receivers.get(place).is_some_and(|r| r.is_in(RetrievedPhase::ApplyingUpdate)) => {}
                Step::Apply => cx.receivers.set_phase(place, RetrievedPhase::ApplyFailed, cx.out),
                Step::Confirm => {
                    let unprovisioned = cx.receivers.get(place).is_some_and(|r| r.effect == Effect::Unprovisioned);
                    let phase = if unprovisioned { RetrievedPhase::ApplySuccess } else { RetrievedPhase::ApplyFailed };
                    cx.receivers.set_phase(place, phase, cx.out);
                }
            }
        }
        let none = Asker::new(cx.now, Vec::new(), None, Duration::from_ticks(0), cx.now, &cx.settings.patience);
        self.asker = Some(none);
    }
}

/// The group that MeshOS named, if any. Labels of virtual addresses were refused at Start.
fn group_of(start: &Start) -> Option<Addr> {
    match start.multicast {
        Multicast::Address(group) => Some(group).filter(|group| group.is_group()),
        Multicast::Label(_) => None,
    }
}

fn subscription(cx: &Context<'_>, receiver: &Receiver, model: usize) -> Subscription {
    Subscription {
        element: receiver.address,
        group: group_of(cx.start).unwrap_or(Addr::UNASSIGNED),
        model: MODELS.get(model).copied().unwrap_or(ModelId::BLOB_TRANSFER_SERVER),
    }
}

fn subscription_at(cx: &Context<'_>, place: usize, model: usize) -> Option<Subscription> {
    cx.receivers.get(place).map(|receiver| subscription(cx, receiver, model))
}

/// Is the image verified at this receiver, or already being applied?
pub(crate) fn ready_to_apply(receiver: &Receiver) -> bool {
    receiver.is_in(RetrievedPhase::VerificationSucceeded) || receiver.is_in(RetrievedPhase::ApplyingUpdate)
}

/// Can one Update Start be for all of them?
fn same_image_index(cx: &Context<'_>, places: &[usize]) -> bool {
    let mut indices = places.iter().filter_map(|place| cx.receivers.get(*place)).map(|receiver| receiver.image_index);
    let first = indices.next();
    indices.all(|index| Some(index) == first)
}

fn drop_from_transfer(cx: &mut Context<'_>, place: usize, transfer_status: blob::Status) {
    if let Some(known) = cx.receivers.get(place).map(|receiver| receiver.known) {
        let known = Known { phase: RetrievedPhase::TransferError, transfer_status, ..known };
        cx.receivers.learn(place, known, cx.out);
    }
}

/// The status that a Receivers List states for a lost target: its own word, or Internal Error where it said nothing.
const fn status_of(why: DropReason) -> blob::Status {
    match why {
        DropReason::Status(status) => status,
        DropReason::WrongBlobId => blob::Status::WrongBlobId,
        DropReason::WrongPhase(_) => blob::Status::WrongPhase,
        DropReason::Incompatible => blob::Status::InvalidParameter,
        DropReason::Timeout | DropReason::Incomplete => blob::Status::InternalError,
    }
}
