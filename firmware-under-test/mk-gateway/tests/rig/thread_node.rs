//! A Thread node by script: observes the manifest, fetches, reports, applies.

use super::{NEW, OLD};
use mk_wire::coap::{Block, Code, Encoder, Kind, Message, Token, option};
use mk_wire::time::{Duration, Instant};
use mk_wire::update::Phase;
use mk_wire::vendor::{self, BootOutcome, Report};
use mk_wire::{AccessMessage, Addr, Fwid, Reason, Version};

const SZX: u8 = 4;

pub struct ThreadNode {
    pub address: Addr,
    pub phase: Phase,
    pub running: Version,
    pub received: Vec<u8>,
    pub etag: Vec<u8>,
    /// Offsets asked for.
    pub asked: Vec<u32>,
    /// Max-Age values of 5.03 answers.
    pub later: Vec<u32>,
    /// Vendor messages the gateway sent.
    pub heard: Vec<vendor::Message>,
    pub refuses: bool,
    pub silent: bool,
    pub apply_posts: u32,
    next_id: u16,
    outstanding: Option<(u16, Vec<u8>, Instant, u8)>,
    due: Option<(Instant, Todo)>,
    verdict_at: Option<Instant>,
    back_at: Option<Instant>,
    rejected: bool,
    size: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Todo {
    Observe,
    Fetch,
}

impl ThreadNode {
    pub fn new(address: Addr) -> Self {
        ThreadNode {
            address,
            phase: Phase::Idle,
            running: OLD,
            received: Vec::new(),
            etag: Vec::new(),
            asked: Vec::new(),
            later: Vec::new(),
            heard: Vec::new(),
            refuses: false,
            silent: false,
            apply_posts: 0,
            next_id: address.0,
            outstanding: None,
            due: Some((Instant::from_ticks(0), Todo::Observe)),
            verdict_at: None,
            back_at: None,
            rejected: false,
            size: None,
        }
    }

    /// Power comes back: what it had fetched is kept.
    pub fn reboot(&mut self, now: Instant) {
        self.outstanding = None;
        self.due = Some((now + Duration::from_secs(2), Todo::Fetch));
    }

    pub fn next_wakeup(&self) -> Option<Instant> {
        if self.silent {
            return None;
        }
        let resend = self.outstanding.as_ref().map(|(_, _, at, _)| *at);
        let due = self.due.filter(|_| self.outstanding.is_none()).map(|(at, _)| at);
        [resend, due, self.verdict_at, self.back_at].into_iter().flatten().min()
    }

    pub fn on_timer(&mut self, now: Instant) -> Vec<Vec<u8>> {
        if self.silent {
            return Vec::new();
        }
        if self.verdict_at.is_some_and(|at| at <= now) {
            self.verdict_at = None;
            self.phase = Phase::VerificationSucceeded;
        }
        if self.back_at.is_some_and(|at| at <= now) {
            self.back_at = None;
            self.phase = Phase::Idle;
            self.running = NEW;
            self.due = Some((now, Todo::Observe));
        }
        if let Some((_, bytes, at, sent)) = &mut self.outstanding {
            if *at > now {
                return Vec::new();
            }
            if *sent >= 5 {
                self.outstanding = None;
                self.due = Some((now + Duration::from_secs(30), Todo::Fetch));
                return Vec::new();
            }
            *sent += 1;
            *at = now + Duration::from_secs(2 << *sent);
            return vec![bytes.clone()];
        }
        match self.due {
            Some((at, todo)) if at <= now => {
                self.due = None;
                vec![self.request(now, todo)]
            }
            _ => Vec::new(),
        }
    }

    fn request(&mut self, now: Instant, todo: Todo) -> Vec<u8> {
        self.next_id += 1;
        let id = self.next_id;
        let mut buffer = [0; 128];
        let len = match todo {
            Todo::Observe => Encoder::new(&mut buffer, Kind::Confirmable, Code::GET, id, token(b"ob"))
                .uint(option::OBSERVE, 0)
                .path("fw/manifest")
                .finish(),
            Todo::Fetch => {
                let offset = self.received.len() as u32;
                self.asked.push(offset);
                Encoder::new(&mut buffer, Kind::Confirmable, Code::GET, id, token(&id.to_be_bytes()))
                    .path("fw/image")
                    .block(option::BLOCK2, Block::at_offset(offset, SZX).unwrap())
                    .finish()
            }
        };
        let bytes = buffer[..len.unwrap()].to_vec();
        self.outstanding = Some((id, bytes.clone(), now + Duration::from_secs(2), 1));
        bytes
    }

    pub fn report(&self) -> Report {
        Report {
            running: self.running,
            config_version: 1,
            boot_count: 3,
            outcome: if self.rejected { BootOutcome::Rejected } else { BootOutcome::Confirmed },
            reason: if self.rejected { Reason::MigrationRequired } else { Reason::None },
            about: if self.rejected { NEW } else { self.running },
            update_phase: self.phase,
        }
    }

