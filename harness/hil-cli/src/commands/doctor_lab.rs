//! `hil doctor` for racks with boards: every probe, port, power switch, gateway and firmware, with its state and what to do.
//!
//! Reads and never writes: a board is attached to, its chip, address, core and bootloader are read, its console is opened
//! for a moment. Power is switched only when asked for (`--power`).

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use hil_model::RackKind;
use mk_wire::radio_link;
use rack_hardware::console::{Console, ConsoleEvent};
use rack_hardware::definition::{FirmwareFiles, GatewayDefinition};
use rack_hardware::power::SelfTestLimits;
use rack_hardware::probe::{AttachOptions, CoreState};
use rack_hardware::provision::Firmware;
use rack_hardware::{BoardDefinition, BoardError, BoardFact, BoardHandle, Fault, Part, Purpose, Sighting, board};

use super::bench::{self, OpenBench};
use crate::exit::{CommandError, ExitClass};

/// How long a console may take to say something.
const LISTEN: Duration = Duration::from_millis(1_500);
/// How long a gateway's radio may take to answer.
const RADIO: Duration = Duration::from_secs(2);

/// How a part stands.
enum State {
    Ok(String),
    /// Not there, and that is no fault.
    Without(String),
    Wrong {
        what: String,
        next: String,
    },
}

/// One line of the table.
struct Line {
    place: String,
    part: &'static str,
    state: State,
}

/// Runs the command for a rack file of kind `lab` or `emulated`.
///
/// # Errors
/// The rack file is wrong, or something of the rack is.
pub fn run(path: &Path, switch_power: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    let runtime = bench::runtime()?;
    let rack = OpenBench::open(path, "hil doctor")?;
    let kind = if rack.lab.kind == RackKind::Emulated { "emulated" } else { "lab" };
    writeln!(out, "rack {}: {kind}, {} boards, {}\n", rack.lab.name, rack.boards.len(), profile(&rack))?;
    let mut lines = vec![firmware_files(&rack.lab.firmware, rack.boards.first())];
    lines.extend(runtime.block_on(boards(&rack, switch_power)));
    for gateway in &rack.lab.gateways {
        lines.push(Line { place: gateway.id.to_string(), part: "radio", state: radio(gateway) });
    }
    let wrong = print(&lines, out)?;
    if wrong == 0 {
        writeln!(out, "\nall {} checks are well", lines.len())?;
        return Ok(());
    }
    out.flush()?;
    Err(CommandError::new(ExitClass::RackFault, format!("{wrong} of {} checks found something wrong", lines.len())))
}

fn profile(rack: &OpenBench) -> String {
    let profile = &rack.lab.profile;
    format!("images of {} KiB, grace {}", profile.image_size / 1024, profile.grace)
}

fn print(lines: &[Line], out: &mut dyn Write) -> Result<usize, CommandError> {
    let mut wrong = 0;
    for Line { place, part, state } in lines {
        match state {
            State::Ok(found) => writeln!(out, "{place:<5} {part:<10} ok      {found}")?,
            State::Without(found) => writeln!(out, "{place:<5} {part:<10} -       {found}")?,
            State::Wrong { what, next } => {
                wrong += 1;
                writeln!(out, "{place:<5} {part:<10} WRONG   {what}\n{:<24}next: {next}", "")?;
            }
        }
    }
    Ok(wrong)
}

impl Line {
    fn new(board: &BoardDefinition, part: &'static str, state: State) -> Self {
        Self { place: board.name(), part, state }
    }
}

impl State {
    fn wrong(error: &BoardError) -> Self {
        Self::Wrong { what: error.fault.to_string(), next: error.next().to_owned() }
    }

    fn fault(part: Part, fault: &Fault) -> Self {
        Self::Wrong { what: fault.to_string(), next: fault.next(part).to_owned() }
    }
}

/// The bootloader on file, as the boards should hold it.
fn bootloader(files: &FirmwareFiles, board: &BoardDefinition) -> Result<Firmware, Fault> {
    let start = board.driver.geometry().map_or(0, |table| table.bootloader.start);
    Firmware::read(&files.folder.join("boot.bin"), start)
}

fn firmware_files(files: &FirmwareFiles, first: Option<&BoardDefinition>) -> Line {
    let state = match first.map(|board| bootloader(files, board)) {
        None => State::Without("no boards".to_owned()),
        Some(Ok(boot)) => match files.softdevice.as_ref().map(Firmware::softdevice) {
            Some(Err(fault)) => State::fault(Part::Firmware, &fault),
            Some(Ok(radio)) => {
                State::Ok(format!("bootloader {} octets, radio firmware {} octets", boot.size(), radio.size()))
            }
            None => State::Ok(format!("bootloader {} octets in {}", boot.size(), files.folder.display())),
        },
        Some(Err(fault)) => {
            State::Wrong { what: fault.to_string(), next: "build it with `cargo xtask firmware`".to_owned() }
        }
    };
    Line { place: "files".to_owned(), part: "firmware", state }
}

