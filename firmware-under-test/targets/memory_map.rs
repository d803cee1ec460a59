//! Included by the build scripts of every board binary: the linker's memory map, made from the board's table.
//!
//! The table (`firmware-under-test/boards/*.toml`) is the one place where the geometry of a board is written down; what is
//! not in it, because it differs between the binaries of one board, is the RAM that each may use.

use serde::Deserialize;
use std::{env, error::Error, fs, path::Path};

/// A stretch of memory.
#[derive(Clone, Copy, Deserialize)]
pub struct Region {
    /// First address.
    pub start: u32,
    /// Octets.
    pub length: u32,
}

/// What a linker script needs of a table.
#[derive(Deserialize)]
pub struct Board {
    trailer_length: u32,
    execution_address: u32,
    bank_a: Region,
    bootloader: Region,
}

impl Board {
    /// The table of that name; the build is repeated when it changes.
    pub fn named(name: &str) -> Result<Self, Box<dyn Error>> {
        let here = env::var("CARGO_MANIFEST_DIR")?;
        let here = Path::new(&here);
        let folder = here.ancestors().map(|above| above.join("firmware-under-test/boards")).find(|path| path.is_dir());
        let path = folder.ok_or("no firmware-under-test/boards above this crate")?.join(format!("{name}.toml"));
        println!("cargo::rerun-if-changed={}", path.display());
        toml::from_str(&fs::read_to_string(&path)?).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// The flash of the bootloader.
    #[allow(dead_code, reason = "a build script uses one of the two")]
    pub fn boot(&self) -> Region {
        self.bootloader
    }

    /// The flash of the application: bank A without its trailer.
    #[allow(dead_code, reason = "a build script uses one of the two")]
    pub fn application(&self) -> Region {
        Region { start: self.execution_address, length: self.bank_a.length - self.trailer_length }
    }
}

/// Where the build record of a payload lies: behind the vector table (fixture-images, module `layout`).
#[allow(dead_code, reason = "bootloaders have none")]
pub const BUILD_RECORD_OFFSET: u32 = 0x100;
/// Octets kept free for it.
#[allow(dead_code, reason = "bootloaders have none")]
const BUILD_RECORD_ROOM: u32 = 0x40;

/// The lines that put the build record in its place and the code behind it.
#[allow(dead_code, reason = "bootloaders have none")]
pub fn build_record() -> String {
    format!(
        "_stext = ORIGIN(FLASH) + {:#x};\nSECTIONS {{ .build_record ORIGIN(FLASH) + {BUILD_RECORD_OFFSET:#x} : {{ \
         KEEP(*(.build_record)) }} > FLASH }} INSERT AFTER .vector_table;\n",
        BUILD_RECORD_OFFSET + BUILD_RECORD_ROOM
    )
}

/// Writes `memory.x` and tells the linker to use it.
pub fn write(flash: Region, ram: Region, more: &str) -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    let map = format!(
        "MEMORY {{\n  FLASH : ORIGIN = {:#x}, LENGTH = {:#x}\n  RAM : ORIGIN = {:#x}, LENGTH = {:#x}\n}}\n{more}",
        flash.start, flash.length, ram.start, ram.length
    );
    fs::write(Path::new(&out).join("memory.x"), map)?;
    println!("cargo::rustc-link-search={out}");
    println!("cargo::rustc-link-arg-bins=--nmagic");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
