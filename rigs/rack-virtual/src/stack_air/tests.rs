//! The full-stack air against the link level: the same messages in the same order, of the same size, in about the same time.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::VirtualRack;
use crate::place::LinkBudget;
use hil_model::fact::OutcomeClass;
use hil_model::{AirLevel, Capability, Fact, GatewayId, RackManifest, Seed};
use hil_rack::Rack as _;
use hil_scenario::{BindOptions, Forge, Plan, bind, source};
use mk_wire::access::network_pdus;
use std::cell::RefCell;
use std::rc::Rc;

const HOUR: Time = Time(3_600_000_000_000);

fn building(hops: &[u8]) -> Building {
    let budgets = hops.iter().map(|&hops| LinkBudget { hops, rssi_dbm: -60 }).collect();
    Building { seed: Seed(3), gateways: vec![(GatewayId(1), 400)], budgets, segment_interval: Span::millis(10) }
}

fn link(building: &Building) -> Box<dyn Air> {
    crate::air_level::air(AirLevel::Link, building.clone()).unwrap()
}

fn full(hops: &[u8]) -> FullStack {
    let building = building(hops);
    let mut air = FullStack::new(&building, link(&building));
    air.lives(Time::ZERO, &vec![Some(0); hops.len()]);
    air
}

/// Lets an air run until everything has landed: the landings with their times.
fn landings(air: &mut dyn Air, handed: &[Handed<'_>], until: Time) -> Vec<(Time, Landing)> {
    let mut out = Vec::new();
    let mut now = Time::ZERO;
    handed.iter().for_each(|message| air.carry(now, message, &mut out));
    let mut all: Vec<_> = out.drain(..).map(|landing| (now, landing)).collect();
    while let Some(next) = air.next_wakeup().filter(|next| *next <= until) {
        now = next.max(now);
        air.on_wakeup(now, &mut out);
        all.extend(out.drain(..).map(|landing| (now, landing)));
    }
    all
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| if at == 0 { 0xC1 } else { at as u8 }).collect()
}

fn handed<'a>(flight: u32, load: Load, way: Way<'a>, to: u16, bytes: &'a [u8]) -> Handed<'a> {
    Handed { flight, gateway: 0, load, way, to: Addr(to), bytes }
}

fn node(n: u16) -> u16 {
    words::addr(NodeId(n)).0
}

#[test]
fn a_message_of_any_length_lands_at_every_receiver_over_relays() {
    for length in [1, 11, 12, 40, 188, 380] {
        let bytes = text(length);
        let pdus = network_pdus(length, false) as u16;
        let mut air = full(&[1, 1, 2, 3]);
        let load = Load::Access { pdus, group: true };
        let landed = landings(&mut air, &[handed(7, load, Way::Down(&[0, 1, 2, 3]), 0xC0DE, &bytes)], HOUR);
        let [(_, landing)] = &landed[..] else { panic!("{landed:?}") };
        assert_eq!((landing.flight, &landing.missed), (7, &Missed::Nobody), "{length}");
        let least = HOP.times(3) + Span::millis(10).times(u64::from(pdus - 1));
        assert!(landing.at >= Time::ZERO + least && landing.at <= Time::ZERO + least + Span::millis(25), "{landing:?}");
    }
}

#[test]
fn a_message_to_a_node_without_power_is_missed_and_holds_up_nobody_else() {
    let mut air = full(&[1, 1]);
    air.lives(Time::ZERO, &[None, Some(0)]);
    let bytes = text(60);
    let load = Load::Access { pdus: 6, group: false };
    let both = [handed(1, load, Way::Down(&[0]), node(1), &bytes), handed(2, load, Way::Down(&[1]), node(2), &bytes)];
    let landed = landings(&mut air, &both, HOUR);
    let missed = |flight| &landed.iter().find(|(_, landing)| landing.flight == flight).unwrap().1.missed;
    assert_eq!((missed(1), missed(2), landed.len()), (&Missed::Everybody, &Missed::Nobody, 2));
}

#[test]
fn a_node_that_was_reset_is_heard_again_with_numbers_that_it_has_not_used() {
    let mut air = full(&[1]);
    let bytes = text(30);
    let load = Load::Access { pdus: 3, group: false };
    for life in 0..3 {
        air.lives(Time::ZERO, &[Some(life)]);
        let landed = landings(&mut air, &[handed(life, load, Way::Up(0), 1, &bytes)], HOUR);
        assert!(landed.iter().any(|(_, l)| l.flight == life && l.missed == Missed::Nobody), "life {life}: {landed:?}");
    }
}

