//! Every register and every raw memory access of the board, and the only unsafe code of its binaries.
//!
//! A [`Register`] can be made in this module only, from the list below: none of them makes the chip write into memory that
//! Rust owns, but the UART's pointer register, which only [`send`] sets.
#![allow(unsafe_code, reason = "device registers, supervisor calls, memory that a device reads")]

use core::sync::atomic::{Ordering, compiler_fence};
use nrf_softdevice_mbr as mbr;

/// A device register.
#[derive(Clone, Copy)]
pub struct Register(u32);

impl Register {
    /// Its value.
    pub fn read(self) -> u32 {
        // SAFETY: the address is one of this module's list: aligned, a device register, not Rust's memory.
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    /// Sets it.
    pub fn write(self, value: u32) {
        // SAFETY: as in `read`, and see the module's words on writing.
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }
}

/// Why the core was reset; bits stay until they are written.
pub const POWER_RESETREAS: Register = Register(0x4000_0400);
/// Eight bits that survive a soft reset and a jump: the bootloader leaves the cause of the reset there.
pub const POWER_GPREGRET2: Register = Register(0x4000_0520);
/// UART: on or off.
const UARTE_ENABLE: Register = Register(0x4000_2500);
/// UART: pin to send on.
const UARTE_PSEL_TXD: Register = Register(0x4000_250C);
/// UART: speed.
const UARTE_BAUDRATE: Register = Register(0x4000_2524);
/// UART: where the octets are.
const UARTE_TXD_PTR: Register = Register(0x4000_2544);
/// UART: how many.
const UARTE_TXD_MAXCNT: Register = Register(0x4000_2548);
/// UART: begin.
const UARTE_STARTTX: Register = Register(0x4000_2008);
/// UART: stop.
const UARTE_STOPTX: Register = Register(0x4000_200C);
/// UART: the last octet has left.
const UARTE_ENDTX: Register = Register(0x4000_2120);
/// Pin 6 of port 0: high.
const GPIO_OUTSET: Register = Register(0x5000_0508);
/// Pin 6 of port 0: direction.
const GPIO_PIN_CNF6: Register = Register(0x5000_0718);
/// Watchdog: run.
pub const WDT_START: Register = Register(0x4001_0000);
/// Watchdog: does it run?
pub const WDT_RUNSTATUS: Register = Register(0x4001_0400);
/// Watchdog: time-out in ticks of 32,768 Hz. Cannot be changed while it runs.
pub const WDT_CRV: Register = Register(0x4001_0504);
/// Watchdog: which reload registers count.
pub const WDT_RREN: Register = Register(0x4001_0508);
/// Watchdog: whether it runs while the core sleeps or is halted.
pub const WDT_CONFIG: Register = Register(0x4001_050C);

/// Reload register `index` of the watchdog, of eight.
#[must_use]
pub const fn wdt_reload(index: u8) -> Register {
    Register(0x4001_0600 + 4 * (index & 7) as u32)
}

/// Address, size and permission of write protection `index`, of eight.
#[must_use]
pub const fn acl(index: u8) -> [Register; 3] {
    let base = 0x4001_E800 + 16 * (index & 7) as u32;
    [Register(base), Register(base + 4), Register(base + 8)]
}

/// First address behind the internal flash.
pub const FLASH_END: u32 = 0x10_0000;

/// Copies octets of the internal flash. False, and nothing is copied, when they are not all inside it. Address 0, where
/// Rust has no memory, is outside: the master boot record is nobody's data.
#[must_use]
pub fn read_flash(address: u32, out: &mut [u8]) -> bool {
    let end = u64::from(address) + out.len() as u64;
    if address == 0 || end > u64::from(FLASH_END) {
        return false;
    }
    // SAFETY: the source is flash, checked above; `out` is RAM, so they do not overlap.
    unsafe { core::ptr::copy_nonoverlapping(address as *const u8, out.as_mut_ptr(), out.len()) }
    true
}

/// Switches the UART on: TX on P0.06, as the kits have it, 115,200 baud.
pub fn start_uart() {
    GPIO_OUTSET.write(1 << 6);
    // Output, input disconnected.
    GPIO_PIN_CNF6.write(3);
    UARTE_PSEL_TXD.write(6);
    UARTE_BAUDRATE.write(0x01D6_0000);
    UARTE_ENABLE.write(8);
}

/// Sends up to 255 octets and waits until they have left.
pub fn send(octets: &[u8]) {
    /// At 115,200 baud 255 octets take 22 ms: after this many looks the UART counts as dead and the octets as lost.
    const MAX_POLLS: u32 = 2_000_000;
    for part in octets.chunks(64) {
        // The device reads RAM only, and `octets` may be in flash.
        let mut ram = [0_u8; 64];
        ram[..part.len()].copy_from_slice(part);
        UARTE_ENDTX.write(0);
        UARTE_TXD_PTR.write(ram.as_ptr() as u32);
        UARTE_TXD_MAXCNT.write(part.len() as u32);
        compiler_fence(Ordering::SeqCst);
        UARTE_STARTTX.write(1);
        let _sent = (0..MAX_POLLS).any(|_| UARTE_ENDTX.read() != 0);
        // The device is done with `ram`, or told to be.
        UARTE_STOPTX.write(1);
        compiler_fence(Ordering::SeqCst);
    }
}

/// Leaves the bootloader for the SoftDevice, which starts the application at the address it was built for: directly
/// behind itself, which is where bank A begins.
pub fn leave_for_softdevice() -> ! {
    /// Behind the master boot record.
    const SOFTDEVICE: u32 = 0x1000;
    let mut command = mbr::sd_mbr_command_t {
        command: mbr::NRF_MBR_COMMANDS_SD_MBR_COMMAND_IRQ_FORWARD_ADDRESS_SET,
        params: mbr::sd_mbr_command_t__bindgen_ty_1 {
            irq_forward_address_set: mbr::sd_mbr_command_irq_forward_address_set_t { address: SOFTDEVICE },
        },
    };
    // SAFETY: a command as its documentation has it, in RAM, for the length of the call. Without a master boot record in
    // flash this supervisor call would fault; a board without one has no SoftDevice to start either.
    unsafe { mbr::sd_mbr_command(&mut command) };
    // SAFETY: the SoftDevice's vector table is there; the bootloader has no interrupt enabled and no destructor due.
    unsafe { cortex_m::asm::bootload(SOFTDEVICE as *const u32) }
}

#[cfg(feature = "softdevice")]
pub use under_softdevice::{erase_page, program_words, report_octets};

#[cfg(feature = "softdevice")]
mod under_softdevice {
    use nrf_softdevice::raw;

