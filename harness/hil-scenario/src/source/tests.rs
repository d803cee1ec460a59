//! What an author is told, word for word, and that nothing at all makes the reader panic.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use proptest::prelude::*;
use rstest::rstest;

fn complaints(text: &str) -> Vec<String> {
    match read("t/x", "x.yaml", text) {
        Ok(_) => Vec::new(),
        Err(diagnostics) => diagnostics.iter().map(ToString::to_string).collect(),
    }
}

const GOOD: &str = "\
title: A rule of the product
campaign:
  stages: [{ take: 8, soak: 10 min }, { take: rest }]
faults:
  - corrupt-block: { nodes: n03, block: first, what: bit }
timeline:
  - when: { after: campaign-paused, delay: 10 s }
    do: { operator: resume }
expect:
  - outcome: { nodes: all, is: updated }
  - campaign: completed
";

#[test]
fn a_good_file_is_read() {
    let scenarios = read("t/x", "x.yaml", GOOD).unwrap();
    assert_eq!(scenarios.len(), 1);
    assert_eq!(scenarios[0].name, "t/x");
    assert_eq!(scenarios[0].lines.expect[1], "campaign: completed");
}

#[rstest]
// Unknown keys, at every depth, with what was meant.
#[case(
    "what: bit",
    "blok: 1, what: bit",
    r#"x.yaml:5:48: unknown key "blok" in faults[0].corrupt-block; did you mean "block"?"#
)]
#[case(
    "corrupt-block:",
    "corupt-block:",
    r#"x.yaml:5:5: unknown key "corupt-block" in faults[0]; did you mean "corrupt-block"?"#
)]
#[case("  stages:", "  stage:", r#"x.yaml:3:3: unknown key "stage" in campaign; did you mean "stages"?"#)]
#[case("title:", "titel:", r#"x.yaml:1:1: unknown key "titel" in the scenario; did you mean "title"?"#)]
// Words that are none.
#[case("what: bit", "what: bits", r#"x.yaml:5:48: unknown word "bits"; did you mean "bit"?"#)]
#[case("is: updated", "is: update", r#"x.yaml:10:28: unknown word "update"; did you mean "updated"?"#)]
#[case("operator: resume", "operator: resum", r#"x.yaml:8:11: unknown word "resum"; did you mean "resume"?"#)]
#[case(
    "campaign: completed",
    "campaign: paused-in-stage",
    r#"x.yaml:11:5: "paused-in-stage" takes a value: `paused-in-stage: ...`"#
)]
#[case(
    "after: campaign-paused",
    "after: { campaign-paused: 1 }",
    r#"x.yaml:7:22: "campaign-paused" is written alone, without a value"#
)]
// Wrong kinds.
#[case(
    "take: 8",
    "take: [8]",
    "x.yaml:3:14: expected a text or a whole number such as `8`, `25 %` or `rest`, found a list"
)]
#[case("nodes: n03, ", "", r#"x.yaml:5:5: faults[0].corrupt-block lacks "nodes""#)]
// Units and identifiers.
#[case(
    "10 min",
    "10 minutes",
    "x.yaml:3:23: `10 minutes` is not a length of time; write a whole number and a unit: h, min, s, ms, us or ns (`120 s`)"
)]
#[case(
    "nodes: n03",
    "nodes: 3rd",
    "x.yaml:5:22: `3rd` is not a selection of nodes; write `n03`, `n01..n06`, `all`, `others`, `mesh` or `thread`"
)]
#[case(
    "take: 8",
    "take: 800 %",
    "x.yaml:3:14: `800 %` is not a number of nodes, a share or `rest`; write `8`, `25 %` or `rest`"
)]
fn complaints_say_where_what_and_what_was_meant(#[case] from: &str, #[case] to: &str, #[case] want: &str) {
    let found = complaints(&GOOD.replacen(from, to, 1));
    assert!(found.iter().any(|line| line == want), "{found:#?}\nlack {want}");
}

#[test]
fn all_unknown_keys_are_told_at_once() {
    let text = GOOD.replace("title:", "titel:").replace("what: bit", "wat: bit").replace("is: updated", "iz: updated");
    let found = complaints(&text);
    assert_eq!(found.iter().filter(|line| line.contains("unknown key")).count(), 3, "{found:#?}");
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    let found = complaints("title: x\nexpect: [\n");
    assert!(found.len() == 1 && found[0].starts_with("x.yaml:"), "{found:?}");
    assert!(complaints("title: a\ntitle: b\n")[0].contains("duplicate"));
}

