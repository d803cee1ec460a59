//! A unix socket to QEMU with a deadline on everything. Knows nothing of what is said on it.

use crate::error::MachineError;
use rustix::net::{RecvFlags, recv};
use std::{
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long an answer of QEMU may take on a busy machine.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// How long QEMU may take to open its sockets.
const CONNECT: Duration = Duration::from_secs(10);
/// Pause between two attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(2);
/// Octets that an answer may have: two digits for each of 64 KiB, and room.
const MAX_ANSWER: usize = 0x4_0000;

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    name: &'static str,
    timeout: Duration,
    buffer: Vec<u8>,
}

impl Link {
    /// Connects to `path` as soon as QEMU listens; `alive` says whether it still can.
    pub fn connect(
        path: &Path,
        name: &'static str,
        mut alive: impl FnMut() -> Result<(), MachineError>,
    ) -> Result<Self, MachineError> {
        let failed = |source| MachineError::link(name, "connecting", source);
        let end = Instant::now() + CONNECT;
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(ANSWER)).map_err(failed)?;
                    stream.set_write_timeout(Some(ANSWER)).map_err(failed)?;
                    return Ok(Self { stream, name, timeout: ANSWER, buffer: Vec::new() });
                }
                Err(_) if Instant::now() < end => {
                    alive()?;
                    thread::sleep(CONNECT_PAUSE);
                }
                Err(_) => return Err(MachineError::Deadline { link: name, doing: "connecting", deadline: CONNECT }),
            }
        }
    }

    /// Which connection this is.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What to wait for input on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Octets received and not yet taken.
    pub const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Sends all of `octets`.
    pub fn send(&mut self, octets: &[u8], doing: &'static str) -> Result<(), MachineError> {
        self.stream.write_all(octets).map_err(|source| self.failed(doing, ANSWER, source))
    }

    /// Waits until something has come in, at most until `end`.
    pub fn fill(&mut self, end: Instant, doing: &'static str) -> Result<(), MachineError> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(MachineError::Deadline { link: self.name, doing, deadline: self.timeout });
        }
        // The socket's own time-out is changed only when a shorter one is asked for: most answers share one.
        if left < self.timeout / 2 || left > self.timeout {
            self.stream.set_read_timeout(Some(left)).map_err(|source| self.failed(doing, left, source))?;
            self.timeout = left;
        }
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(self.failed(doing, left, ErrorKind::UnexpectedEof.into())),
            Ok(_) if self.buffer.len() > MAX_ANSWER => {
                Err(self.failed(doing, left, io::Error::other("an answer longer than any known one")))
            }
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.failed(doing, left, error)),
        }
    }

    /// Takes in what is there without waiting. False if there was nothing.
    pub fn fill_now(&mut self, doing: &'static str) -> Result<bool, MachineError> {
        let mut chunk = [0; 4096];
        match recv(&self.stream, &mut chunk, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Err(self.failed(doing, Duration::ZERO, ErrorKind::UnexpectedEof.into())),
            Ok((_, n)) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(true)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(self.failed(doing, Duration::ZERO, error.into())),
        }
    }

    /// A line that is already there, without its end.
    pub fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|octet| *octet == b'\n')?;
        let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }

    /// The next line.
    pub fn line(&mut self, end: Instant, doing: &'static str) -> Result<Vec<u8>, MachineError> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(line);
            }
            self.fill(end, doing)?;
        }
    }

    fn failed(&self, doing: &'static str, deadline: Duration, source: io::Error) -> MachineError {
        match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => MachineError::Deadline { link: self.name, doing, deadline },
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                MachineError::Ended { doing, words: Vec::new() }
            }
            _ => MachineError::link(self.name, doing, source),
        }
    }
}
