//! The border router's part of a distribution: Thread nodes fetch the image over CoAP (section 14.3), at their own pace
//! and within the same token bucket as the mesh.
//!
//! | resource here | what it does |
//! |---|---|
//! | GET `fw/manifest`, Observe | Firmware Metadata of the image on offer *to this node*; empty while there is none |
//! | GET `fw/image`, Block2 | the image; ETag = first 8 octets of its SHA-256, Size2; 4.04 with nothing on offer, 4.00 past the end |
//! | POST `mk` | one of our own access messages |
//!
//! | resource at the node | used for |
//! |---|---|
//! | POST `fw/apply` | Update Apply |
//! | GET `fw/version` | Confirm: the 10 octets of the firmware id |
//! | POST `mk` | ReportGet, ConfirmAck |
//!
//! What CoAP does not tell (a refusal of the metadata, the verdict on the staged image) comes from the node's reports,
//! which are asked for while a node is silent. An image block that would have to wait for air time longer than a node
//! waits before it repeats its request is not kept waiting: the answer is 5.03 with the time in Max-Age, so that waiting
//! costs no air time. The same answer is given while the window is closed or the distribution is suspended.

mod exchange;
mod fetch;
mod targets;

pub(crate) use fetch::{Air, ImageBlock};

use crate::journal::GatewayRecord;
use crate::outgoing::Waiting;
use crate::outputs::Outputs;
use crate::receivers::Receivers;
use crate::settings::{Carrier, GatewaySettings, ThreadSettings};
use crate::store::StoredImage;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use exchange::{Exchanges, Poll, Purpose};
use fetch::Fetch;
use mk_wire::coap::{Code, Encoder, Kind, Message, Token, option, timing};
use mk_wire::time::Instant;
use mk_wire::vendor;
use mk_wire::{AccessMessage, Addr};
use targets::Target;

/// Messages of one node that are remembered, to tell repetitions.
const MAX_REMEMBERED: usize = 8;
/// Most messages of our exchanges that one call sends.
const MAX_SENDS: usize = 64;

/// The border router.
pub(crate) struct BorderRouter {
    exchanges: Exchanges,
    /// Who observes the manifest, and with which token.
    observers: BTreeMap<Addr, Token>,
    sequence: u32,
    /// Receivers of the running distribution.
    targets: BTreeMap<Addr, Target>,
    /// Image blocks that wait for air time, at most one per node.
    fetches: VecDeque<Fetch>,
    /// Confirmable messages of ours were acted on already: message id, and until when it may come again.
    remembered: BTreeMap<Addr, VecDeque<(u16, Instant)>>,
    scratch: Vec<u8>,
}

/// What the border router has to do with.
pub(crate) struct Site<'a> {
    pub now: Instant,
    pub settings: &'a GatewaySettings,
    pub receivers: &'a mut Receivers,
    pub out: &'a mut Outputs,
    /// The image that is being distributed.
    pub image: Option<&'a StoredImage>,
}

impl BorderRouter {
    pub fn new(settings: &GatewaySettings) -> Self {
        BorderRouter {
            exchanges: Exchanges::new(settings.address.0),
            observers: BTreeMap::new(),
            sequence: 1,
            targets: BTreeMap::new(),
            fetches: VecDeque::new(),
            remembered: BTreeMap::new(),
            scratch: Vec::new(),
        }
    }

    /// Restores an observation.
    pub fn restore_observer(&mut self, node: Addr, token: Option<Token>) {
        match token {
            Some(token) => {
                self.observers.insert(node, token);
            }
            None => {
                self.observers.remove(&node);
            }
        }
    }

    /// Sends one of our own messages to a node, reliably.
    pub fn send_vendor(&mut self, node: Addr, message: vendor::Message) {
        if let Ok(bytes) = AccessMessage::Vendor(message).to_buffer() {
            self.exchanges.push(node, Purpose::Vendor(bytes.to_vec()));
        }
    }

    /// Sends what is due to nodes.
    pub fn poll_exchanges(&mut self, site: &mut Site<'_>) {
        let mut scratch = core::mem::take(&mut self.scratch);
        for _ in 0..MAX_SENDS {
            match self.exchanges.poll(site.now, &mut scratch) {
                Some(Poll::Send { node }) => send(node, &scratch, &site.settings.thread, site.out),
                Some(Poll::Ended { node, purpose, outcome }) => self.on_ended(site, node, &purpose, &outcome),
                None => break,
            }
        }
        self.scratch = scratch;
    }

    /// When there is something to do besides sending image blocks.
    pub fn next_wakeup(&self) -> Option<Instant> {
        let targets = self.targets.values().filter_map(|target| target.due).min();
        [self.exchanges.next_wakeup(), targets].into_iter().flatten().min()
    }

    /// A datagram of a node.
    pub fn on_datagram(
        &mut self,
        site: &mut Site<'_>,
        from: Addr,
        message: &Message<'_>,
        air: Air<'_>,
    ) -> Option<vendor::Message> {
        self.heard(site.now, from);
        match message.kind {
            Kind::Confirmable | Kind::NonConfirmable if message.code.is_request() => {
                return self.on_request(site, from, message, air);
            }
            // A ping: it is answered with a reset.
            Kind::Confirmable if message.code == Code::EMPTY => self.reset(site, from, message),
            Kind::Confirmable | Kind::NonConfirmable | Kind::Acknowledgement | Kind::Reset => {
                if let Some((purpose, outcome)) = self.exchanges.on_message(site.now, from, message) {
                    self.on_ended(site, from, &purpose, &outcome);
                }
                if message.kind == Kind::Confirmable {
                    self.acknowledge(site, from, message);
                }
            }
        }
        None
    }

