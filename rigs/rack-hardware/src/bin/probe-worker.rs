//! The probe process on its own, for tests of crates that have no `hil` command beside them.

use std::process::ExitCode;

fn main() -> ExitCode {
    match rack_hardware::probe::worker::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_nobody_listens) => ExitCode::FAILURE,
    }
}
