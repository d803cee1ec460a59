//! A radio co-processor on a pty, and behind it nodes that run natively: bootloader, application and mesh stack. Real time.

use crate::bench::{Bench, Image};
use mk_mesh::{BearerKind, Destination, KeyUse, MeshSettings, NodeStack, OwnDeviceKey, Pacing, Record, Storage};
use mk_wire::radio_link::{AD_MESH_BEACON, AD_MESH_MESSAGE, Decoder, Frame, Pdu, VERSION, WINDOW};
use mk_wire::time::{Duration, Instant};
use mk_wire::{AccessMessage, Addr, Version};
use serialport::{SerialPort as _, TTYPort};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

pub const NET_KEY: [u8; 16] = [0x11; 16];
pub const APP_KEY: [u8; 16] = [0x22; 16];

/// The device key of whoever has this address.
pub fn device_key(address: Addr) -> [u8; 16] {
    let mut key = [0x33; 16];
    key[14..].copy_from_slice(&address.0.to_be_bytes());
    key
}

/// What a node shows from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    pub runs: Version,
    pub confirmed: bool,
    pub boots: u32,
}

enum Command {
    Look(Sender<Vec<Seen>>),
    Unplug,
    Plug,
    /// PDUs of one number in so many get lost.
    LoseEvery(Option<u64>),
    End,
}

/// The air.
pub struct Air {
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
    /// Where the gateway opens its radio.
    pub port: PathBuf,
}

impl Air {
    /// With nodes at these addresses; the port is a link in `folder`.
    pub fn with_nodes(nodes: &[Addr], folder: &Path) -> Self {
        let (commands, orders) = channel();
        let port = folder.join("radio");
        let (nodes, link) = (nodes.to_vec(), port.clone());
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            let mut world = World::new(&nodes, link);
            world.plug();
            ready.send(()).unwrap();
            world.run(&orders);
        });
        is_ready.recv().unwrap();
        Self { commands, thread: Some(thread), port }
    }

    pub fn look(&self) -> Vec<Seen> {
        let (answer, answered) = channel();
        self.commands.send(Command::Look(answer)).unwrap();
        answered.recv().unwrap()
    }

    pub fn unplug(&self) {
        self.commands.send(Command::Unplug).unwrap();
    }

    pub fn plug(&self) {
        self.commands.send(Command::Plug).unwrap();
    }

    pub fn lose_every(&self, number: Option<u64>) {
        self.commands.send(Command::LoseEvery(number)).unwrap();
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::End);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the air ended by itself");
        }
    }
}

/// What a node's stack keeps; its flash pages are tested elsewhere.
#[derive(Default)]
struct Memory(Vec<Record>);

impl Storage for Memory {
    type Error = Infallible;

    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), Infallible> {
        self.0.iter().copied().for_each(each);
        Ok(())
    }

    fn save(&mut self, record: &Record) -> Result<(), Infallible> {
        self.0.push(*record);
        Ok(())
    }
}

struct Node {
    bench: Bench,
    stack: NodeStack,
    memory: Memory,
}

struct Aired {
    from: Option<usize>,
    ad_type: u8,
    pdu: Pdu,
}

struct World {
    began: std::time::Instant,
    nodes: Vec<Node>,
    link: PathBuf,
    /// Both ends: as long as the near one is open here, a gateway may come and go.
    port: Option<(TTYPort, TTYPort)>,
    decoder: Decoder,
    aired: VecDeque<Aired>,
    lose_every: Option<u64>,
    count: u64,
}

impl World {
    fn new(addresses: &[Addr], link: PathBuf) -> Self {
        let began = std::time::Instant::now();
        let nodes = addresses.iter().map(|address| {
            let mut bench = Bench::new();
            bench.settings.address = *address;
            bench.boot();
            let mut settings = MeshSettings::new(*address, NET_KEY, APP_KEY, 0);
            settings.segment_interval = Some(Duration::from_millis(1));
            let mut memory = Memory::default();
            let key = OwnDeviceKey::new(&device_key(*address));
            let stack = NodeStack::start(bench.now, &settings, key, &mut memory).unwrap();
            Node { bench, stack, memory }
        });
        Self {
            began,
            nodes: nodes.collect(),
            link,
            port: None,
            decoder: Decoder::new(),
            aired: VecDeque::new(),
            lose_every: None,
            count: 0,
        }
    }

    fn plug(&mut self) {
        let (mut far, near) = TTYPort::pair().unwrap();
        far.set_timeout(std::time::Duration::from_millis(1)).unwrap();
        let _ = std::fs::remove_file(&self.link);
        std::os::unix::fs::symlink(near.name().unwrap(), &self.link).unwrap();
        self.port = Some((far, near));
        self.decoder = Decoder::new();
        self.say(&Frame::Hello { version: VERSION, window: WINDOW });
    }

