//! A small building for tests: gateways that distribute as the protocol sheet says, and nodes that behave as told.
//!
//! Deterministic: events are ordered by time and insertion. The bench is also the host of the campaign: it persists every
//! record before it carries anything out, and it can kill the campaign after any record.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(dead_code, reason = "each test binary uses a part of the bench")]

pub mod gateway;

use gateway::FakeGateway;
use mk_campaign::journal::{self, Record};
use mk_campaign::{
    Alert, Campaign, Carrier, NodeInfo, NodeKind, OperatorOrder, Outcome, Package, Parts, Policy, StagePolicy,
    StageSize,
};
use mk_wire::north::{Notice, Order};
use mk_wire::time::{Duration, Instant};
use mk_wire::vendor::{AppReport, BootOutcome, Health, Report};
use mk_wire::{Addr, Reason, Version, update};
use std::collections::BTreeMap;

pub const OLD: Version = Version::new(1, 0, 0);
pub const NEW: Version = Version::new(1, 1, 0);

/// What a node does with an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// Installs, confirms, stays.
    Good,
    /// Refuses the metadata at Update Start.
    Refuses(Reason),
    /// Finds the staged image bad.
    FailsVerification(Reason),
    /// The bootloader refuses after the reset.
    RefusedAtBoot(Reason),
    /// Never confirms.
    RollsBack,
    /// Confirms, misses every acknowledgement, rolls back.
    AckLost,
    /// Never confirms, and cannot be rolled back for want of a golden image.
    Kept,
    /// Confirms, misses every acknowledgement, and cannot be rolled back either.
    KeptAfterLostAck,
    /// Confirms, and has its running bank restored from golden later on.
    Restored,
    /// Takes the new image, and finds the old one not good enough afterwards.
    WillNotGoBack(Reason),
    /// Never answers anything.
    Silent,
    /// Its first transfers break off.
    TransferBreaks(u8),
    /// Confirms, and runs the old image again so many seconds after that.
    RollsBackLate(u64),
    /// Confirms, and says nothing at all from so many seconds after that on.
    FallsSilent(u64),
    /// Confirms, and reports itself degraded.
    Degraded,
}

#[derive(Clone, Debug)]
pub struct FakeNode {
    pub info: NodeInfo,
    pub behaviour: Behaviour,
    pub running: Version,
    pub trial: bool,
    pub boot_count: u32,
    pub booted_at: Instant,
    pub outcome: BootOutcome,
    pub reason: Reason,
    pub about: Version,
    pub silent_from: Option<Instant>,
    /// Distributions it took part in.
    pub transfers: u8,
}

impl FakeNode {
    pub fn report(&self) -> Report {
        Report {
            running: self.running,
            config_version: 1,
            boot_count: self.boot_count,
            outcome: self.outcome,
            reason: self.reason,
            about: self.about,
            update_phase: update::Phase::Idle,
        }
    }

    fn answers(&self, now: Instant) -> bool {
        self.behaviour != Behaviour::Silent && self.silent_from.is_none_or(|from| now < from)
    }
}

/// Things that happen at a time.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "the queue of a test")]
pub enum Event {
    /// The node boots into this image, on trial or not.
    Boot { node: Addr, version: Version, trial: bool, outcome: BootOutcome, reason: Reason },
    /// The node's confirmation is acknowledged and reaches it.
    Acked { node: Addr, boot_count: u32 },
    /// A gateway's distribution finishes its transfer.
    Transferred { gateway: Addr, run: u32 },
    /// A gateway's distribution finishes.
    Finished { gateway: Addr, run: u32 },
    /// A notice reaches MeshOS.
    Notice { gateway: Addr, notice: Notice },
    /// Every node sends its heartbeat and application report.
    Beat,
    /// The operator acts.
    Operator(OperatorOrder),
}

