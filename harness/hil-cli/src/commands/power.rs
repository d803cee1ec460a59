//! `hil power`: switches boards of a rack on and off, and tries whether the switches do what they say.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hil_model::NodeId;
use rack_hardware::power::SelfTestLimits;
use rack_hardware::{BoardDefinition, BoardError, PowerAction};

use super::bench::{self, OpenBench};
use crate::exit::CommandError;

/// What is done.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    /// Switch on.
    On,
    /// Switch off.
    Off,
    /// Off, a second, on.
    Cycle,
    /// What the switch says of itself.
    State,
    /// Off until the board has vanished, on until it is back.
    SelfTest,
}

/// Arguments of `hil power`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil power cycle --rack my-lab.yaml --board n03
  hil power state --rack my-lab.yaml                  of all boards
  hil power self-test --rack my-lab.yaml --board n03  does that hub port really cut power

A switch is never believed: many hubs say that they switch their ports and keep feeding them. The self-test demands \
that the board vanishes and comes back; do it once for each port when a rack is set up.
Exit code 5: a switch or a board did not do it.")]
pub struct PowerArgs {
    /// What to do.
    #[arg(value_enum)]
    action: Action,
    /// Rack file of kind `lab` or `emulated`.
    #[arg(long, value_name = "FILE")]
    rack: PathBuf,
    /// Board, by its node; all when left out.
    #[arg(long, value_name = "NODE")]
    board: Vec<NodeId>,
}

/// Runs the command.
///
/// # Errors
/// The rack file is wrong, or a switch does not do it.
pub fn run(args: &PowerArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let runtime = bench::runtime()?;
    let rack = OpenBench::open(&args.rack, "hil power")?;
    for definition in rack.select(&args.board)? {
        let done = runtime.block_on(one(&rack, &definition, args.action)).map_err(|error| bench::rack_fault(&error))?;
        writeln!(out, "{}  {done}", definition.name())?;
    }
    Ok(())
}

async fn one(rack: &OpenBench, definition: &BoardDefinition, action: Action) -> Result<String, BoardError> {
    let (board, _events) = rack.board(definition)?;
    let done = match action {
        Action::On => board.power(PowerAction::On).await.map(|()| "on".to_owned()),
        Action::Off => board.power(PowerAction::Off).await.map(|()| "off".to_owned()),
        Action::Cycle => board.power(PowerAction::Cycle).await.map(|()| "off and on again".to_owned()),
        Action::State => board.power_state().await.map(|state| match state {
            Some(true) => "on".to_owned(),
            Some(false) => "off".to_owned(),
            None => "the switch cannot tell".to_owned(),
        }),
        Action::SelfTest => board.power_self_test(SelfTestLimits::default()).await.map(|test| test.to_string()),
    };
    board.close().await;
    done
}
