//! How an image gets from a slot into bank A.
//!
//! [`CopyInstall`] is the product: page by page, "equal? skip : erase, write". Its source is never written while it runs,
//! so a pass that was cut is simply repeated, and pages that were done are skipped. It proves nothing: boot judges bank A
//! afterwards from the octets that are there.

use mk_wire::Reason;

use crate::{
    geometry::{Area, MAX_PAGE_SIZE, Memory, Slot},
    hardware::{Hardware, erase_page, read, write},
    inspect::find,
    layout::Layout,
};

/// One way to install.
pub trait Engine<H: Hardware + ?Sized> {
    /// One pass: makes bank A hold the image in `from`. May be cut anywhere and is then called again.
    ///
    /// # Errors
    /// Why the pass was given up: the source is no image, or a flash operation failed.
    fn install(&self, hw: &mut H, from: Slot) -> Result<(), Reason>;
}

/// Copy-install (protocol sheet "Bootloader", section 1).
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyInstall;

impl<H: Hardware + ?Sized> Engine<H> for CopyInstall {
    fn install(&self, hw: &mut H, from: Slot) -> Result<(), Reason> {
        let source = find(hw, Area::Slot(from))?;
        let geometry = hw.geometry();
        let payload = source.facts.payload();
        let length = payload.end.checked_sub(payload.start).ok_or(Reason::HeaderBad)?;
        let tlvs = source.facts.total_len.checked_sub(payload.end).ok_or(Reason::HeaderBad)?;
        let mut page = [0_u8; MAX_PAGE_SIZE];
        let page = page.get_mut(..geometry.page_size as usize).ok_or(Reason::FlashFault)?;

        let mut done = 0;
        while done < length {
            let part = (length - done).min(geometry.page_size);
            page.fill(0xFF);
            fetch(hw, source.layout, payload.start + done, &mut page[..part as usize])?;
            put_page(hw, Memory::Internal, geometry.bank_a.start + done, page)?;
            done += part;
        }
        // The trailer goes last, so that bank A has no valid header before it has its payload. It is gathered page by page:
        // the header, and behind it what follows the payload in the file.
        let trailer = geometry.trailer();
        let used =
            geometry.header_size.checked_add(tlvs).filter(|used| *used <= trailer.length).ok_or(Reason::TooLarge)?;
        let mut done = 0;
        while done < trailer.length {
            page.fill(0xFF);
            let header_end = geometry.header_size.clamp(done, done + geometry.page_size);
            let used_end = used.clamp(header_end, done + geometry.page_size);
            let (header, behind) = page.split_at_mut((header_end - done) as usize);
            fetch(hw, source.layout, done, header)?;
            let behind = &mut behind[..(used_end - header_end) as usize];
            // File offset of the first octet behind the header that this page holds.
            fetch(hw, source.layout, payload.end + header_end.saturating_sub(geometry.header_size), behind)?;
            put_page(hw, Memory::Internal, trailer.start + done, page)?;
            done += geometry.page_size;
        }
        Ok(())
    }
}

/// Makes a slot a byte copy of the image in bank A. May be cut anywhere and is then called again; proves nothing.
///
/// # Errors
/// Bank A holds no image, or a flash operation failed.
pub(crate) fn copy_out<H: Hardware + ?Sized>(hw: &mut H, to: Slot) -> Result<(), Reason> {
    let source = find(hw, Area::BankA)?;
    let geometry = hw.geometry();
    let start = geometry.slot(to).start;
    let length = source.facts.total_len;
    let mut page = [0_u8; MAX_PAGE_SIZE];
    let page = page.get_mut(..geometry.page_size as usize).ok_or(Reason::FlashFault)?;
    let mut done = 0;
    while done < length {
        let part = (length - done).min(geometry.page_size);
        page.fill(0xFF);
        fetch(hw, source.layout, done, &mut page[..part as usize])?;
        put_page(hw, Memory::External, start + done, page)?;
        done += part;
    }
    Ok(())
}

/// File octets, wherever they lie.
fn fetch<H: Hardware + ?Sized>(hw: &mut H, layout: Layout, offset: u32, out: &mut [u8]) -> Result<(), Reason> {
    let extents = layout.extents(offset, out.len() as u32).ok_or(Reason::HeaderBad)?;
    let mut rest = out;
    for extent in extents {
        let (part, behind) = rest.split_at_mut(extent.length as usize);
        read(hw, extent.memory, extent.address, part).map_err(|_| Reason::FlashFault)?;
        rest = behind;
    }
    Ok(())
}

/// Makes a page hold `wanted`; does nothing when it already does.
fn put_page<H: Hardware + ?Sized>(hw: &mut H, memory: Memory, address: u32, wanted: &[u8]) -> Result<(), Reason> {
    hw.feed_watchdog();
    if page_equals(hw, memory, address, wanted)? {
        return Ok(());
    }
    erase_page(hw, memory, address).map_err(|_| Reason::FlashFault)?;
    write(hw, memory, address, wanted).map_err(|_| Reason::FlashFault)
}

fn page_equals<H: Hardware + ?Sized>(hw: &mut H, memory: Memory, address: u32, wanted: &[u8]) -> Result<bool, Reason> {
    const CHUNK: usize = 256;
    let mut buffer = [0_u8; CHUNK];
    let mut at = address;
    for chunk in wanted.chunks(CHUNK) {
        let present = &mut buffer[..chunk.len()];
        read(hw, memory, at, present).map_err(|_| Reason::FlashFault)?;
        if present != chunk {
            return Ok(false);
        }
        at += chunk.len() as u32;
    }
    Ok(true)
}
