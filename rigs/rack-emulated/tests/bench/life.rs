//! Start, reset, crash and end of machines.

use crate::{
    Rule, programs,
    rig::{PATIENCE, Rig, dark, wait},
};
use hil_model::{Power, Span};
use rack_emulated::{Bench, BenchError, BenchEventKind, BenchSettings, MachineKind, NodeState, ResetReason};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub const RULES: &[Rule] = &[
    ("a_board_without_code_is_locked_up_and_its_qemu_lives", blank),
    ("each_reset_leaves_its_reason_before_the_core_starts", reasons),
    ("a_lockup_is_noticed_and_the_node_restarts_with_all_it_wrote", lockup),
    ("a_node_that_crashes_for_ever_is_left_locked_up", crash_loop),
    ("flash_outlives_power_and_bench_but_ram_does_not", flash_outlives),
    ("no_qemu_outlives_a_bench_that_was_killed", no_orphans),
    ("the_second_machine_starts_too", trustzone),
    ("settings_that_cannot_be_met_are_refused", refusals),
    ("idle_boards_cost_next_to_nothing", idle),
];

fn blank() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(BenchSettings::new(folder.path(), 1)).unwrap();
    let status = bench.status(0).unwrap();
    assert_eq!(status.state, NodeState::LockedUp);
    assert!(status.process.is_some_and(alive));
    assert_eq!(bench.flash(0, 0..0x20_0000).unwrap(), vec![0xFF; 0x20_0000]);
}

/// The digits that the program says are the words of these reasons.
fn reasons() {
    let rig = Rig::dark(programs::REASONS, 1);
    let mut console = rig.console(0);
    rig.bench.power(0, Power::On).unwrap();
    let heard = console.hear("042", PATIENCE);
    assert_eq!(heard, "042", "power-on, soft, watchdog");
    let mut expected = vec![ResetReason::PowerOn, ResetReason::Soft, ResetReason::Watchdog];
    let mut at = Vec::new();
    while let Some(event) = rig.bench.next_event(Duration::from_millis(50)) {
        if let BenchEventKind::Reset(reason) = event.kind {
            assert_eq!(reason, expected.remove(0));
            at.push(event.at);
        }
    }
    assert_eq!(expected, []);
    let dog = at[2] - at[1];
    assert!(dog >= Duration::from_millis(250) && dog < Duration::from_secs(3), "watchdog of 250 ms took {dog:?}");
    rig.bench.reset(0).unwrap();
    assert_eq!(console.hear("1", PATIENCE), "1", "pin");
    let status = rig.bench.status(0).unwrap();
    assert_eq!((status.last_reset, status.resets), (Some(ResetReason::Pin), 4));
    rig.bench.power(0, Power::Cycle(Span::millis(20))).unwrap();
    assert_eq!(console.hear("042", PATIENCE), "042", "a power cycle begins anew");
}

fn lockup() {
    let rig = Rig::dark(programs::CRASH_ONCE, 1);
    let mut console = rig.console(0);
    rig.bench.power(0, Power::On).unwrap();
    let words = rig.event("lockup", |kind| match kind {
        BenchEventKind::LockedUp { words } => Some(words),
        _ => None,
    });
    assert!(words[0].contains("Lockup"), "{words:?}");
    rig.event("reset", |kind| (kind == BenchEventKind::Reset(ResetReason::Lockup)).then_some(()));
    assert_eq!(console.hear("08", PATIENCE), "08", "power-on, lockup");
    assert_eq!(rig.bench.flash(0, 0x2_0000..0x2_0004).unwrap(), 0x600D_DA7Au32.to_le_bytes());
    rig.state(0, NodeState::Running);
}

fn crash_loop() {
    let rig = Rig::running(programs::CRASH, 1);
    rig.event("giving up", |kind| match kind {
        BenchEventKind::LockedUp { words } => words[0].contains("until a reset").then_some(()),
        _ => None,
    });
    rig.state(0, NodeState::LockedUp);
    assert!(rig.bench.status(0).unwrap().process.is_some_and(alive), "there is something to attach to");
    rig.bench.power(0, Power::Off).unwrap();
    assert_eq!(rig.bench.status(0).unwrap().state, NodeState::Off);
}

