//! One node of the bench and the thread that owns it: QEMU process, flash, probe, console, watchdog, radio mailbox.
//!
//! The thread waits in `poll` on everything that can happen to the node and on its timers, so that a node where nothing
//! happens costs nothing. It is also the thread that starts QEMU, which the kernel kills when the thread ends.

mod life;
mod turn;

use crate::{
    bmp::Probe,
    console::{Console, LineFault},
    debug::Core,
    error::MachineError,
    event::{BenchEvent, BenchEventKind, NodeState, ResetReason},
    flash::{FlashCounts, NodeFlash},
    machine::Machine,
    mailbox::{Frame, Mailbox},
    medium::MediumPort,
    pty::TtyCounts,
    trace::Store,
    wake::Waker,
    watchdog::Watchdog,
};
use hil_model::Power;
use std::{
    collections::VecDeque,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64},
        mpsc::{Receiver, Sender, SyncSender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Frames on their way to a node that its thread has not taken yet.
pub(crate) const AIR_QUEUE: usize = 1024;

/// What a node can be told.
#[derive(Debug)]
pub(crate) enum Order {
    Power(Power),
    Disarm,
    Reset(ResetReason),
    Line(LineFault),
    /// The cable of the probe: plugged or pulled.
    ProbeCable(bool),
    /// Content for the flash of a node without power.
    Load(u32, Vec<u8>),
    Stop,
}

/// An order and where its answer goes.
pub(crate) type Ordered = (Order, Sender<Result<(), MachineError>>);

/// What a node is and has done, for anyone to read at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// What it is doing.
    pub state: NodeState,
    /// Why the core started last.
    pub last_reset: Option<ResetReason>,
    /// Core starts, power-on included.
    pub resets: u64,
    /// Operations of its flash.
    pub flash: FlashCounts,
    /// Whether a power cut waits for its flash operation.
    pub cut_armed: bool,
    /// Its console.
    pub tty: TtyCounts,
    /// Frames it has sent.
    pub radio_sent: u64,
    /// Frames it has sent that the air could not take.
    pub radio_jammed: u64,
    /// Frames put into its receive ring.
    pub radio_received: u64,
    /// Frames lost because its ring was full.
    pub radio_overrun: u64,
    /// Frames lost because it had no power, or its firmware no radio.
    pub radio_deaf: u64,
    /// QEMU's process number, while there is one.
    pub process: Option<u32>,
    /// Whether a debugger is connected to its probe.
    pub probe_in_use: bool,
}

/// What the bench keeps of a node.
#[derive(Debug)]
pub(crate) struct NodeHandle {
    pub name: String,
    pub orders: Sender<Ordered>,
    pub waker: Waker,
    pub status: Arc<Mutex<NodeStatus>>,
    pub flash: Option<Arc<Mutex<NodeFlash>>>,
    pub probe: SocketAddr,
    pub tty: PathBuf,
    pub thread: Option<JoinHandle<()>>,
}

impl NodeHandle {
    /// What the node is doing now.
    pub fn status(&self) -> NodeStatus {
        let mut status = *self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flash) = &self.flash {
            let flash = flash.lock().unwrap_or_else(PoisonError::into_inner);
            status.flash = flash.counts();
            status.cut_armed = flash.armed();
        }
        status
    }
}

/// Where events go. Nobody has to listen; a listener that is slow loses some.
#[derive(Clone, Debug)]
pub(crate) struct EventSink {
    pub start: Instant,
    pub sender: SyncSender<BenchEvent>,
    pub lost: Arc<AtomicU64>,
}

impl EventSink {
    pub fn send(&self, node: usize, kind: BenchEventKind) {
        if self.sender.try_send(BenchEvent { at: self.start.elapsed(), node, kind }).is_err() {
            self.lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// Everything of one node.
#[derive(Debug)]
pub(crate) struct Node {
    pub index: usize,
    pub machine: Machine,
    pub unique_id: u64,
    pub seed: u64,
    /// For the sockets of QEMU.
    pub folder: PathBuf,
    pub flash: Option<Arc<Mutex<NodeFlash>>>,
    pub orders: Receiver<Ordered>,
    pub air: Receiver<Frame>,
    pub medium: MediumPort,
    pub waker: Waker,
    pub status: Arc<Mutex<NodeStatus>>,
    pub events: EventSink,
    pub console: Console,
    pub listener: Option<TcpListener>,
    pub probe_address: SocketAddr,
    pub probe: Probe,
    pub parts: Parts,
}

/// What changes while the node lives.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub core: Option<Core>,
    /// Of the QEMU process; stores of an earlier one are ignored.
    pub generation: u64,
    pub stores: Option<Receiver<(u64, Store)>>,
    pub trace: Option<JoinHandle<()>>,
    /// Octets given to the UART, as the trace says.
    pub sent: Arc<AtomicU64>,
    pub mailbox: Option<Mailbox>,
    /// The doorbell rang.
    pub doorbell: bool,
    pub watchdog: Watchdog,
    /// Resets whose fence has not been seen in the trace.
    pub resets: VecDeque<(ResetReason, u32)>,
    /// When power comes back.
    pub restore_at: Option<Duration>,
    /// How long it stays dark behind an armed cut.
    pub dark_time: Duration,
    /// When the QEMU process was ready.
    pub started_at: Duration,
    /// How often in a row QEMU ended by itself soon behind its start.
    pub crashes: u32,
    pub debugger: Option<TcpStream>,
    pub counted: NodeStatus,
    pub stop: Arc<AtomicBool>,
}

impl Node {
    /// Since the bench started.
    fn now(&self) -> Duration {
        self.events.start.elapsed()
    }

    fn event(&self, kind: BenchEventKind) {
        self.events.send(self.index, kind);
    }

    /// Makes public what has changed.
    fn publish(&mut self) {
        let parts = &mut self.parts;
        parts.counted.state = match &parts.core {
            None => NodeState::Off,
            Some(core) if core.running() => NodeState::Running,
            Some(core) if core.locked_up() => NodeState::LockedUp,
            Some(_) => NodeState::Halted,
        };
        parts.counted.process = parts.core.as_ref().map(|core| core.process.id());
        parts.counted.probe_in_use = parts.debugger.is_some();
        parts.counted.tty = self.console.counts();
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = parts.counted;
    }
}
