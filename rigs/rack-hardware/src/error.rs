//! What goes wrong on a bench: what, where, and what to do next.
//!
//! A [`BoardError`] is the lab's fault and never the product's: it becomes a [`RackError`], so the verdict is a rack fault.
//! Whoever finds a product failure says so with an event, not with one of these.

use std::fmt;
use std::time::Duration;

use hil_model::Span;
use hil_rack::RackError;

/// Which part of a board's place on the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The debug probe.
    Probe,
    /// The core behind the probe.
    Core,
    /// The flash behind the probe.
    Flash,
    /// The serial port.
    Console,
    /// The power switch.
    Power,
    /// The locks around probe, port and switch.
    Lock,
    /// The board as a whole.
    Board,
    /// The files that are written to it.
    Firmware,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Probe => "probe",
            Self::Core => "core",
            Self::Flash => "flash",
            Self::Console => "console",
            Self::Power => "power",
            Self::Lock => "lock",
            Self::Board => "board",
            Self::Firmware => "firmware",
        })
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing answers to this name.
    #[error("`{name}` is not there")]
    Absent {
        /// Selector, port or program.
        name: String,
    },
    /// It is there, and this user may not open it.
    #[error("`{name}` may not be opened by this user")]
    Forbidden {
        /// Selector or port.
        name: String,
    },
    /// Somebody else has it.
    #[error("`{name}` is in use{}", holder.as_ref().map(|h| format!(" by {h}")).unwrap_or_default())]
    Busy {
        /// Selector or port.
        name: String,
        /// Who, as far as it is known: process, command and since when.
        holder: Option<String>,
    },
    /// Another chip stands behind the serial number.
    #[error("the chip behind it is {found}, the rack file says {expected}")]
    WrongChip {
        /// Of the rack file.
        expected: String,
        /// Read back.
        found: String,
    },
    /// The board is provisioned as another node.
    #[error("it is provisioned as {found:#06x}, the rack file says {expected:#06x}")]
    WrongAddress {
        /// Of the rack file.
        expected: u16,
        /// Read back.
        found: u16,
    },
    /// The identity page holds nothing usable.
    #[error("not provisioned: {why}")]
    NotProvisioned {
        /// What was read.
        why: String,
    },
    /// Access port protection is on. Opening it costs everything on the part.
    #[error("the debug port is locked (APPROTECT)")]
    Locked,
    /// The probe went away in the middle.
    #[error("the probe went away during {during}: {why}")]
    LinkLost {
        /// Operation.
        during: String,
        /// What the library said.
        why: String,
    },
    /// The probe answers, the chip behind it does not.
    #[error("no answer from the chip: {why}")]
    NoTarget {
        /// What the library said.
        why: String,
    },
    /// A wait came to its end; what hung was ended.
    #[error("{operation} took longer than {limit:?}")]
    Deadline {
        /// What was waited for.
        operation: String,
        /// How long.
        limit: Duration,
    },
    /// Flash holds something else than was written.
    #[error("read back differs at {address:#010x}")]
    Verify {
        /// First octet that differs.
        address: u32,
    },
    /// An erase or a write failed.
    #[error("{why}{}", address.map(|a| format!(" at {a:#010x}")).unwrap_or_default())]
    Flash {
        /// Where, if known.
        address: Option<u32>,
        /// What the library said.
        why: String,
    },
    /// The core is locked up.
    #[error("the core is locked up{}", pc.map(|pc| format!(" at {pc:#010x}")).unwrap_or_default())]
    LockedUp {
        /// Program counter, if it could be read.
        pc: Option<u32>,
    },
    /// The board starts again and again.
    #[error("{boots} starts within {within:?} that nobody asked for")]
    RebootLoop {
        /// Starts counted.
        boots: u32,
        /// In this time.
        within: Duration,
    },
    /// What comes over the port is no text and no records.
    #[error("{percent} % of the last {octets} octets are neither text nor records at {baud} baud")]
    Garbage {
        /// Octets looked at.
        octets: usize,
        /// Share that is unreadable.
        percent: u8,
        /// The rate in use.
        baud: u32,
    },
    /// Another firmware than expected runs or is on file.
    #[error("{what}: found {found}, expected {expected}")]
    WrongFirmware {
        /// Which file or record.
        what: String,
        /// What there should be.
        expected: String,
        /// What there is.
        found: String,
    },
    /// The power switch did not do it.
    #[error("{why}")]
    Power {
        /// What was seen.
        why: String,
    },
    /// The board was taken out of service before.
    #[error("out of service: {reason}")]
    Quarantined {
        /// Why.
        reason: String,
    },
    /// The worker process failed.
    #[error("the probe process failed: {why}")]
    Worker {
        /// How.
        why: String,
    },
    /// It cannot be done on this board.
    #[error("cannot {action}: {why}")]
    Refused {
        /// What was asked.
        action: String,
        /// Why not.
        why: String,
    },
    /// The operating system said no.
    #[error("{why}")]
    Io {
        /// What it said.
        why: String,
    },
}

