//! From a plan to running nodes: boards provisioned, processes up, every application started.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use hil_model::fact::{Fact, Moment};
use hil_model::{AirLevel, Composition, Provision, Span, Time, Witness};
use hil_rack::RackError;
use mk_wire::Addr;
use rack_witness::air::{NetworkKeys, Tap, TapSettings};

use super::dump::FlashDump;
use super::hand::{Done, Hand, Order};
use super::input::{Input, Inputs};
use super::processes::{self, NetworkPlan, ProcessError};
use super::run::{GatewayHost, MeshosHost, Parts, Run};
use super::trail::Trail;
use super::{LabClock, LabSettings, SharedTap, Surroundings};
use crate::board::BoardSettings;
use crate::error::{BoardError, Fault, Part};
use crate::locks::LockFolder;
use crate::provision::{Firmware, Outfit, ProvisionPlan};

/// Longest wait for all boards to be provisioned: 2 MB at 50 KiB/s, and the same again to read it back.
const PROVISIONING: Duration = Duration::from_secs(120);
/// Longest wait for all applications to have started.
const STARTING: Duration = Duration::from_secs(30);
/// Time of the throttle's one-second windows by which a real line may bunch what was sent evenly.
const JITTER: Span = Span::millis(120);

/// Time to live of messages on a bench where everybody hears everybody, with room for a relay or two.
const TTL: u8 = 5;

fn broken(part: &str, what: impl core::fmt::Display, next: &str) -> RackError {
    RackError::Broken { part: part.to_owned(), what: what.to_string(), next: next.to_owned() }
}

fn refused(why: &str) -> RackError {
    RackError::Refused { action: "prepare the rack".to_owned(), why: why.to_owned() }
}

impl From<ProcessError> for RackError {
    fn from(error: ProcessError) -> Self {
        broken(&error.name, &error.why, "see its log in the run's folder")
    }
}

