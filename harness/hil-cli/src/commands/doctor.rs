//! `hil doctor`: is a rack complete, answering and right, and what to do if not.
//!
//! Of a virtual rack there is nothing to plug in: it is asked whether its tables agree, whether the key judges images, and
//! whether one update really goes through.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Args;
use fixture_images::Board;
use hil_model::{Behaviour, Capability, ImageCheck, RackManifest, Seed, Verdict, Version};
use hil_scenario::forge::{Lies, Recipe};
use hil_scenario::{BindOptions, Forge, bind, source};
use mk_boot::geometry;

use super::{bench, doctor_lab, doctor_suggest};
use crate::exit::{CommandError, ExitClass};
use crate::racks::{BoundRack, RackSource};
use crate::runner;

/// One update of a few small nodes: what a rack has to be able to do at the least.
const SELF_RUN: &str = "\
title: A small update reaches its nodes
rack: { image-size: 32 KiB }
campaign: { targets: n01, stages: [{ take: rest }] }
expect:
  - outcome: { nodes: all, is: updated }
";

/// Arguments of `hil doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil doctor
  hil doctor --rack rigs/racks/virtual.yaml
  hil doctor --rack my-lab.yaml                    every probe, port, power switch, gateway and firmware
  hil doctor --rack my-lab.yaml --power            and cuts the power of every board, to see whether it goes
  hil doctor --suggest --output my-lab.yaml        writes a rack file of what is plugged in

Boards are read and never written. Exit code 0: all is well; 3: the rack file is wrong; 5: something of the rack is.")]
pub struct DoctorArgs {
    /// Rack file; the embedded virtual rack when left out.
    #[arg(long, value_name = "FILE")]
    rack: Option<PathBuf>,
    /// Also switch every board off and on, and demand that it vanishes and comes back.
    #[arg(long, requires = "rack")]
    power: bool,
    /// Write a rack file of the probes and ports that are plugged in.
    #[arg(long, conflicts_with = "rack")]
    suggest: bool,
    /// Where the suggested rack file goes, a file that is not there yet; standard output when left out.
    #[arg(long, value_name = "FILE", requires = "suggest")]
    output: Option<PathBuf>,
}

/// One line of the table.
struct Check {
    part: &'static str,
    /// What was found, or what is wrong and what to do.
    found: Result<String, (String, &'static str)>,
}

/// Runs the command.
///
/// # Errors
/// The rack file is wrong, or something of the rack is.
pub fn run(args: &DoctorArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    if args.suggest {
        return doctor_suggest::run(args.output.as_deref(), out);
    }
    if let Some(path) = args.rack.as_deref().filter(|path| bench::has_boards(path)) {
        return doctor_lab::run(path, args.power, out);
    }
    let rack = BoundRack::of_option(args.rack.as_deref())?;
    let manifest = rack.manifest();
    let forge = Forge::new();
    writeln!(out, "rack {}: {} nodes\n", manifest.name, manifest.fleet.nodes.len())?;
    let checks = [
        Check { part: "rack opens", found: opens(&rack) },
        Check { part: "board table", found: board_tables(&manifest.profile.board) },
        Check { part: "release key", found: key(manifest, &forge) },
        Check { part: "self-run", found: self_run(&rack, &forge) },
    ];
    let mut broken = 0;
    for check in &checks {
        match &check.found {
            Ok(found) => writeln!(out, "{:<12} ok      {found}", check.part)?,
            Err((wrong, next)) => {
                broken += 1;
                writeln!(out, "{:<12} WRONG   {wrong}\n{:<12}         next: {next}", check.part, "")?;
            }
        }
    }
    writeln!(out, "\ncapabilities")?;
    for &capability in Capability::ALL {
        let has = if manifest.capabilities.contains(&capability) { "yes" } else { "no" };
        writeln!(out, "{:<24} {has:<4} {}", capability.name(), capability.describe())?;
    }
    out.flush()?;
    if broken == 0 {
        return Ok(());
    }
    Err(CommandError::new(ExitClass::RackFault, format!("{broken} of {} checks found something wrong", checks.len())))
}

type Found = Result<String, (String, &'static str)>;

fn opens(rack: &BoundRack) -> Found {
    let opened = rack.open().map_err(|error| (error.to_string(), "see the rack's file"))?;
    let agrees = opened.manifest() == rack.manifest();
    drop(opened);
    if agrees {
        Ok("it is what its file says".to_owned())
    } else {
        Err(("the rack says otherwise of itself than its file".to_owned(), "correct the file"))
    }
}

/// Forge and bootloader read the same table with code of their own: they have to agree.
fn board_tables(name: &str) -> Found {
    const NEXT: &str = "compare firmware-under-test/boards with what the bootloader has compiled in";
    let forge = Board::named(name).map_err(|error| (error.to_string(), NEXT))?;
    let boot = geometry::by_name(name).ok_or_else(|| (format!("the bootloader has no table `{name}`"), NEXT))?;
    let (slot, page) = (boot.slot(geometry::Slot::Zero).length, boot.page_size);
    if (forge.slot_size(), forge.page_size) != (slot, page) {
        let wrong = format!("the forge has slots of {}, the bootloader of {slot}", forge.slot_size());
        return Err((wrong, NEXT));
    }
    Ok(format!("{name}: slots of {} KiB, pages of {page}", slot / 1024))
}

fn key(manifest: &RackManifest, forge: &Forge) -> Found {
    const NEXT: &str = "restore fixtures/keys from the repository";
    let recipe = Recipe {
        board: manifest.profile.board.clone(),
        version: Version::new(1, 1, 0),
        config_version: 2,
        oldest_migratable: None,
        security_counter: None,
        behaviour: Behaviour::Normal,
        size: 32 * 1024,
        seed: 1,
        tampering: None,
        lies: Lies::default(),
    };
    let made = forge.make(&recipe).map_err(|error| (error.to_string(), NEXT))?;
    match made.check {
        ImageCheck::Valid => Ok(format!("an image signed with it verifies ({})", made.digest.short())),
        other => Err((format!("an image signed with it is judged {other:?}"), NEXT)),
    }
}

fn self_run(rack: &BoundRack, forge: &Forge) -> Found {
    const NEXT: &str = "run `hil run integrity/happy-path` and read its timeline";
    let scenarios = source::read("doctor/self-run", "self-run.yaml", SELF_RUN).map_err(|d| {
        (format!("{} complaints about the built-in scenario", d.len()), "this is a fault of this command")
    })?;
    let scenario = scenarios.first().ok_or_else(|| ("there is none".to_owned(), NEXT))?;
    let plan = bind(scenario, rack.manifest(), Seed(1), forge, BindOptions::default())
        .map_err(|error| (error.to_string(), "give the rack what it lacks"))?;
    let started = Instant::now();
    let (_, judgement) = runner::attempt_plan(&plan, rack, &mut |_| {}, &AtomicBool::new(false));
    let took = started.elapsed().as_millis();
    match judgement.verdict {
        Verdict::Pass => Ok(format!("an update of 32 KiB went through in {took} ms of wall time")),
        Verdict::RackFault(why) => Err((why, NEXT)),
        Verdict::Fail | Verdict::Inconclusive | Verdict::Skipped(_) => {
            Err((format!("an update of 32 KiB ended {}", judgement.verdict.word()), NEXT))
        }
    }
}
