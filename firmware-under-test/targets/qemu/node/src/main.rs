//! The application of the emulated board: the product's node and mesh stack over this board's flash and radio.
//!
//! Everything happens in one loop in thread mode; between two things to do the core sleeps. After anything that must not go
//! on (a reset that the node asks for, a start that fails, a panic) the core is reset, and boot decides.
#![no_std]
#![no_main]

#[path = "../../../build_record.rs"]
mod build_record;
#[path = "../../../fixture.rs"]
mod fixture;

use board::{Board, Clock, Radio, Uart, Watchdog, reset, say};
use cortex_m_rt::entry;
use fixture::BEHAVIOUR;
use mk_app::{
    App, Provisioned,
    console::Piece::{Number, Text},
    trace::{node_event, start_event},
};
use mk_mesh::BearerKind;
use mk_node::Effect;
use mk_wire::{
    radio_link::{AD_MESH_BEACON, AD_MESH_MESSAGE},
    time::{Duration, Instant},
};

/// Octets of RAM for one BLOB block.
const BLOCK_BUFFER: usize = 32 * 1024;
/// Before the reset after a start that failed: no board resets faster than this in a loop.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// While the radio takes nothing more, it is asked again after this time.
const RADIO_FULL: Duration = Duration::from_millis(2);

#[entry]
fn main() -> ! {
    let uart = Uart::start();
    uart.line(&[Text("MK-NODE "), Text(env!("CARGO_PKG_VERSION")), Text(fixture::NAME)]);
    fixture::at_boot();
    let clock = Clock::start();
    clock.listen();
    // `None` only when taken a second time.
    let block = cortex_m::singleton!(: [u8; BLOCK_BUFFER] = [0xFF; BLOCK_BUFFER]).map_or(&mut [][..], |block| block);
    let mut board = Board::new(clock, block);
    match mk_app::provisioned(&mut board, reset::cause()) {
        Ok(provisioned) => run(uart, board, &provisioned),
        Err(_) => {
            uart.line(&[Text("no identity, journal or image: this application was not started by a bootloader")]);
            // The bootloader's watchdog, where there is one, ends this.
            loop {
                board.clock().sleep(None);
            }
        }
    }
}

fn run(uart: Uart, mut board: Board, provisioned: &Provisioned) -> ! {
    let version = provisioned.settings.firmware.version;
    uart.line(&[
        Text("version "),
        Number(u32::from(version.major)),
        Text("."),
        Number(u32::from(version.minor)),
        Text("."),
        Number(u32::from(version.revision)),
        Text(", boot "),
        Number(provisioned.boot_count),
        Text(", address "),
        Number(u32::from(provisioned.settings.address.0)),
    ]);
    board.watch(Watchdog::running(provisioned.settings.grace_period));
    board.set_boot_count(provisioned.boot_count);
    let mut radio = Radio::start();
    let started = board.now();
    let mut app = match App::start(started, provisioned, fixture::parts(), &mut board) {
        Ok(app) => app,
        Err(error) => {
            uart.line(&[Text("the application could not start")]);
            let now = board.now();
            say(now, start_event(error));
            let until = board.now() + LAST_WORDS;
            while board.now() < until {
                board.clock().sleep(Some(until));
            }
            reset::software()
        }
    };
    loop {
        while let Some(heard) = radio.take() {
            let now = board.now();
            app.on_heard(now, heard.ad_type, heard.rssi_dbm, &heard.pdu, &mut board);
        }
        let now = board.now();
        fixture::while_running(started, now);
        app.step(now, &mut board);
        while radio.has_room() {
            let Some(bearer) = app.poll_bearer(now) else { break };
            let ad_type = match bearer.kind {
                BearerKind::Message => AD_MESH_MESSAGE,
                BearerKind::Beacon => AD_MESH_BEACON,
            };
            // There is room, and the stack makes no PDU that is too long.
            let _ = radio.put(ad_type, &bearer.octets);
        }
        radio.ring();
        effects(&mut app, &mut board);
        let wake = sooner(app.next_wakeup(now), fixture::next_wakeup(started));
        let wake = if radio.has_room() { wake } else { wake.map(|at| at.max(now + RADIO_FULL)) };
        board.clock().sleep(wake);
    }
}

/// Says what the node has to say; resets when it asks for that.
fn effects(app: &mut App<Board>, board: &mut Board) {
    while let Some(effect) = app.poll_effect() {
        match effect {
            Effect::Trace(event) => {
                if let Some(event) = node_event(event) {
                    let now = board.now();
                    say(now, event);
                }
            }
            Effect::Reset => {
                let now = board.now();
                app.before_reset(now, board);
                reset::software()
            }
        }
    }
}

fn sooner(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}
