//! The rack port over the simulated building.

use crate::air_level::{self, AirReport, Building};
use crate::gateways::GatewayHost;
use crate::hardware::{Shared, VirtualBoard};
use crate::kernel::Wheel;
use crate::life::{KnownProgram, NodeHost};
use crate::meshos::MeshosHost;
use crate::place;
use crate::probe::Probe;
use crate::random::{Purpose, Stream};
use crate::scenes::Scenes;
use crate::slab::Slab;
use crate::stack_air::{self, FullStack};
use crate::world::{Due, World};
use hil_model::fact::{Fact, Moment};
use hil_model::{
    About, Action, BankArea, Capability, Digest, FaultId, Fleet, NodeId, NodeSpec, ProbeWrite, Profile, Protocol,
    Provision, RackKind, RackManifest, Span, SuppliedImage, Time, Witness,
};
use hil_rack::{Observation, Rack, RackError};
use mk_boot::geometry::{self, Geometry, Memory, Slot};
use mk_boot::hardware::PublicKey;
use mk_gateway::GatewaySettings;
use mk_node::config::{self, Config};
use mk_wire::Addr;
use mk_wire::time::Duration;
use rack_witness::interposer::Interposer;
use rack_witness::words;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Address of MeshOS on the backhaul.
const MESHOS: Addr = Addr(0x7F01);
/// Distance between the power-ups of two nodes, so that a thousand of them do not act as one.
const POWER_UP_STEP_US: u64 = 977;

/// The embedded rack.
pub struct VirtualRack {
    manifest: RackManifest,
    running: Option<SuppliedImage>,
    world: Option<World>,
    remember: bool,
}

impl VirtualRack {
    /// The default rack: 24 nodes on two floors, every sixth on Thread, one gateway.
    #[must_use]
    pub fn new() -> Self {
        Self::with_fleet("virtual", Fleet::building(24, 2, 1, 6, 2), Profile::default())
    }

    /// A rack of that fleet.
    #[must_use]
    pub fn with_fleet(name: &str, fleet: Fleet, profile: Profile) -> Self {
        let not_here = [Capability::AirSinglePdu, Capability::FullStack];
        let capabilities = Capability::ALL.iter().copied().filter(|c| !not_here.contains(c)).collect();
        let manifest = RackManifest { name: name.to_owned(), kind: RackKind::Virtual, capabilities, profile, fleet };
        Self { manifest, running: None, world: None, remember: true }
    }

    /// The rack of a manifest, as read from a rack file.
    #[must_use]
    pub fn from_manifest(manifest: RackManifest) -> Self {
        Self { manifest, running: None, world: None, remember: true }
    }

    /// Works every digest and signature check out afresh instead of remembering it by content. Slower, and nothing else
    /// may differ: tests compare the ledgers.
    #[must_use]
    pub fn without_memory(mut self) -> Self {
        self.remember = false;
        self
    }

    /// Signature checks worked out and remembered in the present run.
    #[must_use]
    pub fn signature_checks(&self) -> (u64, u64) {
        self.world.as_ref().map_or((0, 0), |w| {
            let counts = w.shared.signature_checks();
            (counts.real, counts.remembered)
        })
    }

    /// Whether every PDU passes through a real stack: the manifest says so.
    #[must_use]
    pub fn full_stack(&self) -> bool {
        self.manifest.capabilities.contains(&Capability::FullStack)
    }

    /// The same rack with a real stack in every gateway and node: for the fleet of a bench, not of a building.
    #[must_use]
    pub fn with_full_stack(mut self) -> Self {
        self.manifest.capabilities.insert(Capability::FullStack);
        self.manifest.capabilities.remove(&Capability::LargeFleet);
        self
    }

    /// What went over the air in the present run, where full stacks run.
    #[must_use]
    pub fn air_report(&self) -> Option<AirReport> {
        self.world.as_ref().and_then(|world| world.air.report())
    }

