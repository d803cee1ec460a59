//! The application of the MK-NODE on its SoftDevice, as a library: the product's binary and the fixtures call [`run`] with what
//! they are put together from.
//!
//! **Never run on hardware**: see the crate `board`.
//!
//! One task holds everything: the SoftDevice's events, scanner, sender, and the loop of the application. Flash operations
//! wait inside it for the SoftDevice, 85 ms for a page; what is heard meanwhile waits in the scanner's queue or is lost.
#![no_std]

pub mod bearer;

use bearer::{Advertisement, Queue};
use board::{Board, Uart, Watchdog, clock, qspi, reset, say, softdevice::SdFlash};
use embassy_executor::{Executor, Spawner};
use embassy_futures::{
    join::join4,
    select::{Either, select},
};
use embassy_nrf::{bind_interrupts, config::Config, interrupt, interrupt::InterruptExt, peripherals};
use embassy_time::Timer;
use heapless::Vec;
use mk_app::{
    App, Provisioned,
    console::Piece::{Number, Text},
    trace::{node_event, start_event},
};
use mk_mesh::BearerKind;
use mk_node::{Effect, Parts};
use mk_wire::{
    radio_link::{AD_MESH_BEACON, AD_MESH_MESSAGE},
    time::{Duration, Instant},
};
use nrf_softdevice::Softdevice;
use static_cell::StaticCell;

/// The board of an application.
pub type NodeBoard = Board<SdFlash>;

/// Octets of RAM for one BLOB block.
const BLOCK_BUFFER: usize = 32 * 1024;
/// Advertisements heard that wait for the application.
const HEARD: usize = 32;
/// Advertisements that wait to be sent.
const TO_SEND: usize = 4;
/// The loop looks at everything at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Before the reset after a start that failed: no board resets faster than this in a loop.
const LAST_WORDS_MS: u64 = 500;

/// What an image is put together from.
pub struct Image {
    /// What its first line on the console says behind the product's name.
    pub name: &'static str,
    /// The parts of the node.
    pub parts: fn() -> Parts<NodeBoard>,
    /// Called before anything else.
    pub at_boot: fn(),
    /// Called in every turn of the loop, with the time of the start and now.
    pub while_running: fn(Instant, Instant),
    /// When `while_running` wants to be called.
    pub next_wakeup: fn(Instant) -> Option<Instant>,
}

bind_interrupts!(struct Irqs {
    QSPI => embassy_nrf::qspi::InterruptHandler<peripherals::QSPI>;
});

/// Runs an image.
pub fn run(image: &'static Image) -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    (image.at_boot)();
    EXECUTOR.init(Executor::new()).run(|spawner: Spawner| {
        // There is one task, and room for it.
        if let Ok(task) = main(image) {
            spawner.spawn(task);
        }
    })
}