#[test]
fn unicast_survives_a_link_that_loses_a_fifth_and_a_train_does_not() {
    let building = building(&[1, 1]);
    let bytes = text(200);
    let run = |load, way, to| {
        let mut air = FullStack::new(&building, link(&building)).with_loss(200);
        air.lives(Time::ZERO, &[Some(0), Some(0)]);
        let many: Vec<_> = (0..10).map(|flight| handed(flight, load, way, to, &bytes)).collect();
        let landed = landings(&mut air, &many, HOUR);
        assert_eq!(landed.len(), 10, "every message lands once");
        landed.iter().filter(|(_, landing)| landing.missed == Missed::Nobody).count()
    };
    assert_eq!(run(Load::Access { pdus: 17, group: false }, Way::Down(&[0]), node(1)), 10);
    let train = Load::Train { pdus: 17, spacing: Span::millis(10) };
    assert!(run(train, Way::Down(&[0, 1]), 0xC0DE) < 5);
}

// --- a whole campaign against the link level ----------------------------------------------------------------------------

/// What a rack handed to its air: when, what, and when it landed.
#[derive(Debug, Clone)]
struct Carried {
    at: Time,
    load: Load,
    up: Option<u16>,
    opcode: u8,
    octets: usize,
    landed: Option<Time>,
}

type Log = Rc<RefCell<Vec<(u32, Carried)>>>;

/// Writes down what passes through the air inside.
#[derive(Debug)]
struct Recorder {
    inner: Box<dyn Air>,
    log: Log,
}

impl Recorder {
    fn landed(&self, landings: &[Landing]) {
        let mut log = self.log.borrow_mut();
        for landing in landings {
            let mine =
                log.iter_mut().rev().find(|(flight, carried)| *flight == landing.flight && carried.landed.is_none());
            if let Some((_, carried)) = mine {
                carried.landed = Some(landing.at);
            }
        }
    }
}

impl Air for Recorder {
    fn set_throttle(&mut self, gateway: usize, permille: u16) {
        self.inner.set_throttle(gateway, permille);
    }

    fn begin_train(&mut self, gateway: usize, nodes: &[u16]) {
        self.inner.begin_train(gateway, nodes);
    }

    fn carry(&mut self, now: Time, message: &Handed<'_>, landings: &mut Vec<Landing>) {
        let up = match message.way {
            Way::Up(node) => Some(node),
            Way::Down(_) => None,
        };
        let opcode = message.bytes.get(1).copied().unwrap_or(0);
        let opcode =
            if message.bytes.first().is_some_and(|first| first & 0x80 == 0) { message.bytes[0] } else { opcode };
        let octets = message.bytes.len();
        let carried = Carried { at: now, load: message.load, up, opcode, octets, landed: None };
        self.log.borrow_mut().push((message.flight, carried));
        self.inner.carry(now, message, landings);
        self.landed(landings);
    }

    fn follows_lives(&self) -> bool {
        self.inner.follows_lives()
    }

    fn lives(&mut self, now: Time, lives: &[Option<u32>]) {
        self.inner.lives(now, lives);
    }

    fn report(&self) -> Option<AirReport> {
        self.inner.report()
    }

    fn next_wakeup(&self) -> Option<Time> {
        self.inner.next_wakeup()
    }

    fn on_wakeup(&mut self, now: Time, landings: &mut Vec<Landing>) {
        self.inner.on_wakeup(now, landings);
        self.landed(landings);
    }
}

const SCENARIO: &str = "title: Eight nodes on the mesh
rack: { nodes: 8, floors: 1, gateways: 1, thread-every: 0, image-size: 32 KiB }
campaign: { stages: [{ take: rest }] }
expect: [{ campaign: completed }]
";

fn manifest(full: bool) -> RackManifest {
    let mut manifest = VirtualRack::new().manifest().clone();
    if full {
        manifest.capabilities.insert(Capability::FullStack);
    }
    manifest
}

fn plan(manifest: &RackManifest) -> Plan {
    let scenario = source::read("stack/test", "stack.yaml", SCENARIO).unwrap().remove(0);
    bind(&scenario, manifest, Seed(1), &Forge::new(), BindOptions::default()).unwrap()
}

struct Ran {
    log: Vec<Carried>,
    updated: Vec<(Time, NodeId)>,
    report: Option<AirReport>,
}

