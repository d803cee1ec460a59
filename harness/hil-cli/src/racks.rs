//! Rack files: what stands on the bench, and how to open it.
//!
//! A rack file is checked as a scenario is, with `file:line:col`. Without one there is the embedded virtual rack. What a
//! file may say is written out in `rigs/racks/virtual.yaml`, `emulated-4.yaml` and `lab-example.yaml`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fixture_images::Board;
use hil_model::{Capability, Fleet, Profile, RackKind, RackManifest, Span};
use hil_rack::{Rack, RackError};
use hil_scenario::scalars::Size;
use hil_scenario::source::Places;
use hil_scenario::{Diagnostic, Forge};
use rack_emulated::EmulatedRack;
use rack_hardware::LabDefinition;
use rack_hardware::lab::{HardwareRack, Programs, firmware};
use rack_virtual::{MOST_FULL_STACKS, VirtualRack};
use serde::Deserialize;

use crate::exit::CommandError;

/// Largest rack file, octets.
const MOST_OCTETS: u64 = 256 * 1024;
/// Most nodes of a virtual rack.
const MOST_NODES: u16 = 2_000;
/// Most gateways of a virtual rack.
const MOST_GATEWAYS: u16 = 32;
/// Block sizes of the BLOB Transfer models that the product's nodes take, as powers of two.
const BLOCK_SIZE_LOGS: std::ops::RangeInclusive<u8> = 12..=15;
/// Chunk sizes that the product's nodes take.
const CHUNK_SIZES: std::ops::RangeInclusive<u16> = 8..=241;

/// Where racks come from. Runs ask it for a rack each, so that workers share nothing.
pub trait RackSource: Sync {
    /// What the rack is and can do.
    fn manifest(&self) -> &RackManifest;

    /// A rack, not prepared yet.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open(&self) -> Result<Box<dyn Rack>, RackError>;

    /// How many can be open at once.
    fn at_once(&self) -> usize {
        1
    }

    /// Where images for it come from: a rack whose nodes run real programs brings them along.
    ///
    /// # Errors
    /// The programs cannot be read; in words.
    fn forge(&self) -> Result<Forge, String> {
        Ok(Forge::new())
    }
}

/// The rack of a rack file, or the embedded one.
#[derive(Debug, Clone)]
pub struct BoundRack {
    manifest: RackManifest,
    /// Of a rack with boards.
    lab: Option<LabDefinition>,
    /// The file it was read from.
    pub file: Option<PathBuf>,
}

impl BoundRack {
    /// The embedded virtual rack: 24 nodes on two floors, four of them on Thread, one gateway.
    #[must_use]
    pub fn embedded() -> Self {
        Self { manifest: VirtualRack::new().manifest().clone(), lab: None, file: None }
    }

    /// The rack of a manifest, as found in a bundle.
    ///
    /// # Errors
    /// A manifest that no rack can have, or a kind that this build cannot open, in words.
    pub fn of_manifest(manifest: RackManifest) -> Result<Self, String> {
        sound(&manifest)?;
        match manifest.kind {
            RackKind::Virtual => Ok(Self { manifest, lab: None, file: None }),
            RackKind::Emulated => Ok(Self { lab: Some(emulated_as(&manifest)?), manifest, file: None }),
            RackKind::Lab => Err("a lab's boards are in its rack file: give it with --rack".to_owned()),
        }
    }

    /// The rack of `--rack FILE`, or the embedded one.
    ///
    /// # Errors
    /// The file cannot be read or is no rack file.
    pub fn of_option(file: Option<&Path>) -> Result<Self, CommandError> {
        match file {
            None => Ok(Self::embedded()),
            Some(path) => Self::read(path).map_err(|diagnostics| {
                let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
                CommandError::invalid_file(lines.join("\n")).hint("the files in rigs/racks show all keys")
            }),
        }
    }

