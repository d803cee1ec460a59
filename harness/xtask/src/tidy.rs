//! The invariants of absence: what may not be in the tree. `harness/docs/architecture.md` lists them for people.

use crate::Findings;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The top level as it was drawn.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "firmware-under-test",
    "fixtures",
    "harness",
    "reports",
    "rigs",
    "target",
];

/// Longest source file, in lines.
const MAX_LINES: usize = 600;

/// Words that no source file may hold, and what to do instead. Written in two parts, so that this file passes.
const FORBIDDEN_WORDS: &[(&str, &str, &str)] = &[
    ("todo", "!(", "finish it or say in the docs that it is not there"),
    ("unimplemented", "!(", "finish it or say in the docs that it is not there"),
    ("#[ig", "nore", "a test that does not run proves nothing"),
    ("FIX", "ME", "mend it"),
    ("TO", "DO", "write an issue"),
    ("/ro", "ot/", "no paths of one machine"),
    ("/ho", "me/", "no paths of one machine"),
];

/// Crates that may not name others, by prefix: who, whom (in dependencies), whom (in development dependencies too).
struct Direction {
    who: fn(&str) -> bool,
    never: fn(&str) -> bool,
    in_tests_too: bool,
    why: &'static str,
}

fn firmware(name: &str) -> bool {
    name.starts_with("mk-")
}

fn pure(name: &str) -> bool {
    ["hil-model", "hil-scenario", "hil-rack", "hil-engine"].contains(&name)
}

fn ours(name: &str) -> bool {
    ["hil-", "rack-", "fixture-", "mk-", "virtual-flash", "power-sweep"].iter().any(|prefix| name.starts_with(prefix))
}

const DIRECTIONS: &[Direction] = &[
    Direction {
        who: firmware,
        // The flash model is a part like any other: it knows nothing of tests, and boot is tried on it.
        never: |name| ours(name) && !firmware(name) && name != "virtual-flash",
        in_tests_too: true,
        why: "firmware never knows that it is tested",
    },
    Direction {
        who: pure,
        never: |name| ["tokio", "probe-rs", "serialport"].contains(&name),
        in_tests_too: true,
        why: "the core of the harness does no I/O",
    },
    Direction {
        who: |name| name == "hil-engine" || name == "hil-scenario",
        never: |name| name.starts_with("rack-"),
        in_tests_too: false,
        why: "engine and scenarios name no concrete rack",
    },
    Direction {
        who: |name| name == "hil-report",
        never: |name| ours(name) && name != "hil-model",
        in_tests_too: false,
        why: "a report sees nothing but the run record",
    },
    Direction {
        who: |name| name == "fixture-images",
        never: firmware,
        in_tests_too: false,
        why: "the forge shares no code with the parser that judges its images",
    },
];

/// A source pattern that crates may not hold: which crates, the pattern, why.
type Pattern = (fn(&str) -> bool, &'static str, &'static str);

const PATTERNS: &[Pattern] = &[
    (pure, "std::net", "the core of the harness opens no socket"),
    (pure, "SystemTime", "the core of the harness reads no clock"),
    (pure, "Instant::now", "the core of the harness reads no clock"),
    (|name| name == "rack-virtual", "HashMap", "the order of a hash map could show"),
    (|name| name == "rack-virtual", "SystemTime", "simulated code reads no wall clock"),
    (|name| name == "rack-virtual", "Instant::now", "simulated code reads no wall clock"),
    (firmware, "target_arch", "firmware crates are the same on every target"),
    (firmware, "cfg(feature", "firmware has no test features"),
];

/// Checks the whole tree.
pub fn check(root: &Path) -> Findings {
    let mut findings = top_level(root);
    for manifest in manifests(root) {
        findings.extend(check_crate(root, &manifest));
    }
    findings
}

fn top_level(root: &Path) -> Findings {
    let Ok(entries) = std::fs::read_dir(root) else { return vec!["the repository cannot be read".to_owned()] };
    let names: BTreeSet<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    let strange = |name: &&String| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str());
    let mut findings: Findings = names
        .iter()
        .filter(strange)
        .map(|n| format!("{n}: the top level keeps to the names it was drawn with"))
        .collect();
    findings.extend(
        TOP_LEVEL
            .iter()
            .filter(|n| **n != "target" && !names.contains(**n))
            .map(|n| format!("{n}: missing at the top level")),
    );
    findings
}

/// Manifests of all crates, in order.
fn manifests(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["firmware-under-test", "fixtures", "harness", "reports", "rigs"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        found.extend(entries.flatten().map(|e| e.path().join("Cargo.toml")).filter(|p| p.is_file()));
    }
    found.sort();
    found
}

