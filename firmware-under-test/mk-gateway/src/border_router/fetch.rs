//! Image blocks: what a node asks for, whether there is air time for it, and the answer.

use super::{BorderRouter, Site, send};
use crate::settings::ThreadSettings;
use crate::throttle::Throttle;
use alloc::vec::Vec;
use mk_wire::Addr;
use mk_wire::coap::{Block, Code, Encoder, Kind, Message, Token, option};
use mk_wire::distribution::RetrievedPhase;
use mk_wire::time::Duration;

/// Max-Age of a 5.03 that has no better estimate, in seconds: closed window, suspended distribution.
const LATER_S: u32 = 60;

/// An image block that waits for air time.
pub(super) struct Fetch {
    pub node: Addr,
    kind: Kind,
    message_id: u16,
    token: Token,
    block: Block,
}

/// An answer with a block of the image, in the caller's buffer.
pub(crate) struct ImageBlock {
    pub to: Addr,
    pub frames: u16,
    /// Air time of the exchange, request included, in microseconds.
    pub air_us: u32,
}

/// Frames of a CoAP message of `len` octets.
pub(super) fn frames(len: usize, thread: &ThreadSettings) -> u16 {
    if len <= usize::from(thread.frame_octets) {
        return 1;
    }
    u16::try_from(len.div_ceil(usize::from(thread.fragment_octets.max(1)))).unwrap_or(u16::MAX)
}

/// Air time of an image block whose answer has `len` octets, with the request that asked for it.
fn exchange_us(len: usize, thread: &ThreadSettings) -> u32 {
    u32::from(frames(len, thread)).saturating_mul(thread.frame_us).saturating_add(thread.request_us)
}

/// Air time available for image blocks.
#[derive(Clone, Copy)]
pub(crate) struct Air<'a> {
    pub throttle: &'a Throttle,
    /// The mesh has image data waiting as well, and gets half.
    pub shared: bool,
}

impl BorderRouter {
    /// Is an image block waiting for air time?
    pub fn image_waits(&self) -> bool {
        !self.fetches.is_empty()
    }

    /// GET `fw/image`.
    pub(super) fn on_image(&mut self, site: &mut Site<'_>, from: Addr, message: &Message<'_>, air: Air<'_>) {
        let Some((image, target)) = site.image.zip(self.targets.get_mut(&from)).filter(|(_, t)| t.is_offered()) else {
            return self.refuse(site, from, message, Code::NOT_FOUND, 0);
        };
        if !target.may_fetch() {
            return self.refuse(site, from, message, Code::SERVICE_UNAVAILABLE, LATER_S);
        }
        // A request without Block2 asks for the first block at the size that suits the server.
        let first = Block::new(0, false, Block::MAX_SZX).ok();
        let Some(block) = message.options.block2().ok().and_then(|block| block.or(first)) else {
            return self.refuse(site, from, message, Code::BAD_OPTION, 0);
        };
        if u64::from(block.offset()) >= u64::from(image.size()) {
            return self.refuse(site, from, message, Code::BAD_REQUEST, 0);
        }
        target.progress_at = site.now;
        target.begin_fetching(site, from);
        if let Some(receiver) = site.receivers.place_of(from).and_then(|place| site.receivers.get_mut(place)) {
            let percent = u64::from(block.offset()) * 100 / u64::from(image.size().max(1));
            receiver.percent = u8::try_from(percent).unwrap_or(100);
        }
        let fetch =
            Fetch { node: from, kind: message.kind, message_id: message.message_id, token: message.token, block };
        // A repetition, or another request of a node that gave the first one up: the newest counts.
        if let Some(waiting) = self.fetches.iter_mut().find(|waiting| waiting.node == from) {
            *waiting = fetch;
            return;
        }
        match self.wait(site, air, block) {
            Some(wait) if wait <= site.settings.thread.longest_wait => self.fetches.push_back(fetch),
            wait => {
                let seconds = wait.map_or(LATER_S, |wait| u32::try_from(wait.as_secs() + 1).unwrap_or(LATER_S));
                self.refuse(site, from, message, Code::SERVICE_UNAVAILABLE, seconds);
            }
        }
    }

