//! Stacks over an air that loses, delays and shuffles PDUs, in virtual time.

use super::{A1, Memory, N1, hex};
use mk_mesh::{BearerKind, DeviceKey, DeviceKeys, Event, KeyUse, MeshSettings, Outcome, Stack};
use mk_wire::Addr;
use mk_wire::time::{Duration, Instant};
use std::collections::BTreeMap;

/// One device key for all: who may configure whom is not the question here.
#[derive(Debug, Clone)]
pub struct Everybody(pub DeviceKey);

impl DeviceKeys for Everybody {
    fn device_key(&self, _peer: Addr) -> Option<&DeviceKey> {
        Some(&self.0)
    }
}

pub type TestStack = Stack<Everybody, 4, 4, 8>;

pub fn devices() -> Everybody {
    Everybody(DeviceKey::new(&hex("9d6dd0e96eb25dc19a40ed9914f8f03f").try_into().unwrap()))
}

pub fn settings(address: u16) -> MeshSettings {
    MeshSettings { beacons: false, ..MeshSettings::new(Addr(address), N1, A1, 5) }
}

/// A message as it was handed up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Got {
    pub from: Addr,
    pub to: Addr,
    pub key: KeyUse,
    pub hops: u8,
    pub access: Vec<u8>,
}

pub struct Station {
    pub stack: TestStack,
    pub memory: Memory,
    pub groups: Vec<Addr>,
    pub got: Vec<Got>,
    pub events: Vec<Event>,
    /// Everything that it received, in order.
    pub heard: Vec<Vec<u8>>,
}

impl Station {
    pub fn new(now: Instant, settings: &MeshSettings, mut memory: Memory) -> Self {
        let stack = Stack::start(now, settings, devices(), &mut memory).unwrap();
        Station { stack, memory, groups: vec![Addr(0xC000)], got: vec![], events: vec![], heard: vec![] }
    }

    pub fn hear(&mut self, now: Instant, pdu: &[u8]) -> Outcome {
        let groups = self.groups.clone();
        let outcome = self.stack.on_pdu(now, pdu, -60, &|group| groups.contains(&group));
        self.fetch();
        outcome
    }

    pub fn fetch(&mut self) {
        while let Some(message) = self.stack.poll_message() {
            let access = message.access.to_vec();
            let (from, to, key, hops) = (message.from, message.to, message.key, message.hops);
            self.got.push(Got { from, to, key, hops, access });
        }
        while let Some(event) = self.stack.poll_event() {
            self.events.push(event);
        }
    }
}

/// What the air does.
#[derive(Clone, Copy)]
pub struct Weather {
    pub loss_permille: u64,
    /// Every PDU takes up to this long: more than the segment interval shuffles them.
    pub jitter: Duration,
}

pub const CALM: Weather = Weather { loss_permille: 0, jitter: Duration::from_ticks(1) };

pub struct Air {
    pub now: Instant,
    pub stations: Vec<Station>,
    pub weather: Weather,
    /// Pairs of stations that do not hear each other.
    pub deaf: Vec<(usize, usize)>,
    /// PDUs sent, with their times.
    pub sent: Vec<(Instant, usize, BearerKind, Vec<u8>)>,
    flying: BTreeMap<(Instant, u64), (usize, BearerKind, Vec<u8>)>,
    random: u64,
    order: u64,
}

impl Air {
    pub fn new(addresses: &[u16], weather: Weather, seed: u64) -> Self {
        Self::with(&addresses.iter().map(|address| settings(*address)).collect::<Vec<_>>(), weather, seed)
    }

    pub fn with(settings: &[MeshSettings], weather: Weather, seed: u64) -> Self {
        let now = Instant::from_ticks(1_000_000);
        let stations = settings.iter().map(|settings| Station::new(now, settings, Memory::default())).collect();
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Air { now, stations, weather, deaf: vec![], sent: vec![], flying: BTreeMap::new(), random, order: 0 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    fn poll(&mut self, at: usize) {
        loop {
            let station = &mut self.stations[at];
            station.stack.persist(self.now, &mut station.memory).unwrap();
            let Some(bearer) = station.stack.poll_pdu(self.now) else { break };
            assert!(bearer.octets.len() <= 29);
            self.sent.push((self.now, at, bearer.kind, bearer.octets.to_vec()));
            for to in 0..self.stations.len() {
                let deaf = self.deaf.contains(&(at, to)) || self.deaf.contains(&(to, at));
                if to == at || deaf || self.random(1_000) < self.weather.loss_permille {
                    continue;
                }
                self.order += 1;
                let delay = Duration::from_ticks(1 + self.random(self.weather.jitter.as_ticks()));
                self.flying.insert((self.now + delay, self.order), (to, bearer.kind, bearer.octets.to_vec()));
            }
        }
    }

    /// Lets time run until `until`, or until nothing is left to do.
    pub fn run(&mut self, until: Instant) {
        for _ in 0..2_000_000 {
            for at in 0..self.stations.len() {
                self.poll(at);
                self.stations[at].fetch();
            }
            let wake = self.stations.iter().filter_map(|station| station.stack.next_wakeup(self.now)).min();
            let flight = self.flying.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = wake.into_iter().chain(flight).min().filter(|next| *next <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            while let Some(((at, order), _)) = self.flying.first_key_value().map(|(key, value)| (*key, value.0))
                && at <= self.now
            {
                let (to, kind, pdu) = self.flying.remove(&(at, order)).unwrap();
                match kind {
                    BearerKind::Message => {
                        self.stations[to].hear(self.now, &pdu);
                        self.stations[to].heard.push(pdu);
                    }
                    BearerKind::Beacon => drop(self.stations[to].stack.on_beacon(self.now, &pdu)),
                }
            }
        }
        panic!("the stacks never come to rest");
    }

    pub fn run_for(&mut self, span: Duration) {
        self.run(self.now + span);
    }

    /// Lets time run until every stack is idle.
    pub fn settle(&mut self, within: Duration) {
        let until = self.now + within;
        while self.now < until {
            self.run_for(Duration::from_millis(50));
            if self.flying.is_empty() && self.stations.iter().all(|station| station.stack.is_idle()) {
                return;
            }
        }
        panic!("not idle after {within}");
    }
}