    /// Reads a rack file.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub fn read(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        let file = path.display().to_string();
        let wrong = |message| vec![Diagnostic { file: file.clone(), line: 1, column: 1, message }];
        let mut text = String::new();
        let opened = fs::File::open(path).and_then(|f| f.take(MOST_OCTETS + 1).read_to_string(&mut text));
        opened.map_err(|error| wrong(error.to_string()))?;
        if text.len() as u64 > MOST_OCTETS {
            return Err(wrong(format!("more than {MOST_OCTETS} octets")));
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let kind = serde_yaml::from_str::<Kind>(&text).map(|file| file.kind);
        if let Ok(RackKind::Emulated | RackKind::Lab) = kind {
            let lab = LabDefinition::parse(&file, &stem, &text)?;
            let manifest = match lab.kind {
                RackKind::Emulated => rack_emulated::manifest(&lab),
                RackKind::Lab | RackKind::Virtual => rack_hardware::lab::manifest(&lab),
            };
            return Ok(Self { manifest, lab: Some(lab), file: Some(path.to_owned()) });
        }
        Ok(Self { manifest: parse(&file, &stem, &text)?, lab: None, file: Some(path.to_owned()) })
    }
}

impl RackSource for BoundRack {
    fn manifest(&self) -> &RackManifest {
        &self.manifest
    }

    fn open(&self) -> Result<Box<dyn Rack>, RackError> {
        match (self.manifest.kind, &self.lab) {
            (RackKind::Emulated, Some(lab)) => Ok(Box::new(EmulatedRack::new(lab.clone(), Programs::this_program()?))),
            (RackKind::Lab, Some(lab)) => Ok(Box::new(HardwareRack::new(lab.clone(), Programs::this_program()?))),
            (RackKind::Virtual, _) => Ok(Box::new(VirtualRack::from_manifest(self.manifest.clone()))),
            (RackKind::Emulated | RackKind::Lab, None) => Err(RackError::Refused {
                action: "open the rack".to_owned(),
                why: "its boards are not known; give its rack file".to_owned(),
            }),
        }
    }

    fn forge(&self) -> Result<Forge, String> {
        let Some(lab) = &self.lab else { return Ok(Forge::new()) };
        let programs = firmware::programs(&lab.firmware.folder, &lab.profile.board).map_err(|e| e.to_string())?;
        Ok(Forge::with_programs(programs))
    }

    fn at_once(&self) -> usize {
        match self.manifest.kind {
            RackKind::Virtual => usize::MAX,
            RackKind::Emulated | RackKind::Lab => 1,
        }
    }
}

/// Whether a manifest that was read from outside is one that a rack can have.
///
/// # Errors
/// The first thing that is wrong, in words.
pub fn sound(manifest: &RackManifest) -> Result<(), String> {
    let nodes = &manifest.fleet.nodes;
    if nodes.is_empty() || nodes.len() > usize::from(MOST_NODES) {
        return Err(format!("the rack has {} nodes; racks have 1 to {MOST_NODES}", nodes.len()));
    }
    if let Some((place, spec)) = nodes.iter().enumerate().find(|(place, spec)| usize::from(spec.id.0) != place + 1) {
        return Err(format!("node {} stands in place {} of the fleet", spec.id, place + 1));
    }
    if let Some(spec) = nodes.iter().find(|spec| spec.gateway.0 == 0 || spec.gateway.0 > MOST_GATEWAYS) {
        return Err(format!("{} is served by gateway {}; gateways are 1 to {MOST_GATEWAYS}", spec.id, spec.gateway.0));
    }
    let written = WrittenProfile::from(&manifest.profile);
    let mut wrong = Vec::new();
    profile(&written, &mut |path, message| wrong.push(format!("{path}: {message}")));
    wrong.into_iter().next().map_or(Ok(()), Err)
}

/// The definition of an emulated rack of which only the manifest is known, as in a bundle.
fn emulated_as(manifest: &RackManifest) -> Result<LabDefinition, String> {
    let text = format!("kind: emulated\nfleet: {{ nodes: {} }}\n", manifest.fleet.nodes.len());
    let mut lab = LabDefinition::parse("rack", "emulated", &text)
        .map_err(|wrong| wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let lacks = |capability: &Capability| !manifest.capabilities.contains(capability);
    lab.without = Capability::ALL.iter().copied().filter(lacks).collect();
    lab.name.clone_from(&manifest.name);
    lab.profile = manifest.profile.clone();
    lab.fleet = manifest.fleet.clone();
    Ok(lab)
}

/// Of a rack file, only what says how to read the rest.
#[derive(Debug, Deserialize)]
struct Kind {
    kind: RackKind,
}

/// A rack file as written; what is left out is the embedded rack's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    name: Option<String>,
    kind: RackKind,
    #[serde(default)]
    without: Vec<Capability>,
    #[serde(default)]
    stack: WrittenStack,
    #[serde(default)]
    profile: WrittenProfile,
    #[serde(default)]
    fleet: WrittenFleet,
}