    /// How long one more block would wait; `None` while nothing may be sent.
    fn wait(&self, site: &Site<'_>, air: Air<'_>, block: Block) -> Option<Duration> {
        let next = air.throttle.next_start()?;
        let until_next = next.checked_duration_since(site.now).unwrap_or(Duration::from_ticks(0));
        // Header, token and options are about 24 octets.
        let each = air.throttle.time_to_earn(exchange_us(24 + block.size() as usize, &site.settings.thread));
        let share: u32 = if air.shared { 2 } else { 1 };
        let ahead = u32::try_from(self.fetches.len()).unwrap_or(u32::MAX);
        Some(until_next + each * ahead.saturating_mul(share))
    }

    /// The image block that has waited longest, in `buffer`.
    pub fn poll_image(&mut self, site: &mut Site<'_>, buffer: &mut Vec<u8>) -> Option<ImageBlock> {
        let image = site.image?;
        while let Some(fetch) = self.fetches.pop_front() {
            let Some(target) = self.targets.get_mut(&fetch.node).filter(|target| target.may_fetch()) else { continue };
            let offset = fetch.block.offset() as usize;
            let size = fetch.block.size() as usize;
            let end = offset.saturating_add(size).min(image.image.len());
            let Some(data) = image.image.get(offset..end) else { continue };
            let more = end < image.image.len();
            let Ok(block) = Block::new(fetch.block.num(), more, fetch.block.szx()) else { continue };
            let (kind, message_id) = match fetch.kind {
                Kind::Confirmable => (Kind::Acknowledgement, fetch.message_id),
                Kind::NonConfirmable | Kind::Acknowledgement | Kind::Reset => {
                    (Kind::NonConfirmable, self.exchanges.message_id())
                }
            };
            buffer.clear();
            buffer.resize(mk_wire::coap::MAX_DATAGRAM, 0);
            let encoded = Encoder::new(buffer, kind, Code::CONTENT, message_id, fetch.token)
                .option(option::ETAG, &image.etag())
                .block(option::BLOCK2, block)
                .uint(option::SIZE2, image.size())
                .payload(data)
                .finish();
            let Ok(len) = encoded else { continue };
            buffer.truncate(len);
            if !more {
                target.sent_last(site.now);
                if let Some(place) = site.receivers.place_of(fetch.node) {
                    site.receivers.set_phase(place, RetrievedPhase::VerifyingUpdate, site.out);
                }
            }
            let thread = &site.settings.thread;
            return Some(ImageBlock { to: fetch.node, frames: frames(len, thread), air_us: exchange_us(len, thread) });
        }
        None
    }

    /// Answers a request with an error, and where it makes sense with the time after which to try again.
    pub(super) fn refuse(&mut self, site: &mut Site<'_>, to: Addr, request: &Message<'_>, code: Code, max_age_s: u32) {
        self.respond(site, to, request, code, |encoder| match max_age_s {
            0 => encoder,
            seconds => encoder.uint(option::MAX_AGE, seconds),
        });
    }

    /// Answers a request: piggybacked if it was confirmable.
    pub(super) fn respond(
        &mut self,
        site: &mut Site<'_>,
        to: Addr,
        request: &Message<'_>,
        code: Code,
        options: impl FnOnce(Encoder<'_>) -> Encoder<'_>,
    ) {
        let (kind, message_id) = match request.kind {
            Kind::Confirmable => (Kind::Acknowledgement, request.message_id),
            Kind::NonConfirmable | Kind::Acknowledgement | Kind::Reset => {
                (Kind::NonConfirmable, self.exchanges.message_id())
            }
        };
        let mut buffer = [0; 256];
        let encoder = Encoder::new(&mut buffer, kind, code, message_id, request.token);
        if let Ok(len) = options(encoder).finish() {
            send(to, buffer.get(..len).unwrap_or_default(), &site.settings.thread, site.out);
        }
    }
}