    fn run(&mut self, commands: &Receiver<Command>) {
        loop {
            for command in commands.try_iter() {
                match command {
                    Command::Look(answer) => answer.send(self.nodes.iter().map(Node::seen).collect()).unwrap(),
                    Command::Unplug => {
                        self.port = None;
                        std::fs::remove_file(&self.link).unwrap();
                    }
                    Command::Plug => self.plug(),
                    Command::LoseEvery(number) => self.lose_every = number,
                    Command::End => return,
                }
            }
            self.listen_to_gateway();
            let now = Instant::from_ticks(1_000_000 + self.began.elapsed().as_micros() as u64);
            for (index, node) in self.nodes.iter_mut().enumerate() {
                node.work(now, |ad_type, pdu| self.aired.push_back(Aired { from: Some(index), ad_type, pdu }));
            }
            while let Some(aired) = self.aired.pop_front() {
                self.deliver(now, &aired);
            }
        }
    }

    fn say(&mut self, frame: &Frame) {
        if let Some((far, _)) = &mut self.port {
            // With no gateway there, octets pile up until the line is full: a radio would lose them too.
            let _ = far.write_all(&frame.encode());
        }
    }

    fn listen_to_gateway(&mut self) {
        let mut octets = [0; 1_024];
        let Some((far, _)) = &mut self.port else {
            std::thread::sleep(std::time::Duration::from_millis(1));
            return;
        };
        let count = match far.read(&mut octets) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::TimedOut => 0,
            Err(error) => panic!("{error}"),
        };
        for octet in &octets[..count] {
            match self.decoder.push(*octet) {
                Some(Ok(Frame::Query)) => self.say(&Frame::Hello { version: VERSION, window: WINDOW }),
                Some(Ok(Frame::Transmit { id, ad_type, pdu })) => {
                    self.say(&Frame::Sent { id });
                    self.aired.push_back(Aired { from: None, ad_type, pdu });
                }
                Some(Ok(_) | Err(_)) | None => {}
            }
        }
    }

    fn deliver(&mut self, now: Instant, aired: &Aired) {
        self.count += 1;
        if self.lose_every.is_some_and(|number| self.count.is_multiple_of(number)) {
            return;
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if aired.from != Some(index) {
                node.hear(now, aired.ad_type, &aired.pdu);
            }
        }
        if aired.from.is_some() {
            self.say(&Frame::Received { ad_type: aired.ad_type, rssi_dbm: -60, pdu: aired.pdu.clone() });
        }
    }
}

impl Node {
    fn seen(&self) -> Seen {
        let confirmed = self.bench.node.as_ref().is_some_and(mk_node::Node::is_confirmed);
        Seen { runs: self.bench.runs(), confirmed, boots: self.bench.boots }
    }

    fn hear(&mut self, now: Instant, ad_type: u8, pdu: &[u8]) {
        let application = self.bench.node.as_ref();
        let listens = |addr| application.is_some_and(|node| node.listens_to(addr));
        match ad_type {
            AD_MESH_MESSAGE => drop(self.stack.on_pdu(now, pdu, -60, &listens)),
            _ => drop(self.stack.on_beacon(now, pdu)),
        }
        // One PDU completes one message at most.
        if let Some(message) = self.stack.poll_message() {
            let (from, to, access) = (message.from, message.to, message.access.to_vec());
            self.bench.hand(from, to, &access);
        }
    }

    fn work(&mut self, now: Instant, mut send: impl FnMut(u8, Pdu)) {
        if let Some(passed) = now.checked_duration_since(self.bench.now) {
            self.bench.run_for(passed);
        }
        while let Some(sent) = self.bench.sent.front() {
            let message = &sent.message;
            let is_config = matches!(AccessMessage::decode(&message.bytes), Ok(AccessMessage::Config(_)));
            let key = if is_config { KeyUse::Device } else { KeyUse::Application };
            let to = Destination { to: message.to, ttl: message.ttl, key, pacing: Pacing::Control };
            if !self.stack.has_room(message.bytes.len()) {
                break;
            }
            self.stack.send(now, to, &message.bytes).unwrap();
            self.bench.sent.pop_front();
        }
        self.stack.persist(now, &mut self.memory).unwrap();
        while let Some(bearer) = self.stack.poll_pdu(now) {
            let ad_type = match bearer.kind {
                BearerKind::Message => AD_MESH_MESSAGE,
                BearerKind::Beacon => AD_MESH_BEACON,
            };
            send(ad_type, Pdu::from_slice(&bearer.octets).unwrap());
        }
    }
}

/// An image's octets and metadata as an operator's package.
pub fn package(spec: crate::bench::ImageSpec) -> mk_campaign::Package {
    let Image { file, metadata } = crate::bench::image(spec);
    mk_campaign::Package {
        version: spec.version,
        config_version: spec.config_version,
        metadata: metadata.to_bytes().to_vec(),
        image: file,
    }
}
