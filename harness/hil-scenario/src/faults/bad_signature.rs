//! `bad-signature`: what reaches the node is not signed as the node's key demands, at each of the three layers.

use super::{Documented, Fault, Layer, Lowering, lie, tamper};
use crate::diagnostic::Trouble;
use crate::forge::{Recipe, Tampering};
use crate::nodes::NodeSet;
use crate::proof::{Clause, Want};
use fixture_images::{MetadataTamper, Tamper};
use hil_model::Capability;
use schemars::JsonSchema;
use serde::Deserialize;

/// The fault.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BadSignature {
    /// What is wrong.
    pub how: Badness,
    /// Where it is meant to be refused.
    #[serde(default)]
    pub layer: Layer,
    /// At which nodes, for `layer: boot`.
    #[serde(default)]
    pub nodes: Option<NodeSet>,
}

/// What is wrong with the signature, or with what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Badness {
    /// Signed by a key that the node does not hold.
    WrongKey,
    /// The same, under the key hash of the right key.
    WrongKeyDisguised,
    /// No signature.
    Unsigned,
    /// A bit of the signature flipped.
    SignatureBit,
    /// A bit of the payload flipped.
    PayloadBit,
    /// A bit of the payload flipped and the hash put right: only the signature can tell.
    PayloadBitRehashed,
    /// A bit of the header flipped.
    HeaderBit,
    /// A bit of the protected TLVs (of the facts, in the metadata) flipped.
    ProtectedBit,
    /// The right key's signature of another image.
    OtherImage,
    /// r and s are 0.
    Zero,
}

impl Badness {
    const fn of_image(self) -> Tamper {
        match self {
            Self::WrongKey => Tamper::WrongKey,
            Self::WrongKeyDisguised => Tamper::WrongKeyDisguised,
            Self::Unsigned => Tamper::Unsigned,
            Self::SignatureBit => Tamper::FlipSignatureBit,
            Self::PayloadBit => Tamper::FlipPayloadBit,
            Self::PayloadBitRehashed => Tamper::FlipPayloadBitRehashed,
            Self::HeaderBit => Tamper::FlipHeaderPaddingBit,
            Self::ProtectedBit => Tamper::FlipProtectedBit,
            Self::OtherImage => Tamper::ForeignSignature,
            Self::Zero => Tamper::RAndSZero,
        }
    }

    const fn of_metadata(self) -> Option<MetadataTamper> {
        match self {
            Self::WrongKey => Some(MetadataTamper::WrongKey),
            Self::Unsigned => Some(MetadataTamper::Unsigned),
            Self::SignatureBit => Some(MetadataTamper::FlipSignatureBit),
            Self::ProtectedBit => Some(MetadataTamper::FlipFactBit),
            Self::OtherImage => Some(MetadataTamper::OtherCompany),
            Self::Zero => Some(MetadataTamper::ZeroSignature),
            Self::WrongKeyDisguised | Self::PayloadBit | Self::PayloadBitRehashed | Self::HeaderBit => None,
        }
    }
}

impl Documented for BadSignature {
    const MANUAL: &'static str = "The image or its metadata are not signed as the provisioned key demands. At \
        `update-start` the signed metadata are bad over a good image (`other-image` there: a good signature made for \
        another product). At `verifying`, the default, good metadata promise an image whose file is bad. At `boot` both \
        are good and the staged octets of `nodes` are altered by probe once the node has verified them. The proof is the \
        delivery of exactly the forged octets, or the probe's before and after.";
    const EXAMPLE: &'static str = "bad-signature: { how: wrong-key, layer: verifying }";
}

impl Fault for BadSignature {
    fn nodes(&self) -> Option<&NodeSet> {
        self.nodes.as_ref()
    }

    fn shape(&self, recipe: &mut Recipe, _: super::Before) -> Result<(), Trouble> {
        match self.layer {
            Layer::UpdateStart => {
                let none = || Trouble::at("how", "metadata cannot be broken in this way; use `layer: verifying`");
                lie(recipe, self.how.of_metadata().ok_or_else(none)?)
            }
            Layer::Verifying => tamper(recipe, Tampering { tamper: self.how.of_image(), at: None }),
            Layer::Boot => Ok(()),
        }
    }

    fn lower(&self, lab: &mut Lowering<'_>) -> Result<(), Trouble> {
        match (self.layer, &self.nodes) {
            (Layer::UpdateStart | Layer::Verifying, Some(_)) => {
                Err(Trouble::at("nodes", "one package goes to all nodes; only `layer: boot` is for some of them"))
            }
            (Layer::UpdateStart, None) => {
                lab.need(Capability::GatewayInputs);
                lab.prove(Clause::metadata_delivered(lab.candidate.metadata_digest, Want::AtLeast(1)));
                Ok(())
            }
            (Layer::Verifying, None) => {
                lab.need(Capability::GatewayInputs);
                lab.prove(Clause::file_delivered(lab.candidate.digest, Want::AtLeast(1)));
                Ok(())
            }
            (Layer::Boot, None) => Err(Trouble::here("`layer: boot` needs `nodes`: whose staging slot is altered")),
            (Layer::Boot, Some(nodes)) => {
                let nodes = lab.select(nodes)?;
                let tampering = Some(Tampering { tamper: self.how.of_image(), at: None });
                let wanted = lab
                    .forge
                    .make(&Recipe { tampering, ..lab.recipe.clone() })
                    .map_err(|error| Trouble::at("how", error.to_string()))?;
                lab.alter_staging(&nodes, &wanted.bytes)
            }
        }
    }
}
