//! What people and CI see while scenarios run: libtest's lines on standard output, a bar on standard error where that is
//! a terminal. In pipes and in CI there is no bar and no control sequence.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use hil_model::{RunRecord, Verdict};
use hil_report::xml_text::clean_line;
use indicatif::{ProgressBar, ProgressStyle};

use crate::runner::{Done, is_flaky};

/// A bar, or nothing where nobody watches.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
}

/// Whether a person watches.
#[must_use]
pub fn watched() -> bool {
    io::stderr().is_terminal() && io::stdout().is_terminal() && std::env::var_os("CI").is_none()
}

impl Progress {
    /// A bar of `length` steps.
    #[must_use]
    pub fn new(length: usize, template: &str) -> Self {
        if !watched() {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new(length as u64);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    /// Goes to this step.
    pub fn set(&self, step: u64, message: String) {
        self.bar.set_position(step);
        self.bar.set_message(message);
    }

    /// One step further.
    pub fn step(&self, message: String) {
        self.bar.inc(1);
        self.bar.set_message(message);
    }

    /// Writes a line above the bar.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn line(&self, out: &mut dyn Write, text: &str) -> io::Result<()> {
        self.bar.suspend(|| writeln!(out, "{text}").and_then(|()| out.flush()))
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The word behind `test <name> ...`.
#[must_use]
pub fn word(record: &RunRecord) -> String {
    match &record.verdict {
        Verdict::Inconclusive if is_flaky(record) => "FLAKY".to_owned(),
        Verdict::Pass => "ok".to_owned(),
        Verdict::Fail => "FAILED".to_owned(),
        Verdict::Inconclusive => "INCONCLUSIVE".to_owned(),
        Verdict::Skipped(why) => format!("ignored, {}", clean_line(why)),
        Verdict::RackFault(why) => format!("RACK FAULT, {}", clean_line(why)),
    }
}

/// The line of a scenario that is done; none for one that was stopped.
#[must_use]
pub fn test_line(name: &str, done: &Done) -> Option<String> {
    match done {
        Done::Ran(record) => Some(format!("test {name} ... {}", word(record))),
        Done::Panicked(record) => Some(format!("test {name} ... PANICKED ({})", word(record))),
        Done::Invalid(_) => Some(format!("test {name} ... INVALID")),
        Done::Stopped => None,
    }
}
