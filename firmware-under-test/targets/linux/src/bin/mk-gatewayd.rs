//! The gateway as a program of its own; see `mk_linux::gateway`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mk_linux::gateway::main(std::env::args_os().skip(1))
}
