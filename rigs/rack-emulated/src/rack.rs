//! The emulated rack behind the rack port: the bench with everything that a lab puts around boards.
//!
//! A run starts a bench of its own and ends it again: nothing of one run is left for the next. The boards are reached as
//! boards in a lab are, through probe-rs and serialport; what the bench knows beyond that (power, resets, cells of the
//! flash, every frame on the air) stands for the lab's switches, lines and sniffers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hil_model::fact::ResetCause;
use hil_model::{
    Action, Capability, Event, FaultId, GatewayId, NodeId, Party, Power, Provision, RackKind, RackManifest, Time,
};
use hil_rack::{Observation, Rack, RackError};
use mk_boot::geometry::Memory;
use mk_wire::radio_link::AD_MESH_MESSAGE;
use rack_hardware::board::RebootLimit;
use rack_hardware::definition::{BoardDefinition, LabDefinition};
use rack_hardware::identity::{BoardIdentity, DeviceId, PortIdentity};
use rack_hardware::lab::{
    FlashDump, Input, Inputs, Lab, LabClock, LabSettings, Programs, Sensed, SharedTap, Surroundings, Switched,
};
use rack_hardware::{BoardDriver, BoardError, Fault, Part};
use rack_witness::air::Heard;

use crate::bench::{Bench, BenchSettings};
use crate::error::BenchError;
use crate::event::{BenchEvent, BenchEventKind, ResetReason};
use crate::flash::FiredCut;
use crate::medium::{AirSettings, MediumHook, MediumPeer};

/// Longest wait of the pump for an event, before it looks whether the run is over.
const LOOK: Duration = Duration::from_millis(100);
/// Names the folder where the files of runs stay; without it they go with the run.
const FOLDER_VARIABLE: &str = "HIL_RUN_FOLDER";

/// What this rack can do.
const CAPABILITIES: [Capability; 13] = [
    Capability::AirObserve,
    Capability::AirInterpose,
    Capability::AirPerReceiver,
    Capability::GatewayInputs,
    Capability::GatewayRestart,
    Capability::MeshosRestart,
    Capability::PowerSwitch,
    Capability::PowerCutAtOperation,
    Capability::ProbeRead,
    Capability::ProbeWrite,
    Capability::ProbeHalt,
    Capability::NodeImages,
    Capability::FullStack,
];

/// What a rack file of kind `emulated` is and can do.
#[must_use]
pub fn manifest(definition: &LabDefinition) -> RackManifest {
    let capabilities = CAPABILITIES.into_iter().filter(|capability| !definition.without.contains(capability));
    RackManifest {
        name: definition.name.clone(),
        kind: RackKind::Emulated,
        capabilities: capabilities.collect(),
        profile: definition.profile.clone(),
        fleet: definition.fleet.clone(),
    }
}

/// The emulated rack.
pub struct EmulatedRack {
    definition: LabDefinition,
    manifest: RackManifest,
    programs: Programs,
    lab: Option<Lab>,
    /// Files of the run, where they do not stay.
    folder: Option<tempfile::TempDir>,
}

fn broken(part: &str, what: impl std::fmt::Display, next: &str) -> RackError {
    RackError::Broken { part: part.to_owned(), what: what.to_string(), next: next.to_owned() }
}

impl EmulatedRack {
    /// A rack of this definition; nothing is started before it is prepared.
    #[must_use]
    pub fn new(definition: LabDefinition, programs: Programs) -> Self {
        let manifest = manifest(&definition);
        Self { definition, manifest, programs, lab: None, folder: None }
    }

    fn folder(&mut self) -> Result<PathBuf, RackError> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let failed = |error: std::io::Error| broken("harness", error, "free space where temporary files go");
        if let Some(kept) = std::env::var_os(FOLDER_VARIABLE) {
            let run = RUNS.fetch_add(1, Ordering::Relaxed);
            let folder = PathBuf::from(kept).join(format!("{}-{run}", std::process::id()));
            std::fs::create_dir_all(&folder).map_err(failed)?;
            return Ok(folder);
        }
        let folder = tempfile::Builder::new().prefix("hil-emulated-").tempdir().map_err(failed)?;
        let path = folder.path().to_owned();
        self.folder = Some(folder);
        Ok(path)
    }

    fn lab(&mut self, action: &str) -> Result<&mut Lab, RackError> {
        let refused = || RackError::Refused { action: action.to_owned(), why: "the rack was not prepared".to_owned() };
        self.lab.as_mut().ok_or_else(refused)
    }
}

impl Rack for EmulatedRack {
    fn manifest(&self) -> &RackManifest {
        &self.manifest
    }

