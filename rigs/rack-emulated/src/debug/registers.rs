//! The registers of the private peripheral bus that a debugger uses and QEMU lacks: core debug, breakpoint unit, ROM table.
//! All others there are QEMU's.

use super::{COMPARATORS, Core, dfsr, dhcsr};
use crate::{
    error::MachineError,
    event::ResetReason,
    gdb::{PC, XPSR},
};

const DHCSR: u32 = 0xE000_EDF0;
const DCRSR: u32 = 0xE000_EDF4;
const DCRDR: u32 = 0xE000_EDF8;
const DEMCR: u32 = 0xE000_EDFC;
const DFSR: u32 = 0xE000_ED30;
const AIRCR: u32 = 0xE000_ED0C;
const FP_CONTROL: u32 = 0xE000_2000;
const FP_COMPARATORS: u32 = 0xE000_2008;
const FP_COMPARATORS_END: u32 = FP_COMPARATORS + 4 * COMPARATORS as u32;
/// ITM, DWT and the rest of the breakpoint unit: present, and do nothing.
const TRACE_UNITS: std::ops::Range<u32> = 0xE000_0000..0xE000_3000;
const SCS_ID: std::ops::Range<u32> = 0xE000_EFD0..0xE000_F000;
/// Start of the ROM table.
pub(super) const ROM_TABLE: u32 = 0xE00F_F000;
const ROM_END: u32 = 0xE010_0000;
/// All of the private bus.
const PRIVATE_BUS: std::ops::Range<u32> = 0xE000_0000..ROM_END;