    fn on_request(
        &mut self,
        site: &mut Site<'_>,
        from: Addr,
        message: &Message<'_>,
        air: Air<'_>,
    ) -> Option<vendor::Message> {
        let known = [option::URI_PATH, option::ACCEPT, option::BLOCK2];
        if message.options.unknown_critical(&known).is_some() {
            self.refuse(site, from, message, Code::BAD_OPTION, 0);
        } else if message.options.path_is("mk") {
            return self.on_mk(site, from, message);
        } else if message.code != Code::GET {
            let known = message.options.path_is("fw/manifest") || message.options.path_is("fw/image");
            let code = if known { Code::METHOD_NOT_ALLOWED } else { Code::NOT_FOUND };
            self.refuse(site, from, message, code, 0);
        } else if message.options.path_is("fw/manifest") {
            self.on_manifest(site, from, message);
        } else if message.options.path_is("fw/image") {
            self.on_image(site, from, message, air);
        } else {
            self.refuse(site, from, message, Code::NOT_FOUND, 0);
        }
        None
    }

    /// POST `mk`: one of our own messages. A repetition is answered again and not acted on again.
    fn on_mk(&mut self, site: &mut Site<'_>, from: Addr, message: &Message<'_>) -> Option<vendor::Message> {
        if message.code != Code::POST {
            self.refuse(site, from, message, Code::METHOD_NOT_ALLOWED, 0);
            return None;
        }
        let Ok(AccessMessage::Vendor(inner)) = AccessMessage::decode(message.payload) else {
            self.refuse(site, from, message, Code::BAD_REQUEST, 0);
            return None;
        };
        let repeated = self.is_repeated(site.now, from, message.message_id);
        if message.kind == Kind::Confirmable {
            self.respond(site, from, message, Code::CHANGED, |encoder| encoder);
        }
        (!repeated).then_some(inner)
    }

    /// Was this message id seen within EXCHANGE_LIFETIME? Remembers it.
    fn is_repeated(&mut self, now: Instant, from: Addr, message_id: u16) -> bool {
        let seen = self.remembered.entry(from).or_default();
        while seen.front().is_some_and(|(_, until)| *until <= now) {
            seen.pop_front();
        }
        if seen.iter().any(|(id, _)| *id == message_id) {
            return true;
        }
        if seen.len() >= MAX_REMEMBERED {
            seen.pop_front();
        }
        seen.push_back((message_id, now + timing::EXCHANGE_LIFETIME));
        false
    }

    /// GET `fw/manifest`.
    fn on_manifest(&mut self, site: &mut Site<'_>, from: Addr, message: &Message<'_>) {
        // A malformed Observe is ignored like an unknown one: it is elective.
        let observe = message.options.observe().unwrap_or(None);
        match observe {
            Some(0) => self.add_observer(site, from, message.token),
            Some(1) => self.remove_observer(site, from),
            Some(_) | None => {}
        }
        let (etag, body) = self.manifest(site, from);
        if !body.is_empty() {
            self.manifest_told(site.now, from);
        }
        let sequence = self.sequence;
        self.respond(site, from, message, Code::CONTENT, |encoder| {
            let encoder = if etag.is_empty() { encoder } else { encoder.option(option::ETAG, &etag) };
            let encoder = if observe == Some(0) { encoder.uint(option::OBSERVE, sequence) } else { encoder };
            encoder.payload(&body)
        });
    }

    /// Entity tag and body of the manifest as this node sees it: empty unless an image is on offer to it.
    fn manifest(&self, site: &Site<'_>, node: Addr) -> (Vec<u8>, Vec<u8>) {
        match site.image.filter(|_| self.targets.contains_key(&node)) {
            Some(image) => (image.etag().to_vec(), image.metadata.clone()),
            None => (Vec::new(), Vec::new()),
        }
    }

    fn add_observer(&mut self, site: &mut Site<'_>, node: Addr, token: Token) {
        let limit = usize::from(site.settings.limits.max_receivers);
        let known = self.observers.get(&node);
        if known == Some(&token) || (known.is_none() && self.observers.len() >= limit) {
            return;
        }
        self.observers.insert(node, token);
        site.out.record(GatewayRecord::ObserverAdded { node, token: token.octets().to_vec() });
    }

    fn remove_observer(&mut self, site: &mut Site<'_>, node: Addr) {
        if self.observers.remove(&node).is_some() {
            site.out.record(GatewayRecord::ObserverRemoved { node });
        }
    }

    fn reset(&mut self, site: &mut Site<'_>, to: Addr, message: &Message<'_>) {
        self.empty(site, to, message, Kind::Reset);
    }

    fn acknowledge(&mut self, site: &mut Site<'_>, to: Addr, message: &Message<'_>) {
        self.empty(site, to, message, Kind::Acknowledgement);
    }

    fn empty(&mut self, site: &mut Site<'_>, to: Addr, message: &Message<'_>, kind: Kind) {
        let mut buffer = [0; 4];
        if Encoder::new(&mut buffer, kind, Code::EMPTY, message.message_id, Token::default()).finish().is_ok() {
            send(to, &buffer, &site.settings.thread, site.out);
        }
    }
}

/// Queues a datagram.
fn send(node: Addr, bytes: &[u8], thread: &ThreadSettings, out: &mut Outputs) {
    if !bytes.is_empty() {
        let pdus = fetch::frames(bytes.len(), thread);
        out.outgoing.push(Waiting { to: node, ttl: 0, carrier: Carrier::Thread, pdus, bytes: bytes.to_vec() });
    }
}
