//! One file for each command: its arguments and what it does.

use std::fs;
use std::path::Path;

use hil_model::Composition;

use crate::exit::CommandError;

pub mod bench;
pub mod campaign;
pub mod check;
pub mod console;
pub mod doctor;
pub mod doctor_lab;
pub mod doctor_suggest;
pub mod explore;
pub mod faults;
pub mod flash;
pub mod image;
pub mod package;
pub mod parity;
pub mod power;
pub mod probe_worker;
pub mod replay;
pub mod reproduce;
pub mod run;
pub mod serve;
pub mod sweep;

/// Largest file that a command reads whole, bytes: far beyond any image, far below any memory.
const MAX_INPUT: u64 = 64 << 20;

/// Reads a file given on the command line.
fn read_file(path: &Path) -> Result<Vec<u8>, CommandError> {
    let unreadable = |error: std::io::Error| CommandError::invalid_file(format!("{}: {error}", path.display()));
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_INPUT {
        let message = format!("{}: {size} bytes; the limit is {MAX_INPUT}", path.display());
        return Err(CommandError::invalid_file(message));
    }
    fs::read(path).map_err(unreadable)
}

/// Writes a result file.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    fs::write(path, bytes).map_err(|error| CommandError::internal(format!("{}: {error}", path.display())))
}

/// A number of any base: 12, 0x4d4b0001.
fn number(text: &str) -> Result<u32, String> {
    let value = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    value.map_err(|error| format!("{error}; write 12 or 0x4d4b0001"))
}

/// A size: 4096, 64KiB, 1MiB.
fn size(text: &str) -> Result<u32, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor = match unit {
        "" | "B" => Some(1),
        "KiB" => Some(1024),
        "MiB" => Some(1024 * 1024),
        _ => None,
    };
    let value = factor.and_then(|factor: u32| digits.parse::<u32>().ok()?.checked_mul(factor));
    value.ok_or_else(|| "write 4096, 64KiB or 1MiB".into())
}

/// Parts that node, gateway and campaign are assembled from.
fn composition(text: &str) -> Result<Composition, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}