    /// Changes the air of a rack that has just been prepared: nothing is under way yet that could get lost.
    #[cfg(test)]
    pub(crate) fn change_air(&mut self, make: impl FnOnce(Box<dyn air_level::Air>) -> Box<dyn air_level::Air>) {
        if let Some(mut world) = self.world.take() {
            world.air = make(world.air);
            self.world = Some(world);
        }
    }

    fn world(&mut self, action: &str) -> Result<&mut World, RackError> {
        self.world.as_mut().ok_or_else(|| refused(action, "the rack was not prepared"))
    }
}

impl Default for VirtualRack {
    fn default() -> Self {
        Self::new()
    }
}

fn refused(action: &str, why: impl core::fmt::Display) -> RackError {
    RackError::Refused { action: action.to_owned(), why: why.to_string() }
}

impl Rack for VirtualRack {
    fn manifest(&self) -> &RackManifest {
        &self.manifest
    }

    fn prepare(&mut self, provision: &Provision) -> Result<(), RackError> {
        self.running = Some(provision.running.clone());
        self.world = Some(build(provision, self.remember, self.full_stack())?);
        Ok(())
    }

    fn apply(&mut self, action: &Action, fault: Option<FaultId>) -> Result<(), RackError> {
        let running = self.running.clone();
        let words = action.describe();
        if let Some(lacking) = action.needs().into_iter().find(|c| !self.manifest.capabilities.contains(c)) {
            return Err(refused(&words, format!("the rack lacks {lacking}")));
        }
        let world = self.world(&words)?;
        let place = |id: &NodeId| {
            let here = id.0 > 0 && id.index() < world.nodes.len();
            here.then(|| id.index()).ok_or_else(|| refused(&words, format!("there is no node {id}")))
        };
        match action {
            Action::StartCampaign { policy, package, targets } => {
                targets.iter().try_for_each(|id| place(id).map(drop))?;
                let running = running.ok_or_else(|| refused(&words, "no running image"))?;
                world.start_campaign(policy, package, &running, targets).map_err(|why| refused(&words, why))?;
            }
            Action::Operator(order) => world.order_campaign(*order).map_err(|why| refused(&words, why))?,
            Action::AddAirRule(rule) => world.interposer.add(rule.clone()),
            Action::RemoveAirRule(id) => world.interposer.remove(*id),
            Action::Power(id, power) => {
                let node = place(id)?;
                world.power(node, *power, fault);
            }
            Action::ProbeWrite(id, write) => {
                let node = place(id)?;
                world.probe_write(node, write, fault).map_err(|why| refused(&words, why))?;
            }
            Action::ProbeRead(id) => {
                let node = place(id)?;
                world.read_banks(node, Moment::Asked);
            }
            Action::RestartGateway(id, down) => {
                let found = world.gateways.iter().position(|g| g.id == *id);
                let gateway = found.ok_or_else(|| refused(&words, format!("there is no gateway {id}")))?;
                world.restart_gateway(gateway, *down);
            }
            Action::RestartMeshos(down) => world.restart_meshos(*down),
        }
        world.settle();
        Ok(())
    }

    fn observe(&mut self, until: Time) -> Result<Observation, RackError> {
        let world = self.world("observe")?;
        world.run(until);
        Ok(Observation { events: core::mem::take(&mut world.events), now: world.now, quiet: world.quiet() })
    }

    fn collect(&mut self) -> Result<Vec<hil_model::Event>, RackError> {
        let world = self.world("collect")?;
        for node in 0..world.nodes.len() {
            world.read_banks(node, Moment::Final);
        }
        Ok(core::mem::take(&mut world.events))
    }

    fn release(&mut self) {
        self.world = None;
    }
}

