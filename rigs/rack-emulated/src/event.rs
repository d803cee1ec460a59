//! What the bench saw happen, for whoever listens.

use crate::flash::FiredCut;
use std::time::Duration;

/// Why a core started. The node finds the same in its RAM, with the bits of the nRF's RESETREAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResetReason {
    /// Power came back.
    PowerOn,
    /// Reset pin.
    Pin,
    /// Watchdog.
    Watchdog,
    /// The core asked for it, or a debugger did in its name.
    Soft,
    /// The core locked up.
    Lockup,
}

impl ResetReason {
    /// The word that the firmware reads.
    #[must_use]
    pub const fn word(self) -> u32 {
        match self {
            Self::PowerOn => 0,
            Self::Pin => 1,
            Self::Watchdog => 1 << 1,
            Self::Soft => 1 << 2,
            Self::Lockup => 1 << 3,
        }
    }
}

/// What a node is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// No power.
    #[default]
    Off,
    /// The core runs or sleeps.
    Running,
    /// A debugger holds the core.
    Halted,
    /// The core cannot run: no code, or it crashed again and again.
    LockedUp,
}

/// Something that happened on the bench.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchEvent {
    /// Since the bench started.
    pub at: Duration,
    /// Which node, counted from 0.
    pub node: usize,
    /// What.
    pub kind: BenchEventKind,
}

/// Kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BenchEventKind {
    /// The core starts. Power-on included.
    Reset(ResetReason),
    /// The core locked up. A crash ended QEMU, which is started again with the same flash; what it said is in the words.
    LockedUp {
        /// QEMU's report, or a sentence of the bench.
        words: Vec<String>,
    },
    /// QEMU ended for another reason, and is started again.
    MachineEnded {
        /// What it said.
        words: Vec<String>,
    },
    /// The machine cannot be started, or its flash file not be written; the node is off.
    MachineFailed {
        /// The error.
        reason: String,
    },
    /// Power was switched off.
    PowerOff,
    /// Power went at a flash operation.
    PowerCut(FiredCut),
    /// The firmware said where its radio mailbox is.
    RadioUp {
        /// Address in RAM.
        mailbox: u32,
    },
    /// The firmware's mailbox is not as agreed; the radio is off until the next reset.
    RadioRefused {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A debugger connected to the probe.
    ProbeOpened,
    /// It went.
    ProbeClosed,
    /// A second debugger tried, and was turned away.
    ProbeBusy,
}
