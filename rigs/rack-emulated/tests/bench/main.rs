//! What the bench promises, on real QEMU processes. Without QEMU these tests are ignored and say what to install; in CI
//! they fail.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod air;
mod flash;
mod life;

mod probe;
mod programs;
mod rig;
mod serial;

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
    // The child of a test that kills it.
    if std::env::var_os(life::ORPHAN).is_some() {
        return life::orphan();
    }
    let mut arguments = Arguments::from_args();
    // Each test runs machines of its own.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let rules = [life::RULES, flash::RULES, serial::RULES, air::RULES, probe::RULES].concat();
    libtest_mimic::run(&arguments, rules.into_iter().map(trial).collect()).exit();
}
