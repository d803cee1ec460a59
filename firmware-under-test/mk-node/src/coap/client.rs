//! Confirmable requests of a node, one at a time (NSTART 1), with the retransmissions of section 14.2.
//!
//! Our access messages wait in a short queue; when it is full the oldest periodic report makes room for any newer message, as
//! in [`crate::outbox`].

use heapless::Vec;
use mk_wire::{
    coap::{Code, Encoder, Kind, Message, Token, timing},
    time::Instant,
    vendor::Opcode,
};

use super::{Datagram, VENDOR};
use crate::{outbox::Purpose, random::Random};

/// Our access messages that can wait.
const QUEUE: usize = 6;
/// Octets of our longest access message, with room to spare.
const MAX_VENDOR: usize = 40;

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// One of our access messages.
    Vendor {
        /// It is a node report.
        report: bool,
    },
    /// The manifest.
    Manifest,
    /// A block of the image.
    Image,
}

/// A request on its way.
#[derive(Debug)]
struct Exchange {
    ask: Ask,
    token: Token,
    message_id: u16,
    datagram: Datagram,
    /// Transmissions but the first.
    resent: u8,
    jitter: u16,
    /// When to send again, or to give up.
    at: Instant,
    /// The acknowledgement came without the response, which follows.
    acknowledged: bool,
}

/// What an answer, or the lack of one, means to the layer above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// The response to this request.
    Response(Ask),
    /// A notification of the manifest.
    Notification,
    /// Nobody answered, or the peer does not know what we speak of.
    GaveUp(Ask),
    /// Nothing of interest.
    Nothing,
}

/// What to send in return.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub heard: Heard,
    pub send: Option<Datagram>,
}

impl Outcome {
    const NOTHING: Self = Outcome { heard: Heard::Nothing, send: None };
}

/// The client.
#[derive(Debug)]
pub(crate) struct Client {
    exchange: Option<Exchange>,
    queue: Vec<(Purpose, Vec<u8, MAX_VENDOR>), QUEUE>,
    next_message_id: u16,
    next_token: u32,
    /// Token of the observation.
    observation: Option<Token>,
}

impl Client {
    pub fn new(random: &mut Random) -> Self {
        let seed = random.next();
        Client {
            exchange: None,
            queue: Vec::new(),
            // Any start will do; another one after each reset keeps old and new requests apart.
            next_message_id: seed as u16,
            next_token: (seed >> 16) as u32,
            observation: None,
        }
    }

    pub const fn is_busy(&self) -> bool {
        self.exchange.is_some()
    }

    /// Queues one of our access messages.
    pub fn queue(&mut self, purpose: Purpose, message: &[u8]) {
        let Ok(message) = Vec::from_slice(message) else { return };
        if self.queue.is_full() {
            let Some(oldest) = self.queue.iter().position(|(purpose, _)| *purpose == Purpose::Report) else { return };
            self.queue.remove(oldest);
        }
        // There is room now.
        let _ = self.queue.push((purpose, message));
    }

    /// The next access message as a request, if nothing is on its way.
    pub fn next_vendor(&mut self, now: Instant, random: &mut Random) -> Option<Datagram> {
        if self.is_busy() || self.queue.is_empty() {
            return None;
        }
        let (_, message) = self.queue.remove(0);
        let report = message.first() == Some(&(Opcode::Report as u8));
        self.request(now, random, Ask::Vendor { report }, Code::POST, |encoder| encoder.path(VENDOR).payload(&message))
    }

