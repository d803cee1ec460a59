//! The hidden `hil probe-worker`: the process in which the probe library runs, started by other commands and never by people.

use crate::exit::CommandError;

/// Runs until standard input ends.
///
/// # Errors
/// Nobody takes the answers any more.
pub fn run() -> Result<(), CommandError> {
    rack_hardware::probe::worker::run().map_err(Into::into)
}
