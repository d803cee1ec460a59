//! Lists the scenario files, so that the binary carries them and runs with no checkout at hand.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../fixtures/scenarios");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for theme in sorted(&root)?.into_iter().filter(|path| path.is_dir()) {
        println!("cargo::rerun-if-changed={}", theme.display());
        files.extend(sorted(&theme)?.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "yaml")));
    }
    let mut list = String::from("[\n");
    for file in files {
        let relative = file.strip_prefix(&root).unwrap_or(&file).display().to_string().replace('\\', "/");
        let path = file.canonicalize()?.display().to_string();
        let _ = writeln!(list, "    ({relative:?}, include_str!({path:?})),");
    }
    list.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR").unwrap_or_default()).join("scenarios.rs"), list)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    Ok(paths)
}
