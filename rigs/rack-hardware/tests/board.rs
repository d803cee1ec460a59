//! A board and its owner, on a pseudo-terminal and a probe process that follows a script.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use hil_model::{FloorId, GatewayId, NodeId, NodeSpec, NodeType, Protocol};
use mk_wire::Version;
use mk_wire::reason::Reason;
use mk_wire::trace::{TraceEvent, TraceRecord, encode_frame};
use mk_wire::vendor::BootOutcome;
use rack_hardware::board::{self, RebootLimit};
use rack_hardware::locks::LockFolder;
use rack_hardware::probe::protocol::PROTOCOL;
use rack_hardware::{
    BoardDefinition, BoardDriver, BoardEvent, BoardFact, BoardHandle, BoardIdentity, BoardSettings, DeviceId, Fault,
    Part, PortIdentity, PowerAction, Purpose, Standing, WorkerCommand,
};
use serialport::{SerialPort as _, TTYPort};
use tokio::sync::mpsc::Receiver;

struct Bench {
    folder: tempfile::TempDir,
    far: TTYPort,
    definition: BoardDefinition,
}

impl Bench {
    fn new() -> Self {
        let (far, near) = TTYPort::pair().unwrap();
        let console = PortIdentity::Device(near.name().unwrap().into());
        drop(near);
        let node = NodeSpec {
            id: NodeId(1),
            floor: FloorId(1),
            kind: NodeType::Luminaire,
            protocol: Protocol::Mesh,
            gateway: GatewayId(1),
            config_version: 2,
        };
        let identity = BoardIdentity {
            probe: "1d50:6018:fake".parse().unwrap(),
            console,
            device_id: DeviceId(7),
            address: node.id.unicast(),
        };
        let driver = BoardDriver::named("mk-node-emulated").unwrap();
        let definition = BoardDefinition { node, driver, identity, baud: 115_200, speed_khz: None, power: None };
        Self { folder: tempfile::tempdir().unwrap(), far, definition }
    }

    /// A probe process that answers by what it is asked: chip id 7 (or 8), an erased identity page, and notes what was
    /// written.
    fn worker(&self, device: u8) -> WorkerCommand {
        let notes = self.notes();
        let id = if device == 7 { "BwAAAAAAAAA" } else { "CAAAAAAAAAA" };
        // 80 octets of 0xFF in base64 without padding.
        let page = "/".repeat(106) + "8";
        let body = format!(
            r#"while read -r line; do
                echo "$line" >> {}
                case "$line" in
                    *hello*) echo '{{"is":"hello","protocol":{PROTOCOL}}}';;
                    *attach*) echo '{{"is":"attached","probe":"fake","chip":"X"}}';;
                    *'"length":8}}'*) echo '{{"is":"octets","octets":"{id}"}}';;
                    *'"length":80}}'*) echo '{{"is":"octets","octets":"{page}"}}';;
                    *status*) echo '{{"is":"core","state":"running","pc":null}}';;
                    *reset*) echo '{{"is":"core","state":"running","pc":null}}';;
                    *) echo '{{"is":"done"}}';;
                esac
            done"#,
            notes.display()
        );
        WorkerCommand { program: "bash".into(), args: vec!["-c".into(), body.into()] }
    }

    fn notes(&self) -> PathBuf {
        self.folder.path().join("asked")
    }

    fn asked(&self, what: &str) -> bool {
        std::fs::read_to_string(self.notes()).unwrap_or_default().contains(what)
    }

    fn settings(&self, device: u8) -> BoardSettings {
        let mut settings = BoardSettings::new(self.worker(device), "a test");
        settings.locks = LockFolder::at(self.folder.path().join("locks"));
        settings.logs = Some(self.folder.path().join("logs"));
        settings.reboots = RebootLimit { boots: 3, within: Duration::from_secs(10) };
        settings
    }

    fn open(&self, device: u8) -> (BoardHandle, Receiver<BoardEvent>) {
        board::open(self.definition.clone(), None, &self.settings(device)).unwrap()
    }
}

fn boot(count: u32) -> TraceRecord {
    let event = TraceEvent::Boot {
        boot_count: count,
        outcome: BootOutcome::None,
        reason: Reason::None,
        running: Version::new(1, 0, 0),
        about: Version::new(1, 0, 0),
    };
    TraceRecord { sequence: 0, uptime_ms: 1, event }
}