#[embassy_executor::task]
async fn main(image: &'static Image) {
    let uart = Uart::start();
    uart.line(&[Text("MK-NODE "), Text(env!("CARGO_PKG_VERSION")), Text(image.name)]);
    // The SoftDevice restricts the register that the cause is in.
    let cause = reset::cause();
    let mut config = Config::default();
    // 0, 1 and 4 are the SoftDevice's.
    config.gpiote_interrupt_priority = interrupt::Priority::P2;
    config.time_interrupt_priority = interrupt::Priority::P2;
    let p = embassy_nrf::init(config);
    interrupt::QSPI.set_priority(interrupt::Priority::P3);
    let mut settings = embassy_nrf::qspi::Config::default();
    settings.capacity = qspi::CAPACITY;
    let external =
        embassy_nrf::qspi::Qspi::new(p.QSPI, Irqs, p.P0_19, p.P0_17, p.P0_20, p.P0_21, p.P0_22, p.P0_23, settings);
    static BLOCK: StaticCell<[u8; BLOCK_BUFFER]> = StaticCell::new();
    let block = BLOCK.init_with(|| [0xFF; BLOCK_BUFFER]);
    let softdevice: &Softdevice = Softdevice::enable(&bearer::softdevice_config());
    let mut board = Board::new(SdFlash, qspi::External::new(external), Watchdog::running(), block);
    let mut seed = [0; 8];
    // Without random octets the boot count still makes delays differ.
    let _ = nrf_softdevice::random_bytes(softdevice, &mut seed);
    board.set_entropy(u64::from_le_bytes(seed));

    static HEARD_QUEUE: Queue<HEARD> = Queue::new();
    static TO_SEND_QUEUE: Queue<TO_SEND> = Queue::new();
    let application = async {
        match mk_app::provisioned(&mut board, cause) {
            Ok(provisioned) => application(image, uart, board, &provisioned, softdevice).await,
            Err(_) => {
                uart.line(&[Text("no identity, journal or image: this application was not started by a bootloader")]);
                // The bootloader's watchdog, where there is one, ends this.
                loop {
                    Timer::after_secs(60).await;
                }
            }
        }
    };
    let heard = bearer::listen(softdevice, &HEARD_QUEUE);
    let sending = bearer::send(softdevice, &TO_SEND_QUEUE, || {});
    join4(softdevice.run(), heard, sending, application).await;

    async fn application(
        image: &'static Image,
        uart: Uart,
        mut board: NodeBoard,
        provisioned: &Provisioned,
        softdevice: &Softdevice,
    ) -> ! {
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
        let started = clock::now();
        let mut app = match App::start(started, provisioned, (image.parts)(), &mut board) {
            Ok(app) => app,
            Err(error) => {
                uart.line(&[Text("the application could not start")]);
                say(clock::now(), start_event(error));
                Timer::after_millis(LAST_WORDS_MS).await;
                reset::software()
            }
        };
        loop {
            while let Ok(heard) = HEARD_QUEUE.try_receive() {
                app.on_heard(clock::now(), heard.ad_type, heard.rssi_dbm, &heard.pdu, &mut board);
            }
            let now = clock::now();
            (image.while_running)(started, now);
            if let Ok(temperature) = nrf_softdevice::temperature_celsius(softdevice) {
                // Quarters of a degree.
                board.set_temperature((temperature.to_bits() * 25).clamp(-30_000, 30_000) as i16);
            }
            app.step(now, &mut board);
            while !TO_SEND_QUEUE.is_full() {
                let Some(next) = app.poll_bearer(now) else { break };
                let ad_type = match next.kind {
                    BearerKind::Message => AD_MESH_MESSAGE,
                    BearerKind::Beacon => AD_MESH_BEACON,
                };
                // There is room, and the stack makes no PDU that is too long.
                let pdu = Vec::from_slice(&next.octets).unwrap_or_default();
                let _ = TO_SEND_QUEUE.try_send(Advertisement { ad_type, rssi_dbm: 0, pdu });
            }
            effects(&mut app, &mut board);
            let latest = now + LONGEST_SLEEP;
            let wake =
                [app.next_wakeup(now), (image.next_wakeup)(started)].into_iter().flatten().fold(latest, Instant::min);
            // While the sender's queue is full a PDU that is due has to wait for an advertising event.
            let wake = if TO_SEND_QUEUE.is_full() { wake.max(now + Duration::from_millis(10)) } else { wake };
            let sleep = Timer::at(embassy_time::Instant::from_micros(wake.as_ticks()));
            if let Either::First(heard) = select(HEARD_QUEUE.receive(), sleep).await {
                app.on_heard(clock::now(), heard.ad_type, heard.rssi_dbm, &heard.pdu, &mut board);
            }
        }
    }
}

/// Says what the node has to say; resets when it asks for that.
fn effects(app: &mut App<NodeBoard>, board: &mut NodeBoard) {
    while let Some(effect) = app.poll_effect() {
        match effect {
            Effect::Trace(event) => {
                if let Some(event) = node_event(event) {
                    say(clock::now(), event);
                }
            }
            Effect::Reset => {
                app.before_reset(clock::now(), board);
                reset::software()
            }
        }
    }
}