pub struct World {
    pub now: Instant,
    pub campaign: Campaign,
    /// As on disk.
    pub file: Vec<u8>,
    pub records: Vec<Record>,
    pub alerts: Vec<Alert>,
    pub orders: Vec<(Instant, Addr, Order)>,
    pub nodes: BTreeMap<Addr, FakeNode>,
    pub gateways: BTreeMap<Addr, FakeGateway>,
    pub package: Package,
    pub rollback: Package,
    pub parts: Parts,
    /// Kill the campaign once so many records are on disk, leaving a torn one behind.
    pub crash_after: Option<usize>,
    /// Kill it after every record.
    pub crash_always: bool,
    pub crashes: u32,
    /// Heartbeats and application reports are sent.
    pub beats: bool,
    pub rssi_dbm: i8,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
}

pub fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub fn at(s: u64) -> Instant {
    Instant::from_ticks(s * 1_000_000)
}

/// A fleet over floors and types, served by `gateways` gateways in turn of floors.
pub fn fleet(count: u16, floors: u8, gateways: u16) -> Vec<NodeInfo> {
    (0..count)
        .map(|i| {
            let floor = (u32::from(i) * u32::from(floors) / u32::from(count)) as u8 + 1;
            NodeInfo {
                addr: Addr(0x0100 + i + 1),
                floor,
                kind: match i % 12 {
                    5 | 10 => NodeKind::Sensor,
                    11 => NodeKind::Switch,
                    _ => NodeKind::Luminaire,
                },
                carrier: if i % 6 == 5 { Carrier::Thread } else { Carrier::Mesh },
                gateway: Addr(u16::from(floor - 1) % gateways + 1),
            }
        })
        .collect()
}

pub fn package(version: Version, size: usize) -> Package {
    let image = (0..size).map(|i| (i * 31 + usize::from(version.minor)) as u8).collect();
    Package { version, config_version: 1, metadata: vec![version.minor; 116], image }
}

/// One stage after another, each with its soak in seconds.
pub fn policy(stages: &[(StageSize, u64)]) -> Policy {
    let stages = stages.iter().map(|&(size, soak)| StagePolicy { size, soak: secs(soak) }).collect();
    Policy { stages, ..Policy::default() }
}

impl World {
    pub fn new(policy: Policy, fleet: Vec<NodeInfo>) -> Self {
        Self::with(policy, fleet, Parts::product())
    }

