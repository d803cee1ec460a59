//! The bootloader of the MK-NODE: the product's composition over internal flash and QSPI.
//!
//! **Never run on hardware**: see the crate `board`. The master boot record starts it (UICR.NRFFW[0], 0x10001014, has to hold
//! its address), and it leaves for the SoftDevice, which starts bank A.
//!
//! What it does beside `mk-boot`: opens or closes the debug port (parts with build codes Fxx lock it at every reset unless
//! UICR and a register say 0x5A), starts or adopts the watchdog, counts the start, says what was decided, and write-protects
//! itself, the key page and the identity page until the next reset.
#![no_std]
#![no_main]

use board::{Board, GEOMETRY, Uart, Watchdog, clock, qspi, regs, reset, say};
use cortex_m_rt::entry;
use embassy_nrf::{bind_interrupts, config, nvmc::Nvmc, peripherals};
use mk_app::{
    BootCount,
    console::Piece::{Number, Text},
    trace::{BootFacts, boot_events},
};
use mk_boot::{Composition, Hardware, Run, geometry::Region};
use mk_wire::time::Duration;

bind_interrupts!(struct Irqs {
    QSPI => embassy_nrf::qspi::InterruptHandler<peripherals::QSPI>;
});

/// Time-out of the watchdog on a board without an identity.
const DEFAULT_GRACE: Duration = Duration::from_secs(120);

#[entry]
fn main() -> ! {
    let cause = reset::take_cause();
    let mut config = config::Config::default();
    config.debug = if cfg!(feature = "locked") { config::Debug::Disallowed } else { config::Debug::Allowed };
    let p = embassy_nrf::init(config);
    clock::start();
    let uart = Uart::start();
    uart.line(&[Text("MK-BOOT "), Text(env!("CARGO_PKG_VERSION")), Text(" on "), Text(GEOMETRY.name)]);

    let mut internal = Nvmc::new(p.NVMC);
    let identity = mk_app::identity(&mut internal, GEOMETRY.identity);
    let grace = match &identity {
        Ok(identity) => Duration::from_millis(u64::from(identity.grace_ms)),
        Err(_) => {
            uart.line(&[Text("no identity: this board was never provisioned")]);
            DEFAULT_GRACE
        }
    };
    let Ok(watchdog) = Watchdog::start(grace) else {
        uart.line(&[Text("the watchdog runs with another time-out: waiting for it")]);
        sleep()
    };
    let mut settings = embassy_nrf::qspi::Config::default();
    settings.capacity = qspi::CAPACITY;
    let external =
        embassy_nrf::qspi::Qspi::new(p.QSPI, Irqs, p.P0_19, p.P0_17, p.P0_20, p.P0_21, p.P0_22, p.P0_23, settings);
    let mut board = Board::new(internal, qspi::External::new(external), watchdog, &mut []);
    let boot_count = BootCount::new(GEOMETRY.boot_count).advance(board.internal()).unwrap_or_else(|error| {
        uart.line(&[Text("the boot count could not be "), Text(error.what)]);
        0
    });
    match mk_boot::boot(&mut board, &Composition::product(), cause) {
        Ok(report) => {
            let about = mk_boot::update::status(&mut board).ok().and_then(|status| status.about);
            let (signature_checks, signature_time) = board.signature_checks();
            let now = clock::now();
            let took_ms = u32::try_from(now.as_ticks() / 1_000).unwrap_or(u32::MAX);
            for event in boot_events(&report, BootFacts { boot_count, about, signature_checks, took_ms }) {
                say(now, event);
            }
            let us = u32::try_from(signature_time.as_micros()).unwrap_or(u32::MAX);
            uart.line(&[
                Number(u32::from(signature_checks)),
                Text(" signatures verified in "),
                Number(us),
                Text(" us"),
            ]);
            if let Run::Application { .. } = report.run {
                protect(0, GEOMETRY.bootloader);
                protect(1, GEOMETRY.key_page);
                protect(2, GEOMETRY.identity);
                // The grace period of a trial begins here.
                board.feed_watchdog();
                // The controller of the external flash is the application's now.
                drop(board);
                regs::leave_for_softdevice();
            }
        }
        Err(_) => {
            uart.line(&[Text("the journal could not be read or written")]);
            say(clock::now(), mk_wire::trace::TraceEvent::FlashFault);
        }
    }
    sleep()
}

/// Write-protects a region until the next reset. Each of the eight protections can be set once.
fn protect(index: u8, region: Region) {
    const NO_WRITE: u32 = 1 << 1;
    let [address, size, permission] = regs::acl(index);
    address.write(region.start);
    size.write(region.length);
    permission.write(NO_WRITE);
}

/// Nothing to run: until the watchdog or a person resets the board.
fn sleep() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
