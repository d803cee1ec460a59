//! `hil flash`: provisions boards of a rack, or writes one file to one board. Compares chip and address first, reads back
//! what it wrote, and erases nothing that was not named.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use fixture_images::{Board, ImageSpec, TestKey, Version};
use hil_model::{NodeId, Span};
use indicatif::{ProgressBar, ProgressStyle};
use rack_hardware::board::ProgressSender;
use rack_hardware::probe::FlashStage;
use rack_hardware::provision::Firmware;
use rack_hardware::{BoardDefinition, BoardError, BoardHandle, Fault, Outfit, Part, ProvisionPlan, Purpose, ResetKind};
use tokio::sync::mpsc;

use super::bench::{self, OpenBench};
use super::number;
use crate::exit::CommandError;

/// Interval of reports of a board that is provisioned by hand.
const REPORT_INTERVAL: Span = Span::secs(10);
/// Time to live of a board that is provisioned by hand.
const TTL: u8 = 7;

/// Arguments of `hil flash`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil flash --rack my-lab.yaml                       provision every board: bootloader, key, identity, image
  hil flash --rack my-lab.yaml --board n03           that one
  hil flash --rack my-lab.yaml --board n03 --file build/node.elf
  hil flash --rack my-lab.yaml --board n03 --readdress    it was another node before
  hil flash --rack my-lab.yaml --board n03 --erase-all    open a locked part; everything on it is lost

Chip id and node address are compared with the rack file before anything is written, and everything written is read \
back. A part whose debug port is locked is never opened implicitly: that erases the evidence of whatever happened to it.
Exit code 5: a board is not what the rack file says, or flashing failed.")]
pub struct FlashArgs {
    /// Rack file of kind `lab` or `emulated`.
    #[arg(long, value_name = "FILE")]
    rack: PathBuf,
    /// Board, by its node; all when left out.
    #[arg(long, value_name = "NODE")]
    board: Vec<NodeId>,
    /// ELF, Intel HEX or raw binary to write instead of provisioning.
    #[arg(long, value_name = "FILE", requires = "board")]
    file: Option<PathBuf>,
    /// Where a raw binary goes.
    #[arg(long, value_name = "ADDRESS", value_parser = number, requires = "file")]
    address: Option<u32>,
    /// Image to provision with; when left out, one is made around the node firmware of the rack's firmware folder.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    image: Option<PathBuf>,
    /// Write the board although it is provisioned as another node.
    #[arg(long)]
    readdress: bool,
    /// Open a locked part, which erases everything on it: firmware, key, configuration, evidence. One that is open is
    /// not erased.
    #[arg(long, requires = "board")]
    erase_all: bool,
}

/// Runs the command.
///
/// # Errors
/// The rack file is wrong, a file is missing, or a board does not take it.
pub fn run(args: &FlashArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let runtime = bench::runtime()?;
    let rack = OpenBench::open(&args.rack, "hil flash")?;
    for definition in rack.select(&args.board)? {
        let start = Instant::now();
        let job = match &args.file {
            Some(file) => Job::File(firmware(&definition, file, args.address)?),
            None => Job::Provision(Arc::new(plan(&rack, &definition, args.image.as_deref())?)),
        };
        let octets = job.size();
        let done = runtime.block_on(one(&rack, &definition, job, args)).map_err(|error| bench::rack_fault(&error))?;
        let seconds = start.elapsed().as_secs_f64();
        writeln!(out, "{}  {done}: {octets} octets in {seconds:.1} s, read back", definition.name())?;
    }
    Ok(())
}

enum Job {
    File(Firmware),
    Provision(Arc<ProvisionPlan>),
}

impl Job {
    fn size(&self) -> usize {
        match self {
            Self::File(firmware) => firmware.size(),
            Self::Provision(plan) => plan.size(),
        }
    }
}

fn of_board(definition: &BoardDefinition, fault: Fault) -> CommandError {
    bench::rack_fault(&BoardError::new(definition.name(), Part::Firmware, fault))
}

fn firmware(definition: &BoardDefinition, file: &Path, address: Option<u32>) -> Result<Firmware, CommandError> {
    let bank_a = definition.driver.geometry().map_or(0, |table| table.bank_a.start);
    Firmware::read(file, address.unwrap_or(bank_a)).map_err(|fault| of_board(definition, fault))
}

