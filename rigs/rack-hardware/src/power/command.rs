//! A power switch behind any program: Yepkit hubs, USB relays with a vendor's tool, a script of the lab.
//!
//! The program is started as written, without a shell. What does not end in time is ended.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{PowerSwitch, SWITCH_LIMIT};
use crate::definition::RawCommands;
use crate::error::Fault;

/// Octets of a program's output that are looked at.
const MOST_OUTPUT: usize = 4_096;
/// Between two looks whether a program has ended.
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn check(written: &RawCommands) -> Result<(), String> {
    let lines = [("on", Some(&written.on)), ("off", Some(&written.off)), ("state", written.state.as_ref())];
    match lines.into_iter().find(|(_, line)| line.is_some_and(|line| line.first().is_none_or(String::is_empty))) {
        Some((key, _)) => Err(format!("`{key}` is a list: the program, then its arguments")),
        None => Ok(()),
    }
}

#[derive(Debug)]
pub(super) struct Commands {
    written: RawCommands,
}

impl Commands {
    pub(super) fn new(written: &RawCommands) -> Self {
        Self { written: written.clone() }
    }
}

impl PowerSwitch for Commands {
    fn describe(&self) -> String {
        format!("`{}`", self.written.off.join(" "))
    }

    fn set(&mut self, on: bool) -> Result<(), Fault> {
        run_program(if on { &self.written.on } else { &self.written.off }, SWITCH_LIMIT).map(|_output| ())
    }

    fn state(&mut self) -> Result<Option<bool>, Fault> {
        let Some(line) = &self.written.state else { return Ok(None) };
        match run_program(line, SWITCH_LIMIT)?.trim() {
            "on" | "1" => Ok(Some(true)),
            "off" | "0" => Ok(Some(false)),
            other => Err(Fault::Power { why: format!("`{}` printed {other:.40?}, not `on` or `off`", line.join(" ")) }),
        }
    }
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
/// [`Fault::Absent`] if there is no such program, [`Fault::Deadline`] if it was ended, [`Fault::Power`] if it failed.
pub fn run_program(line: &[String], limit: Duration) -> Result<String, Fault> {
    let shown = line.join(" ");
    let Some((program, args)) = line.split_first() else {
        return Err(Fault::Refused { action: "run a program".to_owned(), why: "none is named".to_owned() });
    };
    let spawned =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::Absent { name: program.clone() },
        std::io::ErrorKind::PermissionDenied => Fault::Forbidden { name: program.clone() },
        _ => Fault::Io { why: format!("`{shown}`: {error}") },
    })?;
    // Read by threads: a program that fills its pipe would never end.
    let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < limit => std::thread::sleep(LOOK),
            Ok(None) => {
                let _gone = child.kill();
                let _reaped = child.wait();
                return Err(Fault::Deadline { operation: format!("`{shown}`"), limit });
            }
            Err(error) => return Err(Fault::Io { why: format!("`{shown}`: {error}") }),
        }
    };
    if status.success() {
        return Ok(out.join().unwrap_or_default());
    }
    let said = err.join().unwrap_or_default();
    Err(Fault::Power { why: format!("`{shown}` ended with {status}: {}", said.trim()) })
}

fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 1_024];
        if let Some(mut pipe) = pipe {
            while let Ok(octets @ 1..) = pipe.read(&mut buffer) {
                let room = MOST_OUTPUT.saturating_sub(kept.len()).min(octets);
                kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
        }
        String::from_utf8_lossy(&kept).into_owned()
    })
}