#[test]
fn other_documents_are_refused() {
    for text in ["", "null", "- a", "just text", "!tag {title: x}", "title: !secret x\nexpect: []"] {
        assert!(!complaints(text).is_empty(), "{text:?}");
    }
    let long = format!("title: {}", "x".repeat(MOST_OCTETS));
    assert!(complaints(&long)[0].contains("at most"), "a file has a largest size");
}

mod variants {
    use super::*;

    const TWO: &str = "\
title: base
campaign: { throttle: 40 %, grace: 60 s }
expect: [{ campaign: completed }]
variants:
  - name: first
    campaign: { throttle: 20 % }
  - name: second
    title: another
    expect: [{ campaign: stopped }]
";

    #[test]
    fn a_variant_overrides_what_it_names_and_inherits_the_rest() {
        let found = read("t/x", "x.yaml", TWO).unwrap();
        let names: Vec<&str> = found.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["t/x#first", "t/x#second"]);
        assert_eq!(found[0].written.campaign.throttle.unwrap().0, 200);
        assert_eq!(found[0].written.campaign.grace, Some(hil_model::Span::secs(60)));
        assert_eq!((found[0].written.title.as_str(), found[1].written.title.as_str()), ("base", "another"));
    }

    #[rstest]
    #[case(
        "throttle: 20 %",
        "throtle: 20 %",
        "x.yaml:6:17: unknown key \"throtle\" in campaign; did you mean \"throttle\"?"
    )]
    #[case(
        "throttle: 40 %",
        "throtle: 40 %",
        "x.yaml:2:13: unknown key \"throtle\" in campaign; did you mean \"throttle\"?"
    )]
    #[case("name: second", "name: first", "x.yaml:7:5: there is already a variant \"first\"")]
    #[case("name: second", "name: Second One", "x.yaml:7:5: a variant has a name of small letters, digits and hyphens")]
    #[case("    campaign: { throttle: 20 % }\n", "", "x.yaml:5:5: variant \"first\" differs in nothing")]
    fn mistakes_in_variants_are_found_where_they_are(#[case] from: &str, #[case] to: &str, #[case] want: &str) {
        let found = complaints(&TWO.replacen(from, to, 1));
        assert_eq!(found, [want]);
    }

    #[test]
    fn a_canary_brings_its_control() {
        let text = format!(
            "{}canary: {{ composition: skips-signature, must-break: oracle-1 }}\n",
            "title: t\nexpect: [{ campaign: completed }]\n"
        );
        let found = read("canary/x", "x.yaml", &text).unwrap();
        let names: Vec<&str> = found.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["canary/x", "canary/x#control"]);
        assert!(found[0].written.canary.is_some() && found[1].written.canary.is_none());
    }
}

/// A valid file with some octets replaced, cut out or put in.
fn mutated() -> impl Strategy<Value = String> {
    let files: Vec<String> = crate::catalogue::embedded().into_iter().map(|file| file.text).collect();
    let edit = (any::<prop::sample::Index>(), 0..8_usize, "[ -~\n\\[\\]{}:,'\"&*!|>%@`#\t-]{0,6}|\\PC{0,3}");
    (prop::sample::select(files), prop::collection::vec(edit, 1..6)).prop_map(|(text, edits)| {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, cut, put) in edits {
            let start = at.index(chars.len() + 1);
            let end = (start + cut).min(chars.len());
            chars.splice(start..end, put.chars());
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,300}|[ -~\n]{0,300}") {
        let _ = read("t/x", "x.yaml", &text);
    }

    #[test]
    fn no_mutated_scenario_makes_the_reader_or_the_binder_panic(text in mutated()) {
        if let Ok(scenarios) = read("t/x", "x.yaml", &text) {
            let manifest = crate::testing::manifest();
            let forge = crate::testing::forge();
            for scenario in scenarios.iter().take(2) {
                let _ = crate::bind(scenario, &manifest, hil_model::Seed(1), &forge, crate::BindOptions::default());
            }
        }
    }

    #[test]
    fn complaints_lie_within_the_file(text in mutated()) {
        for diagnostic in read("t/x", "x.yaml", &text).err().unwrap_or_default() {
            prop_assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
            prop_assert!(diagnostic.line <= text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1, "{diagnostic}");
        }
    }
}
