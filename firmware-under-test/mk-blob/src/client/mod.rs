//! BLOB Transfer Client (section 6): sends one BLOB to many targets, to a group or to each by unicast.
//!
//! Push: [Information Get] -> Transfer Start -> per block { Block Start; the chunks somebody misses; Block Get; again, until
//! nobody misses any } -> Transfer Get. Targets that fall silent, refuse, or stay incomplete are dropped one by one; the
//! transfer goes on while one is left, and is suspended (not failed) when the last was lost to silence.
//!
//! The caller owns the air: [`BlobClient::poll_transmit`] gives one message at a time, and chunks only when they are allowed.
//! Call it when the previous message has left the air; [`Policy::settle`] counts from the first call after the last chunk.
//! Call [`BlobClient::poll_event`] until it is empty after each other call.
//!
//! A chunk set never grows inside a block: a Block Status that was overtaken (the answer to a repeated Block Start, say) can
//! only repeat what the target missed before, so it costs air time at worst.

mod answers;
mod config;
mod requests;
mod target;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Policy, Repeat};
pub use target::{DropReason, Target, TargetState};

use crate::{BlockBitmap, ChunkBitmap, client_timeout};
use heapless::{Deque, Vec};
use mk_wire::Addr;
use mk_wire::blob::arithmetic::{self, Sizes};
use mk_wire::blob::{Capabilities, Message, TransferMode};
use mk_wire::time::{Duration, Instant};
use requests::{Asking, Request};

/// Events kept until polled; one call makes at most five, drops of targets apart (those are never lost).
const MAX_EVENTS: usize = 8;

/// Where the BLOB is read from.
pub trait BlobSource {
    /// Fills `out` with the octets of the BLOB from `offset`. Only called inside the size of the transfer.
    fn read(&mut self, offset: u32, out: &mut [u8]);
}

/// What kind of message goes out; data is throttled, control is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A chunk.
    Data,
    /// Everything else.
    Control,
}

/// A message in the caller's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// The group, or a target.
    pub to: Addr,
    /// TTL to send it with.
    pub ttl: u8,
    /// Data or control.
    pub kind: Kind,
    /// Octets of the access message.
    pub len: usize,
}

/// What the layer above, or a log, may want to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientEvent {
    /// Block and chunk size are settled.
    SizesChosen(Sizes),
    /// A block begins.
    BlockStarted {
        /// Its number.
        block: u16,
        /// Its chunks.
        chunks: u16,
    },
    /// Every active target has told what it misses of the block.
    RoundDone {
        /// Block number.
        block: u16,
        /// Rounds so far.
        round: u16,
        /// Chunks that somebody misses.
        missing: u16,
        /// Targets that did not answer and were dropped.
        silent: u16,
    },
    /// Every active target has the block.
    BlockDone {
        /// Block number.
        block: u16,
        /// Rounds it took.
        rounds: u16,
        /// Chunk messages sent for it.
        chunks_sent: u32,
        /// Those sent after the first round.
        resent: u32,
    },
    /// A target is no longer waited for.
    TargetDropped {
        /// Its address.
        addr: Addr,
        /// Why.
        why: DropReason,
    },
    /// At least one target has the whole BLOB, and none is waited for.
    Completed,
    /// Nothing is sent until resumed, because the caller asked for it or every target fell silent.
    Suspended,
    /// Every target was lost, not one to silence.
    Failed,
    /// The targets were told to drop the transfer.
    Cancelled,
}

/// Where the client stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientState {
    /// Not started.
    Idle,
    /// Sending or waiting for answers.
    Active,
    /// Suspended; can be resumed.
    Suspended,
    /// Telling the targets to drop the transfer.
    Cancelling,
    /// Over, with at least one complete target.
    Completed,
    /// Over, with none.
    Failed,
    /// Over, by request.
    Cancelled,
}

/// What the client is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Idle,
    /// An acknowledged step: a request, repeated until every active target has answered.
    Ask(Request),
    /// Sending the pending chunks; by unicast, `target` is the next to get the current one.
    Chunks {
        target: usize,
    },
    /// Waiting for the last chunk to settle; `until` is set by the first poll.
    Settle {
        until: Option<Instant>,
    },
    /// Pull mode: sending what was asked for, waiting for reports.
    Reports,
    Suspended,
    Completed,
    Failed,
    Cancelled,
}

/// The block being sent.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    number: u16,
    offset: u32,
    len: u32,
    chunk_count: u16,
    /// Chunks still to be sent in this round.
    pending: ChunkBitmap,
    rounds: u16,
    chunks_sent: u32,
    /// Chunks sent in the first round.
    first_round: u32,
}

