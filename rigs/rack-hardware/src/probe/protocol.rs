//! What harness and probe process say to each other: one JSON object per line, octets in base64.
//!
//! The probe process exists because the probe library waits for ever in places (a TCP link without a deadline, an erase
//! status that never comes): a process can be ended, a thread cannot. Requests are answered in order; only
//! [`Reply::Progress`] comes in between.

use serde::{Deserialize, Serialize};

/// Version of this protocol: both ends come from one binary, unless somebody mixed two builds.
pub const PROTOCOL: u16 = 1;

/// Octets in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

impl Serialize for Octets {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let decoded = base64::engine::general_purpose::STANDARD_NO_PAD.decode(text.as_bytes());
        decoded.map(Self).map_err(serde::de::Error::custom)
    }
}

/// A run of octets and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// First address, as the probe sees it.
    pub address: u32,
    /// What to write.
    pub octets: Octets,
}

/// How to attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachTo {
    /// `VID:PID[-interface]:serial`.
    pub selector: String,
    /// Chip name.
    pub chip: String,
    /// Description of the chip, where the library has none.
    pub target_yaml: Option<String>,
    /// Clock of the debug port, kHz.
    pub speed_khz: Option<u32>,
    /// Hold the core in reset while attaching, so that firmware does not start first.
    pub under_reset: bool,
    /// Allow the library to erase the whole part in order to open it. Only ever on somebody's explicit word.
    pub erase_all: bool,
}

/// What is asked of the probe process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Who are you?
    Hello,
    /// Which probes are plugged in?
    List,
    /// Attach.
    Attach(AttachTo),
    /// Let go of the probe; the core runs on.
    Detach,
    /// Read memory.
    Read {
        /// First address.
        address: u32,
        /// Octets.
        length: u32,
    },
    /// Write memory: RAM or registers, never flash.
    Write(Chunk),
    /// Write flash, whole sectors at a time, and read it back. What else a touched sector held is kept.
    Flash {
        /// What goes where.
        chunks: Vec<Chunk>,
    },
    /// Erase whole sectors.
    Erase {
        /// First address, the start of a sector.
        start: u32,
        /// Octets, whole sectors.
        length: u32,
    },
    /// Stop the core.
    Halt,
    /// Let the core run.
    Run,
    /// Reset the core by its system reset request.
    Reset {
        /// Stop it at its first instruction.
        halt: bool,
    },
    /// Pulse the reset pin. Lets go of the core and attaches again.
    ResetPin,
    /// What does the core do?
    Status,
}

/// A probe that is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSeen {
    /// Selector, complete with serial; `None` for a probe without one, which no rack file can name.
    pub selector: Option<String>,
    /// What it calls itself.
    pub name: String,
    /// Whether this user may open it.
    pub accessible: bool,
}

/// What the core does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoreState {
    /// It runs.
    Running,
    /// It is stopped.
    Halted,
    /// It sleeps.
    Sleeping,
    /// It is locked up.
    LockedUp,
    /// The probe cannot tell.
    Unknown,
}

/// What a flash operation is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlashStage {
    /// Reading what has to be kept.
    Keep,
    /// Erasing.
    Erase,
    /// Writing.
    Program,
    /// Reading back.
    Verify,
}

/// Kinds of failure in the probe process; [`crate::Fault`] says what they mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Failure {
    /// No such probe.
    Absent,
    /// The probe may not be opened.
    Forbidden,
    /// Somebody else has the probe.
    Busy,
    /// The part is locked.
    Locked,
    /// The link to the probe broke.
    LinkLost,
    /// The chip does not answer.
    NoTarget,
    /// Flash reads back otherwise.
    Verify {
        /// First octet that differs.
        address: u32,
    },
    /// Erase or write failed.
    Flash {
        /// Where, if known.
        address: Option<u32>,
    },
    /// The core is locked up.
    LockedUp,
    /// The request makes no sense now.
    Refused,
    /// Anything else.
    Other,
}

/// What the probe process answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello {
        /// [`PROTOCOL`].
        protocol: u16,
    },
    /// To [`Request::List`].
    Probes {
        /// Those plugged in.
        probes: Vec<ProbeSeen>,
    },
    /// To [`Request::Attach`].
    Attached {
        /// Name of the probe.
        probe: String,
        /// Name of the chip.
        chip: String,
    },
    /// To [`Request::Read`].
    Octets {
        /// What was read.
        octets: Octets,
    },
    /// To [`Request::Status`], [`Request::Halt`], [`Request::Run`] and both resets.
    Core {
        /// What it does.
        state: CoreState,
        /// Program counter, where the core is stopped.
        pc: Option<u32>,
    },
    /// During [`Request::Flash`].
    Progress {
        /// At what.
        stage: FlashStage,
        /// Octets done of this stage.
        done: u64,
        /// Octets in all of this stage.
        total: u64,
    },
    /// It is done.
    Done,
    /// It failed.
    Failed {
        /// How.
        failure: Failure,
        /// What the library said, its causes included.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn octets_survive_a_line_of_json() {
        let chunk = Chunk { address: 0x1_0000, octets: Octets((0..=255).collect()) };
        let line = serde_json::to_string(&Request::Flash { chunks: vec![chunk.clone()] }).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), Request::Flash { chunks: vec![chunk] });
    }

    #[test]
    fn a_failure_keeps_its_address() {
        let reply = Reply::Failed { failure: Failure::Verify { address: 7 }, why: "x".to_owned() };
        let line = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&line).unwrap(), reply);
    }
}
