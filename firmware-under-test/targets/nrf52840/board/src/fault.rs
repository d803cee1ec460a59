//! The end of a program that went wrong: one trace record, then a reset. Boot decides what comes next.
#![allow(unsafe_code, reason = "the attribute that makes a function the hard-fault handler asks for it")]

use crate::{Uart, clock, reset};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU8, Ordering};
use cortex_m_rt::{ExceptionFrame, exception};
use mk_app::trace::{Tracer, fault_event, panic_event};
use mk_wire::time::Instant;
use mk_wire::trace::{MAX_TEXT, TraceEvent};

/// Records said so far. A panic has to go on numbering from wherever the program was.
static SEQUENCE: AtomicU8 = AtomicU8::new(0);

/// Says one record.
pub fn say(now: Instant, event: TraceEvent) {
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    Uart.send(&Tracer::from_sequence(sequence).frame(now, event));
}

fn end(event: TraceEvent) -> ! {
    say(clock::now(), event);
    reset::software()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("?", 0), |at| (at.file(), at.line()));
    // The end of a path says more than its start.
    let start = file.len().saturating_sub(MAX_TEXT);
    end(panic_event(line, file.get(start..).unwrap_or(file)))
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    end(fault_event(frame.pc(), frame.lr()))
}
