//! `junit.xml`: valid against the schema that pytest ships, right in its counts, and whole whatever the texts hold.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use hil_model::record::Conclusion;
use hil_model::{SuiteRecord, Verdict};
use hil_report::formats::junit::Junit;
use hil_report::{ReportFormat, xml_text};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn junit(suite: &SuiteRecord) -> String {
    let mut files = BTreeMap::new();
    Junit.write(suite, &mut files).unwrap();
    String::from_utf8(files.remove("junit.xml").unwrap()).unwrap()
}

/// Schema and a Python that has `lxml`: from `.ci/junit-schema.sh`, or named by `HIL_XSD` and `HIL_XSD_PYTHON`.
fn validator() -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let var = |name, default: &str| std::env::var_os(name).map_or_else(|| root.join(default), PathBuf::from);
    let (xsd, python) = (var("HIL_XSD", ".venv/junit-10.xsd"), var("HIL_XSD_PYTHON", ".venv/bin/python"));
    (xsd.exists() && python.exists()).then_some((xsd, python))
}

fn validate(xml: &str) -> Result<(), String> {
    const PROGRAM: &str = "import sys\nfrom lxml import etree\n\
        schema = etree.XMLSchema(etree.parse(sys.argv[1]))\n\
        document = etree.parse(sys.argv[2])\n\
        sys.exit(0 if schema.validate(document) else str(schema.error_log))\n";
    let Some((xsd, python)) = validator() else {
        assert!(std::env::var_os("CI").is_none(), "no JUnit schema in CI: run .ci/junit-schema.sh first");
        eprintln!("not validated: run .ci/junit-schema.sh to fetch the schema");
        return Ok(());
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("junit.xml");
    std::fs::write(&path, xml).unwrap();
    let output = Command::new(python).arg("-c").arg(PROGRAM).arg(xsd).arg(&path).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn it_is_valid_against_pytests_schema() {
    validate(&junit(&common::small_suite())).unwrap();
    validate(&junit(&common::large_suite())).unwrap();
    let empty = SuiteRecord { runs: Vec::new(), complete: false, started: None, ..common::small_suite() };
    validate(&junit(&empty)).unwrap();
}

#[test]
fn the_schema_would_notice() {
    let broken = junit(&common::small_suite()).replace("<properties>", "<props>").replace("</properties>", "</props>");
    if validator().is_some() {
        validate(&broken).unwrap_err();
    }
}

#[test]
fn counts_and_verdicts_are_told() {
    let xml = junit(&common::small_suite());
    let document = roxmltree::Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert_eq!(
        (root.attribute("tests"), root.attribute("failures"), root.attribute("errors")),
        (Some("5"), Some("1"), Some("2"))
    );
    let suites: Vec<_> = root.children().filter(|n| n.has_tag_name("testsuite")).collect();
    assert_eq!(suites.len(), 5, "one per scenario file");
    let thread = suites.iter().find(|s| s.attribute("name") == Some("thread/resume")).unwrap();
    assert_eq!((thread.attribute("skipped"), thread.attribute("tests")), (Some("1"), Some("1")));
    let skipped = thread.descendants().find(|n| n.has_tag_name("skipped")).unwrap();
    assert_eq!(skipped.attribute("message"), Some("the rack has no Thread nodes (thread)"));
    let kinds: Vec<_> =
        root.descendants().filter(|n| n.has_tag_name("error")).filter_map(|n| n.attribute("type")).collect();
    assert_eq!(kinds, ["rack-fault", "inconclusive"]);
    let failure = root.descendants().find(|n| n.has_tag_name("failure")).unwrap();
    assert_eq!(failure.attribute("type"), Some("oracle-1"));
    assert!(failure.text().unwrap().contains(">>"), "the timeline marks the first wrong line");
    let stamps: Vec<_> = suites.iter().filter_map(|s| s.attribute("timestamp")).collect();
    assert_eq!(stamps, ["2026-11-01T08:30:15Z"; 5]);
}

#[test]
fn properties_say_how_to_find_the_run_again() {
    let mut suite = common::small_suite();
    hil_report::formats::name_bundles(&mut suite);
    suite.complete = false;
    let xml = junit(&suite);
    let document = roxmltree::Document::parse(&xml).unwrap();
    let failed = document.descendants().find(|n| n.attribute("name") == Some("rejection/bad-signature")).unwrap();
    let properties: BTreeMap<_, _> = failed
        .descendants()
        .filter(|n| n.has_tag_name("property"))
        .map(|n| (n.attribute("name").unwrap(), n.attribute("value").unwrap()))
        .collect();
    for (name, value) in [("seed", "42"), ("rack", "virtual-24"), ("rack-kind", "virtual"), ("complete", "false")] {
        assert_eq!(properties.get(name), Some(&value), "{name}");
    }
    assert_eq!(properties["bundle.wrong-key"], "bundle-rejection--bad-signature--wrong-key-42.zip");
    assert_eq!(properties["firmware-sha256.wrong-key"].len(), 64);
    let out = failed.descendants().find(|n| n.has_tag_name("system-out")).unwrap();
    assert!(out.text().unwrap().contains("repeat: cargo run"), "{:?}", out.text());
}

#[test]
fn nothing_stamps_the_present() {
    let mut suite = common::small_suite();
    suite.started = None;
    assert!(junit(&suite).contains("1970-01-01T00:00:00Z"));
}

/// Console bytes as a rack would hand them on: anything, decoded with replacement.
fn hostile() -> impl Strategy<Value = String> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..60).prop_map(|b| String::from_utf8_lossy(&b).into_owned());
    let nasty = prop::sample::select(vec![
        "]]>",
        "]]]]>>",
        "<![CDATA[",
        "&#0;",
        "\u{0}",
        "\u{1b}[31m",
        "\u{fffe}",
        "\u{ffff}",
        "\u{202e}",
        "\"'<>&",
        "-->",
        "\r\n",
        "<?xml?>",
        "</testcase>",
        "\u{7f}\u{85}\u{2028}",
        "<script>alert(1)</script>",
    ]);
    let nasty = nasty.prop_map(str::to_owned);
    prop_oneof![bytes, nasty.clone(), (nasty, any::<String>()).prop_map(|(a, b)| format!("{b}{a}{a}{b}"))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn hostile_texts_stay_well_formed_and_visible(
        text in hostile(), name in hostile(), file in hostile(), which in 0_usize..5
    ) {
        let mut run = common::forged("x/y");
        run.name.clone_from(&name);
        run.file.clone_from(&file);
        run.title.clone_from(&text);
        run.repeat.clone_from(&text);
        run.rack.name.clone_from(&text);
        run.bundle = Some(text.clone());
        run.tags = vec![text.clone()];
        run.verdict = match which {
            0 => Verdict::Pass,
            1 => Verdict::Fail,
            2 => Verdict::Inconclusive,
            3 => Verdict::Skipped(text.clone()),
            _ => Verdict::RackFault(text.clone()),
        };
        run.findings = vec![
            common::finding(&text, Conclusion::Broken, &text, &[1]),
            common::finding(&name, Conclusion::Unproven, &text, &[]),
        ];
        run.events.push(hil_model::Event { seq: 99, ..run.events[0].clone() });
        for event in &mut run.events {
            if let hil_model::Fact::ConsoleLine { text: line } = &mut event.fact {
                line.clone_from(&text);
            }
        }
        let mut suite = SuiteRecord { runs: vec![run], ..common::small_suite() };
        suite.name.clone_from(&text);
        suite.rack.clone_from(&name);
        suite.started = Some(text.clone());
        let xml = junit(&suite);
        let document = roxmltree::Document::parse(&xml).unwrap();
        let case = document.descendants().find(|n| n.has_tag_name("testcase")).unwrap();
        prop_assert_eq!(case.attribute("name").unwrap(), xml_text::clean_line(&name));
        let out = case.children().find(|n| n.has_tag_name("system-out")).unwrap();
        let title = xml_text::clean(&(text.clone() + "\n"));
        prop_assert!(out.text().unwrap().starts_with(&title));
        if which == 3 {
            let skipped = case.children().find(|n| n.has_tag_name("skipped")).unwrap();
            prop_assert_eq!(skipped.attribute("message").unwrap(), xml_text::clean_line(&text));
        }
    }
}