    pub fn with(policy: Policy, fleet: Vec<NodeInfo>, parts: Parts) -> Self {
        let (package, rollback) = (package(NEW, 5000), package(OLD, 4000));
        let nodes = fleet.iter().map(|info| {
            let node = FakeNode {
                info: *info,
                behaviour: Behaviour::Good,
                running: OLD,
                trial: false,
                boot_count: 7,
                booted_at: at(0),
                outcome: BootOutcome::None,
                reason: Reason::None,
                about: Version::default(),
                silent_from: None,
                transfers: 0,
            };
            (info.addr, node)
        });
        let gateways = fleet.iter().map(|info| (info.gateway, FakeGateway::new(info.gateway)));
        World {
            now: at(0),
            nodes: nodes.collect(),
            gateways: gateways.collect(),
            campaign: Campaign::new(policy, fleet, package.clone(), Some(rollback.clone()), parts).unwrap(),
            file: Vec::new(),
            records: Vec::new(),
            alerts: Vec::new(),
            orders: Vec::new(),
            package,
            rollback,
            parts,
            crash_after: None,
            crash_always: false,
            crashes: 0,
            beats: true,
            rssi_dbm: -60,
            events: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// The n-th node, from 1.
    pub fn node(&mut self, n: u16) -> &mut FakeNode {
        self.nodes.get_mut(&Addr(0x0100 + n)).unwrap()
    }

    pub fn behave(&mut self, nodes: impl IntoIterator<Item = u16>, behaviour: Behaviour) {
        for n in nodes {
            self.node(n).behaviour = behaviour;
        }
    }

    pub fn schedule(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    /// Starts the campaign, and the periodic reports if there are to be any.
    pub fn start(&mut self) {
        if self.beats {
            self.schedule(self.now + secs(60), Event::Beat);
        }
        self.campaign.start(self.now);
        self.pump();
    }

    /// Runs until nothing is due before `until`.
    pub fn run_until(&mut self, until: Instant) {
        for _ in 0..3_000_000u32 {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = [event, self.campaign.next_wakeup()].into_iter().flatten().min() else { break };
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            match self.events.first_entry() {
                Some(entry) if entry.key().0 <= self.now => {
                    let event = entry.remove();
                    self.act(event);
                }
                _ => self.campaign.on_timer(self.now),
            }
            self.pump();
        }
        self.now = self.now.max(until);
    }

    pub fn run_for(&mut self, seconds: u64) {
        self.run_until(self.now + secs(seconds));
    }

    pub fn order(&mut self, order: OperatorOrder) {
        self.campaign.on_order(self.now, order).unwrap();
        self.pump();
    }

    /// Kills the campaign and starts it again from its file.
    pub fn crash(&mut self) {
        self.crashes += 1;
        let contents = journal::read(&self.file).unwrap();
        self.file.truncate(contents.good_len);
        let rollback = Some(self.rollback.clone());
        self.campaign = Campaign::resume(contents.records, self.package.clone(), rollback, self.parts).unwrap();
        if self.records.iter().all(|record| matches!(record, Record::Created(_))) {
            self.campaign.start(self.now);
        } else {
            self.campaign.on_timer(self.now);
        }
    }

    /// Persists, then carries out.
    fn pump(&mut self) {
        for _ in 0..100_000 {
            while let Some(record) = self.campaign.poll_journal() {
                record.encode(&mut self.file).unwrap();
                self.records.push(record.clone());
                if self.crash_always || self.crash_after == Some(self.records.len()) {
                    self.crash_after = None;
                    // The next record is torn.
                    let mut torn = Vec::new();
                    record.encode(&mut torn).unwrap();
                    self.file.extend_from_slice(&torn[..torn.len() - 1]);
                    self.crash();
                }
            }
            while let Some(alert) = self.campaign.poll_alert() {
                self.alerts.push(alert);
            }
            let Some((gateway, order)) = self.campaign.poll_order() else { return };
            self.carry_out(gateway, order);
        }
        panic!("the campaign never falls silent");
    }

    fn carry_out(&mut self, gateway: Addr, order: Order) {
        self.orders.push((self.now, gateway, order.clone()));
        let latency = Duration::from_millis(20);
        match order {
            Order::RequestReport { node } => {
                let fake = &self.nodes[&node];
                if fake.answers(self.now) {
                    let notice = Notice::Report { node, report: fake.report() };
                    self.schedule(self.now + Duration::from_millis(300), Event::Notice { gateway, notice });
                }
            }
            Order::Throttle { .. } | Order::Window { .. } => {}
            Order::Access(message) => {
                let fake = self.gateways.get_mut(&gateway).unwrap();
                let (answers, events) = fake.on_message(self.now, &message, &mut self.nodes);
                for (delay, event) in events {
                    self.schedule(self.now + delay, event);
                }
                for message in answers {
                    let notice = Notice::Access(message);
                    self.schedule(self.now + latency, Event::Notice { gateway, notice });
                }
            }
        }
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Notice { gateway, notice } => self.campaign.on_notice(self.now, gateway, &notice),
            Event::Operator(order) => self.campaign.on_order(self.now, order).unwrap(),
            Event::Boot { node, version, trial, outcome, reason } => self.boot(node, version, trial, outcome, reason),
            Event::Acked { node, boot_count } => {
                let fake = self.nodes.get_mut(&node).unwrap();
                if fake.boot_count == boot_count {
                    (fake.trial, fake.outcome) = (false, BootOutcome::Confirmed);
                }
            }
            Event::Transferred { gateway, run } => {
                let events = self.gateways.get_mut(&gateway).unwrap().transferred(self.now, run, &mut self.nodes);
                for (delay, event) in events {
                    self.schedule(self.now + delay, event);
                }
            }
            Event::Finished { gateway, run } => self.gateways.get_mut(&gateway).unwrap().finished(run),
            Event::Beat => self.beat(),
        }
    }

    /// What follows a boot: report, confirmation, or roll-back when the grace period is over.
    fn boot(&mut self, addr: Addr, version: Version, trial: bool, outcome: BootOutcome, reason: Reason) {
        let now = self.now;
        let node = self.nodes.get_mut(&addr).unwrap();
        let before = node.running;
        node.boot_count += 1;
        node.booted_at = now;
        (node.running, node.trial, node.outcome, node.reason) = (version, trial, outcome, reason);
        let (fake, gateway) = (node.clone(), node.info.gateway);
        let report = Notice::Report { node: addr, report: fake.report() };
        let confirmed = Notice::Confirmed { node: addr, boot_count: fake.boot_count, version };
        let back = |after: u64| {
            let (outcome, reason) = (BootOutcome::RolledBack, Reason::NotConfirmedInTime);
            (secs(after), Event::Boot { node: addr, version: before, trial: false, outcome, reason })
        };
        let stays = |after: u64, reason| {
            (secs(after), Event::Boot { node: addr, version, trial: false, outcome: BootOutcome::Confirmed, reason })
        };
        let notice = |after: u64, notice| (secs(after), Event::Notice { gateway, notice });
        let mut events = vec![notice(1, report)];
        if trial {
            self.nodes.get_mut(&addr).unwrap().about = version;
            let acked = (secs(3), Event::Acked { node: addr, boot_count: fake.boot_count });
            match fake.behaviour {
                Behaviour::RollsBack => events.push(back(120 + 20)),
                Behaviour::AckLost => events.extend([notice(2, confirmed), back(120 + 20)]),
                Behaviour::Kept => events.push(stays(120 + 1, Reason::GoldenInvalid)),
                Behaviour::KeptAfterLostAck => {
                    events.extend([notice(2, confirmed), stays(120 + 1, Reason::GoldenInvalid)]);
                }
                Behaviour::Restored => {
                    events.extend([notice(2, confirmed), acked, stays(240, Reason::BankCorrupted)]);
                }
                Behaviour::RollsBackLate(after) => events.extend([notice(2, confirmed), acked, back(after)]),
                Behaviour::FallsSilent(after) => {
                    self.nodes.get_mut(&addr).unwrap().silent_from = Some(now + secs(after));
                    events.extend([notice(2, confirmed), acked]);
                }
                _ => events.extend([notice(2, confirmed), acked]),
            }
        }
        for (delay, event) in events {
            self.schedule(now + delay, event);
        }
    }

    fn beat(&mut self) {
        let now = self.now;
        for (addr, node) in self.nodes.clone() {
            if !node.answers(now) {
                continue;
            }
            let degraded = node.behaviour == Behaviour::Degraded && node.running == NEW;
            let uptime_s = ((now - node.booted_at).as_ticks() / 1_000_000) as u32;
            let health = Health { hops: 2, rssi_dbm: self.rssi_dbm, uptime_s, degraded };
            let report = AppReport { temperature_centi_c: 2100, light_level: 9, energy_wh: 5 };
            for notice in [Notice::Health { node: addr, health }, Notice::AppReport { node: addr, report }] {
                self.campaign.on_notice(now, node.info.gateway, &notice);
            }
        }
        self.schedule(now + secs(60), Event::Beat);
    }

    pub fn outcomes(&self) -> BTreeMap<Addr, Option<Outcome>> {
        self.nodes.keys().map(|addr| (*addr, self.campaign.outcome(*addr))).collect()
    }

    pub fn outcome(&self, n: u16) -> Option<Outcome> {
        self.campaign.outcome(Addr(0x0100 + n))
    }

    pub fn count(&self, matches: impl Fn(&Record) -> bool) -> usize {
        self.records.iter().filter(|record| matches(record)).count()
    }

    /// Alerts of pauses, each pause once however often it was told.
    pub fn paused(&self) -> Vec<(u8, u16, u16)> {
        let mut pauses = Vec::new();
        for record in &self.records {
            if let Record::Paused { stage, confirmed, targeted, at, reason } = record {
                let kind = mk_campaign::AlertKind::Paused {
                    stage: *stage,
                    reason: *reason,
                    confirmed: *confirmed,
                    targeted: *targeted,
                };
                assert!(self.alerts.contains(&Alert { at: *at, kind }), "a pause without alert: {record:?}");
                pauses.push((*stage, *confirmed, *targeted));
            }
        }
        pauses
    }
}