fn check_crate(root: &Path, manifest: &Path) -> Findings {
    let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    let folder = manifest.parent().unwrap_or(manifest);
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    let Ok(table) = text.parse::<toml::Table>() else { return vec![format!("{}: not TOML", shown(manifest))] };
    let name = table.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()).unwrap_or_default().to_owned();
    let mut findings = Vec::new();
    if folder.file_name().is_none_or(|f| f.to_string_lossy() != name) {
        findings.push(format!("{}: a crate has the name of its folder", shown(manifest)));
    }
    if firmware(&name) && table.contains_key("features") {
        findings.push(format!("{}: firmware has no features", shown(manifest)));
    }
    findings.extend(directions(&name, &table).into_iter().map(|f| format!("{}: {f}", shown(manifest))));
    let mut sources = Vec::new();
    collect(folder, &mut sources);
    for source in sources {
        let Ok(text) = std::fs::read_to_string(&source) else { continue };
        findings.extend(check_source(&name, &source, &text).into_iter().map(|f| format!("{}{f}", shown(&source))));
    }
    findings
}

fn directions(name: &str, manifest: &toml::Table) -> Findings {
    let names = |section: &str| -> Vec<String> {
        manifest.get(section).and_then(|s| s.as_table()).map(|t| t.keys().cloned().collect()).unwrap_or_default()
    };
    let mut findings = Vec::new();
    for direction in DIRECTIONS.iter().filter(|d| (d.who)(name)) {
        let mut used = names("dependencies");
        if direction.in_tests_too {
            used.extend(names("dev-dependencies"));
        }
        findings.extend(
            used.iter().filter(|n| (direction.never)(n)).map(|n| format!("{name} may not use {n}: {}", direction.why)),
        );
    }
    findings
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            if path.file_name().is_some_and(|n| n != "target") {
                collect(&path, sources);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            sources.push(path);
        }
    }
    sources.sort();
}

fn check_source(name: &str, path: &Path, text: &str) -> Findings {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        findings.push(format!(": {lines} lines; split by subject before {MAX_LINES}"));
    }
    if !text.starts_with("//!") && !text.starts_with("#!") {
        findings.push(":1: a module opens with what it is for".to_owned());
    }
    for (number, line) in text.lines().enumerate() {
        for (head, tail, instead) in FORBIDDEN_WORDS {
            if line.contains(&format!("{head}{tail}")) {
                findings.push(format!(":{}: `{head}{tail}`: {instead}", number + 1));
            }
        }
    }
    // Tests may use what the code may not.
    let is_test = path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "benches");
    if !is_test {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (_, pattern, why) in PATTERNS.iter().filter(|(who, ..)| who(name)) {
            if let Some(line) = product.lines().position(|l| l.contains(pattern) && !l.trim_start().starts_with("//")) {
                findings.push(format!(":{}: `{pattern}`: {why}", line + 1));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, text: &str) -> usize {
        check_source(name, Path::new("src/x.rs"), text).len()
    }

    #[test]
    fn each_rule_has_both_sides() {
        assert_eq!(source("hil-engine", "//! What it is for.\n"), 0);
        assert_eq!(source("hil-engine", "fn f() {}\n"), 1);
        assert_eq!(source("hil-engine", "//! x\nfn f() { Instant::now(); }\n"), 1);
        assert_eq!(source("hil-cli", "//! x\nfn f() { Instant::now(); }\n"), 0);
        assert_eq!(source("rack-virtual", "//! x\nuse std::collections::HashMap;\n"), 1);
        assert_eq!(source("rack-virtual", "//! x\n#[cfg(test)]\nuse std::collections::HashMap;\n"), 0);
        assert_eq!(source("hil-cli", &format!("//! x\n{}", "\n".repeat(MAX_LINES))), 1);
    }

    #[test]
    fn directions_see_development_dependencies_where_they_must() {
        let manifest = |section: &str, name: &str| -> toml::Table {
            format!("[{section}]\n{name} = \"1\"\n").parse().unwrap_or_default()
        };
        assert_eq!(directions("mk-node", &manifest("dev-dependencies", "fixture-images")).len(), 1);
        assert_eq!(directions("mk-node", &manifest("dependencies", "mk-boot")).len(), 0);
        assert_eq!(directions("fixture-images", &manifest("dependencies", "mk-wire")).len(), 1);
        assert_eq!(directions("fixture-images", &manifest("dev-dependencies", "mk-wire")).len(), 0);
        assert_eq!(directions("hil-report", &manifest("dependencies", "hil-engine")).len(), 1);
        assert_eq!(directions("hil-engine", &manifest("dependencies", "rack-virtual")).len(), 1);
    }
}