/// The client, for at most `N` targets.
#[derive(Clone, Debug)]
pub struct BlobClient<const N: usize> {
    config: Config,
    targets: Vec<Target, N>,
    /// What every target can do, as far as asked.
    common: Option<Capabilities>,
    sizes: Option<Sizes>,
    blocks_missing: BlockBitmap,
    block: Block,
    step: Step,
    asking: Asking,
    last_now: Instant,
    events: Deque<ClientEvent, MAX_EVENTS>,
    drops_untold: bool,
}

impl<const N: usize> BlobClient<N> {
    /// A client that has not started.
    ///
    /// # Errors
    /// A transfer that cannot be made, and why.
    pub fn new(config: Config, targets: impl IntoIterator<Item = Addr>) -> Result<Self, ConfigError> {
        config.check()?;
        let mut list: Vec<Target, N> = Vec::new();
        for addr in targets {
            if !addr.is_unicast() {
                return Err(ConfigError::TargetAddress { addr });
            }
            list.push(Target::new(addr, config.own_address)).map_err(|_| ConfigError::TooManyTargets { limit: N })?;
        }
        // Sorted, so that an answer finds its target by bisection.
        list.sort_unstable_by_key(|target| target.addr);
        let twice = list.iter().zip(list.iter().skip(1)).find(|(a, b)| a.addr == b.addr);
        if let Some((Target { addr, .. }, _)) = twice {
            return Err(ConfigError::TargetAddress { addr: *addr });
        }
        if list.is_empty() {
            return Err(ConfigError::NoTargets);
        }
        Ok(BlobClient {
            config,
            targets: list,
            common: None,
            sizes: config.sizes.filter(|_| !config.ask_capabilities),
            blocks_missing: BlockBitmap::default(),
            block: Block::default(),
            step: Step::Idle,
            asking: Asking::default(),
            last_now: Instant::from_ticks(0),
            events: Deque::new(),
            drops_untold: false,
        })
    }

    /// The parameters of the transfer.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The targets, by address.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Block and chunk size, once settled.
    #[must_use]
    pub const fn sizes(&self) -> Option<Sizes> {
        self.sizes
    }

    /// Where the client stands.
    #[must_use]
    pub const fn state(&self) -> ClientState {
        match self.step {
            Step::Idle => ClientState::Idle,
            Step::Ask(Request::Cancel) => ClientState::Cancelling,
            Step::Ask(_) | Step::Chunks { .. } | Step::Settle { .. } | Step::Reports => ClientState::Active,
            Step::Suspended => ClientState::Suspended,
            Step::Completed => ClientState::Completed,
            Step::Failed => ClientState::Failed,
            Step::Cancelled => ClientState::Cancelled,
        }
    }

    /// Blocks done for every active target, and blocks in all; (0, 0) until the sizes are settled.
    #[must_use]
    pub fn progress(&self) -> (u16, u16) {
        let count = self.block_count();
        (count.saturating_sub(self.blocks_missing.count()), count)
    }

    /// Starts the transfer. Only an idle client starts.
    pub fn start(&mut self, now: Instant) {
        if self.step != Step::Idle {
            return;
        }
        self.last_now = now;
        if self.config.ask_capabilities {
            self.ask(now, Request::Information);
        } else if let Some(sizes) = self.sizes {
            self.tell(ClientEvent::SizesChosen(sizes));
            self.ask(now, Request::TransferStart);
        }
    }

    /// Stops sending. Nothing is said to the targets: they suspend themselves.
    pub fn suspend(&mut self) {
        match self.step {
            Step::Ask(Request::Cancel) => {}
            Step::Ask(_) | Step::Chunks { .. } | Step::Settle { .. } | Step::Reports => {
                self.step = Step::Suspended;
                self.tell(ClientEvent::Suspended);
            }
            Step::Idle | Step::Suspended | Step::Completed | Step::Failed | Step::Cancelled => {}
        }
    }

    /// Takes a suspended transfer up again, with the targets that were lost to silence. The layer above has told them
    /// (Update Start) before.
    pub fn resume(&mut self, now: Instant) {
        if self.step != Step::Suspended {
            return;
        }
        self.last_now = now;
        for target in &mut self.targets {
            if target.state == TargetState::Dropped(DropReason::Timeout) {
                target.state = TargetState::Active;
                target.drop_untold = false;
            }
        }
        if self.sizes.is_none() {
            self.ask(now, Request::Information);
        } else {
            self.ask(now, Request::TransferStart);
        }
    }

