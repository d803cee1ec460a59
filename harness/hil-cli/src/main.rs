//! The `hil` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hil_cli::main()
}
