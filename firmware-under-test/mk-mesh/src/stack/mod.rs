//! The stack: one state machine over all layers, without I/O.
//!
//! Here is what it consists of, how it starts and what it keeps; [`receive`] is the way in, [`send`] the way out,
//! [`configure`] the part of the Configuration Server that these layers answer themselves.

mod configure;
mod receive;
mod send;

use crate::cache::Cache;
use crate::crypto::{Key, Mic};
use crate::incoming::{Inbox, Incoming};
use crate::iv::{IvChange, IvState};
use crate::keys::{ApplicationKey, DeviceKeys, NetworkKey, OwnDeviceKey};
use crate::network::Pdu;
use crate::outgoing::{LongSlot, SHORT_MESSAGES, ShortMessage};
use crate::record::{Progress, Record, Storage};
use crate::replay::ReplayList;
use crate::sequence::Sequence;
use crate::states::States;
use heapless::{Deque, Vec};
use mk_wire::Addr;
use mk_wire::time::{Duration, Instant};

pub use receive::Outcome;
pub use send::{Bearer, BearerKind};

/// Events that wait at most; more are lost.
const EVENTS: usize = 8;
/// Time between two beacons of a node that hears no others.
const BEACON_INTERVAL: Duration = Duration::from_secs(10);
/// Beacons heard in an interval that still lengthen it: 10 minutes are the longest.
const MAX_BEACONS: u64 = 59;
/// Changes of the replay list are kept this long after the last time, so that flash pages last: 288 records a day and source
/// at most, an erase a day. A message that came within this time before a power cut could be replayed once.
const KEEP_REPLAY_EVERY: Duration = Duration::from_secs(300);

/// Who a stack is and what it starts with.
#[derive(Clone, Debug)]
pub struct MeshSettings {
    /// Unicast address of the only element.
    pub address: Addr,
    /// Network key.
    pub net_key: Key,
    /// Application key.
    pub app_key: Key,
    /// IV index at provisioning; what was kept since wins.
    pub iv_index: u32,
    /// States of the lower layers, until a configuration client has set others.
    pub states: States,
    /// Segmented messages carry a 64-bit MIC where it fits.
    pub long_mic: bool,
    /// Send Secure Network beacons.
    pub beacons: bool,
    /// Sequence numbers reserved at a time: a record is kept for every half of them.
    pub sequence_block: u32,
    /// Least time between two segments, where it is less than the 10 ms that the SAR Transmitter state can say: for a
    /// bearer that has no air to share. `None`: as the state says.
    pub segment_interval: Option<Duration>,
}

impl MeshSettings {
    /// Default states, 32-bit MICs, beacons, 2,048 sequence numbers at a time.
    #[must_use]
    pub const fn new(address: Addr, net_key: Key, app_key: Key, iv_index: u32) -> Self {
        MeshSettings {
            address,
            net_key,
            app_key,
            iv_index,
            states: States::DEFAULT,
            long_mic: false,
            beacons: true,
            sequence_block: 2_048,
            segment_interval: None,
        }
    }
}

/// Something that whoever runs the stack may want to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Every segment of a message to a single receiver was acknowledged.
    Delivered {
        /// The receiver.
        to: Addr,
    },
    /// A segmented message to a single receiver was given up.
    Undelivered {
        /// The receiver.
        to: Addr,
        /// It answered that it will not have it.
        refused: bool,
    },
    /// A heartbeat of another node.
    Heartbeat {
        /// Whose.
        from: Addr,
        /// Hops.
        hops: u8,
        /// Features in use: bit 0 relay, 1 proxy, 2 friend, 3 low power.
        features: u16,
    },
    /// The IV index, or whether an update is in progress, changed.
    IvIndex {
        /// The newest.
        index: u32,
        /// An update is in progress.
        updating: bool,
    },
    /// A configuration client changed a state.
    Configured,
}

/// The stack of a node (4 segmented messages in and out at a time, 32 peers).
pub type NodeStack = Stack<OwnDeviceKey, 4, 4, 32>;

/// The lower layers of one node or gateway, with places for `IN` incoming and `OUT` outgoing segmented messages and a
/// replay list of `PEERS` sources.
#[derive(Debug)]
pub struct Stack<D, const IN: usize, const OUT: usize, const PEERS: usize> {
    address: Addr,
    network: NetworkKey,
    application: ApplicationKey,
    devices: D,
    states: States,
    segment_interval: Option<Duration>,
    mic: Mic,
    iv: IvState,
    sequence: Sequence,
    cache: Cache,
    replay: ReplayList<PEERS>,
    inbox: Inbox<IN>,
    long: [LongSlot; OUT],
    short: Vec<ShortMessage, SHORT_MESSAGES>,
    queue: send::Queue,
    events: Deque<Event, EVENTS>,
    kept: Option<Progress>,
    states_dirty: bool,
    replay_kept_at: Option<Instant>,
    /// `None` where beacons are off.
    beacon_at: Option<Instant>,
    beacons_heard: u64,
}