    /// Sends a request. `None` while another is on its way.
    pub fn request(
        &mut self,
        now: Instant,
        random: &mut Random,
        ask: Ask,
        code: Code,
        write: impl for<'e> FnOnce(Encoder<'e>) -> Encoder<'e>,
    ) -> Option<Datagram> {
        if self.is_busy() {
            return None;
        }
        let token = match (ask, self.observation) {
            // The same token again refreshes an observation.
            (Ask::Manifest, Some(token)) => token,
            (Ask::Manifest | Ask::Image | Ask::Vendor { .. }, _) => self.token()?,
        };
        let message_id = self.message_id();
        let datagram = build(|out| write(Encoder::new(out, Kind::Confirmable, code, message_id, token)))?;
        let jitter = random.next() as u16;
        let at = now + timing::retransmit_wait(0, jitter)?;
        if ask == Ask::Manifest {
            self.observation = Some(token);
        }
        let sent = datagram.clone();
        self.exchange = Some(Exchange { ask, token, message_id, datagram, resent: 0, jitter, at, acknowledged: false });
        Some(sent)
    }

    /// An empty message, a response or a notification.
    pub fn on_message(&mut self, now: Instant, message: &Message<'_>) -> Outcome {
        match message.kind {
            Kind::Acknowledgement | Kind::Reset => self.on_reaction(now, message),
            Kind::Confirmable | Kind::NonConfirmable => self.on_separate(message),
        }
    }

    /// An acknowledgement or a reset of our request.
    fn on_reaction(&mut self, now: Instant, message: &Message<'_>) -> Outcome {
        let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.message_id == message.message_id) else {
            return Outcome::NOTHING;
        };
        let ask = exchange.ask;
        if message.kind == Kind::Reset {
            self.exchange = None;
            return Outcome { heard: Heard::GaveUp(ask), send: None };
        }
        if message.code == Code::EMPTY {
            exchange.acknowledged = true;
            exchange.at = now + timing::MAX_TRANSMIT_WAIT;
            return Outcome::NOTHING;
        }
        if message.token != exchange.token || !message.code.is_response() {
            return Outcome::NOTHING;
        }
        self.exchange = None;
        Outcome { heard: Heard::Response(ask), send: None }
    }

    /// A response of its own, or a notification. Confirmable ones are acknowledged; those that mean nothing to us are reset,
    /// which ends an observation that we know nothing of.
    fn on_separate(&mut self, message: &Message<'_>) -> Outcome {
        let heard = match &self.exchange {
            Some(exchange) if exchange.token == message.token && message.code.is_response() => {
                let ask = exchange.ask;
                self.exchange = None;
                Heard::Response(ask)
            }
            Some(_) | None if self.observation == Some(message.token) && message.code.is_response() => {
                Heard::Notification
            }
            Some(_) | None => Heard::Nothing,
        };
        let kind = match (message.kind, heard) {
            (Kind::Confirmable, Heard::Nothing) => Some(Kind::Reset),
            (Kind::NonConfirmable, Heard::Nothing) if message.code.is_response() => Some(Kind::Reset),
            (Kind::Confirmable, _) => Some(Kind::Acknowledgement),
            (Kind::NonConfirmable | Kind::Acknowledgement | Kind::Reset, _) => None,
        };
        let send = kind.and_then(|kind| empty(kind, message.message_id));
        Outcome { heard, send }
    }

    /// Sends again, or gives up.
    pub fn on_timer(&mut self, now: Instant) -> Outcome {
        let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.at <= now) else {
            return Outcome::NOTHING;
        };
        let wait = timing::retransmit_wait(exchange.resent + 1, exchange.jitter);
        match wait.filter(|_| !exchange.acknowledged && exchange.resent < timing::MAX_RETRANSMIT) {
            Some(wait) => {
                exchange.resent += 1;
                exchange.at = now + wait;
                Outcome { heard: Heard::Nothing, send: Some(exchange.datagram.clone()) }
            }
            None => {
                let ask = exchange.ask;
                self.exchange = None;
                Outcome { heard: Heard::GaveUp(ask), send: None }
            }
        }
    }

    /// When [`Client::on_timer`] has to be called.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.exchange.as_ref().map(|exchange| exchange.at)
    }

    fn message_id(&mut self) -> u16 {
        let id = self.next_message_id;
        self.next_message_id = id.wrapping_add(1);
        id
    }

    fn token(&mut self) -> Option<Token> {
        self.next_token = self.next_token.wrapping_add(1);
        Token::new(&self.next_token.to_be_bytes())
    }
}

/// Writes a message into a buffer of its own; `None` when it does not fit, which no message of ours does.
pub(crate) fn build(write: impl for<'b> FnOnce(&'b mut [u8]) -> Encoder<'b>) -> Option<Datagram> {
    let mut datagram = Datagram::new();
    datagram.resize(datagram.capacity(), 0).ok()?;
    let len = write(&mut datagram).finish().ok()?;
    datagram.truncate(len);
    Some(datagram)
}

/// An empty acknowledgement or reset.
pub(crate) fn empty(kind: Kind, message_id: u16) -> Option<Datagram> {
    build(|out| Encoder::new(out, kind, Code::EMPTY, message_id, Token::default()))
}
