//! Banks as the probe reads them, in the words of the ledger. The examiner is the forge's own: it shares no code with the
//! parser that judges images on the node.

use fixture_images::examine::{Examination, Verdict};
use fixture_images::{VerifyingKey, examine_bank_a, examine_slot};
use hil_model::{BankState, Digest, ImageCheck, Version};
use sha2::{Digest as _, Sha256};

/// How an image lies in an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Payload first, header and TLVs in the trailer.
    BankA,
    /// The file as signed.
    Slot,
}

/// Everything read of one bank.
#[derive(Debug, Clone)]
pub struct Seen {
    /// For the ledger.
    pub state: BankState,
    /// SHA-256 of the image as a file, where the bank holds one.
    pub file: Option<Digest>,
    /// SHA-256 of the payload, where the bank holds an image.
    pub payload: Option<Digest>,
    /// Build id in the payload.
    pub build: String,
}

impl Seen {
    /// What the examiner finds in `bytes`, the whole of an area. `trailer` is the length of bank A's trailer in octets;
    /// without a usable `key` every signature is bad.
    #[must_use]
    pub fn of(bytes: &[u8], shape: Shape, trailer: u32, key: Option<&VerifyingKey>) -> Self {
        let examined = match shape {
            Shape::BankA => examine_bank_a(bytes, trailer, key),
            Shape::Slot => examine_slot(bytes, key),
        };
        seen(bytes, shape, &examined)
    }
}

fn seen(bytes: &[u8], shape: Shape, examined: &Examination) -> Seen {
    let check = match &examined.verdict {
        Verdict::Valid => ImageCheck::Valid,
        Verdict::Unjudged | Verdict::WrongKey | Verdict::BadSignature => ImageCheck::BadSignature,
        Verdict::Unsigned => ImageCheck::Unsigned,
        Verdict::HashMismatch => ImageCheck::HashMismatch,
        Verdict::Malformed { .. } if bytes.iter().all(|b| *b == 0xFF) => ImageCheck::Empty,
        Verdict::Malformed { .. } => ImageCheck::Malformed,
    };
    let facts = examined.facts.as_ref();
    let payload = facts.and_then(|f| {
        let (from, to) = (f.payload.start as usize, f.payload.end as usize);
        match shape {
            Shape::Slot => bytes.get(from..to),
            Shape::BankA => bytes.get(..to.checked_sub(from)?),
        }
    });
    Seen {
        state: BankState {
            digest: Digest(Sha256::digest(bytes).into()),
            check,
            version: facts.map(|f| Version {
                major: f.version.major,
                minor: f.version.minor,
                revision: f.version.revision,
                build: f.version.build,
            }),
            config_version: facts.and_then(|f| f.config_migration_version),
        },
        file: examined.digest.map(Digest),
        payload: payload.map(|p| Digest(Sha256::digest(p).into())),
        build: examined.build.as_ref().map_or_else(String::new, |(id, _)| id.as_str().to_owned()),
    }
}
