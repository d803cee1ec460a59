//! QEMU's gdb connection: run, halt, step, registers, breakpoints. Never memory: the stub stops the machine for it and
//! drops writes to registers.

use crate::{
    error::MachineError,
    hex,
    link::{ANSWER, Link},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

const LINK: &str = "gdb";
/// Times for one instruction, tried one behind the other. A core that sleeps with nothing to wake it never takes it.
const STEP: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

/// Number of the program counter.
pub(crate) const PC: u32 = 15;
/// Number of the link register.
pub(crate) const LR: u32 = 14;
/// Number that QEMU gives xPSR.
pub(crate) const XPSR: u32 = 25;

/// Why the core stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A breakpoint, or a step.
    Trap,
    /// Asked to from outside.
    Asked,
    /// The firmware asked for a reset.
    Reset,
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Gdb {
    link: Link,
    running: bool,
}

impl Gdb {
    /// A connecting client stops the machine, so connect before it runs, and stay.
    pub fn new(link: Link) -> Result<Self, MachineError> {
        let mut gdb = Self { link, running: false };
        // Single registers can be read only after the description was asked for.
        gdb.ask("qSupported:xmlRegisters=arm")?;
        gdb.ask("qXfer:features:read:target.xml:0,ffb")?;
        Ok(gdb)
    }

    /// What to wait for a stop on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    /// Whether the core was told to run and has not stopped.
    pub const fn running(&self) -> bool {
        self.running
    }

    fn send(&mut self, packet: &str) -> Result<(), MachineError> {
        // The stub has no mode without acknowledgement: each packet carries the one for the answer before it.
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        self.link.send(format!("+${packet}#{sum:02x}").as_bytes(), "controlling the core")
    }

    fn take(&mut self) -> Option<String> {
        let buffer = self.link.buffer();
        let start = buffer.iter().position(|octet| *octet == b'$')?;
        let end = start + buffer[start..].iter().position(|octet| *octet == b'#')?;
        if buffer.len() < end + 3 {
            return None;
        }
        let packet = String::from_utf8_lossy(&buffer[start + 1..end]).into_owned();
        buffer.drain(..end + 3);
        Some(packet)
    }

    fn receive(&mut self, time: Duration) -> Result<String, MachineError> {
        let end = Instant::now() + time;
        loop {
            if let Some(packet) = self.take() {
                return Ok(packet);
            }
            self.link.fill(end, "controlling the core")?;
        }
    }

    fn ask(&mut self, packet: &str) -> Result<String, MachineError> {
        if self.running {
            return Err(MachineError::refused(LINK, packet, "the core runs"));
        }
        self.send(packet)?;
        loop {
            let answer = self.receive(ANSWER)?;
            // A core that stops by itself just when it is told to says so twice.
            if !answer.starts_with('T') {
                return Ok(answer);
            }
        }
    }

    /// Takes in whatever the stub still had to say: behind the answer to a question there is nothing left.
    fn settle(&mut self) -> Result<(), MachineError> {
        self.running = false;
        self.ask("qC").map(drop)
    }

    fn order(&mut self, packet: &str) -> Result<(), MachineError> {
        match self.ask(packet)?.as_str() {
            "OK" => Ok(()),
            answer => Err(MachineError::refused(LINK, packet, answer)),
        }
    }

    /// A register of the halted core.
    pub fn register(&mut self, number: u32) -> Result<u32, MachineError> {
        let packet = format!("p{number:x}");
        let answer = self.ask(&packet)?;
        let mut octets = [0; 4];
        hex::read(answer.as_bytes(), &mut octets).ok_or_else(|| MachineError::refused(LINK, &packet, &answer))?;
        Ok(u32::from_le_bytes(octets))
    }

    /// Sets a register of the halted core.
    pub fn set_register(&mut self, number: u32, value: u32) -> Result<(), MachineError> {
        self.order(&format!("P{number:x}={}", hex::text(&value.to_le_bytes())))
    }

    /// Sets or clears a breakpoint.
    pub fn breakpoint(&mut self, address: u32, on: bool) -> Result<(), MachineError> {
        self.order(&format!("{}0,{address:x},2", if on { 'Z' } else { 'z' }))
    }

    /// Lets the core run.
    pub fn run(&mut self) -> Result<(), MachineError> {
        self.send("c")?;
        self.running = true;
        Ok(())
    }

    /// Takes one instruction. False if the core sleeps and nothing woke it. A host that is busy may leave QEMU no time to
    /// step: then it is tried again, because a debugger takes a step that went nowhere for a BKPT and skips an instruction.
    pub fn step(&mut self) -> Result<bool, MachineError> {
        let before = self.register(PC)?;
        for time in STEP {
            self.send("s")?;
            match self.receive(time) {
                Ok(_) => return Ok(true),
                Err(MachineError::Deadline { .. }) => {}
                Err(error) => return Err(error),
            }
            self.link.send(b"+\x03", "controlling the core")?;
            let stopped = self.receive(ANSWER)?;
            self.settle()?;
            if stop(&stopped) == Stop::Trap || self.register(PC)? != before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the core has stopped, and why, without waiting.
    pub fn poll(&mut self) -> Result<Option<Stop>, MachineError> {
        while self.running {
            if let Some(packet) = self.take() {
                self.running = false;
                return Ok(Some(stop(&packet)));
            }
            if !self.link.fill_now("controlling the core")? {
                break;
            }
        }
        Ok(None)
    }

    /// Whether the core has stopped, and why, waiting a little for it.
    pub fn wait(&mut self, time: Duration) -> Result<Option<Stop>, MachineError> {
        if self.running {
            let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
            // An interrupted wait is a shorter one.
            let _ = poll(&mut [PollFd::from_borrowed_fd(self.link.fd(), PollFlags::IN)], Some(&timeout));
        }
        self.poll()
    }

    /// Stops the core. `None` if it did not run.
    pub fn halt(&mut self) -> Result<Option<Stop>, MachineError> {
        if let Some(stop) = self.poll()? {
            return Ok(Some(stop));
        }
        if !self.running {
            return Ok(None);
        }
        self.link.send(b"+\x03", "halting the core")?;
        let packet = self.receive(ANSWER)?;
        self.settle()?;
        Ok(Some(stop(&packet)))
    }
}

/// Signal numbers of the stub: 5 trap, 3 quit (a machine that was told not to reset itself), 2 interrupt.
fn stop(packet: &str) -> Stop {
    match packet.get(1..3) {
        Some("02") => Stop::Asked,
        Some("03") => Stop::Reset,
        _ => Stop::Trap,
    }
}
