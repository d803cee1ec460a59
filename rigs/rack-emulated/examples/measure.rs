//! Figures of the bench on this machine: start, attach is the probe's own test, deliveries, idle cost.
//!
//! `cargo run --release -p rack-emulated --example measure -- [BOARDS]`
#![allow(clippy::unwrap_used, reason = "a tool for people: it fails by panicking")]

use hil_model::Power;
use rack_emulated::{Bench, BenchSettings, MediumPeer};
use std::time::{Duration, Instant};

/// Announces its radio mailbox and empties the receive ring at each interrupt; see `tests/bench/programs.rs`.
#[path = "../tests/bench/programs.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod programs;

/// Processor time of a process, in ticks of 10 ms.
fn ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn main() {
    let boards: usize = std::env::args().nth(1).map_or(4, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let bench = Bench::start(BenchSettings::new(folder.path(), boards)).unwrap();
    println!("{boards} blank boards started in {:?}", start.elapsed());
    for node in 0..boards {
        bench.power(node, Power::Off).unwrap();
        bench.load_flash(node, 0, &programs::octets(programs::RADIO)).unwrap();
        // A flash as full as it gets, for the time that loading takes.
        let content: Vec<u8> = (0..0x7_4000u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        bench.load_flash(node, 0x1_0000, &content).unwrap();
    }
    let mut longest = Duration::ZERO;
    let start = Instant::now();
    for node in 0..boards {
        let one = Instant::now();
        bench.power(node, Power::On).unwrap();
        longest = longest.max(one.elapsed());
    }
    println!("power-on with 464 KiB of content: {:?} for all in turn, {longest:?} at most", start.elapsed());

    let pids: Vec<String> = (0..boards).map(|node| bench.status(node).unwrap().process.unwrap().to_string()).collect();
    let all = || ticks("self") + pids.iter().map(|pid| ticks(pid)).sum::<u64>();
    std::thread::sleep(Duration::from_millis(500));
    let (before, start) = (all(), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    let spent = (all() - before) as f64 / 100.0 / start.elapsed().as_secs_f64();
    println!("idle: {:.2} % of a core for all, bench included", 100.0 * spent);

    let start = Instant::now();
    let rounds = 2000;
    for _ in 0..rounds {
        for node in 0..boards {
            bench.inject(MediumPeer::Node(node), 0x2A, &[1; 29]);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    let count = |of: fn(&rack_emulated::NodeStatus) -> u64| {
        (0..boards).map(|node| of(&bench.status(node).unwrap())).sum::<u64>()
    };
    while count(|s| s.radio_received + s.radio_overrun) + bench.air().overrun < (rounds * boards) as u64 {
        assert!(start.elapsed() < Duration::from_secs(120), "deliveries got lost");
        std::thread::sleep(Duration::from_millis(1));
    }
    let received = count(|s| s.radio_received);
    println!(
        "{received} of {} deliveries at {:.0} a second",
        rounds * boards,
        received as f64 / start.elapsed().as_secs_f64()
    );
    let cycle = Instant::now();
    bench.reset(0).unwrap();
    println!("reset by pin: {:?}", cycle.elapsed());
}
