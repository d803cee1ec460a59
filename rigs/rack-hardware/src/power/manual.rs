//! A person who pulls the plug. For a first lab without switches, and for boards on a desk.
//!
//! Somebody has to be there: without a terminal, or with no answer for five minutes, the switch has failed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::PowerSwitch;
use crate::definition::RawManual;
use crate::error::Fault;

/// How long a person may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Asks a person, and says whether it was done.
pub type Answers = Arc<dyn Fn(&str) -> Result<(), Fault> + Send + Sync>;

/// Asks on the terminal that this program runs in.
#[must_use]
pub fn ask_on_terminal() -> Answers {
    Arc::new(|question| {
        if !std::io::stdin().is_terminal() {
            let why = "a person has to switch it, and there is no terminal to ask on".to_owned();
            return Err(Fault::Power { why });
        }
        eprint!("{question}, then press Enter: ");
        let _shown = std::io::stderr().flush();
        let (sender, receiver) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            let _nobody_waits = sender.send(read.is_ok_and(|octets| octets > 0));
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::Power { why: "nobody is there to switch it".to_owned() }),
            Err(_elapsed) => Err(Fault::Deadline { operation: question.to_owned(), limit: PATIENCE }),
        }
    })
}

pub(super) struct Person {
    label: String,
    answers: Answers,
    told: Option<bool>,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Person({})", self.label)
    }
}

impl Person {
    pub(super) fn new(written: &RawManual, answers: Answers) -> Self {
        Self { label: written.label.clone(), answers, told: None }
    }
}

impl PowerSwitch for Person {
    fn describe(&self) -> String {
        format!("by hand: {}", self.label)
    }

    fn set(&mut self, on: bool) -> Result<(), Fault> {
        (self.answers)(&format!("Switch {} {}", self.label, if on { "on" } else { "off" }))?;
        self.told = Some(on);
        Ok(())
    }

    fn state(&mut self) -> Result<Option<bool>, Fault> {
        Ok(self.told)
    }

    fn needs_a_person(&self) -> bool {
        true
    }
}
