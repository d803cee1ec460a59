//! The radio of an emulated node: two rings in its RAM, a doorbell register and an interrupt line. Agreed with the firmware.
//!
//! | word | content | written by |
//! | --- | --- | --- |
//! | 0 | magic `MKRA` | firmware |
//! | 1, 2 | slots of the transmit and the receive ring | firmware |
//! | 3, 4 | transmit head, tail | firmware, bench |
//! | 5, 6 | receive head, tail | bench, firmware |
//! | 7, 8 | addresses of the rings | firmware |
//!
//! Counters run freely; a slot is counter modulo slots and holds length, AD type, RSSI, flags, 31 octets of PDU, padding.

use crate::{error::MachineError, machine::Machine, qtest::Qtest};

const MAGIC: u32 = 0x4D4B_5241;
const WORDS: usize = 9;
const SLOT: usize = 36;
const PDU_AT: usize = 4;
/// Octets of a PDU in a slot.
const MAX_PDU: usize = 31;
const MAX_SLOTS: u32 = 256;
const TX_HEAD: u32 = 3;
const TX_TAIL: u32 = 4;
const RX_HEAD: u32 = 5;
const RX_TAIL: u32 = 6;
/// The radio's line at the interrupt controller.
const INTERRUPT: u32 = 1;

/// An advertisement as a node sends or hears it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub ad_type: u8,
    pub rssi_dbm: i8,
    pub pdu: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Ring {
    at: u32,
    slots: u32,
}

impl Ring {
    fn slot(self, counter: u32) -> u32 {
        self.at + counter % self.slots * SLOT as u32
    }
}

/// The mailbox of a node whose firmware has said where it is.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    at: u32,
    tx: Ring,
    rx: Ring,
    tx_tail: u32,
    rx_head: u32,
    /// As last read: the ring has at least the room that this says.
    rx_tail: u32,
}

/// Why a mailbox cannot be used.
pub(crate) type Refusal = &'static str;

impl Mailbox {
    /// Reads the head of a mailbox. The inner error says what is wrong with it.
    pub fn open(qtest: &mut Qtest, machine: &Machine, at: u32) -> Result<Result<Self, Refusal>, MachineError> {
        let in_ram = |start: u32, length: u64| {
            let (ram, size) = (u64::from(machine.ram.0), u64::from(machine.ram.1));
            start.is_multiple_of(4) && u64::from(start) >= ram && u64::from(start) + length <= ram + size
        };
        if !in_ram(at, 4 * WORDS as u64) {
            return Ok(Err("the mailbox is not in RAM"));
        }
        let words = read_head(qtest, at)?;
        let [magic, tx_slots, rx_slots, _, tx_tail, rx_head, rx_tail, tx_at, rx_at] = words;
        if magic != MAGIC {
            return Ok(Err("the mailbox has no magic number"));
        }
        for (slots, ring) in [(tx_slots, tx_at), (rx_slots, rx_at)] {
            if slots == 0 || slots > MAX_SLOTS {
                return Ok(Err("a ring of the mailbox has no slots, or too many"));
            }
            if !in_ram(ring, u64::from(slots) * SLOT as u64) {
                return Ok(Err("a ring of the mailbox is not in RAM"));
            }
        }
        Ok(Ok(Self {
            at,
            tx: Ring { at: tx_at, slots: tx_slots },
            rx: Ring { at: rx_at, slots: rx_slots },
            tx_tail,
            rx_head,
            rx_tail,
        }))
    }

    /// Takes what the firmware has to send.
    pub fn take(&mut self, qtest: &mut Qtest) -> Result<Vec<Frame>, MachineError> {
        let head = qtest.word(self.at + 4 * TX_HEAD)?;
        let waiting = head.wrapping_sub(self.tx_tail);
        // A head beyond the ring is the firmware's mistake; what is in the ring is all that can be taken.
        let first = if waiting > self.tx.slots { head.wrapping_sub(self.tx.slots) } else { self.tx_tail };
        let mut frames = Vec::new();
        let mut counter = first;
        while counter != head {
            let mut slot = [0; SLOT];
            qtest.read(self.tx.slot(counter), &mut slot)?;
            let length = usize::from(slot[0]).min(MAX_PDU);
            if length > 0 {
                let pdu = slot[PDU_AT..PDU_AT + length].to_vec();
                frames.push(Frame { ad_type: slot[1], rssi_dbm: 0, pdu });
            }
            counter = counter.wrapping_add(1);
        }
        if head != self.tx_tail {
            self.tx_tail = head;
            qtest.set_word(self.at + 4 * TX_TAIL, head)?;
        }
        Ok(frames)
    }

    /// Puts frames into the receive ring and interrupts the core once. Returns how many fitted.
    pub fn deliver(
        &mut self,
        qtest: &mut Qtest,
        interrupts: Option<&str>,
        frames: &[Frame],
    ) -> Result<usize, MachineError> {
        if self.room() < frames.len() {
            self.rx_tail = qtest.word(self.at + 4 * RX_TAIL)?;
        }
        let fitting = &frames[..frames.len().min(self.room())];
        if fitting.is_empty() {
            return Ok(0);
        }
        for frame in fitting {
            let mut slot = [0; SLOT];
            let length = frame.pdu.len().min(MAX_PDU);
            slot[0] = length as u8;
            slot[1] = frame.ad_type;
            slot[2] = frame.rssi_dbm.to_le_bytes()[0];
            slot[PDU_AT..PDU_AT + length].copy_from_slice(&frame.pdu[..length]);
            qtest.queue_octets(self.rx.slot(self.rx_head), &slot);
            self.rx_head = self.rx_head.wrapping_add(1);
        }
        qtest.queue_word(self.at + 4 * RX_HEAD, self.rx_head);
        if let Some(path) = interrupts {
            qtest.queue_interrupt(path, INTERRUPT);
        }
        qtest.flush()?;
        Ok(fitting.len())
    }

    const fn room(&self) -> usize {
        self.rx.slots.saturating_sub(self.rx_head.wrapping_sub(self.rx_tail)) as usize
    }
}

fn read_head(qtest: &mut Qtest, at: u32) -> Result<[u32; WORDS], MachineError> {
    let mut octets = [0; 4 * WORDS];
    qtest.read(at, &mut octets)?;
    let mut words = [0; WORDS];
    for (word, octets) in words.iter_mut().zip(octets.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*octets);
    }
    Ok(words)
}
