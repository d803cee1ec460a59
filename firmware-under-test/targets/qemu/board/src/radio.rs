//! The radio: rings of advertisements in RAM, which the bench empties and fills.
//!
//! Not Nordic's radio but one made for this bench: the firmware tells the address of its mailbox once, rings a bell when it
//! has filled slots, and is woken by an interrupt when there are new ones for it. Counters run freely; a slot is the counter
//! modulo the slots of its ring.
//!
//! | word | mailbox | written by |
//! | --- | --- | --- |
//! | 0 | `MKRA` | firmware |
//! | 1, 2 | slots of the sending and of the receiving ring | firmware |
//! | 3, 4 | sending ring: filled, taken | firmware, bench |
//! | 5, 6 | receiving ring: filled, taken | bench, firmware |
//! | 7, 8 | addresses of both rings | firmware |

use crate::regs::{RADIO_MAILBOX, RADIO_TASKS_START, Shared};
use core::sync::atomic::{Ordering, compiler_fence};
use heapless::Vec;
use mk_wire::radio_link::MAX_PDU;

const MAGIC: u32 = 0x4D4B_5241;
const TX_SLOTS: u32 = 16;
const RX_SLOTS: u32 = 64;
/// Words of a slot: length, AD type, RSSI and flags, then up to 31 octets of PDU, padded.
const SLOT: usize = 9;

mod word {
    pub const MAGIC: usize = 0;
    pub const TX_SLOTS: usize = 1;
    pub const RX_SLOTS: usize = 2;
    pub const TX_HEAD: usize = 3;
    pub const TX_TAIL: usize = 4;
    pub const RX_HEAD: usize = 5;
    pub const RX_TAIL: usize = 6;
    pub const TX_RING: usize = 7;
    pub const RX_RING: usize = 8;
    pub const COUNT: usize = 9;
}

static MAILBOX: Shared<{ word::COUNT }> = Shared::new();
static TX: Shared<{ SLOT * TX_SLOTS as usize }> = Shared::new();
static RX: Shared<{ SLOT * RX_SLOTS as usize }> = Shared::new();

/// An advertisement that was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Mesh message or mesh beacon.
    pub ad_type: u8,
    /// Strength in dBm.
    pub rssi_dbm: i8,
    /// What follows the AD type.
    pub pdu: Vec<u8, MAX_PDU>,
}

/// The radio.
#[derive(Debug)]
pub struct Radio {
    head: u32,
    announced: bool,
}

impl Radio {
    /// Makes the rings empty and tells the bench where they are.
    #[must_use]
    pub fn start() -> Self {
        for index in 0..word::COUNT {
            MAILBOX.write(index, 0);
        }
        MAILBOX.write(word::TX_SLOTS, TX_SLOTS);
        MAILBOX.write(word::RX_SLOTS, RX_SLOTS);
        MAILBOX.write(word::TX_RING, TX.address());
        MAILBOX.write(word::RX_RING, RX.address());
        MAILBOX.write(word::MAGIC, MAGIC);
        RADIO_MAILBOX.write(MAILBOX.address());
        Self { head: 0, announced: true }
    }

    /// Is there room for an advertisement?
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.head.wrapping_sub(MAILBOX.read(word::TX_TAIL)) < TX_SLOTS
    }

    /// Puts an advertisement into the sending ring; call [`Radio::ring`] when all are in. False, and nothing is sent, when the
    /// ring is full or the PDU is empty or too long.
    #[must_use]
    pub fn put(&mut self, ad_type: u8, pdu: &[u8]) -> bool {
        if !self.has_room() || pdu.is_empty() || pdu.len() > MAX_PDU {
            return false;
        }
        let first = (self.head % TX_SLOTS) as usize * SLOT;
        TX.write(first, pdu.len() as u32 | u32::from(ad_type) << 8);
        for (index, part) in pdu.chunks(4).enumerate() {
            let mut octets = [0; 4];
            octets[..part.len()].copy_from_slice(part);
            TX.write(first + 1 + index, u32::from_le_bytes(octets));
        }
        self.head = self.head.wrapping_add(1);
        // The slot before the counter that gives it away.
        compiler_fence(Ordering::SeqCst);
        MAILBOX.write(word::TX_HEAD, self.head);
        self.announced = false;
        true
    }

    /// Tells the bench that there is something to send, if there is.
    pub fn ring(&mut self) {
        if !core::mem::replace(&mut self.announced, true) {
            RADIO_TASKS_START.write(1);
        }
    }

    /// The next advertisement that was heard.
    pub fn take(&mut self) -> Option<Heard> {
        let tail = MAILBOX.read(word::RX_TAIL);
        let waiting = MAILBOX.read(word::RX_HEAD).wrapping_sub(tail);
        if waiting == 0 || waiting > RX_SLOTS {
            return None;
        }
        let first = (tail % RX_SLOTS) as usize * SLOT;
        let [length, ad_type, rssi, _flags] = RX.read(first).to_le_bytes();
        let mut pdu = Vec::new();
        for index in 1..SLOT {
            let left = usize::from(length).min(MAX_PDU).saturating_sub(pdu.len()).min(4);
            // No more than the capacity, counted above.
            let _ = pdu.extend_from_slice(&RX.read(first + index).to_le_bytes()[..left]);
        }
        compiler_fence(Ordering::SeqCst);
        MAILBOX.write(word::RX_TAIL, tail.wrapping_add(1));
        Some(Heard { ad_type, rssi_dbm: rssi as i8, pdu })
    }
}
