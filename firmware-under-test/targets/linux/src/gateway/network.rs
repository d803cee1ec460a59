//! The network file: what a gateway has to know of its mesh. YAML or JSON; raw as written, checked before anything starts.
//!
//! ```yaml
//! net_key: 7dd7364cd842ad18c17c2b820c84c3d6
//! app_key: 63964771734fbd76e3b40519d1d94a48
//! iv_index: 0
//! gateway: { address: "0001", device_key: 9d6dd0e96eb25dc19a40ed9914f8f03f }
//! initiator: "7fff"
//! nodes:
//!   - { address: "0101", device_key: 9d6dd0e96eb25dc19a40ed9914f8f03e, floor: 1 }
//! tuning: { segment_interval_ms: 10, chunk_size: 185, block_size_log: 15 }
//! ```

use crate::api::form;
use crate::disk::{self, DiskError};
use mk_blob::client::Repeat;
use mk_gateway::{Carrier, GatewaySettings};
use mk_wire::Addr;
use mk_wire::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest network file, in octets: ten thousand nodes take less.
const MOST_OCTETS: u64 = 4 << 20;

/// A network file as written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFile {
    /// The network key.
    #[serde(with = "form::key")]
    pub net_key: [u8; 16],
    /// The application key of every model.
    #[serde(with = "form::key")]
    pub app_key: [u8; 16],
    /// The IV index to begin with; the gateway's own state goes on from there.
    #[serde(default)]
    pub iv_index: u32,
    /// The gateway itself.
    pub gateway: Member,
    /// The address under which MeshOS is known to the distribution models; it is never on the air.
    #[serde(with = "form::addr", default = "default_initiator")]
    pub initiator: Addr,
    /// Everybody else.
    pub nodes: Vec<NetworkNode>,
    /// Deviations from the product's settings.
    #[serde(default)]
    pub tuning: Tuning,
}

const fn default_initiator() -> Addr {
    Addr(0x7FFF)
}

/// An address with its device key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Unicast address.
    #[serde(with = "form::addr")]
    pub address: Addr,
    /// Device key.
    #[serde(with = "form::key")]
    pub device_key: [u8; 16],
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkNode {
    /// Unicast address.
    #[serde(with = "form::addr")]
    pub address: Addr,
    /// Device key.
    #[serde(with = "form::key")]
    pub device_key: [u8; 16],
    /// Where it hangs.
    #[serde(default)]
    pub floor: u8,
}

/// Deviations from the product's settings: what a rack with fast pacing and small images needs. What is left out stays.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// Shortest distance of two segments.
    pub segment_interval_ms: Option<u32>,
    /// Share of the channel until MeshOS says otherwise.
    pub throttle_permille: Option<u16>,
    /// Copies of one PDU on the air, relays included.
    pub copies_estimate: Option<u16>,
    /// Octets of image data per chunk.
    pub chunk_size: Option<u16>,
    /// BLOB block size as a power of two.
    pub block_size_log: Option<u8>,
    /// Time to live of messages outside a distribution.
    pub default_ttl: Option<u8>,
    /// From the last chunk of a round to the question what is missing.
    pub settle_ms: Option<u32>,
    /// From such a question to its repetition.
    pub status_wait_ms: Option<u32>,
    /// Distance of two Update Gets while nodes verify.
    pub verify_interval_ms: Option<u32>,
    /// Distance of two Update Applys while nodes install.
    pub apply_interval_ms: Option<u32>,
    /// Longest wait for a node that installs.
    pub apply_deadline_ms: Option<u32>,
}

/// A network file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// It cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not laid out as it should be.
    #[error("{path}: {place}: {error}")]
    Layout {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong.
        error: String,
    },
    /// A value cannot be.
    #[error("{path}: {place}: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
}

/// A network that was checked.
#[derive(Clone, Debug)]
pub struct Network {
    /// The file.
    pub file: NetworkFile,
    /// Device keys by address, the gateway's own included.
    pub device_keys: BTreeMap<Addr, [u8; 16]>,
}

impl Network {
    /// Reads and checks a network file.
    ///
    /// # Errors
    /// It cannot be read, is laid out otherwise, or holds what cannot be.
    pub fn read(path: &Path) -> Result<Self, NetworkError> {
        let octets = disk::read(path, MOST_OCTETS)?;
        let reader = serde_yaml::Deserializer::from_slice(&octets);
        let file = serde_path_to_error::deserialize(reader).map_err(|error| NetworkError::Layout {
            path: path.to_owned(),
            place: error.path().to_string(),
            error: error.inner().to_string(),
        })?;
        Self::check(file).map_err(|(place, problem)| NetworkError::Value { path: path.to_owned(), place, problem })
    }

    /// Checks what a file says.
    ///
    /// # Errors
    /// Where the problem is, and what it is.
    pub fn check(file: NetworkFile) -> Result<Self, (String, String)> {
        let mut device_keys = BTreeMap::new();
        let nodes = file.nodes.iter().enumerate().map(|(i, n)| (format!("nodes[{i}]"), n.address, n.device_key));
        let gateway = ("gateway".to_owned(), file.gateway.address, file.gateway.device_key);
        for (place, address, key) in std::iter::once(gateway).chain(nodes) {
            if !address.is_unicast() {
                return Err((place, format!("address {address} is not unicast; expected 0001 to 7fff")));
            }
            if address == file.initiator {
                return Err((place, format!("address {address} is the initiator's; give one of them another")));
            }
            if device_keys.insert(address, key).is_some() {
                return Err((place, format!("address {address} is given twice")));
            }
        }
        if !file.initiator.is_unicast() {
            return Err(("initiator".to_owned(), format!("{} is not unicast", file.initiator)));
        }
        file.tuning.check()?;
        Ok(Self { file, device_keys })
    }

