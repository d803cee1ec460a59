//! A bench for hands-on commands: the boards of a rack file of kind `lab`, or an emulated bench that lives as long as the
//! command.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hil_model::{NodeId, RackKind};
use rack_emulated::{Bench, BenchSettings};
use rack_hardware::locks::LockFolder;
use rack_hardware::power::PowerSwitch;
use rack_hardware::{
    BoardDefinition, BoardDriver, BoardError, BoardHandle, BoardIdentity, BoardSettings, DeviceId, Fault,
    LabDefinition, PortIdentity, WorkerCommand, board,
};
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

use super::read_file;
use crate::exit::{CommandError, ExitClass};

/// Of a rack file, only what says how to read the rest.
#[derive(Deserialize)]
struct Kind {
    kind: RackKind,
}

/// Whether a rack file is of a kind that has boards. What cannot be read is left to whoever reads it whole.
#[must_use]
pub fn has_boards(path: &Path) -> bool {
    let kind = std::fs::read_to_string(path).ok().and_then(|text| serde_yaml::from_str::<Kind>(&text).ok());
    kind.is_some_and(|file| matches!(file.kind, RackKind::Lab | RackKind::Emulated))
}

/// A rack file, read and checked.
///
/// # Errors
/// Everything that is wrong in it.
pub fn definition(path: &Path) -> Result<LabDefinition, CommandError> {
    let octets = read_file(path)?;
    let file = path.display().to_string();
    let text = String::from_utf8(octets).map_err(|_| CommandError::invalid_file(format!("{file}: not a text")))?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    LabDefinition::parse(&file, &stem, &text).map_err(|wrong| {
        let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        CommandError::invalid_file(lines.join("\n")).hint("rigs/racks/lab-example.yaml shows all keys")
    })
}

/// What is wrong with a board, as a command's ending.
#[must_use]
pub fn rack_fault(error: &BoardError) -> CommandError {
    let what = format!("{}: {}: {}", error.board, error.part, error.fault);
    CommandError::new(ExitClass::RackFault, what).hint(error.next())
}

/// Boards that can be opened.
#[derive(Debug)]
pub struct OpenBench {
    /// The rack file.
    pub lab: LabDefinition,
    /// Its boards; of an emulated rack, those that run now.
    pub boards: Vec<BoardDefinition>,
    emulated: Option<Arc<Bench>>,
    settings: BoardSettings,
    // After the bench, whose files are in it.
    _files: Option<tempfile::TempDir>,
}

impl OpenBench {
    /// Reads a rack file and, for an emulated one, starts its boards.
    ///
    /// # Errors
    /// The file is wrong, or the bench does not start.
    pub fn open(path: &Path, command: &str) -> Result<Self, CommandError> {
        let lab = definition(path)?;
        let worker = WorkerCommand::this_program().map_err(|fault| CommandError::internal(fault.to_string()))?;
        let mut settings = BoardSettings::new(worker, command);
        if lab.kind != RackKind::Emulated {
            let boards = lab.boards.clone();
            return Ok(Self { lab, boards, emulated: None, settings, _files: None });
        }
        let files = tempfile::tempdir().map_err(|error| CommandError::internal(format!("a folder: {error}")))?;
        // Its ports and ttys are its own: no other process can want them.
        settings.locks = LockFolder::at(files.path().join("locks"));
        let broken = |error: rack_emulated::BenchError| {
            CommandError::new(ExitClass::RackFault, format!("the emulated bench: {error}"))
                .hint("install QEMU for ARM (Debian: qemu-system-arm)")
        };
        let bench = Bench::start(BenchSettings::new(files.path(), lab.fleet.nodes.len())).map_err(broken)?;
        let boards = emulated_boards(&bench, &lab).map_err(broken)?;
        Ok(Self { lab, boards, emulated: Some(Arc::new(bench)), settings, _files: Some(files) })
    }

    /// Keeps byte-exact console logs in a folder.
    pub fn log_to(&mut self, folder: PathBuf) {
        self.settings.logs = Some(folder);
    }

    /// The probe process, for operations that need no board.
    #[must_use]
    pub const fn worker(&self) -> &WorkerCommand {
        &self.settings.worker
    }

