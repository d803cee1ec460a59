//! Trace records for the debug UART: what a lab reads off a board without disturbing it.
//!
//! A record travels as `00 COBS(record || CRC-16) 00`, so a reader that starts in the middle, or behind garbage and
//! console text, finds the next record at the next zero octet. Records are for people and witnesses: nothing in the
//! firmware reads them, and losing one changes nothing.

mod frame;
#[cfg(test)]
mod tests;

pub use frame::{Decoder, FrameError, MAX_FRAME, encode_frame};

use crate::codec::wire_enum;
use crate::reason::Reason;
use crate::update;
use crate::vendor::BootOutcome;
use crate::version::Version;

/// Longest text of a panic record, in octets; the rest is cut off.
pub const MAX_TEXT: usize = 64;
/// Longest record without CRC and framing, in octets.
pub const MAX_RECORD: usize = HEAD + 5 + MAX_TEXT;
/// Kind, sequence and time.
const HEAD: usize = 6;

wire_enum! {
    /// How far a configuration migration has come.
    pub enum MigrationStage {
        /// The handler begins.
        Started = 0,
        /// The new record is written; the old one is kept until confirmation.
        Done = 1,
        /// The handler failed.
        Failed = 2,
    }
}

wire_enum! {
    /// How far a first-boot confirmation has come.
    pub enum ConfirmationStage {
        /// The confirmation was sent.
        Sent = 0,
        /// The gateway acknowledged it.
        Acknowledged = 1,
        /// The running image is confirmed in the journal.
        Recorded = 2,
    }
}

wire_enum! {
    /// What one pass of the bootloader came to.
    pub enum BootVerdict {
        /// Bank A runs, as before.
        Normal = 0,
        /// A new image runs for the first time.
        Trial = 1,
        /// The staged image was refused in this boot; bank A runs.
        Rejected = 2,
        /// The image before the trial was installed again in this boot.
        RolledBack = 3,
        /// Bank A was copied from golden again in this boot.
        Healed = 4,
        /// Nothing runs: the bootloader stays.
        Stuck = 5,
    }
}

wire_enum! {
    /// Why the core was reset, as the bootloader found it.
    pub enum ResetCause {
        /// Power came up, or a brown-out.
        PowerOn = 0,
        /// The reset pin, or a debug probe.
        Pin = 1,
        /// Firmware asked for it.
        Software = 2,
        /// The watchdog expired.
        Watchdog = 3,
        /// The core locked up.
        Lockup = 4,
    }
}

