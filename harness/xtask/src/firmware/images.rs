//! The boards' binaries: which there are, where they are built, and how large they may be.

use super::binary::Binary;
use super::toolchain::{Toolchain, Workspace, run};
use crate::Findings;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// The area of a board's table that a binary has to fit.
#[derive(Clone, Copy)]
enum Area {
    Bootloader,
    /// Bank A without its trailer.
    Application,
}

/// A binary.
struct Image {
    /// Its name in the output folder.
    name: &'static str,
    /// Cargo's name for it.
    package: &'static str,
    binary: &'static str,
    feature: Option<&'static str>,
    area: Area,
}

/// The binaries of one board, from one or several workspaces.
pub struct Set {
    /// Name on the command line, and of the output folder.
    pub name: &'static str,
    target: &'static str,
    board: &'static str,
    workspaces: &'static [(&'static str, &'static [Image])],
}

const fn image(name: &'static str, package: &'static str, area: Area) -> Image {
    Image { name, package, binary: package, feature: None, area }
}

const fn fixture(name: &'static str, package: &'static str, feature: &'static str) -> Image {
    Image { name, package, binary: package, feature: Some(feature), area: Area::Application }
}

const fn softdevice_fixture(name: &'static str, feature: &'static str) -> Image {
    Image { binary: "fixture", ..fixture(name, "fixture-softdevice", feature) }
}

/// Every set.
pub const SETS: &[Set] = &[
    Set {
        name: "emulated",
        target: "thumbv6m-none-eabi",
        board: "mk-node-emulated",
        workspaces: &[(
            "firmware-under-test/targets/qemu",
            &[
                image("boot", "boot", Area::Bootloader),
                image("node", "node", Area::Application),
                fixture("node-never-confirm", "node", "fx-never-confirm"),
                fixture("node-crash", "node", "fx-crash-at-boot"),
                fixture("node-crash-loop", "node", "fx-crash-loop"),
                fixture("node-hang", "node", "fx-hang"),
                fixture("node-degraded", "node", "fx-degraded"),
                fixture("node-migration-fails", "node", "fx-migration-fails"),
            ],
        )],
    },
    Set {
        name: "nrf52840",
        target: "thumbv7em-none-eabihf",
        board: "mk-node-s140",
        workspaces: &[
            (
                "firmware-under-test/targets/nrf52840",
                &[image("boot", "boot", Area::Bootloader), image("node", "node", Area::Application)],
            ),
            (
                "fixtures/fixture-softdevice",
                &[
                    softdevice_fixture("node-never-confirm", "fx-never-confirm"),
                    softdevice_fixture("node-crash", "fx-crash-at-boot"),
                    softdevice_fixture("node-crash-loop", "fx-crash-loop"),
                    softdevice_fixture("node-hang", "fx-hang"),
                    softdevice_fixture("node-degraded", "fx-degraded"),
                    softdevice_fixture("node-migration-fails", "fx-migration-fails"),
                    Image {
                        name: "radio-peer",
                        package: "fixture-softdevice",
                        binary: "radio-peer",
                        feature: None,
                        area: Area::Application,
                    },
                ],
            ),
        ],
    },
];

/// Builds a set, shows its sizes, and finds what is too large.
pub fn build(root: &Path, set: &Set) -> Findings {
    let toolchain = match Toolchain::find(set.target) {
        Ok(toolchain) => toolchain,
        Err(what_to_do) => return vec![what_to_do],
    };
    let limits = match Limits::read(root, set.board) {
        Ok(limits) => limits,
        Err(error) => return vec![error],
    };
    let began = Instant::now();
    eprintln!("firmware/{} with {}", set.name, toolchain.describe());
    let out = root.join("target/firmware").join(set.name);
    let mut findings = Findings::new();
    println!("{:<34} {:>8} {:>8} {:>5} {:>8}", "image", "octets", "limit", "used", "RAM");
    for (folder, images) in set.workspaces {
        let target_dir = root.join("target/firmware/build").join(set.name);
        let workspace = Workspace { folder: root.join(folder), target_dir };
        for image in *images {
            match one(root, &toolchain, &workspace, set, image, &out) {
                Ok(binary) => findings.extend(limits.judge(set, image, &binary)),
                Err(error) => findings.push(error),
            }
        }
    }
    println!("{} in {:.0} s", out.strip_prefix(root).unwrap_or(&out).display(), began.elapsed().as_secs_f32());
    findings
}

fn one(
    root: &Path,
    toolchain: &Toolchain,
    workspace: &Workspace,
    set: &Set,
    image: &Image,
    out: &Path,
) -> Result<Binary, String> {
    let mut command = toolchain.cargo(root, workspace);
    command.args(["--release", "--locked", "-p", image.package, "--bin", image.binary]);
    if let Some(feature) = image.feature {
        command.args(["--features", feature]);
    }
    run(command, &format!("{}/{}", set.name, image.name))?;
    let elf = workspace.target_dir.join(set.target).join("release").join(image.binary);
    let binary = Binary::read(&elf)?;
    let written = fs::create_dir_all(out)
        .and_then(|()| fs::copy(&elf, out.join(format!("{}.elf", image.name))))
        .and_then(|_| fs::write(out.join(format!("{}.bin", image.name)), &binary.octets));
    written.map_err(|error| format!("{}: {error}", out.display()))?;
    Ok(binary)
}

/// Room on a board.
struct Limits {
    bootloader: Room,
    application: Room,
}

#[derive(Clone, Copy)]
struct Room {
    start: u32,
    length: u32,
}

impl Limits {
    fn read(root: &Path, board: &str) -> Result<Self, String> {
        let path = root.join("firmware-under-test/boards").join(format!("{board}.toml"));
        let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| failed(&error))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| failed(&error))?;
        let number =
            |value: Option<&toml::Value>| value.and_then(toml::Value::as_integer).and_then(|n| u32::try_from(n).ok());
        let entry = |area: &str, key: &str| {
            number(table.get(area).and_then(|area| area.get(key)))
                .ok_or_else(|| failed(&format_args!("no {area}.{key}")))
        };
        let top = |key: &str| number(table.get(key)).ok_or_else(|| failed(&format_args!("no {key}")));
        Ok(Self {
            bootloader: Room { start: entry("bootloader", "start")?, length: entry("bootloader", "length")? },
            application: Room {
                start: top("execution_address")?,
                length: entry("bank_a", "length")?.saturating_sub(top("trailer_length")?),
            },
        })
    }

    fn judge(&self, set: &Set, image: &Image, binary: &Binary) -> Option<String> {
        let room = match image.area {
            Area::Bootloader => self.bootloader,
            Area::Application => self.application,
        };
        let (size, name) = (binary.octets.len(), format!("{}/{}.bin", set.name, image.name));
        let used = size * 100 / (room.length as usize).max(1);
        println!("{name:<34} {size:>8} {:>8} {used:>3} % {:>8}", room.length, binary.ram);
        if binary.address != room.start {
            return Some(format!(
                "{name} begins at {:#x}, its area on {} at {:#x}",
                binary.address, set.board, room.start
            ));
        }
        (size > room.length as usize)
            .then(|| format!("{name} has {size} octets, its area on {} has {}", set.board, room.length))
    }
}