    /// The settings of the gateway's machine.
    #[must_use]
    pub fn settings(&self) -> GatewaySettings {
        let directory = self.file.nodes.iter().map(|node| (node.address, Carrier::Mesh)).collect();
        let mut settings = GatewaySettings::new(self.file.gateway.address, self.file.initiator, directory);
        self.file.tuning.apply(&mut settings);
        settings
    }
}

impl Tuning {
    fn check(&self) -> Result<(), (String, String)> {
        let within = |name: &str, value: Option<u32>, low: u32, high: u32| match value {
            Some(value) if !(low..=high).contains(&value) => {
                Err((format!("tuning.{name}"), format!("{value} is out of range; expected {low} to {high}")))
            }
            Some(_) | None => Ok(()),
        };
        within("segment_interval_ms", self.segment_interval_ms, 1, 1_000)?;
        within("throttle_permille", self.throttle_permille.map(u32::from), 1, 1_000)?;
        within("copies_estimate", self.copies_estimate.map(u32::from), 1, 1_000)?;
        within("chunk_size", self.chunk_size.map(u32::from), 1, 377)?;
        within("block_size_log", self.block_size_log.map(u32::from), 6, 20)?;
        within("default_ttl", self.default_ttl.map(u32::from), 0, 127)?;
        within("settle_ms", self.settle_ms, 0, 60_000)?;
        within("status_wait_ms", self.status_wait_ms, 10, 60_000)?;
        within("verify_interval_ms", self.verify_interval_ms, 50, 60_000)?;
        within("apply_interval_ms", self.apply_interval_ms, 50, 60_000)?;
        within("apply_deadline_ms", self.apply_deadline_ms, 1_000, 600_000)
    }

    fn apply(&self, settings: &mut GatewaySettings) {
        fn set<T>(to: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *to = value;
            }
        }
        let ms = |value: Option<u32>| value.map(|value| Duration::from_millis(u64::from(value)));
        set(&mut settings.segment_interval, ms(self.segment_interval_ms));
        set(&mut settings.throttle_permille, self.throttle_permille);
        set(&mut settings.copies_estimate, self.copies_estimate);
        set(&mut settings.chunk_size, self.chunk_size);
        set(&mut settings.block_size_log, self.block_size_log);
        set(&mut settings.default_ttl, self.default_ttl);
        set(&mut settings.blob.settle, ms(self.settle_ms));
        if let Repeat::Polls { status_wait, .. } = &mut settings.blob.repeat {
            set(status_wait, ms(self.status_wait_ms));
        }
        set(&mut settings.patience.verify_interval, ms(self.verify_interval_ms));
        set(&mut settings.patience.apply_interval, ms(self.apply_interval_ms));
        set(&mut settings.patience.apply_deadline, ms(self.apply_deadline_ms));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    const GOOD: &str = "
net_key: 7dd7364cd842ad18c17c2b820c84c3d6
app_key: 63964771734fbd76e3b40519d1d94a48
gateway: { address: '0001', device_key: 9d6dd0e96eb25dc19a40ed9914f8f03f }
nodes:
  - { address: '0101', device_key: 9d6dd0e96eb25dc19a40ed9914f8f03e, floor: 1 }
  - { address: '0102', device_key: 9d6dd0e96eb25dc19a40ed9914f8f03d }
tuning: { segment_interval_ms: 2, block_size_log: 12 }
";

    fn read(text: &str) -> Result<Network, NetworkError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.yaml");
        std::fs::write(&path, text).unwrap();
        Network::read(&path)
    }

    #[test]
    fn a_network_is_read() {
        let network = read(GOOD).unwrap();
        assert_eq!(network.device_keys.len(), 3);
        let settings = network.settings();
        assert_eq!(settings.address, Addr(1));
        assert_eq!(settings.initiator, Addr(0x7FFF));
        assert_eq!((settings.segment_interval, settings.block_size_log), (Duration::from_millis(2), 12));
        assert_eq!(settings.chunk_size, 185);
        assert_eq!(settings.directory.len(), 2);
    }

    #[test]
    fn json_is_read_too() {
        let file = read(GOOD).unwrap().file;
        assert_eq!(read(&serde_json::to_string(&file).unwrap()).unwrap().file, file);
    }

    #[rstest]
    #[case::short_key("7dd7364cd842ad18c17c2b820c84c3d6", "7dd7", "net_key")]
    #[case::unknown("floor: 1", "flor: 1", "nodes[0]")]
    #[case::twice("'0102'", "'0101'", "nodes[1]")]
    #[case::group("'0102'", "'c002'", "nodes[1]")]
    #[case::initiator("'0102'", "'7fff'", "nodes[1]")]
    #[case::no_address("'0102'", "'x'", "nodes[1]")]
    #[case::slow("segment_interval_ms: 2", "segment_interval_ms: 0", "tuning.segment_interval_ms")]
    #[case::block("block_size_log: 12", "block_size_log: 21", "tuning.block_size_log")]
    fn a_mistake_is_named_with_its_place(#[case] from: &str, #[case] to: &str, #[case] place: &str) {
        let error = read(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
    }
}
