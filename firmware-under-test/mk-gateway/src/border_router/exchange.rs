//! The gateway's own confirmable messages to Thread nodes: one outstanding per node, retransmitted as section 14.2 says.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use mk_wire::Addr;
use mk_wire::coap::{Code, Encoder, Kind, MAX_DATAGRAM, Message, Token, option, timing};
use mk_wire::time::Instant;

/// Messages that wait for one node; later ones are dropped, and whoever wanted them asks again.
const MAX_WAITING: usize = 8;

/// What a message is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Notification of the manifest resource: entity tag and body.
    Notify {
        /// The node's token.
        token: Token,
        /// Sequence number, 24 bits.
        sequence: u32,
        /// Entity tag; empty while nothing is on offer.
        etag: Vec<u8>,
        /// The body.
        body: Vec<u8>,
    },
    /// POST of one of our own access messages to `mk`.
    Vendor(Vec<u8>),
    /// POST to `fw/apply`.
    Apply,
    /// GET of `fw/version`.
    Version,
}

/// How a message ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// A response, or for a notification its acknowledgement ([`Code::EMPTY`]).
    Response(Code, Vec<u8>),
    /// The node does not know what it is about.
    Reset,
    /// No answer to any of five sends.
    Timeout,
}

/// The message that is outstanding at a node.
struct Outstanding {
    purpose: Purpose,
    message_id: u16,
    token: Token,
    /// Sends so far.
    sent: u8,
    /// Spreads the first wait.
    random: u16,
    /// When it is sent again or given up.
    due: Instant,
    /// Acknowledged without response: a response of its own follows.
    acknowledged: bool,
}

#[derive(Default)]
struct Peer {
    outstanding: Option<Outstanding>,
    waiting: VecDeque<Purpose>,
}

/// All exchanges of the gateway.
pub(crate) struct Exchanges {
    peers: BTreeMap<Addr, Peer>,
    next_id: u16,
    random: u32,
}

impl Exchanges {
    /// `seed` sets where message ids begin and how waits are spread; it only has to differ between gateways.
    pub fn new(seed: u16) -> Self {
        Exchanges { peers: BTreeMap::new(), next_id: seed, random: u32::from(seed) << 1 | 1 }
    }

    /// A message id for a message that needs no answer.
    pub fn message_id(&mut self) -> u16 {
        let message_id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        message_id
    }

    /// Queues a message. The same message is not queued twice, and a newer notification takes the place of one that waits.
    pub fn push(&mut self, node: Addr, purpose: Purpose) {
        let peer = self.peers.entry(node).or_default();
        if peer.outstanding.as_ref().is_some_and(|o| o.purpose == purpose) || peer.waiting.contains(&purpose) {
            return;
        }
        let is_notify = |p: &Purpose| matches!(p, Purpose::Notify { .. });
        if is_notify(&purpose) {
            peer.waiting.retain(|waiting| !is_notify(waiting));
        }
        if peer.waiting.len() < MAX_WAITING {
            peer.waiting.push_back(purpose);
        }
    }