/// All boards at once, their lines in order.
async fn boards(rack: &OpenBench, switch_power: bool) -> Vec<Line> {
    let how = How { emulated: rack.lab.kind == RackKind::Emulated, switch_power };
    let mut tasks = Vec::new();
    for definition in &rack.boards {
        let boot = bootloader(&rack.lab.firmware, definition).ok();
        // A board whose port is broken still has a probe to look at.
        let (opened, port) = match rack.board(definition) {
            Err(error) if error.part == Part::Console => (rack.board_without_console(definition), Some(error)),
            opened => (opened, None),
        };
        match opened {
            Ok((handle, events)) => tasks.push(Ok(tokio::spawn(one_board(handle, events, port, boot, how)))),
            Err(error) => tasks.push(Err(Line::new(definition, "lock", State::wrong(&error)))),
        }
    }
    let mut lines = Vec::new();
    for task in tasks {
        match task {
            Ok(task) => lines.extend(task.await.unwrap_or_default()),
            Err(line) => lines.push(line),
        }
    }
    lines
}

/// How boards are looked at.
#[derive(Clone, Copy)]
struct How {
    /// Boards that every run provisions.
    emulated: bool,
    /// Whether power is switched.
    switch_power: bool,
}

async fn one_board(
    handle: BoardHandle,
    mut events: tokio::sync::mpsc::Receiver<rack_hardware::BoardEvent>,
    port: Option<BoardError>,
    boot: Option<Firmware>,
    how: How,
) -> Vec<Line> {
    let board = handle.definition().clone();
    let mut lines = Vec::new();
    let attached = handle.attach(AttachOptions::default()).await;
    let reached = attached.is_ok();
    lines.push(Line::new(
        &board,
        "probe",
        match attached {
            Ok(attached) => State::Ok(format!("{} ({}), {}", board.identity.probe, attached.probe, attached.chip)),
            Err(error) => State::wrong(&error),
        },
    ));
    if reached {
        lines.extend(behind_the_probe(&handle, &board, boot.as_ref(), how.emulated).await);
    }
    lines.push(Line::new(
        &board,
        "console",
        match port {
            Some(error) => State::wrong(&error),
            None => console(&handle, &board, &mut events).await,
        },
    ));
    lines.push(Line::new(&board, "power", power(&handle, how.switch_power).await));
    handle.close().await;
    lines
}

/// Chip, node, core and bootloader.
async fn behind_the_probe(
    handle: &BoardHandle,
    board: &BoardDefinition,
    boot: Option<&Firmware>,
    emulated: bool,
) -> Vec<Line> {
    let seen = match handle.sight().await {
        Ok(seen) => seen,
        Err(error) => return vec![Line::new(board, "chip", State::wrong(&error))],
    };
    let mut lines =
        vec![Line::new(board, "chip", chip(board, &seen)), Line::new(board, "node", node(board, &seen, emulated))];
    // A board that was never provisioned has no firmware to speak of.
    if seen.identity.is_err() {
        return lines;
    }
    lines.push(Line::new(
        board,
        "core",
        match handle.status().await {
            Ok(status) => match status.state {
                CoreState::Running | CoreState::Sleeping => State::Ok("runs".to_owned()),
                CoreState::LockedUp => State::fault(Part::Core, &Fault::LockedUp { pc: status.pc }),
                CoreState::Halted | CoreState::Unknown => State::Wrong {
                    what: format!("stopped at {:#010x}", status.pc.unwrap_or(0)),
                    next: "`hil power cycle`, or reset it".to_owned(),
                },
            },
            Err(error) => State::wrong(&error),
        },
    ));
    lines.push(Line::new(board, "firmware", firmware(handle, boot).await));
    lines
}

fn chip(board: &BoardDefinition, seen: &Sighting) -> State {
    if seen.device_id == board.identity.device_id {
        return State::Ok(seen.device_id.to_string());
    }
    let (expected, found) = (board.identity.device_id.to_string(), seen.device_id.to_string());
    State::fault(Part::Board, &Fault::WrongChip { expected, found })
}

fn node(board: &BoardDefinition, seen: &Sighting, emulated: bool) -> State {
    match (&seen.identity, board.identity.compare(seen, Purpose::Use)) {
        (Ok(identity), Ok(())) => State::Ok(format!(
            "address {:#06x}, gateway {:#06x}, grace {} ms",
            identity.address.0, identity.gateway.0, identity.grace_ms
        )),
        (Err(_), _) if emulated => State::Without("not provisioned yet: every run does it".to_owned()),
        (Ok(_), Err(Fault::WrongChip { .. })) => State::Without("of another chip".to_owned()),
        (_, Err(fault)) => State::fault(Part::Board, &fault),
        (Err(error), Ok(())) => State::Without(error.to_string()),
    }
}

