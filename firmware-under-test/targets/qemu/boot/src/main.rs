//! The bootloader of the emulated board: the product's composition over this board's flash, and nothing else.
//!
//! Starts the watchdog with the grace period of the node's identity, counts the start, lets `mk-boot` decide and act, says on
//! the UART what it decided and why, and jumps into bank A. A board that has nothing to run stays here, asleep, with the
//! watchdog running: it looks again when that or a person resets it.
#![no_std]
#![no_main]

use board::{Board, Clock, GEOMETRY, Uart, Watchdog, regs, reset, say};
use cortex_m_rt::entry;
use mk_app::{
    BootCount,
    console::Piece::{Number, Text},
    trace::{BootFacts, boot_events},
};
use mk_boot::{Composition, Hardware, Run};
use mk_wire::time::Duration;

/// Time-out of the watchdog on a board without an identity.
const DEFAULT_GRACE: Duration = Duration::from_secs(120);

#[entry]
fn main() -> ! {
    let uart = Uart::start();
    let cause = reset::cause();
    uart.line(&[Text("MK-BOOT "), Text(env!("CARGO_PKG_VERSION")), Text(" on "), Text(GEOMETRY.name)]);
    let mut board = Board::new(Clock::start(), &mut []);
    let identity = mk_app::identity(board.internal(), GEOMETRY.identity);
    let grace = match &identity {
        Ok(identity) => Duration::from_millis(u64::from(identity.grace_ms)),
        Err(_) => {
            uart.line(&[Text("no identity: this board was never provisioned")]);
            DEFAULT_GRACE
        }
    };
    board.watch(Watchdog::start(grace));
    let boot_count = BootCount::new(GEOMETRY.boot_count).advance(board.internal()).unwrap_or_else(|error| {
        uart.line(&[Text("the boot count could not be "), Text(error.what)]);
        0
    });
    let began = board.now();
    match mk_boot::boot(&mut board, &Composition::product(), cause) {
        Ok(report) => {
            let took = board.now() - began;
            let about = mk_boot::update::status(&mut board).ok().and_then(|status| status.about);
            let (signature_checks, signature_time) = board.signature_checks();
            let took_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
            let facts = BootFacts { boot_count, about, signature_checks, took_ms };
            for event in boot_events(&report, facts) {
                let now = board.now();
                say(now, event);
            }
            let us = u32::try_from(signature_time.as_micros()).unwrap_or(u32::MAX);
            let result = match report.run {
                Run::Application { trial: false } => "run",
                Run::Application { trial: true } => "trial",
                // The record before this line has the reason.
                Run::StayInBootloader(_) => "nothing to run",
            };
            uart.line(&[
                Text("boot "),
                Number(boot_count),
                Text(": "),
                Text(result),
                Text(", "),
                Number(took_ms),
                Text(" ms"),
            ]);
            uart.line(&[
                Number(u32::from(signature_checks)),
                Text(" signatures verified in "),
                Number(us),
                Text(" us"),
            ]);
            if let Run::Application { .. } = report.run {
                // The grace period of a trial begins here.
                board.reload_watchdog();
                regs::jump(GEOMETRY.execution_address);
            }
        }
        Err(_) => {
            uart.line(&[Text("the journal could not be read or written")]);
            let now = board.now();
            say(now, mk_wire::trace::TraceEvent::FlashFault);
        }
    }
    loop {
        cortex_m::asm::wfi();
    }
}
