//! Nordic's Power Profiler Kit 2 as a board's supply, by its serial protocol.
//!
//! The crate `ppk2` would bring libudev along (it takes the serial library with its default features), so the three
//! commands that a switch needs are written here: source mode, voltage, output on or off. It measures nothing.

use std::io::Write as _;
use std::time::Duration;

use super::PowerSwitch;
use crate::console;
use crate::definition::RawPpk2;
use crate::error::Fault;
use crate::identity::PortIdentity;

/// What the kit can supply, millivolts.
const MILLIVOLTS: std::ops::RangeInclusive<u16> = 800..=5_000;
/// Commands of the kit: the octet, then its argument.
const SET_OUTPUT: u8 = 0x0C;
const SET_VOLTAGE: u8 = 0x0D;
const SET_MODE: u8 = 0x11;
/// The kit supplies the board, rather than sitting in its supply.
const SOURCE_MODE: u8 = 2;
/// The port is a USB one: its rate means nothing.
const BAUD: u32 = 9_600;
/// The kit's regulator settles.
const SETTLE: Duration = Duration::from_millis(50);

pub(super) fn check(written: &RawPpk2) -> Result<(), String> {
    if written.usb_serial.is_empty() {
        return Err("`usb-serial` of the kit is missing".to_owned());
    }
    if !MILLIVOLTS.contains(&written.millivolts) {
        return Err(format!("{} mV is outside 800 to 5000", written.millivolts));
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct Kit {
    port: PortIdentity,
    millivolts: u16,
    /// What it was last told; the kit does not tell.
    told: Option<bool>,
    /// Kept open: the kit switches its output off when its port is closed.
    open: Option<Box<dyn serialport::SerialPort>>,
}

impl Kit {
    pub(super) fn new(written: &RawPpk2) -> Self {
        let port = PortIdentity::Usb { serial: written.usb_serial.clone(), interface: written.interface.unwrap_or(1) };
        Self { port, millivolts: written.millivolts, told: None, open: None }
    }

    fn port(&mut self) -> Result<&mut Box<dyn serialport::SerialPort>, Fault> {
        let port = match self.open.take() {
            Some(port) => port,
            None => {
                let path = console::find(&self.port)?;
                let mut port = serialport::new(path.to_string_lossy(), BAUD)
                    .timeout(Duration::from_millis(500))
                    .open()
                    .map_err(|error| console::port_fault(&path, &error))?;
                let _without_lines = port.write_data_terminal_ready(true);
                let commands = [[SET_MODE, SOURCE_MODE].as_slice(), &voltage(self.millivolts)].concat();
                port.write_all(&commands).map_err(|error| self.lost(&error))?;
                port
            }
        };
        Ok(self.open.insert(port))
    }

    fn lost(&self, error: &std::io::Error) -> Fault {
        Fault::Power { why: format!("PPK2 at {}: {error}", self.port) }
    }
}

impl PowerSwitch for Kit {
    fn describe(&self) -> String {
        format!("PPK2 at {}, {} mV", self.port, self.millivolts)
    }

    fn set(&mut self, on: bool) -> Result<(), Fault> {
        let port = self.port()?;
        let written = port.write_all(&[SET_OUTPUT, u8::from(on)]).and_then(|()| port.flush());
        if let Err(error) = written {
            self.open = None;
            return Err(self.lost(&error));
        }
        std::thread::sleep(SETTLE);
        self.told = Some(on);
        Ok(())
    }

    fn state(&mut self) -> Result<Option<bool>, Fault> {
        Ok(self.told)
    }
}

/// The command that sets the voltage: steps of a millivolt above 800, in an odd split that begins at 3 and 32.
fn voltage(millivolts: u16) -> [u8; 3] {
    let steps = millivolts.clamp(*MILLIVOLTS.start(), *MILLIVOLTS.end()) - MILLIVOLTS.start() + 32;
    let [high, low] = steps.to_be_bytes();
    [SET_VOLTAGE, high + 3, low]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(800, [0x0D, 3, 32])]
    #[case(1_023, [0x0D, 3, 255])]
    #[case(1_024, [0x0D, 4, 0])]
    #[case(3_000, [0x0D, 11, 184])]
    #[case(5_000, [0x0D, 19, 136])]
    fn voltages_are_split_as_the_kit_has_it(#[case] millivolts: u16, #[case] want: [u8; 3]) {
        assert_eq!(voltage(millivolts), want);
    }
}