impl World {
    /// Changes flash behind the firmware's back.
    fn probe_write(&mut self, node: usize, write: &ProbeWrite, fault: Option<FaultId>) -> Result<(), String> {
        let host = &mut self.nodes[node];
        let table = host.board.table();
        let mut status =
            || mk_boot::update::status(&mut host.board).map_err(|e| format!("the boot journal cannot be read: {e}"));
        let slot = |slot: Slot| (Memory::External, table.slot(slot));
        let (memory, region) = match write.area {
            BankArea::A => (Memory::Internal, table.bank_a),
            BankArea::Config => (Memory::Internal, table.config),
            BankArea::Journal => (Memory::Internal, table.journal),
            BankArea::Slot0 => slot(Slot::Zero),
            BankArea::Slot1 => slot(Slot::One),
            BankArea::Staging => slot(status()?.staging),
            BankArea::Golden => slot(status()?.golden.ok_or("there is no golden slot")?),
        };
        let inside = write.offset as usize + write.mask.len() <= region.length as usize;
        if !inside {
            return Err(format!("offset {:#x} lies outside the area of {:#x} octets", write.offset, region.length));
        }
        let flash = match memory {
            Memory::Internal => &mut host.board.internal,
            Memory::External => &mut host.board.external,
        };
        let address = region.start + write.offset;
        let mut before = vec![0; write.mask.len()];
        flash.peek(address, &mut before).map_err(|e| e.to_string())?;
        let after: Vec<u8> = before.iter().zip(&write.mask).map(|(b, m)| b ^ m).collect();
        flash.load(address, &after).map_err(|e| e.to_string())?;
        let head = |bytes: &[u8]| bytes[..bytes.len().min(8)].to_vec();
        let fact = Fact::ProbeWrote {
            fault,
            area: write.area,
            offset: write.offset,
            before: head(&before),
            after: head(&after),
        };
        let about = About::Node(host.spec.id);
        self.note(about, Witness::Probe, fact);
        Ok(())
    }
}

// --- building the world ------------------------------------------------------------------------------------------------

/// Flash of one provisioned board by configuration version: all nodes of one version start with the same bytes.
type Templates = BTreeMap<u16, VirtualBoard>;

fn build(provision: &Provision, remember: bool, full_stack: bool) -> Result<World, RackError> {
    let nodes = provision.fleet.nodes.len();
    if full_stack && nodes > stack_air::MOST_NODES {
        let most = stack_air::MOST_NODES;
        return Err(refused("prepare the rack", format!("full stacks run on at most {most} nodes, not {nodes}")));
    }
    let name = &provision.profile.board;
    let table = geometry::by_name(name)
        .ok_or_else(|| refused("prepare the rack", format!("there is no board table `{name}`")))?;
    let shared = Shared::new(table.page_size, remember);
    let budgets = place::link_budgets(&provision.fleet, provision.seed);
    let programs: BTreeMap<Digest, KnownProgram> =
        provision.programs.iter().map(|p| (p.payload_digest, KnownProgram { behaviour: p.behaviour })).collect();
    let programs = Rc::new(programs);
    let mut templates = Templates::new();
    let mut nodes = Vec::with_capacity(provision.fleet.nodes.len());
    for (spec, budget) in provision.fleet.nodes.iter().zip(budgets) {
        let board = board(provision, table, &shared, spec, &mut templates)?;
        nodes.push(NodeHost::new(*spec, board, budget, provision.report_interval, Rc::clone(&programs)));
    }
    let gateways: Vec<GatewayHost> = provision.fleet.gateways().into_iter().map(|id| gateway(provision, id)).collect();
    let building = Building {
        seed: provision.seed,
        gateways: gateways.iter().map(|g| (g.id, g.throttle())).collect(),
        budgets: nodes.iter().map(|n| n.budget).collect(),
        segment_interval: provision.profile.segment_interval,
    };
    let link = air_level::air(provision.level, building.clone()).map_err(|why| refused("prepare the rack", why))?;
    let air: Box<dyn air_level::Air> = if full_stack { Box::new(FullStack::new(&building, link)) } else { link };
    let mut world = World {
        now: Time::ZERO,
        wheel: Wheel::default(),
        events: Vec::new(),
        nodes,
        gateways,
        meshos: MeshosHost::default(),
        interposer: Interposer::default(),
        probe: Probe::new(&provision.key),
        shared,
        composition: provision.composition,
        grace: provision.grace,
        air,
        air_timer: Time::NEVER,
        flights: Slab::default(),
        spare: Vec::new(),
        scenes: Scenes::new(provision.traffic, Stream::new(provision.seed, Purpose::Scene, 0)),
        tear: Stream::new(provision.seed, Purpose::Tear, 0),
        pending: VecDeque::new(),
    };
    start(&mut world);
    Ok(world)
}