/// How far a virtual rack goes below access messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenStack {
    /// Messages, with the loss and latency of their PDUs.
    #[default]
    Link,
    /// Every PDU, through a real stack in every gateway and node.
    Full,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct WrittenProfile {
    board: Option<String>,
    image_size: Option<Size>,
    segment_interval: Option<Span>,
    grace: Option<Span>,
    block_size_log: Option<u8>,
    chunk_size: Option<u16>,
    copies: Option<u16>,
    settle: Option<Span>,
}

impl From<&Profile> for WrittenProfile {
    fn from(profile: &Profile) -> Self {
        Self {
            board: Some(profile.board.clone()),
            image_size: Some(Size(profile.image_size)),
            segment_interval: Some(profile.segment_interval),
            grace: Some(profile.grace),
            block_size_log: Some(profile.block_size_log),
            chunk_size: Some(profile.chunk_size),
            copies: Some(profile.copies),
            settle: profile.settle,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct WrittenFleet {
    nodes: u16,
    floors: u8,
    gateways: u16,
    thread_every: u16,
    config_version: u16,
}

impl Default for WrittenFleet {
    fn default() -> Self {
        Self { nodes: 24, floors: 2, gateways: 1, thread_every: 6, config_version: 2 }
    }
}

/// A rack file's text to a manifest. `stem` names the rack where the file does not.
///
/// # Errors
/// Everything that is wrong.
fn parse(file: &str, stem: &str, text: &str) -> Result<RackManifest, Vec<Diagnostic>> {
    let written: Written = serde_yaml::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let message = error.to_string();
        let end = message.find(" at line ").unwrap_or(message.len());
        vec![Diagnostic { file: file.to_owned(), line, column, message: message[..end].to_owned() }]
    })?;
    let places = Places::of(text);
    let mut wrong = Vec::new();
    let mut complain = |path: &str, message: String| {
        let (line, column) = places.find(path);
        wrong.push(Diagnostic { file: file.to_owned(), line, column, message: format!("{path}: {message}") });
    };
    if written.kind != RackKind::Virtual {
        complain("kind", "this is read as a virtual rack".to_owned());
    }
    let profile = profile(&written.profile, &mut complain);
    let WrittenFleet { nodes, floors, gateways, thread_every, config_version } = written.fleet;
    for (path, value, most) in [
        ("fleet.nodes", u32::from(nodes), MOST_NODES),
        ("fleet.floors", u32::from(floors), u16::from(u8::MAX)),
        ("fleet.gateways", u32::from(gateways), MOST_GATEWAYS.min(nodes.max(1))),
    ] {
        if value == 0 || value > u32::from(most) {
            complain(path, format!("{value} is outside 1 to {most}"));
        }
    }
    let full = written.stack == WrittenStack::Full;
    if full && usize::from(nodes) > MOST_FULL_STACKS {
        complain("stack", format!("full stacks run on at most {MOST_FULL_STACKS} nodes, not {nodes}"));
    }
    let name = written.name.unwrap_or_else(|| stem.to_owned());
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        complain("name", "a name has 1 to 64 characters".to_owned());
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let fleet = Fleet::building(nodes, floors, gateways, thread_every, config_version);
    let without: BTreeSet<Capability> = written.without.into_iter().collect();
    let rack = VirtualRack::with_fleet(&name, fleet, profile);
    let mut manifest = if full { rack.with_full_stack() } else { rack }.manifest().clone();
    manifest.capabilities.retain(|capability| !without.contains(capability));
    Ok(manifest)
}

fn profile(written: &WrittenProfile, complain: &mut impl FnMut(&str, String)) -> Profile {
    let usual = Profile::default();
    let profile = Profile {
        board: written.board.clone().unwrap_or(usual.board),
        image_size: written.image_size.map_or(usual.image_size, |size| size.0),
        segment_interval: written.segment_interval.unwrap_or(usual.segment_interval),
        grace: written.grace.unwrap_or(usual.grace),
        block_size_log: written.block_size_log.unwrap_or(usual.block_size_log),
        chunk_size: written.chunk_size.unwrap_or(usual.chunk_size),
        copies: written.copies.unwrap_or(usual.copies),
        settle: written.settle.or(usual.settle),
    };
    match Board::named(&profile.board) {
        Err(error) => complain("profile.board", error.to_string()),
        Ok(board) if profile.image_size < 4096 || profile.image_size > board.slot_size() => {
            let most = board.slot_size();
            complain("profile.image-size", format!("{} octets is outside 4096 to {most}", profile.image_size));
        }
        Ok(_) => {}
    }
    if !BLOCK_SIZE_LOGS.contains(&profile.block_size_log) {
        let (least, most) = BLOCK_SIZE_LOGS.into_inner();
        complain("profile.block-size-log", format!("{} is outside {least} to {most}", profile.block_size_log));
    }
    if !CHUNK_SIZES.contains(&profile.chunk_size) {
        let (least, most) = CHUNK_SIZES.into_inner();
        complain("profile.chunk-size", format!("{} is outside {least} to {most}", profile.chunk_size));
    }
    if profile.copies == 0 {
        complain("profile.copies", "the original is one copy".to_owned());
    }
    if profile.grace == Span::ZERO {
        complain("profile.grace", "a trial needs time to be confirmed".to_owned());
    }
    profile
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    fn first(text: &str) -> String {
        parse("r.yaml", "r", text).unwrap_err()[0].to_string()
    }

    #[test]
    fn the_written_example_is_the_embedded_rack() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rigs/racks/virtual.yaml");
        let read = BoundRack::read(&path).unwrap();
        assert_eq!(read.manifest(), BoundRack::embedded().manifest());
    }

