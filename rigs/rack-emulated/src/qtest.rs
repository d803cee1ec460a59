//! QEMU's qtest connection: memory and registers as the core sees them, while the core runs, with the side effects they
//! have. A debug probe's memory access port does the same. Never controls the core.

use crate::{
    error::MachineError,
    hex,
    link::{ANSWER, Link},
};
use std::time::Instant;

/// Octets in one request.
const CHUNK: usize = 16 * 1024;
const DOING: &str = "accessing memory";

/// The connection.
#[derive(Debug)]
pub(crate) struct Qtest {
    link: Link,
    request: Vec<u8>,
    queued: usize,
}

impl Qtest {
    pub const fn new(link: Link) -> Self {
        Self { link, request: Vec::new(), queued: 0 }
    }

    fn queue(&mut self, command: &str) {
        self.request.extend_from_slice(command.as_bytes());
        self.request.push(b'\n');
        self.queued += 1;
    }

    /// Queues a word write, to go out with the next request: one round trip for many.
    pub fn queue_word(&mut self, address: u32, value: u32) {
        self.queue(&format!("writel {address:#x} {value:#x}"));
    }

    /// Queues a write of at most [`CHUNK`] octets.
    pub fn queue_octets(&mut self, address: u32, octets: &[u8]) {
        self.request.extend_from_slice(format!("write {address:#x} {:#x} 0x", octets.len()).as_bytes());
        hex::append(&mut self.request, octets);
        self.request.push(b'\n');
        self.queued += 1;
    }

    /// Queues a pulse on an interrupt line of the controller at `path`.
    pub fn queue_interrupt(&mut self, path: &str, line: u32) {
        for level in [1, 0] {
            self.queue(&format!("set_irq_in {path} unnamed-gpio-in {line} {level}"));
        }
    }

    /// Sends what is queued and returns the last answer behind its `OK`.
    pub fn flush(&mut self) -> Result<Vec<u8>, MachineError> {
        let mut last = Vec::new();
        let end = Instant::now() + ANSWER;
        let request = std::mem::take(&mut self.request);
        let queued = std::mem::take(&mut self.queued);
        self.link.send(&request, DOING)?;
        for _ in 0..queued {
            last = self.link.line(end, DOING)?;
            if !last.starts_with(b"OK") {
                let request = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
                return Err(MachineError::refused(self.link.name(), &request, &String::from_utf8_lossy(&last)));
            }
        }
        self.request = request;
        self.request.clear();
        Ok(last.get(3..).unwrap_or_default().to_vec())
    }

    fn ask(&mut self, command: &str) -> Result<Vec<u8>, MachineError> {
        self.queue(command);
        self.flush()
    }

    fn ask_number(&mut self, command: &str) -> Result<u32, MachineError> {
        let answer = self.ask(command)?;
        hex::number(answer.strip_prefix(b"0x").unwrap_or(&answer))
            .map(|value| value as u32)
            .ok_or_else(|| MachineError::refused(self.link.name(), command, &String::from_utf8_lossy(&answer)))
    }

    pub fn word(&mut self, address: u32) -> Result<u32, MachineError> {
        self.ask_number(&format!("readl {address:#x}"))
    }

    pub fn set_word(&mut self, address: u32, value: u32) -> Result<(), MachineError> {
        self.queue_word(address, value);
        self.flush().map(drop)
    }

    /// Fills `length` octets with one value.
    pub fn fill(&mut self, address: u32, length: u32, octet: u8) -> Result<(), MachineError> {
        self.ask(&format!("memset {address:#x} {length:#x} {octet:#x}")).map(drop)
    }

    /// Reads with the width that length and alignment tell, so that registers are read once.
    pub fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), MachineError> {
        match (out.len(), address % 4) {
            (0, _) => Ok(()),
            (4, 0) => {
                out.copy_from_slice(&self.word(address)?.to_le_bytes());
                Ok(())
            }
            (2, 0 | 2) => {
                let half = self.ask_number(&format!("readw {address:#x}"))?;
                out.copy_from_slice(&half.to_le_bytes()[..2]);
                Ok(())
            }
            (1, _) => {
                out[0] = self.ask_number(&format!("readb {address:#x}"))?.to_le_bytes()[0];
                Ok(())
            }
            _ => {
                for (index, chunk) in out.chunks_mut(CHUNK).enumerate() {
                    let command = format!("read {:#x} {:#x}", address as usize + index * CHUNK, chunk.len());
                    let answer = self.ask(&command)?;
                    hex::read(answer.strip_prefix(b"0x").unwrap_or(&answer), chunk).ok_or_else(|| {
                        MachineError::refused(self.link.name(), &command, &String::from_utf8_lossy(&answer))
                    })?;
                }
                Ok(())
            }
        }
    }

    /// Writes with the width that length and alignment tell, so that flash words are not torn.
    pub fn write(&mut self, address: u32, octets: &[u8]) -> Result<(), MachineError> {
        match (octets, address % 4) {
            ([], _) => return Ok(()),
            (&[a, b, c, d], 0) => self.queue_word(address, u32::from_le_bytes([a, b, c, d])),
            (&[a, b], 0 | 2) => self.queue(&format!("writew {address:#x} {:#x}", u16::from_le_bytes([a, b]))),
            (&[a], _) => self.queue(&format!("writeb {address:#x} {a:#x}")),
            _ => {
                for (index, chunk) in octets.chunks(CHUNK).enumerate() {
                    self.queue_octets((address as usize + index * CHUNK) as u32, chunk);
                    self.flush()?;
                }
                return Ok(());
            }
        }
        self.flush().map(drop)
    }
}
