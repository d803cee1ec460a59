//! One board and its owner: a task that holds probe, console and power switch, and does one thing at a time.
//!
//! Everybody else holds a [`BoardHandle`] and asks. What the board says by itself comes as [`BoardEvent`]s. A board that
//! misbehaves is taken out of service with its reason ([`Standing::Quarantined`]); everything asked of it from then on is
//! refused with that reason, and the others go on. Nothing is written before chip and address were compared with the rack
//! file.

mod owner;
mod pump;
mod reboots;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mk_boot::geometry::{Geometry, Memory, Region};
use mk_wire::trace::TraceRecord;
use tokio::sync::{mpsc, oneshot, watch};

pub use reboots::{RebootLimit, RebootWatch};

use crate::boards::ResetKind;
use crate::definition::BoardDefinition;
use crate::error::{BoardError, Fault, Part};
use crate::identity::{Purpose, Sighting};
use crate::locks::LockFolder;
use crate::power::{PowerSwitch, SelfTest, SelfTestLimits};
use crate::probe::{AttachOptions, Attached, CoreStatus, Deadlines, FlashPart, FlashProgress, WorkerCommand};
use crate::provision::{Firmware, ProvisionPlan};

/// Requests that may wait for a board.
const REQUESTS: usize = 16;
/// Events of a board that may wait to be read; more are dropped and counted.
const EVENTS: usize = 4_096;

/// What all boards of a rack share.
#[derive(Debug, Clone)]
pub struct BoardSettings {
    /// How probe processes are started.
    pub worker: WorkerCommand,
    /// Deadlines of probe operations.
    pub deadlines: Deadlines,
    /// Where byte-exact console logs go, one file a board; none are kept without.
    pub logs: Option<PathBuf>,
    /// Where locks are.
    pub locks: LockFolder,
    /// What others read of the holder of a lock, such as `hil run --rack lab.yaml`.
    pub command: String,
    /// How many starts nobody asked for are too many.
    pub reboots: RebootLimit,
    /// How long power stays off in a cycle.
    pub power_off_for: Duration,
    /// How long a board may take from power to its first sign of life.
    pub start_within: Duration,
    /// Whether the console is opened with the board. Without it a board can be looked at whose port is broken.
    pub console: bool,
}

impl BoardSettings {
    /// Settings for a lab.
    #[must_use]
    pub fn new(worker: WorkerCommand, command: impl Into<String>) -> Self {
        Self {
            worker,
            deadlines: Deadlines::default(),
            logs: None,
            locks: LockFolder::default(),
            command: command.into(),
            reboots: RebootLimit::default(),
            power_off_for: Duration::from_secs(1),
            start_within: Duration::from_secs(15),
            console: true,
        }
    }
}

/// How a board stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It takes part.
    InService,
    /// It does not, and this is why.
    Quarantined(BoardError),
    /// Its owner has ended.
    Closed,
}

/// Something a board did by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct BoardEvent {
    /// When it was read.
    pub at: Instant,
    /// What.
    pub what: BoardFact,
}

/// What a board did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoardFact {
    /// A record came over the console.
    Trace(TraceRecord),
    /// A line of text came over the console.
    Text(String),
    /// Octets came that are neither.
    Garbage {
        /// How many.
        octets: usize,
    },
    /// It was taken out of service.
    Quarantined(BoardError),
    /// The reader of events was too slow, and so many were dropped. The console log has them.
    Lost {
        /// How many.
        events: u64,
    },
}

/// Switching a board's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerAction {
    /// On.
    On,
    /// Off.
    Off,
    /// Off, a wait, on.
    Cycle,
}

/// What a board is asked, and where the answer goes. Answers carry what the owner found.
pub(crate) enum Ask {
    Attach(AttachOptions, Answer<Attached>),
    Detach(Answer<()>),
    Sight(Answer<Sighting>),
    Identify(Purpose, Answer<Sighting>),
    Read(u32, u32, Answer<Vec<u8>>),
    Write(u32, Vec<u8>, Answer<()>),
    Flash(Vec<FlashPart>, Purpose, Option<ProgressSender>, Answer<()>),
    Erase(u32, u32, Answer<()>),
    EraseEverything(Answer<Attached>),
    Halt(Answer<CoreStatus>),
    Run(Answer<CoreStatus>),
    Status(Answer<CoreStatus>),
    Reset(ResetKind, bool, Answer<()>),
    Recover(Answer<ResetKind>),
    Provision(Arc<ProvisionPlan>, Purpose, Option<ProgressSender>, Answer<Sighting>),
    Power(PowerAction, Answer<()>),
    PowerState(Answer<Option<bool>>),
    PowerSelfTest(SelfTestLimits, Answer<SelfTest>),
    Send(Vec<u8>, Answer<()>),
    OpenConsole(Answer<()>),
    Close(Answer<()>),
}

type Answer<T> = oneshot::Sender<Result<T, BoardError>>;
/// Where flash progress goes; a slow reader misses some.
pub type ProgressSender = mpsc::Sender<FlashProgress>;

