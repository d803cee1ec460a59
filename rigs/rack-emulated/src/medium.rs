//! The air between the nodes and the radio co-processor: everybody hears everybody, less what is lost on a link, and what
//! a hook does to a frame on its way to each receiver.
//!
//! Loss is drawn per link from the seed: the n-th frame of a link is lost or not, whatever other links carry. A hook sees
//! only frames that the air did not lose, and what it returns arrives.

use crate::{
    flash::mix,
    mailbox::Frame,
    node::{AIR_QUEUE, EventSink},
    pty::{Pty, TtyCounts},
    radio::CoProcessor,
    wake::Waker,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

/// Frames in flight. More than that, and the air drops them.
const IN_FLIGHT: usize = 65_536;
/// Orders taken at once before the medium looks around.
const BURST: usize = 256;
/// Orders that wait for the medium.
const ORDERS: usize = 4096;

/// Somebody on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MediumPeer {
    /// A node, counted from 0.
    Node(usize),
    /// The radio co-processor of the gateway.
    Radio,
}

/// Decides what becomes of each frame on its way to each receiver.
pub trait MediumHook: Send {
    /// The frames that arrive at `to`, each so long after `now` (since the start of the bench). Returning the PDU as it is
    /// with no delay changes nothing; an empty list drops it.
    fn carry(
        &mut self,
        now: Duration,
        from: MediumPeer,
        to: MediumPeer,
        ad_type: u8,
        pdu: &[u8],
    ) -> Vec<(Duration, Vec<u8>)>;
}

/// How the air is.
#[derive(Clone, Debug)]
pub struct AirSettings {
    /// Frames lost on every link, of 1000.
    pub loss_permille: u16,
    /// Links that are better or worse, by sender and receiver.
    pub link_loss_permille: BTreeMap<(MediumPeer, MediumPeer), u16>,
    /// Strength that receivers report.
    pub rssi_dbm: i8,
    /// Time on the way.
    pub delay: Duration,
    /// Shortest time between two transmissions of the co-processor; the real one needs at least 20 ms.
    pub radio_interval: Duration,
}

impl Default for AirSettings {
    fn default() -> Self {
        Self {
            loss_permille: 0,
            link_loss_permille: BTreeMap::new(),
            rssi_dbm: -60,
            delay: Duration::ZERO,
            radio_interval: Duration::ZERO,
        }
    }
}

/// What the air has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AirCounts {
    /// Frames sent, by nodes and the co-processor.
    pub sent: u64,
    /// Frames that a receiver was to get.
    pub carried: u64,
    /// Lost by chance, counted per receiver.
    pub lost: u64,
    /// Lost because a receiver's queue, or the air itself, was full.
    pub overrun: u64,
    /// The co-processor's tty.
    pub radio_tty: TtyCounts,
    /// Transmissions that the gateway asked for beyond the co-processor's window.
    pub radio_refused: u64,
}

/// What the medium's thread is told.
pub(crate) enum AirOrder {
    /// Somebody sends.
    Send(MediumPeer, Frame),
    /// A frame for one receiver, past loss and hook.
    Inject(MediumPeer, Frame),
    /// Another hook, or none.
    Hook(Option<Box<dyn MediumHook>>),
    Settings(Box<AirSettings>),
    Stop,
}

/// A sender's way onto the air.
#[derive(Clone, Debug)]
pub(crate) struct MediumPort {
    pub from: MediumPeer,
    pub orders: SyncSender<AirOrder>,
    pub waker: Waker,
}

impl MediumPort {
    /// Sends a frame. False if the air cannot take more now.
    pub fn send(&self, frame: Frame) -> bool {
        let taken = self.orders.try_send(AirOrder::Send(self.from, frame)).is_ok();
        self.waker.wake();
        taken
    }

    /// Tells the medium something, waiting until it listens.
    pub fn order(&self, order: AirOrder) {
        // It ends before the nodes do; a frame that comes later is not heard.
        let _ = self.orders.send(order);
        self.waker.wake();
    }
}

/// A node's receiving end.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub frames: SyncSender<Frame>,
    pub waker: Waker,
}

/// A frame on its way.
#[derive(Debug, PartialEq, Eq)]
struct Flight {
    at: Duration,
    order: u64,
    to: MediumPeer,
    ad_type: u8,
    pdu: Vec<u8>,
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether the n-th frame of a link is lost.
fn lost(seed: u64, from: MediumPeer, to: MediumPeer, n: u64, permille: u16) -> bool {
    let number = |peer| match peer {
        MediumPeer::Radio => 0,
        MediumPeer::Node(index) => index as u64 + 1,
    };
    mix(mix(mix(seed) ^ number(from) << 32 ^ number(to)) ^ n) % 1000 < u64::from(permille)
}

/// The medium and its thread.
pub(crate) struct Medium {
    pub events: EventSink,
    pub seed: u64,
    pub settings: AirSettings,
    pub orders: Receiver<AirOrder>,
    pub waker: Waker,
    pub nodes: Vec<Receiving>,
    pub radio: CoProcessor,
    pub counts: Arc<Mutex<AirCounts>>,
    pub hook: Option<Box<dyn MediumHook>>,
    flights: BinaryHeap<Reverse<Flight>>,
    order: u64,
    link_frames: BTreeMap<(MediumPeer, MediumPeer), u64>,
    counted: AirCounts,
}

impl Medium {
    pub fn new(
        events: EventSink,
        seed: u64,
        settings: AirSettings,
        orders: Receiver<AirOrder>,
        waker: Waker,
        nodes: Vec<Receiving>,
        radio: Pty,
    ) -> Self {
        Self {
            events,
            seed,
            settings,
            orders,
            waker,
            nodes,
            radio: CoProcessor::new(radio),
            counts: Arc::default(),
            hook: None,
            flights: BinaryHeap::new(),
            order: 0,
            link_frames: BTreeMap::new(),
            counted: AirCounts::default(),
        }
    }