fn flash_outlives() {
    let folder = tempfile::tempdir().unwrap();
    let before = {
        let bench = Bench::start(dark(&folder, 1)).unwrap();
        bench.load_flash(0, 0, &programs::octets(programs::WRITER)).unwrap();
        bench.power(0, Power::On).unwrap();
        wait("257 operations", || bench.status(0).unwrap().flash.operations == 257);
        bench.flash(0, 0..0x20_0000).unwrap()
    };
    assert_eq!(before[0x1_0000..0x1_0004], 0xA500_0000u32.to_le_bytes());
    assert_eq!(std::fs::read(folder.path().join("n01.flash")).unwrap(), before);
    let bench = Bench::start(dark(&folder, 1)).unwrap();
    assert_eq!(bench.flash(0, 0..0x20_0000).unwrap(), before);
}

/// Tells the test's own binary to be the child.
pub const ORPHAN: &str = "RACK_EMULATED_TEST_CHILD";

/// Starts a bench, says which processes it has, and waits to be killed.
pub fn orphan() {
    let folder = std::env::var_os(ORPHAN).unwrap();
    let bench = Bench::start(BenchSettings::new(Path::new(&folder), 2)).unwrap();
    let pids: Vec<String> = (0..2).map(|node| bench.status(node).unwrap().process.unwrap().to_string()).collect();
    println!("{}", pids.join(" "));
    std::thread::sleep(Duration::from_secs(60));
}

fn no_orphans() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(ORPHAN, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids: Vec<u32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| alive(*pid)));
    // SIGKILL: nothing in the child can clean up.
    child.kill().unwrap();
    child.wait().unwrap();
    wait("the end of both machines", || !pids.iter().any(|pid| alive(*pid)));
}

fn trustzone() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = BenchSettings::new(folder.path(), 1);
    settings.nodes[0].machine = MachineKind::TrustZone;
    let bench = Bench::start(settings).unwrap();
    assert_eq!(bench.status(0).unwrap().state, NodeState::LockedUp, "no code yet");
    let power = Power::CutAtOperation { operation: 0, tear: hil_model::action::Tear::Done, restore_after: Span::ZERO };
    assert!(matches!(bench.power(0, power), Err(BenchError::Machine { .. })), "its flash is RAM");
}

fn refusals() {
    let folder = tempfile::tempdir().unwrap();
    let with = |change: fn(&mut BenchSettings)| {
        let mut settings = dark(&folder, 2);
        change(&mut settings);
        Bench::start(settings).map(drop).unwrap_err().to_string()
    };
    assert!(with(|s| s.nodes.clear()).contains("1 to 128"));
    assert!(with(|s| s.nodes[1].name = "n01".to_owned()).contains("twice"));
    assert!(with(|s| s.nodes[0].name = "../n".to_owned()).contains("letters"));
    assert!(with(|s| s.dir = "/dev/null/x".into()).contains("/dev/null/x"));
    let bench = Bench::start(dark(&folder, 1)).unwrap();
    assert_eq!(bench.probe_selector(1).unwrap_err().to_string(), "node 1 of a bench of 1");
    assert!(bench.reset(0).unwrap_err().to_string().contains("no power"));
    assert!(bench.load_flash(0, 0x20_0000, &[0]).unwrap_err().to_string().contains("beyond"));
}

fn idle() {
    const BOARDS: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = dark(&folder, BOARDS);
    for (index, node) in settings.nodes.iter_mut().enumerate() {
        node.name = format!("idle{index}");
    }
    let bench = Bench::start(settings).unwrap();
    for node in 0..BOARDS {
        bench.load_flash(node, 0, &programs::octets(programs::IDLE)).unwrap();
        bench.power(node, Power::On).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut paths: Vec<String> =
        (0..BOARDS).map(|node| format!("/proc/{}/stat", bench.status(node).unwrap().process.unwrap())).collect();
    // The bench's own threads for these boards, and not those of tests that run beside this one in the same process.
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let thread = thread.unwrap().path();
        if std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with("idle")) {
            paths.push(thread.join("stat").to_str().unwrap().to_owned());
        }
    }
    assert_eq!(paths.len(), 3 * BOARDS, "a process and two threads each");
    let all = || paths.iter().map(|path| ticks(path)).sum::<u64>();
    let (before, start) = (all(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    // 100 ticks a second. 20 boards may cost 10 % of a core, so each 0.5 %.
    let (spent, time) = (all() - before, start.elapsed());
    let allowed = time.as_secs_f64() * 0.5 * BOARDS as f64;
    assert!(spent as f64 <= allowed, "{BOARDS} idle boards took {spent} ticks in {time:?}, allowed {allowed:.1}");
}

/// Processor time of a process, in ticks.
fn ticks(path: &str) -> u64 {
    let stat = std::fs::read_to_string(path).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Whether a process is there and not a zombie.
fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