/// Brings the rack into the state that `provision` describes, with every node running, shortly after time zero.
pub fn prepare(
    settings: &LabSettings,
    provision: &Provision,
    mut surroundings: Box<dyn Surroundings>,
    inputs: Inputs,
    door: Receiver<Input>,
) -> Result<Run, RackError> {
    if provision.composition != Composition::Product {
        return Err(refused("the firmware on boards is the product; canaries are for the virtual rack"));
    }
    if provision.level == AirLevel::Air {
        return Err(refused("the air of a rack of boards is what it is"));
    }
    let boards = settings.boards.get(..provision.fleet.nodes.len()).ok_or_else(|| refused("too many nodes"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| broken("harness", error, "free memory or threads on this machine"))?;
    let mut board_settings = BoardSettings {
        logs: Some(settings.folder.clone()),
        reboots: settings.reboots,
        ..BoardSettings::new(settings.programs.probe.clone(), "hil run")
    };
    if let Some(folder) = &settings.locks {
        board_settings.locks = LockFolder::at(folder.clone());
    }
    let mut hands = Vec::new();
    for (place, board) in boards.iter().enumerate() {
        hands.push(Hand::start(runtime.handle(), place, board, &board_settings, inputs.clone())?);
    }
    let mut trails: Vec<Trail> = provision.fleet.nodes.iter().map(|spec| Trail::new(*spec)).collect();
    order_plans(settings, provision, &hands, surroundings.has_flash())?;
    let clock = LabClock::default();
    let tap = SharedTap::new(tap(settings, provision));
    surroundings.begin(tap.clone(), clock.clone())?;
    let (gateways, meshos) = start_processes(settings, provision, surroundings.as_ref(), runtime.handle(), &inputs)?;
    let flashes = await_plans(boards, &door)?;
    for (place, (trail, flash)) in trails.iter_mut().zip(flashes).enumerate() {
        if let Some(flash) = surroundings.flash(place).or(flash) {
            trail.provisioned(flash, &provision.key);
        }
    }
    let parts = Parts {
        runtime,
        clock,
        door,
        inputs,
        trails,
        hands,
        gateways,
        meshos,
        tap,
        surroundings,
        provision: provision.clone(),
        brisk: settings.brisk,
    };
    let mut run = Run::new(parts);
    run.start_nodes()?;
    Ok(run)
}

fn tap(settings: &LabSettings, provision: &Provision) -> Tap {
    let mesh = &settings.mesh;
    let mut keys = NetworkKeys::new(&mesh.net_key.0, &mesh.app_key.0, 0);
    let gateways = provision.fleet.gateways().into_iter().map(|id| id.unicast());
    for address in provision.fleet.ids().map(|id| id.unicast()).chain(gateways) {
        keys.add_device(Addr(address), &mesh.device_key(address).0);
    }
    let copies = provision.profile.copies;
    let per_pdu = u64::from(copies) * rack_witness::meter::PDU_AIR.as_micros();
    let jitter = JITTER.as_micros() / per_pdu.max(1);
    let slack = u64::from(mk_wire::radio_link::WINDOW) + 1 + jitter;
    Tap::new(keys, TapSettings { copies, slack_pdus: u16::try_from(slack).unwrap_or(u16::MAX) })
}

fn order_plans(
    settings: &LabSettings,
    provision: &Provision,
    hands: &[Hand],
    flash_is_known: bool,
) -> Result<(), RackError> {
    for ((board, hand), spec) in settings.boards.iter().zip(hands).zip(&provision.fleet.nodes) {
        let wrong = |fault| BoardError::new(board.name(), Part::Firmware, fault);
        let table = board.driver.geometry().ok_or_else(|| refused("a board has no flash map"))?;
        let path = settings.firmware.join("boot.bin");
        let bootloader = Firmware::read(&path, table.bootloader.start).map_err(wrong)?;
        let softdevice = settings.softdevice.as_ref().map(Firmware::softdevice).transpose().map_err(wrong)?;
        let outfit = Outfit {
            bootloader,
            softdevice,
            image: &provision.running.bytes,
            key: provision.key,
            mesh: &settings.mesh,
            grace: provision.grace,
            report_interval: provision.report_interval,
            segment_interval: provision.profile.segment_interval,
            relay: settings.relay,
            ttl: TTL,
        };
        let plan = Arc::new(ProvisionPlan::new(board.driver, spec, &outfit).map_err(wrong)?);
        if !hand.order(Order::Provision { plan, read: !flash_is_known }) {
            return Err(refused("a board's task is gone"));
        }
    }
    Ok(())
}

fn start_processes(
    settings: &LabSettings,
    provision: &Provision,
    surroundings: &dyn Surroundings,
    runtime: &tokio::runtime::Handle,
    inputs: &Inputs,
) -> Result<(Vec<GatewayHost>, MeshosHost), RackError> {
    let folder: &Path = &settings.folder;
    let plan = NetworkPlan {
        profile: &provision.profile,
        mesh: &settings.mesh,
        fleet: &provision.fleet,
        brisk: settings.brisk,
    };
    let mut hosts = Vec::new();
    for id in provision.fleet.gateways() {
        let radio = surroundings.radio(id);
        let process = processes::start_gateway(&settings.programs.gateway, id, &radio, &plan, folder)?;
        hosts.push(GatewayHost::new(id, process));
    }
    let urls: Vec<_> = hosts.iter().map(|host| (host.id, host.process.url.clone())).collect();
    let mut meshos = processes::start_meshos(&settings.programs.meshos, &urls, folder)?;
    for (place, host) in hosts.iter_mut().enumerate() {
        host.process.wait_ready(runtime)?;
        processes::follow_gateway(runtime, place, host.process.url.clone(), inputs.clone());
    }
    meshos.wait_ready(runtime)?;
    processes::follow_meshos(runtime, meshos.url.clone(), inputs.clone());
    Ok((hosts, MeshosHost::new(meshos)))
}

fn await_plans(
    boards: &[crate::definition::BoardDefinition],
    door: &Receiver<Input>,
) -> Result<Vec<Option<FlashDump>>, RackError> {
    let until = Instant::now() + PROVISIONING;
    let mut found: Vec<Option<Option<FlashDump>>> = boards.iter().map(|_| None).collect();
    while found.iter().any(Option::is_none) {
        match door.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Input::Done { place, done: Done::Provisioned(flash), .. }) => {
                if let Some(slot) = found.get_mut(place) {
                    *slot = Some(flash.map(|flash| *flash));
                }
            }
            // Nothing can be said with a board that was not brought into its state.
            Ok(Input::Failed { error, .. }) => return Err(error.into()),
            // Whatever was on the boards before still speaks.
            Ok(_) => {}
            Err(_) => {
                let late = boards.iter().zip(&found).find(|(_, found)| found.is_none());
                let name = late.map(|(board, _)| board.name()).unwrap_or_default();
                let fault = Fault::Deadline { operation: "provisioning".to_owned(), limit: PROVISIONING };
                return Err(BoardError::new(name, Part::Board, fault).into());
            }
        }
    }
    Ok(found.into_iter().flatten().collect())
}

impl Run {
    /// Time zero: lets every node start, and waits until every application runs.
    fn start_nodes(&mut self) -> Result<(), RackError> {
        while self.door.try_recv().is_ok() {}
        self.clock.start();
        for place in 0..self.trails.len() {
            self.order(place, Order::Start);
        }
        let until = Instant::now() + STARTING;
        while !self.trails.iter().all(|trail| trail.ready || trail.quarantined.is_some()) {
            if Instant::now() > until {
                let late = self.trails.iter().find(|trail| !trail.ready);
                let name = late.map(|trail| trail.spec.id.to_string()).unwrap_or_default();
                let fault = Fault::Deadline { operation: "the start of its application".to_owned(), limit: STARTING };
                return Err(BoardError::new(name, Part::Board, fault).into());
            }
            self.wait(Duration::from_millis(20));
            self.take_in();
        }
        self.starting = false;
        match self.broken.first() {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }
}

impl Trail {
    fn provisioned(&mut self, flash: FlashDump, key: &[u8; 65]) {
        let key = fixture_images::VerifyingKey::from_sec1_bytes(key).ok();
        let fact: Fact = flash.banks(Moment::Provisioned, None, key.as_ref());
        self.note(Time::ZERO, Witness::Probe, fact);
        self.remember(flash);
    }
}
