//! What the rack asks of its air, whatever the fidelity at which it is simulated.
//!
//! A message is handed over with everything that decides its fate; who hears it, and when, is the air's to say. It may
//! say so at once, as the link level does, or later, as an air has to in which other messages can still collide with
//! this one. The air knows nothing of what a message means, and it changes no octet: that is the interposer's part.

use crate::link_air::LinkLevel;
use crate::place::LinkBudget;
use hil_model::{AirLevel, GatewayId, Seed, Span, Time};
use mk_wire::Addr;

/// What has to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Image data: a train of segments, `spacing` apart, which nobody acknowledges.
    Train {
        /// Segments.
        pdus: u16,
        /// From one to the next.
        spacing: Span,
    },
    /// Any other access message.
    Access {
        /// Network PDUs.
        pdus: u16,
        /// Whether it is addressed to a group.
        group: bool,
    },
    /// A CoAP datagram.
    Datagram {
        /// Its octets.
        octets: usize,
    },
}

impl Load {
    /// Network PDUs, or datagrams.
    #[must_use]
    pub const fn pdus(self) -> u16 {
        match self {
            Self::Train { pdus, .. } | Self::Access { pdus, .. } => pdus,
            Self::Datagram { .. } => 1,
        }
    }
}

/// Which way, and to whom; nodes by place in the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way<'a> {
    /// From the gateway to those of its nodes that listen.
    Down(&'a [u16]),
    /// From this node to its gateway.
    Up(u16),
}

/// A message handed to the air.
#[derive(Debug, Clone, Copy)]
pub struct Handed<'a> {
    /// What the rack knows it by.
    pub flight: u32,
    /// The gateway at one end, by place.
    pub gateway: usize,
    /// What has to be carried.
    pub load: Load,
    /// Which way.
    pub way: Way<'a>,
    /// Address that it goes to.
    pub to: Addr,
    /// Its octets, for an air in which they really travel.
    pub bytes: &'a [u8],
}

/// What went over an air in which every PDU is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AirReport {
    /// Access messages handed over.
    pub messages: u64,
    /// Network PDUs that gateways and nodes put on the air as data: the segments of image data.
    pub data_pdus: u64,
    /// Every other PDU: control and answers with their repetitions, acknowledgements, what is relayed, beacons.
    pub other_pdus: u64,
    /// Octets of all of them.
    pub octets: u64,
    /// Receptions that the link lost.
    pub lost: u64,
    /// Receptions that a stack refused: heard before, replayed, no room, not for it.
    pub refused: u64,
}

/// Who missed a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missed {
    /// Nobody.
    Nobody,
    /// These receivers, ascending; the others heard it.
    Some(Vec<u16>),
    /// The only receiver there was.
    Everybody,
}

/// What became of a message. Each message handed over lands once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// Which.
    pub flight: u32,
    /// When the last of those that heard it had it whole; not before the time at which the air says so.
    pub at: Time,
    /// Who did not hear it.
    pub missed: Missed,
}

/// The air of the building.
pub trait Air: core::fmt::Debug {
    /// The share of the channel that a gateway may use changed.
    fn set_throttle(&mut self, gateway: usize, permille: u16);

    /// A gateway begins a new train of segments to `nodes`: a round of a block.
    fn begin_train(&mut self, gateway: usize, nodes: &[u16]);