async fn next(events: &mut Receiver<BoardEvent>) -> BoardFact {
    tokio::time::timeout(Duration::from_secs(5), events.recv()).await.unwrap().unwrap().what
}

#[tokio::test]
async fn records_and_text_come_as_events_and_every_octet_is_in_the_log() {
    let mut bench = Bench::new();
    let (handle, mut events) = bench.open(7);
    let mut stream = b"hello\n".to_vec();
    stream.extend(encode_frame(&boot(1)));
    bench.far.write_all(&stream).unwrap();
    assert_eq!(next(&mut events).await, BoardFact::Text("hello".to_owned()));
    assert_eq!(next(&mut events).await, BoardFact::Trace(boot(1)));
    handle.close().await;
    assert_eq!(std::fs::read(bench.folder.path().join("logs/n01.console.log")).unwrap(), stream);
    assert_eq!(handle.standing(), Standing::Closed);
}

#[tokio::test]
async fn a_board_that_starts_for_ever_is_taken_out_with_its_reason() {
    let mut bench = Bench::new();
    let (handle, mut events) = bench.open(7);
    for count in 1..=4 {
        bench.far.write_all(&encode_frame(&boot(count))).unwrap();
    }
    loop {
        if let BoardFact::Quarantined(error) = next(&mut events).await {
            assert!(matches!(error.fault, Fault::RebootLoop { boots: 4, .. }), "{error}");
            break;
        }
    }
    let refused = handle.attach(rack_hardware::probe::AttachOptions::default()).await.unwrap_err();
    assert!(matches!(&refused.fault, Fault::Quarantined { reason } if reason.contains("4 starts")), "{refused}");
    assert!(!bench.asked(r#""do":"attach""#), "nothing is asked of a board that is out of service");
}

#[tokio::test]
async fn a_console_at_the_wrong_rate_is_found_out() {
    let mut bench = Bench::new();
    let (handle, mut events) = bench.open(7);
    bench.far.write_all(&[0xF8; 700]).unwrap();
    loop {
        if let BoardFact::Quarantined(error) = next(&mut events).await {
            assert_eq!(error.part, Part::Console);
            assert!(error.to_string().contains("baud"), "{error}");
            break;
        }
    }
    assert!(matches!(handle.standing(), Standing::Quarantined(_)));
}

#[tokio::test]
async fn a_wrong_chip_behind_a_right_serial_is_not_written_to() {
    let bench = Bench::new();
    let (handle, _events) = bench.open(8);
    let parts = vec![rack_hardware::probe::FlashPart { address: 0, octets: vec![0; 16] }];
    let error = handle.flash(parts, Purpose::Provision, None).await.unwrap_err();
    assert!(matches!(error.fault, Fault::WrongChip { .. }), "{error}");
    assert!(bench.asked(r#""do":"attach""#) && !bench.asked(r#""do":"flash""#) && !bench.asked(r#""do":"erase""#));
    assert!(matches!(handle.standing(), Standing::Quarantined(_)));
}

#[tokio::test]
async fn a_locked_part_is_its_own_outcome_and_opened_only_when_asked() {
    let bench = Bench::new();
    let mut settings = bench.settings(7);
    // Locked, until the permission to erase comes with the request.
    let script = settings.worker.args[1].to_string_lossy().replace(
        "*attach*) echo",
        r#"*'"erase_all":false'*) echo '{"is":"failed","failure":{"kind":"locked"},"why":"erase_all"}';;
                    *attach*) echo"#,
    );
    settings.worker.args[1] = script.into();
    let (handle, _events) = board::open(bench.definition.clone(), None, &settings).unwrap();
    handle.erase_everything().await.unwrap();
    assert!(bench.asked(r#""erase_all":true"#));
    handle.close().await;
    let (handle, _events) = board::open(bench.definition.clone(), None, &settings).unwrap();
    let error = handle.attach(rack_hardware::probe::AttachOptions::default()).await.unwrap_err();
    assert!(error.fault == Fault::Locked && error.next().contains("erases everything"), "{error}");
    handle.close().await;
}

/// A probe process whose flash operations fail in this way until they were asked for `good_at` times.
fn failing_flash(bench: &Bench, kind: &str, good_at: u32) -> BoardSettings {
    let mut settings = bench.settings(7);
    let script = settings.worker.args[1].to_string_lossy().replace(
        r#"*attach*) echo"#,
        &format!(
            r#"*'"do":"flash"'*) tries=$((tries + 1)); if [ $tries -lt {good_at} ]; then
                        echo '{{"is":"failed","failure":{{"kind":"{kind}","address":4096}},"why":"x"}}';
                        else echo '{{"is":"done"}}'; fi;;
                    *attach*) echo"#
        ),
    );
    settings.worker.args[1] = script.into();
    settings
}

async fn flash(bench: &Bench, settings: &BoardSettings) -> (Result<(), Fault>, usize) {
    let (handle, _events) = board::open(bench.definition.clone(), None, settings).unwrap();
    let parts = vec![rack_hardware::probe::FlashPart { address: 0x1000, octets: vec![0; 16] }];
    let flashed = handle.flash(parts, Purpose::Provision, None).await.map_err(|error| error.fault);
    handle.close().await;
    let asked = std::fs::read_to_string(bench.notes()).unwrap();
    (flashed, asked.matches(r#""do":"flash""#).count())
}

#[tokio::test]
async fn a_page_that_failed_is_written_once_more_under_reset_and_then_given_up() {
    let bench = Bench::new();
    assert_eq!(flash(&bench, &failing_flash(&bench, "flash", 2)).await, (Ok(()), 2));
    assert!(bench.asked(r#""under_reset":true"#));
    let bench = Bench::new();
    let (flashed, tries) = flash(&bench, &failing_flash(&bench, "flash", 3)).await;
    assert!(
        matches!(flashed, Err(Fault::Flash { address: Some(0x1000), .. })) && tries == 2,
        "{flashed:?} after {tries}"
    );
}

#[tokio::test]
async fn octets_that_read_back_otherwise_are_not_written_again_in_silence() {
    let bench = Bench::new();
    let (flashed, tries) = flash(&bench, &failing_flash(&bench, "verify", 9)).await;
    assert_eq!((flashed, tries), (Err(Fault::Verify { address: 0x1000 }), 1));
}

#[tokio::test]
async fn a_part_that_is_open_is_not_erased_whatever_is_asked() {
    let bench = Bench::new();
    let (handle, _events) = bench.open(7);
    handle.erase_everything().await.unwrap();
    assert!(!bench.asked(r#""erase_all":true"#));
    handle.close().await;
}

#[tokio::test]
async fn a_new_board_is_not_used_before_it_is_provisioned() {
    let bench = Bench::new();
    let (handle, _events) = bench.open(7);
    let error = handle.identify(Purpose::Use).await.unwrap_err();
    assert!(matches!(error.fault, Fault::NotProvisioned { .. }), "{error}");
    handle.identify(Purpose::Provision).await.unwrap();
    assert_eq!(handle.standing(), Standing::InService, "a board without an identity is not a broken one");
}

#[tokio::test]
async fn two_racks_cannot_have_one_board_and_the_second_learns_who_has_it() {
    let bench = Bench::new();
    let (first, _events) = bench.open(7);
    let error = board::open(bench.definition.clone(), None, &bench.settings(7)).map(|_| ()).unwrap_err();
    let Fault::Busy { holder: Some(holder), .. } = &error.fault else { panic!("{error}") };
    assert!(error.part == Part::Lock && holder.contains("a test"), "{error}");
    first.close().await;
    let again = board::open(bench.definition.clone(), None, &bench.settings(7));
    again.unwrap().0.close().await;
}

#[tokio::test]
async fn a_port_that_goes_away_takes_the_board_out() {
    let mut bench = Bench::new();
    let (_handle, mut events) = bench.open(7);
    bench.far = TTYPort::pair().unwrap().0;
    let BoardFact::Quarantined(error) = next(&mut events).await else { panic!("it is gone") };
    assert!(matches!(error.fault, Fault::LinkLost { .. }), "{error}");
}

#[tokio::test]
async fn without_a_switch_power_is_refused_and_the_ladder_goes_without_it() {
    let bench = Bench::new();
    let (handle, _events) = bench.open(7);
    let error = handle.power(PowerAction::Cycle).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Refused { .. }), "{error}");
    assert_eq!(handle.recover().await, Ok(rack_hardware::ResetKind::Soft));
}
