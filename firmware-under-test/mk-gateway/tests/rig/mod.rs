//! A gateway with stub nodes in virtual time. The mesh stubs are BLOB Transfer Servers under a minimal Firmware Update
//! Server; what goes wrong with one is its [`Behaviour`].
#![allow(dead_code, clippy::unwrap_used, reason = "shared by several test files, and tests fail by panicking")]

pub mod mesh_node;
pub mod thread_node;

use mesh_node::{Behaviour, MeshNode};
use mk_gateway::{Carrier, Class, Gateway, GatewayRecord, GatewaySettings};
use mk_wire::access::Buffer;
use mk_wire::blob::TransferMode;
use mk_wire::distribution::{
    self, Message, Multicast, Phase, ReceiverEntry, ReceiverReport, ReceiverSet, Start, Status, UpdatePolicy,
};
use mk_wire::metadata::FirmwareMetadata;
use mk_wire::north::{Notice, Order};
use mk_wire::time::{Duration, Instant};
use mk_wire::{AccessMessage, Addr, BlobId, Fwid, Version, vendor};
use std::collections::{BTreeMap, VecDeque};
use thread_node::ThreadNode;

pub const GATEWAY: Addr = Addr(0x0001);
pub const MESH_OS: Addr = Addr(0x7F01);
pub const GROUP: Addr = Addr(0xC0DE);
pub const OLD: Version = Version::new(1, 0, 0);
pub const NEW: Version = Version::new(1, 1, 0);

pub fn node(n: u16) -> Addr {
    Addr(0x0100 + n)
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A small generator: same seed, same run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit.max(1)
    }
}

/// What travels.
enum Event {
    ToMesh { node: usize, to: Addr, bytes: Vec<u8> },
    ToThread { node: usize, bytes: Vec<u8> },
    FromMesh { from: Addr, to: Addr, bytes: Vec<u8> },
    FromThread { from: Addr, bytes: Vec<u8> },
}

/// A message that the gateway gave out.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Instant,
    pub to: Addr,
    pub carrier: Carrier,
    pub class: Class,
    pub pdus: u16,
    pub spacing: Duration,
    pub bytes: Vec<u8>,
}

pub struct Rig {
    pub now: Instant,
    pub settings: GatewaySettings,
    pub gateway: Gateway,
    pub mesh: Vec<MeshNode>,
    pub thread: Vec<ThreadNode>,
    /// Chance in 1,000 that a mesh message is lost at one receiver, or on its way back.
    pub loss: u64,
    pub random: Random,
    /// State records only: what survives a restart.
    pub disk: Vec<GatewayRecord>,
    pub log: Vec<GatewayRecord>,
    pub notices: Vec<Notice>,
    pub sent: Vec<Sent>,
    pub image: Vec<u8>,
    answers: VecDeque<Buffer>,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
}

