//! A rack of boards behind the rack port: boards by probe and console, gateway and campaign as processes, the radio link
//! between them with the interposer on it, and real time.
//!
//! What a lab and the emulated bench have in common is all here. What lies around the boards (power, reset lines, a copy
//! of the flash that nobody has to read) is [`Surroundings`]; the bench has more of it than a lab. Everything that comes in
//! passes one door ([`input`]) and becomes facts in `run` and `heard`; nothing here judges.
//!
//! Real time: a run begins when every node runs; [`Lab::observe`] waits for events. Waits have deadlines. A board that
//! misbehaves is taken out of service, the run goes on without it, and its end is a rack fault that says why.
//!
//! | file | for |
//! | --- | --- |
//! | `dump` | flash as octets, and what is found in it |
//! | `firmware` | the programs that nodes run |
//! | `hand` | the task at one board |
//! | `hardware` | real boards: what a lab has around them |
//! | `link` | the gateway's serial link, with the interposer in the middle |
//! | `processes` | gateway and MeshOS |
//! | `trail` | what is known of a node, in order |
//! | `run` | inputs to facts |
//! | `actions` | orders of the engine |
//! | `prepare` | from a plan to running nodes |

mod actions;
pub mod dump;
pub mod firmware;
pub mod hand;
mod hardware;
mod heard;
pub mod input;
mod link;
mod prepare;
pub mod processes;
mod run;
mod trail;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use hil_model::{Action, Event, FaultId, GatewayId, Power, Provision, RackManifest, Time};
use hil_rack::{Observation, Rack, RackError};
use rack_witness::air::Tap;

pub use dump::FlashDump;
pub use hardware::{HardwareRack, manifest};
pub use input::{Input, Inputs, Sensed};

use crate::board::RebootLimit;
use crate::definition::{BoardDefinition, MeshKeys, SoftDevice};
use crate::error::BoardError;
use crate::probe::WorkerCommand;
use run::Run;

/// The rack's clock: starts when a run begins, and everybody who stamps anything shares it.
#[derive(Debug, Clone, Default)]
pub struct LabClock {
    zero: Arc<OnceLock<Instant>>,
}

impl LabClock {
    /// Starts it, once.
    pub fn start(&self) {
        self.zero.get_or_init(Instant::now);
    }

    /// Rack time of an instant; zero for all before the start.
    #[must_use]
    pub fn time(&self, at: Instant) -> Time {
        let since = self.zero.get().map(|zero| at.saturating_duration_since(*zero)).unwrap_or_default();
        Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.time(Instant::now())
    }
}

/// The interposer, shared between the rack and whoever carries PDUs.
#[derive(Debug, Clone)]
pub struct SharedTap(Arc<Mutex<Tap>>);

impl SharedTap {
    /// Shares a tap.
    #[must_use]
    pub fn new(tap: Tap) -> Self {
        Self(Arc::new(Mutex::new(tap)))
    }

    /// The tap, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Tap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who switches power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// It was done.
    Done,
    /// The board's own switch has to.
    ByBoard,
}

/// What lies around the boards.
pub trait Surroundings: Send {
    /// Switches or cuts the power of a board; [`Power::Cycle`] is not asked for, the rack times it itself.
    ///
    /// # Errors
    /// It cannot be done here, or the switch did not do it.
    fn power(&mut self, place: usize, power: Power) -> Result<Switched, BoardError>;

    /// The flash of a board now, where there is a copy that nobody has to read.
    fn flash(&mut self, place: usize) -> Option<FlashDump>;

    /// Whether it has such copies.
    fn has_flash(&self) -> bool;

    /// Whether resets and power are reported through the door. Otherwise the boards' own words have to do.
    fn watches_resets(&self) -> bool;

    /// The run begins: every node was provisioned. The tap is to act on all PDUs from now on.
    ///
    /// # Errors
    /// The radio link cannot be set up.
    fn begin(&mut self, tap: SharedTap, clock: LabClock) -> Result<(), RackError>;

    /// Where the radio of a gateway can be opened.
    fn radio(&self, gateway: GatewayId) -> PathBuf;
}

/// Programs that a lab starts.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The gateway process.
    pub gateway: (PathBuf, Vec<OsString>),
    /// The MeshOS process.
    pub meshos: (PathBuf, Vec<OsString>),
    /// The probe process.
    pub probe: WorkerCommand,
}

