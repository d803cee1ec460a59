//! The firmware crates built for the boards' targets, with whatever Rust is here that can.
//!
//! First a compiler that has the target (`rustup target add`), else one whose own library source is beside it (a
//! distribution's packages), else the words that say what to install. Installs nothing, and never mixes one compiler
//! with another's library.

use crate::Findings;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The boards' target and the emulated board's.
const TARGETS: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv6m-none-eabi"];
/// Every firmware crate.
const CRATES: [&str; 7] = ["mk-wire", "mk-mesh", "mk-blob", "mk-boot", "mk-node", "mk-gateway", "mk-campaign"];

enum Library {
    /// The target's library is installed.
    Prebuilt,
    /// It is built from the compiler's own source.
    Source,
}

/// Builds every firmware crate for both targets.
pub fn build(root: &Path) -> Findings {
    TARGETS.iter().flat_map(|target| build_for(root, target)).collect()
}

fn build_for(root: &Path, target: &str) -> Findings {
    let compilers = on_path("rustc").into_iter().filter_map(|rustc| library(&rustc, target).map(|l| (rustc, l)));
    let mut compilers: Vec<_> = compilers.collect();
    compilers.sort_by_key(|(_, library)| matches!(library, Library::Source));
    let Some((rustc, library)) = compilers.into_iter().next() else {
        return vec![format!(
            "no Rust here can build for {target}: run `rustup target add {target}`, or install a distribution's rustc \
             with its library source (Debian: rustc-web cargo-web rust-web-src)"
        )];
    };
    let mut command = Command::new(beside(&rustc, "cargo"));
    command.current_dir(root).env("RUSTC", &rustc).args(["build", "--quiet", "--target", target]);
    // Whether they build is the question, not how fast they run: no time is spent on optimising dependencies.
    command.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    // Flags of the build that runs this task are not for that one.
    for leaked in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_BOOTSTRAP", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER"] {
        command.env_remove(leaked);
    }
    command.args(["--target-dir", "target/firmware"]).args(CRATES.iter().flat_map(|name| ["-p", name]));
    if matches!(library, Library::Source) {
        command.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core,alloc");
    }
    eprintln!("$ cargo build --target {target} with {}", rustc.display());
    match command.status() {
        Ok(status) if status.success() => Vec::new(),
        Ok(status) => vec![format!("firmware for {target}: {status}")],
        Err(error) => vec![format!("firmware for {target}: {error}")],
    }
}

/// Where a compiler gets the target's library from, if it can.
fn library(rustc: &Path, target: &str) -> Option<Library> {
    let libraries = ask(rustc, &["--print", "target-libdir", "--target", target])?;
    let is_core = |name: std::ffi::OsString| name.to_string_lossy().starts_with("libcore-");
    if std::fs::read_dir(libraries).is_ok_and(|dir| dir.flatten().any(|entry| is_core(entry.file_name()))) {
        return Some(Library::Prebuilt);
    }
    let sysroot = ask(rustc, &["--print", "sysroot"])?;
    Path::new(&sysroot).join("lib/rustlib/src/rust/library/Cargo.lock").is_file().then_some(Library::Source)
}

fn ask(rustc: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(rustc).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Programs of that name on the search path, in order; a dangling link is none.
fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).map(|dir| dir.join(&name)).filter(|file| file.is_file()).collect()
}

/// The program beside another, if it is there; else whatever the search path has.
fn beside(program: &Path, name: &str) -> PathBuf {
    let sibling = program.with_file_name(name);
    if sibling.is_file() { sibling } else { PathBuf::from(name) }
}