/// A board, for whoever wants something of it. Clones ask the same board.
#[derive(Debug, Clone)]
pub struct BoardHandle {
    definition: Arc<BoardDefinition>,
    geometry: &'static Geometry,
    asks: mpsc::Sender<Ask>,
    standing: Arc<watch::Sender<Standing>>,
}

/// Takes a board's locks, opens its console, and starts its owner. The probe is attached by the first who asks. To be
/// called within a tokio runtime. `power` overrides the switch of the definition.
///
/// # Errors
/// Probe, port or switch are locked by another process, or the console cannot be opened.
pub fn open(
    definition: BoardDefinition,
    power: Option<Box<dyn PowerSwitch>>,
    settings: &BoardSettings,
) -> Result<(BoardHandle, mpsc::Receiver<BoardEvent>), BoardError> {
    let name = definition.name();
    let Some(geometry) = definition.driver.geometry() else {
        let why = format!("there is no board table `{}`", definition.driver.table);
        return Err(BoardError::new(name, Part::Board, Fault::Refused { action: "open".to_owned(), why }));
    };
    let definition = Arc::new(definition);
    let (standing, _) = watch::channel(Standing::InService);
    let standing = Arc::new(standing);
    let (events_in, events) = mpsc::channel(EVENTS);
    let owner = owner::Owner::new(Arc::clone(&definition), power, settings.clone(), Arc::clone(&standing), events_in)?;
    let (asks, requests) = mpsc::channel(REQUESTS);
    tokio::spawn(owner.run(requests));
    Ok((BoardHandle { definition, geometry, asks, standing }, events))
}

impl BoardHandle {
    /// Its name: the node's.
    #[must_use]
    pub fn name(&self) -> String {
        self.definition.name()
    }

    /// What the rack file says of it.
    #[must_use]
    pub fn definition(&self) -> &BoardDefinition {
        &self.definition
    }

