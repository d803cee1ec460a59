//! `hil` as people and CI use it: what it prints, what it leaves behind, how it ends.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use tempfile::TempDir;

/// A small scenario that passes, with a variant each for a fault that is refused and one that never comes about.
const SMALL: &str = "\
title: A small update
rack: { nodes: 3, floors: 1, gateways: 1, thread-every: 0, image-size: 32 KiB }
campaign: { stages: [{ take: rest }] }
expect:
  - outcome: { nodes: all, is: updated }
variants:
  - name: fine
    proves: [X-1]
  - name: hit
    faults: [{ bad-signature: { how: wrong-key, layer: verifying } }]
";

/// A folder to work in.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(TempDir::new().unwrap());
        fs::write(desk.path("small.yaml"), SMALL).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hil"));
        command.args(words).current_dir(self.0.path()).env("CI", "1");
        command
    }

    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// Every file of the only run below `reports`, by name.
    fn reports(&self, reports: &str) -> BTreeMap<String, Vec<u8>> {
        let runs: Vec<_> = fs::read_dir(self.path(reports).join("runs")).unwrap().collect();
        assert_eq!(runs.len(), 1);
        let files = fs::read_dir(runs[0].as_ref().unwrap().path()).unwrap();
        files
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    fn bundle(&self) -> PathBuf {
        let (code, _, _) = self.run(&["run", "small.yaml", "#hit", "--reports", "failed"]);
        assert_eq!(code, 100);
        let run = fs::read_dir(self.path("failed/runs")).unwrap().next().unwrap().unwrap().path();
        let is_bundle = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "zip");
        fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path()).find(is_bundle).unwrap()
    }
}

