//! Reads QEMU's trace of stores as it comes, one thread for each QEMU process.
//!
//! The trace has every store to a device or to flash, in the order in which the core makes them: a line is written before
//! the store takes effect. That order is what makes a power cut exact. This thread applies stores to the node's flash
//! and, at the operation where the power goes, kills QEMU and reads no further. What concerns watchdog, radio and UART
//! it passes on. It blocks while nothing is stored, so a board that sleeps costs nothing.

use crate::{
    flash::{FiredCut, NodeFlash},
    hex,
    wake::Waker,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, pidfd_send_signal},
};
use std::{
    io::{ErrorKind, Read},
    os::fd::OwnedFd,
    process::ChildStderr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::Sender,
    },
    thread,
    time::{Duration, Instant},
};

/// Lines of other output kept: what QEMU says when it dies.
const WORDS: usize = 24;
/// Longest line kept; the rest of a longer one is dropped.
const MAX_LINE: usize = 512;

/// A burst of flash writes is read in portions: waking for every line would cost more than the lines.
const GATHER: Duration = Duration::from_micros(200);
/// Changes are on file after this time at the latest, and before the thread sleeps.
const SAVE: Duration = Duration::from_millis(50);

/// First register of the radio, and its length.
const RADIO: (u32, u32) = (0x4000_1000, 0x1000);
const WATCHDOG: (u32, u32) = (0x4001_0000, 0x1000);
const UART_START_RECEIVER: u32 = 0x4000_2000;
const UART_TXD: u32 = 0x4000_251C;
const UART_BAUD: u32 = 0x4000_2524;

/// An unused register that the bench itself stores a number to before it resets a machine: what comes before it in the trace
/// happened before the reset.
pub(crate) const FENCE: u32 = 0x4000_1F80;

/// What the owner of the node has to know.
#[derive(Debug)]
pub(crate) enum Store {
    /// A radio register, by its offset.
    Radio(u32, u32),
    /// A watchdog register, by its offset.
    Watchdog(u32, u32),
    /// The baud rate register.
    Baud(u32),
    /// The UART's receiver was switched on.
    Receiver,
    /// The fence of that number.
    Fence(u32),
    /// The UART has been given octets while a power cut is armed.
    Sent,
    /// The power went.
    Cut(FiredCut),
    /// QEMU has ended; its last words.
    Ended(Vec<String>),
    /// The flash file cannot be written.
    FileFailed(std::io::Error),
}

/// A line of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    address: u32,
    value: u32,
}

/// `memory_region_ops_write cpu N mr 0x.. addr 0x.. value 0x.. size N name '..'`
fn parse(line: &[u8]) -> Option<Line> {
    let rest = line.strip_prefix(b"memory_region_ops_write cpu ")?;
    let mut fields = rest.split(|octet| *octet == b' ');
    let mut after = |key: &[u8]| {
        fields.by_ref().find(|field| *field == key)?;
        hex::number(fields.next()?.strip_prefix(b"0x")?)
    };
    Some(Line { address: u32::try_from(after(b"addr")?).ok()?, value: after(b"value")? as u32 })
}

/// Where the reader puts what it reads.
pub(crate) struct Sink {
    /// The node's flash; none on a machine without.
    pub flash: Option<Arc<Mutex<NodeFlash>>>,
    /// QEMU.
    pub process: OwnedFd,
    /// Which QEMU process of this node, so that the owner can tell late news from current.
    pub generation: u64,
    /// To the owner.
    pub stores: Sender<(u64, Store)>,
    /// Wakes the owner.
    pub waker: Waker,
    /// Octets that the UART of this QEMU process has been given, up to the power cut if there was one.
    pub sent: Arc<AtomicU64>,
}

/// Reads until QEMU ends.
pub(crate) fn read(mut input: ChildStderr, sink: &Sink) {
    let mut reader = Reader { sink, sent: 0, dark: false, words: Vec::new(), told: false, last: None, burst: false };
    let mut line = Vec::with_capacity(MAX_LINE);
    let mut chunk = vec![0; 64 * 1024];
    let mut saved = Instant::now();
    let mut unsaved = false;
    loop {
        if unsaved && (saved.elapsed() >= SAVE || !more(&input)) {
            reader.save();
            (unsaved, saved) = (false, Instant::now());
        }
        let n = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        reader.chunk(&chunk[..n], &mut line);
        if std::mem::take(&mut reader.burst) {
            unsaved = true;
            if n < chunk.len() / 2 {
                thread::sleep(GATHER);
            }
        }
    }
    reader.save();
    let words = std::mem::take(&mut reader.words);
    reader.tell(Store::Ended(words));
    reader.sink.waker.wake();
}

