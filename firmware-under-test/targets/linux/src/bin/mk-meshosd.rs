//! MeshOS as a program of its own; see `mk_linux::meshos`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mk_linux::meshos::main(std::env::args_os().skip(1))
}