/// The bootloader on the board against the one on file.
async fn firmware(handle: &BoardHandle, boot: Option<&Firmware>) -> State {
    let Some(boot) = boot else { return State::Without("no bootloader on file to compare with".to_owned()) };
    match handle.holds(boot).await {
        Ok(()) => State::Ok(format!("bootloader as on file, {} octets", boot.size())),
        Err(error) => State::wrong(&error),
    }
}

async fn console(
    handle: &BoardHandle,
    board: &BoardDefinition,
    events: &mut tokio::sync::mpsc::Receiver<rack_hardware::BoardEvent>,
) -> State {
    let end = Instant::now() + LISTEN;
    let (mut records, mut lines, mut garbage) = (0, 0, 0);
    while let Ok(Some(event)) = tokio::time::timeout(end.saturating_duration_since(Instant::now()), events.recv()).await
    {
        match event.what {
            BoardFact::Trace(_) => records += 1,
            BoardFact::Text(_) => lines += 1,
            BoardFact::Garbage { octets } => garbage += octets,
            BoardFact::Quarantined(error) if error.part == Part::Console => return State::wrong(&error),
            BoardFact::Quarantined(_) | BoardFact::Lost { .. } => {}
        }
        if records > 0 {
            break;
        }
    }
    if let board::Standing::Quarantined(error) = handle.standing()
        && error.part == Part::Console
    {
        return State::wrong(&error);
    }
    let heard = match (records, lines, garbage) {
        (0, 0, 0) => "open, silent".to_owned(),
        (records, lines, garbage) => format!("{records} records, {lines} lines, {garbage} octets of garbage"),
    };
    State::Ok(format!("{} at {} baud: {heard}", board.identity.console, board.baud))
}

async fn power(handle: &BoardHandle, switch_power: bool) -> State {
    if switch_power {
        return match handle.power_self_test(SelfTestLimits::default()).await {
            Ok(test) => State::Ok(test.to_string()),
            Err(error) => State::wrong(&error),
        };
    }
    match handle.power_state().await {
        Ok(Some(true)) => State::Ok("on".to_owned()),
        Ok(Some(false)) => {
            State::Wrong { what: "switched off".to_owned(), next: "`hil power on --rack FILE --board NODE`".to_owned() }
        }
        Ok(None) => State::Ok("the switch cannot tell; `hil doctor --power` tries it".to_owned()),
        Err(error) if matches!(error.fault, Fault::Refused { .. }) => {
            State::Without("no switch: scenarios that cut power are skipped".to_owned())
        }
        // The reason stands in the line of the part that is broken.
        Err(error) if matches!(error.fault, Fault::Quarantined { .. }) => State::Without("not asked".to_owned()),
        Err(error) => State::wrong(&error),
    }
}

/// Asks a gateway's radio co-processor who it is.
fn radio(gateway: &GatewayDefinition) -> State {
    let opened = Console::open(&gateway.radio.port, gateway.radio.baud, None);
    let (mut console, mut events) = match opened {
        Ok(opened) => opened,
        Err(fault @ Fault::Absent { .. }) => {
            let next =
                "plug the radio co-processor in, or correct `radio` in the rack file (USB serial and interface number)";
            return State::Wrong { what: fault.to_string(), next: next.to_owned() };
        }
        Err(fault) => return State::fault(Part::Console, &fault),
    };
    if let Err(fault) = console.send(&radio_link::Frame::Query.encode()) {
        return State::fault(Part::Console, &fault);
    }
    let mut decoder = radio_link::Decoder::new();
    let end = Instant::now() + RADIO;
    while Instant::now() < end {
        match events.try_recv() {
            Ok(ConsoleEvent::Octets { octets, .. }) => {
                let hello = octets.iter().filter_map(|octet| decoder.push(*octet)).find_map(|frame| match frame {
                    Ok(radio_link::Frame::Hello { version, window }) => Some((version, window)),
                    _ => None,
                });
                match hello {
                    Some((radio_link::VERSION, window)) => {
                        return State::Ok(format!(
                            "{}: radio link {}, window {window}",
                            gateway.radio.port,
                            radio_link::VERSION
                        ));
                    }
                    Some((version, _)) => {
                        let (expected, found) = (radio_link::VERSION.to_string(), version.to_string());
                        let what = "radio link".to_owned();
                        return State::fault(Part::Firmware, &Fault::WrongFirmware { what, expected, found });
                    }
                    None => {}
                }
            }
            Ok(ConsoleEvent::Closed { fault }) => return State::fault(Part::Console, &fault),
            Ok(ConsoleEvent::Idle) | Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    State::Wrong {
        what: format!("{}: no answer of a radio co-processor within {RADIO:?}", gateway.radio.port),
        next: "is it the right port, and is its firmware on it (`cargo xtask firmware`)?".to_owned(),
    }
}
