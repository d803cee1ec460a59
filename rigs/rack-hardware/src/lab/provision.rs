//! What a board's flash holds before a run: bootloader, running image in bank A and as golden copy, key, identity,
//! configuration; journal, sequence numbers and boot count blank.
//!
//! Everything is made on the host as one picture of the flash; the probe writes what differs and nothing else.

use std::path::Path;

use fixture_images::bank_a_bytes;
use hil_model::{NodeSpec, Provision};
use mk_boot::geometry::{Geometry, Memory, Slot};
use mk_node::config::Config;
use mk_wire::Addr;
use mk_wire::identity::Identity;

use super::dump::{self, FlashDump};
use crate::definition::MeshKeys;

/// TTL of a bench where everybody hears everybody, with room for a relay or two.
const TTL: u8 = 5;

/// What cannot be made, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    /// A firmware file cannot be read.
    #[error("{file}: {why}; build it with `cargo xtask firmware`")]
    File {
        /// Which.
        file: String,
        /// What the system says.
        why: String,
    },
    /// Something does not fit its place.
    #[error("{what}: {why}")]
    Content {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
}

/// Reads a bootloader that fits its place.
///
/// # Errors
/// [`ProvisionError`].
pub fn bootloader(folder: &Path, table: &Geometry) -> Result<Vec<u8>, ProvisionError> {
    let path = folder.join("boot.bin");
    let file = path.display().to_string();
    let octets = std::fs::read(&path).map_err(|error| ProvisionError::File { file, why: error.to_string() })?;
    if octets.is_empty() || octets.len() > table.bootloader.length as usize {
        let why = format!("{} octets do not fit the {} of its place", octets.len(), table.bootloader.length);
        return Err(ProvisionError::Content { what: "bootloader", why });
    }
    Ok(octets)
}

/// The flash of one node before the run.
///
/// # Errors
/// [`ProvisionError`].
pub fn picture(
    table: &'static Geometry,
    boot: &[u8],
    provision: &Provision,
    mesh: &MeshKeys,
    spec: &NodeSpec,
) -> Result<FlashDump, ProvisionError> {
    let wrong = |what| move |why: String| ProvisionError::Content { what, why };
    let mut flash = FlashDump::blank(table);
    flash.put(Memory::Internal, table.bootloader.start, boot);
    flash.put(Memory::Internal, table.key_page.start, &provision.key);
    let identity = identity(provision, mesh, spec);
    flash.put(Memory::Internal, table.identity.start, &identity.encode());
    let fields = Config::factory(spec.config_version, spec.id.unicast())
        .ok_or_else(|| wrong("configuration")(format!("there is no schema {}", spec.config_version)))?;
    let config = dump::provisioned_config(table, &fields).map_err(wrong("configuration"))?;
    flash.put(Memory::Internal, table.config.start, &config);
    let file = provision.running.bytes.to_vec();
    let board = fixture_images::Board::named(table.name).map_err(|e| wrong("board")(e.to_string()))?;
    let image = fixture_images::ForgedImage::read(file).map_err(|e| wrong("running image")(e.to_string()))?;
    let bank = bank_a_bytes(&image, &board).map_err(|e| wrong("running image")(e.to_string()))?;
    flash.put(Memory::Internal, table.bank_a.start, &bank);
    flash.put(Memory::External, table.slot(Slot::Zero).start, &image.bytes);
    Ok(flash)
}

fn identity(provision: &Provision, mesh: &MeshKeys, spec: &NodeSpec) -> Identity {
    let ms = |span: hil_model::Span| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    Identity {
        address: Addr(spec.id.unicast()),
        gateway: Addr(spec.gateway.unicast()),
        relay: false,
        ttl: TTL,
        net_key: mesh.net_key,
        app_key: mesh.app_key,
        device_key: mesh.device_key(spec.id.unicast()),
        iv_index: 0,
        grace_ms: ms(provision.grace),
        report_interval_ms: ms(provision.report_interval),
        segment_interval_ms: u16::try_from(ms(provision.profile.segment_interval)).unwrap_or(u16::MAX).max(1),
    }
}
