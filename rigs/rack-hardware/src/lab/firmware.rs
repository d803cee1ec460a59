//! The programs that a rack's nodes run, as `cargo xtask firmware` leaves them: one file for each behaviour.

use std::path::Path;

use hil_model::Behaviour;
use hil_scenario::forge::Programs;

use crate::error::{BoardError, Fault, Part};

/// Largest program read, octets.
const MOST: u64 = 1024 * 1024;

/// Name of the file of a behaviour.
#[must_use]
pub const fn file(behaviour: Behaviour) -> &'static str {
    match behaviour {
        Behaviour::Normal => "node.bin",
        Behaviour::NeverConfirms => "node-never-confirm.bin",
        Behaviour::CrashesAtBoot => "node-crash.bin",
        Behaviour::CrashLoops => "node-crash-loop.bin",
        Behaviour::HangsAtBoot => "node-hang.bin",
        Behaviour::Degraded => "node-degraded.bin",
        Behaviour::MigrationFails => "node-migration-fails.bin",
    }
}

/// Reads the programs in `folder` for a board. A behaviour without a file is one that scenarios cannot ask for here.
///
/// # Errors
/// The product's own program is not there, or a file cannot be read.
pub fn programs(folder: &Path, board: &str) -> Result<Programs, BoardError> {
    let mut programs = Programs::for_board(board);
    for behaviour in Behaviour::ALL {
        let path = folder.join(file(behaviour));
        let name = path.display().to_string();
        let wrong = |fault| Err(BoardError::new("firmware", Part::Firmware, fault));
        match std::fs::metadata(&path) {
            Err(_) if behaviour == Behaviour::Normal => return wrong(Fault::Absent { name }),
            Err(_) => continue,
            Ok(found) if found.len() > MOST => {
                return wrong(Fault::Io { why: format!("{name}: {} octets; the limit is {MOST}", found.len()) });
            }
            Ok(_) => {}
        }
        match std::fs::read(&path) {
            Ok(octets) => programs.add(behaviour, octets),
            Err(error) => return wrong(Fault::Io { why: format!("{name}: {error}") }),
        }
    }
    Ok(programs)
}