impl Core {
    /// Reads memory as a memory access port does.
    pub fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), MachineError> {
        if !PRIVATE_BUS.contains(&address) {
            return self.process.qtest.read(address, out);
        }
        for (index, chunk) in out.chunks_mut(4).enumerate() {
            let at = address.wrapping_add(4 * index as u32);
            let word = match self.read_register(at & !3)? {
                Some(word) => word,
                None => self.process.qtest.word(at & !3)?,
            };
            let octets = (word >> (8 * (at & 3))).to_le_bytes();
            chunk.copy_from_slice(&octets[..chunk.len()]);
        }
        Ok(())
    }

    /// Writes memory as a memory access port does.
    pub fn write(&mut self, address: u32, octets: &[u8]) -> Result<(), MachineError> {
        let (words, rest) = octets.as_chunks::<4>();
        if !PRIVATE_BUS.contains(&address) || !address.is_multiple_of(4) || !rest.is_empty() {
            return self.process.qtest.write(address, octets);
        }
        for (index, word) in words.iter().enumerate() {
            let (at, word) = (address + 4 * index as u32, u32::from_le_bytes(*word));
            if !self.write_register(at, word)? {
                self.process.qtest.set_word(at, word)?;
            }
        }
        Ok(())
    }

    fn read_register(&mut self, address: u32) -> Result<Option<u32>, MachineError> {
        Ok(Some(match address {
            DHCSR => self.read_dhcsr()?,
            DCRSR => 0,
            DCRDR => self.registers.dcrdr,
            DEMCR => self.registers.demcr,
            DFSR => {
                self.poll()?;
                self.registers.dfsr
            }
            FP_CONTROL => {
                let count = self.machine.breakpoints as u32;
                self.machine.fpb_revision << 28 | (count & 0xF) << 4 | self.registers.fp_control & 1
            }
            FP_COMPARATORS..FP_COMPARATORS_END => self.registers.comparators[(address - FP_COMPARATORS) as usize / 4],
            ROM_TABLE..ROM_END => self.rom_table(address - ROM_TABLE),
            _ if TRACE_UNITS.contains(&address) => component_id(address, 0x00B),
            _ if SCS_ID.contains(&address) => component_id(address, 0x00C),
            _ => return Ok(None),
        }))
    }

    fn write_register(&mut self, address: u32, value: u32) -> Result<bool, MachineError> {
        match address {
            DHCSR => self.write_dhcsr(value)?,
            DCRSR => self.write_dcrsr(value)?,
            DCRDR => self.registers.dcrdr = value,
            DEMCR => self.registers.demcr = value,
            DFSR => self.registers.dfsr &= !value,
            AIRCR if value >> 16 == 0x05FA && value & 5 != 0 => {
                self.poll()?;
                self.reset_from_outside(ResetReason::Soft)?;
            }
            FP_CONTROL => {
                if value & 2 != 0 {
                    self.registers.fp_control = value & 1;
                    self.rearm()?;
                }
            }
            FP_COMPARATORS..FP_COMPARATORS_END => {
                self.registers.comparators[(address - FP_COMPARATORS) as usize / 4] = value;
                self.rearm()?;
            }
            _ if TRACE_UNITS.contains(&address) => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// QEMU takes breakpoints only while the core stands: a running one is stopped for a moment.
    fn rearm(&mut self) -> Result<(), MachineError> {
        self.poll()?;
        let missing = self.breakpoints().iter().any(|address| !self.planted.contains(address));
        if self.running() && missing {
            self.process.gdb.halt()?;
            self.resume()?;
        }
        Ok(())
    }

    fn read_dhcsr(&mut self) -> Result<u32, MachineError> {
        self.poll_patiently()?;
        let registers = &self.registers;
        let mut value = registers.control & 0xF | dhcsr::REGISTER_READY;
        if registers.lockup {
            value |= dhcsr::LOCKUP;
        }
        let debugged = registers.control & dhcsr::DEBUG_ENABLE != 0;
        if !self.running() && debugged && !registers.pin_held && !registers.lockup {
            value |= dhcsr::HALTED;
        }
        if self.running() || registers.retired {
            value |= dhcsr::RETIRED;
        }
        if registers.reset_seen {
            value |= dhcsr::RESET;
        }
        self.registers.reset_seen = false;
        self.registers.retired = false;
        Ok(value)
    }

    fn write_dhcsr(&mut self, value: u32) -> Result<(), MachineError> {
        if value >> 16 != dhcsr::KEY {
            return Ok(());
        }
        self.poll()?;
        self.registers.control = value & 0xF;
        if value & dhcsr::DEBUG_ENABLE == 0 {
            self.registers.control = 0;
            if self.registers.pin_held {
                return Ok(());
            }
            if !self.running() {
                self.plant(Vec::new())?;
            }
            return self.run();
        }
        if self.registers.pin_held {
            return Ok(());
        }
        if std::mem::take(&mut self.registers.held_by_catch) {
            self.registers.control |= dhcsr::HALT;
            return Ok(());
        }
        let halted = !self.running() && !self.registers.lockup;
        match (halted, value & dhcsr::HALT != 0, value & dhcsr::STEP != 0) {
            (false, true, _) => self.halt(),
            (true, false, true) => self.step_by_debugger(),
            (true, false, false) => self.resume(),
            (false, false, _) | (true, true, _) => Ok(()),
        }
    }

    fn step_by_debugger(&mut self) -> Result<(), MachineError> {
        if self.would_lock_up()? {
            self.registers.lockup = true;
            return Ok(());
        }
        let pc = self.process.gdb.register(PC)?;
        if self.is_bkpt(pc)? {
            self.registers.dfsr |= dfsr::BREAKPOINT;
        } else {
            self.step()?;
            self.registers.dfsr |= dfsr::HALTED;
        }
        self.registers.control |= dhcsr::HALT;
        self.registers.retired = true;
        Ok(())
    }

    /// A register transfer.
    fn write_dcrsr(&mut self, value: u32) -> Result<(), MachineError> {
        const WRITE: u32 = 1 << 16;
        const XPSR_SELECTOR: u32 = 16;
        if self.running() {
            return Ok(());
        }
        let selector = value & 0x7F;
        let number = match selector {
            0..=PC => Some(selector),
            XPSR_SELECTOR => Some(XPSR),
            _ => None,
        };
        let data = self.registers.dcrdr;
        match (number, value & WRITE != 0) {
            (Some(PC), true) => self.process.gdb.set_register(PC, data & !1)?,
            (Some(number), true) => self.process.gdb.set_register(number, data)?,
            (None, true) => self.write_special(selector, data)?,
            (Some(number), false) => self.registers.dcrdr = self.process.gdb.register(number)?,
            (None, false) => self.registers.dcrdr = self.read_special(selector)?,
        }
        Ok(())
    }

    fn rom_table(&self, offset: u32) -> u32 {
        let (continuation, id, part) = self.machine.designer;
        match offset {
            0x0 => 0xFFF0_F003, // system control space
            0x4 => 0xFFF0_3003, // breakpoint unit
            0xFCC => 1,
            0xFD0 => continuation,
            0xFE0 => part & 0xFF,
            0xFE4 => (id & 0xF) << 4 | part >> 8,
            0xFE8 => 8 | id >> 4 & 7,
            0xFF0 => 0x0D,
            0xFF4 => 0x10,
            0xFF8 => 0x05,
            0xFFC => 0xB1,
            _ => 0,
        }
    }
}

/// Identification of an Arm component.
const fn component_id(address: u32, part: u32) -> u32 {
    match address & 0xFFF {
        0xFD0 => 4,
        0xFE0 => part & 0xFF,
        0xFE4 => 0xB0 | part >> 8,
        0xFE8 => 0x0B,
        0xFF0 => 0x0D,
        0xFF4 => 0xE0,
        0xFF8 => 0x05,
        0xFFC => 0xB1,
        _ => 0,
    }
}