fn run(full: bool) -> Ran {
    let manifest = manifest(full);
    let plan = plan(&manifest);
    let mut rack = VirtualRack::from_manifest(manifest);
    rack.prepare(&plan.provision).unwrap();
    let log = Log::default();
    let inside = Rc::clone(&log);
    rack.change_air(|inner| Box::new(Recorder { inner, log: inside }));
    for timed in &plan.actions {
        rack.apply(&timed.action, None).unwrap();
    }
    let mut updated = Vec::new();
    loop {
        let seen = rack.observe(HOUR).unwrap();
        for event in &seen.events {
            if let (Fact::NodeOutcome { outcome, .. }, Some(node)) = (&event.fact, event.about.node())
                && outcome.class() == OutcomeClass::Updated
            {
                updated.push((event.at, node));
            }
        }
        if seen.now >= HOUR {
            let log = log.borrow().iter().map(|(_, carried)| carried.clone()).collect();
            return Ran { log, updated, report: rack.air_report() };
        }
    }
}

/// The gateway's part, up to the confirmations: what it sends there depends on answers that come at times of their own.
fn downward(ran: &Ran) -> Vec<&Carried> {
    ran.log.iter().filter(|carried| carried.up.is_none()).collect()
}

#[test]
fn a_campaign_is_the_same_messages_of_the_same_size_in_about_the_same_time() {
    let (link, full) = (run(false), run(true));
    let nodes = |ran: &Ran| {
        let mut nodes: Vec<_> = ran.updated.iter().map(|(_, node)| *node).collect();
        nodes.sort();
        nodes
    };
    assert_eq!(nodes(&link).len(), 8);
    assert_eq!(nodes(&link), nodes(&full));

    // Order and size of everything that the gateway sends to its group.
    let group = |ran: &Ran| -> Vec<(u8, Load, usize)> {
        let is_group = |load: Load| matches!(load, Load::Train { .. } | Load::Access { group: true, .. });
        let to_group = downward(ran).into_iter().filter(|carried| is_group(carried.load));
        to_group.map(|carried| (carried.opcode, carried.load, carried.octets)).collect()
    };
    let (link_group, full_group) = (group(&link), group(&full));
    assert_eq!(link_group, full_group);
    let chunks = full_group.iter().filter(|(_, load, _)| matches!(load, Load::Train { .. })).count();
    assert!(chunks >= 32 * 1024 / 185, "{chunks}");

    // Sizes on the air: the segments of the data, each once at the gateway; no relays in a layer of one hop.
    let report = full.report.unwrap();
    let data: u64 =
        downward(&full).iter().map(|c| if let Load::Train { pdus, .. } = c.load { u64::from(pdus) } else { 0 }).sum();
    assert!(report.data_pdus >= data, "{report:?}, {data} segments");
    assert!(report.data_pdus <= data + data / 4, "{report:?}, {data} segments");
    assert_eq!(report.messages, full.log.len() as u64);

    // Waits: every train of data lands when the link level says, but for the way of its last segment.
    let waits = |ran: &Ran| -> Vec<u64> {
        let trains = downward(ran).into_iter().filter(|carried| matches!(carried.load, Load::Train { .. }));
        trains.map(|carried| carried.landed.unwrap().since(carried.at).as_millis()).collect()
    };
    for (link, full) in waits(&link).into_iter().zip(waits(&full)) {
        assert!(full.abs_diff(link) <= 20, "{link} ms at link level, {full} ms with full stacks");
    }
    let end = |ran: &Ran| ran.updated.iter().map(|(at, _)| at.0).max().unwrap() / 1_000_000;
    let (link, full) = (end(&link), end(&full));
    assert!(full.abs_diff(link) * 20 <= link, "{link} ms at link level, {full} ms with full stacks");
}

#[test]
fn one_seed_one_story() {
    let story =
        |ran: Ran| (ran.updated, ran.report, ran.log.iter().map(|c| (c.at, c.octets, c.landed)).collect::<Vec<_>>());
    assert_eq!(story(run(true)), story(run(true)));
}

#[test]
fn a_building_is_too_large_for_full_stacks() {
    let mut plan = plan(&manifest(true));
    let one = plan.provision.fleet.nodes[0];
    plan.provision.fleet.nodes = (1..=129).map(|n| hil_model::NodeSpec { id: NodeId(n), ..one }).collect();
    let why = VirtualRack::from_manifest(manifest(true)).prepare(&plan.provision).unwrap_err().to_string();
    assert!(why.contains("at most 128 nodes"), "{why}");
}
