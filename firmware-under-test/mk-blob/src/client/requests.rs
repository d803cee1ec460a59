//! The acknowledged steps and the order of steps: who is asked what, when, and what follows.

use super::*;
use mk_wire::AccessMessage;
use mk_wire::blob::{BlockStart, Chunk, TransferStart};

/// Steps that one call may take without sending anything: each is left at once when nobody is silent.
const MAX_STEPS: usize = 8;
/// Pull mode: how long a target may leave the client without a report (two report intervals of 30 s and 7 s).
const REPORT_TIMEOUT: Duration = Duration::from_secs(67);

/// What is asked in an acknowledged step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    Information,
    TransferStart,
    BlockStart,
    BlockGet,
    TransferGet,
    Cancel,
}

/// How far the asking has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asking {
    /// Rounds of requests begun.
    rounds: u16,
    /// Asking by unicast: the next target to look at. `None` between rounds.
    cursor: Option<usize>,
    /// When the round's wait ends; `None` while requests of the round are still to be sent.
    pub(super) until: Option<Instant>,
}

impl<const N: usize> BlobClient<N> {
    /// The next message, written to `out` (380 octets always suffice), or `None` if there is nothing to send now. Chunks
    /// are given only when `chunk_allowed`.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        chunk_allowed: bool,
        source: &mut impl BlobSource,
        out: &mut [u8],
    ) -> Option<Outgoing> {
        self.last_now = self.last_now.max(now);
        for _ in 0..MAX_STEPS {
            match self.step {
                Step::Ask(request) => {
                    if self.silent() == 0 {
                        self.answered(now, request, 0);
                    } else if let Some(to) = self.next_request(now) {
                        return self.control(request, to, out);
                    } else if self.asking.until.is_none_or(|until| now < until) {
                        return None;
                    } else if self.asking.rounds > self.max_repeats() {
                        let lost = self.drop_where(Target::is_silent, DropReason::Timeout);
                        self.answered(now, request, lost);
                    } else {
                        self.asking.until = None;
                    }
                }
                Step::Chunks { .. } if self.block.pending.is_empty() => self.step = Step::Settle { until: None },
                Step::Chunks { target } => {
                    if !chunk_allowed {
                        return None;
                    }
                    if let Some(to) = self.next_chunk_target(target) {
                        return self.chunk(to, source, out);
                    }
                }
                Step::Settle { until: None } => {
                    self.step = Step::Settle { until: Some(now + self.config.policy.settle) };
                }
                Step::Settle { until: Some(until) } if now < until => return None,
                Step::Settle { until: Some(_) } => self.ask(now, Request::BlockGet),
                Step::Reports => {
                    if self.active().all(|target| target.has_block) {
                        self.block_done(now);
                    } else if self.report_due().is_some_and(|at| at <= now) {
                        self.ask(now, Request::BlockGet);
                    } else if chunk_allowed && !self.block.pending.is_empty() {
                        match self.config.group.or_else(|| self.first_that_misses_next()) {
                            Some(to) => return self.chunk(to, source, out),
                            // Whoever asked for it has it by now, or was dropped.
                            None => {
                                let union = self.union();
                                self.block.pending.keep(&union);
                            }
                        }
                    } else {
                        return None;
                    }
                }
                Step::Idle | Step::Suspended | Step::Completed | Step::Failed | Step::Cancelled => return None,
            }
        }
        None
    }

    /// Begins an acknowledged step.
    pub(super) fn ask(&mut self, now: Instant, request: Request) {
        for target in &mut self.targets {
            // Who has the block already has nothing to answer for it.
            target.answered = request == Request::BlockGet && target.has_block;
        }
        if request == Request::TransferStart {
            self.blocks_missing = BlockBitmap::default();
        }
        self.last_now = now;
        self.asking = Asking::default();
        self.step = Step::Ask(request);
    }

    fn max_repeats(&self) -> u16 {
        match self.config.policy.repeat {
            Repeat::Polls { status_polls, .. } => status_polls,
            Repeat::FifthsOfTimeout => 4,
        }
    }

    /// Whom to ask now: the group, the next silent target, or nobody because the round's wait runs.
    fn next_request(&mut self, now: Instant) -> Option<Addr> {
        if self.asking.until.is_some() {
            return None;
        }
        let (wait, group_above) = match self.config.policy.repeat {
            Repeat::Polls { status_wait, group_above, .. } => (status_wait, usize::from(group_above)),
            Repeat::FifthsOfTimeout => (self.timeout() / 5, 0),
        };
        let cursor = match self.asking.cursor {
            Some(cursor) => cursor,
            None => {
                self.asking.rounds += 1;
                if let Some(group) = self.config.group
                    && (self.asking.rounds == 1 || self.silent() > group_above)
                {
                    self.asking.until = Some(now + wait);
                    return Some(group);
                }
                0
            }
        };
        let next = self.targets.iter().enumerate().skip(cursor).find(|(_, target)| target.is_silent());
        match next {
            Some((index, target)) => {
                self.asking.cursor = Some(index + 1);
                Some(target.addr)
            }
            None => {
                self.asking.cursor = None;
                self.asking.until = Some(now + wait);
                None
            }
        }
    }

    /// A step is over: everybody has answered, or was dropped for silence (`lost` of them).
    fn answered(&mut self, now: Instant, request: Request, lost: u16) {
        if request == Request::Cancel {
            self.step = Step::Cancelled;
            self.tell(ClientEvent::Cancelled);
            return;
        }
        if request == Request::BlockGet {
            self.round_done(lost);
        }
        if request != Request::TransferGet && self.active().next().is_none() {
            self.nobody_left();
            return;
        }
        match request {
            Request::Information => self.sizes_known(now),
            Request::TransferStart => self.next_block(now),
            Request::BlockStart | Request::BlockGet => self.send_missing(now),
            Request::TransferGet => self.nobody_left(),
            Request::Cancel => {}
        }
    }

    fn sizes_known(&mut self, now: Instant) {
        match self.common.and_then(|common| self.config.choose(&common)) {
            Some(sizes) => {
                self.sizes = Some(sizes);
                self.tell(ClientEvent::SizesChosen(sizes));
                self.ask(now, Request::TransferStart);
            }
            // Each answer was checked against this as it came, so somebody can always take the BLOB.
            None => self.nobody_left(),
        }
    }

    /// The next block that somebody misses, from where a suspended transfer stopped; none: the transfer is over.
    fn next_block(&mut self, now: Instant) {
        let missing = &self.blocks_missing;
        let place = missing.next_set(self.block.number).or_else(|| missing.next_set(0)).and_then(|number| {
            let Sizes { block_size_log, chunk_size } = self.sizes?;
            let offset = arithmetic::block_offset(self.config.size, block_size_log, number)?;
            let len = arithmetic::block_len(self.config.size, block_size_log, number)?;
            let chunk_count = arithmetic::chunk_count(len, chunk_size)?;
            Some(Block { number, offset, len, chunk_count, ..Block::default() })
        });
        let Some(block) = place else {
            self.ask(now, Request::TransferGet);
            return;
        };
        self.block = block;
        for target in &mut self.targets {
            target.has_block = false;
            target.missing = ChunkBitmap::full(block.chunk_count);
            target.active_at = Some(now);
        }
        self.tell(ClientEvent::BlockStarted { block: block.number, chunks: block.chunk_count });
        self.ask(now, Request::BlockStart);
    }

    fn round_done(&mut self, silent: u16) {
        self.block.rounds += 1;
        if self.block.rounds == 1 {
            self.block.first_round = self.block.chunks_sent;
        }
        let mut union = self.union();
        let missing = union.count();
        let Block { number: block, rounds: round, .. } = self.block;
        self.tell(ClientEvent::RoundDone { block, round, missing, silent });
        if missing > 0 && round >= self.config.policy.block_retries {
            self.drop_where(|target| target.is_active() && !target.has_block, DropReason::Incomplete);
            union = ChunkBitmap::default();
        }
        self.block.pending = union;
    }

    /// Chunks that an active target misses.
    fn union(&self) -> ChunkBitmap {
        let mut union = ChunkBitmap::default();
        self.active().filter(|target| !target.has_block).for_each(|target| union.add(&target.missing));
        union
    }

    fn send_missing(&mut self, now: Instant) {
        if self.active().all(|target| target.has_block) {
            self.block_done(now);
        } else {
            self.block.pending = self.union();
            self.step = if self.is_pull() { Step::Reports } else { Step::Chunks { target: 0 } };
        }
    }

    fn block_done(&mut self, now: Instant) {
        let Block { number, rounds, chunks_sent, first_round, .. } = self.block;
        if self.active().next().is_none() {
            self.nobody_left();
            return;
        }
        self.blocks_missing.clear(number);
        let resent = if rounds == 0 { 0 } else { chunks_sent - first_round };
        self.tell(ClientEvent::BlockDone { block: number, rounds, chunks_sent, resent });
        self.next_block(now);
    }

    /// No target is active any more: over, or suspended if one might come back.
    fn nobody_left(&mut self) {
        let any = |state| self.targets.iter().any(|target| target.state == state);
        let only_self = self.targets.iter().all(|target| target.state == TargetState::OwnAddress);
        let (step, event) = if only_self || any(TargetState::Complete) {
            (Step::Completed, ClientEvent::Completed)
        } else if any(TargetState::Dropped(DropReason::Timeout)) {
            (Step::Suspended, ClientEvent::Suspended)
        } else {
            (Step::Failed, ClientEvent::Failed)
        };
        self.step = step;
        self.tell(event);
    }

    /// Drops every target of a kind and says how many there were.
    fn drop_where(&mut self, which: impl Fn(&Target) -> bool, why: DropReason) -> u16 {
        let mut count = 0;
        for target in self.targets.iter_mut().filter(|target| which(target)) {
            target.drop_out(why);
            count += 1;
        }
        self.drops_untold |= count > 0;
        count
    }

    /// Pull mode: when the target that was silent longest is asked what it misses. Its report may have been lost, and a
    /// server reports the end of a block only once.
    pub(super) fn report_due(&self) -> Option<Instant> {
        let wait = REPORT_TIMEOUT.min(self.timeout() / 2);
        let waiting = self.active().filter(|target| !target.has_block);
        waiting.map(|target| target.active_at.unwrap_or(self.last_now) + wait).min()
    }

    /// Who gets the next pending chunk: the group once, or each target that misses it in turn. `None` moves on to the
    /// next chunk.
    fn next_chunk_target(&mut self, cursor: usize) -> Option<Addr> {
        if let Some(group) = self.config.group {
            return Some(group);
        }
        let chunk = self.block.pending.next_set(0)?;
        let next = self
            .targets
            .iter()
            .enumerate()
            .skip(cursor)
            .find(|(_, target)| target.is_active() && !target.has_block && target.missing.get(chunk));
        match next {
            Some((index, target)) => {
                let addr = target.addr;
                self.step = Step::Chunks { target: index + 1 };
                Some(addr)
            }
            None => {
                self.block.pending.clear(chunk);
                self.step = Step::Chunks { target: 0 };
                None
            }
        }
    }

    fn first_that_misses_next(&self) -> Option<Addr> {
        let chunk = self.block.pending.next_set(0)?;
        self.active().find(|target| target.missing.get(chunk)).map(Target::addr)
    }

    fn control(&self, request: Request, to: Addr, out: &mut [u8]) -> Option<Outgoing> {
        let config = &self.config;
        let message = match request {
            Request::Information => Message::InformationGet,
            Request::TransferStart => Message::TransferStart(TransferStart {
                mode: config.mode,
                blob_id: config.blob_id,
                size: config.size,
                block_size_log: self.sizes?.block_size_log,
                client_mtu: config.mtu,
            }),
            Request::BlockStart => {
                Message::BlockStart(BlockStart { block: self.block.number, chunk_size: self.sizes?.chunk_size })
            }
            Request::BlockGet => Message::BlockGet,
            Request::TransferGet => Message::TransferGet,
            Request::Cancel => Message::TransferCancel(config.blob_id),
        };
        let len = AccessMessage::Blob(message).encode(out).ok()?;
        Some(Outgoing { to, ttl: config.ttl, kind: Kind::Control, len })
    }

    /// The next pending chunk, read straight into the message.
    fn chunk(&mut self, to: Addr, source: &mut impl BlobSource, out: &mut [u8]) -> Option<Outgoing> {
        let number = self.block.pending.next_set(0)?;
        let chunk_size = self.sizes?.chunk_size;
        let offset = arithmetic::chunk_offset(self.block.len, chunk_size, number)?;
        let len = usize::from(arithmetic::chunk_len(self.block.len, chunk_size, number)?);
        let mut data = [0; mk_wire::access::MAX_ACCESS];
        let data = data.get_mut(..len)?;
        source.read(self.block.offset + offset, data);
        let len = AccessMessage::Blob(Message::Chunk(Chunk { number, data })).encode(out).ok()?;
        self.block.chunks_sent += 1;
        if self.config.group.is_some() || self.is_pull() {
            self.block.pending.clear(number);
        }
        if self.is_pull() {
            self.pull_sent(number, to);
        }
        Some(Outgoing { to, ttl: self.config.ttl, kind: Kind::Data, len })
    }

    /// Pull mode: a chunk that was sent is no longer asked for, by unicast only by its receiver.
    fn pull_sent(&mut self, number: u16, to: Addr) {
        let now = self.last_now;
        let by_group = self.config.group.is_some();
        for target in self.targets.iter_mut().filter(|target| by_group || target.addr == to) {
            if target.missing.clear(number) {
                target.active_at = Some(now);
            }
        }
        let wanted = |target: &Target| target.is_active() && target.missing.get(number);
        if self.targets.iter().any(wanted) {
            self.block.pending.set(number);
        }
    }
}