/// Text of at most [`MAX_TEXT`] octets.
pub type Text = heapless::String<MAX_TEXT>;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TraceEvent {
    /// What the bootloader decided.
    Boot {
        /// Total resets, this one included.
        boot_count: u32,
        /// The decision.
        outcome: BootOutcome,
        /// Why.
        reason: Reason,
        /// The image that runs.
        running: Version,
        /// The image that outcome and reason speak of.
        about: Version,
    },
    /// The Firmware Update phase changed.
    Phase {
        /// The new phase.
        phase: update::Phase,
        /// Why; [`Reason::None`] when nothing was refused.
        reason: Reason,
    },
    /// The configuration was opened.
    ConfigOpened {
        /// Its schema version.
        version: u16,
    },
    /// The configuration is brought to another schema.
    Migration {
        /// Schema version before.
        from: u16,
        /// Schema version after.
        to: u16,
        /// How far.
        stage: MigrationStage,
    },
    /// The first-boot confirmation came a step further.
    Confirmation {
        /// The boot it is about.
        boot_count: u32,
        /// How far.
        stage: ConfirmationStage,
    },
    /// The firmware panicked.
    Panic {
        /// Line in the source file.
        line: u32,
        /// File and message, cut to [`MAX_TEXT`] octets.
        text: Text,
    },
    /// What this boot, and not one before it, came to.
    BootPass {
        /// The result.
        verdict: BootVerdict,
        /// Why the core was reset.
        cause: ResetCause,
        /// Why rejected, rolled back, healed or stuck.
        reason: Reason,
        /// Signatures that were verified.
        signature_checks: u8,
        /// Time from the start of the bootloader to its last decision, in milliseconds.
        took_ms: u32,
    },
    /// The bootloader jumps into bank A.
    ImageJump {
        /// The image is on trial.
        trial: bool,
        /// Its version.
        version: Version,
        /// Configuration schema it works with.
        config_version: u16,
        /// SHA-256 that the image states and that was just verified.
        sha256: [u8; 32],
    },
    /// A flash operation or a journal record failed; the firmware goes on with what it has.
    FlashFault,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceRecord {
    /// Counts up by one per record since the reset and wraps; a gap is a lost record.
    pub sequence: u8,
    /// Time since the reset in milliseconds.
    pub uptime_ms: u32,
    /// What happened.
    pub event: TraceEvent,
}

/// Kinds of records on the wire.
mod kind {
    pub const BOOT: u8 = 1;
    pub const PHASE: u8 = 2;
    pub const CONFIG_OPENED: u8 = 3;
    pub const MIGRATION: u8 = 4;
    pub const CONFIRMATION: u8 = 5;
    pub const PANIC: u8 = 6;
    pub const BOOT_PASS: u8 = 7;
    pub const IMAGE_JUMP: u8 = 8;
    pub const FLASH_FAULT: u8 = 9;
}

/// An encoded record, without CRC and framing.
pub(crate) type Encoded = heapless::Vec<u8, { MAX_RECORD }>;

impl TraceRecord {
    /// The octets of the record. Every record fits, so the pushes cannot fail.
    pub(crate) fn encode(&self) -> Encoded {
        let mut out = Encoded::new();
        let mut put = |octets: &[u8]| {
            let _ = out.extend_from_slice(octets);
        };
        let kind = match self.event {
            TraceEvent::Boot { .. } => kind::BOOT,
            TraceEvent::Phase { .. } => kind::PHASE,
            TraceEvent::ConfigOpened { .. } => kind::CONFIG_OPENED,
            TraceEvent::Migration { .. } => kind::MIGRATION,
            TraceEvent::Confirmation { .. } => kind::CONFIRMATION,
            TraceEvent::Panic { .. } => kind::PANIC,
            TraceEvent::BootPass { .. } => kind::BOOT_PASS,
            TraceEvent::ImageJump { .. } => kind::IMAGE_JUMP,
            TraceEvent::FlashFault => kind::FLASH_FAULT,
        };
        put(&[kind, self.sequence]);
        put(&self.uptime_ms.to_le_bytes());
        match &self.event {
            TraceEvent::Boot { boot_count, outcome, reason, running, about } => {
                put(&boot_count.to_le_bytes());
                put(&[*outcome as u8, *reason as u8]);
                put(&running.to_bytes());
                put(&about.to_bytes());
            }
            TraceEvent::Phase { phase, reason } => put(&[*phase as u8, *reason as u8]),
            TraceEvent::ConfigOpened { version } => put(&version.to_le_bytes()),
            TraceEvent::Migration { from, to, stage } => {
                put(&from.to_le_bytes());
                put(&to.to_le_bytes());
                put(&[*stage as u8]);
            }
            TraceEvent::Confirmation { boot_count, stage } => {
                put(&boot_count.to_le_bytes());
                put(&[*stage as u8]);
            }
            TraceEvent::Panic { line, text } => {
                put(&line.to_le_bytes());
                put(text.as_bytes());
            }
            TraceEvent::BootPass { verdict, cause, reason, signature_checks, took_ms } => {
                put(&[*verdict as u8, *cause as u8, *reason as u8, *signature_checks]);
                put(&took_ms.to_le_bytes());
            }
            TraceEvent::ImageJump { trial, version, config_version, sha256 } => {
                put(&[u8::from(*trial)]);
                put(&version.to_bytes());
                put(&config_version.to_le_bytes());
                put(sha256);
            }
            TraceEvent::FlashFault => {}
        }
        out
    }

    /// Reads a record; `None` if it is none of ours.
    pub(crate) fn decode(octets: &[u8]) -> Option<Self> {
        let (&[kind, sequence, t0, t1, t2, t3], rest) = octets.split_first_chunk()?;
        let mut r = Fields(rest);
        let event = match kind {
            kind::BOOT => TraceEvent::Boot {
                boot_count: u32::from_le_bytes(r.array()?),
                outcome: BootOutcome::from_u8(r.octet()?)?,
                reason: Reason::from_u8(r.octet()?)?,
                running: Version::from_bytes(r.array()?),
                about: Version::from_bytes(r.array()?),
            },
            kind::PHASE => {
                TraceEvent::Phase { phase: update::Phase::from_u8(r.octet()?)?, reason: Reason::from_u8(r.octet()?)? }
            }
            kind::CONFIG_OPENED => TraceEvent::ConfigOpened { version: u16::from_le_bytes(r.array()?) },
            kind::MIGRATION => TraceEvent::Migration {
                from: u16::from_le_bytes(r.array()?),
                to: u16::from_le_bytes(r.array()?),
                stage: MigrationStage::from_u8(r.octet()?)?,
            },
            kind::CONFIRMATION => TraceEvent::Confirmation {
                boot_count: u32::from_le_bytes(r.array()?),
                stage: ConfirmationStage::from_u8(r.octet()?)?,
            },
            kind::PANIC => TraceEvent::Panic {
                line: u32::from_le_bytes(r.array()?),
                text: Text::try_from(core::str::from_utf8(core::mem::take(&mut r.0)).ok()?).ok()?,
            },
            kind::BOOT_PASS => TraceEvent::BootPass {
                verdict: BootVerdict::from_u8(r.octet()?)?,
                cause: ResetCause::from_u8(r.octet()?)?,
                reason: Reason::from_u8(r.octet()?)?,
                signature_checks: r.octet()?,
                took_ms: u32::from_le_bytes(r.array()?),
            },
            kind::IMAGE_JUMP => TraceEvent::ImageJump {
                trial: match r.octet()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                },
                version: Version::from_bytes(r.array()?),
                config_version: u16::from_le_bytes(r.array()?),
                sha256: r.array()?,
            },
            kind::FLASH_FAULT => TraceEvent::FlashFault,
            _ => return None,
        };
        r.0.is_empty().then_some(TraceRecord { sequence, uptime_ms: u32::from_le_bytes([t0, t1, t2, t3]), event })
    }
}

/// As much of a text as a record holds, cut between characters.
#[must_use]
pub fn cut_text(text: &str) -> Text {
    let mut cut = Text::new();
    for character in text.chars() {
        if cut.push(character).is_err() {
            break;
        }
    }
    cut
}

/// What is left of a record.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn octet(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }
}
