//! Finding a Rust that can build for a microcontroller, and calling its cargo.
//!
//! First a compiler that has the target (`rustup target add`), else one whose own library source is beside it (a
//! distribution's packages), else the words that say what to install. Installs nothing, and never mixes one compiler
//! with another's library.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A Rust that can build for one target.
pub struct Toolchain {
    target: String,
    rustc: PathBuf,
    library: Library,
    /// `None`: the compiler brings its own.
    linker: Option<PathBuf>,
}

/// Where cargo is to work.
pub struct Workspace {
    /// The folder of the manifest.
    pub folder: PathBuf,
    /// Where it builds.
    pub target_dir: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Library {
    /// The target's library is installed.
    Prebuilt,
    /// It is built from the compiler's own source.
    Source,
}

impl Toolchain {
    /// The best one here for `target`, or what to install.
    pub fn find(target: &str) -> Result<Self, String> {
        let compilers = on_path("rustc").into_iter().filter_map(|rustc| library(&rustc, target).map(|l| (l, rustc)));
        // The first of its kind on the search path: `min_by_key` gives the first of equals.
        let Some((library, rustc)) = compilers.min_by_key(|(library, _)| *library) else {
            return Err(format!(
                "no Rust here can build for {target}: run `rustup target add {target}`, or install a distribution's \
                 rustc with its library source and a linker (Debian: rustc-web cargo-web rust-web-src \
                 binutils-arm-none-eabi)"
            ));
        };
        let linker = if brings_linker(&rustc) {
            None
        } else {
            let found =
                ["arm-none-eabi-ld", "rust-lld", "ld.lld"].iter().find_map(|name| on_path(name).into_iter().next());
            Some(found.ok_or_else(|| {
                format!(
                    "{} brings no linker for {target}: install arm-none-eabi-ld (Debian: binutils-arm-none-eabi) or \
                     lld, or use a rustup toolchain, which brings rust-lld",
                    rustc.display()
                )
            })?)
        };
        Ok(Self { target: target.to_owned(), rustc, library, linker })
    }

    /// `cargo build` for the target, to be completed with what to build.
    pub fn cargo(&self, root: &Path, workspace: &Workspace) -> Command {
        let mut command = Command::new(beside(&self.rustc, "cargo"));
        command.current_dir(&workspace.folder).env("RUSTC", &self.rustc);
        command.args(["build", "--quiet", "--target", &self.target, "--target-dir"]).arg(&workspace.target_dir);
        // Flags of the build that runs this task are not for that one.
        for leaked in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_BOOTSTRAP",
            "RUSTUP_TOOLCHAIN",
            "RUSTC_WRAPPER",
            "CARGO_TARGET_DIR",
        ] {
            command.env_remove(leaked);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_PROFILE_") {
                command.env_remove(name);
            }
        }
        if self.library == Library::Source {
            command.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core,alloc");
        }
        let variable = |what: &str| format!("CARGO_TARGET_{}_{what}", self.target.to_uppercase().replace('-', "_"));
        if let Some(linker) = &self.linker {
            command.env(variable("LINKER"), linker);
        }
        // The same octets wherever the sources lie, and no path of this machine in an image.
        let sources = cargo_home().join("registry/src");
        let registries = std::fs::read_dir(&sources).into_iter().flatten().flatten();
        // Of several that match the last one counts; the folder of the registry is not there before the first download.
        let mut prefixes: Vec<_> = registries.map(|entry| (entry.path(), "deps")).collect();
        prefixes.push((sources, "deps"));
        prefixes.sort_by_key(|(path, _)| path.as_os_str().len());
        prefixes.push((root.to_path_buf(), "."));
        let flags: Vec<_> = prefixes
            .iter()
            .map(|(from, to)| format!("\"--remap-path-prefix={}={to}\"", from.display()).replace('\\', "\\\\"))
            .collect();
        command.args(["--config", &format!("target.{}.rustflags=[{}]", self.target, flags.join(","))]);
        command
    }

    /// How the task shows what it does.
    pub fn describe(&self) -> String {
        let library = match self.library {
            Library::Prebuilt => "installed library",
            Library::Source => "library from source",
        };
        let linker = self.linker.as_ref().map_or("rust-lld".into(), |path| path.display().to_string());
        format!("{} ({library}, {linker}) for {}", self.rustc.display(), self.target)
    }
}

/// Runs a command; what went wrong is a finding.
pub fn run(mut command: Command, what: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what}: {status}")),
        Err(error) => Err(format!("{what}: {error}")),
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

fn brings_linker(rustc: &Path) -> bool {
    let version = ask(rustc, &["-vV"]).unwrap_or_default();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let sysroot = ask(rustc, &["--print", "sysroot"]).unwrap_or_default();
    let name = format!("rust-lld{}", std::env::consts::EXE_SUFFIX);
    // A dangling link is no linker.
    Path::new(&sysroot).join("lib/rustlib").join(host).join("bin").join(name).is_file()
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

fn cargo_home() -> PathBuf {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default()
}