impl<D: DeviceKeys, const IN: usize, const OUT: usize, const PEERS: usize> Stack<D, IN, OUT, PEERS> {
    /// Starts with what was kept. Nothing can be sent before the first [`Stack::persist`] has reserved sequence numbers.
    ///
    /// # Errors
    /// What was kept cannot be read. To start without it would use sequence numbers twice.
    pub fn start<S: Storage>(
        now: Instant,
        settings: &MeshSettings,
        devices: D,
        storage: &mut S,
    ) -> Result<Self, S::Error> {
        let mut stack = Stack {
            address: settings.address,
            network: NetworkKey::new(&settings.net_key),
            application: ApplicationKey::new(&settings.app_key),
            devices,
            states: settings.states,
            segment_interval: settings.segment_interval,
            mic: if settings.long_mic { Mic::Long } else { Mic::Short },
            iv: IvState::provisioned(now, settings.iv_index),
            sequence: Sequence::resume(0, settings.sequence_block),
            cache: Cache::new(),
            replay: ReplayList::new(),
            inbox: Inbox::new(),
            long: [const { LongSlot::empty() }; OUT],
            short: Vec::new(),
            queue: send::Queue::new(now),
            events: Deque::new(),
            kept: None,
            states_dirty: false,
            replay_kept_at: None,
            beacon_at: settings.beacons.then_some(now + BEACON_INTERVAL),
            beacons_heard: 0,
        };
        storage.load(&mut |record| match record {
            Record::Progress(kept) => {
                stack.iv = IvState::resume(now, &kept);
                stack.sequence = Sequence::resume(kept.reserved, settings.sequence_block);
                stack.kept = Some(kept);
            }
            Record::Accepted { source, stamp } => stack.replay.restore(source, stamp),
            Record::States(states) => stack.states = states,
        })?;
        Ok(stack)
    }

    /// The record to keep next, if any; to be told with [`Stack::kept`] once it is. [`Stack::persist`] does both.
    #[must_use]
    pub fn record(&self, now: Instant) -> Option<Record> {
        let progress = Progress {
            iv_index: self.iv.index(),
            updating: self.iv.updating(),
            hours: self.iv.hours_to_keep(now),
            reserved: self.sequence.wanted().unwrap_or(self.sequence.reserved()),
        };
        if self.kept != Some(progress) {
            return Some(Record::Progress(progress));
        }
        if self.states_dirty {
            return Some(Record::States(self.states));
        }
        let wait = self.replay_kept_at.is_some_and(|at| now < at + KEEP_REPLAY_EVERY);
        if wait {
            return None;
        }
        self.replay.dirty().map(|(source, stamp)| Record::Accepted { source, stamp })
    }

    /// This record is kept now.
    pub fn kept(&mut self, now: Instant, record: &Record) {
        match record {
            Record::Progress(kept) => {
                let current = (self.iv.index(), self.iv.updating()) == (kept.iv_index, kept.updating);
                if current {
                    self.sequence.granted(kept.reserved);
                    self.kept = Some(*kept);
                }
            }
            Record::States(states) => self.states_dirty = *states != self.states,
            Record::Accepted { source, stamp } => {
                self.replay.stored(*source, *stamp);
                if self.replay.dirty().is_none() {
                    self.replay_kept_at = Some(now);
                }
            }
        }
    }

    /// Keeps what has to be kept: to be called after [`Stack::start`] and whenever the stack was given something. Costs
    /// nothing while there is nothing to keep.
    ///
    /// # Errors
    /// A record could not be written. The stack goes on with what it has reserved, and sends nothing when that is used up.
    pub fn persist<S: Storage>(&mut self, now: Instant, storage: &mut S) -> Result<(), S::Error> {
        // One record of each kind, and one for each source.
        for _ in 0..PEERS + 2 {
            let Some(record) = self.record(now) else { return Ok(()) };
            storage.save(&record)?;
            self.kept(now, &record);
        }
        Ok(())
    }

    /// Makes the next [`Stack::persist`] keep the replay list as well: before a reset that is meant.
    pub const fn before_reset(&mut self) {
        self.replay_kept_at = None;
    }

    /// The stack's own address.
    #[must_use]
    pub const fn address(&self) -> Addr {
        self.address
    }

    /// The states of the lower layers.
    #[must_use]
    pub const fn states(&self) -> &States {
        &self.states
    }

    /// The IV index procedure.
    #[must_use]
    pub const fn iv(&self) -> &IvState {
        &self.iv
    }

    /// The sequence numbers.
    #[must_use]
    pub const fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// The device keys.
    pub const fn devices(&mut self) -> &mut D {
        &mut self.devices
    }

    /// The message that has been ready longest. Its octets are lent until the next call; a message that is not fetched
    /// keeps its place.
    pub fn poll_message(&mut self) -> Option<Incoming<'_>> {
        self.inbox.pop()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn tell(&mut self, event: Event) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        // There is room now.
        let _ = self.events.push_back(event);
    }

    /// When to call [`Stack::poll_pdu`] next, if nothing comes in before: at once if that time has passed.
    #[must_use]
    pub fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        let keep = match (self.replay.dirty(), self.replay_kept_at) {
            (Some(_), Some(at)) => Some(at + KEEP_REPLAY_EVERY),
            (Some(_), None) => Some(now),
            (None, _) => None,
        };
        let iv = self.iv.next_wakeup(now);
        [self.inbox.next_wakeup(), self.next_sending(), self.beacon_at, keep, iv].into_iter().flatten().min()
    }

    /// Is anything to be sent, acknowledged or handed up?
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.inbox.has_message() && self.inbox.next_wakeup().is_none() && self.nothing_to_send()
    }

    fn follow(&mut self, change: IvChange) {
        match change {
            IvChange::None => return,
            IvChange::Started => {}
            // Whatever is not sent yet is encrypted when it leaves, under the new index and numbers.
            IvChange::Moved => self.sequence.restart(),
        }
        self.tell(Event::IvIndex { index: self.iv.index(), updating: self.iv.updating() });
    }
}

/// A PDU that is to be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Repeat {
    due: Instant,
    left: u8,
    interval: Duration,
    pdu: Pdu,
}
