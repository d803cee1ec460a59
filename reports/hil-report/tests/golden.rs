//! A reviewed sample of every format, kept in `reports/golden/`. After an intended change, write them anew with
//! `HIL_BLESS=1 cargo test -p hil-report --test golden` and read the difference.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use hil_report::formats::name_bundles;
use hil_report::{FORMATS, bundle};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden")
}

fn written() -> BTreeMap<String, Vec<u8>> {
    let mut suite = common::small_suite();
    name_bundles(&mut suite);
    let mut files = BTreeMap::new();
    for format in FORMATS {
        format.write(&suite, &mut files).unwrap();
    }
    files
}

/// What is kept: texts as they are; of a bundle its entries as one text, so that a difference can be read.
fn kept() -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for (name, bytes) in written() {
        match String::from_utf8(bytes) {
            Ok(text) => kept.insert(name, text),
            Err(binary) => {
                let evidence = bundle::read(binary.as_bytes()).unwrap();
                if !name.contains("bad-signature") {
                    continue;
                }
                let yaml = serde_yaml_text(&evidence);
                let ledger = String::from_utf8(evidence.ledger).unwrap();
                kept.insert(name.replace(".zip", ".txt"), format!("==> run.yaml\n{yaml}\n==> ledger.jsonl\n{ledger}"))
            }
        };
    }
    kept
}

fn serde_yaml_text(evidence: &bundle::Evidence) -> String {
    format!("{:#?}", evidence.run)
}

#[test]
fn every_format_writes_its_golden_sample() {
    let dir = golden_dir();
    let bless = std::env::var_os("HIL_BLESS").is_some();
    let kept = kept();
    assert!(kept.len() >= FORMATS.len(), "a format without a sample: {:?}", kept.keys());
    for (name, text) in &kept {
        let path = dir.join(name);
        if bless {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let want = std::fs::read_to_string(&path).unwrap_or_default();
        if want != *text {
            let line = want.lines().zip(text.lines()).position(|(a, b)| a != b).unwrap_or(want.lines().count());
            panic!(
                "{} differs from line {} on:\n  golden:  {:?}\n  written: {:?}\nHIL_BLESS=1 writes it anew",
                path.display(),
                line + 1,
                want.lines().nth(line),
                text.lines().nth(line)
            );
        }
    }
}

#[test]
fn the_same_suite_gives_the_same_bytes() {
    assert_eq!(written(), written());
}
