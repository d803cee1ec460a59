//! The virtual debug probe, opened and used by stock probe-rs.

use crate::{
    Rule, programs,
    rig::{PATIENCE, Rig, wait},
};
use hil_model::{Power, Span, action::Tear};
use probe_rs::{
    Core, CoreStatus, MemoryInterface, Permissions, RegisterId, Session,
    config::Registry,
    flashing::DownloadOptions,
    probe::{DebugProbeSelector, WireProtocol, list::Lister},
};
use rack_emulated::{Bench, BenchEventKind, BenchSettings, MachineKind, NodeState, ResetReason};
use std::{
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

pub const RULES: &[Rule] = &[
    ("stock_probe_rs_attaches_halts_steps_and_lets_go", attach),
    ("a_blank_board_is_attached_to_and_flashed", flash_blank),
    ("flashing_again_replaces_what_was_there", flash_again),
    ("attach_under_reset_catches_the_first_instruction", under_reset),
    ("a_breakpoint_stops_the_core_there", breakpoint),
    ("the_watchdog_waits_while_the_probe_holds_the_core", watchdog_held),
    ("a_second_debugger_is_turned_away", busy),
    ("a_pulled_cable_ends_the_session_and_a_plugged_one_begins_another", cable),
    ("non_secure_code_reads_its_own_memory_and_faults_on_the_key", trustzone),
    ("without_power_nobody_answers_the_probe", no_power),
    ("a_power_cut_hits_the_programming_of_a_probe_too", cut_while_flashing),
];

const TARGETS: &str = include_str!("../../../rack-hardware/src/boards/mk-node-emulated.yaml");
const CHIP: &str = "MK-NODE-EMULATED";
const TRUSTZONE_TARGETS: &str = include_str!("../../targets/mk-keystore-emulated.yaml");
const TRUSTZONE_CHIP: &str = "MK-KEYSTORE-EMULATED";
const HALT: Duration = Duration::from_millis(500);
fn open(selector: &str, reset: bool) -> Result<Session, probe_rs::Error> {
    open_chip(CHIP, selector, reset)
}

fn open_chip(chip: &str, selector: &str, reset: bool) -> Result<Session, probe_rs::Error> {
    let mut registry = Registry::from_builtin_families();
    registry.add_target_family_from_yaml(TARGETS).unwrap();
    registry.add_target_family_from_yaml(TRUSTZONE_TARGETS).unwrap();
    let selector: DebugProbeSelector = selector.parse().unwrap();
    let mut probe = Lister::new().open(selector)?;
    probe.select_protocol(WireProtocol::Swd)?;
    if reset {
        probe.attach_under_reset_with_registry(chip, Permissions::default(), &registry)
    } else {
        probe.attach_with_registry(chip, Permissions::default(), &registry)
    }
}

fn session(rig: &Rig) -> Session {
    open(&rig.bench.probe_selector(0).unwrap(), false).unwrap()
}

/// probe-rs has no time-out on its connection, so a bench that hangs would hang the test.
fn within<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

fn register(core: &mut Core<'_>, number: u16) -> u32 {
    core.read_core_reg(RegisterId(number)).unwrap()
}

/// Flashes, says how fast, and reads back.
fn flash(session: &mut Session, address: u64, octets: &[u8]) -> f64 {
    let start = Instant::now();
    let mut loader = session.target().flash_loader();
    loader.add_data(address, octets).unwrap();
    loader.commit(session, DownloadOptions::default()).unwrap();
    let rate = octets.len() as f64 / 1024.0 / start.elapsed().as_secs_f64();
    let mut back = vec![0; octets.len()];
    session.core(0).unwrap().read(address, &mut back).unwrap();
    assert!(back == octets, "what was flashed reads back");
    rate
}

fn noise(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn attach() {
    let rig = Rig::running(programs::IDLE, 1);
    let start = Instant::now();
    let mut session = session(&rig);
    println!("attached in {:?}", start.elapsed());
    let mut core = session.core(0).unwrap();
    assert!(matches!(core.status().unwrap(), CoreStatus::Running | CoreStatus::Sleeping));
    core.halt(HALT).unwrap();
    wait("halted", || rig.bench.status(0).unwrap().state == NodeState::Halted);
    assert!([8, 10].contains(&register(&mut core, 15)), "the idle loop is at 8");
    assert_eq!(register(&mut core, 17), 0x2003_F000, "MSP, by an instruction in the scratch word");
    core.write_core_reg(RegisterId(5), 0x1234_5678u32).unwrap();
    core.step().unwrap();
    assert_eq!(register(&mut core, 5), 0x1234_5678);
    assert_eq!(core.read_word_32(0x2003_FFF4).unwrap(), 1, "the unique id of n01");
    core.write_8(0x2000_0101, &[1, 2, 3]).unwrap();
    assert_eq!(core.read_word_32(0x2000_0100).unwrap() >> 8, 0x0003_0201);
    core.reset_and_halt(HALT).unwrap();
    assert_eq!(register(&mut core, 15), 8);
    wait("the reset", || rig.bench.status(0).unwrap().last_reset == Some(ResetReason::Soft));
    drop(core);
    drop(session);
    rig.state(0, NodeState::Running);
}

fn flash_blank() {
    let rig = Rig::running(&[0xFFFF_FFFF; 2], 1);
    rig.state(0, NodeState::LockedUp);
    let mut session = session(&rig);
    let image = programs::octets(programs::IDLE);
    flash(&mut session, 0, &image);
    session.core(0).unwrap().reset().unwrap();
    drop(session);
    rig.state(0, NodeState::Running);
    assert_eq!(rig.bench.flash(0, 0..image.len() as u32).unwrap(), image);
}

fn flash_again() {
    let rig = Rig::running(programs::IDLE, 1);
    let mut session = session(&rig);
    for (address, length, seed) in [(0x1_0000, 0x1_0000, 1), (0x1_0000, 0x4_0000, 2), (0x10_0000, 0x4_0000, 3)] {
        let octets = noise(length, seed);
        let rate = flash(&mut session, address, &octets);
        println!("flashed {} KiB at {rate:.0} KiB/s", length / 1024);
        wait("the bench's copy", || {
            rig.bench.flash(0, address as u32..address as u32 + length as u32).unwrap() == octets
        });
    }
}

fn under_reset() {
    let rig = Rig::running(programs::IDLE, 1);
    let selector = rig.bench.probe_selector(0).unwrap();
    let mut session = open(&selector, true).unwrap();
    let mut core = session.core(0).unwrap();
    assert!(matches!(core.status().unwrap(), CoreStatus::Halted(_)));
    assert_eq!(register(&mut core, 15), 8);
    wait("the reset", || rig.bench.status(0).unwrap().last_reset == Some(ResetReason::Pin));
}

fn breakpoint() {
    let rig = Rig::running(programs::IDLE, 1);
    let mut session = session(&rig);
    let mut core = session.core(0).unwrap();
    core.reset_and_halt(HALT).unwrap();
    core.write_core_reg(RegisterId(15), 10u32).unwrap();
    core.set_hw_breakpoint(8).unwrap();
    core.run().unwrap();
    core.wait_for_core_halted(PATIENCE).unwrap();
    assert_eq!(register(&mut core, 15), 8);
    core.clear_hw_breakpoint(8).unwrap();
    core.run().unwrap();
    assert!(!core.core_halted().unwrap());
}

fn watchdog_held() {
    let rig = Rig::dark(programs::REASONS, 1);
    rig.bench.power(0, Power::On).unwrap();
    // Behind the soft reset it hangs with a watchdog of 0.25 s.
    rig.event("soft reset", |kind| (kind == BenchEventKind::Reset(ResetReason::Soft)).then_some(()));
    let mut session = session(&rig);
    let mut core = session.core(0).unwrap();
    core.halt(HALT).unwrap();
    let resets = rig.bench.status(0).unwrap().resets;
    if resets > 2 {
        return; // Too slow a machine to stop it in time: nothing to be seen.
    }
    thread::sleep(Duration::from_millis(600));
    assert_eq!(rig.bench.status(0).unwrap().resets, resets, "no reset while halted");
    core.run().unwrap();
    drop(core);
    drop(session);
    rig.event("watchdog", |kind| (kind == BenchEventKind::Reset(ResetReason::Watchdog)).then_some(()));
}

fn busy() {
    let rig = Rig::running(programs::IDLE, 1);
    let mut first = session(&rig);
    let selector = rig.bench.probe_selector(0).unwrap();
    let second = within("a second debugger", move || open(&selector, false).is_err());
    assert!(second, "one debugger at a time");
    rig.event("busy", |kind| (kind == BenchEventKind::ProbeBusy).then_some(()));
    first.core(0).unwrap().halt(HALT).unwrap();
    drop(first);
    // The next one finds it free.
    drop(session(&rig));
}

fn cable() {
    let rig = Rig::running(programs::IDLE, 1);
    let mut cut = session(&rig);
    rig.bench.probe_cable(0, false).unwrap();
    assert!(within("the end of a session", move || cut.core(0).and_then(|mut core| core.halt(HALT)).is_err()));
    let selector = rig.bench.probe_selector(0).unwrap();
    assert!(within("nobody there", move || open(&selector, false).is_err()));
    rig.bench.probe_cable(0, true).unwrap();
    session(&rig).core(0).unwrap().halt(HALT).unwrap();
}

/// On the second machine. The program, its code at 0x10000000, stands for a key store; Non-secure code asks for an address.
fn trustzone() {
    const CODE: u64 = 0x1000_0000;
    const CELLS: u64 = 0x3800_0000;
    const NON_SECURE_DATA: u32 = 0x0020_0100;
    const ATTRIBUTION_VIOLATION: u32 = 1 << 3;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = BenchSettings::new(folder.path(), 1);
    settings.nodes[0].machine = MachineKind::TrustZone;
    let bench = Bench::start(settings).unwrap();
    let mut session = open_chip(TRUSTZONE_CHIP, &bench.probe_selector(0).unwrap(), false).unwrap();
    let mut core = session.core(0).unwrap();
    core.write(CODE, &programs::octets(programs::TRUSTZONE)).unwrap();
    for (address, outcome) in [(NON_SECURE_DATA, 1), (CODE as u32, 2)] {
        core.write_32(CELLS, &[address, 0, 0, 0]).unwrap();
        core.reset().unwrap();
        wait("an outcome", || core.read_word_32(CELLS + 12).unwrap() != 0);
        let mut cells = [0; 4];
        core.read_32(CELLS, &mut cells).unwrap();
        let [_, read, faults, what] = cells;
        assert_eq!(what, outcome, "{address:#x}: {cells:x?}");
        match what {
            1 => assert_eq!(read, 0x600D_C0DE),
            _ => assert_eq!((read, faults & ATTRIBUTION_VIOLATION), (0, ATTRIBUTION_VIOLATION)),
        }
    }
}

fn no_power() {
    let rig = Rig::dark(programs::IDLE, 1);
    let selector = rig.bench.probe_selector(0).unwrap();
    assert!(within("no power", move || open(&selector, false).is_err()));
    rig.bench.power(0, Power::On).unwrap();
    drop(session(&rig));
}

fn cut_while_flashing() {
    let rig = Rig::running(programs::IDLE, 1);
    let before = rig.bench.status(0).unwrap().flash.operations;
    let mut session = session(&rig);
    // One page erased, 100 words written.
    let cut = Power::CutAtOperation { operation: 101, tear: Tear::NotDone, restore_after: Span(3_600_000_000_000) };
    rig.bench.power(0, cut).unwrap();
    let octets = noise(0x1000, 9);
    let expected = octets[..400].to_vec();
    let failed = within("a failed download", move || {
        let mut loader = session.target().flash_loader();
        loader.add_data(0x2_0000, &octets).unwrap();
        loader.commit(&mut session, DownloadOptions::default()).is_err()
    });
    assert!(failed);
    rig.state(0, NodeState::Off);
    assert_eq!(rig.bench.status(0).unwrap().flash.operations, before + 102);
    let page = rig.bench.flash(0, 0x2_0000..0x2_1000).unwrap();
    assert_eq!(page[..400], expected);
    assert_eq!(page[400..], [0xFF; 0x1000 - 400]);
}
