//! Debug port and access ports, by register number: what the virtual probe talks to.

use super::{Core, registers::ROM_TABLE};
use crate::{error::MachineError, swd::DebugPort};

const POWER_UP_REQUESTS: u32 = 0x5000_0000;
const AUTO_INCREMENT: u32 = 0x30;
/// Bits of CSW that are the port's.
const CSW_FIXED: u32 = 0x0080_00C0;

impl Core {
    /// Reads a register of an access port. Only port 0, the memory, exists.
    pub fn access_port(&mut self, port: u8, register: u8) -> Result<u32, MachineError> {
        if port != 0 {
            return Ok(0);
        }
        Ok(match register {
            0x00 => self.registers.csw,
            0x04 => self.registers.transfer_address,
            0x0C => {
                let word = self.read_aligned(self.registers.transfer_address)?;
                self.advance();
                word
            }
            0x10..=0x1C => self.read_aligned(self.banked(register))?,
            0xF8 => ROM_TABLE | 3,
            0xFC => self.machine.ap_idr,
            _ => 0,
        })
    }

    /// Writes a register of an access port.
    pub fn set_access_port(&mut self, port: u8, register: u8, value: u32) -> Result<(), MachineError> {
        if port != 0 {
            return Ok(());
        }
        match register {
            0x00 => self.registers.csw = value & !CSW_FIXED | self.machine.csw & CSW_FIXED,
            0x04 => self.registers.transfer_address = value,
            0x0C => {
                self.write(self.registers.transfer_address, &value.to_le_bytes())?;
                self.advance();
            }
            0x10..=0x1C => self.write(self.banked(register), &value.to_le_bytes())?,
            _ => {}
        }
        Ok(())
    }

    const fn banked(&self, register: u8) -> u32 {
        self.registers.transfer_address & !15 | register as u32 & 0xC
    }

    fn read_aligned(&mut self, address: u32) -> Result<u32, MachineError> {
        let mut word = [0; 4];
        self.read(address & !3, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    const fn advance(&mut self) {
        if self.registers.csw & AUTO_INCREMENT != 0 {
            self.registers.transfer_address = self.registers.transfer_address.wrapping_add(4);
        }
    }
}

impl DebugPort for Core {
    fn read(&mut self, register: u8) -> u32 {
        match (register & 0xC, self.registers.select & 0xF) {
            (0x0, _) => self.machine.dpidr,
            // Every request for power is acknowledged.
            (0x4, 0) => self.registers.control_status | (self.registers.control_status & POWER_UP_REQUESTS) << 1,
            _ => 0,
        }
    }

    fn write(&mut self, register: u8, value: u32) {
        match (register & 0xC, self.registers.select & 0xF) {
            (0x4, 0) => self.registers.control_status = value & (POWER_UP_REQUESTS | 0xF01),
            (0x8, _) => self.registers.select = value,
            _ => {}
        }
    }

    fn read_access_port(&mut self, register: u8) -> Option<u32> {
        let select = self.registers.select;
        self.access_port((select >> 24) as u8, (select & 0xF0) as u8 | register).ok()
    }

    fn write_access_port(&mut self, register: u8, value: u32) -> Option<()> {
        let select = self.registers.select;
        self.set_access_port((select >> 24) as u8, (select & 0xF0) as u8 | register, value).ok()
    }
}
