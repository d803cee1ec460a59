//! The `hil` command as a library, so that tests drive the same runner that people do.
//!
//! The only crate that may import everything: it opens files and racks, reads the clock, owns threads and signals. It
//! judges nothing (that is `hil-engine`) and writes no report of its own (that is `hil-report`).

pub mod commands;
pub mod exit;
pub mod forecast;
pub mod progress;
pub mod racks;
pub mod runner;
pub mod selection;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Qualifies mesh firmware updates: scenarios with injected faults, on virtual, emulated and real racks.
///
/// Without a command: `hil run`, the whole qualification suite on the embedded virtual rack.
#[derive(Debug, Parser)]
#[command(
    name = "hil",
    version,
    subcommand_required = true,
    after_help = "\
Examples:
  hil                              the qualification suite on the embedded virtual rack
  hil run bad-signature            the scenarios with that in their name
  hil campaign --nodes 1000        one campaign of four stages, with a forecast before it
  hil explore --seeds 1..200       random faults under the oracle
  hil check my-scenario.yaml       is it right, and if not, where

Exit codes: 0 pass, 1 internal error, 2 usage, 3 a scenario or rack file is invalid, 4 nothing selected, \
5 the rack failed, 6 nothing worse than inconclusive, 100 the product failed, 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios: the qualification suite, or those that a filter names.
    Run(commands::run::RunArgs),
    /// Try random fault plans under the oracle; shrink and bundle what fails.
    Explore(commands::explore::ExploreArgs),
    /// Repeat a bundle or a scenario file on a rack, and say whether it came out the same.
    Reproduce(commands::reproduce::ReproduceArgs),
    /// Judge a bundle again from its ledger, with no rack.
    Replay(commands::replay::ReplayArgs),
    /// One campaign on the virtual rack: forecast, live progress, comparison.
    Campaign(commands::campaign::CampaignArgs),
    /// Cut the power at every flash operation of update and roll-back.
    Sweep(commands::sweep::SweepArgs),
    /// Is a rack complete, answering and right? What to do if not.
    Doctor(commands::doctor::DoctorArgs),
    /// Write firmware to boards: provision them, or one file to one board.
    Flash(commands::flash::FlashArgs),
    /// Listen to a board.
    Console(commands::console::ConsoleArgs),
    /// Switch boards on and off, and try the switches.
    Power(commands::power::PowerArgs),
    /// The process in which the probe library runs; started by other commands.
    #[command(hide = true)]
    ProbeWorker,
    /// The gateway as a process of a rack; started by other commands.
    #[command(hide = true)]
    GatewayProcess(Words),
    /// MeshOS as a process of a rack; started by other commands.
    #[command(hide = true)]
    MeshosProcess(Words),
    /// The same scenarios on several racks, verdicts side by side.
    Parity(commands::parity::ParityArgs),
    /// Check scenario and rack files.
    Check(commands::check::CheckArgs),
    /// The manual of faults and expectations.
    Faults(commands::faults::FaultsArgs),
    /// Serve the reports to a browser on this machine.
    Serve(commands::serve::ServeArgs),
    /// Make, sign, judge, show and break firmware images.
    Image(commands::image::ImageArgs),
    /// Make and look into packages: what an operator uploads.
    Package(commands::package::PackageArgs),
}

/// A command line for another program.
#[derive(Debug, clap::Args)]
struct Words {
    /// Passed on as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// What may stand first and does not start `run`.
const OWN: [&str; 5] = ["-h", "--help", "-V", "--version", "help"];

/// Runs the command line of this process; see the help for its exit codes.
#[must_use]
pub fn main() -> ExitCode {
    // clap exits with 2 by itself on a usage error.
    let cli = Cli::parse_from(with_default_command(std::env::args_os()));
    // Other programs that live in this one, so that a rack needs nothing but it.
    match cli.command {
        Command::GatewayProcess(Words { words }) => return mk_linux::gateway::main(words),
        Command::MeshosProcess(Words { words }) => return mk_linux::meshos::main(words),
        _ => {}
    }
    let mut out = std::io::stdout().lock();
    let result = match &cli.command {
        Command::Run(args) => commands::run::run(args, &mut out),
        Command::Explore(args) => commands::explore::run(args, &mut out),
        Command::Reproduce(args) => commands::reproduce::run(args, &mut out),
        Command::Replay(args) => commands::replay::run(args, &mut out),
        Command::Campaign(args) => commands::campaign::run(args, &mut out),
        Command::Sweep(args) => commands::sweep::run(args, &mut out),
        Command::Doctor(args) => commands::doctor::run(args, &mut out),
        Command::Flash(args) => commands::flash::run(args, &mut out),
        Command::Console(args) => commands::console::run(args, &mut out),
        Command::Power(args) => commands::power::run(args, &mut out),
        Command::ProbeWorker => commands::probe_worker::run(),
        // Ended above.
        Command::GatewayProcess(_) | Command::MeshosProcess(_) => Ok(()),
        Command::Parity(args) => commands::parity::run(args, &mut out),
        Command::Check(args) => commands::check::run(args, &mut out),
        Command::Faults(args) => commands::faults::run(args, &mut out),
        Command::Serve(args) => commands::serve::run(args, &mut out),
        Command::Image(args) => commands::image::run(args, &mut out),
        Command::Package(args) => commands::package::run(args, &mut out),
    };
    exit::report(result.and_then(|()| out.flush().map_err(Into::into)))
}

/// `hil` and `hil --seed 7` mean `hil run ...`. A first word that is no command goes to clap, which names the commands
/// there are: a mistyped command is no filter.
fn with_default_command(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let runs = match args.get(1).and_then(|first| first.to_str()) {
        None => args.len() <= 1,
        Some(first) => first.starts_with('-') && !OWN.contains(&first),
    };
    if runs {
        args.insert(args.len().min(1), "run".into());
    }
    args
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use clap::CommandFactory as _;
    use rstest::rstest;

    #[rstest]
    #[case(&["hil"], &["hil", "run"])]
    #[case(&["hil", "--seed", "7"], &["hil", "run", "--seed", "7"])]
    #[case(&["hil", "--help"], &["hil", "--help"])]
    #[case(&["hil", "check", "x"], &["hil", "check", "x"])]
    #[case(&["hil", "chekc"], &["hil", "chekc"])]
    fn without_a_command_the_suite_runs(#[case] given: &[&str], #[case] want: &[&str]) {
        let args = with_default_command(given.iter().map(OsString::from));
        assert_eq!(args, want.iter().map(OsString::from).collect::<Vec<_>>());
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
