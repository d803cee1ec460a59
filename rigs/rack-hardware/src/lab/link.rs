//! The serial link between a gateway process and its radio co-processor, with the interposer in the middle: the gateway
//! opens a pseudo-terminal of ours, we open the co-processor's port.
//!
//! Every frame is taken apart and put together again (`mk_wire::radio_link`), so that either side can restart at any time.
//! The gateway's transmissions are numbered anew: what a rule dropped is answered at once, what it repeats has a number
//! that the gateway never sees. A multicast is one PDU here, the same for all: rules for single receivers act on what is
//! addressed to them alone.

use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hil_model::{GatewayId, Party, Time};
use mk_wire::radio_link::{AD_MESH_MESSAGE, Decoder, Frame, Pdu};
use rack_witness::air::Passage;
use serialport::{SerialPort, TTYPort};

use super::{LabClock, SharedTap};
use crate::error::Fault;

/// Longest wait of a read, which is the longest that the other direction waits.
const TURN: Duration = Duration::from_millis(2);
/// Frames held back at most; more are let go at once.
const MOST_HELD: usize = 4_096;
/// Transmissions whose end is awaited, at most; older ones are forgotten.
const MOST_AWAITED: usize = 256;

/// The link, while it lives.
#[derive(Debug)]
pub struct RadioLink {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    // The gateway may open and close its side as often as it likes: this keeps the line up.
    _near: TTYPort,
}

impl RadioLink {
    /// Opens `port` at `baud`, makes a terminal for the gateway at `near`, and begins to pass frames.
    ///
    /// # Errors
    /// Port or terminal cannot be opened.
    pub fn start(
        gateway: GatewayId,
        port: &Path,
        baud: u32,
        near: &Path,
        tap: SharedTap,
        clock: LabClock,
    ) -> Result<Self, Fault> {
        let failed = |what: String, error: &dyn std::fmt::Display| Fault::Io { why: format!("{what}: {error}") };
        let name = port.display().to_string();
        let builder = serialport::new(name.as_str(), baud).timeout(TURN);
        let radio = builder.open().map_err(|error| failed(name, &error))?;
        let (mut ours, theirs) = TTYPort::pair().map_err(|error| failed("a terminal".to_owned(), &error))?;
        ours.set_timeout(TURN).map_err(|error| failed("a terminal".to_owned(), &error))?;
        let path = theirs.name().unwrap_or_default();
        let link = near.display().to_string();
        match std::fs::remove_file(near) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(link, &error)),
            Ok(()) | Err(_) => {}
        }
        std::os::unix::fs::symlink(&path, near).map_err(|error| failed(link, &error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let pump = Pump { gateway: ours, radio, desk: Desk::new(gateway, tap), clock, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name(format!("radio link {}", gateway.0)).spawn(move || pump.run());
        let thread = thread.map_err(|error| failed("a thread".to_owned(), &error))?;
        Ok(Self { stop, thread: Some(thread), _near: theirs })
    }
}

impl Drop for RadioLink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A link that panicked has nothing left to pass.
            let _ended = thread.join();
        }
    }
}

struct Pump {
    gateway: TTYPort,
    radio: Box<dyn SerialPort>,
    desk: Desk,
    clock: LabClock,
    stop: Arc<AtomicBool>,
}

impl Pump {
    fn run(mut self) {
        let (mut from_gateway, mut from_radio) = (Decoder::new(), Decoder::new());
        let mut buffer = [0; 512];
        while !self.stop.load(Ordering::Relaxed) {
            let octets = read(&mut self.gateway, &mut buffer);
            for octet in buffer.iter().take(octets) {
                if let Some(Ok(frame)) = from_gateway.push(*octet) {
                    self.desk.said_by_gateway(self.clock.now(), frame);
                }
            }
            let octets = read(self.radio.as_mut(), &mut buffer);
            for octet in buffer.iter().take(octets) {
                if let Some(Ok(frame)) = from_radio.push(*octet) {
                    self.desk.said_by_radio(self.clock.now(), frame);
                }
            }
            for (side, frame) in self.desk.due(self.clock.now()) {
                // A side that is away loses what is meant for it, as on any line.
                let _sent = match side {
                    Side::Gateway => self.gateway.write_all(&frame.encode()),
                    Side::Radio => self.radio.write_all(&frame.encode()),
                };
            }
        }
    }
}

