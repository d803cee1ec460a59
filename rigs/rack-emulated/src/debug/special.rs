//! Registers that QEMU's stub does not export: MSP, PSP and the CONTROL word. The halted core executes an MRS or MSR from a
//! scratch word, and everything is put back.

use super::Core;
use crate::{
    error::MachineError,
    gdb::{PC, XPSR},
};

/// Special register numbers of MRS and MSR, each with its place in the word that a debugger sees.
const MSP: &[(u32, u32)] = &[(8, 0)];
const PSP: &[(u32, u32)] = &[(9, 0)];
const CONTROL_V6: &[(u32, u32)] = &[(16, 0), (20, 24)];
const CONTROL_V7: &[(u32, u32)] = &[(16, 0), (17, 8), (19, 16), (20, 24)];

impl Core {
    fn special(&self, selector: u32) -> &'static [(u32, u32)] {
        match selector {
            17 => MSP,
            18 => PSP,
            20 if self.machine.armv6m => CONTROL_V6,
            20 => CONTROL_V7,
            _ => &[],
        }
    }

    pub(super) fn read_special(&mut self, selector: u32) -> Result<u32, MachineError> {
        let parts = self.special(selector);
        let mut value = 0;
        self.at_scratch(parts.is_empty(), |core| {
            for (number, shift) in parts {
                if !core.execute([0xF3EF, 0x8000 | *number as u16])? {
                    break;
                }
                value |= core.process.gdb.register(0)? << shift;
            }
            Ok(())
        })?;
        Ok(value)
    }

    pub(super) fn write_special(&mut self, selector: u32, value: u32) -> Result<(), MachineError> {
        let parts = self.special(selector);
        let mask = if parts.len() > 1 { 0xFF } else { u32::MAX };
        self.at_scratch(parts.is_empty(), |core| {
            for (number, shift) in parts {
                core.process.gdb.set_register(0, value >> shift & mask)?;
                if !core.execute([0xF380, 0x8800 | *number as u16])? {
                    break;
                }
            }
            Ok(())
        })
    }

    fn at_scratch(
        &mut self,
        nothing: bool,
        work: impl FnOnce(&mut Self) -> Result<(), MachineError>,
    ) -> Result<(), MachineError> {
        if nothing || self.would_lock_up()? {
            return Ok(());
        }
        let scratch = self.machine.cells.scratch;
        let gdb = &mut self.process.gdb;
        let kept = [gdb.register(0)?, gdb.register(PC)?, gdb.register(XPSR)?];
        let word = self.process.qtest.word(scratch)?;
        work(self)?;
        self.process.qtest.set_word(scratch, word)?;
        for (number, value) in [0, PC, XPSR].into_iter().zip(kept) {
            self.process.gdb.set_register(number, value)?;
        }
        Ok(())
    }

    /// One 32-bit instruction from the scratch word.
    fn execute(&mut self, code: [u16; 2]) -> Result<bool, MachineError> {
        let scratch = self.machine.cells.scratch;
        self.process.qtest.set_word(scratch, u32::from(code[0]) | u32::from(code[1]) << 16)?;
        self.process.gdb.set_register(PC, scratch)?;
        self.step()
    }
}
