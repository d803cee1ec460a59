//! `wrong-board`: an image for another board, properly signed.

use super::{Before, Documented, Fault, Layer, Lowering, tamper};
use crate::diagnostic::Trouble;
use crate::forge::{Recipe, Tampering};
use crate::proof::{Clause, Want};
use fixture_images::Tamper;
use hil_model::Capability;
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WrongBoard {
    /// Where it is meant to be refused: `update-start` or `verifying`.
    #[serde(default)]
    pub layer: Layer,
}

impl Documented for WrongBoard {
    const MANUAL: &'static str = "The package carries an image for another board, signed by the right key. At \
        `update-start` its metadata say so; at `verifying`, the default, they claim this board. The proof is the delivery \
        of exactly that metadata or file.";
    const EXAMPLE: &'static str = "wrong-board: { layer: update-start }";
}

impl Fault for WrongBoard {
    fn shape(&self, recipe: &mut Recipe, _: Before) -> Result<(), Trouble> {
        recipe.lies.facts_before_tampering = self.layer == Layer::Verifying;
        tamper(recipe, Tampering { tamper: Tamper::WrongHardwareId, at: None })
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        lab.need(Capability::GatewayInputs);
        lab.prove(match self.layer {
            Layer::UpdateStart => Clause::metadata_delivered(lab.candidate.metadata_digest, Want::AtLeast(1)),
            Layer::Verifying => Clause::file_delivered(lab.candidate.digest, Want::AtLeast(1)),
            Layer::Boot => return Err(Trouble::at("layer", "`update-start` or `verifying`")),
        });
        Ok(())
    }
}
