//! `tampered-metadata`: the Firmware Metadata are broken, or lie, in one of the forge's named ways.

use super::{Before, Documented, Fault, Lowering, lie};
use crate::diagnostic::{Trouble, hint};
use crate::forge::Recipe;
use crate::proof::{Clause, Want};
use fixture_images::MetadataTamper;
use hil_model::Capability;
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TamperedMetadata {
    /// Name of the tamper.
    pub how: String,
}

impl Documented for TamperedMetadata {
    const MANUAL: &'static str = "The Firmware Metadata are broken (`truncated`, `zero-signature` ...) or, properly \
        signed, say something else than the image (`other-hash`, `other-size`, `other-version`, `other-hardware`, \
        `other-config-version`). The proof is the delivery of exactly these octets.";
    const EXAMPLE: &'static str = "tampered-metadata: { how: other-version }";
}

impl Fault for TamperedMetadata {
    fn shape(&self, recipe: &mut Recipe, _: Before) -> Result<(), Trouble> {
        let named = self.how.parse().map_err(|_| {
            let names: Vec<&str> = MetadataTamper::ALL.iter().map(|tamper| tamper.name()).collect();
            Trouble::at("how", format!("unknown tamper \"{}\"{}", self.how, hint(&self.how, names)))
        })?;
        lie(recipe, named)
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        lab.need(Capability::GatewayInputs);
        lab.prove(Clause::metadata_delivered(lab.candidate.metadata_digest, Want::AtLeast(1)));
        Ok(())
    }
}