    /// Waits for an interrupt at most this often for one flash operation, which the SoftDevice fits between radio events.
    const MAX_WAITS: u32 = 100_000;

    /// Erases the page at `address`. False when the SoftDevice could not, which may be for the radio's sake: try again.
    #[must_use]
    pub fn erase_page(address: u32) -> bool {
        // SAFETY: a supervisor call without pointers; bounds are the caller's, the SoftDevice refuses its own pages.
        let accepted = unsafe { raw::sd_flash_page_erase(address / 4096) };
        accepted == raw::NRF_SUCCESS && done()
    }

    /// Programs words at `address`, as [`erase_page`].
    #[must_use]
    pub fn program_words(address: u32, words: &[u32]) -> bool {
        // SAFETY: the words are RAM, aligned, and stay where they are until `done` has waited for the end.
        let accepted = unsafe { raw::sd_flash_write(address as *mut u32, words.as_ptr(), words.len() as u32) };
        accepted == raw::NRF_SUCCESS && done()
    }

    /// Waits for the end of the operation. Other events of the chip that come meanwhile are of no use to this firmware.
    fn done() -> bool {
        for _ in 0..MAX_WAITS {
            let mut event = 0;
            // SAFETY: the SoftDevice writes one word, which is ours.
            while unsafe { raw::sd_evt_get(&mut event) } == raw::NRF_SUCCESS {
                match event {
                    raw::NRF_SOC_EVTS_NRF_EVT_FLASH_OPERATION_SUCCESS => return true,
                    raw::NRF_SOC_EVTS_NRF_EVT_FLASH_OPERATION_ERROR => return false,
                    _ => {}
                }
            }
            // The SoftDevice's interrupt, or any other, ends this.
            cortex_m::asm::wfe();
        }
        false
    }

    /// The octets of an advertising report.
    #[must_use]
    pub fn report_octets(report: &raw::ble_gap_evt_adv_report_t) -> &[u8] {
        let data = &report.data;
        if data.p_data.is_null() {
            return &[];
        }
        // SAFETY: pointer and length are the SoftDevice's, and it leaves the octets alone while the report is handled.
        unsafe { core::slice::from_raw_parts(data.p_data, usize::from(data.len)) }
    }
}
