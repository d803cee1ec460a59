//! Turns every board table in `../boards/*.toml` into a `Geometry` constant.
//!
//! A table that is incomplete, that overlaps itself or that is not aligned to pages does not build: a board must never
//! find out at run time that its journal lies inside bank A.

use std::{collections::BTreeMap, env, error::Error, fmt::Write as _, fs, path::Path};

use serde::Deserialize;

/// One board table, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Board {
    name: String,
    hardware_id: u32,
    page_size: u32,
    word_size: u32,
    header_size: u32,
    trailer_length: u32,
    execution_address: u32,
    bank_a: Region,
    config: Region,
    bootloader: Region,
    journal: Region,
    key_page: Region,
    identity: Region,
    sequence: Region,
    boot_count: Region,
    slots: [Region; 2],
    timing: Timing,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Region {
    start: u32,
    length: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timing {
    internal: Part,
    external: Part,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    erase_us: u32,
    write_us: u32,
    write_unit: u32,
}

impl Region {
    fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.length)
    }

    fn overlaps(self, other: Self) -> bool {
        u64::from(self.start) < other.end() && u64::from(other.start) < self.end()
    }

    fn source(self) -> String {
        format!("Region {{ start: {:#x}, length: {:#x} }}", self.start, self.length)
    }
}

impl Part {
    fn source(&self) -> String {
        format!(
            "FlashTiming {{ erase_us: {}, write_us: {}, write_unit: {} }}",
            self.erase_us, self.write_us, self.write_unit
        )
    }
}

impl Board {
    /// Every rule a table must keep, or what it breaks.
    fn check(&self) -> Result<(), String> {
        if !self.page_size.is_power_of_two() || self.page_size > 4096 {
            return Err(format!("page_size {:#x} is no power of two up to 4096", self.page_size));
        }
        if !self.trailer_length.is_multiple_of(self.page_size) || self.header_size >= self.trailer_length {
            return Err(format!("trailer_length {:#x}: not whole pages, or no room for a header", self.trailer_length));
        }
        let internal = [
            ("bank_a", self.bank_a),
            ("config", self.config),
            ("bootloader", self.bootloader),
            ("journal", self.journal),
            ("key_page", self.key_page),
            ("identity", self.identity),
            ("sequence", self.sequence),
            ("boot_count", self.boot_count),
        ];
        let external = [("slots[0]", self.slots[0]), ("slots[1]", self.slots[1])];
        for memory in [&internal[..], &external[..]] {
            for (index, (name, region)) in memory.iter().enumerate() {
                if region.length == 0
                    || !region.start.is_multiple_of(self.page_size)
                    || !region.length.is_multiple_of(self.page_size)
                    || region.end() > u64::from(u32::MAX)
                {
                    return Err(format!("{name} is empty, not aligned to pages, or too long"));
                }
                for (other_name, other) in &memory[index + 1..] {
                    if region.overlaps(*other) {
                        return Err(format!("{name} overlaps {other_name}"));
                    }
                }
            }
        }
        for (name, region) in [("journal", self.journal), ("sequence", self.sequence), ("boot_count", self.boot_count)]
        {
            if region.length != 2 * self.page_size {
                return Err(format!("{name} is not two pages"));
            }
        }
        if self.bank_a.length <= self.trailer_length {
            return Err("bank_a has no room for a payload and its trailer".into());
        }
        if self.slots.iter().any(|slot| slot.length < self.bank_a.length) {
            return Err("a slot is smaller than bank_a: a full image would not fit it".into());
        }
        Ok(())
    }

    fn constant(&self) -> String {
        self.name.to_uppercase().replace('-', "_")
    }

    fn source(&self) -> String {
        format!(
            "/// Board table `{name}.toml`.\npub const {constant}: Geometry = Geometry {{\n    name: {name:?},\n    \
             hardware_id: {hardware_id:#x},\n    page_size: {page_size},\n    word_size: {word_size},\n    \
             header_size: {header_size:#x},\n    trailer_length: {trailer_length:#x},\n    execution_address: {execution_address:#x},\n    bank_a: {bank_a},\n    \
             config: {config},\n    bootloader: {bootloader},\n    journal: {journal},\n    key_page: {key_page},\n    identity: {identity},\n    sequence: {sequence},\n    boot_count: {boot_count},\n    \
             slots: [{slot0}, {slot1}],\n    internal_timing: {internal},\n    external_timing: {external},\n}};\n",
            name = self.name,
            constant = self.constant(),
            hardware_id = self.hardware_id,
            page_size = self.page_size,
            word_size = self.word_size,
            header_size = self.header_size,
            trailer_length = self.trailer_length,
            execution_address = self.execution_address,
            bank_a = self.bank_a.source(),
            config = self.config.source(),
            bootloader = self.bootloader.source(),
            journal = self.journal.source(),
            key_page = self.key_page.source(),
            identity = self.identity.source(),
            sequence = self.sequence.source(),
            boot_count = self.boot_count.source(),
            slot0 = self.slots[0].source(),
            slot1 = self.slots[1].source(),
            internal = self.timing.internal.source(),
            external = self.timing.external.source(),
        )
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../boards");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut boards = BTreeMap::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        println!("cargo::rerun-if-changed={}", path.display());
        let board: Board =
            toml::from_str(&fs::read_to_string(&path)?).map_err(|error| format!("{}: {error}", path.display()))?;
        board.check().map_err(|what| format!("{}: {what}", path.display()))?;
        boards.insert(board.constant(), board);
    }
    let mut source = String::new();
    for board in boards.values() {
        writeln!(source, "{}", board.source())?;
    }
    let names: Vec<_> = boards.keys().map(|constant| format!("&{constant}")).collect();
    writeln!(
        source,
        "/// Every board of `firmware-under-test/boards`, by name.\npub static BOARDS: &[&Geometry] = &[{}];",
        names.join(", ")
    )?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("boards.rs"), source)?;
    Ok(())
}
