//! CMSIS-style flash routines for the emulated MK-NODE: a Nordic NVMC at 0x4001E000, called by the probe on the halted core.
//!
//! One sector is 4 KiB, as on the nRF52840 and in the board's table, though the hardware page under it is smaller: the
//! controller says how large (FICR.CODEPAGESIZE), so the same routine serves both. Nothing here is position dependent.
#![no_std]
#![no_main]

use core::ptr::{read_volatile, write_volatile};

const SECTOR: u32 = 4096;
const READY: u32 = 0x4001_E400;
const CONFIG: u32 = 0x4001_E504;
const ERASE_PAGE: u32 = 0x4001_E508;
const CODE_PAGE_SIZE: u32 = 0x1000_0010;

const READ_ONLY: u32 = 0;
const WRITE: u32 = 1;
const ERASE: u32 = 2;

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

fn read(address: u32) -> u32 {
    // SAFETY: registers and flash of the one chip this runs on; the probe calls it with nothing else running.
    unsafe { read_volatile(address as *const u32) }
}

fn write(address: u32, value: u32) {
    // SAFETY: as `read`; where a write is not allowed the controller ignores it.
    unsafe { write_volatile(address as *mut u32, value) }
}

fn wait() {
    while read(READY) & 1 == 0 {}
}

fn mode(mode: u32) {
    write(CONFIG, mode);
    wait();
}

/// Nothing to prepare.
#[unsafe(no_mangle)]
pub extern "C" fn Init(_address: u32, _clock: u32, _function: u32) -> u32 {
    0
}

/// Nothing to undo.
#[unsafe(no_mangle)]
pub extern "C" fn UnInit(_function: u32) -> u32 {
    0
}

/// Erases one sector.
#[unsafe(no_mangle)]
pub extern "C" fn EraseSector(address: u32) -> u32 {
    let page = read(CODE_PAGE_SIZE);
    mode(ERASE);
    let mut offset = 0;
    while offset < SECTOR {
        write(ERASE_PAGE, address + offset);
        wait();
        offset += page;
    }
    mode(READ_ONLY);
    0
}

/// Programs whole words. The probe reads back and compares.
#[unsafe(no_mangle)]
pub extern "C" fn ProgramPage(address: u32, length: u32, data: u32) -> u32 {
    mode(WRITE);
    let mut offset = 0;
    while offset < length {
        write(address + offset, read(data + offset));
        wait();
        offset += 4;
    }
    mode(READ_ONLY);
    0
}