    fn now(&self) -> Duration {
        self.events.start.elapsed()
    }

    /// Carries frames until told to stop.
    pub fn run(mut self) {
        loop {
            self.wait();
            self.waker.clear();
            let orders: Vec<AirOrder> = self.orders.try_iter().take(BURST).collect();
            if orders.len() == BURST {
                self.waker.wake();
            }
            for order in orders {
                match order {
                    AirOrder::Send(from, frame) => self.send(from, &frame),
                    AirOrder::Inject(to, frame) => {
                        let at = self.now();
                        self.fly(at, to, frame.ad_type, frame.pdu);
                    }
                    AirOrder::Hook(hook) => self.hook = hook,
                    AirOrder::Settings(settings) => self.settings = *settings,
                    AirOrder::Stop => return,
                }
            }
            let now = self.now();
            for frame in self.radio.turn(now, self.settings.radio_interval) {
                self.send(MediumPeer::Radio, &frame);
            }
            self.land();
            self.counted.radio_tty = self.radio.tty.counts;
            self.counted.radio_refused = self.radio.refused;
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.counted;
        }
    }

    fn wait(&self) {
        let flight = self.flights.peek().map(|Reverse(flight)| flight.at);
        let next = [flight, self.radio.next()].into_iter().flatten().min();
        let timeout = next.map(|at| {
            let left = at.saturating_sub(self.now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        let mut waiting = vec![
            PollFd::from_borrowed_fd(self.waker.fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.radio.tty.watch(), PollFlags::IN),
        ];
        if let Some((fd, flags)) = self.radio.tty.interest() {
            waiting.push(PollFd::from_borrowed_fd(fd, flags));
        }
        // An interrupted wait is a short one.
        let _ = poll(&mut waiting, timeout.as_ref());
    }

    /// Puts a frame on the air: to everybody but its sender.
    fn send(&mut self, from: MediumPeer, frame: &Frame) {
        self.counted.sent += 1;
        let everybody = (0..self.nodes.len()).map(MediumPeer::Node).chain([MediumPeer::Radio]);
        for to in everybody.filter(|to| *to != from) {
            let n = self.link_frames.entry((from, to)).or_default();
            *n += 1;
            let permille = self.settings.link_loss_permille.get(&(from, to)).copied();
            if lost(self.seed, from, to, *n, permille.unwrap_or(self.settings.loss_permille)) {
                self.counted.lost += 1;
                continue;
            }
            let now = self.events.start.elapsed();
            let arriving = match &mut self.hook {
                Some(hook) => hook.carry(now, from, to, frame.ad_type, &frame.pdu),
                None => vec![(Duration::ZERO, frame.pdu.clone())],
            };
            for (delay, pdu) in arriving {
                self.fly(now + self.settings.delay + delay, to, frame.ad_type, pdu);
            }
        }
    }

    fn fly(&mut self, at: Duration, to: MediumPeer, ad_type: u8, pdu: Vec<u8>) {
        if self.flights.len() >= IN_FLIGHT {
            self.counted.overrun += 1;
            return;
        }
        self.order += 1;
        self.flights.push(Reverse(Flight { at, order: self.order, to, ad_type, pdu }));
    }

    /// Hands over what has arrived.
    fn land(&mut self) {
        let now = self.now();
        let mut woken = vec![false; self.nodes.len()];
        while self.flights.peek().is_some_and(|Reverse(flight)| flight.at <= now) {
            let Some(Reverse(flight)) = self.flights.pop() else { break };
            let frame = Frame { ad_type: flight.ad_type, rssi_dbm: self.settings.rssi_dbm, pdu: flight.pdu };
            match flight.to {
                MediumPeer::Radio => {
                    self.radio.hear(&frame);
                    self.counted.carried += 1;
                }
                MediumPeer::Node(index) => match self.nodes.get(index).map(|node| node.frames.try_send(frame)) {
                    Some(Ok(())) => {
                        woken[index] = true;
                        self.counted.carried += 1;
                    }
                    Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => {
                        self.counted.overrun += 1
                    }
                },
            }
        }
        for (node, woken) in self.nodes.iter().zip(woken) {
            if woken {
                node.waker.wake();
            }
        }
    }
}

/// The queue to the medium.
pub(crate) fn orders() -> (SyncSender<AirOrder>, Receiver<AirOrder>) {
    sync_channel(ORDERS)
}

/// The queue between the medium and a node.
pub(crate) fn queue(waker: Waker) -> (Receiving, Receiver<Frame>) {
    let (frames, receiver) = sync_channel(AIR_QUEUE);
    (Receiving { frames, waker }, receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_what_was_asked_for_and_the_same_again() {
        let link = |seed, permille| {
            (0..10_000)
                .filter(|n| lost(seed, MediumPeer::Radio, MediumPeer::Node(3), *n, permille))
                .collect::<Vec<u64>>()
        };
        assert!(link(1, 0).is_empty());
        assert_eq!(link(1, 1000).len(), 10_000);
        assert!((900..1100).contains(&link(1, 100).len()), "{}", link(1, 100).len());
        assert_eq!(link(7, 100), link(7, 100));
        assert_ne!(link(7, 100), link(8, 100));
    }

    #[test]
    fn links_are_lost_apart() {
        let link = |from, to| (0..1000).filter(|n| lost(1, from, to, *n, 500)).collect::<Vec<u64>>();
        let (a, b) = (MediumPeer::Node(0), MediumPeer::Node(1));
        assert_ne!(link(a, b), link(b, a));
        assert_ne!(link(a, b), link(MediumPeer::Radio, b));
    }
}
