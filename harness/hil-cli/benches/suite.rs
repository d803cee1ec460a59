//! How long people and CI wait: `cargo bench -p hil-cli --bench suite`. Targets on two cores: the whole suite under 10 s,
//! start of the process to the first verdict under 0.3 s.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

fn main() {
    divan::main();
}

/// `hil run` in a folder of its own, with the scenarios that are compiled in.
fn hil(folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hil"));
    command.args(["run", "--reproducible"]).current_dir(folder.path()).stdout(Stdio::piped());
    command
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn whole_suite() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = hil(&folder).output().expect("hil runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("test result: ok."), "{text}");
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn start_to_first_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = hil(&folder).spawn().expect("hil runs");
    let out = child.stdout.take().expect("its output");
    let first = BufReader::new(out).lines().map_while(Result::ok).find(|line| line.starts_with("test "));
    child.kill().expect("it was running");
    child.wait().expect("it ended");
    assert!(first.is_some_and(|line| line.ends_with("... ok")));
}
