//! Firmware, built with whatever Rust is here that can: the crates for the boards' targets, and the boards' binaries.
//!
//! The crates are built to see that they build. The binaries are built to be run: they land under `target/firmware/emulated`
//! and `target/firmware/nrf52840` as ELF files and as the octets that go into flash, with a table of sizes. A binary that
//! outgrows the area that its board's table has for it is a finding.

mod binary;
mod images;
mod toolchain;

use crate::Findings;
use std::path::Path;
use toolchain::{Toolchain, Workspace};

/// The boards' target and the emulated board's.
const TARGETS: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv6m-none-eabi"];
/// Every firmware crate.
const CRATES: [&str; 8] =
    ["mk-wire", "mk-blob", "mk-boot", "mk-mesh", "mk-node", "mk-app", "mk-gateway", "mk-campaign"];

/// What the task takes for arguments.
pub const PARTS: [&str; 3] = ["crates", "emulated", "nrf52840"];

/// Builds what `part` names, or everything.
pub fn build(root: &Path, part: Option<&str>) -> Findings {
    let wanted = |name| part.is_none_or(|part| part == name);
    if let Some(part) = part.filter(|part| !PARTS.contains(part)) {
        return vec![format!("there is no firmware \"{part}\"; there are {}", PARTS.join(", "))];
    }
    let mut findings = Findings::new();
    if wanted("crates") {
        findings.extend(TARGETS.iter().flat_map(|target| crates_for(root, target)));
    }
    let sets = images::SETS.iter().filter(|set| wanted(set.name));
    findings.extend(sets.flat_map(|set| images::build(root, set)));
    findings
}

fn crates_for(root: &Path, target: &str) -> Findings {
    let toolchain = match Toolchain::find(target) {
        Ok(toolchain) => toolchain,
        Err(what_to_do) => return vec![what_to_do],
    };
    let workspace = Workspace { folder: root.to_path_buf(), target_dir: root.join("target/firmware/crates") };
    let mut command = toolchain.cargo(root, &workspace);
    // Whether they build is the question, not how fast they run: no time is spent on optimising dependencies.
    command.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    command.args(CRATES.iter().flat_map(|name| ["-p", name]));
    toolchain::run(command, &format!("firmware crates for {target}")).err().into_iter().collect()
}
