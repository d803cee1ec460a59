//! A channel with loss between one client and its targets, in virtual time.

use mk_blob::client::{BlobClient, BlobSource, ClientEvent, ClientState, Config, Kind, Policy};
use mk_blob::server::{BlobServer, BlockSink, PullPolicy, Reply, ServerEvent, SinkError};
use mk_wire::access::network_pdus;
use mk_wire::blob::arithmetic::Sizes;
use mk_wire::blob::{BlobId, Capabilities, Message, TransferMode};
use mk_wire::time::{Duration, Instant};
use mk_wire::{AccessMessage, Addr};
use std::collections::BTreeMap;

pub const GATEWAY: Addr = Addr(0x0001);
pub const GROUP: Addr = Addr(0xC000);
pub const BLOB: BlobId = BlobId(0x0123_4567_89AB_CDEF);
pub const TIMEOUT_BASE: u16 = 10;

/// xorshift64*: enough randomness to lose messages.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

/// The image a test sends: no two chunks alike.
pub fn image(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

pub struct Image(pub Vec<u8>);

impl BlobSource for Image {
    fn read(&mut self, offset: u32, out: &mut [u8]) {
        out.copy_from_slice(&self.0[offset as usize..offset as usize + out.len()]);
    }
}

/// RAM for a block, and flash for blocks that ended.
#[derive(Default)]
pub struct Storage {
    pub flash: Vec<u8>,
    pub ram: Vec<u8>,
    pub blocks: Vec<u16>,
    pub chunks: usize,
    pub fail_next_end: bool,
}

impl BlockSink for Storage {
    fn begin_block(&mut self, _offset: u32, len: u32) -> Result<(), SinkError> {
        self.ram = vec![0xEE; len as usize];
        Ok(())
    }

    fn chunk(&mut self, offset_in_block: u32, data: &[u8]) {
        let start = offset_in_block as usize;
        self.ram[start..start + data.len()].copy_from_slice(data);
        self.chunks += 1;
    }

    fn end_block(&mut self, block: u16, offset: u32, len: u32) -> Result<(), SinkError> {
        if std::mem::take(&mut self.fail_next_end) {
            return Err(SinkError);
        }
        assert_eq!(self.ram.len(), len as usize);
        let end = (offset + len) as usize;
        self.flash.resize(self.flash.len().max(end), 0xFF);
        self.flash[offset as usize..end].copy_from_slice(&self.ram);
        self.blocks.push(block);
        Ok(())
    }
}

pub struct Node {
    pub server: BlobServer,
    pub storage: Storage,
    pub deaf: bool,
    pub events: Vec<ServerEvent>,
}

pub fn capabilities() -> Capabilities {
    Capabilities {
        min_block_size_log: 8,
        max_block_size_log: 15,
        max_total_chunks: 256,
        max_chunk_size: 377,
        max_blob_size: 1 << 20,
        server_mtu: 380,
        push: true,
        pull: true,
    }
}

pub fn config(size: usize) -> Config {
    Config {
        blob_id: BLOB,
        size: size as u32,
        mode: TransferMode::Push,
        ttl: 5,
        timeout_base: TIMEOUT_BASE,
        mtu: 380,
        group: Some(GROUP),
        own_address: GATEWAY,
        ask_capabilities: false,
        sizes: Some(Sizes { block_size_log: 12, chunk_size: 185 }),
        policy: Policy::default(),
    }
}

pub struct World {
    pub client: BlobClient<16>,
    pub nodes: BTreeMap<Addr, Node>,
    pub now: Instant,
    pub source: Image,
    pub dice: Dice,
    /// Messages lost, in per mille of all deliveries.
    pub loss: u64,
    pub events: Vec<ClientEvent>,
    pub chunks_sent: usize,
    /// Answers on their way.
    air: BTreeMap<(Instant, u64), (Addr, Vec<u8>)>,
    sequence: u64,
}

impl World {
    pub fn new(config: Config, nodes: u16, loss: u64, seed: u64) -> Self {
        let addrs: Vec<Addr> = (0..nodes).map(|n| Addr(0x0100 + n)).collect();
        let now = Instant::from_ticks(0);
        let node = |_: &Addr| {
            let mut server = BlobServer::new(capabilities(), PullPolicy::default());
            server.expect(now, config.blob_id, config.ttl, config.timeout_base, GATEWAY).unwrap();
            Node { server, storage: Storage::default(), deaf: false, events: Vec::new() }
        };
        World {
            client: BlobClient::new(config, addrs.iter().copied()).unwrap(),
            nodes: addrs.iter().map(|addr| (*addr, node(addr))).collect(),
            now,
            source: Image(image(config.size as usize)),
            dice: Dice::new(seed),
            loss,
            events: Vec::new(),
            chunks_sent: 0,
            air: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub fn start(&mut self) {
        self.client.start(self.now);
    }

    fn lost(&mut self) -> bool {
        self.loss > 0 && self.dice.below(1000) < self.loss
    }

    fn answer(&mut self, from: Addr, reply: Reply) {
        assert_eq!(reply.to, GATEWAY);
        if !self.lost() {
            let at = self.now + Duration::from_millis(20 + self.dice.below(480));
            self.sequence += 1;
            self.air.insert((at, self.sequence), (from, reply.message.to_vec()));
        }
    }

    fn deliver(&mut self, to: Addr, bytes: &[u8]) {
        let Ok(AccessMessage::Blob(message)) = AccessMessage::decode(bytes) else { panic!("not a BLOB message") };
        let receivers: Vec<Addr> = self.nodes.keys().copied().filter(|addr| to == GROUP || to == *addr).collect();
        for addr in receivers {
            if self.lost() {
                continue;
            }
            let now = self.now;
            let node = self.nodes.get_mut(&addr).unwrap();
            let reply =
                if node.deaf { None } else { node.server.on_message(now, GATEWAY, &message, &mut node.storage) };
            node.events.extend(std::iter::from_fn(|| node.server.poll_event()));
            if let Some(reply) = reply {
                self.answer(addr, reply);
            }
        }
    }

    /// One step of the world; false when nothing will ever happen again.
    pub fn step(&mut self) -> bool {
        let mut out = [0; 380];
        let before = self.client.state();
        if let Some(sent) = self.client.poll_transmit(self.now, true, &mut self.source, &mut out) {
            self.chunks_sent += usize::from(sent.kind == Kind::Data);
            let is_chunk =
                matches!(AccessMessage::decode(&out[..sent.len]), Ok(AccessMessage::Blob(Message::Chunk(_))));
            assert_eq!(is_chunk, sent.kind == Kind::Data);
            self.now += Duration::from_millis(10 * network_pdus(sent.len, false) as u64);
            self.deliver(sent.to, &out[..sent.len]);
        } else if self.client.state() == before {
            let timers = self.nodes.values().filter_map(|node| node.server.next_wakeup());
            let next = timers.chain(self.client.next_wakeup()).chain(self.air.keys().map(|(at, _)| *at)).min();
            let Some(next) = next else {
                self.settle();
                return false;
            };
            self.now = self.now.max(next);
        }
        self.settle();
        true
    }

    fn settle(&mut self) {
        while let Some(entry) = self.air.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (from, bytes) = entry.remove();
            if let Ok(AccessMessage::Blob(message)) = AccessMessage::decode(&bytes) {
                self.client.on_message(self.now, from, &message);
            }
        }
        for addr in self.nodes.keys().copied().collect::<Vec<_>>() {
            let now = self.now;
            let node = self.nodes.get_mut(&addr).unwrap();
            let reply = node.server.on_timer(now);
            node.events.extend(std::iter::from_fn(|| node.server.poll_event()));
            if let Some(reply) = reply {
                self.answer(addr, reply);
            }
        }
        self.events.extend(std::iter::from_fn(|| self.client.poll_event()));
    }

    /// Runs until the client is no longer active, or `done` says so.
    pub fn run_until(&mut self, done: impl Fn(&World) -> bool) {
        for _ in 0..1_000_000 {
            let over = !matches!(self.client.state(), ClientState::Active | ClientState::Cancelling);
            if over || done(self) || !self.step() {
                return;
            }
        }
        panic!("the transfer never ends: {:?}", self.client.state());
    }

    pub fn run(&mut self) {
        self.run_until(|_| false);
    }

    pub fn has_image(&self, addr: Addr) -> bool {
        self.nodes[&addr].storage.flash == self.source.0
    }
}
