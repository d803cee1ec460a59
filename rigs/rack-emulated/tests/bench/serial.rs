//! The console tty.

use crate::{
    Rule, programs,
    rig::{PATIENCE, Rig, wait},
};
use hil_model::Power;
use rack_emulated::LineFault;
use std::{io::Write, time::Duration};

pub const RULES: &[Rule] = &[
    ("octets_go_both_ways", both_ways),
    ("what_nobody_listens_to_is_dropped_and_counted", unheard),
    ("a_cut_line_is_silent_and_a_wrong_baud_rate_is_garbage", faults),
    ("a_host_at_the_wrong_baud_rate_reads_garbage", wrong_speed),
];

const QUIET: Duration = Duration::from_millis(300);

fn both_ways() {
    let rig = Rig::running(programs::ECHO, 1);
    for _ in 0..2 {
        let mut console = rig.console(0);
        console.file.write_all(b"hello bench\n").unwrap();
        assert_eq!(console.hear("\n", PATIENCE), "hello bench\n");
        // Closed, and opened again: nothing left over.
    }
}

fn unheard() {
    let rig = Rig::running(programs::WRITER, 1);
    wait("257 octets for nobody", || rig.bench.status(0).unwrap().tty.unheard == 257);
    let mut console = rig.console(0);
    rig.bench.reset(0).unwrap();
    assert_eq!(console.hear("!", PATIENCE), format!("{}!", ".".repeat(256)));
    assert_eq!(rig.bench.status(0).unwrap().tty.to_host, 257);
}

fn faults() {
    let rig = Rig::running(programs::ECHO, 1);
    let mut console = rig.console(0);
    let mut ask = |quiet| {
        console.file.write_all(b"abcdefgh").unwrap();
        console.hear("abcdefgh", quiet)
    };
    assert_eq!(ask(PATIENCE), "abcdefgh");
    rig.bench.line_fault(0, LineFault::Cut).unwrap();
    assert_eq!(ask(QUIET), "");
    rig.bench.line_fault(0, LineFault::WrongBaud).unwrap();
    let garbage = ask(QUIET);
    assert!(!garbage.is_empty() && !garbage.contains("abcdefgh"), "{garbage:?}");
    rig.bench.line_fault(0, LineFault::None).unwrap();
    assert_eq!(ask(PATIENCE), "abcdefgh");
    rig.bench.power(0, Power::Off).unwrap();
    assert_eq!(ask(QUIET), "", "no power");
}

fn wrong_speed() {
    let rig = Rig::running(programs::ECHO, 1);
    let mut console = rig.console(0);
    for (speed, clean) in [("9600", false), ("115200", true)] {
        let done = std::process::Command::new("stty").arg("-F").arg(rig.bench.tty(0).unwrap()).arg(speed).status();
        assert!(done.unwrap().success());
        console.file.write_all(b"abcdefgh").unwrap();
        let heard = console.hear("abcdefgh", QUIET);
        assert_eq!(heard == "abcdefgh", clean, "{speed}: {heard:?}");
    }
}
