//! What goes wrong, and what is said of it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hil_rack::RackError;
use mk_wire::Version;
use mk_wire::reason::Reason;
use mk_wire::trace::{TraceEvent, TraceRecord, encode_frame};
use mk_wire::vendor::BootOutcome;
use rack_emulated::LineFault;
use rack_hardware::board::RebootLimit;
use rack_hardware::probe::{AttachOptions, Deadlines, FlashPart};
use rack_hardware::{BoardError, BoardEvent, BoardFact, Fault, Part, Purpose, Standing};
use tokio::sync::mpsc::{self, Receiver};

use crate::Rule;
use crate::rig::{Rig, say};

pub const RULES: &[Rule] = &[
    ("an_absent_probe_is_named_with_what_to_do", an_absent_probe_is_named_with_what_to_do),
    ("a_wrong_board_behind_a_serial_is_not_written_to", a_wrong_board_behind_a_serial_is_not_written_to),
    ("a_port_that_another_process_holds_is_busy", a_port_that_another_process_holds_is_busy),
    (
        "a_cable_pulled_mid_flash_is_told_and_the_board_comes_back",
        a_cable_pulled_mid_flash_is_told_and_the_board_comes_back,
    ),
    ("a_board_that_starts_for_ever_is_taken_out_of_service", a_board_that_starts_for_ever_is_taken_out_of_service),
    (
        "a_console_at_the_wrong_rate_is_told_with_the_rate_to_set",
        a_console_at_the_wrong_rate_is_told_with_the_rate_to_set,
    ),
    ("a_blank_board_attaches_and_is_locked_up", a_blank_board_attaches_and_is_locked_up),
];

/// Every one of these ends a run as a fault of the rack, and says what to do.
fn is_the_rack_s_fault(error: &BoardError) {
    assert!(!error.next().is_empty());
    let told = RackError::from(error.clone()).to_string();
    assert!(told.contains(error.next()) || matches!(error.fault, Fault::Refused { .. }), "{told}");
}

fn an_absent_probe_is_named_with_what_to_do() {
    let mut rig = Rig::new(1, &say(b"hello\n", false));
    // Nobody listens there: the port was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    rig.boards[0].identity.probe = format!("1d50:6018:{free}").parse().unwrap();
    let (board, _events) = rig.open(0).unwrap();
    rig.runtime.block_on(async {
        let error = board.attach(AttachOptions::default()).await.unwrap_err();
        assert!(matches!(&error.fault, Fault::Absent { name } if name.contains(&free.to_string())), "{error}");
        assert!(error.part == Part::Probe && error.next().contains("plug the probe in"), "{error}");
        is_the_rack_s_fault(&error);
        let again = board.read(0, 4).await.unwrap_err();
        assert!(matches!(again.fault, Fault::Quarantined { .. }), "the run goes on without it: {again}");
        board.close().await;
    });
}

fn a_wrong_board_behind_a_serial_is_not_written_to() {
    let mut rig = Rig::new(2, &say(b"hello\n", false));
    let (first, second) = (rig.boards[0].identity.probe.clone(), rig.boards[1].identity.probe.clone());
    rig.boards[0].identity.probe = second;
    rig.boards[1].identity.probe = first;
    let before = rig.bench.flash(1, 0..0x1_0000).unwrap();
    let (board, _events) = rig.open(0).unwrap();
    rig.runtime.block_on(async {
        let parts = vec![FlashPart { address: 0, octets: vec![0; 64] }];
        let error = board.flash(parts, Purpose::Readdress, None).await.unwrap_err();
        assert!(matches!(error.fault, Fault::WrongChip { .. }), "{error}");
        assert!(error.to_string().contains("nothing was written"), "{error}");
        is_the_rack_s_fault(&error);
        board.close().await;
    });
    assert_eq!(rig.bench.flash(1, 0..0x1_0000).unwrap(), before);
}

/// Another process that holds a port.
struct Holder(Child);

