//! One station of the full-stack air: a stack with its storage, its life, and the messages that wait for a place in it.

use super::MOST_WAITING;
use hil_model::{Seed, Time};
use mk_mesh::{
    Bearer, BearerKind, Destination, DeviceKey, MeshSettings, Outcome, OwnDeviceKey, Record, SendError, Stack, Storage,
};
use mk_wire::Addr;
use mk_wire::time::Instant;
use rack_witness::words;
use std::collections::{BTreeMap, VecDeque};

/// The stack of a station: places for what a gateway of a bench needs.
type RealStack = Stack<OwnDeviceKey, 16, 8, 160>;

/// PDUs that a station gives at one instant; more means that it never comes to rest.
const MOST_PDUS: usize = 4_096;

/// The keys of the simulated network. There is one device key: who may configure whom is not the air's question.
#[derive(Debug, Clone)]
pub struct Keys {
    net: [u8; 16],
    app: [u8; 16],
    device: DeviceKey,
}

/// The keys of a run.
pub fn keys(seed: Seed) -> Keys {
    let key = |purpose: u8| {
        let mut key = [purpose; 16];
        key[8..].copy_from_slice(&seed.0.to_be_bytes());
        key
    };
    Keys { net: key(1), app: key(2), device: DeviceKey::new(&key(3)) }
}

/// What a node keeps over a reset.
#[derive(Debug, Default)]
struct Kept {
    progress: Option<Record>,
    states: Option<Record>,
    accepted: BTreeMap<Addr, Record>,
}

impl Storage for Kept {
    type Error = core::convert::Infallible;

    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), Self::Error> {
        self.progress.iter().chain(&self.states).chain(self.accepted.values()).for_each(|record| each(*record));
        Ok(())
    }

    fn save(&mut self, record: &Record) -> Result<(), Self::Error> {
        match record {
            Record::Progress(_) => self.progress = Some(*record),
            Record::States(_) => self.states = Some(*record),
            Record::Accepted { source, .. } => drop(self.accepted.insert(*source, *record)),
        }
        Ok(())
    }
}

/// A gateway or a node on the mesh.
#[derive(Debug)]
pub struct Station {
    /// Its address.
    pub address: Addr,
    /// Hops from a gateway.
    pub layer: u8,
    rssi_dbm: i8,
    settings: MeshSettings,
    device: DeviceKey,
    stack: Option<Box<RealStack>>,
    life: Option<u32>,
    kept: Kept,
    waiting: VecDeque<(Destination, Vec<u8>)>,
    wake: Option<Time>,
    /// Something was given to it since it was pumped.
    touched: bool,
}

/// Not before its time: instants of the firmware are whole microseconds.
fn instant(now: Time) -> Instant {
    words::instant(now)
}

impl Station {
    /// A station that does not run yet.
    pub fn new(keys: &Keys, address: Addr, layer: u8, rssi_dbm: i8, relays: bool) -> Self {
        let mut settings = MeshSettings::new(address, keys.net, keys.app, 0);
        settings.states.relay = relays;
        // Enough for the farthest node there is, and back.
        settings.states.default_ttl = 8;
        Station {
            address,
            layer,
            rssi_dbm,
            settings,
            device: keys.device.clone(),
            stack: None,
            life: None,
            kept: Kept::default(),
            waiting: VecDeque::new(),
            wake: None,
            touched: false,
        }
    }

    /// Begins, goes on with, or ends a life. True if what was in RAM is gone.
    pub fn live(&mut self, now: Time, life: Option<u32>) -> bool {
        if self.life == life {
            return false;
        }
        let lost = self.stack.is_some();
        (self.life, self.stack, self.wake) = (life, None, None);
        self.waiting.clear();
        if life.is_some() {
            let Ok(stack) =
                Stack::start(instant(now), &self.settings, OwnDeviceKey(self.device.clone()), &mut self.kept);
            self.stack = Some(Box::new(stack));
            self.touched = true;
        }
        lost
    }

    /// Does it run?
    pub const fn runs(&self) -> bool {
        self.stack.is_some()
    }

    /// Is there something for it to do?
    pub fn due(&self, now: Time) -> bool {
        self.stack.is_some() && (self.touched || self.wake.is_some_and(|at| at <= now))
    }

    /// When it wants to be pumped.
    pub const fn wake(&self) -> Option<Time> {
        self.wake
    }

    /// Takes a message of its models. False if it does not run, or will never send that.
    pub fn send(&mut self, now: Time, to: Destination, bytes: &[u8]) -> bool {
        let Some(stack) = &mut self.stack else { return false };
        self.touched = true;
        // What waits was there before.
        let taken = if self.waiting.is_empty() { stack.send(instant(now), to, bytes) } else { Err(SendError::Full) };
        match taken {
            Ok(()) => true,
            Err(SendError::Full) if self.waiting.len() < MOST_WAITING => {
                self.waiting.push_back((to, bytes.to_vec()));
                true
            }
            Err(_) => false,
        }
    }

    /// Messages to this address that are still here.
    pub fn holds(&self, to: Addr) -> usize {
        let waiting = self.waiting.iter().filter(|(destination, _)| destination.to == to).count();
        waiting + self.stack.as_ref().map_or(0, |stack| stack.pending(to))
    }

    /// Hears something. False if the stack refused it.
    pub fn hear(&mut self, now: Time, bearer: &Bearer) -> bool {
        let Some(stack) = &mut self.stack else { return false };
        self.touched = true;
        match bearer.kind {
            BearerKind::Beacon => stack.on_beacon(instant(now), &bearer.octets).is_ok(),
            // Who is in which group is the nodes' affair: here all stations put all groups' messages together.
            BearerKind::Message => match stack.on_pdu(instant(now), &bearer.octets, self.rssi_dbm, &|_| true) {
                Outcome::Segment | Outcome::Message | Outcome::Configuration | Outcome::Control => true,
                Outcome::Network(_)
                | Outcome::Own
                | Outcome::NotForUs
                | Outcome::Lower(_)
                | Outcome::Replayed
                | Outcome::Stranger
                | Outcome::NoRoom
                | Outcome::Upper(_)
                | Outcome::SegmentAgain => false,
            },
        }
    }

    /// A message that arrived: from, to, octets.
    pub fn fetch(&mut self) -> Option<(Addr, Addr, Vec<u8>)> {
        let message = self.stack.as_mut()?.poll_message()?;
        Some((message.from, message.to, message.access.to_vec()))
    }

    /// Lets it do what is due; the PDUs that it puts on the air.
    pub fn pump(&mut self, now: Time) -> Vec<Bearer> {
        self.touched = false;
        self.wake = None;
        let at = instant(now);
        let Some(stack) = &mut self.stack else { return Vec::new() };
        let mut pdus = Vec::new();
        while pdus.len() < MOST_PDUS {
            while let Some((to, bytes)) = self.waiting.front() {
                if stack.send(at, *to, bytes) == Err(SendError::Full) {
                    break;
                }
                self.waiting.pop_front();
            }
            let Ok(()) = stack.persist(at, &mut self.kept);
            let Some(bearer) = stack.poll_pdu(at) else { break };
            pdus.push(bearer);
        }
        while stack.poll_event().is_some() {}
        // An instant that has passed already would stop the clock.
        let next = stack.next_wakeup(at).map(words::time);
        self.wake = next.map(|next| next.max(words::time(at + mk_wire::time::Duration::from_ticks(1))));
        pdus
    }
}
