//! QEMU's machine protocol: reset, what a reset request of the firmware does, and switching the store trace on and off.

use crate::{
    error::MachineError,
    link::{ANSWER, Link},
};
use serde_json::{Value, json};
use std::{collections::VecDeque, os::fd::BorrowedFd, time::Instant};

const LINK: &str = "QMP";
const DOING: &str = "controlling the machine";
/// Events kept until somebody looks. Older ones go: only a reset is ever waited for, right after it was asked for.
const EVENTS: usize = 64;
/// The trace that carries every store to a device or to flash.
const STORES: &str = "memory_region_ops_write";

/// The connection.
#[derive(Debug)]
pub(crate) struct Qmp {
    link: Link,
    events: VecDeque<String>,
}

impl Qmp {
    pub fn new(link: Link) -> Result<Self, MachineError> {
        let mut qmp = Self { link, events: VecDeque::new() };
        qmp.order("qmp_capabilities", &Value::Null)?;
        Ok(qmp)
    }

    /// What to wait for an event on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    /// Sorts a line: the answer, if it is one.
    fn take(&mut self, line: &[u8]) -> Option<Value> {
        let value: Value = serde_json::from_slice(line).ok()?;
        if let Some(event) = value["event"].as_str() {
            if self.events.len() == EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(event.to_owned());
            return None;
        }
        (value.get("return").is_some() || value.get("error").is_some()).then_some(value)
    }

    fn order(&mut self, command: &str, arguments: &Value) -> Result<(), MachineError> {
        let mut message = json!({ "execute": command });
        if !arguments.is_null() {
            message["arguments"] = arguments.clone();
        }
        self.link.send(format!("{message}\n").as_bytes(), DOING)?;
        let end = Instant::now() + ANSWER;
        loop {
            let line = self.link.line(end, DOING)?;
            let Some(answer) = self.take(&line) else { continue };
            return match answer.get("error") {
                None => Ok(()),
                Some(error) => Err(MachineError::refused(LINK, command, &error.to_string())),
            };
        }
    }

    /// Takes in events without waiting. Nothing acts on them: the core's stops say the same, in order with the rest.
    pub fn drain(&mut self) -> Result<(), MachineError> {
        while self.link.fill_now(DOING)? {}
        while let Some(line) = self.link.take_line() {
            self.take(&line);
        }
        self.events.clear();
        Ok(())
    }

    /// From now on a reset that the firmware asks for stops the machine, so that the reason can be left in RAM before
    /// the core starts again.
    pub fn hold_resets(&mut self, hold: bool) -> Result<(), MachineError> {
        self.order("set-action", &json!({ "reboot": if hold { "shutdown" } else { "reset" } }))
    }

    /// Resets the machine and waits until it has happened. Flash and RAM stay.
    pub fn reset(&mut self) -> Result<(), MachineError> {
        self.drain()?;
        self.order("system_reset", &Value::Null)?;
        let end = Instant::now() + ANSWER;
        while !self.events.iter().any(|event| event == "RESET") {
            let line = self.link.line(end, "waiting for a reset")?;
            self.take(&line);
        }
        self.events.clear();
        Ok(())
    }

    /// Switches the store trace.
    pub fn trace_stores(&mut self, on: bool) -> Result<(), MachineError> {
        self.order("trace-event-set-state", &json!({ "name": STORES, "enable": on }))
    }
}
