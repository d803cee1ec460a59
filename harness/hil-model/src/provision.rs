//! What a rack is given before a run, and what it says of itself.

use crate::capability::CapabilitySet;
use crate::fleet::Fleet;
use crate::ids::{Digest, Seed};
use crate::image::{Behaviour, ImageLabel, Version};
use crate::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The three racks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RackKind {
    /// Discrete-event simulation of the firmware crates.
    Virtual,
    /// QEMU running the ARM binary.
    Emulated,
    /// Real boards.
    Lab,
}

/// Fidelity of the simulated air (radio model, section 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AirLevel {
    /// Link level: each target loses each segment independently.
    Link,
    /// Air level: every PDU, relay and collision.
    Air,
}

/// Live traffic beside the update (radio model, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficProfile {
    /// Reports and heartbeats only.
    Quiet,
    /// A scene every 60 s on average.
    Building,
    /// A scene every 2 s on average.
    LoadTest,
}

/// What a kind of rack carries into every scenario: sizes and paces that depend on the rack, not on the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// Board table of the nodes, by name.
    pub board: String,
    /// Size of a fixture image in octets.
    pub image_size: u32,
    /// Least time between two segments of a message.
    pub segment_interval: Span,
    /// Grace period of the first-boot confirmation, unless the scenario sets it.
    pub grace: Span,
    /// BLOB block size, as a power of two.
    pub block_size_log: u8,
    /// Octets of data in a chunk.
    pub chunk_size: u16,
    /// Estimated copies of an originated PDU on the air: the original and its relays (radio model, section 7). The
    /// throttle reckons with it; a bench where everybody hears everybody has 1.
    #[serde(default = "building_copies", skip_serializing_if = "is_building_copies")]
    pub copies: u16,
    /// How long to go on watching after things are quiet, unless the scenario says. None: as long as a late roll-back may
    /// take, and a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Span>,
}

/// Copies of a PDU in a building with relays.
const BUILDING_COPIES: u16 = 25;

const fn building_copies() -> u16 {
    BUILDING_COPIES
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_building_copies(copies: &u16) -> bool {
    *copies == BUILDING_COPIES
}

impl Default for Profile {
    /// The virtual rack's: the product's own figures.
    fn default() -> Self {
        Self {
            board: "mk-node-s140".to_owned(),
            image_size: 512 * 1024,
            segment_interval: Span::millis(10),
            grace: Span::secs(120),
            block_size_log: 15,
            chunk_size: 185,
            copies: BUILDING_COPIES,
            settle: None,
        }
    }
}

/// Which parts nodes, gateway and campaign are assembled from. Anything but the product is a canary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Composition {
    /// The product.
    #[default]
    Product,
    /// Boot and node check everything but the signature.
    SkipsSignature,
    /// The signature is checked before the migration.
    SignatureBeforeMigration,
    /// An unconfirmed image is never rolled back.
    NeverRollsBack,
    /// Chunks go straight into the running bank.
    WritesRunningBank,
    /// A stage below its threshold is taken for good.
    IgnoresThreshold,
    /// A node confirms without waiting for the gateway's acknowledgement.
    ConfirmsWithoutAck,
}

/// A program that nodes may come to run: what runs is decided by the bytes of bank A, looked up here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// SHA-256 of the payload.
    pub payload_digest: Digest,
    /// What the payload does.
    pub behaviour: Behaviour,
    /// Its version.
    pub version: Version,
    /// Configuration schema it works on.
    pub config_version: u16,
    /// Oldest schema its migration handler accepts; none: no handler.
    pub oldest_migratable: Option<u16>,
}

/// One image of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppliedImage {
    /// Its name in the plan.
    pub label: ImageLabel,
    /// Hardware it is for.
    pub hardware_id: u32,
    /// SHA-256 of the whole file.
    pub digest: Digest,
    /// The file as signed.
    pub bytes: Arc<[u8]>,
    /// Firmware Metadata, 116 octets when well-formed.
    pub metadata: Arc<[u8]>,
    /// Version the package states.
    pub version: Version,
    /// `config_migration_version` the package states.
    pub config_version: u16,
}

/// What an operator hands to MeshOS: the image for the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSupply {
    /// The image sent to every target.
    pub image: SuppliedImage,
}

/// Everything a rack needs before the first action.
#[derive(Debug, Clone)]
pub struct Provision {
    /// Seed of the run.
    pub seed: Seed,
    /// Sizes and paces.
    pub profile: Profile,
    /// The nodes.
    pub fleet: Fleet,
    /// What every node runs and holds as golden at the start.
    pub running: SuppliedImage,
    /// Provisioned public key, SEC1 uncompressed, 65 octets.
    pub key: [u8; 65],
    /// Every program that may come to run.
    pub programs: Vec<Program>,
    /// Parts to assemble.
    pub composition: Composition,
    /// Fidelity.
    pub level: AirLevel,
    /// Live traffic.
    pub traffic: TrafficProfile,
    /// Interval of application reports and heartbeats.
    pub report_interval: Span,
    /// Grace period that the bootloaders are built with.
    pub grace: Span,
}

/// What a rack says of itself; a plan is bound to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RackManifest {
    /// Name from the rack file.
    pub name: String,
    /// Which of the three.
    pub kind: RackKind,
    /// What it can do.
    pub capabilities: CapabilitySet,
    /// Sizes and paces.
    pub profile: Profile,
    /// The nodes it has. A scenario may ask for another fleet of a rack that has `large-fleet`.
    pub fleet: Fleet,
}