fn plan(rack: &OpenBench, definition: &BoardDefinition, image: Option<&Path>) -> Result<ProvisionPlan, CommandError> {
    let lab = &rack.lab;
    let table = definition.driver.geometry();
    let boot = lab.firmware.folder.join("boot.bin");
    let bootloader = Firmware::read(&boot, table.map_or(0, |table| table.bootloader.start))
        .map_err(|fault| of_board(definition, fault).hint("build it with `cargo xtask firmware`"))?;
    let softdevice = lab.firmware.softdevice.as_ref().map(Firmware::softdevice).transpose();
    let softdevice = softdevice.map_err(|fault| of_board(definition, fault))?;
    let image = match image {
        Some(path) => super::read_file(path)?,
        None => first_image(rack, definition)?,
    };
    let outfit = Outfit {
        bootloader,
        softdevice,
        image: &image,
        key: TestKey::release().sec1(),
        mesh: &lab.mesh,
        grace: lab.profile.grace,
        report_interval: REPORT_INTERVAL,
        segment_interval: lab.profile.segment_interval,
        relay: true,
        ttl: TTL,
    };
    ProvisionPlan::new(definition.driver, &definition.node, &outfit).map_err(|fault| of_board(definition, fault))
}

/// Version 1.0.0 around the node firmware of the rack's folder, signed with the test key.
fn first_image(rack: &OpenBench, definition: &BoardDefinition) -> Result<Vec<u8>, CommandError> {
    let path = rack.lab.firmware.folder.join("node.bin");
    let program = Firmware::read(&path, 0)
        .map_err(|fault| of_board(definition, fault).hint("build it with `cargo xtask firmware`"))?;
    let program = program.parts.into_iter().next().map(|part| part.octets).unwrap_or_default();
    let wrong = |error: String| CommandError::internal(format!("an image around {}: {error}", path.display()));
    let board = Board::named(definition.driver.table).map_err(|error| wrong(error.to_string()))?;
    let version = Version { major: 1, minor: 0, revision: 0, build: 0 };
    let spec = ImageSpec {
        config_migration_version: definition.node.config_version,
        size: rack.lab.profile.image_size,
        ..ImageSpec::for_board(&board, version)
    };
    let image = spec.build_around(&program, &TestKey::release()).map_err(|error| wrong(error.to_string()))?;
    Ok(image.bytes)
}

async fn one(
    rack: &OpenBench,
    definition: &BoardDefinition,
    job: Job,
    args: &FlashArgs,
) -> Result<&'static str, BoardError> {
    let (board, _events) = rack.board(definition)?;
    let done = write(&board, job, args).await;
    board.close().await;
    done
}

async fn write(board: &BoardHandle, job: Job, args: &FlashArgs) -> Result<&'static str, BoardError> {
    if args.erase_all {
        board.erase_everything().await?;
    }
    let purpose = if args.readdress || args.erase_all { Purpose::Readdress } else { Purpose::Provision };
    let (progress, bar) = progress(&board.name());
    let done = match job {
        Job::Provision(plan) => board.provision(plan, purpose, Some(progress)).await.map(|_seen| "provisioned"),
        Job::File(firmware) => match board.flash(firmware.parts, purpose, Some(progress)).await {
            Ok(()) => board.reset(ResetKind::Soft, false).await.map(|()| "written"),
            Err(error) => Err(error),
        },
    };
    // The bar ends with the sender that the board's owner holds.
    let _drawn = bar.await;
    done
}

/// A bar on the terminal, fed by the board.
fn progress(board: &str) -> (ProgressSender, tokio::task::JoinHandle<()>) {
    let (sender, mut steps) = mpsc::channel(64);
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {msg:<8} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}")
    {
        bar.set_style(style);
    }
    bar.set_prefix(board.to_owned());
    let drawn = tokio::spawn(async move {
        while let Some(rack_hardware::probe::FlashProgress { stage, done, total }) = steps.recv().await {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(match stage {
                FlashStage::Keep => "keep",
                FlashStage::Erase => "erase",
                FlashStage::Program => "write",
                FlashStage::Verify => "compare",
            });
        }
        bar.finish_and_clear();
    });
    (sender, drawn)
}
