//! What stands on a bench, twice: [`LabFile`] as written, [`LabDefinition`] as checked. Only the second reaches anything
//! that opens a port.
//!
//! Whatever is wrong is told as `file:line:col`, all of it at once, before a probe is touched.

mod check;
mod file;

use std::collections::BTreeSet;
use std::path::PathBuf;

use hil_model::{Capability, Fleet, GatewayId, NodeId, NodeSpec, Profile, RackKind};
use hil_scenario::Diagnostic;
use hil_scenario::source::Places;
use mk_wire::identity::MeshKey;

pub use file::{
    LabFile, RawBoard, RawCommands, RawFirmware, RawFleet, RawGateway, RawHubPort, RawManual, RawMesh, RawPort,
    RawPower, RawPpk2, RawProfile, RawRelay, RawSoftDevice,
};

use crate::boards::BoardDriver;
use crate::identity::{BoardIdentity, PortIdentity};

/// A rack of kind `lab` or `emulated`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabDefinition {
    /// Its name.
    pub name: String,
    /// [`RackKind::Lab`] or [`RackKind::Emulated`].
    pub kind: RackKind,
    /// Capabilities to hide.
    pub without: BTreeSet<Capability>,
    /// Sizes and paces.
    pub profile: Profile,
    /// The nodes, in order of their ids, without a gap.
    pub fleet: Fleet,
    /// Files that are written to the boards.
    pub firmware: FirmwareFiles,
    /// Keys of the test network.
    pub mesh: MeshKeys,
    /// Gateways of a lab; the emulated bench makes its own.
    pub gateways: Vec<GatewayDefinition>,
    /// Boards of a lab, in order of their nodes; the emulated bench makes its own.
    pub boards: Vec<BoardDefinition>,
    /// Of an emulated rack: frames lost on the simulated air, per thousand.
    pub loss_permille: u16,
}

/// Files that are written to the boards. Paths are as written: relative to where the command is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareFiles {
    /// Where `cargo xtask firmware` puts bootloader and node images.
    pub folder: PathBuf,
    /// The vendor's radio firmware.
    pub softdevice: Option<SoftDevice>,
}

/// The vendor's radio firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftDevice {
    /// Intel HEX file.
    pub file: PathBuf,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// Keys of the test network: throwaway, and nobody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshKeys {
    /// Network key.
    pub net_key: MeshKey,
    /// Application key.
    pub app_key: MeshKey,
}

impl Default for MeshKeys {
    fn default() -> Self {
        Self { net_key: MeshKey(*b"MK test network "), app_key: MeshKey(*b"MK test lighting") }
    }
}

impl MeshKeys {
    /// Device key of an address: made from the network key, so that harness and provisioning need no list.
    #[must_use]
    pub fn device_key(&self, address: u16) -> MeshKey {
        let digest =
            fixture_images::sha256(&[b"MK device key".as_slice(), &self.net_key.0, &address.to_le_bytes()].concat());
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        MeshKey(key)
    }
}

/// A serial port with its rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortDefinition {
    /// Which port.
    pub port: PortIdentity,
    /// Rate.
    pub baud: u32,
}

/// A gateway of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayDefinition {
    /// Which.
    pub id: GatewayId,
    /// Its radio co-processor.
    pub radio: PortDefinition,
}

/// A board on the bench, listed in a rack file or made by the emulated bench.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardDefinition {
    /// The node it is.
    pub node: NodeSpec,
    /// What kind of board it is.
    pub driver: &'static BoardDriver,
    /// What makes it itself.
    pub identity: BoardIdentity,
    /// Rate of its console.
    pub baud: u32,
    /// Clock of the debug port, kHz.
    pub speed_khz: Option<u32>,
    /// How its power is switched, as written.
    pub power: Option<RawPower>,
}

impl BoardDefinition {
    /// Its name in messages: the node's.
    #[must_use]
    pub fn name(&self) -> String {
        self.node.id.to_string()
    }
}

impl LabDefinition {
    /// Checks a rack file's text. `file` is its name in diagnostics, `stem` names the rack where the text does not.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file.
    pub fn parse(file: &str, stem: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let raw: LabFile = serde_yaml::from_str(text).map_err(|error| {
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            let message = error.to_string();
            let end = message.find(" at line ").unwrap_or(message.len());
            vec![Diagnostic { file: file.to_owned(), line, column, message: message[..end].to_owned() }]
        })?;
        let places = Places::of(text);
        check::definition(&raw, stem).map_err(|wrong| {
            let mut diagnostics: Vec<Diagnostic> = wrong
                .into_iter()
                .map(|(path, message)| {
                    let (line, column) = places.find(&path);
                    Diagnostic { file: file.to_owned(), line, column, message: format!("{path}: {message}") }
                })
                .collect();
            diagnostics.sort();
            diagnostics
        })
    }

    /// The board of a node.
    #[must_use]
    pub fn board(&self, node: NodeId) -> Option<&BoardDefinition> {
        self.boards.iter().find(|board| board.node.id == node)
    }
}

#[cfg(test)]
mod tests;
