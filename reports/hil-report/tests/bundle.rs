//! Evidence bundles: the same bytes for the same record, read back whole, and every bad file refused by name.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use hil_model::Event;
use hil_report::bundle::{self, BundleError};
use proptest::prelude::*;
use std::io::{Cursor, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn sample() -> Vec<u8> {
    bundle::pack(&common::forged("rejection/bad-signature#wrong-key")).unwrap()
}

fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn what_is_packed_is_read() {
    let run = common::forged("rejection/bad-signature#wrong-key");
    let evidence = bundle::read(&sample()).unwrap();
    assert_eq!(evidence.run.name, run.name);
    assert_eq!((evidence.run.seed, &evidence.run.rack, &evidence.run.scenario), (run.seed, &run.rack, &run.source));
    assert_eq!((evidence.run.verdict, evidence.findings), (run.verdict.clone(), run.findings.clone()));
    let events: Vec<Event> =
        String::from_utf8(evidence.ledger).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events, run.events, "console bytes among them");
}

#[test]
fn the_bytes_depend_on_the_record_alone() {
    assert_eq!(sample(), sample());
}

#[test]
fn names_never_meet_and_never_leave_the_folder() {
    let name = |name: &str| bundle::file_name(&common::record(name, hil_model::Verdict::Fail));
    assert_eq!(name("rejection/bad-signature#wrong-key"), "bundle-rejection--bad-signature--wrong-key-42.zip");
    assert_ne!(name("a b"), name("a_b"));
    assert!(!name("../../etc/passwd").contains('/'));
    let (one, two) = (format!("{}1", "x".repeat(300)), format!("{}2", "x".repeat(300)));
    assert_ne!(name(&one), name(&two));
    assert!(name(&one).len() < 200);
}

#[test]
fn every_truncation_is_refused() {
    let whole = sample();
    for cut in (0..whole.len()).step_by(97) {
        bundle::read(&whole[..cut]).unwrap_err();
    }
}

#[test]
fn bad_files_are_named() {
    assert!(matches!(bundle::read(b""), Err(BundleError::NotAZip { .. })));
    assert!(matches!(bundle::read(b"garbage"), Err(BundleError::NotAZip { .. })));
    let traversal = zip_of(&[("../../evil.sh", b"x")]);
    assert_eq!(bundle::read(&traversal), Err(BundleError::UnexpectedEntry { name: "../../evil.sh".to_owned() }));
    assert_eq!(bundle::read(&zip_of(&[])), Err(BundleError::MissingEntry { entry: "run.yaml" }));
    let half = zip_of(&[("run.yaml", b"format: 1"), ("ledger.jsonl", b"")]);
    assert_eq!(bundle::read(&half), Err(BundleError::MissingEntry { entry: "findings.json" }));
    let bad = zip_of(&[("run.yaml", b"format: one"), ("ledger.jsonl", b""), ("findings.json", b"{}")]);
    assert!(matches!(bundle::read(&bad), Err(BundleError::Malformed { entry: "run.yaml", .. })));
    let large = vec![b' '; bundle::MAX_ENTRY as usize + 1];
    let oversized = zip_of(&[("run.yaml", &large), ("ledger.jsonl", b""), ("findings.json", b"{}")]);
    assert!(oversized.len() < 100_000, "a small file that unpacks to a large one");
    assert_eq!(
        bundle::read(&oversized),
        Err(BundleError::EntryTooLarge { entry: "run.yaml", limit: bundle::MAX_ENTRY })
    );
}

#[test]
fn another_format_is_said_to_be_one() {
    let whole = bundle::read(&sample()).unwrap();
    let mut run = whole.run;
    run.format = 2;
    let yaml = serde_yaml::to_string(&run).unwrap();
    let zip = zip_of(&[("run.yaml", yaml.as_bytes()), ("ledger.jsonl", b""), ("findings.json", b"{}")]);
    assert_eq!(bundle::read(&zip), Err(BundleError::OtherFormat { found: 2 }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_flipped_octet_panics(at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let mut bytes = sample();
        let i = at.index(bytes.len());
        bytes[i] ^= mask;
        let _ = bundle::read(&bytes);
    }

    #[test]
    fn no_garbage_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(bundle::read(&bytes).is_err());
    }
}
