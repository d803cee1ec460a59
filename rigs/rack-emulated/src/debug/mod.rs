//! The core as a debugger sees it: run control over QEMU's gdb connection, memory over qtest, and the debug registers that
//! QEMU does not have.
//!
//! QEMU must never see a lockup, because it ends itself then: a core that cannot start (no code at the vector) is held
//! back here and reported as locked up.

mod port;
mod registers;
mod special;

use crate::{
    error::MachineError,
    event::ResetReason,
    gdb::{LR, PC, Stop, XPSR},
    machine::Machine,
    process::Process,
    trace::FENCE,
};
use std::time::Duration;

/// Bits of DHCSR as written.
mod dhcsr {
    pub const DEBUG_ENABLE: u32 = 1;
    pub const HALT: u32 = 2;
    pub const STEP: u32 = 4;
    pub const REGISTER_READY: u32 = 1 << 16;
    pub const HALTED: u32 = 1 << 17;
    pub const LOCKUP: u32 = 1 << 19;
    pub const RETIRED: u32 = 1 << 24;
    pub const RESET: u32 = 1 << 25;
    pub const KEY: u32 = 0xA05F;
}

/// Bits of DFSR.
mod dfsr {
    pub const HALTED: u32 = 1;
    pub const BREAKPOINT: u32 = 2;
    pub const VECTOR_CATCH: u32 = 8;
}

/// DEMCR: halt behind a reset.
const CATCH_RESET: u32 = 1;
/// xPSR: the core is in Thumb state. A core that is not locks up.
const THUMB: u32 = 1 << 24;
/// No code runs from here on.
const SYSTEM_SPACE: u32 = 0xE000_0000;
/// High octet of a BKPT instruction.
const BKPT: u8 = 0xBE;
/// How long a debugger's question whether the core has halted may take.
const PATIENCE: Duration = Duration::from_micros(500);
/// Most comparators of any machine.
const COMPARATORS: usize = 8;

/// Debug registers; a reset of the core leaves them, a power-off does not.
#[derive(Clone, Debug, Default)]
pub(crate) struct DebugRegisters {
    select: u32,
    control_status: u32,
    transfer_address: u32,
    csw: u32,
    /// C_DEBUGEN, C_HALT, C_STEP, C_MASKINTS as last written.
    control: u32,
    demcr: u32,
    dfsr: u32,
    dcrdr: u32,
    reset_seen: bool,
    retired: bool,
    fp_control: u32,
    comparators: [u32; COMPARATORS],
    /// The reset pin is held.
    pin_held: bool,
    /// A debugger that attaches under reset says "run" once before it looks: not to be taken at its word.
    held_by_catch: bool,
    lockup: bool,
}

/// What the core's owner has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// A reset; stores behind the fence of that number are behind it.
    Reset(ResetReason, u32),
    /// The core was told to run and has nothing to run.
    CannotRun,
}

/// A QEMU process and the debug registers before it.
#[derive(Debug)]
pub(crate) struct Core {
    pub machine: Machine,
    pub process: Process,
    registers: DebugRegisters,
    /// Breakpoints that QEMU has now.
    planted: Vec<u32>,
    fence: u32,
    happened: Vec<Happened>,
}

impl Core {
    /// A machine that has just been started, not yet running. `registers` are those of the machine before it, after
    /// a lockup, or fresh ones.
    pub fn new(machine: Machine, process: Process, registers: Option<DebugRegisters>) -> Self {
        let mut registers = registers.unwrap_or(DebugRegisters { csw: machine.csw, ..DebugRegisters::default() });
        registers.reset_seen = true;
        registers.lockup = false;
        Self { machine, process, registers, planted: Vec::new(), fence: 0, happened: Vec::new() }
    }

    /// The registers, for the machine after this one.
    pub fn into_registers(self) -> DebugRegisters {
        self.registers
    }