impl Rig {
    pub fn new(mesh: &[Behaviour], thread: usize) -> Self {
        let mesh_nodes: Vec<MeshNode> =
            mesh.iter().enumerate().map(|(n, b)| MeshNode::new(node(n as u16 + 1), *b)).collect();
        let thread_nodes: Vec<ThreadNode> = (0..thread).map(|n| ThreadNode::new(node(0x400 + n as u16))).collect();
        let mut directory: Vec<(Addr, Carrier)> = mesh_nodes.iter().map(|n| (n.address, Carrier::Mesh)).collect();
        directory.extend(thread_nodes.iter().map(|n| (n.address, Carrier::Thread)));
        let mut settings = GatewaySettings::new(GATEWAY, MESH_OS, directory);
        settings.throttle_permille = 1000;
        settings.block_size_log = 12;
        let now = Instant::from_ticks(1_000_000);
        Rig {
            now,
            gateway: Gateway::new(now, settings.clone()),
            settings,
            mesh: mesh_nodes,
            thread: thread_nodes,
            loss: 0,
            random: Random::new(7),
            disk: Vec::new(),
            log: Vec::new(),
            notices: Vec::new(),
            sent: Vec::new(),
            image: (0..20_000u32).map(|i| ((i * 31) >> 3) as u8).collect(),
            answers: VecDeque::new(),
            events: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// A rig whose gateway holds the new image and the receivers list of all nodes.
    pub fn ready(mesh: &[Behaviour], thread: usize) -> Self {
        let mut rig = Rig::new(mesh, thread);
        rig.upload();
        rig.add_receivers();
        rig
    }

    pub fn metadata(&self) -> FirmwareMetadata {
        FirmwareMetadata {
            version: NEW,
            hardware_id: 1,
            config_migration_version: 2,
            oldest_migratable_version: Some(1),
            size: self.image.len() as u32,
            sha256: [7; 32],
            signature: [9; 64],
        }
    }

    pub fn all_nodes(&self) -> Vec<Addr> {
        self.mesh.iter().map(|n| n.address).chain(self.thread.iter().map(|n| n.address)).collect()
    }

    /// One request of the Initiator and its answer.
    pub fn ask(&mut self, message: Message<'_>) -> Buffer {
        let order = Order::Access(AccessMessage::Distribution(message).to_buffer().unwrap());
        self.answers.clear();
        let now = self.now;
        self.gateway.on_order(now, &order);
        self.drain();
        self.answers.pop_front().unwrap()
    }

    /// The status octet of an answer.
    pub fn status(&mut self, message: Message<'_>) -> Status {
        Status::from_u8(self.ask(message)[2]).unwrap()
    }

    pub fn upload(&mut self) {
        use mk_wire::blob::{BlockStart, Chunk, Message as Blob, TransferStart};
        let metadata = self.metadata().to_bytes();
        let fwid = Fwid::of_version(vendor::COMPANY_ID, NEW);
        let size = self.image.len() as u32;
        let start = Message::UploadStart(distribution::UploadStart {
            ttl: 0,
            timeout_base: 0,
            blob_id: BlobId(77),
            size,
            metadata: &metadata,
            fwid: fwid.as_ref(),
        });
        assert_eq!(self.status(start), Status::Success);
        let image = self.image.clone();
        let mut blob = |message: Blob<'_>| {
            let now = self.now;
            self.gateway.on_order(now, &Order::Access(AccessMessage::Blob(message).to_buffer().unwrap()));
            self.drain();
        };
        blob(Blob::TransferStart(TransferStart {
            mode: TransferMode::Push,
            blob_id: BlobId(77),
            size,
            block_size_log: 12,
            client_mtu: 380,
        }));
        for (block, octets) in image.chunks(4096).enumerate() {
            blob(Blob::BlockStart(BlockStart { block: block as u16, chunk_size: 256 }));
            for (number, data) in octets.chunks(256).enumerate() {
                blob(Blob::Chunk(Chunk { number: number as u16, data }));
            }
        }
        let answer = self.ask(Message::UploadGet);
        assert_eq!(answer[2..5], [0, 3, 100]);
    }

    pub fn add_receivers(&mut self) {
        let octets: Vec<u8> = self
            .all_nodes()
            .into_iter()
            .flat_map(|address| ReceiverEntry { address, image_index: 0 }.to_bytes())
            .collect();
        for part in octets.chunks(ReceiverEntry::SIZE * ReceiverSet::MAX_ENTRIES) {
            let set = ReceiverSet::from_bytes(part).unwrap();
            assert_eq!(self.status(Message::ReceiversAdd(set)), Status::Success);
        }
    }

    pub fn start_with(policy: UpdatePolicy) -> Message<'static> {
        Message::Start(Start {
            app_key_index: 0,
            ttl: 5,
            timeout_base: 0,
            mode: TransferMode::Push,
            policy,
            image_index: 0,
            multicast: Multicast::Address(GROUP),
        })
    }

