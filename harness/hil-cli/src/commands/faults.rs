//! `hil faults`: the manual of faults and expectations, from the same table that the reader uses.

use std::io::Write;

use clap::Args;
use hil_scenario::manual::ManualEntry;
use hil_scenario::{diagnostic, expectations, faults, manual};

use crate::exit::CommandError;

/// Arguments of `hil faults`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil faults                       all of it, Markdown
  hil faults corrupt-block         one entry
  hil faults --schema > s.json     JSON Schema of a scenario file, for editors")]
pub struct FaultsArgs {
    /// A fault or an expectation; all when left out.
    name: Option<String>,
    /// The JSON Schema of a scenario file instead.
    #[arg(long, conflicts_with = "name")]
    schema: bool,
}

/// Runs the command.
///
/// # Errors
/// There is no such fault or expectation.
pub fn run(args: &FaultsArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    if args.schema {
        out.write_all(manual::schema_text().as_bytes())?;
        return Ok(());
    }
    let Some(name) = &args.name else {
        out.write_all(manual::manual().as_bytes())?;
        return Ok(());
    };
    let wanted = name.replace('_', "-");
    let entries = || faults::MANUAL.iter().chain(expectations::MANUAL);
    let found: Vec<&ManualEntry> = entries().filter(|entry| entry.name == wanted).collect();
    if found.is_empty() {
        let names: Vec<&str> = entries().map(|entry| entry.name).collect();
        let hint = diagnostic::hint(&wanted, names);
        return Err(CommandError::usage(format!("there is no fault or expectation \"{name}\"{hint}")));
    }
    for entry in found {
        writeln!(out, "{}\n\n{}\n\n- {}", entry.name, entry.manual, entry.example)?;
    }
    Ok(())
}
