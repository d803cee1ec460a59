//! The serial link to the radio co-processor: a thread that keeps the port open, and the window of transmissions.
//!
//! The thread opens the port, reads frames, and opens it again with growing waits when it is lost, for as long as the
//! process lives. What may be sent is decided by [`Link`]: at most a window of PDUs of which the co-processor has not yet
//! said that they are on the air.

use super::meter::Load;
use crate::api::gateway::RadioState;
use mk_wire::radio_link::{AD_MESH_BEACON, AD_MESH_MESSAGE, Decoder, Frame, Pdu, VERSION, WINDOW};
use mk_wire::time::{Duration, Instant};
use serialport::TTYPort;
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// How long a read or write of the port may take; also how soon the thread notices that it has to end.
const PORT_PATIENCE: std::time::Duration = std::time::Duration::from_millis(100);
/// First and longest wait before the port is opened again.
const BACK_OFF_MS: (u64, u64) = (50, 2_000);
/// Octets read at once.
const READ: usize = 1_024;
/// Time between two queries of a co-processor that does not answer.
const QUERY_INTERVAL: Duration = Duration::from_millis(500);
/// A PDU that is not on the air after this long never will be.
const SENT_PATIENCE: Duration = Duration::from_secs(3);

/// What the port's thread says.
#[derive(Debug)]
pub enum RadioInput {
    /// The port is open; this end of it is for writing.
    Opened(TTYPort),
    /// Frames came.
    Frames(Vec<Frame>, u64),
    /// The port cannot be opened, or was lost.
    Closed {
        /// What the system says.
        reason: String,
        /// What to do.
        next: String,
    },
}

/// Orders to the port's thread.
#[derive(Clone, Debug, Default)]
pub struct PortControl {
    end: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
}

impl PortControl {
    /// Ends the thread.
    pub fn end(&self) {
        self.end.store(true, Ordering::Relaxed);
    }

    fn ended(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }
}

/// Starts the thread that keeps the port open. It ends when told to, or when `give` says that nobody listens.
pub fn keep_port(
    path: PathBuf,
    baud: u32,
    control: PortControl,
    give: impl Fn(RadioInput) -> bool + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("radio".to_owned()).spawn(move || {
        let mut wait_ms = BACK_OFF_MS.0;
        let mut said = None;
        while !control.ended() {
            let lost = match open(&path, baud) {
                Ok((port, writer)) => {
                    control.reopen.store(false, Ordering::Relaxed);
                    if !give(RadioInput::Opened(writer)) {
                        return;
                    }
                    said = None;
                    let (lost, worked) = read(port, &control, &give);
                    if worked {
                        wait_ms = BACK_OFF_MS.0;
                    }
                    lost
                }
                Err(error) => error,
            };
            // The same reason again is no news.
            if said.as_ref() != Some(&lost) {
                let next = next_step(&lost, &path);
                if !give(RadioInput::Closed { reason: lost.clone(), next }) {
                    return;
                }
                said = Some(lost);
            }
            thread::sleep(std::time::Duration::from_millis(wait_ms));
            wait_ms = (wait_ms * 2).min(BACK_OFF_MS.1);
        }
    })
}

fn open(path: &std::path::Path, baud: u32) -> Result<(TTYPort, TTYPort), String> {
    let port = serialport::new(path.to_string_lossy(), baud).timeout(PORT_PATIENCE).open_native();
    let port = port.map_err(|error| error.to_string())?;
    let writer = port.try_clone_native().map_err(|error| error.to_string())?;
    Ok((port, writer))
}

/// Reads until the port is lost; says why, and whether anything had come.
fn read(mut port: TTYPort, control: &PortControl, give: &impl Fn(RadioInput) -> bool) -> (String, bool) {
    let mut decoder = Decoder::new();
    let mut octets = [0; READ];
    let mut worked = false;
    loop {
        if control.ended() || control.reopen.load(Ordering::Relaxed) {
            return ("the port is opened anew".to_owned(), worked);
        }
        let count = match port.read(&mut octets) {
            Ok(0) => return ("the port has no other side any more".to_owned(), worked),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => continue,
            Err(error) => return (error.to_string(), worked),
        };
        // What is no frame is counted by the decoder.
        let came = octets.get(..count).unwrap_or_default();
        let frames: Vec<Frame> = came.iter().filter_map(|octet| decoder.push(*octet)?.ok()).collect();
        if !frames.is_empty() {
            worked = true;
            if !give(RadioInput::Frames(frames, decoder.discarded())) {
                return (String::new(), worked);
            }
        }
    }
}

/// What to do about a port that cannot be used.
fn next_step(reason: &str, path: &std::path::Path) -> String {
    let reason = reason.to_lowercase();
    if reason.contains("permission") {
        "let this user open serial ports (group dialout on most systems)".to_owned()
    } else if reason.contains("busy") || reason.contains("lock") {
        format!("end the process that holds {}", path.display())
    } else if !path.exists() {
        format!("connect the co-processor, or start the gateway with another --radio than {}", path.display())
    } else {
        "check cable and supply of the co-processor; the port is tried again".to_owned()
    }
}