    /// Its flash map.
    #[must_use]
    pub const fn geometry(&self) -> &'static Geometry {
        self.geometry
    }

    /// How it stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Tells when its standing changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Takes it out of service. The first reason stays.
    pub fn quarantine(&self, reason: BoardError) {
        pump::quarantine(&self.standing, reason);
    }

    /// Attaches the probe.
    ///
    /// # Errors
    /// As [`crate::probe::Probe::attach`].
    pub async fn attach(&self, options: AttachOptions) -> Result<Attached, BoardError> {
        self.ask(|answer| Ask::Attach(options, answer)).await
    }

    /// Lets go of the probe; the core runs on.
    ///
    /// # Errors
    /// The owner is gone.
    pub async fn detach(&self) -> Result<(), BoardError> {
        self.ask(Ask::Detach).await
    }

    /// Reads chip id and identity page, and compares nothing.
    ///
    /// # Errors
    /// As [`BoardHandle::read`].
    pub async fn sight(&self) -> Result<Sighting, BoardError> {
        self.ask(Ask::Sight).await
    }

    /// Reads chip id and identity page and compares them with the rack file.
    ///
    /// # Errors
    /// [`Fault::WrongChip`], [`Fault::WrongAddress`], [`Fault::NotProvisioned`], and as [`BoardHandle::read`].
    pub async fn identify(&self, purpose: Purpose) -> Result<Sighting, BoardError> {
        self.ask(|answer| Ask::Identify(purpose, answer)).await
    }

    /// Reads memory, as the probe sees addresses. The core keeps running.
    ///
    /// # Errors
    /// As [`crate::probe::Probe::read`].
    pub async fn read(&self, address: u32, length: u32) -> Result<Vec<u8>, BoardError> {
        self.ask(|answer| Ask::Read(address, length, answer)).await
    }

    /// Reads a region of one of the two flash memories, by the addresses of the board's table.
    ///
    /// # Errors
    /// As [`BoardHandle::read`].
    pub async fn read_region(&self, memory: Memory, region: Region) -> Result<Vec<u8>, BoardError> {
        self.read(self.definition.driver.probe_address(memory, region.start), region.length).await
    }

    /// Compares what lies in flash with a firmware file.
    ///
    /// # Errors
    /// [`Fault::WrongFirmware`] when it is another, and as [`BoardHandle::read`].
    pub async fn holds(&self, firmware: &Firmware) -> Result<(), BoardError> {
        for part in &firmware.parts {
            let length = u32::try_from(part.octets.len()).unwrap_or(u32::MAX);
            let held = self.read(part.address, length).await?;
            if held != part.octets {
                let short = |octets: &[u8]| fixture_images::hex(&fixture_images::sha256(octets)[..4]);
                let what = format!("{} at {:#010x}", firmware.name, part.address);
                let fault = Fault::WrongFirmware { what, expected: short(&part.octets), found: short(&held) };
                return Err(BoardError::new(self.name(), Part::Firmware, fault));
            }
        }
        Ok(())
    }

    /// Writes RAM or registers.
    ///
    /// # Errors
    /// As [`BoardHandle::read`].
    pub async fn write_memory(&self, address: u32, octets: Vec<u8>) -> Result<(), BoardError> {
        self.ask(|answer| Ask::Write(address, octets, answer)).await
    }

    /// Compares the board's identity, then writes flash and reads it back. What touched sectors held beside the new octets
    /// stays. The core is left stopped.
    ///
    /// # Errors
    /// As [`BoardHandle::identify`] and [`crate::probe::Probe::flash`].
    pub async fn flash(
        &self,
        parts: Vec<FlashPart>,
        purpose: Purpose,
        progress: Option<ProgressSender>,
    ) -> Result<(), BoardError> {
        self.ask(|answer| Ask::Flash(parts, purpose, progress, answer)).await
    }

    /// Compares the board's identity, then erases whole sectors.
    ///
    /// # Errors
    /// As [`BoardHandle::flash`].
    pub async fn erase(&self, start: u32, length: u32) -> Result<(), BoardError> {
        self.ask(|answer| Ask::Erase(start, length, answer)).await
    }

    /// Opens a locked part by erasing everything on it, the evidence included. Only on somebody's explicit word. A part
    /// that is open already is compared with the rack file and not erased.
    ///
    /// # Errors
    /// As [`crate::probe::Probe::erase_everything`].
    pub async fn erase_everything(&self) -> Result<Attached, BoardError> {
        self.ask(Ask::EraseEverything).await
    }

    /// Stops the core.
    ///
    /// # Errors
    /// As [`BoardHandle::read`].
    pub async fn halt(&self) -> Result<CoreStatus, BoardError> {
        self.ask(Ask::Halt).await
    }

    /// Lets the core run.
    ///
    /// # Errors
    /// As [`BoardHandle::read`].
    pub async fn run(&self) -> Result<CoreStatus, BoardError> {
        self.ask(Ask::Run).await
    }

    /// What the core does.
    ///
    /// # Errors
    /// As [`BoardHandle::read`].
    pub async fn status(&self) -> Result<CoreStatus, BoardError> {
        self.ask(Ask::Status).await
    }

    /// One step of the reset ladder; with `halt` the core stops at its first instruction (soft reset only).
    ///
    /// # Errors
    /// [`Fault::Refused`] where the board has no such step, and as [`BoardHandle::read`].
    pub async fn reset(&self, kind: ResetKind, halt: bool) -> Result<(), BoardError> {
        self.ask(|answer| Ask::Reset(kind, halt, answer)).await
    }

    /// Climbs the reset ladder until the core runs, and says which step did it.
    ///
    /// # Errors
    /// What the last step met.
    pub async fn recover(&self) -> Result<ResetKind, BoardError> {
        self.ask(Ask::Recover).await
    }

    /// Compares the board's identity, then writes everything of the plan in one session, reads it back, and resets.
    ///
    /// # Errors
    /// As [`BoardHandle::flash`].
    pub async fn provision(
        &self,
        plan: Arc<ProvisionPlan>,
        purpose: Purpose,
        progress: Option<ProgressSender>,
    ) -> Result<Sighting, BoardError> {
        self.ask(|answer| Ask::Provision(plan, purpose, progress, answer)).await
    }

    /// Switches power.
    ///
    /// # Errors
    /// [`Fault::Refused`] without a switch, [`Fault::Power`] and others.
    pub async fn power(&self, action: PowerAction) -> Result<(), BoardError> {
        self.ask(|answer| Ask::Power(action, answer)).await
    }

    /// What the switch says of itself; `None` where it cannot tell.
    ///
    /// # Errors
    /// As [`BoardHandle::power`].
    pub async fn power_state(&self) -> Result<Option<bool>, BoardError> {
        self.ask(Ask::PowerState).await
    }

    /// Off until the board has vanished, on until it is back.
    ///
    /// # Errors
    /// [`Fault::Power`] when it does not.
    pub async fn power_self_test(&self, limits: SelfTestLimits) -> Result<SelfTest, BoardError> {
        self.ask(|answer| Ask::PowerSelfTest(limits, answer)).await
    }

    /// Sends octets to its console.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub async fn send(&self, octets: Vec<u8>) -> Result<(), BoardError> {
        self.ask(|answer| Ask::Send(octets, answer)).await
    }

    /// Opens its console again, after power took the port away.
    ///
    /// # Errors
    /// [`Fault::Absent`], [`Fault::Busy`].
    pub async fn open_console(&self) -> Result<(), BoardError> {
        self.ask(Ask::OpenConsole).await
    }

    /// Ends the owner: detaches, closes the console, frees the locks.
    pub async fn close(&self) {
        // An owner that is gone has closed everything.
        let _gone = self.ask_any(Ask::Close).await;
    }

    async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> Ask) -> Result<T, BoardError> {
        if let Standing::Quarantined(reason) = self.standing() {
            let fault = Fault::Quarantined { reason: reason.to_string() };
            return Err(BoardError::new(self.name(), reason.part, fault));
        }
        self.ask_any(question).await
    }

    async fn ask_any<T>(&self, question: impl FnOnce(Answer<T>) -> Ask) -> Result<T, BoardError> {
        let closed = || {
            let fault = Fault::Worker { why: "the board's owner has ended".to_owned() };
            BoardError::new(self.name(), Part::Board, fault)
        };
        let (answer, answered) = oneshot::channel();
        self.asks.send(question(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}