    /// A POST of one of our messages to the gateway.
    pub fn post(&mut self, message: vendor::Message) -> Vec<u8> {
        self.next_id += 1;
        let payload = AccessMessage::Vendor(message).to_buffer().unwrap();
        let mut buffer = [0; 128];
        let encoder = Encoder::new(&mut buffer, Kind::Confirmable, Code::POST, self.next_id, token(b"po"));
        let len = encoder.path("mk").payload(&payload).finish().unwrap();
        buffer[..len].to_vec()
    }

    pub fn on_datagram(&mut self, now: Instant, bytes: &[u8]) -> Vec<Vec<u8>> {
        if self.silent || self.back_at.is_some() {
            return Vec::new();
        }
        let message = Message::decode(bytes).expect("the gateway sends CoAP");
        match message.kind {
            Kind::Acknowledgement => {
                let ours = self.outstanding.as_ref().is_some_and(|(id, ..)| *id == message.message_id);
                if ours {
                    self.outstanding = None;
                    return self.on_response(now, &message);
                }
                Vec::new()
            }
            Kind::Confirmable if message.code.is_request() => self.on_request(now, &message),
            // A notification.
            Kind::Confirmable => {
                let mut answers =
                    vec![plain(Kind::Acknowledgement, Code::EMPTY, message.message_id, Token::default(), &[])];
                answers.extend(self.on_manifest(now, message.payload));
                answers
            }
            Kind::NonConfirmable | Kind::Reset => Vec::new(),
        }
    }

    fn on_manifest(&mut self, now: Instant, payload: &[u8]) -> Vec<Vec<u8>> {
        if payload.is_empty() {
            self.phase = Phase::Idle;
            self.due = None;
            return Vec::new();
        }
        assert_eq!(payload.len(), 116);
        if self.running == NEW || self.phase != Phase::Idle || self.rejected {
            return Vec::new();
        }
        if self.refuses {
            self.rejected = true;
            let report = self.report();
            return vec![self.post(vendor::Message::Report(report))];
        }
        self.phase = Phase::TransferActive;
        self.due = Some((now, Todo::Fetch));
        Vec::new()
    }

    fn on_response(&mut self, now: Instant, message: &Message<'_>) -> Vec<Vec<u8>> {
        match (message.code, message.options.block2().unwrap()) {
            (Code::CONTENT, Some(block)) => {
                let etag = message.options.etag().unwrap().unwrap().to_vec();
                assert!(self.etag.is_empty() || self.etag == etag);
                self.etag = etag;
                self.size = message.options.size2().unwrap();
                assert_eq!(block.offset() as usize, self.received.len());
                self.received.extend_from_slice(message.payload);
                if block.more() {
                    self.due = Some((now, Todo::Fetch));
                } else {
                    assert_eq!(self.size, Some(self.received.len() as u32));
                    self.phase = Phase::VerifyingUpdate;
                    self.verdict_at = Some(now + Duration::from_millis(1_600));
                }
                Vec::new()
            }
            (Code::CONTENT, None) => self.on_manifest(now, message.payload),
            (Code::SERVICE_UNAVAILABLE, _) => {
                let seconds = message.options.max_age().unwrap().unwrap();
                self.later.push(seconds);
                self.due = Some((now + Duration::from_secs(u64::from(seconds)), Todo::Fetch));
                Vec::new()
            }
            (Code::NOT_FOUND, _) => {
                self.phase = Phase::Idle;
                Vec::new()
            }
            (Code::CHANGED, _) => Vec::new(),
            (code, _) => panic!("{code:?}"),
        }
    }

    fn on_request(&mut self, now: Instant, message: &Message<'_>) -> Vec<Vec<u8>> {
        let answer =
            |code, payload: &[u8]| plain(Kind::Acknowledgement, code, message.message_id, message.token, payload);
        if message.options.path_is("mk") {
            let Ok(AccessMessage::Vendor(inner)) = AccessMessage::decode(message.payload) else { panic!("not ours") };
            self.heard.push(inner);
            let mut answers = vec![answer(Code::CHANGED, &[])];
            if inner == vendor::Message::ReportGet {
                let report = self.report();
                answers.push(self.post(vendor::Message::Report(report)));
            }
            answers
        } else if message.options.path_is("fw/apply") {
            self.apply_posts += 1;
            if self.phase == Phase::VerificationSucceeded {
                self.phase = Phase::ApplyingUpdate;
                self.back_at = Some(now + Duration::from_secs(20));
            }
            // 4.09 when there is nothing to apply.
            let code = if self.phase == Phase::ApplyingUpdate { Code::CHANGED } else { Code(4 << 5 | 9) };
            vec![answer(code, &[])]
        } else {
            assert!(message.options.path_is("fw/version"));
            let fwid = Fwid::of_version(vendor::COMPANY_ID, self.running);
            let mut octets = fwid.company_id.to_le_bytes().to_vec();
            octets.extend_from_slice(&fwid.version);
            vec![answer(Code::CONTENT, &octets)]
        }
    }
}

fn token(octets: &[u8]) -> Token {
    Token::new(octets).unwrap()
}

fn plain(kind: Kind, code: Code, id: u16, token: Token, payload: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 128];
    let len = Encoder::new(&mut buffer, kind, code, id, token).payload(payload).finish().unwrap();
    buffer[..len].to_vec()
}
