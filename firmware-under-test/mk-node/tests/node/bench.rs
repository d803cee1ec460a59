//! A board, its bootloader and its node on the bench: boots, lets time pass, plays the gateway.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    vec,
    vec::Vec,
};

use mk_boot::{
    Area, BootReport, Composition, ConfigVersion, Geometry, Hardware, KeyStore, PublicKey, ResetCause, Run,
    geometry::{FlashTiming, Region},
};
use mk_wire::{
    AccessMessage, Addr, BlobId, Version, blob,
    metadata::FirmwareMetadata,
    time::{Duration, Instant},
    update,
    vendor::{self, COMPANY_ID},
};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
use sha2::{Digest, Sha256};

use crate::flash::{PAGE, RamFlash, Supply, Tear};
use mk_node::{
    Carrier, Effect, Firmware, Node, NodeHardware, Outgoing, Parts, Received, Settings, StartError, TraceEvent,
    config::{self, Config},
};

pub const GATEWAY: Addr = Addr(0x0001);
pub const NODE: Addr = Addr(0x0101);
pub const HARDWARE: u32 = 0x4D4B_7E57;
pub const INTERVAL: Duration = Duration::from_secs(3_600);
pub const GRACE: Duration = Duration::from_secs(120);

/// A small board: 28 KiB of payload, slots of nine pages.
pub static BOARD: Geometry = Geometry {
    name: "bench",
    hardware_id: HARDWARE,
    page_size: PAGE as u32,
    word_size: 4,
    header_size: 0x200,
    trailer_length: PAGE as u32,
    execution_address: 0x4000,
    bank_a: Region { start: 0x4000, length: 0x9000 },
    config: Region { start: 0x1_0000, length: 0x7000 },
    bootloader: Region { start: 0, length: 0x1000 },
    journal: Region { start: 0x2000, length: 0x2000 },
    key_page: Region { start: 0x1000, length: 0x1000 },
    identity: Region { start: 0xD000, length: 0x1000 },
    sequence: Region { start: 0xE000, length: 0x2000 },
    boot_count: Region { start: 0x1_7000, length: 0x2000 },
    slots: [Region { start: 0, length: 0x9000 }, Region { start: 0x9000, length: 0x9000 }],
    internal_timing: FlashTiming { erase_us: 85_000, write_us: 41, write_unit: 4 },
    external_timing: FlashTiming { erase_us: 50_000, write_us: 2_000, write_unit: 256 },
};

type Question = ([u8; 65], [u8; 32], Vec<u8>);

std::thread_local! {
    /// Signatures that a sweep asks for a thousand times over.
    static VERDICTS: RefCell<BTreeMap<Question, bool>> = const { RefCell::new(BTreeMap::new()) };
}

#[derive(Clone)]
pub struct TestBoard {
    pub internal: RamFlash,
    pub external: RamFlash,
    pub key: Option<PublicKey>,
    pub buffer: Vec<u8>,
    pub fed: usize,
    pub entropy: u64,
}

impl KeyStore for TestBoard {
    fn key(&mut self) -> Option<PublicKey> {
        self.key
    }
}

impl ConfigVersion for TestBoard {
    fn config_version(&mut self) -> Option<u16> {
        config::stored_version(&mut self.internal, BOARD.config)
    }
}

impl Hardware for TestBoard {
    type Internal = RamFlash;
    type External = RamFlash;

    fn geometry(&self) -> &'static Geometry {
        &BOARD
    }

    fn internal(&mut self) -> &mut RamFlash {
        &mut self.internal
    }

    fn external(&mut self) -> &mut RamFlash {
        &mut self.external
    }

    fn feed_watchdog(&mut self) {
        self.fed += 1;
    }

    fn verify_p256(&mut self, key: &PublicKey, digest: &[u8; 32], signature: &[u8]) -> bool {
        let question = (key.0, *digest, signature.to_vec());
        let verify = || mk_boot::crypto::verify_p256(key, digest, signature);
        VERDICTS.with_borrow_mut(|verdicts| *verdicts.entry(question).or_insert_with(verify))
    }
}