impl Fault {
    /// Whether a board with this fault takes no further part in a run.
    #[must_use]
    pub const fn quarantines(&self) -> bool {
        match self {
            Self::Absent { .. }
            | Self::Forbidden { .. }
            | Self::WrongChip { .. }
            | Self::WrongAddress { .. }
            | Self::Locked
            | Self::LinkLost { .. }
            | Self::NoTarget { .. }
            | Self::Deadline { .. }
            | Self::Verify { .. }
            | Self::Flash { .. }
            | Self::RebootLoop { .. }
            | Self::Garbage { .. }
            | Self::Power { .. }
            | Self::Quarantined { .. } => true,
            Self::Busy { .. }
            | Self::NotProvisioned { .. }
            | Self::LockedUp { .. }
            | Self::WrongFirmware { .. }
            | Self::Worker { .. }
            | Self::Refused { .. }
            | Self::Io { .. } => false,
        }
    }

    /// What to do next, for whoever stands at the bench.
    #[must_use]
    pub const fn next(&self, part: Part) -> &'static str {
        match (self, part) {
            (Self::Absent { .. }, Part::Probe) => {
                "plug the probe in, or correct `probe` in the rack file (`hil doctor --suggest` lists what is plugged in)"
            }
            (Self::Absent { .. }, Part::Console) => {
                "plug the board in, or correct `console` in the rack file (USB serial and interface number)"
            }
            (Self::Absent { .. }, _) => "correct its name in the rack file, or install it",
            (Self::Forbidden { .. }, _) => {
                "give this user access: a udev rule for the vendor, or membership in the group of the device"
            }
            (Self::Busy { .. }, _) => "wait for the other process, or end it; then run `hil doctor` again",
            (Self::WrongChip { .. }, _) => {
                "probes were swapped: correct `probe` or `device-id` in the rack file; nothing was written"
            }
            (Self::WrongAddress { .. }, _) => {
                "correct `node` in the rack file, or provision the board anew with `hil flash --readdress`; nothing was written"
            }
            (Self::NotProvisioned { .. }, _) => "provision it: `hil flash --rack FILE --board NODE`",
            (Self::Locked, _) => {
                "opening it erases everything, also the evidence: read the board's story first, then `hil flash --erase-all`"
            }
            (Self::LinkLost { .. }, _) => {
                "check cable and hub, power the board off and on, then provision it anew: its flash may be half written"
            }
            (Self::NoTarget { .. }, _) => "check the board's power and the SWD cable, then `hil power cycle`",
            (Self::Deadline { .. }, Part::Probe | Part::Core | Part::Flash) => {
                "pull the probe's USB cable and plug it in again, or lower `speed-khz` in the rack file"
            }
            (Self::Deadline { .. }, _) => "look at the part named here, then run `hil doctor` again",
            (Self::Verify { .. }, _) => {
                "flash it again; if it happens twice at one address, the part is worn: replace the board"
            }
            (Self::Flash { .. }, _) => {
                "flash it again under reset; pages locked by running firmware are free only until it starts"
            }
            (Self::LockedUp { .. }, _) => {
                "reset it; if it locks up again, write bootloader and image anew with `hil flash`"
            }
            (Self::RebootLoop { .. }, _) => {
                "read its console (`hil console`), then write bootloader and image anew with `hil flash`"
            }
            (Self::Garbage { .. }, _) => "set `baud` of the console in the rack file to the firmware's 115200",
            (Self::WrongFirmware { .. }, _) => "build it with `cargo xtask firmware`, then `hil flash`",
            (Self::Power { .. }, _) => "try `hil power self-test`; many hubs say they switch ports and do not",
            (Self::Quarantined { .. }, _) => "mend the board, then run `hil doctor`",
            (Self::Worker { .. }, _) => "run it again; if it comes back, this is a fault of the harness",
            (Self::Refused { .. }, _) => "correct the rack file, or ask another board",
            (Self::Io { .. }, _) => "see the message of the operating system",
        }
    }
}

/// Something is wrong with a board's place on the bench.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{board}: {part}: {fault}; {}", self.next())]
pub struct BoardError {
    /// Which board, by its node: `n03`.
    pub board: String,
    /// Which part of it.
    pub part: Part,
    /// What was found.
    pub fault: Fault,
}

impl BoardError {
    /// The fault of a part of a board.
    pub fn new(board: impl Into<String>, part: Part, fault: Fault) -> Self {
        Self { board: board.into(), part, fault }
    }

    /// What to do next.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        self.fault.next(self.part)
    }
}

impl From<BoardError> for RackError {
    fn from(error: BoardError) -> Self {
        let (next, part) = (error.next().to_owned(), format!("{} ({})", error.board, error.part));
        match error.fault {
            Fault::Deadline { operation, limit } => Self::Timeout {
                what: format!("{part}: {operation}"),
                limit: Span::nanos(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)),
                next,
            },
            Fault::Refused { action, why } => Self::Refused { action: format!("{action} on {part}"), why },
            fault => Self::Broken { part, what: fault.to_string(), next },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where_what_and_what_next() {
        let error = BoardError::new("n03", Part::Probe, Fault::Absent { name: "1366:1051:000683459357".to_owned() });
        let text = error.to_string();
        assert!(text.starts_with("n03: probe: `1366:1051:000683459357` is not there; plug"), "{text}");
        assert!(matches!(RackError::from(error), RackError::Broken { .. }));
    }

    #[test]
    fn a_wait_stays_a_wait_as_a_rack_error() {
        let fault = Fault::Deadline { operation: "attach".to_owned(), limit: Duration::from_secs(10) };
        let error = RackError::from(BoardError::new("n01", Part::Probe, fault));
        let RackError::Timeout { what, limit, .. } = error else { panic!("{error}") };
        assert_eq!((what.as_str(), limit), ("n01 (probe): attach", Span::secs(10)));
    }
}
