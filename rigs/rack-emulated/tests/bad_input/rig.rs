//! What the tests share: a bench with its boards opened as hardware.

use std::path::PathBuf;
use std::time::Duration;

use hil_model::{FloorId, GatewayId, NodeId, NodeSpec, NodeType, Power, Protocol};
use rack_emulated::{Bench, BenchSettings, NodeState};
use rack_hardware::board;
use rack_hardware::locks::LockFolder;
use rack_hardware::power::PowerSwitch;
use rack_hardware::{
    BoardDefinition, BoardDriver, BoardError, BoardEvent, BoardHandle, BoardIdentity, BoardSettings, DeviceId, Fault,
    PortIdentity, WorkerCommand,
};
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

/// Says the octets at 0x100 (as many as the word at 0xFC says), waits a moment, and does it again; by way of a reset if the
/// word at 0xF8 is not zero.
///
/// ```text
///     .word 0x2003f000, 9
/// start:
///     ldr r0, =0x40002500     @ UART on
///     movs r1, #4
///     str r1, [r0]
///     ldr r0, =0x40002008
///     movs r1, #1
///     str r1, [r0]
///     ldr r0, =0x4000251c     @ TXD
///     ldr r4, =0x4000211c     @ EVENTS_TXDRDY
///     movs r6, #0
///     movs r2, #0xf8
///     ldr r7, [r2]
///     ldr r3, [r2, #4]
///     adds r2, #8
/// 1:  ldrb r1, [r2]
///     str r1, [r0]
/// 2:  ldr r5, [r4]
///     cmp r5, #0
///     beq 2b
///     str r6, [r4]
///     adds r2, #1
///     subs r3, #1
///     bne 1b
///     movs r5, #1
///     lsls r5, r5, #22
/// 3:  subs r5, #1
///     bne 3b
///     cmp r7, #0
///     beq start
///     ldr r0, =0xe000ed0c     @ system reset request
///     ldr r1, =0x05fa0004
///     str r1, [r0]
/// 4:  b 4b
///     .ltorg
/// ```
const SAY: &[u32] = &[
    0x2003_F000,
    0x0000_0009,
    0x2104_480F,
    0x480F_6001,
    0x6001_2101,
    0x4C0F_480E,
    0x22F8_2600,
    0x6853_6817,
    0x7811_3208,
    0x6825_6001,
    0xD0FC_2D00,
    0x3201_6026,
    0xD1F6_3B01,
    0x05AD_2501,
    0xD1FD_3D01,
    0xD0E3_2F00,
    0x4906_4805,
    0xE7FE_6001,
    0x4000_2500,
    0x4000_2008,
    0x4000_251C,
    0x4000_211C,
    0xE000_ED0C,
    0x05FA_0004,
];

/// A program that says this over and over; with `resets` it starts anew each time.
pub fn say(octets: &[u8], resets: bool) -> Vec<u8> {
    let mut program: Vec<u8> = SAY.iter().flat_map(|word| word.to_le_bytes()).collect();
    program.resize(0xF8, 0xFF);
    program.extend(u32::from(resets).to_le_bytes());
    program.extend(u32::try_from(octets.len()).unwrap().to_le_bytes());
    program.extend(octets);
    program
}

/// A bench and how its boards are opened.
pub struct Rig {
    pub bench: Arc<Bench>,
    pub runtime: Runtime,
    pub boards: Vec<BoardDefinition>,
    pub settings: BoardSettings,
    pub folder: tempfile::TempDir,
}

impl Rig {
    /// Boards that run a program; without one, blank boards that are on.
    pub fn new(nodes: usize, program: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = BenchSettings::new(&folder.path().join("bench"), nodes);
        for node in &mut settings.nodes {
            node.powered = false;
        }
        let ids: Vec<u64> = settings.nodes.iter().map(|node| node.unique_id).collect();
        let bench = Bench::start(settings).unwrap();
        for node in 0..nodes {
            bench.load_flash(node, 0, program).unwrap();
            bench.power(node, Power::On).unwrap();
        }
        let boards = ids.iter().enumerate().map(|(place, id)| definition(&bench, place, *id)).collect();
        let worker = WorkerCommand { program: std::env::current_exe().unwrap(), args: vec!["probe-worker".into()] };
        let mut settings = BoardSettings::new(worker, "a test");
        settings.locks = LockFolder::at(folder.path().join("locks"));
        settings.logs = Some(folder.path().join("logs"));
        settings.power_off_for = Duration::from_millis(100);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { bench: Arc::new(bench), runtime, boards, settings, folder }
    }

    /// Opens a board with the bench for its power switch.
    pub fn open(&self, node: usize) -> Result<(BoardHandle, Receiver<BoardEvent>), BoardError> {
        let _within = self.runtime.enter();
        let switch = Box::new(Supply { bench: Arc::clone(&self.bench), node });
        board::open(self.boards[node].clone(), Some(switch), &self.settings)
    }

    /// The console's log of a board.
    pub fn log(&self, node: usize) -> PathBuf {
        self.folder.path().join("logs").join(format!("{}.console.log", self.boards[node].name()))
    }
}

fn definition(bench: &Bench, place: usize, id: u64) -> BoardDefinition {
    let driver = BoardDriver::named("mk-node-emulated").unwrap();
    let node = NodeSpec {
        id: NodeId(u16::try_from(place + 1).unwrap()),
        floor: FloorId(1),
        kind: NodeType::Luminaire,
        protocol: Protocol::Mesh,
        gateway: GatewayId(1),
        config_version: 2,
    };
    let identity = BoardIdentity {
        probe: bench.probe_selector(place).unwrap().parse().unwrap(),
        console: PortIdentity::Device(bench.tty(place).unwrap().to_owned()),
        device_id: DeviceId(id),
        address: node.id.unicast(),
    };
    BoardDefinition { node, driver, identity, baud: driver.baud, speed_khz: None, power: None }
}

/// The power of a board.
#[derive(Debug)]
struct Supply {
    bench: Arc<Bench>,
    node: usize,
}

impl PowerSwitch for Supply {
    fn describe(&self) -> String {
        format!("supply {}", self.node + 1)
    }

    fn set(&mut self, on: bool) -> Result<(), Fault> {
        let power = if on { Power::On } else { Power::Off };
        self.bench.power(self.node, power).map_err(|error| Fault::Power { why: error.to_string() })
    }

    fn state(&mut self) -> Result<Option<bool>, Fault> {
        Ok(Some(self.bench.status(self.node).unwrap().state != NodeState::Off))
    }
}