impl NodeHardware for TestBoard {
    fn block_buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn temperature_centi_c(&mut self) -> i16 {
        2_150
    }

    fn entropy(&mut self) -> u64 {
        self.entropy = self.entropy.wrapping_add(1);
        self.entropy
    }
}

/// What an image shall be.
#[derive(Clone, Copy, Debug)]
pub struct ImageSpec {
    pub version: Version,
    pub config_version: u16,
    pub oldest: Option<u16>,
    pub payload: usize,
    pub hardware: u32,
}

impl ImageSpec {
    pub fn new(minor: u8) -> Self {
        ImageSpec {
            version: Version::new(1, minor, 0),
            config_version: 1,
            oldest: None,
            payload: 9_000,
            hardware: HARDWARE,
        }
    }

    pub fn config(self, config_version: u16, oldest: Option<u16>) -> Self {
        ImageSpec { config_version, oldest, ..self }
    }
}

/// An image and its metadata, signed with the bench's key.
#[derive(Clone, Debug)]
pub struct Image {
    pub file: Vec<u8>,
    pub metadata: FirmwareMetadata,
}

pub fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

fn sign(digest: &[u8]) -> Signature {
    key().sign_prehash(digest).unwrap()
}

/// Signs metadata again after a field was changed.
pub fn signed(mut metadata: FirmwareMetadata) -> FirmwareMetadata {
    let signature = sign(&Sha256::digest(metadata.signed_bytes(COMPANY_ID)));
    metadata.signature.copy_from_slice(&signature.to_bytes());
    metadata
}

fn tlv(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(kind.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
}

/// A TLV area: magic, total length, entries.
fn area(magic: u16, entries: &[u8]) -> Vec<u8> {
    let mut out = magic.to_le_bytes().to_vec();
    out.extend((entries.len() as u16 + 4).to_le_bytes());
    out.extend(entries);
    out
}

/// Octets of an image, from the layout in the design.
pub fn image(spec: ImageSpec) -> Image {
    let mut facts = Vec::new();
    tlv(&mut facts, 0x00A0, &spec.config_version.to_le_bytes());
    if let Some(oldest) = spec.oldest {
        tlv(&mut facts, 0x00A1, &oldest.to_le_bytes());
    }
    tlv(&mut facts, 0x00A2, &spec.hardware.to_le_bytes());
    tlv(&mut facts, 0x0050, &1_u32.to_le_bytes());
    let protected = area(0x6908, &facts);
    let mut file = Vec::new();
    file.extend(0x96F3_B83D_u32.to_le_bytes());
    file.extend(0_u32.to_le_bytes());
    file.extend(0x200_u16.to_le_bytes());
    file.extend((protected.len() as u16).to_le_bytes());
    file.extend((spec.payload as u32).to_le_bytes());
    file.extend(0_u32.to_le_bytes());
    file.extend(spec.version.to_bytes());
    file.resize(0x200, 0);
    let seed = u32::from(spec.version.minor);
    file.extend((0..spec.payload as u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed * 77) >> 13) as u8));
    file.extend(protected);
    let digest: [u8; 32] = Sha256::digest(&file).into();
    let mut proofs = Vec::new();
    tlv(&mut proofs, 0x0010, &digest);
    tlv(&mut proofs, 0x0001, &[0x55; 32]);
    tlv(&mut proofs, 0x0022, sign(&digest).to_der().as_bytes());
    file.extend(area(0x6907, &proofs));
    let metadata = FirmwareMetadata {
        version: spec.version,
        hardware_id: spec.hardware,
        config_migration_version: spec.config_version,
        oldest_migratable_version: spec.oldest,
        size: file.len() as u32,
        sha256: digest,
        signature: [0; 64],
    };
    Image { file, metadata: signed(metadata) }
}

/// An answer or report of the node, with when it left.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Instant,
    pub message: Outgoing,
}