    fn prepare(&mut self, provision: &Provision) -> Result<(), RackError> {
        self.release();
        let count = provision.fleet.nodes.len();
        let folder = self.folder()?;
        let settings = BenchSettings {
            seed: provision.seed.0,
            air: AirSettings { loss_permille: self.definition.loss_permille, ..AirSettings::default() },
            ..BenchSettings::new(&folder.join("bench"), count)
        };
        let ids: Vec<u64> = settings.nodes.iter().map(|node| node.unique_id).collect();
        let bench = Arc::new(Bench::start(settings).map_err(|error| {
            broken("emulated bench", error, "install qemu-system-arm, and see `hil doctor --rack`")
        })?);
        let boards = boards(&bench, provision, &ids)?;
        let (inputs, door) = Inputs::new();
        let surroundings = BenchSurroundings::new(bench, inputs.clone(), provision)?;
        let settings = LabSettings {
            manifest: self.manifest.clone(),
            boards,
            firmware: self.definition.firmware.folder.clone(),
            softdevice: None,
            mesh: self.definition.mesh.clone(),
            programs: self.programs.clone(),
            // Ports and ttys of this bench are its own: no other process can want them.
            locks: Some(folder.join("locks")),
            folder,
            relay: false,
            // Crashing firmware is what scenarios are made of; the bench restarts it as often as it takes.
            reboots: RebootLimit { boots: 60, within: Duration::from_secs(30) },
            brisk: true,
        };
        let mut lab = Lab::new(settings, Box::new(surroundings), inputs, door);
        let prepared = lab.prepare(provision);
        self.lab = Some(lab);
        prepared
    }

    fn apply(&mut self, action: &Action, fault: Option<FaultId>) -> Result<(), RackError> {
        self.lab(&action.describe())?.apply(action, fault)
    }

    fn observe(&mut self, until: Time) -> Result<Observation, RackError> {
        self.lab("observe")?.observe(until)
    }

    fn collect(&mut self) -> Result<Vec<Event>, RackError> {
        self.lab("collect")?.collect()
    }

    fn release(&mut self) {
        if let Some(mut lab) = self.lab.take() {
            lab.release();
        }
        self.folder = None;
    }
}

fn boards(bench: &Bench, provision: &Provision, ids: &[u64]) -> Result<Vec<BoardDefinition>, RackError> {
    let failed = |error: &dyn std::fmt::Display| broken("emulated bench", error, "a fault of the harness: report it");
    let name = &provision.profile.board;
    let no_driver =
        || broken("emulated bench", format!("no driver for board {name}"), "write `board: mk-node-emulated`");
    let driver = BoardDriver::named(name).filter(|driver| !driver.listed).ok_or_else(no_driver)?;
    let mut boards = Vec::new();
    for (place, (spec, id)) in provision.fleet.nodes.iter().zip(ids).enumerate() {
        let selector = bench.probe_selector(place).map_err(|e| failed(&e))?;
        let tty = bench.tty(place).map_err(|e| failed(&e))?.to_owned();
        boards.push(BoardDefinition {
            node: *spec,
            driver,
            identity: BoardIdentity {
                probe: selector.parse().map_err(|e: rack_hardware::identity::BadIdentity| failed(&e))?,
                console: PortIdentity::Device(tty),
                device_id: DeviceId(*id),
                address: spec.id.unicast(),
            },
            baud: driver.baud,
            speed_khz: driver.speed_khz,
            power: None,
        });
    }
    Ok(boards)
}

/// The bench as what lies around the boards.
struct BenchSurroundings {
    bench: Arc<Bench>,
    table: &'static mk_boot::geometry::Geometry,
    external: u32,
    stop: Arc<AtomicBool>,
    pump: Option<JoinHandle<()>>,
}

impl BenchSurroundings {
    fn new(bench: Arc<Bench>, inputs: Inputs, provision: &Provision) -> Result<Self, RackError> {
        let name = &provision.profile.board;
        let none = || broken("emulated bench", format!("no board table {name}"), "write `board: mk-node-emulated`");
        let driver = BoardDriver::named(name).ok_or_else(none)?;
        let table = driver.geometry().ok_or_else(none)?;
        let external = driver.probe_address(Memory::External, 0);
        let stop = Arc::new(AtomicBool::new(false));
        let pump = {
            let (bench, stop) = (Arc::clone(&bench), Arc::clone(&stop));
            let work = move || pump(&bench, table, external, &stop, &inputs);
            std::thread::Builder::new().name("bench events".to_owned()).spawn(work)
        };
        let pump = pump.map_err(|error| broken("harness", error, "free threads on this machine"))?;
        Ok(Self { bench, table, external, stop, pump: Some(pump) })
    }
}

impl Drop for BenchSurroundings {
    fn drop(&mut self) {
        self.bench.set_hook(None);
        self.stop.store(true, Ordering::Relaxed);
        if let Some(pump) = self.pump.take() {
            // A pump that panicked has nothing left to tell.
            let _ended = pump.join();
        }
    }
}

impl Surroundings for BenchSurroundings {
    fn power(&mut self, place: usize, power: Power) -> Result<Switched, BoardError> {
        let wrong = |error: BenchError| {
            let node = NodeId(u16::try_from(place + 1).unwrap_or(u16::MAX));
            BoardError::new(node.to_string(), Part::Power, Fault::Power { why: error.to_string() })
        };
        self.bench.power(place, power).map(|()| Switched::Done).map_err(wrong)
    }

