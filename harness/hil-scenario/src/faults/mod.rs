//! Faults: what a scenario does to a fleet, from outside the firmware. One file each, one line in `kind_table!`.
//!
//! A fault is lowered to timed actions and to another image or other metadata, and it states its proof: what must be in
//! the ledger so that the stimulus really happened. No fault relies on a hook in the firmware; what a rack must be able
//! to do is collected while it is lowered.

mod lowering;
#[cfg(test)]
mod tests;

use crate::diagnostic::Trouble;
use crate::forge::Recipe;
use crate::nodes::NodeSet;
use crate::table::kind_table;
use schemars::JsonSchema;
use serde::Deserialize;

pub use crate::manual::Documented;
pub use lowering::{Aim, COAP_BLOCK, FROM_THE_START, Horizon, Lowered, Lowering, blocks};

/// What a fault sees while it shapes the image: the fleet as it runs now.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    /// Schema version that every node holds.
    pub config_version: u16,
    /// Security counter of the running image.
    pub security_counter: u32,
}

/// One kind of fault.
pub trait Fault: std::fmt::Debug + Send + Sync {
    /// The nodes it names, if it names any.
    fn nodes(&self) -> Option<&NodeSet> {
        None
    }

    /// Changes the image or the metadata that the package carries.
    ///
    /// # Errors
    /// The fault is impossible with this image, or another fault has shaped it already.
    fn shape(&self, recipe: &mut Recipe, before: Before) -> Result<(), Trouble> {
        let _ = (recipe, before);
        Ok(())
    }

    /// Actions and proof.
    ///
    /// # Errors
    /// The fault is impossible in this fleet or with this image.
    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble>;
}

// Adding a fault: one file in this folder, one line here.
kind_table! {
    /// A fault as written.
    enum FaultSpec: Fault {
        "corrupt-block" => corrupt_block::CorruptBlock,
        "bad-signature" => bad_signature::BadSignature,
        "missing-migration" => missing_migration::MissingMigration,
        "withhold-confirmation" => withhold_confirmation::WithholdConfirmation,
        "tampered-image" => tampered_image::TamperedImage,
        "tampered-metadata" => tampered_metadata::TamperedMetadata,
        "wrong-board" => wrong_board::WrongBoard,
        "downgrade" => downgrade::Downgrade,
        "degraded-firmware" => degraded_firmware::DegradedFirmware,
        "power-cut" => power_cut::PowerCut,
        "power-loss" => power_loss::PowerLoss,
        "silent-node" => silent_node::SilentNode,
        "missing-reports" => missing_reports::MissingReports,
        "message" => message::Message,
        "stale-update-status" => stale_update_status::StaleUpdateStatus,
        "gateway-restart" => gateway_restart::GatewayRestart,
        "meshos-restart" => meshos_restart::MeshosRestart,
    }
}

/// Sets the way the image is broken; two faults cannot both do that.
fn tamper(recipe: &mut Recipe, tampering: crate::forge::Tampering) -> Result<(), Trouble> {
    match recipe.tampering.replace(tampering) {
        None => Ok(()),
        Some(other) => Err(Trouble::here(format!("another fault breaks the image already ({})", other.tamper))),
    }
}

/// Sets the way the metadata are broken; two faults cannot both do that.
fn lie(recipe: &mut Recipe, tamper: fixture_images::MetadataTamper) -> Result<(), Trouble> {
    match recipe.lies.tamper.replace(tamper) {
        None => Ok(()),
        Some(other) => Err(Trouble::here(format!("another fault breaks the metadata already ({other})"))),
    }
}

/// Sets what the image does once it runs; two faults cannot both do that.
fn misbehave(recipe: &mut Recipe, behaviour: hil_model::Behaviour) -> Result<(), Trouble> {
    if recipe.behaviour != hil_model::Behaviour::Normal {
        return Err(Trouble::here(format!("the candidate misbehaves already ({:?})", recipe.behaviour)));
    }
    recipe.behaviour = behaviour;
    Ok(())
}

/// Where an image is refused (design, section 5.1); a fault aims at one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// At Update Start, by the signed metadata.
    UpdateStart,
    /// After the transfer, by the staged image: the metadata are good.
    #[default]
    Verifying,
    /// By the bootloader: metadata and transfer are good, the octets are changed in staging afterwards.
    Boot,
}