    /// Takes a message over. Landings that are known now go into `landings`.
    fn carry(&mut self, now: Time, message: &Handed<'_>, landings: &mut Vec<Landing>);

    /// Whether the air wants to be told which nodes run.
    fn follows_lives(&self) -> bool {
        false
    }

    /// By node, in the order of the fleet: the number of its present life while its application runs on the mesh. With a
    /// new number it has lost what was in its RAM.
    fn lives(&mut self, now: Time, lives: &[Option<u32>]) {
        let _ = (now, lives);
    }

    /// What went over it, where it counts PDUs.
    fn report(&self) -> Option<AirReport> {
        None
    }

    /// When the air wants to go on by itself; never, where [`Air::carry`] says everything.
    fn next_wakeup(&self) -> Option<Time> {
        None
    }

    /// The time of [`Air::next_wakeup`] has come. Landings that have become known go into `landings`.
    fn on_wakeup(&mut self, now: Time, landings: &mut Vec<Landing>) {
        let _ = (now, landings);
    }
}

/// What an air is made from.
#[derive(Debug, Clone)]
pub struct Building {
    /// Seed of the run.
    pub seed: Seed,
    /// The gateways and the throttle that each starts with.
    pub gateways: Vec<(GatewayId, u16)>,
    /// The link of every node, in the order of the fleet.
    pub budgets: Vec<LinkBudget>,
    /// Least time between two segments of a message that is no train.
    pub segment_interval: Span,
}

type Maker = fn(Building) -> Box<dyn Air>;

/// The airs that there are. A further level is a file with its `impl Air` and a line here.
const AIRS: [(AirLevel, &str, Maker); 1] = [(AirLevel::Link, "link", |building| Box::new(LinkLevel::new(building)))];

/// The air of a level.
///
/// # Errors
/// There is none of that level; the text says which there are.
pub fn air(level: AirLevel, building: Building) -> Result<Box<dyn Air>, String> {
    match AIRS.iter().find(|(known, _, _)| *known == level) {
        Some((_, _, make)) => Ok(make(building)),
        None => {
            let known: Vec<&str> = AIRS.iter().map(|(_, name, _)| *name).collect();
            let wanted = format!("{level:?}").to_lowercase();
            Err(format!("this rack has no air of level `{wanted}`; it has {}", known.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::VirtualRack;
    use hil_model::Fact;
    use hil_model::fact::OutcomeClass;
    use hil_rack::Rack as _;
    use hil_scenario::{BindOptions, Forge, Plan, bind, source};
    use std::collections::VecDeque;

    /// An air of a further level: it decides as the link level does, but says so only when half the way is over.
    #[derive(Debug)]
    struct Late {
        inner: Box<dyn Air>,
        waiting: VecDeque<(Time, Landing)>,
    }

    impl Air for Late {
        fn set_throttle(&mut self, gateway: usize, permille: u16) {
            self.inner.set_throttle(gateway, permille);
        }

        fn begin_train(&mut self, gateway: usize, nodes: &[u16]) {
            self.inner.begin_train(gateway, nodes);
        }

        fn carry(&mut self, now: Time, message: &Handed<'_>, _: &mut Vec<Landing>) {
            let mut landings = Vec::new();
            self.inner.carry(now, message, &mut landings);
            self.waiting.extend(landings.into_iter().map(|l| (now + Span(l.at.since(now).0 / 2), l)));
            self.waiting.make_contiguous().sort_by_key(|(at, _)| *at);
        }

        fn next_wakeup(&self) -> Option<Time> {
            self.waiting.front().map(|(at, _)| *at)
        }

        fn on_wakeup(&mut self, now: Time, landings: &mut Vec<Landing>) {
            while self.waiting.front().is_some_and(|(at, _)| *at <= now) {
                landings.extend(self.waiting.pop_front().map(|(_, landing)| landing));
            }
        }
    }

    const SCENARIO: &str = "title: Four nodes, one of them on Thread
rack: { nodes: 4, floors: 1, gateways: 1, thread-every: 4, image-size: 64 KiB }
campaign: { stages: [{ take: rest }] }
expect: [{ campaign: completed }]
";

    fn plan() -> Plan {
        let scenario = source::read("air/test", "air.yaml", SCENARIO).unwrap().remove(0);
        let rack = VirtualRack::new();
        bind(&scenario, rack.manifest(), Seed(1), &Forge::new(), BindOptions::default()).unwrap()
    }

    fn updated(rack: &mut VirtualRack, plan: &Plan) -> Vec<(Time, hil_model::NodeId)> {
        let mut updated = Vec::new();
        for timed in &plan.actions {
            rack.apply(&timed.action, None).unwrap();
        }
        loop {
            let seen = rack.observe(Time::ZERO + Span::hours(1)).unwrap();
            for event in &seen.events {
                if let (Fact::NodeOutcome { outcome, .. }, Some(node)) = (&event.fact, event.about.node())
                    && outcome.class() == OutcomeClass::Updated
                {
                    updated.push((event.at, node));
                }
            }
            if seen.now >= Time::ZERO + Span::hours(1) {
                return updated;
            }
        }
    }

    #[test]
    fn an_air_may_say_later_what_became_of_a_message() {
        let plan = plan();
        let mut rack = VirtualRack::new();
        rack.prepare(&plan.provision).unwrap();
        let at_once = updated(&mut rack, &plan);
        rack.prepare(&plan.provision).unwrap();
        rack.change_air(|inner| Box::new(Late { inner, waiting: VecDeque::new() }));
        let later = updated(&mut rack, &plan);
        assert_eq!(at_once.len(), 4);
        assert_eq!(at_once, later, "the same messages came through at the same times");
    }

    #[test]
    fn the_refusal_of_a_level_says_which_there_are() {
        let mut plan = plan();
        plan.provision.level = AirLevel::Air;
        let why = VirtualRack::new().prepare(&plan.provision).unwrap_err().to_string();
        assert_eq!(why, "cannot prepare the rack: this rack has no air of level `air`; it has link");
    }
}
