//! Bad input at the bench: what goes wrong in a lab, done to emulated boards that are reached through unmodified probe-rs
//! and serialport. Each has an error that says what to do, and nothing is written that should not be.
//!
//! Without QEMU these tests are ignored and say what to install; in CI they fail.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod faults;
mod rig;
mod works;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// A rule and the function that checks it.
pub type Rule = (&'static str, fn());

fn trial((name, rule): Rule) -> Trial {
    Trial::ignorable_test(name, move || match rack_emulated::installed() {
        Ok(()) => {
            rule();
            Ok(Completion::Completed)
        }
        Err(error) if std::env::var_os("CI").is_some() => Err(Failed::from(error.to_string())),
        Err(error) => Ok(Completion::ignored_with(error.to_string())),
    })
}

fn main() {
    // Probe processes of these tests are this program again.
    if std::env::args().nth(1).is_some_and(|first| first == rack_hardware::probe::WORKER_COMMAND) {
        let _nobody_listens = rack_hardware::probe::worker::run();
        return;
    }
    let mut arguments = Arguments::from_args();
    // Each test runs machines of its own.
    arguments.test_threads.get_or_insert(2);
    let rules = [works::RULES, faults::RULES].concat();
    libtest_mimic::run(&arguments, rules.into_iter().map(trial).collect()).exit();
}
