//! Repository tasks, run as `cargo xtask <task>`: the same here and in CI.

mod deps;
mod firmware;
mod regenerate;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Repository tasks.

usage: cargo xtask <task>

  tidy              the rules of harness/docs/architecture.md that a program can check
  deps              licences and sources of every dependency
  firmware [PART]   build the firmware crates for both targets, and the boards' binaries into target/firmware;
                    PART: crates, emulated, nrf52840
  regenerate        write the generated files (fault manual, scenario schema)
  ci                fmt, clippy, docs, tidy, deps, generated files, firmware: everything but the tests
";

/// What a task found wrong; one line each.
type Findings = Vec<String>;

fn main() -> ExitCode {
    let task = std::env::args().nth(1);
    let root = root();
    let findings = match task.as_deref() {
        Some("tidy") => tidy::check(&root),
        Some("deps") => deps::check(&root),
        Some("firmware") => firmware::build(&root, std::env::args().nth(2).as_deref()),
        Some("regenerate") => regenerate::write(&root),
        Some("ci") => ci(&root),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(_) | None => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The repository's root: two folders above this crate.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Runs a command in the repository; a failure is a finding.
fn run(root: &Path, program: &str, args: &[&str], env: &[(&str, &str)]) -> Findings {
    eprintln!("$ {program} {}", args.join(" "));
    let status = Command::new(program).args(args).envs(env.iter().copied()).current_dir(root).status();
    match status {
        Ok(status) if status.success() => Vec::new(),
        Ok(status) => vec![format!("{program} {}: {status}", args.join(" "))],
        Err(error) => vec![format!("{program}: {error}")],
    }
}

fn ci(root: &Path) -> Findings {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut findings = run(root, &cargo, &["fmt", "--all", "--check"], &[]);
    findings.extend(tidy::check(root));
    findings.extend(deps::check(root));
    findings.extend(regenerate::check(root));
    // The profile of the tests, so that nothing is compiled twice for want of the same flags.
    let clippy = ["clippy", "--workspace", "--all-targets", "--profile", "test", "--", "-D", "warnings"];
    findings.extend(run(root, &cargo, &clippy, &[]));
    let doc = ["doc", "--workspace", "--no-deps"];
    findings.extend(run(root, &cargo, &doc, &[("RUSTDOCFLAGS", "-D warnings")]));
    findings.extend(firmware::build(root, None));
    findings
}
