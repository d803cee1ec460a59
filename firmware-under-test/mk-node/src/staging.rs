//! Getting received octets into the staging slot: whole pages, each erased once and written once per block.
//!
//! A block is gathered in the board's block buffer while its chunks arrive in any order; flash is touched twice: its pages
//! are erased when the block begins, and written when it is complete. A page that holds accepted data is never erased,
//! because a block of the BLOB is a whole number of pages, and a block is begun again only after it was lost. Bank A and
//! the golden slot are never touched: the slot is the one that [`mk_boot::update::staging_slot`] names.

use embedded_storage::nor_flash::NorFlash;
use mk_boot::{
    Slot,
    geometry::{MAX_PAGE_SIZE, Region},
};

use crate::hardware::NodeHardware;

/// A run of the image: one BLOB block, or a run of CoAP blocks that fills whole pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// The slot that is being filled.
    pub slot: Slot,
    /// Offset in the image of the first octet; a whole number of flash pages.
    pub offset: u32,
    /// Octets of the image in this block; may end inside a page in the last block.
    pub len: u32,
}

/// Why a block could not be staged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StageError {
    /// The block leads past the end of the slot or of the block buffer, or does not start on a page.
    #[error("block does not fit slot, buffer or pages")]
    Bounds,
    /// Erasing or writing failed.
    #[error("flash fault")]
    Flash,
}

/// Where received octets go. A part of [`crate::Parts`]; the product's is [`PageStager`].
pub trait Stager<H>: Sync {
    /// A block begins: prepare its pages.
    ///
    /// # Errors
    /// The block is lost, and the transfer with it.
    fn begin(&self, hw: &mut H, block: Block) -> Result<(), StageError>;

    /// Octets of the block, in any order, each once.
    ///
    /// # Errors
    /// Octets outside the block.
    fn chunk(&self, hw: &mut H, block: Block, offset_in_block: u32, data: &[u8]) -> Result<(), StageError>;

    /// Every octet of the block came: make it last.
    ///
    /// # Errors
    /// The block is lost, and the transfer with it.
    fn finish(&self, hw: &mut H, block: Block) -> Result<(), StageError>;
}

/// The product's stager.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageStager;

/// Where a block lies on the external flash: whole pages, inside the slot.
fn pages<H: NodeHardware>(hw: &mut H, block: Block) -> Result<Region, StageError> {
    let geometry = hw.geometry();
    let (slot, page) = (geometry.slot(block.slot), geometry.page_size);
    let length = block.len.checked_next_multiple_of(page).ok_or(StageError::Bounds)?;
    let end = block.offset.checked_add(length).ok_or(StageError::Bounds)?;
    let aligned = block.offset.is_multiple_of(page) && block.len > 0;
    if !aligned || end > slot.length || length as usize > hw.block_buffer().len() {
        return Err(StageError::Bounds);
    }
    Ok(Region { start: slot.start + block.offset, length })
}

impl<H: NodeHardware> Stager<H> for PageStager {
    fn begin(&self, hw: &mut H, block: Block) -> Result<(), StageError> {
        let pages = pages(hw, block)?;
        hw.external().erase(pages.start, pages.end()).map_err(|_| StageError::Flash)
    }

    fn chunk(&self, hw: &mut H, block: Block, offset_in_block: u32, data: &[u8]) -> Result<(), StageError> {
        let end = (offset_in_block as usize).checked_add(data.len()).ok_or(StageError::Bounds)?;
        if end > block.len as usize {
            return Err(StageError::Bounds);
        }
        let place = hw.block_buffer().get_mut(offset_in_block as usize..end).ok_or(StageError::Bounds)?;
        place.copy_from_slice(data);
        Ok(())
    }

    fn finish(&self, hw: &mut H, block: Block) -> Result<(), StageError> {
        let pages = pages(hw, block)?;
        let page_size = hw.geometry().page_size as usize;
        // The block buffer and the flash are both behind `hw`, so a page goes by way of the stack, as in the bootloader.
        let mut buffer = [0xFF_u8; MAX_PAGE_SIZE];
        let page = buffer.get_mut(..page_size).ok_or(StageError::Bounds)?;
        let (len, mut done) = (block.len as usize, 0_usize);
        while done < len {
            let take = page_size.min(len - done);
            page[..take].copy_from_slice(hw.block_buffer().get(done..done + take).ok_or(StageError::Bounds)?);
            // What follows the image in its last page stays erased.
            page[take..].fill(0xFF);
            let octets = take.next_multiple_of(H::External::WRITE_SIZE).min(page_size);
            hw.external().write(pages.start + done as u32, &page[..octets]).map_err(|_| StageError::Flash)?;
            done += take;
        }
        Ok(())
    }
}