    pub fn start() -> Message<'static> {
        Self::start_with(UpdatePolicy::VerifyAndApply)
    }

    pub fn phase(&self) -> Phase {
        self.gateway.phase()
    }

    pub fn report(&self, address: Addr) -> ReceiverReport {
        self.gateway.receivers().find(|r| r.address == address).unwrap()
    }

    /// Kills the gateway process and starts it again from its state records.
    pub fn restart(&mut self) {
        let now = self.now;
        self.gateway = Gateway::restore(now, self.settings.clone(), &self.disk);
        self.drain();
    }

    pub fn order(&mut self, order: &Order) {
        let now = self.now;
        self.gateway.on_order(now, order);
        self.drain();
    }

    /// Runs until `done` or until `limit` has passed; says whether `done` came.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Rig) -> bool) -> bool {
        let end = self.now + limit;
        let mut idle_steps = 0;
        loop {
            if done(self) {
                return true;
            }
            let Some(next) = self.next_time() else {
                self.now = end;
                return false;
            };
            if next > end {
                self.now = end;
                return false;
            }
            idle_steps = if next > self.now { 0 } else { idle_steps + 1 };
            assert!(idle_steps < 10_000, "the gateway asks to be called at once for ever");
            self.now = self.now.max(next);
            self.step();
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    pub fn run_to_end(&mut self) -> Phase {
        let ended = self.run_until(Duration::from_secs(3_600), |rig| {
            matches!(rig.phase(), Phase::Completed | Phase::Failed | Phase::Idle)
        });
        assert!(ended, "still {:?} after an hour", self.phase());
        self.phase()
    }

    fn next_time(&self) -> Option<Instant> {
        let event = self.events.keys().next().map(|(at, _)| *at);
        let nodes = self.mesh.iter().filter_map(MeshNode::next_wakeup).min();
        let thread = self.thread.iter().filter_map(ThreadNode::next_wakeup).min();
        [event, nodes, thread, self.gateway.next_wakeup()].into_iter().flatten().min()
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Event::ToMesh { node, to, bytes } => self.at_mesh(node, to, &bytes),
                Event::ToThread { node, bytes } => {
                    let answers = self.thread[node].on_datagram(now, &bytes);
                    self.answers_of_thread(node, answers);
                }
                Event::FromMesh { from, to, bytes } => self.gateway.on_access(now, from, to, &bytes),
                Event::FromThread { from, bytes } => self.gateway.on_coap(now, from, &bytes),
            }
        }
        for node in 0..self.mesh.len() {
            let answers = self.mesh[node].on_timer(now);
            self.answers_of_mesh(node, answers, false);
        }
        for node in 0..self.thread.len() {
            let answers = self.thread[node].on_timer(now);
            self.answers_of_thread(node, answers);
        }
        self.gateway.on_timer(now);
        self.drain();
    }

    fn at_mesh(&mut self, node: usize, to: Addr, bytes: &[u8]) {
        let answers = self.mesh[node].on_access(self.now, to, bytes);
        self.answers_of_mesh(node, answers, to.is_group());
    }

    fn answers_of_mesh(&mut self, node: usize, answers: Vec<Vec<u8>>, to_group: bool) {
        let from = self.mesh[node].address;
        for bytes in answers {
            let delay = if to_group { 20 + self.random.below(480) } else { 20 + self.random.below(30) };
            if self.random.below(1_000) >= self.loss {
                self.at(ms(delay), Event::FromMesh { from, to: GATEWAY, bytes });
            }
        }
    }

    fn answers_of_thread(&mut self, node: usize, datagrams: Vec<Vec<u8>>) {
        let from = self.thread[node].address;
        for bytes in datagrams {
            if self.random.below(1_000) >= self.loss {
                self.at(ms(15), Event::FromThread { from, bytes });
            }
        }
    }

    fn at(&mut self, delay: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), event);
    }

    /// Takes every output of the gateway, the journal first.
    fn drain(&mut self) {
        loop {
            while let Some(record) = self.gateway.poll_journal() {
                if record.is_state() {
                    self.disk.push(record.clone());
                }
                self.log.push(record);
            }
            if let Some(notice) = self.gateway.poll_notice() {
                if let Notice::Access(buffer) = &notice {
                    self.answers.push_back(buffer.clone());
                } else {
                    self.notices.push(notice);
                }
                continue;
            }
            let now = self.now;
            let Some(message) = self.gateway.poll_transmit(now) else { break };
            let sent = Sent {
                at: now,
                to: message.to,
                carrier: message.carrier,
                class: message.class,
                pdus: message.pdus,
                spacing: message.spacing,
                bytes: message.bytes.to_vec(),
            };
            self.deliver(&sent);
            self.sent.push(sent);
        }
    }

    fn deliver(&mut self, sent: &Sent) {
        let air = sent.spacing * u32::from(sent.pdus.max(1));
        match sent.carrier {
            Carrier::Mesh => {
                for node in 0..self.mesh.len() {
                    if self.mesh[node].hears(sent.to) && self.random.below(1_000) >= self.loss {
                        self.at(air, Event::ToMesh { node, to: sent.to, bytes: sent.bytes.clone() });
                    }
                }
            }
            Carrier::Thread => {
                let node = self.thread.iter().position(|n| n.address == sent.to);
                if let Some(node) = node.filter(|_| self.random.below(1_000) >= self.loss) {
                    self.at(air, Event::ToThread { node, bytes: sent.bytes.clone() });
                }
            }
        }
    }
}