/// The bench.
pub struct Bench {
    pub board: TestBoard,
    pub node: Option<Node<TestBoard>>,
    pub now: Instant,
    pub boots: u32,
    pub sent: VecDeque<Sent>,
    pub traces: Vec<TraceEvent>,
    /// Resets that the node asked for.
    pub resets: usize,
    pub settings: Settings,
    pub parts: Parts<TestBoard>,
    pub last_start: Option<StartError>,
    pub last_boot: Option<BootReport>,
}

impl Bench {
    /// A node that was commissioned with schema 1 and runs version 1.1.0.
    pub fn new() -> Self {
        Self::with(ImageSpec::new(1), Some(Config::factory(1, NODE.0).unwrap()))
    }

    /// A node that runs this image on this configuration.
    pub fn with(spec: ImageSpec, config: Option<Config>) -> Self {
        let supply = Rc::new(RefCell::new(Supply::default()));
        let mut board = TestBoard {
            internal: RamFlash::new(BOARD.internal_size() as usize, &supply),
            external: RamFlash::new(BOARD.external_size() as usize, &supply),
            key: Some(PublicKey(key().verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap())),
            buffer: vec![0; 2 * PAGE],
            fed: 0,
            entropy: 0,
        };
        let file = image(spec).file;
        let (head, rest) = file.split_at(0x200);
        let (payload, tlvs) = rest.split_at(spec.payload);
        let (bank, trailer) = (BOARD.bank_a.start as usize, BOARD.trailer().start as usize);
        board.internal.bytes[bank..][..payload.len()].copy_from_slice(payload);
        board.internal.bytes[trailer..][..0x200].copy_from_slice(head);
        board.internal.bytes[trailer + 0x200..][..tlvs.len()].copy_from_slice(tlvs);
        board.external.bytes[..file.len()].copy_from_slice(&file);
        if let Some(config) = config {
            config::provision(&mut board.internal, BOARD.config, &config).unwrap();
        }
        let settings = Settings {
            address: NODE,
            gateway: GATEWAY,
            carrier: Carrier::Mesh,
            report_interval: INTERVAL,
            grace_period: GRACE,
            firmware: Firmware { version: spec.version, config_version: 0, oldest_migratable: None },
        };
        let mut bench = Bench {
            board,
            node: None,
            now: Instant::from_ticks(1_000_000),
            boots: 0,
            sent: VecDeque::new(),
            traces: Vec::new(),
            resets: 0,
            settings,
            parts: Parts::product(),
            last_start: None,
            last_boot: None,
        };
        bench.boot();
        bench
    }

    /// A node on Thread that was just switched on.
    pub fn on_thread() -> Self {
        let mut bench = Self::new();
        bench.settings.carrier = Carrier::Thread;
        bench.boot();
        bench.sent.clear();
        bench
    }

    /// Hands a datagram to the node.
    pub fn post(&mut self, from: Addr, datagram: &[u8]) {
        if let Some(node) = &mut self.node {
            node.on_coap(self.now, from, datagram, &mut self.board);
        }
        self.drain();
    }

    /// Resets the board: bootloader, then application.
    pub fn boot(&mut self) {
        self.node = None;
        self.boots += 1;
        self.board.buffer.fill(0);
        self.last_start = None;
        let Ok(report) = mk_boot::boot(&mut self.board, &Composition::product(), ResetCause::Software) else {
            return;
        };
        if let (Run::Application { .. }, Some(facts)) = (report.run, &report.image) {
            self.settings.firmware = Firmware {
                version: facts.version(),
                config_version: facts.config_migration_version,
                oldest_migratable: facts.oldest_migratable_version,
            };
            match Node::start(self.now, self.settings, self.parts, &report, self.boots, &mut self.board) {
                Ok(node) => self.node = Some(node),
                Err(error) => self.last_start = Some(error),
            }
        }
        self.last_boot = Some(report);
        self.drain();
    }