fn start(world: &mut World) {
    for node in 0..world.nodes.len() {
        world.read_banks(node, Moment::Provisioned);
        world.first_power(node, Span::micros(POWER_UP_STEP_US).times(node as u64));
    }
    for gateway in 0..world.gateways.len() {
        world.touch_gateway(gateway);
    }
    if let Some(first) = world.scenes.next_in() {
        world.wheel.insert(world.now + first, Due::Scene);
    }
    world.settle();
}

/// A board with running image, golden copy, key and configuration in place.
fn board(
    provision: &Provision,
    table: &'static Geometry,
    shared: &Shared,
    spec: &NodeSpec,
    templates: &mut Templates,
) -> Result<VirtualBoard, RackError> {
    let entity = u64::from(spec.id.0);
    let blank = || {
        let sensor = Stream::new(provision.seed, Purpose::Sensor, entity);
        let entropy = Stream::new(provision.seed, Purpose::Entropy, entity);
        VirtualBoard::new(table, shared, Some(PublicKey(provision.key)), sensor, entropy)
    };
    let template = match templates.entry(spec.config_version) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => {
            let mut template = blank();
            load_image(&mut template, table, &provision.running.bytes)
                .map_err(|why| refused("provision the nodes", why))?;
            place.insert(template)
        }
    };
    let mut board = blank();
    board.internal.restore_from(&template.internal, 0..template.internal.size());
    board.external.restore_from(&template.external, 0..template.external.size());
    let fields = Config::factory(spec.config_version, spec.id.unicast()).ok_or_else(|| {
        refused("provision the nodes", format!("there is no configuration schema {}", spec.config_version))
    })?;
    config::provision(&mut board.internal, table.config, &fields)
        .map_err(|e| refused("provision the nodes", format!("configuration of {}: {e}", spec.id)))?;
    Ok(board)
}

/// Puts an image into bank A and, as signed, into slot 0, which the first boot takes for golden.
fn load_image(board: &mut VirtualBoard, table: &Geometry, image: &[u8]) -> Result<(), String> {
    let header = table.header_size as usize;
    let length = image
        .get(12..16)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or("the running image is cut short")?;
    let end = header + length as usize;
    let (payload, tlvs) = (image.get(header..end), image.get(end..));
    let (Some(payload), Some(tlvs)) = (payload, tlvs) else { return Err("the running image is cut short".to_owned()) };
    if payload.len() > table.max_payload() as usize || tlvs.len() > table.max_tlvs() as usize {
        return Err(format!("the running image of {} octets does not fit bank A", image.len()));
    }
    let trailer = table.trailer().start;
    let parts = [(table.bank_a.start, payload), (trailer, &image[..header]), (trailer + table.header_size, tlvs)];
    for (address, bytes) in parts {
        board.internal.load(address, bytes).map_err(|e| e.to_string())?;
    }
    board.external.load(table.slot(Slot::Zero).start, image).map_err(|e| e.to_string())
}

fn gateway(provision: &Provision, id: hil_model::GatewayId) -> GatewayHost {
    let directory = provision
        .fleet
        .nodes
        .iter()
        .filter(|n| n.gateway == id)
        .map(|n| {
            let carrier = match n.protocol {
                Protocol::Mesh => mk_gateway::Carrier::Mesh,
                Protocol::Thread => mk_gateway::Carrier::Thread,
            };
            (words::addr(n.id), carrier)
        })
        .collect();
    let profile = &provision.profile;
    let settings = GatewaySettings {
        segment_interval: Duration::from_ticks(profile.segment_interval.as_micros()),
        chunk_size: profile.chunk_size,
        block_size_log: profile.block_size_log,
        ..GatewaySettings::new(Addr(id.unicast()), MESHOS, directory)
    };
    GatewayHost::new(id, settings)
}
