//! `tampered-image`: the file in the package is broken in one of the forge's named ways.

use super::{Before, Documented, Fault, Lowering, tamper};
use crate::diagnostic::{Trouble, hint};
use crate::forge::{Recipe, Tampering};
use crate::proof::{Clause, Want};
use fixture_images::Tamper;
use hil_model::Capability;
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TamperedImage {
    /// Name of the tamper, as in `hil image tamper --list`.
    pub how: String,
    /// Offset, length or count, for those that take one.
    #[serde(default)]
    pub at: Option<u32>,
    /// True when the metadata give it away, so that the file itself is never sent.
    #[serde(default)]
    pub refused_by_metadata: bool,
}

impl Documented for TamperedImage {
    const MANUAL: &'static str = "The file in the package is broken in one of the forge's named ways: truncated, \
        oversize, malformed TLVs, wrong lengths, odd signatures. Where a tamper signs anew the metadata are those of the \
        broken file; otherwise those of the good one with the file's real length. The proof is the delivery of exactly \
        the broken file, or of its metadata where `refused-by-metadata` says that no file is sent.";
    const EXAMPLE: &'static str = "tampered-image: { how: truncated, at: 4096 }";
}

/// Largest offset, length or count: no slot is larger, and a file has to stay one that can be made.
const LARGEST_PLACE: u32 = 1024 * 1024;

impl TamperedImage {
    fn tamper(&self) -> Result<Tamper, Trouble> {
        self.how.parse().map_err(|_| {
            let names: Vec<&str> = Tamper::ALL.iter().map(|tamper| tamper.name()).collect();
            Trouble::at("how", format!("unknown tamper \"{}\"{}", self.how, hint(&self.how, names)))
        })
    }
}

impl Fault for TamperedImage {
    fn shape(&self, recipe: &mut Recipe, _: Before) -> Result<(), Trouble> {
        if self.at.is_some_and(|at| at > LARGEST_PLACE) {
            return Err(Trouble::at("at", format!("goes up to {LARGEST_PLACE}")));
        }
        tamper(recipe, Tampering { tamper: self.tamper()?, at: self.at })
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        lab.need(Capability::GatewayInputs);
        lab.prove(if self.refused_by_metadata {
            Clause::metadata_delivered(lab.candidate.metadata_digest, Want::AtLeast(1))
        } else {
            Clause::file_delivered(lab.candidate.digest, Want::AtLeast(1))
        });
        Ok(())
    }
}