    fn flash(&mut self, place: usize) -> Option<FlashDump> {
        dump(&self.bench, self.table, self.external, place)
    }

    fn has_flash(&self) -> bool {
        true
    }

    fn watches_resets(&self) -> bool {
        true
    }

    fn begin(&mut self, tap: SharedTap, clock: LabClock) -> Result<(), RackError> {
        self.bench.set_hook(Some(Box::new(TapHook { tap, clock, last: None })));
        Ok(())
    }

    fn radio(&self, _gateway: GatewayId) -> PathBuf {
        self.bench.radio_tty().to_owned()
    }
}

fn dump(bench: &Bench, table: &'static mk_boot::geometry::Geometry, external: u32, place: usize) -> Option<FlashDump> {
    let mut dump = FlashDump::blank(table);
    let internal = bench.flash(place, 0..table.internal_size()).ok()?;
    dump.put(Memory::Internal, 0, &internal);
    let slots = bench.flash(place, external..external + table.external_size()).ok()?;
    dump.put(Memory::External, 0, &slots);
    Some(dump)
}

/// Passes the bench's events on until the run is over.
fn pump(bench: &Bench, table: &'static mk_boot::geometry::Geometry, external: u32, stop: &AtomicBool, inputs: &Inputs) {
    while !stop.load(Ordering::Relaxed) {
        let Some(BenchEvent { at, node: place, kind }) = bench.next_event(LOOK) else { continue };
        let at = Instant::now() - bench.now().saturating_sub(at);
        let sensed = |what| Input::Sensed { place, at, what };
        let failed = |why: String| {
            let node = NodeId(u16::try_from(place + 1).unwrap_or(u16::MAX));
            Input::Failed { place, error: BoardError::new(node.to_string(), Part::Board, Fault::NoTarget { why }) }
        };
        inputs.send(match kind {
            BenchEventKind::Reset(reason) => {
                let flash = dump(bench, table, external, place).map(Arc::new);
                sensed(Sensed::Reset { cause: cause(reason), flash })
            }
            BenchEventKind::LockedUp { .. } => sensed(Sensed::Crashed),
            BenchEventKind::PowerOff => sensed(Sensed::PowerOff),
            BenchEventKind::PowerCut(FiredCut { address, before, after, .. }) => {
                sensed(Sensed::PowerCut { address, before, after })
            }
            BenchEventKind::MachineFailed { reason } => failed(reason),
            BenchEventKind::RadioRefused { reason } => failed(format!("radio mailbox: {reason}")),
            BenchEventKind::MachineEnded { words } => {
                let text = format!("QEMU ended and was started again: {}", words.join("; "));
                Input::Text { place, at, text }
            }
            BenchEventKind::RadioUp { .. }
            | BenchEventKind::ProbeOpened
            | BenchEventKind::ProbeClosed
            | BenchEventKind::ProbeBusy => continue,
        });
    }
}

const fn cause(reason: ResetReason) -> ResetCause {
    match reason {
        ResetReason::PowerOn => ResetCause::PowerOn,
        ResetReason::Pin => ResetCause::Pin,
        ResetReason::Watchdog => ResetCause::Watchdog,
        ResetReason::Soft => ResetCause::Software,
        ResetReason::Lockup => ResetCause::Lockup,
    }
}

/// A transmission that is being carried to its receivers.
struct Transmission {
    from: MediumPeer,
    pdu: Vec<u8>,
    heard: Heard,
    carried_to: Vec<MediumPeer>,
}

/// The interposer on the medium: every frame to every receiver passes here.
struct TapHook {
    tap: SharedTap,
    clock: LabClock,
    last: Option<Transmission>,
}

impl MediumHook for TapHook {
    fn carry(
        &mut self,
        _now: Duration,
        from: MediumPeer,
        to: MediumPeer,
        ad_type: u8,
        pdu: &[u8],
    ) -> Vec<(Duration, Vec<u8>)> {
        if ad_type != AD_MESH_MESSAGE {
            return vec![(Duration::ZERO, pdu.to_vec())];
        }
        let now = self.clock.now();
        let mut tap = self.tap.lock();
        let same = |last: &&mut Transmission| last.from == from && last.pdu == pdu && !last.carried_to.contains(&to);
        let heard = match self.last.as_mut().filter(same) {
            Some(last) => {
                last.carried_to.push(to);
                last.heard.clone()
            }
            None => {
                let heard = tap.hear(now, pdu);
                let carried_to = vec![to];
                self.last = Some(Transmission { from, pdu: pdu.to_vec(), heard: heard.clone(), carried_to });
                heard
            }
        };
        let passages = tap.pass(now, &heard, party(to));
        passages.into_iter().map(|passage| (Duration::from_nanos(passage.after.0), passage.pdu)).collect()
    }
}

fn party(peer: MediumPeer) -> Party {
    match peer {
        MediumPeer::Node(place) => Party::Node(NodeId(u16::try_from(place + 1).unwrap_or(u16::MAX))),
        // The bench has one radio co-processor: that of its one gateway.
        MediumPeer::Radio => Party::Gateway(GatewayId(1)),
    }
}