    /// Tells the active targets to drop the transfer.
    pub fn cancel(&mut self, now: Instant) {
        self.last_now = now;
        match self.step {
            Step::Idle => {
                self.step = Step::Cancelled;
                self.tell(ClientEvent::Cancelled);
            }
            Step::Ask(Request::Cancel) | Step::Completed | Step::Failed | Step::Cancelled => {}
            Step::Ask(_) | Step::Chunks { .. } | Step::Settle { .. } | Step::Reports | Step::Suspended => {
                self.ask(now, Request::Cancel);
            }
        }
    }

    /// Gives up on one target, because the layer above knows that it will not go on.
    pub fn drop_target(&mut self, addr: Addr, why: DropReason) {
        if let Some(target) = self.target_mut(addr).filter(|target| target.is_active()) {
            target.drop_out(why);
            self.drops_untold = true;
        }
    }

    /// The oldest event not yet taken. Drops come before what followed from them.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        if self.drops_untold {
            for target in &mut self.targets {
                if let TargetState::Dropped(why) = target.state
                    && target.drop_untold
                {
                    target.drop_untold = false;
                    return Some(ClientEvent::TargetDropped { addr: target.addr, why });
                }
            }
            self.drops_untold = false;
        }
        self.events.pop_front()
    }

    /// When [`BlobClient::poll_transmit`] has something to do without a message coming in; chunks that wait for permission
    /// do not count, see [`BlobClient::next_chunk_len`].
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        match self.step {
            Step::Ask(_) => Some(self.asking.until.filter(|_| self.silent() > 0).unwrap_or(self.last_now)),
            Step::Chunks { .. } if self.block.pending.is_empty() => Some(self.last_now),
            Step::Chunks { .. } => None,
            Step::Settle { until } => Some(until.unwrap_or(self.last_now)),
            Step::Reports if self.active().all(|target| target.has_block) => Some(self.last_now),
            Step::Reports => self.report_due(),
            Step::Idle | Step::Suspended | Step::Completed | Step::Failed | Step::Cancelled => None,
        }
    }

    /// Octets of the access message of the chunk that waits for permission, if one does.
    #[must_use]
    pub fn next_chunk_len(&self) -> Option<usize> {
        match self.step {
            Step::Chunks { .. } | Step::Reports => {
                let chunk = self.block.pending.next_set(0)?;
                let len = arithmetic::chunk_len(self.block.len, self.sizes?.chunk_size, chunk)?;
                Some(usize::from(len) + 3)
            }
            Step::Ask(_)
            | Step::Settle { .. }
            | Step::Idle
            | Step::Suspended
            | Step::Completed
            | Step::Failed
            | Step::Cancelled => None,
        }
    }

    /// Handles a message of a target. Messages for servers, and answers that fit no open question, are ignored.
    pub fn on_message(&mut self, now: Instant, from: Addr, message: &Message<'_>) {
        self.last_now = self.last_now.max(now);
        match message {
            Message::InformationStatus(capabilities) => self.on_capabilities(from, *capabilities),
            Message::TransferStatus(status) => self.on_transfer_status(from, status),
            Message::BlockStatus(status) => self.on_block_status(now, from, status),
            Message::PartialBlockReport(missing) => self.on_report(now, from, missing),
            Message::TransferGet
            | Message::TransferStart(_)
            | Message::TransferCancel(_)
            | Message::BlockStart(_)
            | Message::BlockGet
            | Message::Chunk(_)
            | Message::InformationGet => {}
        }
    }

    fn active(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| target.is_active())
    }

    fn silent(&self) -> usize {
        self.targets.iter().filter(|target| target.is_silent()).count()
    }

    fn target_mut(&mut self, addr: Addr) -> Option<&mut Target> {
        let index = self.targets.binary_search_by_key(&addr, |target| target.addr).ok()?;
        self.targets.get_mut(index)
    }

    fn timeout(&self) -> Duration {
        client_timeout(self.config.timeout_base, self.config.ttl)
    }

    fn block_count(&self) -> u16 {
        self.sizes
            .and_then(|sizes| arithmetic::block_count(self.config.size, sizes.block_size_log))
            .and_then(|count| u16::try_from(count).ok())
            .unwrap_or(0)
    }

    fn is_pull(&self) -> bool {
        self.config.mode == TransferMode::Pull
    }

    fn tell(&mut self, event: ClientEvent) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        // There is room now.
        let _ = self.events.push_back(event);
    }
}
