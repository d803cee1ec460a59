//! From a rack file as written to one that can be opened. Touches no device: what is plugged in is `hil doctor`'s question.

use std::collections::{BTreeMap, BTreeSet};

use fixture_images::unhex;
use hil_model::{Fleet, FloorId, GatewayId, NodeSpec, NodeType, Profile, Protocol, RackKind, Span};
use mk_wire::identity::MeshKey;

use super::file::{LabFile, RawBoard, RawFleet, RawPort, RawPower, RawProfile};
use super::{BoardDefinition, FirmwareFiles, GatewayDefinition, LabDefinition, MeshKeys, PortDefinition, SoftDevice};
use crate::boards::BoardDriver;
use crate::identity::{BoardIdentity, PortIdentity};
use crate::power;

/// Most boards of a lab or emulated rack: what one machine drives.
const MOST_BOARDS: usize = 200;
/// Most gateways.
const MOST_GATEWAYS: u16 = 8;
/// Rates that a console may have.
const BAUDS: std::ops::RangeInclusive<u32> = 1_200..=3_000_000;
/// Clocks that a debug port may have, kHz.
const SPEEDS_KHZ: std::ops::RangeInclusive<u32> = 5..=50_000;
/// Block sizes of the BLOB Transfer models that the product's nodes take, as powers of two.
const BLOCK_SIZE_LOGS: std::ops::RangeInclusive<u8> = 12..=15;
/// Chunk sizes that the product's nodes take.
const CHUNK_SIZES: std::ops::RangeInclusive<u16> = 8..=241;

/// What is wrong: key path and message.
type Wrong = Vec<(String, String)>;

pub(super) fn definition(raw: &LabFile, stem: &str) -> Result<LabDefinition, Wrong> {
    let mut wrong = Wrong::new();
    let name = raw.name.clone().unwrap_or_else(|| stem.to_owned());
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        wrong.push(("name".to_owned(), "a name has 1 to 64 characters".to_owned()));
    }
    let profile = profile(&raw.profile, raw.kind, &mut wrong);
    let firmware = firmware(raw, &mut wrong);
    let mesh = mesh(raw, &mut wrong);
    let (fleet, boards, gateways) = match raw.kind {
        RackKind::Virtual => {
            wrong.push(("kind".to_owned(), "a virtual rack has no boards; here are `lab` and `emulated`".to_owned()));
            (Fleet::default(), Vec::new(), Vec::new())
        }
        RackKind::Emulated => (emulated(raw, &mut wrong), Vec::new(), Vec::new()),
        RackKind::Lab => lab(raw, &profile, &mut wrong),
    };
    if wrong.is_empty() {
        let loss_permille = raw.fleet.as_ref().and_then(|fleet| fleet.loss_permille).unwrap_or(0);
        let (kind, without) = (raw.kind, raw.hidden());
        Ok(LabDefinition { name, kind, without, profile, fleet, firmware, mesh, gateways, boards, loss_permille })
    } else {
        Err(wrong)
    }
}

/// The kind's usual figures: a lab runs the product's, an emulated rack small images at a fast pace.
fn usual(kind: RackKind) -> Profile {
    match kind {
        RackKind::Virtual | RackKind::Lab => Profile::default(),
        RackKind::Emulated => Profile {
            board: "mk-node-emulated".to_owned(),
            image_size: 32 * 1024,
            segment_interval: Span::millis(1),
            grace: Span::secs(6),
            block_size_log: 12,
            chunk_size: 185,
            copies: 1,
            settle: Some(Span::secs(2)),
        },
    }
}

fn profile(raw: &RawProfile, kind: RackKind, wrong: &mut Wrong) -> Profile {
    let usual = usual(kind);
    let profile = Profile {
        board: raw.board.clone().unwrap_or(usual.board),
        image_size: raw.image_size.map_or(usual.image_size, |size| size.0),
        segment_interval: raw.segment_interval.unwrap_or(usual.segment_interval),
        grace: raw.grace.unwrap_or(usual.grace),
        block_size_log: raw.block_size_log.unwrap_or(usual.block_size_log),
        chunk_size: raw.chunk_size.unwrap_or(usual.chunk_size),
        copies: raw.copies.unwrap_or(usual.copies),
        settle: raw.settle.or(usual.settle),
    };
    let mut complain = |key: &str, message: String| wrong.push((format!("profile.{key}"), message));
    match fixture_images::Board::named(&profile.board) {
        Err(error) => complain("board", error.to_string()),
        Ok(board) if profile.image_size < 4096 || profile.image_size > board.slot_size() => {
            complain("image-size", format!("{} octets is outside 4096 to {}", profile.image_size, board.slot_size()));
        }
        Ok(_) => {}
    }
    if !BLOCK_SIZE_LOGS.contains(&profile.block_size_log) {
        complain("block-size-log", format!("{} is outside 12 to 15", profile.block_size_log));
    }
    if !CHUNK_SIZES.contains(&profile.chunk_size) {
        complain("chunk-size", format!("{} is outside 8 to 241", profile.chunk_size));
    }
    if profile.copies == 0 {
        complain("copies", "a PDU that is sent is on the air once at least".to_owned());
    }
    if profile.grace == Span::ZERO {
        complain("grace", "a trial needs time to be confirmed".to_owned());
    }
    profile
}

