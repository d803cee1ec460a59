//! What a node asks of its target besides sending: resets and trace lines; and why it could not start.

use heapless::Deque;
use mk_wire::{Reason, update};

use crate::config::ConfigError;

/// Something the target has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Reset now: an image waits to be installed, or a trial was given up. The target drops the node.
    Reset,
    /// Write a trace line.
    Trace(TraceEvent),
}

/// What a node says on its debug UART.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TraceEvent {
    /// The config store was opened.
    ConfigOpened {
        /// Schema of the record in use.
        schema: u16,
        /// The record is the migrated one of a trial.
        trial: bool,
    },
    /// One step of a migration ended.
    Migration {
        /// Schema before.
        from: u16,
        /// Schema after.
        to: u16,
        /// The handler succeeded and its result is stored.
        ok: bool,
    },
    /// The update phase changed, or a request was refused.
    Phase {
        /// The phase now.
        phase: update::Phase,
        /// Why; [`Reason::None`] where nothing went wrong.
        reason: Reason,
    },
    /// Firmware Metadata was refused. Nothing was written.
    MetadataRefused(Reason),
    /// The running image is confirmed now.
    Confirmed {
        /// The boot that confirmed.
        boot_count: u32,
    },
    /// A flash operation or a journal record failed; the node goes on with what it has.
    FlashFault,
    /// Trace lines were lost: the queue was full.
    Lost {
        /// How many.
        lines: u16,
    },
}

/// Why the application did not start. The target resets: boot rolls a trial back, and starts anything else again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StartError {
    /// The config store could not be opened.
    #[error("config store: {0}")]
    Config(#[from] ConfigError),
    /// The stored configuration could not be brought to the firmware's schema. A trial was given up in the boot journal, so
    /// the reset leads to the old image and its untouched configuration.
    #[error("configuration of schema {from} cannot be migrated to {to}")]
    Migration {
        /// Schema of the record where the chain of handlers broke.
        from: u16,
        /// Schema that was wanted.
        to: u16,
    },
    /// The stored configuration is newer than the firmware, which boot should have refused.
    #[error("configuration of schema {stored} is newer than the firmware, which works with {made_for}")]
    ConfigTooNew {
        /// Schema stored.
        stored: u16,
        /// Schema of the firmware.
        made_for: u16,
    },
    /// The boot journal or the update state could not be read or written.
    #[error("flash fault")]
    Flash,
    /// The block buffer is shorter than a flash page, or the address is no unicast address.
    #[error("the board or its settings cannot work")]
    Unusable,
}

/// Effects that wait at most; what comes on top is counted and reported as lost. A reset is never lost.
const WAITING: usize = 16;

/// The queue of effects.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    traces: Deque<TraceEvent, WAITING>,
    lost: u16,
    reset: bool,
}

impl Effects {
    pub fn trace(&mut self, event: TraceEvent) {
        if self.traces.push_back(event).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }

    pub fn reset(&mut self) {
        self.reset = true;
    }

    /// Traces first, so that the reason for a reset is out before it happens.
    pub fn pop(&mut self) -> Option<Effect> {
        if let Some(event) = self.traces.pop_front() {
            return Some(Effect::Trace(event));
        }
        if self.lost > 0 {
            let lines = core::mem::take(&mut self.lost);
            return Some(Effect::Trace(TraceEvent::Lost { lines }));
        }
        core::mem::take(&mut self.reset).then_some(Effect::Reset)
    }
}