    /// What happened since this was last asked.
    pub fn take_happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }

    /// Whether the core executes, or sleeps.
    pub const fn running(&self) -> bool {
        self.process.gdb.running()
    }

    /// Whether it is locked up, as far as QEMU lives to tell.
    pub const fn locked_up(&self) -> bool {
        self.registers.lockup
    }

    /// Starts the core of a machine that has not run yet; `hold` leaves it locked up.
    pub fn start(&mut self, reason: ResetReason, hold: bool) -> Result<(), MachineError> {
        self.process.qtest.set_word(self.machine.cells.reset_reason, reason.word())?;
        self.registers.control &= !dhcsr::HALT;
        if hold {
            self.registers.lockup = true;
            return Ok(());
        }
        self.resume()
    }

    /// Takes in stops of the core.
    pub fn poll(&mut self) -> Result<(), MachineError> {
        match self.process.gdb.poll()? {
            Some(stop) => self.stopped(stop),
            None => Ok(()),
        }
    }

    /// The same for a debugger that asks again and again: it gets its answer a little later, and the core the processor.
    pub(in crate::debug) fn poll_patiently(&mut self) -> Result<(), MachineError> {
        let debugged = self.registers.control & dhcsr::DEBUG_ENABLE != 0;
        match self.process.gdb.wait(if debugged { PATIENCE } else { Duration::ZERO })? {
            Some(stop) => self.stopped(stop),
            None => Ok(()),
        }
    }

    fn stopped(&mut self, stop: Stop) -> Result<(), MachineError> {
        if stop == Stop::Reset {
            let hold = self.catches_reset();
            return self.reset(ResetReason::Soft, hold);
        }
        let pc = self.process.gdb.register(PC)?;
        let at_breakpoint = self.breakpoints().contains(&pc) || self.is_bkpt(pc)?;
        self.registers.dfsr |= match stop {
            Stop::Trap if at_breakpoint => dfsr::BREAKPOINT,
            Stop::Trap => dfsr::VECTOR_CATCH,
            Stop::Asked | Stop::Reset => dfsr::HALTED,
        };
        self.registers.control |= dhcsr::HALT;
        self.registers.retired = true;
        Ok(())
    }

    fn is_bkpt(&mut self, address: u32) -> Result<bool, MachineError> {
        let mut code = [0; 2];
        self.process.qtest.read(address & !1, &mut code)?;
        Ok(code[1] == BKPT)
    }

    const fn catches_reset(&self) -> bool {
        self.registers.demcr & CATCH_RESET != 0 && self.registers.control & dhcsr::DEBUG_ENABLE != 0
    }

    /// Addresses that the breakpoint unit watches.
    fn breakpoints(&self) -> Vec<u32> {
        if self.registers.fp_control & 1 == 0 {
            return Vec::new();
        }
        let mut addresses = Vec::new();
        for comparator in &self.registers.comparators[..self.machine.breakpoints] {
            if comparator & 1 == 0 {
                continue;
            }
            if self.machine.fpb_revision == 1 {
                addresses.push(comparator & !1);
                continue;
            }
            let word = comparator & 0x1FFF_FFFC;
            match comparator >> 30 {
                1 => addresses.push(word),
                2 => addresses.push(word | 2),
                3 => addresses.extend([word, word | 2]),
                _ => {}
            }
        }
        addresses
    }

    fn plant(&mut self, mut wanted: Vec<u32>) -> Result<(), MachineError> {
        wanted.sort_unstable();
        wanted.dedup();
        for address in self.planted.clone() {
            if !wanted.contains(&address) {
                self.process.gdb.breakpoint(address, false)?;
            }
        }
        for address in &wanted {
            if !self.planted.contains(address) {
                self.process.gdb.breakpoint(*address, true)?;
            }
        }
        self.planted = wanted;
        Ok(())
    }

    /// Lets the core run with the breakpoints that the registers ask for.
    fn resume(&mut self) -> Result<(), MachineError> {
        let mut wanted = Vec::new();
        if self.registers.control & dhcsr::DEBUG_ENABLE != 0 {
            wanted = self.breakpoints();
            // BKPT does not halt QEMU's core but faults. The one that matters is what a called routine returns to.
            let back = self.process.gdb.register(LR)? & !1;
            if back < SYSTEM_SPACE && self.is_bkpt(back)? {
                wanted.push(back);
            }
            if self.registers.demcr & CATCH_RESET != 0 {
                let start = self.process.qtest.word(self.machine.vectors + 4)?;
                wanted.push(start & !1);
            }
        }
        self.plant(wanted)?;
        if self.would_lock_up()? {
            if !self.registers.lockup {
                self.happened.push(Happened::CannotRun);
            }
            self.registers.lockup = true;
            return Ok(());
        }
        self.process.gdb.run()
    }

    fn would_lock_up(&mut self) -> Result<bool, MachineError> {
        Ok(self.process.gdb.register(XPSR)? & THUMB == 0 || self.process.gdb.register(PC)? >= SYSTEM_SPACE)
    }

    /// Lets a stopped core run.
    pub fn run(&mut self) -> Result<(), MachineError> {
        if self.running() { Ok(()) } else { self.resume() }
    }

    /// Stops the core.
    pub fn halt(&mut self) -> Result<(), MachineError> {
        if self.registers.lockup {
            self.registers.lockup = false;
            self.registers.dfsr |= dfsr::HALTED;
            self.registers.control |= dhcsr::HALT;
            return Ok(());
        }
        match self.process.gdb.halt()? {
            // The reset it had just asked for is done with the one that it is halted for, or by the next poll.
            Some(Stop::Reset) => self.reset(ResetReason::Soft, true),
            Some(stop) => self.stopped(stop),
            None => Ok(()),
        }
    }

    /// Resets the core and leaves the reason in RAM before it starts; `hold` leaves it before its first instruction.
    pub fn reset(&mut self, reason: ResetReason, hold: bool) -> Result<(), MachineError> {
        // Whatever stops it now, the reset comes.
        let _ = self.process.gdb.halt()?;
        self.registers.lockup = false;
        if self.machine.interrupts.is_some() {
            self.fence = self.fence.wrapping_add(1);
            self.process.qtest.set_word(FENCE, self.fence)?;
        }
        self.process.qmp.hold_resets(false)?;
        self.process.qmp.reset()?;
        self.process.qmp.hold_resets(true)?;
        self.process.qtest.set_word(self.machine.cells.reset_reason, reason.word())?;
        self.registers.reset_seen = true;
        self.happened.push(Happened::Reset(reason, self.fence));
        if hold {
            self.registers.control |= dhcsr::HALT;
            self.registers.dfsr = dfsr::VECTOR_CATCH;
            return Ok(());
        }
        self.registers.control &= !dhcsr::HALT;
        self.resume()
    }

    /// A reset from outside, which a debugger may have asked to catch.
    pub fn reset_from_outside(&mut self, reason: ResetReason) -> Result<(), MachineError> {
        let hold = self.catches_reset();
        self.reset(reason, hold)
    }

    /// Holds or releases the reset pin.
    pub fn reset_pin(&mut self, held: bool) -> Result<(), MachineError> {
        self.poll()?;
        if held == self.registers.pin_held {
            return Ok(());
        }
        self.registers.pin_held = held;
        if held {
            return self.halt();
        }
        // A debugger that attaches under reset sets the catch while debug is not enabled yet, and expects it to work.
        let catch = self.registers.demcr & CATCH_RESET != 0;
        self.registers.held_by_catch = catch && self.registers.control & dhcsr::DEBUG_ENABLE == 0;
        self.reset(ResetReason::Pin, catch)
    }

    /// One instruction. A core asleep would never take it, so something is made pending; QEMU masks interrupts during a
    /// step, so it is not taken. False if even that did not wake it.
    fn step(&mut self) -> Result<bool, MachineError> {
        const ICSR: u32 = 0xE000_ED04;
        const PEND: u32 = 1 << 28;
        const UNPEND: u32 = 1 << 27;
        let pending = self.process.qtest.word(ICSR)? & PEND != 0;
        if !pending {
            self.process.qtest.set_word(ICSR, PEND)?;
        }
        let stepped = self.process.gdb.step()?;
        if !pending {
            self.process.qtest.set_word(ICSR, UNPEND)?;
        }
        Ok(stepped)
    }
}
