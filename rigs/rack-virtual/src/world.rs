//! The simulated building: boards, gateways, the campaign process and the air between them, in virtual time.
//!
//! One queue of things due, one clock. The firmware crates do all the deciding; this module hands them octets and the
//! time and writes down what a witness would see. What happens to single nodes is in [`crate::life`], what happens on
//! the air in [`crate::air`], the two processes are in [`crate::gateways`] and [`crate::meshos`].

use crate::air::Flight;
use crate::air_level::Air;
use crate::gateways::GatewayHost;
use crate::hardware::Shared;
use crate::kernel::Wheel;
use crate::life::NodeHost;
use crate::meshos::MeshosHost;
use crate::probe::Probe;
use crate::random::Stream;
use crate::scenes::Scenes;
use crate::slab::Slab;
use hil_model::{About, Composition, Event, Fact, Span, Time, Witness};
use rack_witness::interposer::Interposer;
use std::collections::VecDeque;

/// Something that is due at a time. `life` counts the restarts of what it is for: what was due in an earlier life is
/// not carried out.
#[derive(Debug, Clone, Copy)]
pub enum Due {
    /// A node's own timer.
    NodeTimer { node: u16, life: u32 },
    /// A node's bootloader hands over.
    BootDone { node: u16, life: u32 },
    /// Power goes away in the middle of a boot.
    Dark { node: u16, life: u32 },
    /// A node's watchdog may have expired.
    Watchdog { node: u16, life: u32 },
    /// A node's program crashes.
    Crash { node: u16, life: u32 },
    /// Power comes back.
    PowerOn { node: u16, life: u32 },
    /// A gateway's own timer.
    GatewayTimer { gateway: u16, life: u32 },
    /// A gateway process comes up.
    GatewayUp { gateway: u16 },
    /// The campaign's own timer.
    MeshosTimer { life: u32 },
    /// The campaign process comes up.
    MeshosUp,
    /// A message arrives.
    Arrival { flight: u32 },
    /// The air goes on by itself.
    Air,
    /// Somebody presses a switch.
    Scene,
}

/// The building.
pub struct World {
    /// Time now.
    pub now: Time,
    pub(crate) wheel: Wheel<Due>,
    pub(crate) events: Vec<Event>,
    pub(crate) nodes: Vec<NodeHost>,
    pub(crate) gateways: Vec<GatewayHost>,
    pub(crate) meshos: MeshosHost,
    pub(crate) interposer: Interposer,
    pub(crate) probe: Probe,
    pub(crate) shared: Shared,
    pub(crate) composition: Composition,
    pub(crate) grace: Span,
    pub(crate) air: Box<dyn Air>,
    /// When the air wants to be called.
    pub(crate) air_timer: Time,
    pub(crate) flights: Slab<Flight>,
    /// Buffers of flights that have landed.
    pub(crate) spare: Vec<Vec<u8>>,
    pub(crate) scenes: Scenes,
    pub(crate) tear: Stream,
    /// Gateways whose outputs have to be looked at.
    pub(crate) pending: VecDeque<usize>,
}

/// Rounds of handing outputs on at one instant; more means that two machines talk without end.
const MAX_ROUNDS: usize = 100_000;

impl World {
    /// Writes an observation down.
    pub(crate) fn note(&mut self, about: About, witness: Witness, fact: Fact) {
        self.events.push(Event::new(self.now, about, witness, fact));
    }

    /// Lets time run to the next instant with an observation, or to `until`.
    pub fn run(&mut self, until: Time) {
        loop {
            let limit = if self.events.is_empty() { until } else { self.now };
            let Some((at, due)) = self.wheel.pop_until(limit) else { break };
            self.now = self.now.max(at);
            self.carry_out(due);
            self.settle();
        }
        if self.events.is_empty() {
            self.now = self.now.max(until);
        }
    }

    /// Hands the outputs of gateways and campaign on until there are none.
    pub(crate) fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if let Some(gateway) = self.pending.pop_front() {
                self.pump_gateway(gateway);
            } else if !self.pump_meshos() {
                return;
            }
        }
    }

    /// Whether nothing but periodic traffic is due.
    #[must_use]
    pub fn quiet(&self) -> bool {
        self.meshos.quiet() && self.nodes.iter().all(NodeHost::quiet) && self.gateways.iter().all(GatewayHost::quiet)
    }

    fn carry_out(&mut self, due: Due) {
        match due {
            Due::NodeTimer { node, life } => self.node_timer(usize::from(node), life),
            Due::Arrival { flight } => self.arrive(flight),
            Due::Air => self.air_goes_on(),
            Due::BootDone { node, life } => self.boot_done(usize::from(node), life),
            Due::Dark { node, life } => self.dark_in_boot(usize::from(node), life),
            Due::Watchdog { node, life } => self.watchdog(usize::from(node), life),
            Due::Crash { node, life } => self.crash(usize::from(node), life),
            Due::PowerOn { node, life } => self.power_on(usize::from(node), life),
            Due::GatewayTimer { gateway, life } => self.gateway_timer(usize::from(gateway), life),
            Due::GatewayUp { gateway } => self.gateway_up(usize::from(gateway)),
            Due::MeshosTimer { life } => self.meshos_timer(life),
            Due::MeshosUp => self.meshos_up(),
            Due::Scene => self.scene(),
        }
    }
}
