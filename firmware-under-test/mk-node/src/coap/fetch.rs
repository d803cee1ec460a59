//! Fetching an image from the border router (protocol sheet section 14.3): manifest, blocks, back-off, resumption.
//!
//! The manifest is observed; what it says is checked like the metadata of an Update Start before anything is erased. The
//! image is fetched block by block into whole flash pages; a finished page is marked in flash, so that after a reboot or
//! a long silence the fetch goes on at the page it had reached. Blocks of two ETags are never mixed.
//!
//! Refuses: to fetch what already runs; to fetch again, of its own accord, a version that boot, the verification or the
//! metadata check refused (a notification of the gateway, or another version, changes that); and a fourth attempt at an
//! answer that makes no sense.

use heapless::String;
use mk_wire::{
    BlobId, Reason, Version,
    coap::{Block as CoapBlock, Code, Message, Options, option, timing},
    metadata::FirmwareMetadata,
    time::{Duration, Instant},
    update::Phase,
};

use super::{
    Datagram, IMAGE, MANIFEST,
    client::{Ask, Client, Heard},
};
use crate::{
    context::Context,
    effect::TraceEvent,
    hardware::NodeHardware,
    metadata_check,
    outbox::Purpose,
    random::Random,
    settings::{Carrier, earliest},
    staging::Block,
    update_state::{Params, Resumed, Transfer, Update},
};

/// Size exponent asked for: 256 octets, three 802.15.4 frames.
const SZX: u8 = 4;
/// Bad answers, or changes of the ETag, in a row before the fetch stops.
const MAX_BAD: u8 = 3;
/// Octets of an image path at most.
const MAX_PATH: usize = 48;
/// From start to the first request, so that nodes that booted together do not ask together.
const START_SPREAD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// From one registration to the next: finds a border router that was restarted.
const REFRESH: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(660));
/// To the next question when there is nothing to observe.
const POLL: (Duration, Duration) = (Duration::from_secs(50), Duration::from_secs(70));
/// First wait after five sends without an answer; doubles up to [`LONGEST_BACK_OFF`].
const BACK_OFF: Duration = Duration::from_secs(30);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(600);
/// What 5.03 without Max-Age means (RFC 7252 section 5.10.5), and the longest that is believed.
const DEFAULT_MAX_AGE_S: u32 = 60;
const LONGEST_MAX_AGE_S: u32 = 3_600;

/// The fetching side of a Thread node.
#[derive(Debug)]
pub(crate) struct Fetch {
    client: Client,
    running: Version,
    /// Offered, and not wanted until something else is offered.
    declined: Option<Version>,
    manifest_at: Instant,
    /// Sequence number and time of the last notification.
    last_notified: Option<(u32, Instant)>,
    path: String<MAX_PATH>,
    /// When to ask for the next block; `None` when no image is being fetched.
    image_at: Option<Instant>,
    szx: u8,
    /// The next octet wanted.
    offset: u32,
    /// The page that is being gathered.
    page: Option<Block>,
    bad: u8,
    restarts: u8,
    silences: u32,
    /// The gateway acknowledged a node report.
    reported: bool,
}

/// What an answer to an image request amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part<'a> {
    /// The octets asked for; after them, the image goes on or ends.
    Octets { etag: &'a [u8], szx: u8, octets: &'a [u8] },
    /// Makes no sense, or contradicts the manifest.
    Bad,
    /// Come back after this many seconds.
    Later(u32),
    /// There is no image.
    Gone,
}

impl Fetch {
    /// Starts; `refused` is the version that boot last refused or rolled back.
    pub fn new<H: NodeHardware>(
        cx: &mut Context<'_, H>,
        random: &mut Random,
        running: Version,
        refused: Option<Version>,
        update: &Update,
        resumed: &Resumed,
    ) -> Self {
        let start = cx.now + random.between(START_SPREAD.0, START_SPREAD.1);
        let mut fetch = Fetch {
            client: Client::new(random),
            running,
            declined: refused,
            manifest_at: start,
            last_notified: None,
            path: image_path(&[]),
            image_at: None,
            szx: SZX,
            offset: 0,
            page: None,
            bad: 0,
            restarts: 0,
            silences: 0,
            reported: false,
        };
        let Some(params) = update.params().filter(|params| params.carrier == Carrier::Thread) else { return fetch };
        if update.phase() == Phase::VerificationFailed {
            fetch.declined = Some(params.metadata.version);
        }
        let page = cx.hw.geometry().page_size;
        match resumed {
            Resumed::Nothing => {}
            Resumed::BeforeTransfer => fetch.image_at = Some(start),
            Resumed::Transfer(_, missing) => {
                if let Some(first) = missing.next_set(0) {
                    fetch.offset = u32::from(first) * page;
                    fetch.image_at = Some(start);
                }
            }
        }
        fetch
    }

