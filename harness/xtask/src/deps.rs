//! Dependencies: every crate under a licence that the product can carry, from the public registry, none that is banned.

use crate::Findings;
use serde_json::Value;
use std::collections::BTreeSet;
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

/// Checks every package that some member uses, on any platform.
pub fn check(root: &Path) -> Findings {
    let metadata = cargo(root, &["metadata", "--format-version", "1", "--locked"]);
    // The lock file also names optional dependencies that nothing switches on; the tree has what is built.
    let tree =
        ["tree", "--workspace", "--locked", "--target", "all", "--edges", "all", "--prefix", "none", "--format", "{p}"];
    let (metadata, tree) = match (metadata, cargo(root, &tree)) {
        (Ok(metadata), Ok(tree)) => (metadata, String::from_utf8_lossy(&tree).into_owned()),
        (Err(why), _) | (_, Err(why)) => return vec![why],
    };
    let metadata: Value = match serde_json::from_slice(&metadata) {
        Ok(metadata) => metadata,
        Err(error) => return vec![format!("cargo metadata: {error}")],
    };
    let used: BTreeSet<(&str, &str)> = tree.lines().filter_map(name_and_version).collect();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_used = |package: &&Value| {
        let (name, version) = (package["name"].as_str(), package["version"].as_str());
        name.zip(version).is_some_and(|package| used.contains(&package))
    };
    packages.iter().filter(is_used).flat_map(package).collect()
}

/// What cargo prints, or why it did not.
fn cargo(root: &Path, args: &[&str]) -> Result<Vec<u8>, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    match Command::new(cargo).args(args).current_dir(root).output() {
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(output) => Err(format!("cargo {}: {}", args[0], String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("cargo {}: {error}", args[0])),
    }
}

/// The package of a line such as `serde v1.0.228 (proc-macro)`.
fn name_and_version(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once(" v")?;
    Some((name, rest.split_whitespace().next()?))
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
    use super::{allowed, name_and_version};

    #[test]
    fn a_line_of_the_tree_names_a_package() {
        assert_eq!(name_and_version("serde v1.0.228 (*)"), Some(("serde", "1.0.228")));
        assert_eq!(name_and_version(""), None);
    }

    #[test]
    fn expressions_are_read_both_ways() {
        assert!(allowed("MIT OR Apache-2.0") && allowed("MIT/Apache-2.0") && allowed("GPL-3.0 OR MIT"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!allowed("GPL-3.0") && !allowed("MIT AND GPL-3.0") && !allowed(""));
    }
}