    #[test]
    fn what_is_left_out_is_the_embedded_rack_s() {
        let manifest = parse("r.yaml", "small", "kind: virtual\nfleet: { nodes: 4 }\nwithout: [thread]\n").unwrap();
        assert_eq!((manifest.name.as_str(), manifest.fleet.nodes.len()), ("small", 4));
        assert!(!manifest.capabilities.contains(&Capability::Thread));
    }

    #[test]
    fn full_stacks_are_asked_for_by_name_and_for_a_bench() {
        let rack =
            |nodes: u16| parse("r.yaml", "r", &format!("kind: virtual\nstack: full\nfleet: {{ nodes: {nodes} }}\n"));
        let manifest = rack(128).unwrap();
        assert!(manifest.capabilities.contains(&Capability::FullStack));
        assert!(!manifest.capabilities.contains(&Capability::LargeFleet));
        let message = rack(129).unwrap_err()[0].to_string();
        assert_eq!(message, "r.yaml:2:1: stack: full stacks run on at most 128 nodes, not 129");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rigs/racks/virtual-full-stack.yaml");
        assert!(BoundRack::read(&path).unwrap().manifest().capabilities.contains(&Capability::FullStack));
    }

    #[rstest]
    #[case("kind: virtual\nflet: {}\n", "r.yaml:2:1: unknown field `flet`")]
    #[case("kind: virtual\nfleet:\n  nodes: 0\n", "r.yaml:3:3: fleet.nodes: 0 is outside 1 to 2000")]
    #[case("kind: virtual\nfleet: { nodes: 2001 }\n", "r.yaml:2:10: fleet.nodes: 2001 is outside 1 to 2000")]
    #[case("kind: virtual\nprofile: { board: nrf }\n", "r.yaml:2:12: profile.board: ")]
    #[case("name: x\n", "missing field `kind`")]
    #[case("[]", "r.yaml:1:1: ")]
    fn a_wrong_rack_file_is_told_where(#[case] text: &str, #[case] want: &str) {
        let message = first(text);
        assert!(message.contains(want), "{message}");
    }
}