/// A transmission that was handed over.
#[derive(Clone, Copy, Debug)]
struct Handed {
    load: Load,
    at: Instant,
}

/// The link as the gateway's thread sees it.
#[derive(Debug)]
pub struct Link {
    state: RadioState,
    port: Option<TTYPort>,
    control: PortControl,
    next_id: u16,
    handed: BTreeMap<u16, Handed>,
    query_at: Option<Instant>,
    /// Queries that no Hello has answered.
    asked: u32,
    discarded: u64,
    changed: bool,
}

/// What a frame meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// A PDU of ours is on the air.
    Sent(Load),
    /// A message was heard.
    Message {
        /// The network PDU.
        pdu: Pdu,
        /// Its strength.
        rssi_dbm: i8,
    },
    /// A beacon was heard.
    Beacon {
        /// Its octets.
        octets: Pdu,
    },
    /// The link works, anew; so many PDUs were in the hands of the co-processor and are lost.
    Ready {
        /// How many.
        lost: usize,
    },
    /// Nothing that has to be acted on.
    Nothing,
}

impl Link {
    /// A link whose port is not open yet.
    pub fn new(control: PortControl) -> Self {
        let state =
            RadioState::Absent { reason: "the port is being opened".to_owned(), next: "wait a moment".to_owned() };
        Self {
            state,
            port: None,
            control,
            next_id: 0,
            handed: BTreeMap::new(),
            query_at: None,
            asked: 0,
            discarded: 0,
            changed: true,
        }
    }

    /// Its state.
    pub const fn state(&self) -> &RadioState {
        &self.state
    }

    /// Its state, if it has changed since this was last asked.
    pub fn news(&mut self) -> Option<RadioState> {
        std::mem::take(&mut self.changed).then(|| self.state.clone())
    }

    /// Octets that belonged to no frame.
    pub const fn discarded(&self) -> u64 {
        self.discarded
    }

    fn set(&mut self, state: RadioState) {
        if self.state != state {
            self.state = state;
            self.changed = true;
        }
    }

    /// The port is open: asks who is there.
    pub fn on_opened(&mut self, now: Instant, port: TTYPort) {
        self.port = Some(port);
        self.asked = 0;
        self.set(RadioState::Silent);
        self.query(now);
    }

    /// The port is lost; says how many PDUs are lost with it.
    pub fn on_closed(&mut self, reason: String, next: String) -> usize {
        self.port = None;
        self.query_at = None;
        self.set(RadioState::Absent { reason, next });
        self.forget_handed()
    }

    fn forget_handed(&mut self) -> usize {
        let lost = self.handed.len();
        self.handed.clear();
        lost
    }

    /// Takes a frame.
    pub fn on_frame(&mut self, frame: Frame) -> Meaning {
        match frame {
            Frame::Hello { version: VERSION, window } => {
                self.query_at = None;
                let unasked = self.asked == 0;
                self.asked = self.asked.saturating_sub(1);
                // Said unasked, it began anew: what it had is gone.
                let lost = if unasked || !self.state.is_ready() { self.forget_handed() } else { 0 };
                self.set(RadioState::Ready { window: window.clamp(1, WINDOW) });
                Meaning::Ready { lost }
            }
            Frame::Hello { version, .. } => {
                self.query_at = None;
                self.set(RadioState::WrongVersion { radio: version, host: VERSION });
                Meaning::Nothing
            }
            Frame::Sent { id } => self.handed.remove(&id).map_or(Meaning::Nothing, |handed| Meaning::Sent(handed.load)),
            Frame::Received { ad_type: AD_MESH_MESSAGE, rssi_dbm, pdu } => Meaning::Message { pdu, rssi_dbm },
            Frame::Received { ad_type: AD_MESH_BEACON, pdu, .. } => Meaning::Beacon { octets: pdu },
            // Ours to send, or of a kind that is none of the mesh's.
            Frame::Received { .. } | Frame::Query | Frame::Transmit { .. } => Meaning::Nothing,
        }
    }

    /// Counts octets thrown away since the port was opened.
    pub const fn set_discarded(&mut self, discarded: u64) {
        self.discarded = discarded;
    }

    /// Can a PDU be handed over now?
    pub fn has_room(&self) -> bool {
        matches!(self.state, RadioState::Ready { window } if self.handed.len() < usize::from(window))
    }

    /// PDUs of image data in the hands of the co-processor.
    pub fn data_handed(&self) -> usize {
        self.handed.values().filter(|handed| handed.load == Load::Data).count()
    }

    /// Hands a PDU over. Only to be called while there is room.
    pub fn transmit(&mut self, now: Instant, ad_type: u8, octets: &[u8], load: Load) {
        // The stack makes no PDU that does not fit.
        let Ok(pdu) = Pdu::from_slice(octets) else { return };
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.handed.insert(id, Handed { load, at: now });
        self.write(&Frame::Transmit { id, ad_type, pdu });
    }