    /// The light goes on again after a cut.
    pub fn power_up(&mut self) {
        {
            let mut supply = self.board.internal.supply.borrow_mut();
            supply.dark = false;
            supply.cut = None;
        }
        self.boot();
    }

    pub fn is_dark(&self) -> bool {
        self.board.internal.supply.borrow().dark
    }

    /// Power fails at operation `after` from now.
    pub fn cut_after(&mut self, after: usize, tear: Tear) {
        let mut supply = self.board.internal.supply.borrow_mut();
        supply.cut = Some((supply.operations + after, tear));
    }

    pub fn operations(&self) -> usize {
        self.board.internal.supply.borrow().operations
    }

    pub fn node(&mut self) -> &mut Node<TestBoard> {
        self.node.as_mut().expect("the node runs")
    }

    /// Takes what the node gives.
    pub fn drain(&mut self) {
        let Some(node) = &mut self.node else { return };
        while let Some(message) = node.poll_transmit() {
            self.sent.push_back(Sent { at: self.now, message: message.clone() });
        }
        let mut reset = false;
        while let Some(effect) = node.poll_effect() {
            match effect {
                Effect::Trace(event) => self.traces.push(event),
                Effect::Reset => reset = true,
            }
        }
        if reset {
            self.resets += 1;
            self.boot();
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..100_000 {
            let due = self.node.as_ref().and_then(Node::next_wakeup).filter(|at| *at <= end);
            let Some(at) = due else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            if let Some(node) = &mut self.node {
                node.on_timer(self.now, &mut self.board);
            }
            self.drain();
            if self.is_dark() {
                return;
            }
        }
        panic!("the node never comes to rest");
    }

    pub fn run_secs(&mut self, secs: u64) {
        self.run_for(Duration::from_secs(secs));
    }

    /// Hands octets to the node.
    pub fn hand(&mut self, from: Addr, to: Addr, octets: &[u8]) {
        let received = Received { ttl_hops: 2, rssi_dbm: -60 };
        if let Some(node) = &mut self.node {
            node.on_access(self.now, from, to, received, octets, &mut self.board);
        }
        self.drain();
    }

    /// Sends a message of the gateway.
    pub fn tell<'a>(&mut self, to: Addr, message: impl Into<AccessMessage<'a>>) {
        let octets = message.into().to_buffer().unwrap();
        self.hand(GATEWAY, to, &octets);
    }

