//! `hil sweep`: the power goes at every flash operation of update and roll-back.

use std::io::Write;
use std::time::Instant;

use clap::Args;
use mk_boot::Composition;
use mk_boot::geometry::{self, Geometry};
use power_sweep::{DoubleCuts, Scene, SweepOptions, sweep};

use super::size;
use crate::exit::CommandError;

/// Operations after the first cut at which the second one falls.
const WINDOW: usize = 64;
/// Second cuts at random places behind the window.
const RANDOM: usize = 16;

/// Arguments of `hil sweep`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil sweep                              every operation of a 64 KiB image, five tear models
  hil sweep --every 50                   a quick look
  hil sweep --double 500                 pairs of cuts too, after every 500th operation
  hil sweep --image-size 16KiB --double all

The operations of the journeys (update, roll-back ...) are recorded once; each is torn in five ways, the boot after it is \
executed by the product's own bootloader with real ECDSA, and the node has to come back to the right, complete image.")]
pub struct SweepArgs {
    /// Size of the images.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size)]
    image_size: u32,
    /// A cut at every how-many-th operation.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Pairs of cuts: none, all (small images only), or after every N-th first cut.
    #[arg(long, value_name = "N", default_value = "none", value_parser = doubles)]
    double: DoubleCuts,
    /// Seed of torn bits and random pairs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Board table, by name.
    #[arg(long, value_name = "NAME", default_value = "mk-node-s140", value_parser = board)]
    board: &'static Geometry,
}

/// The largest page that the sweep's buffers take.
const PAGE: usize = 4096;

fn board(name: &str) -> Result<&'static Geometry, String> {
    let table = geometry::by_name(name).ok_or_else(|| {
        let known: Vec<&str> = geometry::BOARDS.iter().map(|board| board.name).collect();
        format!("there are {}", known.join(", "))
    })?;
    match table.page_size as usize {
        PAGE => Ok(table),
        other => Err(format!("its pages are {other} octets, the sweep does {PAGE}")),
    }
}

fn doubles(text: &str) -> Result<DoubleCuts, String> {
    match text {
        "none" => Ok(DoubleCuts::None),
        "all" => Ok(DoubleCuts::All),
        _ => match text.parse() {
            Ok(stride) if stride > 0 => Ok(DoubleCuts::Window { stride, window: WINDOW, random: RANDOM }),
            Ok(_) | Err(_) => Err("write none, all, or a number from 1".to_owned()),
        },
    }
}

/// Runs the command.
///
/// # Errors
/// A node that did not come back, or an image that does not fit.
pub fn run(args: &SweepArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let composition = Composition::product();
    let (board, name) = (args.board, args.board.name);
    let scene = Scene::<PAGE>::new(board, args.image_size, args.seed, &composition)
        .map_err(|error| CommandError::usage(format!("--image-size {}: {error}", args.image_size)))?;
    let options = SweepOptions { seed: args.seed, stride: args.every as usize, double: args.double };
    writeln!(out, "seed {}: power cuts in an update of {} octets on {name}", args.seed, args.image_size)?;
    out.flush()?;
    let started = Instant::now();
    let report = sweep(&scene, &composition, options)
        .map_err(|error| CommandError::product(format!("a journey fails without any cut: {error}")))?;
    let seconds = started.elapsed().as_secs_f64();
    write!(out, "{report}")?;
    // The sweep is one thread and waits for nothing: its wall time is its CPU time on an idle machine.
    let rate = report.points() as f64 / seconds.max(f64::EPSILON);
    writeln!(out, "{seconds:.2} s, {rate:.0} points per CPU-second\nseed {}", args.seed)?;
    if report.passed() {
        return Ok(());
    }
    Err(CommandError::product(format!("{} of {} points are wrong", report.wrong_points, report.points())))
}
