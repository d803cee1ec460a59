//! The receivers of a distribution: as added, and as reported.

use super::RetrievedPhase;
use crate::access::DecodeErrorKind;
use crate::addr::Addr;
use crate::blob;
use crate::codec::{Fault, Reader};
use crate::update;

/// A receiver to be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiverEntry {
    /// Unicast address.
    pub address: Addr,
    /// Which image of the receiver is replaced.
    pub image_index: u8,
}

impl ReceiverEntry {
    /// Octets of an entry.
    pub const SIZE: usize = 3;

    /// The entry's octets.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        let [low, high] = self.address.0.to_le_bytes();
        [low, high, self.image_index]
    }
}

/// The receivers of a Receivers Add, checked: at least one, every address unicast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiverSet<'a>(pub(super) &'a [u8]);

impl<'a> ReceiverSet<'a> {
    /// Most receivers that fit one Receivers Add.
    pub const MAX_ENTRIES: usize = (crate::access::MAX_ACCESS - 2) / ReceiverEntry::SIZE;

    /// Takes entries that were written with [`ReceiverEntry::to_bytes`]; `None` if there is none, or an address is not
    /// unicast.
    #[must_use]
    pub fn from_bytes(octets: &'a [u8]) -> Option<Self> {
        Self::decode(&mut Reader::new(octets, 0)).ok()
    }

    /// The receivers in order.
    pub fn iter(&self) -> impl Iterator<Item = ReceiverEntry> + use<'a> {
        self.0.as_chunks().0.iter().map(|&[low, high, image_index]| ReceiverEntry {
            address: Addr(u16::from_le_bytes([low, high])),
            image_index,
        })
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, Fault> {
        let mut check = *r;
        let octets = r.rest();
        if octets.is_empty() {
            return Err(check.fault(0, DecodeErrorKind::Truncated));
        }
        while check.remaining() > 0 {
            let address = check.addr()?;
            if !address.is_unicast() {
                return Err(check.prohibited(2, address.0));
            }
            check.u8()?;
        }
        Ok(ReceiverSet(octets))
    }
}

/// What the distributor says of one receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiverReport {
    /// Unicast address.
    pub address: Addr,
    /// What was last learnt of its update.
    pub phase: RetrievedPhase,
    /// Its last Firmware Update status.
    pub update_status: update::Status,
    /// Its last BLOB Transfer status.
    pub transfer_status: blob::Status,
    /// Progress of the transfer in percent, in steps of two. Some distributors report one figure for all.
    pub percent: u8,
    /// Which image of the receiver is replaced.
    pub image_index: u8,
}

impl ReceiverReport {
    /// Octets of an entry.
    pub const SIZE: usize = 5;

    /// The entry's octets; percent is rounded down to a step and capped at 100.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let word = u32::from(self.address.0 & 0x7FFF)
            | (self.phase as u32) << 15
            | (self.update_status as u32) << 19
            | (self.transfer_status as u32) << 22
            | u32::from(self.percent.min(100) / 2) << 26;
        let [a, b, c, d] = word.to_le_bytes();
        [a, b, c, d, self.image_index]
    }

    fn from_bytes([a, b, c, d, image_index]: [u8; Self::SIZE]) -> Result<Self, u32> {
        let word = u32::from_le_bytes([a, b, c, d]);
        // Each field is masked to at most seven bits, so the cast keeps every bit.
        let field = |shift: u32, bits: u32| (word >> shift & ((1 << bits) - 1)) as u8;
        let address = Addr((word & 0x7FFF) as u16);
        let steps = field(26, 6);
        match (
            RetrievedPhase::from_u8(field(15, 4)),
            update::Status::from_u8(field(19, 3)),
            blob::Status::from_u8(field(22, 4)),
        ) {
            (Some(phase), Some(update_status), Some(transfer_status)) if steps <= 50 && address.is_unicast() => {
                Ok(ReceiverReport { address, phase, update_status, transfer_status, percent: steps * 2, image_index })
            }
            _ => Err(word),
        }
    }
}

/// A Receivers List, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiverList<'a> {
    /// Receivers known, also those not listed here.
    pub count: u16,
    /// Index of the first entry.
    pub first_index: u16,
    pub(super) octets: &'a [u8],
}

impl<'a> ReceiverList<'a> {
    /// Most entries that fit one Receivers List.
    pub const MAX_ENTRIES: usize = (crate::access::MAX_ACCESS - 6) / ReceiverReport::SIZE;

    /// Takes entries that were written with [`ReceiverReport::to_bytes`]; `None` if one is malformed.
    #[must_use]
    pub fn new(count: u16, first_index: u16, octets: &'a [u8]) -> Option<Self> {
        Self::check(&mut Reader::new(octets, 0)).ok()?;
        Some(ReceiverList { count, first_index, octets })
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = ReceiverReport> + use<'a> {
        self.octets.as_chunks().0.iter().filter_map(|entry| ReceiverReport::from_bytes(*entry).ok())
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, Fault> {
        let (count, first_index) = (r.u16()?, r.u16()?);
        let octets = Self::check(r)?;
        Ok(ReceiverList { count, first_index, octets })
    }

    fn check(r: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
        let mut check = *r;
        while check.remaining() > 0 {
            let entry = check.array()?;
            ReceiverReport::from_bytes(entry).map_err(|word| check.prohibited(ReceiverReport::SIZE, word))?;
        }
        Ok(r.rest())
    }
}