    /// Forgets what was sent so far, sends a message and gives the first answer within a second.
    pub fn ask<'a>(&mut self, message: impl Into<AccessMessage<'a>>) -> Option<Outgoing> {
        self.sent.clear();
        self.tell(NODE, message);
        self.run_for(Duration::from_millis(60));
        self.sent.pop_front().map(|sent| sent.message)
    }

    /// The Update Status that answers.
    pub fn ask_update(&mut self, message: update::Message<'_>) -> update::UpdateStatus {
        let first = self.ask(message).expect("an answer");
        // Answers to what was asked before may still be on their way.
        let all = core::iter::once(first).chain(self.sent.drain(..).map(|sent| sent.message));
        let status = |message: Outgoing| match AccessMessage::decode(&message.bytes).unwrap() {
            AccessMessage::Update(update::Message::Status(status)) => Some(status),
            _ => None,
        };
        all.filter_map(status).next().expect("an Update Status")
    }

    /// Update Start for this image.
    pub fn start(&mut self, image: &Image) -> update::UpdateStatus {
        self.start_with(&image.metadata.to_bytes(), |start| start)
    }

    pub fn start_with(
        &mut self,
        metadata: &[u8],
        change: impl FnOnce(update::Start<'_>) -> update::Start<'_>,
    ) -> update::UpdateStatus {
        let start = update::Start { ttl: 3, timeout_base: 1, blob_id: BlobId(0xB10B), image_index: 0, metadata };
        self.ask_update(update::Message::Start(change(start)))
    }

    pub fn begin_transfer(&mut self, image: &Image) {
        self.tell(
            NODE,
            blob::Message::TransferStart(blob::TransferStart {
                mode: blob::TransferMode::Push,
                blob_id: BlobId(0xB10B),
                size: image.file.len() as u32,
                block_size_log: 12,
                client_mtu: 380,
            }),
        );
    }

    pub fn start_block(&mut self, number: u16) {
        self.tell(NODE, blob::Message::BlockStart(blob::BlockStart { block: number, chunk_size: 256 }));
    }

    pub fn chunk(&mut self, image: &Image, block: u16, chunk: u16) {
        let end = (usize::from(block) * PAGE + usize::from(chunk + 1) * 256)
            .min(image.file.len())
            .min((usize::from(block) + 1) * PAGE);
        let data = &image.file[usize::from(block) * PAGE + usize::from(chunk) * 256..end];
        self.tell(NODE, blob::Message::Chunk(blob::Chunk { number: chunk, data }));
    }

    pub fn send_block(&mut self, image: &Image, block: u16) {
        self.start_block(block);
        let len = (image.file.len() - usize::from(block) * PAGE).min(PAGE);
        for chunk in 0..len.div_ceil(256) as u16 {
            self.chunk(image, block, chunk);
        }
    }

    pub fn blocks(image: &Image) -> u16 {
        image.file.len().div_ceil(PAGE) as u16
    }

    /// From Update Start to the last block.
    pub fn transfer(&mut self, image: &Image) {
        assert_eq!(self.start(image).status, update::Status::Success);
        self.begin_transfer(image);
        for block in 0..Self::blocks(image) {
            self.send_block(image, block);
        }
    }

    /// From Update Start to a verified image.
    pub fn stage(&mut self, image: &Image) {
        self.transfer(image);
        self.run_secs(1);
        assert_eq!(self.phase(), update::Phase::VerificationSucceeded, "{:?}", self.traces);
    }

    /// Update Apply, answer, reset, boot.
    pub fn apply(&mut self) {
        assert_eq!(self.ask_update(update::Message::Apply).status, update::Status::Success);
        self.run_secs(1);
    }

    pub fn phase(&mut self) -> update::Phase {
        self.node().update_phase()
    }

    /// The vendor messages sent so far, which are then forgotten.
    pub fn vendor_messages(&mut self) -> Vec<(Instant, vendor::Message)> {
        let sent = core::mem::take(&mut self.sent);
        let mut messages = Vec::new();
        for Sent { at, message } in &sent {
            if let Ok(AccessMessage::Vendor(vendor)) = AccessMessage::decode(&message.bytes) {
                messages.push((*at, vendor));
            }
        }
        messages
    }

    /// The answer to Report Get.
    pub fn report(&mut self) -> vendor::Report {
        let answer = self.ask(vendor::Message::ReportGet).expect("a report");
        match AccessMessage::decode(&answer.bytes).unwrap() {
            AccessMessage::Vendor(vendor::Message::Report(report)) => report,
            other => panic!("{other:?}"),
        }
    }

    /// Acknowledges this boot.
    pub fn acknowledge(&mut self) {
        let boot_count = self.boots;
        self.tell(NODE, vendor::Message::ConfirmAck(vendor::ConfirmAck { boot_count }));
    }

    pub fn runs(&self) -> Version {
        self.settings.firmware.version
    }

    pub fn bank_a(&self) -> Vec<u8> {
        self.board.internal.bytes[BOARD.bank_a.start as usize..BOARD.bank_a.end() as usize].to_vec()
    }

    pub fn config_state(&mut self) -> Option<config::ConfigState> {
        config::read_state(&mut self.board.internal, BOARD.config).unwrap()
    }

    pub fn slot(&self, area: Area) -> Vec<u8> {
        match area {
            Area::BankA => self.bank_a(),
            Area::Slot(slot) => {
                let region = BOARD.slot(slot);
                self.board.external.bytes[region.start as usize..region.end() as usize].to_vec()
            }
        }
    }
}
