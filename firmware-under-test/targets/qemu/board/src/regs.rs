//! Every register and every raw memory access of the emulated board, and the only unsafe code of its binaries.
//!
//! A [`Register`] can be made in this module only, from the list below, so reading or writing one is safe for everybody
//! else: all are device registers of this board, none of them is memory that Rust owns. QEMU logs every access to a
//! register that it does not have, and reading one gives 0; so the watchdog and the radio are written to and never read.
#![allow(unsafe_code, reason = "device registers, and memory that another party writes")]

use core::cell::UnsafeCell;

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
        // SAFETY: as in `read`; no register of the list makes the core or a device write into Rust's memory, but the
        // radio's mailbox register, which gets the address of cells made for that (`Mailbox`).
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }
}

/// Octets of an erase unit of this flash: 1,024 here, 4,096 on an nRF52840.
pub const FICR_CODEPAGESIZE: Register = Register(0x1000_0010);
/// Radio: send what is new in the mailbox.
pub const RADIO_TASKS_START: Register = Register(0x4000_1008);
/// Radio: where the mailbox is. A register of the bench's radio alone.
pub const RADIO_MAILBOX: Register = Register(0x4000_1F00);
/// UART: begin sending.
pub const UART_STARTTX: Register = Register(0x4000_2008);
/// UART: an octet has left.
pub const UART_TXDRDY: Register = Register(0x4000_211C);
/// UART: on or off.
pub const UART_ENABLE: Register = Register(0x4000_2500);
/// UART: the octet to send.
pub const UART_TXD: Register = Register(0x4000_251C);
/// UART: speed.
pub const UART_BAUDRATE: Register = Register(0x4000_2524);
/// Timer: run.
pub const TIMER_START: Register = Register(0x4000_8000);
/// Timer: stand still, and keep the count.
pub const TIMER_STOP: Register = Register(0x4000_8004);
/// Timer: copy the counter to CC1.
pub const TIMER_CAPTURE1: Register = Register(0x4000_8044);
/// Timer: CC0 was reached.
pub const TIMER_COMPARE0: Register = Register(0x4000_8140);
/// Timer: interrupts on.
pub const TIMER_INTENSET: Register = Register(0x4000_8304);
/// Timer: timer or counter.
pub const TIMER_MODE: Register = Register(0x4000_8504);
/// Timer: width.
pub const TIMER_BITMODE: Register = Register(0x4000_8508);
/// Timer: 16 MHz divided by two to the power of this.
pub const TIMER_PRESCALER: Register = Register(0x4000_8510);
/// Timer: when to wake.
pub const TIMER_CC0: Register = Register(0x4000_8540);
/// Timer: what was captured.
pub const TIMER_CC1: Register = Register(0x4000_8544);
/// Watchdog: run.
pub const WDT_START: Register = Register(0x4001_0000);
/// Watchdog: time-out in ticks of 32,768 Hz.
pub const WDT_CRV: Register = Register(0x4001_0504);
/// Watchdog: which reload registers count.
pub const WDT_RREN: Register = Register(0x4001_0508);
/// Watchdog: whether it runs while the core sleeps or is halted.
pub const WDT_CONFIG: Register = Register(0x4001_050C);
/// Watchdog: reload.
pub const WDT_RR0: Register = Register(0x4001_0600);
/// Flash controller: ready.
pub const NVMC_READY: Register = Register(0x4001_E400);
/// Flash controller: read, write or erase.
pub const NVMC_CONFIG: Register = Register(0x4001_E504);
/// Flash controller: erase the page at this address.
pub const NVMC_ERASEPAGE: Register = Register(0x4001_E508);
/// Core: interrupts on.
pub const NVIC_ISER: Register = Register(0xE000_E100);
/// Core: pending interrupts forgotten.
pub const NVIC_ICPR: Register = Register(0xE000_E280);
/// Core: the vector table.
pub const SCB_VTOR: Register = Register(0xE000_ED08);
/// The bench's cell that says why the core was reset; the end of RAM is kept out of the linker's map.
pub const RESET_CAUSE: Register = Register(0x2003_FFFC);
/// The bench's cells with the number of this board.
pub const UNIQUE_ID: [Register; 2] = [Register(0x2003_FFF4), Register(0x2003_FFF8)];

/// First address behind the flash: internal and external half, 1 MB each.
pub const FLASH_END: u32 = 0x20_0000;

/// Copies octets of the flash. False, and nothing is copied, when they are not all inside it. Address 0, where Rust has no
/// memory, is outside: nobody's data is there, but the bootloader's vectors.
#[must_use]
pub fn read_flash(address: u32, out: &mut [u8]) -> bool {
    let end = u64::from(address) + out.len() as u64;
    if address == 0 || end > u64::from(FLASH_END) {
        return false;
    }
    // SAFETY: the source is flash, checked above; `out` is RAM, so they do not overlap. Nothing writes flash meanwhile but
    // the probe, and then octets are old or new, which the readers of flash can take.
    unsafe { core::ptr::copy_nonoverlapping(address as *const u8, out.as_mut_ptr(), out.len()) }
    true
}

/// Programs one word of flash: clears the bits that are 0 in `value`. Has effect only while the controller is set to write.
/// False when the address is no word of the flash.
#[must_use]
pub fn program_flash(address: u32, value: u32) -> bool {
    if address == 0 || !address.is_multiple_of(4) || address >= FLASH_END {
        return false;
    }
    // SAFETY: a word of flash, checked above. Code is never changed under the core's feet: the bootloader writes bank A
    // and runs from its own region, the application writes neither bank A nor the bootloader.
    unsafe { (address as *mut u32).write_volatile(value) }
    true
}

/// Leaves for the program whose vector table is at `address`, with its stack and interrupts from there.
pub fn jump(address: u32) -> ! {
    SCB_VTOR.write(address);
    // SAFETY: the bootloader has verified the image there, and nothing of its own is used any more: it jumps from thread
    // mode with no interrupt enabled, and no destructor is due.
    unsafe { cortex_m::asm::bootload(address as *const u32) }
}

/// Words of RAM that the bench reads and writes while the core runs.
#[repr(C, align(4))]
pub struct Shared<const WORDS: usize>(UnsafeCell<[u32; WORDS]>);

// SAFETY: there is one core and no interrupt handler touches these; the bench's accesses are like a device's, and all
// of ours are volatile.
unsafe impl<const WORDS: usize> Sync for Shared<WORDS> {}

impl<const WORDS: usize> Shared<WORDS> {
    /// Zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; WORDS]))
    }

    /// Address of the first word, for the other party.
    pub fn address(&'static self) -> u32 {
        self.0.get() as u32
    }

    /// One word; 0 beyond the end.
    pub fn read(&self, index: usize) -> u32 {
        if index >= WORDS {
            return 0;
        }
        // SAFETY: inside the array, checked above; volatile because another party writes it.
        unsafe { self.0.get().cast::<u32>().add(index).read_volatile() }
    }

    /// Sets one word; nothing beyond the end.
    pub fn write(&self, index: usize, value: u32) {
        if index < WORDS {
            // SAFETY: as in `read`.
            unsafe { self.0.get().cast::<u32>().add(index).write_volatile(value) }
        }
    }
}

impl<const WORDS: usize> Default for Shared<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}
