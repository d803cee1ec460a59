//! The `hil` command.

mod commands;
mod exit;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tests mesh firmware updates on racks of real, emulated and simulated nodes.
#[derive(Debug, Parser)]
#[command(name = "hil", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, sign, judge, show and break firmware images.
    Image(commands::image::ImageArgs),
    /// Make and look into packages: what an operator uploads.
    Package(commands::package::PackageArgs),
}

fn main() -> ExitCode {
    // clap exits with 2 by itself on a usage error.
    let cli = Cli::parse();
    let mut out = std::io::stdout().lock();
    let result = match &cli.command {
        Command::Image(args) => commands::image::run(args, &mut out),
        Command::Package(args) => commands::package::run(args, &mut out),
    };
    exit::report(result.and_then(|()| out.flush().map_err(Into::into)))
}
