//! `degraded-firmware`: the new image confirms and then reports itself degraded.

use super::{Before, Documented, Fault, Lowering, misbehave};
use crate::diagnostic::Trouble;
use crate::forge::Recipe;
use crate::proof::{Clause, Want};
use hil_model::{Behaviour, Capability};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DegradedFirmware {}

impl Documented for DegradedFirmware {
    const MANUAL: &'static str = "The new image boots and confirms, then says of itself that it is degraded: only the \
        health checks of the soak can stop it from spreading. The proof is that exactly that image was executed.";
    const EXAMPLE: &'static str = "degraded-firmware: {}";
}

impl Fault for DegradedFirmware {
    fn shape(&self, recipe: &mut Recipe, _: Before) -> Result<(), Trouble> {
        misbehave(recipe, Behaviour::Degraded)
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        lab.need(Capability::NodeImages);
        lab.prove(Clause::image_ran(lab.candidate.digest, Want::AtLeast(1)));
        Ok(())
    }
}
