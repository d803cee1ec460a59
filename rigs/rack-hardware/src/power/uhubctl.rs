//! Ports of a USB hub with power switching per port, through the tool `uhubctl`.
//!
//! A USB 3 hub is two hubs on one connector; the tool switches both halves of a port by itself. Cutting a board's USB also
//! takes its on-board probe away, which is what the self-test sees.

use super::{PowerSwitch, SWITCH_LIMIT, run_program};
use crate::definition::RawHubPort;
use crate::error::Fault;

/// Ports that the largest hub chips have.
const MOST_PORTS: u8 = 15;

pub(super) fn check(written: &RawHubPort) -> Result<(), String> {
    let location = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.');
    if written.hub.is_empty() || !written.hub.chars().all(location) {
        return Err(format!("`{}` is no location of a hub; `uhubctl` prints them, such as 1-1.4", written.hub));
    }
    if written.port == 0 || written.port > MOST_PORTS {
        return Err(format!("port {} is outside 1 to {MOST_PORTS}", written.port));
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct HubPort {
    written: RawHubPort,
}

impl HubPort {
    pub(super) fn new(written: &RawHubPort) -> Self {
        Self { written: written.clone() }
    }

    fn run(&self, more: &[&str]) -> Result<String, Fault> {
        let program = self.written.program.as_ref().map_or_else(|| "uhubctl".into(), |p| p.to_string_lossy());
        let port = self.written.port.to_string();
        let line: Vec<String> = [program.as_ref(), "-l", &self.written.hub, "-p", &port]
            .iter()
            .chain(more)
            .map(|s| (*s).to_owned())
            .collect();
        run_program(&line, SWITCH_LIMIT)
    }
}

impl PowerSwitch for HubPort {
    fn describe(&self) -> String {
        format!("uhubctl {} port {}", self.written.hub, self.written.port)
    }

    fn set(&mut self, on: bool) -> Result<(), Fault> {
        self.run(&["-a", if on { "on" } else { "off" }])?;
        match self.state()? {
            Some(state) if state != on => {
                let (is, should) = if on { ("off", "on") } else { ("on", "off") };
                Err(Fault::Power { why: format!("{} says {is} after it was switched {should}", self.describe()) })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn state(&mut self) -> Result<Option<bool>, Fault> {
        Ok(port_state(&self.run(&[])?, self.written.port))
    }
}

/// What the tool prints of a port: `  Port 2: 0503 power highspeed enable connect [...]`, or `off` for `power`. Of two
/// halves the one that is on counts.
fn port_state(printed: &str, port: u8) -> Option<bool> {
    let prefix = format!("Port {port}:");
    let states: Vec<bool> = printed
        .lines()
        .filter_map(|line| line.trim().strip_prefix(&prefix))
        .map(|rest| rest.split_whitespace().any(|word| word == "power"))
        .collect();
    (!states.is_empty()).then(|| states.contains(&true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "Current status for hub 1-1\n  Port 2: 0503 power highspeed enable connect [1366:1051 SEGGER]\n",
        Some(true)
    )]
    #[case("Current status for hub 1-1\n  Port 2: 0000 off\n", Some(false))]
    #[case("hub 1-1\n  Port 2: 0000 off\nhub 2-1\n  Port 2: 0263 power 5gbps U0 enable connect\n", Some(true))]
    #[case("  Port 12: 0100 power\n", None)]
    fn a_port_is_told_by_its_number(#[case] printed: &str, #[case] want: Option<bool>) {
        assert_eq!(port_state(printed, 2), want);
    }
}
