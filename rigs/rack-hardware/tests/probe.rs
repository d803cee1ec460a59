//! The harness's side of the probe process, on processes that behave in every way a real one can.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rack_hardware::probe::protocol::PROTOCOL;
use rack_hardware::probe::{AttachOptions, CoreState, Deadlines, FlashPart, Probe, WorkerCommand, list_probes};
use rack_hardware::{BoardDriver, Fault};
use rstest::rstest;

/// A probe process that answers each line it gets with the next line of a script. `hang` never answers, `die` ends it.
fn script(lines: &[&str]) -> WorkerCommand {
    let mut body = format!("read -r _; echo '{{\"is\":\"hello\",\"protocol\":{PROTOCOL}}}'\n");
    for line in lines {
        body.push_str("read -r _ || exit 0\n");
        match *line {
            "hang" => body.push_str("sleep 60\n"),
            "die" => body.push_str("echo 'the library panicked' >&2; exit 3\n"),
            answers => answers.lines().for_each(|answer| body.push_str(&format!("echo '{answer}'\n"))),
        }
    }
    body.push_str("read -r _\n");
    WorkerCommand { program: PathBuf::from("bash"), args: vec!["-c".into(), body.into()] }
}

fn quick() -> Deadlines {
    let soon = Duration::from_millis(400);
    Deadlines {
        start: Duration::from_secs(5),
        attach: soon,
        quick: soon,
        read_64k: soon,
        flash_4k: Duration::from_millis(10),
        erase_everything: soon,
    }
}

fn probe(lines: &[&str]) -> Probe {
    let driver = BoardDriver::named("mk-node-emulated").unwrap();
    Probe::new(&"1d50:6018:127.0.0.1:1".parse().unwrap(), driver, None, script(lines), quick())
}

const ATTACHED: &str = r#"{"is":"attached","probe":"fake","chip":"X"}"#;
const DONE: &str = r#"{"is":"done"}"#;