fn firmware(raw: &LabFile, wrong: &mut Wrong) -> FirmwareFiles {
    let usual = match raw.kind {
        RackKind::Emulated => "target/firmware/emulated",
        RackKind::Lab | RackKind::Virtual => "target/firmware/nrf52840",
    };
    let softdevice = raw.firmware.softdevice.as_ref().and_then(|written| {
        let digest = unhex(&written.sha256).and_then(|octets| <[u8; 32]>::try_from(octets).ok());
        if digest.is_none() {
            let message = "a SHA-256 digest has 64 hexadecimal digits; `sha256sum FILE` prints it".to_owned();
            wrong.push(("firmware.softdevice.sha256".to_owned(), message));
        }
        Some(SoftDevice { file: written.file.clone(), sha256: digest? })
    });
    FirmwareFiles { folder: raw.firmware.folder.clone().unwrap_or_else(|| usual.into()), softdevice }
}

fn mesh(raw: &LabFile, wrong: &mut Wrong) -> MeshKeys {
    let usual = MeshKeys::default();
    let mut key = |path: &str, written: &Option<String>, usual: MeshKey| {
        let Some(text) = written else { return usual };
        unhex(text).and_then(|octets| octets.try_into().ok()).map(MeshKey).unwrap_or_else(|| {
            wrong.push((path.to_owned(), "a mesh key has 32 hexadecimal digits".to_owned()));
            usual
        })
    };
    MeshKeys {
        net_key: key("mesh.net-key", &raw.mesh.net_key, usual.net_key),
        app_key: key("mesh.app-key", &raw.mesh.app_key, usual.app_key),
    }
}

fn emulated(raw: &LabFile, wrong: &mut Wrong) -> Fleet {
    for (key, there) in [("boards", !raw.boards.is_empty()), ("gateways", !raw.gateways.is_empty())] {
        if there {
            wrong.push((key.to_owned(), "the emulated bench makes its own; write `fleet`".to_owned()));
        }
    }
    let Some(RawFleet { nodes, floors, gateways, config_version, loss_permille }) = raw.fleet.clone() else {
        wrong.push(("fleet".to_owned(), "an emulated rack needs `fleet: { nodes: 4 }`".to_owned()));
        return Fleet::default();
    };
    let (floors, gateways) = (floors.unwrap_or(1), gateways.unwrap_or(1));
    for (key, value, least, most) in [
        ("fleet.nodes", usize::from(nodes), 1, MOST_BOARDS),
        ("fleet.floors", usize::from(floors), 1, usize::from(u8::MAX)),
        ("fleet.gateways", usize::from(gateways), 1, usize::from(MOST_GATEWAYS.min(nodes.max(1)))),
        ("fleet.loss-permille", usize::from(loss_permille.unwrap_or(0)), 0, 900),
    ] {
        if !(least..=most).contains(&value) {
            wrong.push((key.to_owned(), format!("{value} is outside {least} to {most}")));
        }
    }
    if wrong.is_empty() {
        Fleet::building(nodes, floors, gateways, 0, config_version.unwrap_or(2))
    } else {
        Fleet::default()
    }
}

fn lab(raw: &LabFile, profile: &Profile, wrong: &mut Wrong) -> (Fleet, Vec<BoardDefinition>, Vec<GatewayDefinition>) {
    if raw.fleet.is_some() {
        wrong.push(("fleet".to_owned(), "a lab lists its `boards`".to_owned()));
    }
    let gateways = lab_gateways(raw, wrong);
    if raw.boards.is_empty() || raw.boards.len() > MOST_BOARDS {
        let message = format!("{} boards; a lab has 1 to {MOST_BOARDS}", raw.boards.len());
        wrong.push(("boards".to_owned(), message));
    }
    let mut boards = Vec::with_capacity(raw.boards.len());
    for (place, board) in raw.boards.iter().enumerate() {
        boards.extend(lab_board(&format!("boards[{place}]"), board, raw, profile, wrong));
    }
    twice(raw, wrong);
    boards.sort_by_key(|board| board.node.id);
    // Addresses and tables run from 1 without a gap: a board that is away is hidden by taking its line out and moving
    // the last one up, not by leaving a hole that every table would have to know of.
    for (place, board) in boards.iter().enumerate() {
        if usize::from(board.node.id.0) != place + 1 && wrong.is_empty() {
            let message = format!("nodes run from n01 without a gap; n{:02} is missing", place + 1);
            wrong.push(("boards".to_owned(), message));
        }
    }
    let nodes = boards.iter().map(|board| board.node).collect();
    (Fleet { nodes }, boards, gateways)
}

