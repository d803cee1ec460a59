//! `hil doctor --suggest`: looks at what is plugged in and writes a rack file of it.
//!
//! Chips are attached to and read, never written. What cannot be found out stands in the file as a question.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use hil_model::NodeId;
use rack_hardware::console::{UsbPort, usb_ports};
use rack_hardware::probe::{AttachOptions, Deadlines, Probe, ProbeSeen, list_probes};
use rack_hardware::{BOARD_DRIVERS, BoardDriver, DeviceId, ProbeSelector, WorkerCommand};

use super::bench;
use crate::exit::{CommandError, ExitClass};

/// How long looking for probes may take.
const LOOK: Duration = Duration::from_secs(20);

/// A probe with what is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    selector: ProbeSelector,
    name: String,
    driver: &'static BoardDriver,
    /// Of the chip, or why it could not be read.
    device_id: Result<DeviceId, String>,
}

/// Runs the command.
///
/// # Errors
/// No probe is plugged in, or the file is there already.
pub fn run(output: Option<&Path>, out: &mut dyn Write) -> Result<(), CommandError> {
    let worker = WorkerCommand::this_program().map_err(|fault| CommandError::internal(fault.to_string()))?;
    let runtime = bench::runtime()?;
    let (found, notes) = runtime.block_on(look(&worker))?;
    if found.is_empty() {
        let seen = if notes.is_empty() { "no debug probe is plugged in".to_owned() } else { notes.join("; ") };
        return Err(CommandError::new(ExitClass::RackFault, seen)
            .hint("plug boards in; probes need a udev rule that gives this user access"));
    }
    let text = rack_file(&found, &notes, &usb_ports());
    let Some(path) = output else {
        write!(out, "{text}")?;
        return Ok(());
    };
    let created = std::fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    created.map_err(|error| {
        CommandError::usage(format!("{}: {error}", path.display()))
            .hint("`--output` names a file that is not there yet")
    })?;
    writeln!(out, "{}: {} boards; next: `hil doctor --rack {}`", path.display(), found.len(), path.display())?;
    Ok(())
}

/// Probes that usually sit on a board we know, and notes on the others.
async fn look(worker: &WorkerCommand) -> Result<(Vec<Found>, Vec<String>), CommandError> {
    let probes = list_probes(worker.clone(), LOOK)
        .await
        .map_err(|fault| CommandError::new(ExitClass::RackFault, fault.to_string()))?;
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    for ProbeSeen { selector, name, accessible } in probes {
        let parsed = selector.as_deref().and_then(|text| text.parse::<ProbeSelector>().ok());
        let Some(selector) = parsed else {
            notes.push(format!("{name}: a probe without a serial number cannot be named"));
            continue;
        };
        let usual = |driver: &&&BoardDriver| driver.usual_probes.contains(&(selector.vendor, selector.product));
        let Some(driver) = BOARD_DRIVERS.iter().filter(|driver| driver.listed).find(usual).copied() else {
            notes.push(format!("{selector} ({name}): on none of the boards known here"));
            continue;
        };
        if !accessible {
            notes.push(format!("{selector} ({name}): this user may not open it"));
            continue;
        }
        let device_id = read_id(&selector, driver, worker).await;
        found.push(Found { selector, name, driver, device_id });
    }
    found.sort_by(|a, b| a.selector.cmp(&b.selector));
    Ok((found, notes))
}

async fn read_id(
    selector: &ProbeSelector,
    driver: &'static BoardDriver,
    worker: &WorkerCommand,
) -> Result<DeviceId, String> {
    let mut probe = Probe::new(selector, driver, driver.speed_khz, worker.clone(), Deadlines::default());
    let read = async {
        probe.attach(AttachOptions::default()).await?;
        probe.read(driver.device_id_at, 8).await
    };
    let read = read.await.map_err(|fault| fault.to_string());
    probe.detach().await;
    let octets = <[u8; 8]>::try_from(read?).map_err(|_| "eight octets were asked for".to_owned())?;
    Ok(DeviceId::from_octets(octets))
}

