//! Every driver on something that behaves as the real thing, and the self-test on switches that lie.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::definition::{RawCommands, RawManual, RawRelay};
use rstest::rstest;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const FAST: SelfTestLimits = SelfTestLimits {
    vanish: Duration::from_millis(60),
    back: Duration::from_millis(60),
    look: Duration::from_millis(5),
};

/// A switch and a board that hangs on it, or does not.
#[derive(Debug)]
struct Fake {
    powered: Arc<AtomicBool>,
    cuts: bool,
    feeds: bool,
}

impl PowerSwitch for Fake {
    fn describe(&self) -> String {
        "fake".to_owned()
    }
    fn set(&mut self, on: bool) -> Result<(), Fault> {
        if if on { self.feeds } else { self.cuts } {
            self.powered.store(on, Ordering::SeqCst);
        }
        Ok(())
    }
    fn state(&mut self) -> Result<Option<bool>, Fault> {
        Ok(None)
    }
}

struct Board(Arc<AtomicBool>);

impl Presence for Board {
    async fn present(&mut self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[rstest]
#[case(true, true, true, Ok(()))]
#[case(true, false, true, Err("still there"))]
#[case(true, true, false, Err("does not come back"))]
#[case(false, true, true, Err("not there before"))]
#[tokio::test]
async fn a_switch_is_believed_when_the_board_vanishes_and_comes_back(
    #[case] at_first: bool,
    #[case] cuts: bool,
    #[case] feeds: bool,
    #[case] want: Result<(), &str>,
) {
    let powered = Arc::new(AtomicBool::new(at_first));
    let switch = SharedSwitch::new(Box::new(Fake { powered: Arc::clone(&powered), cuts, feeds }));
    let tested = self_test(&switch, FAST, &mut Board(Arc::clone(&powered))).await;
    match (tested, want) {
        (Ok(_), Ok(())) => assert!(powered.load(Ordering::SeqCst), "left on"),
        (Err(fault), Err(part)) => assert!(fault.to_string().contains(part), "{fault}"),
        (tested, want) => panic!("{tested:?} where {want:?}"),
    }
}

fn line(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn commands(on: &[&str], off: &[&str], state: Option<&[&str]>) -> Box<dyn PowerSwitch> {
    let written = RawCommands { on: line(on), off: line(off), state: state.map(line) };
    open(&RawPower::Command(written), ask_on_terminal())
}

#[test]
fn a_program_is_run_without_a_shell_and_judged_by_its_end() {
    let mut switch = commands(&["true"], &["sh", "-c", "echo no relay here >&2; exit 3"], Some(&["echo", "on"]));
    assert_eq!(switch.set(true), Ok(()));
    assert_eq!(switch.state(), Ok(Some(true)));
    let Err(Fault::Power { why }) = switch.set(false) else { panic!("it failed") };
    assert!(why.contains("no relay here") && why.contains('3'), "{why}");
}

#[test]
fn a_program_that_is_not_there_or_never_ends_is_named() {
    let missing = run_program(&line(&["no-such-program-anywhere"]), SWITCH_LIMIT);
    assert_eq!(missing, Err(Fault::Absent { name: "no-such-program-anywhere".to_owned() }));
    let endless = run_program(&line(&["sleep", "60"]), Duration::from_millis(50));
    assert!(matches!(endless, Err(Fault::Deadline { .. })), "{endless:?}");
}

/// A relay as they are: two addresses to switch, one to ask. `stuck` answers and does nothing.
fn relay(stuck: bool) -> RawRelay {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let state = Mutex::new(true);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1_024];
            let octets = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..octets]).into_owned();
            let mut on = state.lock().unwrap();
            let (status, body) = if request.starts_with("GET /relay/0?turn=") {
                if !stuck {
                    *on = request.contains("turn=on");
                }
                ("200 OK", "done".to_owned())
            } else if request.starts_with("GET /relay/0 ") {
                ("200 OK", format!("{{\"ison\":{on}}}"))
            } else {
                ("404 Not Found", String::new())
            };
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    RawRelay {
        on: format!("{root}/relay/0?turn=on"),
        off: format!("{root}/relay/0?turn=off"),
        state: Some(format!("{root}/relay/0")),
        state_on: Some("\"ison\":true".to_owned()),
    }
}

#[test]
fn a_relay_switches_and_tells() {
    let written = RawPower::HttpRelay(relay(false));
    assert_eq!(check(&written), Ok(()));
    let mut switch = open(&written, ask_on_terminal());
    assert_eq!(switch.state(), Ok(Some(true)));
    switch.set(false).unwrap();
    assert_eq!(switch.state(), Ok(Some(false)));
    switch.set(true).unwrap();
    assert_eq!(switch.state(), Ok(Some(true)));
}

#[test]
fn a_relay_that_says_done_and_does_nothing_is_found_out() {
    let mut switch = open(&RawPower::HttpRelay(relay(true)), ask_on_terminal());
    let Err(Fault::Power { why }) = switch.set(false) else { panic!("it did nothing") };
    assert!(why.contains("says on after it was switched off"), "{why}");
}

#[test]
fn a_wrong_address_of_a_relay_is_told_with_its_answer() {
    let good = relay(false);
    let mut switch =
        open(&RawPower::HttpRelay(RawRelay { off: good.on.replace("relay", "rely"), ..good }), ask_on_terminal());
    let Err(Fault::Power { why }) = switch.set(false) else { panic!("there is no such path") };
    assert!(why.contains("404"), "{why}");
}

#[test]
fn a_person_is_asked_by_the_label_on_the_plug() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let answers: Answers = {
        let asked = Arc::clone(&asked);
        Arc::new(move |question| {
            asked.lock().unwrap().push(question.to_owned());
            Ok(())
        })
    };
    let mut switch = open(&RawPower::Manual(RawManual { label: "plug 3".to_owned() }), answers);
    switch.set(false).unwrap();
    assert_eq!(switch.state(), Ok(Some(false)));
    assert_eq!(*asked.lock().unwrap(), ["Switch plug 3 off"]);
}
