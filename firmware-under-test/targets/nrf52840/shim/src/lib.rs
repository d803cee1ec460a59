//! Interrupt numbers of the nRF52840, under the names by which nrf-softdevice 0.1.0 asks nrf52840-pac for them.
#![no_std]
#![allow(unsafe_code, reason = "an interrupt handler is exported under one name and called under another")]
#![allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "names of the data sheet")]

pub use Interrupt as interrupt;
pub use cortex_m::peripheral::NVIC;
pub use cortex_m_rt::interrupt;

/// The interrupts that the SoftDevice takes for itself or that nrf-softdevice handles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Interrupt {
    /// Power and clock.
    POWER_CLOCK = 0,
    /// Radio.
    RADIO = 1,
    /// Timer 0.
    TIMER0 = 8,
    /// Real-time counter 0.
    RTC0 = 11,
    /// Temperature.
    TEMP = 12,
    /// Random numbers.
    RNG = 13,
    /// AES in ECB mode.
    ECB = 14,
    /// AES in CCM mode, address resolution.
    CCM_AAR = 15,
    /// Events of the SoftDevice.
    SWI2_EGU2 = 22,
    /// The SoftDevice's own.
    SWI5_EGU5 = 25,
}

// SAFETY: the numbers are those of the data sheet.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

// nrf-softdevice exports its event handler as `SWI2_EGU2`; nrf-pac has vector 22 call `EGU2_SWI2`.
unsafe extern "C" {
    fn SWI2_EGU2();
}

/// Vector 22.
#[unsafe(no_mangle)]
unsafe extern "C" fn EGU2_SWI2() {
    // SAFETY: an interrupt handler without arguments, called from the vector that it is written for.
    unsafe { SWI2_EGU2() }
}