/// The rack file of what was found.
fn rack_file(found: &[Found], notes: &[String], ports: &[UsbPort]) -> String {
    let mut text = String::from(
        "# Written by `hil doctor --suggest` from what is plugged in. Check it, then `hil doctor --rack` this file.\n\
         # rigs/racks/lab-example.yaml explains every key.\n",
    );
    for note in notes {
        let _ = writeln!(text, "# not used: {}", note.replace('\n', " "));
    }
    text.push_str("kind: lab\n\ngateways:\n");
    let of_a_probe = |port: &UsbPort| found.iter().any(|board| board.selector.serial == port.serial);
    let mut spare = ports.iter().filter(|port| !of_a_probe(port));
    match spare.next() {
        Some(port) => {
            let _ = writeln!(
                text,
                "  - id: 1   # a port that belongs to no probe: {}\n    radio: {{ usb-serial: {:?}, interface: {} }}",
                port.name, port.serial, port.interface
            );
        }
        None => text.push_str(
            "  - id: 1   # no port was left over for a radio co-processor: write its serial number here\n    \
             radio: { usb-serial: \"?\", interface: 0 }\n",
        ),
    }
    text.push_str("\nboards:\n");
    for (place, board) in found.iter().enumerate() {
        let node = NodeId(u16::try_from(place + 1).unwrap_or(u16::MAX));
        let _ =
            writeln!(text, "  - node: {node}   # {}\n    driver: {}", board.name.replace('\n', " "), board.driver.name);
        let _ = writeln!(text, "    probe: \"{}\"", board.selector);
        match &board.device_id {
            Ok(id) => {
                let _ = writeln!(text, "    device-id: \"{id}\"");
            }
            Err(why) => {
                let _ = writeln!(text, "    # device-id: could not be read: {}", why.replace('\n', " "));
            }
        }
        if !ports.iter().any(|port| port.serial == board.selector.serial) {
            text.push_str("    # console: the probe has no serial port of its own; name one: { usb-serial: \"...\", interface: 0 }\n");
        }
        text.push_str("    # power: { uhubctl: { hub: 1-1, port: 1 } }\n");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rack_hardware::LabDefinition;

    fn found(serial: &str, device_id: Result<DeviceId, String>) -> Found {
        let selector = format!("1366:1051:{serial}").parse().unwrap();
        Found { selector, name: "J-Link".to_owned(), driver: BoardDriver::named("nrf52840-dk").unwrap(), device_id }
    }

    fn port(serial: &str) -> UsbPort {
        let path = "/dev/ttyACM0".into();
        UsbPort { path, vendor: 0x1366, product: 0x1051, serial: serial.to_owned(), interface: 2, name: "x".to_owned() }
    }

    #[test]
    fn what_is_suggested_is_a_right_rack_file() {
        let boards = [found("000683459357", Ok(DeviceId(7))), found("000683459358", Ok(DeviceId(8)))];
        let text = rack_file(&boards, &["a: odd\nprobe".to_owned()], &[port("000683459357"), port("radio")]);
        let lab = LabDefinition::parse("suggested.yaml", "suggested", &text).unwrap();
        assert_eq!(lab.boards.len(), 2);
        assert_eq!(lab.boards[1].identity.device_id, DeviceId(8));
        assert!(text.contains("usb-serial: \"radio\", interface: 2"), "{text}");
    }

    #[test]
    fn a_chip_that_could_not_be_read_is_left_as_a_question() {
        let text = rack_file(&[found("1", Err("locked".to_owned()))], &[], &[]);
        let wrong = LabDefinition::parse("suggested.yaml", "suggested", &text).unwrap_err();
        assert!(wrong[0].message.contains("`device-id` is missing"), "{wrong:?}");
        assert!(text.contains("could not be read: locked"), "{text}");
    }
}