impl Programs {
    /// The hidden commands of this very program.
    ///
    /// # Errors
    /// The system cannot say what this program is.
    pub fn this_program() -> Result<Self, RackError> {
        let broken = |why: String| RackError::Broken {
            part: "harness".to_owned(),
            what: why,
            next: "start it by its path".to_owned(),
        };
        let program = std::env::current_exe().map_err(|error| broken(format!("this program: {error}")))?;
        Ok(Self::of(program))
    }

    /// The hidden commands of `program`, which is `hil`.
    #[must_use]
    pub fn of(program: PathBuf) -> Self {
        let hidden = |name: &str| (program.clone(), vec![OsString::from(name)]);
        Self {
            gateway: hidden(processes::GATEWAY_COMMAND),
            meshos: hidden(processes::MESHOS_COMMAND),
            probe: WorkerCommand { program, args: vec![crate::probe::WORKER_COMMAND.into()] },
        }
    }
}

/// What a lab is made of.
#[derive(Debug, Clone)]
pub struct LabSettings {
    /// What it is and can do.
    pub manifest: RackManifest,
    /// Its boards, in order of the fleet.
    pub boards: Vec<BoardDefinition>,
    /// Where `cargo xtask firmware` puts the files.
    pub firmware: PathBuf,
    /// Keys of the test network.
    pub mesh: MeshKeys,
    /// Programs to start.
    pub programs: Programs,
    /// Where locks are; the usual folder when none is named.
    pub locks: Option<PathBuf>,
    /// Files of a run: logs, journals.
    pub folder: PathBuf,
    /// The vendor's radio firmware, where boards need one.
    pub softdevice: Option<SoftDevice>,
    /// Whether nodes relay: not where everybody hears everybody.
    pub relay: bool,
    /// How many starts of a board nobody asked for are too many.
    pub reboots: RebootLimit,
    /// Shorter waits than the product's, for small images on a bench.
    pub brisk: bool,
}

/// A rack of boards.
pub struct Lab {
    settings: LabSettings,
    surroundings: Option<Box<dyn Surroundings>>,
    inputs: Inputs,
    /// The inside of the door, until a run takes it.
    door: Option<std::sync::mpsc::Receiver<Input>>,
    run: Option<Run>,
}

impl Lab {
    /// A lab that is not prepared. `inputs` and `door` are one door: the surroundings report through it.
    #[must_use]
    pub fn new(
        settings: LabSettings,
        surroundings: Box<dyn Surroundings>,
        inputs: Inputs,
        door: std::sync::mpsc::Receiver<Input>,
    ) -> Self {
        Self { settings, surroundings: Some(surroundings), inputs, door: Some(door), run: None }
    }

    fn run(&mut self, action: &str) -> Result<&mut Run, RackError> {
        let refused = || RackError::Refused { action: action.to_owned(), why: "the rack was not prepared".to_owned() };
        self.run.as_mut().ok_or_else(refused)
    }
}

impl Rack for Lab {
    fn manifest(&self) -> &RackManifest {
        &self.settings.manifest
    }

    fn prepare(&mut self, provision: &Provision) -> Result<(), RackError> {
        let again = || RackError::Refused {
            action: "prepare the rack".to_owned(),
            why: "it was prepared already; open it anew".to_owned(),
        };
        let (surroundings, door) = self.surroundings.take().zip(self.door.take()).ok_or_else(again)?;
        self.run = Some(prepare::prepare(&self.settings, provision, surroundings, self.inputs.clone(), door)?);
        Ok(())
    }

    fn apply(&mut self, action: &Action, fault: Option<FaultId>) -> Result<(), RackError> {
        let capabilities = &self.settings.manifest.capabilities;
        if let Some(lacking) = action.needs().into_iter().find(|need| !capabilities.contains(need)) {
            let why = format!("this rack lacks {lacking}");
            return Err(RackError::Refused { action: action.describe(), why });
        }
        self.run(&action.describe())?.apply(action, fault)
    }

    fn observe(&mut self, until: Time) -> Result<Observation, RackError> {
        self.run("observe")?.observe(until)
    }

    fn collect(&mut self) -> Result<Vec<Event>, RackError> {
        self.run("collect")?.collect()
    }

    fn release(&mut self) {
        self.inputs.close();
        self.run = None;
        self.surroundings = None;
    }
}
