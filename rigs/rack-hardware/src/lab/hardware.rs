//! A rack of real boards: the surroundings are what a lab has, which is power switches and the gateway's serial link.
//!
//! Nobody sees the reset lines and nobody has a copy of the flash: the boards' own words and the probe have to do. The
//! interposer sits on the serial link, which cannot tell the receivers of a multicast apart.

use std::path::PathBuf;

use hil_model::{Action, Capability, Event, FaultId, GatewayId, Power, Provision, RackKind, RackManifest, Time};
use hil_rack::{Observation, Rack, RackError};

use super::link::RadioLink;
use super::{FlashDump, Inputs, Lab, LabClock, LabSettings, Programs, SharedTap, Surroundings, Switched};
use crate::board::RebootLimit;
use crate::console;
use crate::definition::{GatewayDefinition, LabDefinition};
use crate::error::{BoardError, Fault, Part};

/// Where the files of runs go.
const RUNS: &str = "target/lab";

/// What every lab can do; switching power is there where every board has a switch.
const CAPABILITIES: [Capability; 9] = [
    Capability::AirObserve,
    Capability::AirInterpose,
    Capability::GatewayInputs,
    Capability::GatewayRestart,
    Capability::MeshosRestart,
    Capability::ProbeRead,
    Capability::ProbeHalt,
    Capability::NodeImages,
    Capability::FullStack,
];

/// What a rack file of kind `lab` is and can do.
#[must_use]
pub fn manifest(definition: &LabDefinition) -> RackManifest {
    let switched = definition.boards.iter().all(|board| board.power.is_some());
    let writes = definition.boards.iter().all(|board| board.driver.writes_external());
    let more = [(switched, Capability::PowerSwitch), (writes, Capability::ProbeWrite)];
    let more = more.into_iter().filter(|(there, _)| *there).map(|(_, capability)| capability);
    let capabilities = CAPABILITIES.into_iter().chain(more).filter(|c| !definition.without.contains(c));
    RackManifest {
        name: definition.name.clone(),
        kind: RackKind::Lab,
        capabilities: capabilities.collect(),
        profile: definition.profile.clone(),
        fleet: definition.fleet.clone(),
    }
}

/// The rack.
pub struct HardwareRack {
    definition: LabDefinition,
    manifest: RackManifest,
    programs: Programs,
    lab: Option<Lab>,
}

impl HardwareRack {
    /// A rack of this definition; nothing is opened before it is prepared.
    #[must_use]
    pub fn new(definition: LabDefinition, programs: Programs) -> Self {
        let manifest = manifest(&definition);
        Self { definition, manifest, programs, lab: None }
    }

    fn lab(&mut self, action: &str) -> Result<&mut Lab, RackError> {
        let refused = || RackError::Refused { action: action.to_owned(), why: "the rack was not prepared".to_owned() };
        self.lab.as_mut().ok_or_else(refused)
    }
}

impl Rack for HardwareRack {
    fn manifest(&self) -> &RackManifest {
        &self.manifest
    }

    fn prepare(&mut self, provision: &Provision) -> Result<(), RackError> {
        self.release();
        let folder = PathBuf::from(RUNS).join(format!("{}-{}", self.definition.name, std::process::id()));
        let failed = |error: std::io::Error| RackError::Broken {
            part: "harness".to_owned(),
            what: format!("{}: {error}", folder.display()),
            next: "start it in a folder that can be written".to_owned(),
        };
        // Journals of an earlier run would be gone on with.
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(failed)?;
        }
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let (inputs, door) = Inputs::new();
        let settings = LabSettings {
            manifest: self.manifest.clone(),
            boards: self.definition.boards.clone(),
            firmware: self.definition.firmware.folder.clone(),
            softdevice: self.definition.firmware.softdevice.clone(),
            mesh: self.definition.mesh.clone(),
            programs: self.programs.clone(),
            locks: None,
            folder: folder.clone(),
            relay: true,
            reboots: RebootLimit::default(),
            brisk: false,
        };
        let gateways = self.definition.gateways.clone();
        let surroundings = LabSurroundings { gateways, folder, links: Vec::new() };
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
    }
}

struct LabSurroundings {
    gateways: Vec<GatewayDefinition>,
    folder: PathBuf,
    links: Vec<RadioLink>,
}

impl Surroundings for LabSurroundings {
    fn power(&mut self, _place: usize, power: Power) -> Result<Switched, BoardError> {
        match power {
            Power::On | Power::Off | Power::Cycle(_) => Ok(Switched::ByBoard),
            Power::CutAtOperation { .. } => {
                let (action, why) = ("cut power at a flash operation".to_owned(), "nobody counts them".to_owned());
                Err(BoardError::new("rack", Part::Power, Fault::Refused { action, why }))
            }
        }
    }

    fn flash(&mut self, _place: usize) -> Option<FlashDump> {
        None
    }

    fn has_flash(&self) -> bool {
        false
    }

    fn watches_resets(&self) -> bool {
        false
    }

    fn begin(&mut self, tap: SharedTap, clock: LabClock) -> Result<(), RackError> {
        for gateway in &self.gateways {
            let name = format!("gateway {}", gateway.id.0);
            let wrong = |fault| RackError::from(BoardError::new(name.clone(), Part::Console, fault));
            let port = console::find(&gateway.radio.port).map_err(wrong)?;
            let near = self.folder.join(format!("radio-{}.tty", gateway.id.0));
            let link = RadioLink::start(gateway.id, &port, gateway.radio.baud, &near, tap.clone(), clock.clone());
            self.links.push(link.map_err(wrong)?);
        }
        Ok(())
    }

    fn radio(&self, gateway: GatewayId) -> PathBuf {
        self.folder.join(format!("radio-{}.tty", gateway.0))
    }
}