fn lab_gateways(raw: &LabFile, wrong: &mut Wrong) -> Vec<GatewayDefinition> {
    let mut gateways: Vec<GatewayDefinition> = Vec::new();
    if raw.gateways.is_empty() {
        wrong.push(("gateways".to_owned(), "a lab has at least one gateway".to_owned()));
    }
    for (place, gateway) in raw.gateways.iter().enumerate() {
        let path = format!("gateways[{place}]");
        if gateway.id == 0 || gateway.id > MOST_GATEWAYS {
            wrong.push((format!("{path}.id"), format!("{} is outside 1 to {MOST_GATEWAYS}", gateway.id)));
        }
        if gateways.iter().any(|other| other.id.0 == gateway.id) {
            wrong.push((format!("{path}.id"), format!("gateway {} is there twice", gateway.id)));
        }
        let radio = port(&format!("{path}.radio"), &gateway.radio, 0, 115_200, wrong);
        gateways.push(GatewayDefinition { id: GatewayId(gateway.id), radio });
    }
    gateways
}

fn lab_board(
    path: &str,
    raw: &RawBoard,
    file: &LabFile,
    profile: &Profile,
    wrong: &mut Wrong,
) -> Option<BoardDefinition> {
    let Some(driver) = BoardDriver::named(&raw.driver).filter(|driver| driver.listed) else {
        let known = BoardDriver::names().filter(|name| BoardDriver::named(name).is_some_and(|driver| driver.listed));
        let message =
            format!("no driver is called \"{}\"{}", raw.driver, hil_scenario::diagnostic::hint(&raw.driver, known));
        wrong.push((format!("{path}.driver"), message));
        return None;
    };
    if driver.table != profile.board {
        let message = format!("its board table is {}, the profile's is {}", driver.table, profile.board);
        wrong.push((format!("{path}.driver"), message));
    }
    let Some(device_id) = raw.device_id else {
        let message = "`device-id` is missing: `hil doctor --suggest` reads it from the chip".to_owned();
        wrong.push((path.to_owned(), message));
        return None;
    };
    let gateway = raw.gateway.unwrap_or(1);
    if !file.gateways.iter().any(|known| known.id == gateway) {
        wrong.push((format!("{path}.gateway"), format!("there is no gateway {gateway}")));
    }
    if let Some(speed) = raw.speed_khz.filter(|speed| !SPEEDS_KHZ.contains(speed)) {
        wrong.push((format!("{path}.speed-khz"), format!("{speed} is outside 5 to 50000")));
    }
    if let Some(written) = &raw.power
        && let Err(why) = power::check(written)
    {
        wrong.push((format!("{path}.power"), why));
    }
    let console = match &raw.console {
        Some(written) => port(&format!("{path}.console"), written, driver.console_interface, driver.baud, wrong),
        // Probe and console of an on-board probe are one USB device.
        None => PortDefinition {
            port: PortIdentity::Usb { serial: raw.probe.serial.clone(), interface: driver.console_interface },
            baud: driver.baud,
        },
    };
    Some(BoardDefinition {
        node: NodeSpec {
            id: raw.node,
            floor: FloorId(raw.floor.unwrap_or(1)),
            kind: raw.kind.unwrap_or(NodeType::Luminaire),
            protocol: raw.protocol.unwrap_or(Protocol::Mesh),
            gateway: GatewayId(gateway),
            config_version: raw.config_version.unwrap_or(2),
        },
        driver,
        identity: BoardIdentity {
            probe: raw.probe.clone(),
            console: console.port,
            device_id,
            address: raw.node.unicast(),
        },
        baud: console.baud,
        speed_khz: raw.speed_khz.or(driver.speed_khz),
        power: raw.power.clone(),
    })
}

fn port(path: &str, raw: &RawPort, interface: u8, baud: u32, wrong: &mut Wrong) -> PortDefinition {
    let serial = raw.usb_serial.clone();
    if serial.is_empty() || serial.len() > 128 || serial.chars().any(char::is_control) {
        let message = "the serial number of the USB device, as `hil doctor --suggest` prints it".to_owned();
        wrong.push((format!("{path}.usb-serial"), message));
    }
    let baud = raw.baud.unwrap_or(baud);
    if !BAUDS.contains(&baud) {
        wrong.push((format!("{path}.baud"), format!("{baud} is outside 1200 to 3000000")));
    }
    PortDefinition { port: PortIdentity::Usb { serial, interface: raw.interface.unwrap_or(interface) }, baud }
}

/// No two boards share a node, a probe, a chip or a power switch.
fn twice(raw: &LabFile, wrong: &mut Wrong) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut switches: BTreeSet<String> = BTreeSet::new();
    for (place, board) in raw.boards.iter().enumerate() {
        let chip = board.device_id.map(|id| ("device-id", format!("chip {id}")));
        let keys =
            [("node", board.node.to_string()), ("probe", format!("probe {}", board.probe))].into_iter().chain(chip);
        for (key, what) in keys {
            if let Some(first) = seen.insert(what.clone(), place) {
                wrong.push((format!("boards[{place}].{key}"), format!("{what} is boards[{first}]'s already")));
            }
        }
        let Some(power) = &board.power else { continue };
        let by_hand = matches!(power, RawPower::Manual(_));
        if !switches.insert(format!("{power:?}")) && !by_hand {
            wrong.push((format!("boards[{place}].power"), "two boards on one power switch".to_owned()));
        }
    }
}
