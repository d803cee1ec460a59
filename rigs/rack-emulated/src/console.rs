//! The console of a node: QEMU's UART on one side, a tty on the other, and between them what a cable can do to octets.

use crate::{
    flash::mix,
    pty::{BAUD, Pty, TtyCounts},
};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    os::{fd::BorrowedFd, unix::net::UnixStream},
    path::Path,
};

/// Octets kept for a firmware that does not read.
const TO_CORE: usize = 4096;
/// Octets held back while it is not known on which side of a power cut they are.
const HELD: usize = 1024 * 1024;
/// Clock that the BAUDRATE register divides.
const UART_CLOCK: u64 = 16_000_000;

/// What is wrong with the serial line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFault {
    /// Nothing.
    #[default]
    None,
    /// The node sends at another baud rate than it should: garbage both ways.
    WrongBaud,
    /// The cable is cut: nothing either way.
    Cut,
}

/// The console of one node.
#[derive(Debug)]
pub(crate) struct Console {
    pub pty: Pty,
    pub fault: LineFault,
    /// Baud rate of the firmware.
    baud: u32,
    /// Octets from this QEMU process, and how many of them have gone on.
    received: u64,
    held: VecDeque<u8>,
    to_core: VecDeque<u8>,
    garbage: u64,
}

impl Console {
    pub fn new(link: &Path) -> io::Result<Self> {
        Ok(Self {
            pty: Pty::new(link)?,
            fault: LineFault::None,
            baud: BAUD,
            received: 0,
            held: VecDeque::new(),
            to_core: VecDeque::new(),
            garbage: 0,
        })
    }

    /// A new QEMU process.
    pub fn machine_started(&mut self) {
        self.received = 0;
        self.held.clear();
        self.to_core.clear();
    }

    /// The firmware chose a baud rate.
    pub const fn set_divider(&mut self, register: u32) {
        // Registers hold baud rate * 2^32 / 16 MHz, rounded.
        let baud = (register as u64 * UART_CLOCK) >> 32;
        self.baud = if baud > BAUD as u64 * 97 / 100 && baud < BAUD as u64 * 103 / 100 { BAUD } else { baud as u32 };
    }

    /// Octets counted.
    pub const fn counts(&self) -> TtyCounts {
        self.pty.counts
    }

    /// Moves what the UART has sent; of an armed power cut, no more octets than are known to lie before it.
    pub fn take_from_core(&mut self, uart: &mut UnixStream, known: Option<u64>) -> io::Result<()> {
        let mut chunk = [0; 4096];
        loop {
            match uart.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => self.held.extend(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.held.len() > HELD {
                break;
            }
        }
        self.release(known);
        Ok(())
    }

    /// Lets go on what was held back, up to the known octets.
    pub fn release(&mut self, known: Option<u64>) {
        let ready = known.map_or(self.held.len(), |known| {
            usize::try_from(known.saturating_sub(self.received)).unwrap_or(usize::MAX).min(self.held.len())
        });
        if ready == 0 {
            return;
        }
        let mut octets: Vec<u8> = self.held.drain(..ready).collect();
        self.received += ready as u64;
        if self.spoil(&mut octets) {
            self.pty.write(&octets);
        }
    }

    /// Takes what the host has written.
    pub fn take_from_host(&mut self, uart: Option<&mut UnixStream>) -> io::Result<()> {
        self.pty.drain();
        let mut chunk = [0; 1024];
        loop {
            let n = self.pty.read(&mut chunk);
            if n == 0 {
                break;
            }
            let mut octets = chunk[..n].to_vec();
            if self.spoil(&mut octets) && uart.is_some() {
                let room = TO_CORE - self.to_core.len();
                self.to_core.extend(octets.into_iter().take(room));
            }
        }
        match uart {
            Some(uart) => self.push(uart),
            None => Ok(()),
        }
    }

    /// Gives the UART what it takes.
    pub fn push(&mut self, uart: &mut UnixStream) -> io::Result<()> {
        while !self.to_core.is_empty() {
            match uart.write(self.to_core.as_slices().0) {
                Ok(n) => drop(self.to_core.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether octets wait for the UART to take them.
    pub fn waits_for_core(&self) -> bool {
        !self.to_core.is_empty()
    }

    /// Says when the tty is opened or closed.
    pub fn watch(&self) -> BorrowedFd<'_> {
        self.pty.watch()
    }

    /// Does to octets what the line does. False if none arrive.
    fn spoil(&mut self, octets: &mut [u8]) -> bool {
        match self.fault {
            LineFault::Cut => return false,
            LineFault::None if self.pty.baud() == self.baud => return true,
            LineFault::None | LineFault::WrongBaud => {}
        }
        for octet in octets {
            // Sampled at the wrong times: every bit is as likely as not.
            self.garbage = mix(self.garbage ^ u64::from(*octet));
            *octet = self.garbage.to_le_bytes()[0];
        }
        true
    }
}
