//! `missing-migration`: the new image wants a configuration that nothing can make of the node's.

use super::{Before, Documented, Fault, Layer, Lowering, lie, misbehave, tamper};
use crate::diagnostic::Trouble;
use crate::forge::{Recipe, Tampering};
use crate::nodes::NodeSet;
use crate::proof::{Clause, Want};
use fixture_images::layout::{TLV_CONFIG_VERSION, TLV_OLDEST_MIGRATABLE};
use fixture_images::{MetadataTamper, Tamper};
use hil_model::{Behaviour, Capability};
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MissingMigration {
    /// What is missing.
    pub how: Gap,
    /// Where it is meant to be refused; not for `handler-fails`.
    #[serde(default = "update_start")]
    pub layer: Layer,
    /// At which nodes, for `layer: boot`.
    #[serde(default)]
    pub nodes: Option<NodeSet>,
    /// The signature is bad as well: the order of the checks decides what is said.
    #[serde(default)]
    pub and_bad_signature: bool,
}

const fn update_start() -> Layer {
    Layer::UpdateStart
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Gap {
    /// The image wants the next schema version and brings no handler.
    NoHandler,
    /// Its handler accepts only versions newer than the node's.
    HandlerTooNew,
    /// Its handler accepts the node's version and fails half-way.
    HandlerFails,
}

impl Documented for MissingMigration {
    const MANUAL: &'static str = "The image wants a configuration schema that the node's cannot be brought to. At \
        `update-start`, the default, the metadata say so truly. At `verifying` the metadata contradict the image: they \
        promise that no migration is needed (or that the handler fits) and the image says otherwise. At `boot` image and \
        metadata are good and the TLV is altered in the staging slot of `nodes`, which spoils hash and signature too: the \
        reason then shows which check comes first. `handler-fails` is about an image whose handler accepts the version \
        and breaks down in the middle. The proof is the delivery of exactly that metadata or file, the probe's before and \
        after, or the start of the image whose handler fails.";
    const EXAMPLE: &'static str = "missing-migration: { how: no-handler, layer: update-start }";
}

impl MissingMigration {
    /// Schema version that the image wants.
    const fn wanted(&self, before: Before) -> u16 {
        match self.how {
            Gap::NoHandler | Gap::HandlerFails => before.config_version.saturating_add(1),
            Gap::HandlerTooNew => before.config_version.saturating_add(2),
        }
    }
}

impl Fault for MissingMigration {
    fn nodes(&self) -> Option<&NodeSet> {
        self.nodes.as_ref()
    }

    fn shape(&self, recipe: &mut Recipe, before: Before) -> Result<(), Trouble> {
        let (now, wanted) = (before.config_version, self.wanted(before));
        if self.how == Gap::HandlerFails {
            recipe.config_version = wanted;
            recipe.oldest_migratable = Some(now);
            return misbehave(recipe, Behaviour::MigrationFails);
        }
        if self.layer == Layer::Boot {
            // The image is good; its handler, where it brings one, gives the probe something to alter.
            // One version up is what the nodes' own handlers can do: all other nodes take the update.
            if self.how == Gap::HandlerTooNew {
                recipe.config_version = now.saturating_add(1);
                recipe.oldest_migratable = Some(now);
            }
            return Ok(());
        }
        recipe.config_version = wanted;
        recipe.oldest_migratable = match self.how {
            Gap::NoHandler | Gap::HandlerFails => None,
            Gap::HandlerTooNew => Some(now.saturating_add(1)),
        };
        if self.layer == Layer::Verifying {
            match self.how {
                Gap::NoHandler | Gap::HandlerFails => recipe.lies.config_version = Some(now),
                Gap::HandlerTooNew => recipe.lies.oldest_migratable = Some(Some(now)),
            }
        }
        match (self.and_bad_signature, self.layer) {
            (false, _) | (true, Layer::Boot) => Ok(()),
            (true, Layer::UpdateStart) => lie(recipe, MetadataTamper::WrongKey),
            (true, Layer::Verifying) => tamper(recipe, Tampering { tamper: Tamper::WrongKey, at: None }),
        }
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        if self.nodes.is_some() != (self.layer == Layer::Boot) {
            return Err(Trouble::here("`nodes` goes with `layer: boot`: whose staging slot is altered"));
        }
        if self.how == Gap::HandlerFails {
            if self.layer != Layer::UpdateStart || self.and_bad_signature {
                return Err(Trouble::here("a handler that fails has passed every check: no layer refuses it"));
            }
            lab.need(Capability::NodeImages);
            lab.prove(Clause::image_ran(lab.candidate.digest, Want::AtLeast(1)));
            return Ok(());
        }
        match (self.layer, &self.nodes) {
            (Layer::UpdateStart, _) => {
                lab.need(Capability::GatewayInputs);
                lab.prove(Clause::metadata_delivered(lab.candidate.metadata_digest, Want::AtLeast(1)));
                Ok(())
            }
            (Layer::Verifying, _) => {
                lab.need(Capability::GatewayInputs);
                lab.prove(Clause::file_delivered(lab.candidate.digest, Want::AtLeast(1)));
                Ok(())
            }
            (Layer::Boot, None) => Ok(()),
            (Layer::Boot, Some(nodes)) => {
                let nodes = lab.select(nodes)?;
                let (tlv, value) = match self.how {
                    Gap::NoHandler | Gap::HandlerFails => {
                        (TLV_CONFIG_VERSION, lab.recipe.config_version.saturating_add(1))
                    }
                    Gap::HandlerTooNew => (TLV_OLDEST_MIGRATABLE, lab.recipe.config_version),
                };
                let wanted = lab.with_tlv(tlv, &value.to_le_bytes())?;
                lab.alter_staging(&nodes, &wanted)
            }
        }
    }
}