fn read(port: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> usize {
    match port.read(buffer) {
        Ok(octets) => octets,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => 0,
        Err(_) => {
            // Nobody at the other end at the moment.
            std::thread::sleep(TURN);
            0
        }
    }
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Gateway,
    Radio,
}

/// What passes, without any port: frames in, frames out at their time.
#[derive(Debug)]
struct Desk {
    id: GatewayId,
    tap: SharedTap,
    /// Frames for later, earliest first.
    held: BinaryHeap<std::cmp::Reverse<(Time, u64)>>,
    frames: BTreeMap<u64, (Side, Frame)>,
    order: u64,
    /// The gateway's numbers of transmissions, by ours.
    awaited: BTreeMap<u16, u16>,
    next_id: u16,
}

impl Desk {
    const fn new(id: GatewayId, tap: SharedTap) -> Self {
        Self {
            id,
            tap,
            held: BinaryHeap::new(),
            frames: BTreeMap::new(),
            order: 0,
            awaited: BTreeMap::new(),
            next_id: 0,
        }
    }

    fn put(&mut self, at: Time, side: Side, frame: Frame) {
        let at = if self.frames.len() < MOST_HELD { at } else { Time::ZERO };
        self.order += 1;
        self.held.push(std::cmp::Reverse((at, self.order)));
        self.frames.insert(self.order, (side, frame));
    }

    fn due(&mut self, now: Time) -> Vec<(Side, Frame)> {
        let mut due = Vec::new();
        while let Some(std::cmp::Reverse((at, order))) = self.held.peek().copied() {
            if at > now {
                break;
            }
            self.held.pop();
            due.extend(self.frames.remove(&order));
        }
        due
    }

    fn passages(&self, now: Time, ad_type: u8, pdu: &Pdu, to: Party) -> Vec<Passage> {
        if ad_type != AD_MESH_MESSAGE {
            return vec![Passage { after: hil_model::Span::ZERO, pdu: pdu.to_vec() }];
        }
        let mut tap = self.tap.lock();
        let heard = tap.hear(now, pdu);
        tap.pass(now, &heard, to)
    }

    fn said_by_gateway(&mut self, now: Time, frame: Frame) {
        let Frame::Transmit { id, ad_type, pdu } = frame else {
            self.put(now, Side::Radio, frame);
            return;
        };
        let passages = self.passages(now, ad_type, &pdu, Party::AnyNode);
        if passages.is_empty() {
            self.put(now, Side::Gateway, Frame::Sent { id });
        }
        for (n, passage) in passages.into_iter().enumerate() {
            let Ok(pdu) = Pdu::from_slice(&passage.pdu) else { continue };
            self.next_id = self.next_id.wrapping_add(1);
            if n == 0 {
                if self.awaited.len() >= MOST_AWAITED {
                    self.awaited.pop_first();
                }
                self.awaited.insert(self.next_id, id);
            }
            self.put(now + passage.after, Side::Radio, Frame::Transmit { id: self.next_id, ad_type, pdu });
        }
    }

    fn said_by_radio(&mut self, now: Time, frame: Frame) {
        match frame {
            Frame::Sent { id } => {
                if let Some(id) = self.awaited.remove(&id) {
                    self.put(now, Side::Gateway, Frame::Sent { id });
                }
            }
            Frame::Received { ad_type, rssi_dbm, pdu } => {
                for passage in self.passages(now, ad_type, &pdu, Party::Gateway(self.id)) {
                    let Ok(pdu) = Pdu::from_slice(&passage.pdu) else { continue };
                    self.put(now + passage.after, Side::Gateway, Frame::Received { ad_type, rssi_dbm, pdu });
                }
            }
            Frame::Query | Frame::Hello { .. } | Frame::Transmit { .. } => self.put(now, Side::Gateway, frame),
        }
    }
}

#[cfg(test)]
mod tests;