fn failed(kind: &str) -> String {
    format!(r#"{{"is":"failed","failure":{{"kind":"{kind}"}},"why":"because"}}"#)
}

async fn attached(lines: &[&str]) -> Probe {
    let mut probe = probe(&[&[ATTACHED], lines].concat());
    probe.attach(AttachOptions::default()).await.unwrap();
    probe
}

#[rstest]
#[case("absent", |fault: &Fault| matches!(fault, Fault::Absent { name } if name == "1d50:6018:127.0.0.1:1"))]
#[case("busy", |fault: &Fault| matches!(fault, Fault::Busy { .. }))]
#[case("forbidden", |fault: &Fault| matches!(fault, Fault::Forbidden { .. }))]
#[case("locked", |fault: &Fault| *fault == Fault::Locked)]
#[case("no-target", |fault: &Fault| matches!(fault, Fault::NoTarget { .. }))]
#[case("link-lost", |fault: &Fault| matches!(fault, Fault::LinkLost { during, .. } if during == "attach"))]
#[case("other", |fault: &Fault| matches!(fault, Fault::Worker { why } if why.contains("because")))]
#[tokio::test]
async fn every_failure_has_its_name(#[case] kind: &str, #[case] is: fn(&Fault) -> bool) {
    let fault = probe(&[&failed(kind)]).attach(AttachOptions::default()).await.unwrap_err();
    assert!(is(&fault), "{fault:?}");
}

#[tokio::test]
async fn what_hangs_is_ended_and_named_and_the_next_attach_begins_anew() {
    let mut probe = attached(&["hang"]).await;
    let start = Instant::now();
    let fault = probe.read(0x1000, 16).await.unwrap_err();
    assert_eq!(fault, Fault::Deadline { operation: "read 16 octets at 0x00001000".to_owned(), limit: quick().quick });
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let refused = probe.halt().await.unwrap_err();
    assert!(matches!(&refused, Fault::Refused { why, .. } if why.contains("not attached")), "{refused}");
    probe.attach(AttachOptions::default()).await.unwrap();
}

#[tokio::test]
async fn a_process_that_dies_is_quoted() {
    let fault = attached(&["die"]).await.halt().await.unwrap_err();
    let Fault::Worker { why } = &fault else { panic!("{fault}") };
    assert!(why.contains("the library panicked") && why.contains("exit status: 3"), "{why}");
}

#[tokio::test]
async fn a_program_that_is_none_is_named() {
    let driver = BoardDriver::named("mk-node-emulated").unwrap();
    let command = WorkerCommand { program: "/no/such/program".into(), args: Vec::new() };
    let mut probe = Probe::new(&"1d50:6018:x".parse().unwrap(), driver, None, command, quick());
    let fault = probe.attach(AttachOptions::default()).await.unwrap_err();
    assert!(matches!(&fault, Fault::Worker { why } if why.contains("/no/such/program")), "{fault}");
}

#[rstest]
#[case("this is no answer")]
#[case(r#"{"is":"attached","probe":"fake","chip":"X"}"#)]
#[case(r#"{"is":"octets","octets":"AAA"}"#)]
#[tokio::test]
async fn an_answer_to_another_question_is_none(#[case] answer: &str) {
    let fault = attached(&[answer]).await.read(0, 16).await.unwrap_err();
    assert!(matches!(fault, Fault::Worker { .. }), "{fault}");
}

#[tokio::test]
async fn progress_comes_before_the_end_of_a_flash_operation() {
    let steps = r#"{"is":"progress","stage":"erase","done":4096,"total":8192}
{"is":"progress","stage":"program","done":8192,"total":8192}
{"is":"done"}"#;
    let mut probe = attached(&[steps]).await;
    let mut seen = Vec::new();
    let parts = [FlashPart { address: 0, octets: vec![0; 16] }];
    probe.flash(&parts, Some(&mut |step| seen.push((step.done, step.total)))).await.unwrap();
    assert_eq!(seen, [(4_096, 8_192), (8_192, 8_192)]);
}

#[tokio::test]
async fn a_difference_on_read_back_says_where() {
    let answer = r#"{"is":"failed","failure":{"kind":"verify","address":65540},"why":"x"}"#;
    let parts = [FlashPart { address: 0x1_0000, octets: vec![0; 16] }];
    let fault = attached(&[answer]).await.flash(&parts, None).await.unwrap_err();
    assert_eq!(fault, Fault::Verify { address: 0x1_0004 });
}

#[rstest]
#[case(0x1000, 0x1000, true)]
#[case(0x1000, 0x800, false)]
#[case(0x1800, 0x1000, false)]
#[case(0x1000, 0, false)]
#[tokio::test]
async fn only_whole_sectors_are_erased(#[case] start: u32, #[case] length: u32, #[case] good: bool) {
    let erased = attached(&[DONE]).await.erase(start, length).await;
    assert_eq!(erased.is_ok(), good, "{erased:?}");
}

#[tokio::test]
async fn the_core_is_stopped_and_says_where() {
    let status = attached(&[r#"{"is":"core","state":"halted","pc":4660}"#]).await.halt().await.unwrap();
    assert_eq!((status.state, status.pc), (CoreState::Halted, Some(0x1234)));
}

fn real() -> WorkerCommand {
    WorkerCommand { program: env!("CARGO_BIN_EXE_probe-worker").into(), args: Vec::new() }
}

#[tokio::test]
async fn the_real_process_looks_for_probes_and_finds_no_wrong_one() {
    list_probes(real(), Duration::from_secs(20)).await.unwrap();
    let driver = BoardDriver::named("mk-node-emulated").unwrap();
    let deadlines = Deadlines::default();
    // Nobody listens on port 1.
    let mut probe = Probe::new(&"1d50:6018:127.0.0.1:1".parse().unwrap(), driver, None, real(), deadlines.clone());
    let fault = probe.attach(AttachOptions::default()).await.unwrap_err();
    assert!(matches!(fault, Fault::Absent { .. }), "{fault}");
    let driver = BoardDriver::named("nrf52840-dk").unwrap();
    let mut probe = Probe::new(&"1366:1051:no-such-serial".parse().unwrap(), driver, None, real(), deadlines);
    let fault = probe.attach(AttachOptions::default()).await.unwrap_err();
    assert!(matches!(fault, Fault::Absent { .. }), "{fault}");
}

#[tokio::test]
async fn a_probe_that_takes_the_connection_and_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let selector = format!("1d50:6018:{}", silent.local_addr().unwrap());
    let driver = BoardDriver::named("mk-node-emulated").unwrap();
    let deadlines = Deadlines { attach: Duration::from_millis(500), ..Deadlines::default() };
    let mut probe = Probe::new(&selector.parse().unwrap(), driver, None, real(), deadlines.clone());
    let fault = probe.attach(AttachOptions::default()).await.unwrap_err();
    assert_eq!(fault, Fault::Deadline { operation: "attach".to_owned(), limit: deadlines.attach });
}

#[test]
fn the_real_process_ends_with_its_input() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_probe-worker"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(5), "it outlives its harness");
        std::thread::sleep(Duration::from_millis(10));
    }
}
