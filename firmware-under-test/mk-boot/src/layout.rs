//! Where the octets of an image file lie once it is in bank A or in a slot.
//!
//! A **slot** holds the file as it was signed: header (padded to `header_size`), payload, protected TLVs, TLVs, and after
//! that whatever the flash held.
//!
//! **Bank A** holds the same octets in another order, because S140 wants the vector table at the first address of the bank:
//!
//! ```text
//! bank_a.start                                        bank_a.end - trailer_length                    bank_a.end
//! | payload (file octets header_size ..)  | not ours     | header (header_size) | protected TLVs, TLVs | 0xFF |
//! ```
//!
//! The end of the bank is the *trailer* (one page on every board there is). Octets of the last payload page behind the
//! payload, and of the trailer behind the TLVs, are written as 0xFF; whole pages between payload and trailer are left as they were.

use heapless::Vec;
use mk_wire::Reason;

use crate::{
    geometry::{Area, Geometry, Memory},
    hardware::{Extent, FlashFault, Hardware, read},
};

/// A run of file octets lies in three places at most: header, payload, TLVs.
pub type Extents = Vec<Extent, 3>;

/// Where a file with `payload` octets of payload lies in an area of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    area: Area,
    geometry: &'static Geometry,
    payload: u32,
}

impl Layout {
    /// The layout of a file whose header announces `payload` octets.
    ///
    /// # Errors
    /// [`Reason::TooLarge`] if bank A could not hold such a payload: then no slot is allowed to hold it either.
    pub fn new(geometry: &'static Geometry, area: Area, payload: u32) -> Result<Self, Reason> {
        if payload > geometry.max_payload() {
            return Err(Reason::TooLarge);
        }
        Ok(Self { area, geometry, payload })
    }

    /// The memory that the area is in.
    #[must_use]
    pub const fn memory(&self) -> Memory {
        match self.area {
            Area::BankA => Memory::Internal,
            Area::Slot(_) => Memory::External,
        }
    }

    /// Octets from the first of the header to the last that a TLV could have.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.geometry.header_size + self.payload + self.geometry.max_tlvs()
    }

    /// Where `length` file octets from `offset` lie, in file order; `None` when they leave the area.
    #[must_use]
    pub fn extents(&self, offset: u32, length: u32) -> Option<Extents> {
        let end = offset.checked_add(length).filter(|end| *end <= self.capacity())?;
        let mut extents = Extents::new();
        match self.area {
            Area::Slot(slot) => {
                let address = self.geometry.slot(slot).start + offset;
                extents.push(Extent { memory: Memory::External, address, length }).ok()?;
            }
            Area::BankA => {
                let header = self.geometry.header_size;
                let payload_end = header + self.payload;
                let trailer = self.geometry.trailer().start;
                // (first file octet, file octet behind the last, address of the first)
                let parts = [
                    (0, header, trailer),
                    (header, payload_end, self.geometry.bank_a.start),
                    (payload_end, self.capacity(), trailer + header),
                ];
                for (first, behind, address) in parts {
                    let from = offset.max(first);
                    let to = end.min(behind);
                    if from < to {
                        let part =
                            Extent { memory: Memory::Internal, address: address + (from - first), length: to - from };
                        extents.push(part).ok()?;
                    }
                }
            }
        }
        Some(extents)
    }
}

/// The payload length that the header in an area announces, read before the header is judged.
///
/// # Errors
/// The read that failed.
pub(crate) fn announced_payload<H: Hardware + ?Sized>(hw: &mut H, area: Area) -> Result<u32, FlashFault> {
    /// Offset of `img_size` in a MCUboot header.
    const IMAGE_SIZE: u32 = 12;
    let (memory, start) = match area {
        Area::BankA => (Memory::Internal, hw.geometry().trailer().start),
        Area::Slot(slot) => (Memory::External, hw.geometry().slot(slot).start),
    };
    let mut bytes = [0_u8; 4];
    read(hw, memory, start + IMAGE_SIZE, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