    /// Queues one of our access messages for the gateway.
    pub fn queue(&mut self, purpose: Purpose, message: &[u8]) {
        self.client.queue(purpose, message);
    }

    /// Whether the gateway has a report since this was asked last.
    pub fn take_reported(&mut self) -> bool {
        core::mem::take(&mut self.reported)
    }

    /// When [`Fetch::on_timer`] has to be called.
    pub fn next_wakeup(&self) -> Option<Instant> {
        if self.client.is_busy() {
            return self.client.next_wakeup();
        }
        earliest(Some(self.manifest_at), self.image_at)
    }

    /// A response, an acknowledgement or a notification.
    pub fn on_message<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        random: &mut Random,
        message: &Message<'_>,
    ) -> Option<Datagram> {
        let outcome = self.client.on_message(cx.now, message);
        match outcome.heard {
            Heard::Response(Ask::Manifest) => self.on_manifest(cx, update, random, message),
            Heard::Notification => self.on_notification(cx, update, random, message),
            Heard::Response(Ask::Image) => self.on_image(cx, update, random, message),
            Heard::GaveUp(ask) => self.on_silence(cx, update, ask),
            Heard::Response(Ask::Vendor { report }) => self.reported |= report && message.code.class() == 2,
            Heard::Nothing => {}
        }
        outcome.send
    }

    /// Sends again what is due again.
    pub fn on_timer<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, update: &mut Update) -> Option<Datagram> {
        let outcome = self.client.on_timer(cx.now);
        if let Heard::GaveUp(ask) = outcome.heard {
            self.on_silence(cx, update, ask);
        }
        outcome.send
    }

    /// The next request, if nothing is on its way: our messages first, because there are few of them.
    pub fn next_request(&mut self, now: Instant, random: &mut Random) -> Option<Datagram> {
        if self.client.is_busy() {
            return None;
        }
        if let Some(datagram) = self.client.next_vendor(now, random) {
            return Some(datagram);
        }
        if self.manifest_at <= now {
            return self.client.request(now, random, Ask::Manifest, Code::GET, |encoder| {
                encoder.uint(option::OBSERVE, 0).path(MANIFEST)
            });
        }
        if self.image_at.is_none_or(|at| at > now) {
            return None;
        }
        let block = CoapBlock::at_offset(self.offset, self.szx).ok()?;
        let (path, first) = (self.path.clone(), self.offset == 0);
        self.client.request(now, random, Ask::Image, Code::GET, |encoder| {
            let encoder = encoder.path(&path).block(option::BLOCK2, block);
            // Asks how long the image is.
            if first { encoder.uint(option::SIZE2, 0) } else { encoder }
        })
    }

    fn on_silence<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, update: &mut Update, ask: Ask) {
        let wait = (BACK_OFF * (1 << self.silences.min(5))).min(LONGEST_BACK_OFF);
        self.silences = self.silences.saturating_add(1);
        match ask {
            Ask::Vendor { .. } => {}
            Ask::Manifest => self.manifest_at = cx.now + wait,
            Ask::Image => {
                // Later, at the same place. The page is asked for again from its start only after a reboot.
                self.image_at = Some(cx.now + wait);
                update.transfer_stopped(cx, Reason::TransferFailed);
            }
        }
    }

    fn on_notification<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        random: &mut Random,
        message: &Message<'_>,
    ) {
        let Ok(Some(sequence)) = message.options.observe() else { return };
        let news = self.last_notified.is_none_or(|(last, at)| timing::is_news(last, sequence, cx.now - at));
        if news {
            // The gateway wants something of this node now, so it is asked again about what it declined before.
            self.declined = None;
            self.on_manifest(cx, update, random, message);
        }
    }

    fn on_manifest<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        random: &mut Random,
        message: &Message<'_>,
    ) {
        self.silences = 0;
        let observing = message.options.observe().ok().flatten();
        self.last_notified = observing.map(|sequence| (sequence, cx.now));
        let wait = match (message.code, observing) {
            (Code::SERVICE_UNAVAILABLE, _) => seconds(max_age(&message.options)),
            (_, Some(_)) => random.between(REFRESH.0, REFRESH.1),
            (_, None) => random.between(POLL.0, POLL.1),
        };
        self.manifest_at = cx.now + wait;
        match message.code {
            Code::CONTENT if !message.payload.is_empty() => self.on_offer(cx, update, message.payload),
            Code::CONTENT | Code::NOT_FOUND => self.on_withdrawal(cx, update),
            // Anything else says nothing about what is offered.
            _ => {}
        }
    }

    /// No firmware is offered any more.
    fn on_withdrawal<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, update: &mut Update) {
        self.declined = None;
        self.stop();
        update.transfer_stopped(cx, Reason::Cancelled);
    }

    fn on_offer<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, update: &mut Update, payload: &[u8]) {
        // Octets behind the metadata that are no path make the whole of it malformed.
        let (metadata, path) = payload
            .split_at_checked(FirmwareMetadata::SIZE)
            .filter(|(_, path)| path.iter().all(u8::is_ascii_graphic) && (path.is_empty() || path.contains(&b'/')))
            .unwrap_or((payload, &[]));
        let offered = FirmwareMetadata::from_bytes(metadata).ok();
        let same = offered.is_some() && offered == update.params().map(|params| params.metadata);
        match update.phase() {
            Phase::ApplyingUpdate => return,
            Phase::VerifyingUpdate | Phase::VerificationSucceeded if same => return,
            Phase::TransferActive | Phase::TransferError if same => {
                self.path = image_path(path);
                if self.image_at.is_none() {
                    self.image_at = Some(cx.now);
                    (self.bad, self.restarts) = (0, 0);
                    update.transfer_resumed(cx);
                }
                return;
            }
            Phase::Idle
            | Phase::TransferError
            | Phase::TransferActive
            | Phase::VerifyingUpdate
            | Phase::VerificationSucceeded
            | Phase::VerificationFailed => {}
        }
        let version = offered.map(|metadata| metadata.version);
        if version == Some(self.running) || (version.is_some() && version == self.declined) {
            return;
        }
        let metadata = match metadata_check::check(metadata, cx.schema, cx.hw) {
            Ok(metadata) => metadata,
            Err((reason, _)) => {
                // Said once, not at every refresh of the observation.
                self.declined = Some(version.unwrap_or_default());
                update.refuse(cx, reason, version);
                return;
            }
        };
        self.open(cx, update, metadata, path);
    }

    fn open<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        metadata: FirmwareMetadata,
        path: &[u8],
    ) {
        let [a, b, c, d, e, f, g, h, ..] = metadata.sha256;
        let params = Params {
            carrier: Carrier::Thread,
            client: mk_wire::Addr::UNASSIGNED,
            ttl: crate::update_server::DEFAULT_TTL,
            timeout_base: 0,
            // Names the update in reports; on the wire it is the ETag that counts.
            blob_id: BlobId(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            image_index: 0,
            metadata,
        };
        // A request that is open in the boot journal, or a flash fault: the next refresh of the observation tries again.
        if update.open(cx, params).is_ok() {
            self.stop();
            self.declined = None;
            self.path = image_path(path);
            (self.offset, self.szx, self.bad, self.restarts) = (0, SZX, 0, 0);
            self.image_at = Some(cx.now);
        }
    }

    fn on_image<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        random: &mut Random,
        message: &Message<'_>,
    ) {
        self.silences = 0;
        let size = match (update.phase(), update.params()) {
            (Phase::TransferActive | Phase::TransferError, Some(params)) if self.image_at.is_some() => {
                params.metadata.size
            }
            // The answer to a question of an update that is over.
            _ => return,
        };
        match self.read(message, size) {
            Part::Octets { etag, szx, octets } => {
                let known = update.transfer().map(|transfer| transfer.etag.as_slice());
                if known.is_some_and(|known| known != etag) {
                    return self.on_other_etag(cx, update);
                }
                self.szx = szx;
                self.bad = 0;
                if self.store(cx, update, size, etag, octets).is_none() {
                    self.stop();
                    cx.effects.trace(TraceEvent::FlashFault);
                    update.transfer_stopped(cx, Reason::FlashFault);
                }
            }
            Part::Bad => {
                self.bad += 1;
                if self.bad >= MAX_BAD {
                    self.stop();
                    update.transfer_stopped(cx, Reason::TransferFailed);
                }
            }
            Part::Later(wait_s) => {
                let jitter = random.between(Duration::from_ticks(0), Duration::from_secs(1));
                self.image_at = Some(cx.now + seconds(wait_s) + jitter);
            }
            Part::Gone => {
                self.stop();
                update.transfer_stopped(cx, Reason::TransferFailed);
            }
        }
    }

    /// Judges an answer against the question and the size in the manifest.
    fn read<'m>(&self, message: &Message<'m>, size: u32) -> Part<'m> {
        match message.code {
            Code::CONTENT => {}
            Code::NOT_FOUND => return Part::Gone,
            Code::SERVICE_UNAVAILABLE => return Part::Later(max_age(&message.options)),
            // 4.00 and 4.02 past the end of a shorter image among them: its size is not that of the manifest.
            _ => return Part::Bad,
        }
        let options = &message.options;
        let (Ok(Some(etag)), Ok(Some(block)), Ok(size2)) = (options.etag(), options.block2(), options.size2()) else {
            return Part::Bad;
        };
        let octets = message.payload;
        let end = u32::try_from(octets.len()).ok().and_then(|len| self.offset.checked_add(len));
        let whole = octets.len() as u64 == u64::from(block.size());
        let fits = match end {
            // Only the last block may be short, and only the last block ends the image.
            Some(end) if block.more() => whole && end < size,
            Some(end) => end == size && !octets.is_empty() && octets.len() as u64 <= u64::from(block.size()),
            None => false,
        };
        let asked = block.offset() == self.offset && block.szx() <= self.szx;
        if asked && fits && size2.is_none_or(|stated| stated == size) {
            Part::Octets { etag, szx: block.szx(), octets }
        } else {
            Part::Bad
        }
    }

    /// Another image lies there now: nothing of the old one is worth anything. The manifest says what it is.
    fn on_other_etag<H: NodeHardware>(&mut self, cx: &mut Context<'_, H>, update: &mut Update) {
        self.stop();
        self.offset = 0;
        self.szx = SZX;
        self.restarts += 1;
        let dropped = update.drop_transfer(cx);
        update.transfer_stopped(cx, Reason::TransferFailed);
        if dropped.is_err() {
            cx.effects.trace(TraceEvent::FlashFault);
        } else if self.restarts < MAX_BAD {
            self.manifest_at = cx.now;
        }
    }

    /// Puts octets where they belong and moves on. `None` when flash failed.
    fn store<H: NodeHardware>(
        &mut self,
        cx: &mut Context<'_, H>,
        update: &mut Update,
        size: u32,
        etag: &[u8],
        octets: &[u8],
    ) -> Option<()> {
        let page_size = cx.hw.geometry().page_size;
        if update.transfer().is_none() {
            let etag = heapless::Vec::from_slice(etag).ok()?;
            let block_size_log = u8::try_from(page_size.checked_ilog2()?).ok()?;
            update.begin_transfer(cx, Transfer { mode: 0, size, block_size_log, mtu: 0, etag }).ok()?;
        }
        update.transfer_resumed(cx);
        let slot = update.slot();
        let stager = cx.parts.stager;
        let start = self.offset - self.offset % page_size;
        let page = match self.page {
            Some(page) if page.offset == start => page,
            Some(_) | None => {
                let page = Block { slot, offset: start, len: page_size.min(size - start) };
                stager.begin(cx.hw, page).ok()?;
                self.page = Some(page);
                page
            }
        };
        // CoAP blocks are powers of two up to 1 KiB and start at multiples of their size: none crosses a page.
        stager.chunk(cx.hw, page, self.offset - start, octets).ok()?;
        self.offset += octets.len() as u32;
        if self.offset - start == page.len {
            stager.finish(cx.hw, page).ok()?;
            self.page = None;
            let number = u16::try_from(start / page_size).ok()?;
            update.progress_mut().mark(cx.hw, number).ok()?;
        }
        if self.offset == size {
            self.stop();
            update.transfer_completed(cx);
        } else {
            self.image_at = Some(cx.now);
        }
        Some(())
    }

    /// Fetches nothing until told again. A page half gathered is gathered again from its start.
    fn stop(&mut self) {
        self.image_at = None;
        if let Some(page) = self.page.take() {
            self.offset = page.offset;
        }
    }
}

/// The path in a manifest; that of the product where it names none, or one that makes no sense.
fn image_path(octets: &[u8]) -> String<MAX_PATH> {
    let named = core::str::from_utf8(octets).ok().filter(|path| !path.is_empty());
    named.and_then(|path| String::try_from(path).ok()).unwrap_or_else(|| String::try_from(IMAGE).unwrap_or_default())
}

fn max_age(options: &Options<'_>) -> u32 {
    options.max_age().ok().flatten().unwrap_or(DEFAULT_MAX_AGE_S).clamp(1, LONGEST_MAX_AGE_S)
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}