    fn query(&mut self, now: Instant) {
        self.query_at = Some(now + QUERY_INTERVAL);
        self.asked = self.asked.saturating_add(1);
        self.write(&Frame::Query);
    }

    fn write(&mut self, frame: &Frame) {
        let Some(port) = &mut self.port else { return };
        if let Err(error) = port.write_all(&frame.encode()) {
            self.port = None;
            self.query_at = None;
            let next = "check cable and supply of the co-processor; the port is opened anew".to_owned();
            self.set(RadioState::Absent { reason: format!("cannot be written to: {error}"), next });
            self.control.reopen.store(true, Ordering::Relaxed);
        }
    }

    /// Does what is due; says how many PDUs are given up.
    pub fn on_timer(&mut self, now: Instant) -> usize {
        if self.query_at.is_some_and(|at| at <= now) {
            self.query(now);
        }
        if self.port.is_none() {
            return self.forget_handed();
        }
        let before = self.handed.len();
        self.handed.retain(|_, handed| now < handed.at + SENT_PATIENCE);
        let given_up = before - self.handed.len();
        if given_up > 0 {
            // A co-processor that hangs does not say so.
            self.set(RadioState::Silent);
            self.query(now);
        }
        given_up
    }

    /// When [`Link::on_timer`] is wanted.
    pub fn next_wakeup(&self) -> Option<Instant> {
        let oldest = self.handed.values().map(|handed| handed.at + SENT_PATIENCE).min();
        [self.query_at, oldest].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use serialport::SerialPort as _;

    const NOW: Instant = Instant::from_ticks(0);

    fn link(window: u8) -> (Link, TTYPort) {
        let (far, near) = TTYPort::pair().unwrap();
        let mut link = Link::new(PortControl::default());
        link.on_opened(NOW, near);
        link.on_frame(Frame::Hello { version: VERSION, window });
        (link, far)
    }

    #[test]
    fn no_more_is_handed_over_than_the_window() {
        let (mut link, _far) = link(2);
        for load in [Load::Data, Load::Control] {
            assert!(link.has_room());
            link.transmit(NOW, AD_MESH_MESSAGE, &[1, 2, 3], load);
        }
        assert!(!link.has_room());
        assert_eq!(link.data_handed(), 1);
        assert_eq!(link.on_frame(Frame::Sent { id: 0 }), Meaning::Sent(Load::Data));
        assert!(link.has_room());
        assert_eq!(link.on_frame(Frame::Sent { id: 0 }), Meaning::Nothing);
    }

    #[test]
    fn a_co_processor_that_began_anew_has_lost_what_it_had() {
        let (mut link, _far) = link(8);
        link.transmit(NOW, AD_MESH_MESSAGE, &[1], Load::Control);
        assert_eq!(link.on_frame(Frame::Hello { version: VERSION, window: 8 }), Meaning::Ready { lost: 1 });
    }

    #[test]
    fn a_second_answer_to_two_queries_is_no_restart() {
        let (mut link, _far) = link(8);
        link.query(NOW);
        link.transmit(NOW, AD_MESH_MESSAGE, &[1], Load::Control);
        assert_eq!(link.on_frame(Frame::Hello { version: VERSION, window: 8 }), Meaning::Ready { lost: 0 });
        assert_eq!(link.on_frame(Frame::Sent { id: 0 }), Meaning::Sent(Load::Control));
    }

    #[test]
    fn a_co_processor_that_never_sends_is_silent_and_asked() {
        let (mut link, _far) = link(8);
        link.transmit(NOW, AD_MESH_MESSAGE, &[1], Load::Control);
        assert_eq!(link.on_timer(NOW + SENT_PATIENCE - Duration::from_micros(1)), 0);
        assert_eq!(link.on_timer(NOW + SENT_PATIENCE), 1);
        assert_eq!(*link.state(), RadioState::Silent);
        assert!(!link.has_room());
    }

    #[test]
    fn another_version_is_named_and_nothing_is_sent() {
        let (mut link, _far) = link(8);
        link.on_frame(Frame::Hello { version: 9, window: 8 });
        assert_eq!(*link.state(), RadioState::WrongVersion { radio: 9, host: VERSION });
        assert!(!link.has_room());
    }

    #[test]
    fn a_port_that_another_process_holds_is_named_with_what_to_do() {
        let (_far, mut near) = TTYPort::pair().unwrap();
        near.set_exclusive(true).unwrap();
        let path = PathBuf::from(near.name().unwrap());
        let error = open(&path, 115_200).unwrap_err();
        let next = next_step(&error, &path);
        assert!(next.starts_with("end the process"), "{error}: {next}");
    }

    #[test]
    fn a_port_that_is_not_there_is_named_with_what_to_do() {
        let error = open(std::path::Path::new("/dev/tty-of-no-radio"), 115_200).unwrap_err();
        let next = next_step(&error, std::path::Path::new("/dev/tty-of-no-radio"));
        assert!(next.contains("--radio"), "{error}: {next}");
    }
}
