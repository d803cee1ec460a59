//! `downgrade`: a properly signed image whose security counter is below the golden image's.

use super::{Before, Documented, Fault, Lowering};
use crate::diagnostic::Trouble;
use crate::forge::Recipe;
use crate::proof::{Clause, Want};
use hil_model::Capability;
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Downgrade {
    /// The candidate's security counter.
    pub counter: u32,
}

impl Documented for Downgrade {
    const MANUAL: &'static str = "A genuine image with a security counter below that of the image the node would roll \
        back to: an old release with known holes, offered again. The proof is the delivery of exactly that file.";
    const EXAMPLE: &'static str = "downgrade: { counter: 1 }";
}

impl Fault for Downgrade {
    fn shape(&self, recipe: &mut Recipe, before: Before) -> Result<(), Trouble> {
        if self.counter >= before.security_counter {
            let message = format!("not below the running image's {}, so no downgrade", before.security_counter);
            return Err(Trouble::at("counter", message));
        }
        recipe.security_counter = Some(self.counter);
        Ok(())
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        lab.need(Capability::GatewayInputs);
        lab.prove(Clause::file_delivered(lab.candidate.digest, Want::AtLeast(1)));
        Ok(())
    }
}
