//! Dependencies: every crate under a licence that the product can carry, from the public registry, none that is banned.

use crate::Findings;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Licences that may be combined with ours in a binary.
const ALLOWED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "BlueOak-1.0.0",
    "BSL-1.0",
    "MPL-2.0",
];

/// Crates that must not come in, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "the firmware's cryptography is RustCrypto's; the host needs no other"),
    ("chrono", "simulated code has no calendar; the command line formats the one time stamp itself"),
];

/// Checks every package that the workspace can pull in.
pub fn check(root: &Path) -> Findings {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let args = ["metadata", "--format-version", "1", "--locked"];
    let output = match Command::new(cargo).args(args).current_dir(root).output() {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => return vec![format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr))],
        Err(error) => return vec![format!("cargo metadata: {error}")],
    };
    let metadata: Value = match serde_json::from_slice(&output) {
        Ok(metadata) => metadata,
        Err(error) => return vec![format!("cargo metadata: {error}")],
    };
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    packages.iter().flat_map(package).collect()
}

fn package(package: &Value) -> Findings {
    let name = package["name"].as_str().unwrap_or("?");
    // A path dependency is a member of this workspace.
    let Some(source) = package["source"].as_str() else { return Vec::new() };
    let mut findings = Vec::new();
    if !source.starts_with("registry+") {
        findings.push(format!("{name}: comes from {source}; only the registry is allowed"));
    }
    match package["license"].as_str() {
        Some(license) if allowed(license) => {}
        Some(license) => findings.push(format!("{name}: licence `{license}` is not on the list in xtask/src/deps.rs")),
        None => findings.push(format!("{name}: states no licence")),
    }
    if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
        findings.push(format!("{name}: banned, {why}"));
    }
    findings
}

/// Whether a licence expression is met by the list: one side of each `OR`, both sides of each `AND`.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    expression.split(" AND ").all(|all| {
        all.split(" OR ").any(|one| ALLOWED.contains(&one.split_whitespace().collect::<Vec<_>>().join(" ").as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn expressions_are_read_both_ways() {
        assert!(allowed("MIT OR Apache-2.0") && allowed("MIT/Apache-2.0") && allowed("GPL-3.0 OR MIT"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!allowed("GPL-3.0") && !allowed("MIT AND GPL-3.0") && !allowed(""));
    }
}
