//! `hil console`: what a board says, as text and as decoded records, with a byte-exact log beside it if wanted.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use hil_model::{NodeId, Span};
use rack_hardware::BoardFact;

use super::bench::{self, OpenBench};
use crate::exit::CommandError;

/// Between two looks whether it shall end.
const LOOK: Duration = Duration::from_millis(200);

/// Arguments of `hil console`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil console --rack my-lab.yaml --board n03
  hil console --rack my-lab.yaml --board n03 --log logs      also every octet as it came, in logs/n03.console.log
  hil console --rack my-lab.yaml --board n03 --for '30 s'

Text is printed as it comes; trace records of bootloader and node are decoded, with the node's own time. Ends with \
Ctrl-C, or when the board goes away (exit code 5).")]
pub struct ConsoleArgs {
    /// Rack file of kind `lab` or `emulated`.
    #[arg(long, value_name = "FILE")]
    rack: PathBuf,
    /// Board, by its node.
    #[arg(long, value_name = "NODE")]
    board: NodeId,
    /// Folder for the byte-exact log.
    #[arg(long, value_name = "FOLDER")]
    log: Option<PathBuf>,
    /// How long to listen; until Ctrl-C when left out.
    #[arg(long = "for", value_name = "TIME")]
    limit: Option<Span>,
    /// Text to send first; a line end is added.
    #[arg(long, value_name = "TEXT")]
    send: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// The rack file is wrong, or the board goes away.
pub fn run(args: &ConsoleArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let stop = Arc::new(AtomicBool::new(false));
    // Without the handler, Ctrl-C ends the process at once, which is as good.
    let _handled = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop));
    let runtime = bench::runtime()?;
    let mut rack = OpenBench::open(&args.rack, "hil console")?;
    if let Some(folder) = &args.log {
        rack.log_to(folder.clone());
    }
    let definition = rack.select(&[args.board])?.remove(0);
    runtime.block_on(async {
        let (board, mut events) = rack.board(&definition).map_err(|error| bench::rack_fault(&error))?;
        if let Some(text) = &args.send {
            board.send(format!("{text}\n").into_bytes()).await.map_err(|error| bench::rack_fault(&error))?;
        }
        let start = Instant::now();
        let limit = args.limit.map(|span| Duration::from_nanos(span.0));
        while !stop.load(Ordering::Relaxed) && limit.is_none_or(|limit| start.elapsed() < limit) {
            let event = match tokio::time::timeout(LOOK, events.recv()).await {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(_elapsed) => {
                    out.flush()?;
                    continue;
                }
            };
            let at = event.at.saturating_duration_since(start).as_secs_f64();
            match event.what {
                BoardFact::Text(text) => writeln!(out, "{at:>9.3}  {text}")?,
                BoardFact::Trace(record) => {
                    let uptime = f64::from(record.uptime_ms) / 1e3;
                    writeln!(out, "{at:>9.3}  #{:03} {uptime:.3} s  {:?}", record.sequence, record.event)?;
                }
                BoardFact::Garbage { octets } => writeln!(out, "{at:>9.3}  ({octets} octets of garbage)")?,
                BoardFact::Lost { events } => writeln!(out, "{at:>9.3}  ({events} lines lost here; the log has them)")?,
                BoardFact::Quarantined(error) => {
                    board.close().await;
                    return Err(bench::rack_fault(&error));
                }
            }
        }
        board.close().await;
        Ok(())
    })
}