impl Holder {
    fn of(path: &std::path::Path) -> Self {
        let script = format!("exec 9<>{0}; flock -x 9; echo held; exec sleep 60", path.display());
        let mut child = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn a_port_that_another_process_holds_is_busy() {
    let rig = Rig::new(1, &say(b"hello\n", false));
    let holder = Holder::of(rig.bench.tty(0).unwrap());
    let error = rig.open(0).map(|_| ()).unwrap_err();
    assert!(error.part == Part::Console && matches!(error.fault, Fault::Busy { .. }), "{error}");
    assert!(error.next().contains("other process"), "{error}");
    is_the_rack_s_fault(&error);
    drop(holder);
    let (board, _events) = rig.open(0).unwrap();
    let error = rig.open(0).map(|_| ()).unwrap_err();
    assert!(matches!(&error.fault, Fault::Busy { holder: Some(who), .. } if who.contains("a test")), "{error}");
    rig.runtime.block_on(board.close());
}

fn a_cable_pulled_mid_flash_is_told_and_the_board_comes_back() {
    let mut rig = Rig::new(1, &say(b"hello\n", false));
    rig.settings.deadlines = Deadlines {
        quick: Duration::from_secs(2),
        flash_4k: Duration::from_millis(60),
        attach: Duration::from_secs(4),
        ..Deadlines::default()
    };
    let octets = vec![0xA5; 256 * 1024];
    let (board, _events) = rig.open(0).unwrap();
    let bench = std::sync::Arc::clone(&rig.bench);
    rig.runtime.block_on(async {
        let (progress, mut steps) = mpsc::channel(64);
        let cut = tokio::task::spawn_blocking(move || {
            let step = steps.blocking_recv().expect("it begins");
            bench.probe_cable(0, false).unwrap();
            step
        });
        let parts = vec![FlashPart { address: 0x1_0000, octets: octets.clone() }];
        let start = Instant::now();
        let error = board.flash(parts, Purpose::Provision, Some(progress)).await.unwrap_err();
        let step = cut.await.unwrap();
        assert!(step.done < step.total, "the cable was pulled in the middle: {step:?}");
        assert!(matches!(error.fault, Fault::LinkLost { .. } | Fault::Deadline { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
        is_the_rack_s_fault(&error);
        assert!(matches!(board.standing(), Standing::Quarantined(_)));
        board.close().await;
    });
    rig.bench.probe_cable(0, true).unwrap();
    let (board, _events) = rig.open(0).unwrap();
    rig.runtime.block_on(async {
        let parts = vec![FlashPart { address: 0x1_0000, octets: octets.clone() }];
        board.flash(parts, Purpose::Provision, None).await.unwrap();
        assert_eq!(board.read(0x1_0000, 256 * 1024).await.unwrap(), octets);
        board.close().await;
    });
}

async fn taken_out(events: &mut Receiver<BoardEvent>) -> BoardError {
    let wait = async {
        while let Some(event) = events.recv().await {
            if let BoardFact::Quarantined(error) = event.what {
                return error;
            }
        }
        panic!("its owner ended");
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it is taken out of service")
}

fn a_board_that_starts_for_ever_is_taken_out_of_service() {
    let event = TraceEvent::Boot {
        boot_count: 1,
        outcome: BootOutcome::None,
        reason: Reason::None,
        running: Version::new(1, 0, 0),
        about: Version::new(1, 0, 0),
    };
    let frame = encode_frame(&TraceRecord { sequence: 0, uptime_ms: 1, event });
    let mut rig = Rig::new(2, &say(b"hello\n", false));
    rig.settings.reboots = RebootLimit { boots: 5, within: Duration::from_secs(20) };
    rig.bench.power(0, hil_model::Power::Off).unwrap();
    rig.bench.load_flash(0, 0, &say(&frame, true)).unwrap();
    let (board, mut events) = rig.open(0).unwrap();
    let (other, _its_events) = rig.open(1).unwrap();
    rig.bench.power(0, hil_model::Power::On).unwrap();
    rig.runtime.block_on(async {
        let error = taken_out(&mut events).await;
        assert!(matches!(error.fault, Fault::RebootLoop { boots: 6, .. }), "{error}");
        is_the_rack_s_fault(&error);
        let refused = board.attach(AttachOptions::default()).await.unwrap_err();
        assert!(matches!(refused.fault, Fault::Quarantined { .. }), "{refused}");
        assert!(other.status().await.is_ok(), "the run goes on with what remains");
        board.close().await;
        other.close().await;
    });
}

fn a_console_at_the_wrong_rate_is_told_with_the_rate_to_set() {
    let text = b"the quick brown fox jumps over the lazy dog and says so again and again and again\n".repeat(8);
    let rig = Rig::new(1, &say(&text, false));
    let (board, mut events) = rig.open(0).unwrap();
    rig.bench.line_fault(0, LineFault::WrongBaud).unwrap();
    rig.runtime.block_on(async {
        let error = taken_out(&mut events).await;
        assert!(error.part == Part::Console && matches!(error.fault, Fault::Garbage { .. }), "{error}");
        assert!(error.next().contains("115200"), "{error}");
        is_the_rack_s_fault(&error);
        board.close().await;
    });
}

fn a_blank_board_attaches_and_is_locked_up() {
    let rig = Rig::new(1, &[0xFF; 4]);
    let (board, _events) = rig.open(0).unwrap();
    rig.runtime.block_on(async {
        board.identify(Purpose::Provision).await.unwrap();
        let parts = vec![FlashPart { address: 0, octets: say(b"hello\n", false) }];
        board.flash(parts, Purpose::Provision, None).await.unwrap();
        board.reset(rack_hardware::ResetKind::Soft, false).await.unwrap();
        let status = board.status().await.unwrap();
        assert_eq!(status.state, rack_hardware::probe::CoreState::Running);
        board.close().await;
    });
}