    /// The boards of these nodes; all, where none is named.
    ///
    /// # Errors
    /// A node that the rack does not have.
    pub fn select(&self, nodes: &[NodeId]) -> Result<Vec<BoardDefinition>, CommandError> {
        if nodes.is_empty() {
            return Ok(self.boards.clone());
        }
        let board = |node: &NodeId| {
            let found = self.boards.iter().find(|board| board.node.id == *node).cloned();
            found.ok_or_else(|| {
                let known: Vec<String> = self.boards.iter().map(BoardDefinition::name).collect();
                CommandError::new(ExitClass::NothingSelected, format!("the rack has no {node}"))
                    .hint(format!("it has {}", known.join(", ")))
            })
        };
        nodes.iter().map(board).collect()
    }

    /// Opens one board. To be called within the runtime.
    ///
    /// # Errors
    /// As [`board::open`].
    pub fn board(
        &self,
        definition: &BoardDefinition,
    ) -> Result<(BoardHandle, Receiver<rack_hardware::BoardEvent>), BoardError> {
        self.open_board(definition, &self.settings)
    }

    /// Opens one board without its console. To be called within the runtime.
    ///
    /// # Errors
    /// As [`board::open`].
    pub fn board_without_console(
        &self,
        definition: &BoardDefinition,
    ) -> Result<(BoardHandle, Receiver<rack_hardware::BoardEvent>), BoardError> {
        self.open_board(definition, &BoardSettings { console: false, ..self.settings.clone() })
    }

    fn open_board(
        &self,
        definition: &BoardDefinition,
        settings: &BoardSettings,
    ) -> Result<(BoardHandle, Receiver<rack_hardware::BoardEvent>), BoardError> {
        let switch = self.emulated.as_ref().map(|bench| {
            let node = definition.node.id.index();
            Box::new(BenchSwitch { bench: Arc::clone(bench), node }) as Box<dyn PowerSwitch>
        });
        board::open(definition.clone(), switch, settings)
    }
}

/// A runtime for commands that talk to boards.
///
/// # Errors
/// The system gives none.
pub fn runtime() -> Result<Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CommandError::internal(format!("a runtime: {error}")))
}

/// The nodes of an emulated bench as boards.
fn emulated_boards(bench: &Bench, lab: &LabDefinition) -> Result<Vec<BoardDefinition>, rack_emulated::BenchError> {
    let Some(driver) = BoardDriver::named("mk-node-emulated") else { return Ok(Vec::new()) };
    let ids = BenchSettings::new(Path::new(""), lab.fleet.nodes.len()).nodes;
    let board = |(place, (node, id)): (usize, (&hil_model::NodeSpec, rack_emulated::NodeSettings))| {
        let selector = bench.probe_selector(place)?.parse();
        Ok(selector.ok().map(|probe| BoardDefinition {
            node: *node,
            driver,
            identity: BoardIdentity {
                probe,
                console: PortIdentity::Device(bench.tty(place).map(Path::to_owned).unwrap_or_default()),
                device_id: DeviceId(id.unique_id),
                address: node.id.unicast(),
            },
            baud: driver.baud,
            speed_khz: None,
            power: None,
        }))
    };
    lab.fleet.nodes.iter().zip(ids).enumerate().map(board).filter_map(Result::transpose).collect()
}

/// The power of an emulated board.
#[derive(Debug)]
struct BenchSwitch {
    bench: Arc<Bench>,
    node: usize,
}

impl PowerSwitch for BenchSwitch {
    fn describe(&self) -> String {
        format!("emulated supply {}", self.node + 1)
    }

    fn set(&mut self, on: bool) -> Result<(), Fault> {
        let power = if on { hil_model::Power::On } else { hil_model::Power::Off };
        self.bench.power(self.node, power).map_err(|error| Fault::Power { why: error.to_string() })
    }

    fn state(&mut self) -> Result<Option<bool>, Fault> {
        let status = self.bench.status(self.node).map_err(|error| Fault::Power { why: error.to_string() })?;
        Ok(Some(status.state != rack_emulated::NodeState::Off))
    }
}
