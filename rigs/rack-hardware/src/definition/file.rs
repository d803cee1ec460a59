//! A rack file of kind `lab` or `emulated` as written: shapes only, nothing checked. `rigs/racks/lab-example.yaml` explains
//! every key.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hil_model::{Capability, NodeId, NodeType, Protocol, RackKind, Span};
use hil_scenario::scalars::Size;
use serde::Deserialize;
use serde_yaml::with::singleton_map;

use crate::identity::{DeviceId, ProbeSelector};

/// A rack file of kind `lab` or `emulated`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LabFile {
    /// Name; the file's when left out.
    pub name: Option<String>,
    /// `lab` or `emulated`.
    pub kind: RackKind,
    /// Capabilities to hide.
    #[serde(default)]
    pub without: Vec<Capability>,
    /// Sizes and paces.
    #[serde(default)]
    pub profile: RawProfile,
    /// Files that are written to the boards.
    #[serde(default)]
    pub firmware: RawFirmware,
    /// Keys of the test network.
    #[serde(default)]
    pub mesh: RawMesh,
    /// Gateways of a lab.
    #[serde(default)]
    pub gateways: Vec<RawGateway>,
    /// Boards of a lab.
    #[serde(default)]
    pub boards: Vec<RawBoard>,
    /// Fleet of an emulated rack.
    pub fleet: Option<RawFleet>,
}

/// Sizes and paces; what is left out is the kind's usual.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RawProfile {
    /// Board table.
    pub board: Option<String>,
    /// Of the images that scenarios make.
    pub image_size: Option<Size>,
    /// Least time between two segments.
    pub segment_interval: Option<Span>,
    /// Grace period.
    pub grace: Option<Span>,
    /// BLOB block size as a power of two.
    pub block_size_log: Option<u8>,
    /// Octets of data in a chunk.
    pub chunk_size: Option<u16>,
    /// Copies of a PDU on the air.
    pub copies: Option<u16>,
    /// How long to go on watching after things are quiet.
    pub settle: Option<Span>,
}

/// Files that are written to the boards.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RawFirmware {
    /// Where `cargo xtask firmware` puts them.
    pub folder: Option<PathBuf>,
    /// The vendor's radio firmware, where the board needs one.
    pub softdevice: Option<RawSoftDevice>,
}

/// The vendor's radio firmware: fetched by the lab, never shipped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawSoftDevice {
    /// Intel HEX file.
    pub file: PathBuf,
    /// Of the file, 64 hexadecimal digits.
    pub sha256: String,
}

/// Keys of the test network, 32 hexadecimal digits each.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RawMesh {
    /// Network key.
    pub net_key: Option<String>,
    /// Application key.
    pub app_key: Option<String>,
}

/// A port of a USB device.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawPort {
    /// Serial number of the USB device.
    pub usb_serial: String,
    /// Interface number.
    pub interface: Option<u8>,
    /// Rate.
    pub baud: Option<u32>,
}

/// A gateway: a process of the harness with a radio co-processor on a serial port.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawGateway {
    /// Counted from 1.
    pub id: u16,
    /// Its radio co-processor.
    pub radio: RawPort,
}

/// A board of a lab.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawBoard {
    /// Which node it is.
    pub node: NodeId,
    /// Kind of board.
    pub driver: String,
    /// Its probe.
    pub probe: ProbeSelector,
    /// Its console; when left out, the port of the probe's own USB device.
    pub console: Option<RawPort>,
    /// Its chip.
    pub device_id: Option<DeviceId>,
    /// How its power is switched.
    #[serde(default, with = "singleton_map")]
    pub power: Option<RawPower>,
    /// Clock of the debug port, kHz.
    pub speed_khz: Option<u32>,
    /// Where it hangs.
    pub floor: Option<u8>,
    /// What it is in the building.
    pub kind: Option<NodeType>,
    /// How it takes updates.
    pub protocol: Option<Protocol>,
    /// The gateway that serves it.
    pub gateway: Option<u16>,
    /// Configuration schema it starts with.
    pub config_version: Option<u16>,
}

/// How power is switched.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RawPower {
    /// A port of a USB hub, through the tool `uhubctl`.
    Uhubctl(RawHubPort),
    /// Any program.
    Command(RawCommands),
    /// A relay with a web interface.
    HttpRelay(RawRelay),
    /// Nordic's Power Profiler Kit 2 as the board's supply.
    Ppk2(RawPpk2),
    /// A person.
    Manual(RawManual),
}

/// A port of a USB hub.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawHubPort {
    /// Location of the hub as `uhubctl` prints it, such as `1-1.4`.
    pub hub: String,
    /// Port, counted from 1.
    pub port: u8,
    /// The program, when it is not on the search path.
    pub program: Option<PathBuf>,
}

/// Programs with their arguments. No shell is involved.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawCommands {
    /// Switches on.
    pub on: Vec<String>,
    /// Switches off.
    pub off: Vec<String>,
    /// Prints `on` or `off`.
    pub state: Option<Vec<String>>,
}

/// Addresses of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawRelay {
    /// Address that switches on.
    pub on: String,
    /// Address that switches off.
    pub off: String,
    /// Address whose answer tells the state.
    pub state: Option<String>,
    /// Text in that answer while the relay is on.
    pub state_on: Option<String>,
}

/// Power Profiler Kit 2.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawPpk2 {
    /// Serial number of the kit.
    pub usb_serial: String,
    /// Interface number of its control port.
    pub interface: Option<u8>,
    /// Supply voltage.
    pub millivolts: u16,
}

/// A person who is asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawManual {
    /// What the person sees, such as the number on the plug.
    pub label: String,
}

/// Fleet of an emulated rack.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawFleet {
    /// How many boards.
    pub nodes: u16,
    /// Floors they are spread over.
    pub floors: Option<u8>,
    /// Gateways.
    pub gateways: Option<u16>,
    /// Configuration schema that every node starts with.
    pub config_version: Option<u16>,
    /// Frames lost on the simulated air, per thousand.
    pub loss_permille: Option<u16>,
}

impl LabFile {
    /// Capabilities to hide, as a set.
    #[must_use]
    pub fn hidden(&self) -> BTreeSet<Capability> {
        self.without.iter().copied().collect()
    }
}