#[test]
fn a_pass_says_seed_lines_totals_and_where_the_reports_are() {
    let desk = Desk::new();
    let (code, out, err) = desk.run(&["run", "small.yaml", "#fine", "--seed", "7"]);
    assert_eq!(code, 0, "{out}{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines[0], *lines.last().unwrap()), ("seed 7", "seed 7"));
    assert!(lines.iter().any(|line| line.starts_with("test ") && line.ends_with("small#fine ... ok")), "{out}");
    assert!(out.contains("test result: ok. 1 passed; 0 failed; 0 ignored; "), "{out}");
    assert!(out.contains("junit.xml"), "{out}");
    assert!(!out.contains('\u{1b}') && !err.contains('\u{1b}'), "control sequences in a pipe");
}

#[test]
fn a_failure_shows_its_timeline_the_repeat_command_and_its_bundle() {
    let desk = Desk::new();
    let (code, out, err) = desk.run(&["run", "small.yaml"]);
    assert_eq!(code, 100, "{out}{err}");
    for wanted in [
        "small#hit ... FAILED",
        "BROKEN   expect[0] outcome",
        "repeat: cargo run --release -- run --exact",
        "evidence: ",
    ] {
        assert!(out.contains(wanted), "{wanted}: {out}");
    }
    assert!(out.contains("test result: FAILED. 1 passed; 1 failed;"), "{out}");
    assert!(err.contains("hint: hil replay "), "{err}");
    let files = desk.reports("reports");
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    for name in ["index.html", "junit.xml", "results.jsonl", "run.jsonl", "summary.txt"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(names.iter().filter(|name| name.ends_with(".zip")).count(), 1);
}

#[rstest]
#[case::passes(&["run", "small.yaml", "#fine"], 0)]
#[case::usage(&["run", "--seed", "x"], 2)]
#[case::no_such_command(&["runn"], 2)]
#[case::no_such_shard(&["run", "--shard", "3/2"], 2)]
#[case::scenario_invalid(&["run", "wrong.yaml"], 3)]
#[case::scenario_contradicts_itself(&["run", "impossible.yaml"], 3)]
#[case::scenario_missing(&["run", "none.yaml"], 3)]
#[case::rack_invalid(&["run", "small.yaml", "--rack", "rack.yaml"], 3)]
#[case::rack_not_in_this_build(&["run", "small.yaml", "--rack", "lab.yaml"], 3)]
#[case::nothing_selected(&["run", "small.yaml", "#none"], 4)]
#[case::nothing_listed(&["run", "nothing-of-that-name", "--list"], 4)]
#[case::inconclusive(&["run", "unproven.yaml"], 6)]
#[case::failed(&["run", "small.yaml", "#hit"], 100)]
#[case::stimuli_left_out(&["run", "small.yaml", "--no-inject"], 0)]
#[case::check_finds(&["check", "small.yaml", "wrong.yaml"], 3)]
#[case::check_is_content(&["check", "small.yaml", "virtual.yaml"], 0)]
#[case::doctor(&["doctor"], 0)]
#[case::doctor_of_a_wrong_file(&["doctor", "--rack", "rack.yaml"], 3)]
#[case::manual(&["faults", "corrupt_block"], 0)]
#[case::manual_of_nothing(&["faults", "corupt-block"], 2)]
#[case::replay_of_no_bundle(&["replay", "small.yaml"], 3)]
#[case::sweep(&["sweep", "--image-size", "16KiB", "--every", "500"], 0)]
#[case::sweep_of_too_much(&["sweep", "--image-size", "2MiB"], 2)]
#[case::explore(&["explore", "--seeds", "1..2", "--nodes", "4"], 0)]
#[case::explore_backwards(&["explore", "--seeds", "2..1"], 2)]
#[case::campaign(&["campaign", "--nodes", "4", "--image-size", "32KiB"], 0)]
#[case::campaign_with_a_bad_fault(&["campaign", "--nodes", "4", "--fault", "corupt-block: {}"], 3)]
fn every_ending_has_its_exit_code(#[case] words: &[&str], #[case] want: i32) {
    let desk = Desk::new();
    fs::write(desk.path("wrong.yaml"), SMALL.replace("how: wrong-key", "how: wrong-kay")).unwrap();
    fs::write(desk.path("impossible.yaml"), SMALL.replace("nodes: all", "nodes: n09")).unwrap();
    fs::write(desk.path("rack.yaml"), "kind: virtual\nfleet: { nodes: 0 }\n").unwrap();
    fs::write(desk.path("lab.yaml"), "kind: lab\n").unwrap();
    fs::write(desk.path("virtual.yaml"), "kind: virtual\nfleet: { nodes: 3 }\n").unwrap();
    // A trial that nobody begins: the stimulus cannot come about.
    let never = "faults: [{ power-loss: { nodes: n01, when: { at: 7 h }, dark: 5 s } }]";
    let unproven =
        SMALL.replace("    faults: [{ bad-signature: { how: wrong-key, layer: verifying } }]", "    title: x");
    let unproven = format!("{unproven}{}\n", never.replace("at: 7 h", "after: { reset: n01 }, nth: 9"));
    fs::write(desk.path("unproven.yaml"), unproven).unwrap();
    let (code, out, err) = desk.run(words);
    assert_eq!(code, want, "hil {}\n{out}{err}", words.join(" "));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_was_meant() {
    let desk = Desk::new();
    fs::write(desk.path("wrong.yaml"), SMALL.replace("how: wrong-key", "how: wrong-kay")).unwrap();
    let (_, _, err) = desk.run(&["run", "wrong.yaml"]);
    assert!(err.starts_with("hil: wrong.yaml:10:33: "), "{err}");
    assert!(err.contains("wrong-key"), "{err}");
    let (_, out, _) = desk.run(&["check", "wrong.yaml"]);
    assert!(out.starts_with("wrong.yaml:10:33: "), "{out}");
    fs::write(desk.path("rack.yaml"), "kind: virtual\nfleet: { nodes: 0 }\n").unwrap();
    let (_, _, err) = desk.run(&["run", "small.yaml", "--rack", "rack.yaml"]);
    assert!(err.starts_with("hil: rack.yaml:2:10: fleet.nodes: 0 is outside 1 to 2000"), "{err}");
}

#[test]
fn the_list_is_names_and_filters_take_either_hyphen() {
    let desk = Desk::new();
    let (_, all, _) = desk.run(&["run", "--list"]);
    let (_, some, _) = desk.run(&["run", "--list", "bad_signature"]);
    let names: Vec<&str> = some.lines().collect();
    assert!(!names.is_empty() && names.len() < all.lines().count());
    assert!(names.iter().all(|name| name.contains("bad-signature")), "{some}");
    let (_, one, _) = desk.run(&["run", "--list", "--exact", names[0]]);
    assert_eq!(one.lines().collect::<Vec<_>>(), [names[0]]);
    assert!(!desk.path("reports").exists(), "a list leaves nothing behind");
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_jobs() {
    let desk = Desk::new();
    for (reports, jobs) in [("one", "1"), ("two", "2"), ("again", "2")] {
        desk.run(&["run", "small.yaml", "--reproducible", "--jobs", jobs, "--reports", reports]);
    }
    let one = desk.reports("one");
    assert!(one.len() >= 6, "{:?}", one.keys());
    for other in ["two", "again"] {
        let other = desk.reports(other);
        assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
        for (name, bytes) in &one {
            assert!(*bytes == other[name], "{name} differs");
        }
    }
}

#[test]
fn reports_are_never_overwritten() {
    let desk = Desk::new();
    let run = || desk.run(&["run", "small.yaml", "#fine", "--reproducible"]);
    run();
    let before = desk.reports("reports");
    run();
    let mut names: Vec<String> = fs::read_dir(desk.path("reports/runs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["virtual-seed-1", "virtual-seed-1-2"]);
    let first = desk.path("reports/runs/virtual-seed-1");
    assert!(before.iter().all(|(name, bytes)| fs::read(first.join(name)).unwrap() == *bytes));
}

#[test]
fn a_bundle_is_judged_again_without_a_rack_and_repeated_on_one() {
    let desk = Desk::new();
    let bundle = desk.bundle();
    let bundle = bundle.to_str().unwrap();
    let (code, out, err) = desk.run(&["replay", bundle, "--timeline"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("recorded: FAIL\njudged:   FAIL\nthe same judgement"), "{out}");
    assert!(out.contains(">> "), "the first wrong line is marked: {out}");
    let (code, out, err) = desk.run(&["reproduce", bundle]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("the same verdict and the same ledger, octet for octet"), "{out}");
}

#[test]
fn a_scenario_file_is_repeated_and_compared_with_itself() {
    let desk = Desk::new();
    let (code, out, _) = desk.run(&["reproduce", "small.yaml"]);
    assert_eq!(code, 100);
    assert!(out.contains("#fine: seed 1: pass, twice the same ledger"), "{out}");
    assert!(out.contains("#hit: seed 1: FAIL, twice the same ledger"), "{out}");
}

#[test]
fn a_broken_bundle_is_named_with_the_place() {
    let desk = Desk::new();
    let whole = fs::read(desk.bundle()).unwrap();
    fs::write(desk.path("half.zip"), &whole[..whole.len() / 2]).unwrap();
    fs::write(desk.path("garbage.zip"), b"PK\x03\x04 and no more").unwrap();
    for name in ["half.zip", "garbage.zip"] {
        for command in ["replay", "reproduce"] {
            let (code, _, err) = desk.run(&[command, name]);
            assert_eq!(code, 3, "{err}");
            assert!(err.starts_with(&format!("hil: {name}: ")), "{err}");
        }
    }
}

/// The first line of a scenario starts the clock: what finished by then must be in a whole report.
#[cfg(unix)]
#[test]
fn sigint_leaves_a_valid_junit_of_what_finished_marked_incomplete() {
    let desk = Desk::new();
    // Enough variants that the interrupt comes in the middle of them.
    let mut text = SMALL.to_owned();
    for n in 0..60 {
        text += &format!("  - {{ name: long-{n}, rack: {{ nodes: 60, image-size: 128 KiB }} }}\n");
    }
    fs::write(desk.path("long.yaml"), text).unwrap();
    let mut child = desk.command(&["run", "long.yaml", "--jobs", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("test ")).unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.iter().any(|line| line.contains("the run is incomplete")), "{rest:?}");
    let reports = desk.reports("reports");
    let junit = String::from_utf8(reports["junit.xml"].clone()).unwrap();
    let document = roxmltree::Document::parse(&junit).unwrap();
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase")).count();
    let told = rest.iter().filter(|line| line.starts_with("test ") && line.contains(" ... ")).count() + 1;
    assert!(first.contains("long#") && cases == told && cases < 62, "{cases} cases, {told} lines");
    let incomplete = document.descendants().any(|node| {
        node.has_tag_name("property")
            && node.attribute("name") == Some("complete")
            && node.attribute("value") == Some("false")
    });
    assert!(incomplete, "{junit}");
}

#[test]
fn canaries_are_found_by_the_explorer_and_kept_as_scenario_files() {
    let desk = Desk::new();
    let words = ["explore", "--seeds", "1..4", "--nodes", "4", "--parts", "writes-running-bank"];
    let (code, out, err) = desk.run(&words);
    assert_eq!(code, 100, "{out}{err}");
    let run = desk.path("reports/runs/explore-1-4");
    let yaml = |path: &Path| path.extension().is_some_and(|ext| ext == "yaml");
    let kept = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().path()).find(|path| yaml(path)).unwrap();
    // The kept file says which parts are wrong and which rule must catch them; its control has the right parts.
    let (code, out, err) = desk.run(&["run", kept.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("2 passed"), "{out}");
}

#[test]
fn the_reports_can_be_read_in_a_browser() {
    let desk = Desk::new();
    desk.run(&["run", "small.yaml", "#fine", "--reproducible"]);
    let mut child = desk.command(&["serve", "--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().split("http://").nth(1).unwrap().trim_end_matches('/').to_owned();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let (list, latest, page, outside) =
        (get("/"), get("/latest"), get("/runs/virtual-seed-1/"), get("/runs/../../small.yaml"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(list.contains("1 passed, 0 failed"), "{list}");
    assert!(latest.contains("Location: /runs/virtual-seed-1/"), "{latest}");
    assert!(page.starts_with("HTTP/1.1 200 OK") && page.contains("small#fine"), "no page");
    assert!(outside.starts_with("HTTP/1.1 404"), "{outside}");
}

#[rstest]
#[case("top", &[])]
#[case("run", &["run"])]
#[case("explore", &["explore"])]
#[case("reproduce", &["reproduce"])]
#[case("replay", &["replay"])]
#[case("campaign", &["campaign"])]
#[case("sweep", &["sweep"])]
#[case("doctor", &["doctor"])]
#[case("flash", &["flash"])]
#[case("console", &["console"])]
#[case("power", &["power"])]
#[case("check", &["check"])]
#[case("faults", &["faults"])]
#[case("serve", &["serve"])]
fn help_is_as_reviewed(#[case] name: &str, #[case] words: &[&str]) {
    let desk = Desk::new();
    let output = desk.command(words).arg("--help").env("COLUMNS", "110").output().unwrap();
    insta::assert_snapshot!(format!("help-{name}"), String::from_utf8(output.stdout).unwrap());
}