/// Whether more comes within a moment.
fn more(input: &ChildStderr) -> bool {
    let moment = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
    poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&moment)).is_ok_and(|ready| ready > 0)
}

struct Reader<'a> {
    sink: &'a Sink,
    sent: u64,
    /// The power is off: nothing behind that counts.
    dark: bool,
    words: Vec<String>,
    told: bool,
    /// The register store told last of this chunk: a doorbell or reload again and again says no more than once.
    last: Option<(u32, u32)>,
    /// The flash was written to.
    burst: bool,
}

impl Reader<'_> {
    fn chunk(&mut self, chunk: &[u8], line: &mut Vec<u8>) {
        let flash = self.sink.flash.clone();
        let mut flash = flash.as_ref().map(|flash| flash.lock().unwrap_or_else(PoisonError::into_inner));
        let before = self.sent;
        for part in chunk.split_inclusive(|octet| *octet == b'\n') {
            let room = MAX_LINE.saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                self.line(line, flash.as_deref_mut());
                line.clear();
            }
        }
        self.sink.sent.store(self.sent, Ordering::Release);
        if self.sent > before && flash.as_ref().is_some_and(|flash| flash.in_doubt()) {
            self.tell(Store::Sent);
        }
        drop(flash);
        self.last = None;
        if std::mem::take(&mut self.told) {
            self.sink.waker.wake();
        }
    }

    fn save(&mut self) {
        let Some(flash) = self.sink.flash.clone() else { return };
        let saved = flash.lock().unwrap_or_else(PoisonError::into_inner).save();
        if let Err(error) = saved {
            self.tell(Store::FileFailed(error));
            self.sink.waker.wake();
        }
    }

    fn line(&mut self, line: &[u8], flash: Option<&mut NodeFlash>) {
        if self.dark {
            return;
        }
        let Some(Line { address, value }) = parse(line) else {
            if self.words.len() < WORDS {
                self.words.push(String::from_utf8_lossy(line).into_owned());
            }
            return;
        };
        let within = |(start, length): (u32, u32)| (start..start + length).contains(&address);
        match flash {
            Some(flash) if flash.concerns(address) => {
                self.burst = true;
                if let Some(fired) = flash.store(address, value) {
                    self.dark = true;
                    // An error means that it is gone already.
                    let _ = pidfd_send_signal(&self.sink.process, Signal::KILL);
                    self.tell(Store::Cut(fired));
                }
            }
            flash if address == FENCE => {
                if let Some(flash) = flash {
                    flash.machine_reset();
                }
                self.tell(Store::Fence(value));
            }
            _ if address == UART_TXD => self.sent += 1,
            _ if address == UART_START_RECEIVER => self.tell(Store::Receiver),
            _ if address == UART_BAUD => self.tell(Store::Baud(value)),
            _ if self.last == Some((address, value)) => {}
            _ if within(RADIO) => {
                self.last = Some((address, value));
                self.tell(Store::Radio(address - RADIO.0, value));
            }
            _ if within(WATCHDOG) => {
                self.last = Some((address, value));
                self.tell(Store::Watchdog(address - WATCHDOG.0, value));
            }
            _ => {}
        }
    }

    fn tell(&mut self, store: Store) {
        // A closed channel means that the owner has gone; QEMU follows it.
        let _ = self.sink.stores.send((self.sink.generation, store));
        self.told = true;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::flash(
        "memory_region_ops_write cpu 0 mr 0x55a23db91d10 addr 0x1000c value 0x12345678 size 4 name 'nrf51_soc.flash'",
        Some((0x1000C, 0x1234_5678))
    )]
    #[case::from_outside("memory_region_ops_write cpu -1 mr 0x5 addr 0x4001e504 value 0x2 size 4 name 'x'", Some((0x4001_E504, 2)))]
    #[case::fatal("qemu: fatal: Lockup: can't escalate 3 to HardFault (current priority -1)", None)]
    #[case::cut_short("memory_region_ops_write cpu 0 mr 0x55a23db91d10 addr 0x1000c val", None)]
    #[case::beyond_the_map("memory_region_ops_write cpu 0 mr 0x5 addr 0x100000000 value 0x2 size 4 name 'x'", None)]
    #[case::empty("", None)]
    fn a_line_is_a_store_or_it_is_not(#[case] line: &str, #[case] store: Option<(u32, u32)>) {
        assert_eq!(parse(line.as_bytes()), store.map(|(address, value)| Line { address, value }));
    }
}
