//! Everything that comes in from the bench, through one door, in the order in which it was noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use hil_model::fact::ResetCause;
use mk_linux::api::{GatewayEvent, MeshosEvent};
use mk_wire::trace::TraceRecord;

use super::dump::FlashDump;
use super::hand::Done;
use crate::error::BoardError;

/// What power and reset lines show, where somebody watches them.
#[derive(Debug, Clone)]
pub enum Sensed {
    /// The core starts.
    Reset {
        /// Why.
        cause: ResetCause,
        /// The flash at that moment, before the bootloader's first instruction, where the surroundings have a copy.
        flash: Option<Arc<FlashDump>>,
    },
    /// The core locked up.
    Crashed,
    /// Power went.
    PowerOff,
    /// Power went at a flash operation.
    PowerCut {
        /// Where.
        address: u32,
        /// Octets before.
        before: [u8; 4],
        /// Octets after.
        after: [u8; 4],
    },
}

/// Something came in.
#[derive(Debug)]
pub enum Input {
    /// A trace record of a node.
    Trace {
        /// Which board.
        place: usize,
        /// When its last octet was read.
        at: Instant,
        /// The record.
        record: Box<TraceRecord>,
    },
    /// A line of console text.
    Text {
        /// Which board.
        place: usize,
        /// When.
        at: Instant,
        /// The line.
        text: String,
    },
    /// Something on its power and reset lines.
    Sensed {
        /// Which board.
        place: usize,
        /// When.
        at: Instant,
        /// What.
        what: Sensed,
    },
    /// An order was carried out.
    Done {
        /// Which board.
        place: usize,
        /// When.
        at: Instant,
        /// What came of it.
        done: Done,
    },
    /// An order failed, or the console is gone.
    Failed {
        /// Which board.
        place: usize,
        /// What is wrong.
        error: BoardError,
    },
    /// A gateway process says something.
    Gateway {
        /// Which gateway, by place.
        place: usize,
        /// When it was read.
        at: Instant,
        /// What.
        event: Box<GatewayEvent>,
    },
    /// The MeshOS process says something.
    Meshos {
        /// When it was read.
        at: Instant,
        /// What.
        event: Box<MeshosEvent>,
    },
    /// A process ended that nobody had ended, or its events cannot be read.
    ProcessLost {
        /// Which.
        name: String,
        /// What was seen.
        why: String,
    },
}

/// The door.
#[derive(Debug, Clone)]
pub struct Inputs {
    sender: mpsc::Sender<Input>,
    closed: Arc<AtomicBool>,
}

impl Inputs {
    /// A door and its inside.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Input>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, closed: Arc::new(AtomicBool::new(false)) }, receiver)
    }

    /// Lets something in. Nobody is inside any more after the run: then it is nobody's concern.
    pub fn send(&self, input: Input) {
        if self.sender.send(input).is_err() {
            self.close();
        }
    }

    /// The run is over.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}