    /// Is anything outstanding or waiting at this node?
    pub fn is_busy(&self, node: Addr) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.outstanding.is_some() || !peer.waiting.is_empty())
    }

    /// Forgets messages to a node that `unwanted` picks; one that was sent already is not repeated.
    pub fn withdraw(&mut self, node: Addr, unwanted: impl Fn(&Purpose) -> bool) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.waiting.retain(|purpose| !unwanted(purpose));
            if peer.outstanding.as_ref().is_some_and(|o| unwanted(&o.purpose)) {
                peer.outstanding = None;
            }
        }
    }

    /// When [`Exchanges::poll`] has something to do; the beginning of time for at once.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.peers
            .values()
            .filter_map(|peer| match &peer.outstanding {
                Some(outstanding) => Some(outstanding.due),
                None => (!peer.waiting.is_empty()).then_some(Instant::from_ticks(0)),
            })
            .min()
    }

    /// The next message to be sent, with its octets in `buffer`, or the end of one that nobody answered.
    pub fn poll(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Poll> {
        // Only peers with something to say are kept, so that idle ones cost nothing.
        self.peers.retain(|_, peer| peer.outstanding.is_some() || !peer.waiting.is_empty());
        let (node, peer) = self.peers.iter_mut().find(|(_, peer)| peer.is_due(now))?;
        let node = *node;
        let outstanding = match peer.outstanding.take() {
            Some(outstanding) => match outstanding.again(now) {
                Ok(outstanding) => outstanding,
                Err(purpose) => return Some(Poll::Ended { node, purpose, outcome: Outcome::Timeout }),
            },
            None => {
                self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // The upper half is the better one of a linear congruence.
                let random = (self.random >> 16) as u16;
                let message_id = self.next_id;
                self.next_id = self.next_id.wrapping_add(1);
                Outstanding::new(now, peer.waiting.pop_front()?, message_id, random)
            }
        };
        outstanding.encode(buffer);
        peer.outstanding = Some(outstanding);
        Some(Poll::Send { node })
    }

    /// An acknowledgement, reset or separate response of a node: how which of our messages ended, if one did.
    pub fn on_message(&mut self, now: Instant, node: Addr, message: &Message<'_>) -> Option<(Purpose, Outcome)> {
        let peer = self.peers.get_mut(&node)?;
        let outstanding = peer.outstanding.as_mut()?;
        let is_notify = matches!(outstanding.purpose, Purpose::Notify { .. });
        let outcome = match message.kind {
            Kind::Reset if message.message_id == outstanding.message_id => Outcome::Reset,
            Kind::Acknowledgement if message.message_id == outstanding.message_id => {
                if message.code == Code::EMPTY && !is_notify {
                    outstanding.acknowledged = true;
                    outstanding.due = now + timing::MAX_TRANSMIT_WAIT;
                    return None;
                }
                Outcome::Response(message.code, message.payload.to_vec())
            }
            Kind::Confirmable | Kind::NonConfirmable
                if !is_notify && message.code.is_response() && message.token == outstanding.token =>
            {
                Outcome::Response(message.code, message.payload.to_vec())
            }
            Kind::Reset | Kind::Acknowledgement | Kind::Confirmable | Kind::NonConfirmable => return None,
        };
        let purpose = peer.outstanding.take()?.purpose;
        Some((purpose, outcome))
    }
}

/// What [`Exchanges::poll`] found.
pub(crate) enum Poll {
    /// The octets in the buffer go to this node.
    Send {
        /// The node.
        node: Addr,
    },
    /// A message ended without an answer.
    Ended {
        /// The node.
        node: Addr,
        /// What it was for.
        purpose: Purpose,
        /// How it ended.
        outcome: Outcome,
    },
}

impl Peer {
    fn is_due(&self, now: Instant) -> bool {
        match &self.outstanding {
            Some(outstanding) => outstanding.due <= now,
            None => !self.waiting.is_empty(),
        }
    }
}

impl Outstanding {
    /// A message that is sent for the first time.
    fn new(now: Instant, purpose: Purpose, message_id: u16, random: u16) -> Self {
        let token = match &purpose {
            Purpose::Notify { token, .. } => *token,
            Purpose::Vendor(_) | Purpose::Apply | Purpose::Version => {
                Token::new(&message_id.to_be_bytes()).unwrap_or_default()
            }
        };
        let due = now + timing::retransmit_wait(0, random).unwrap_or(timing::ACK_TIMEOUT);
        Outstanding { purpose, message_id, token, sent: 1, random, due, acknowledged: false }
    }

    /// The same message, sent once more; its purpose alone if it was sent often enough.
    fn again(mut self, now: Instant) -> Result<Self, Purpose> {
        match timing::retransmit_wait(self.sent, self.random) {
            Some(wait) if !self.acknowledged => {
                self.sent += 1;
                self.due = now + wait;
                Ok(self)
            }
            Some(_) | None => Err(self.purpose),
        }
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.resize(MAX_DATAGRAM, 0);
        let code = match &self.purpose {
            Purpose::Notify { .. } => Code::CONTENT,
            Purpose::Vendor(_) | Purpose::Apply => Code::POST,
            Purpose::Version => Code::GET,
        };
        let encoder = Encoder::new(buffer, Kind::Confirmable, code, self.message_id, self.token);
        let encoded = match &self.purpose {
            Purpose::Notify { sequence, etag, body, .. } => {
                let encoder = if etag.is_empty() { encoder } else { encoder.option(option::ETAG, etag) };
                encoder.uint(option::OBSERVE, *sequence).payload(body).finish()
            }
            Purpose::Vendor(message) => encoder.path("mk").payload(message).finish(),
            Purpose::Apply => encoder.path("fw/apply").finish(),
            Purpose::Version => encoder.path("fw/version").finish(),
        };
        // Everything sent here is far shorter than a datagram; what did not encode is not sent.
        buffer.truncate(encoded.unwrap_or(0));
    }
}
