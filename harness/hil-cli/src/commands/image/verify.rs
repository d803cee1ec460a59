//! `hil image verify`: the product's verdict on a file, with the examiner's beside it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use fixture_images::{Verdict, VerifyingKey, examine, hex, sha256, signer};
use mk_boot::crypto::verify_p256;
use mk_boot::hardware::PublicKey;
use mk_wire::image::{Extent, ImageFacts, parse_slice};

use super::super::read_file;
use crate::exit::CommandError;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hil image verify app.bin --key fixtures/keys/release.pub.pem

The verdict is that of the code that runs on nodes. The harness judges the file a second time by code of its own; should \
the two differ, both are shown and the exit code is 100, whoever is right.")]
pub(super) struct VerifyArgs {
    /// The image.
    file: PathBuf,
    /// Key that the nodes are provisioned with: public or private, PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub(super) fn run(args: &VerifyArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let bytes = read_file(&args.file)?;
    let key =
        fixture_images::keys::open_public(&args.key).map_err(|error| CommandError::invalid_file(error.to_string()))?;
    let name = args.file.display();
    let product = product_verdict(&bytes, &key);
    let second = examine(&bytes, Some(&key)).verdict;
    if product.is_ok() != (second == Verdict::Valid) {
        let product = product.map_or_else(|why| format!("refuses: {why}"), |_| "accepts".into());
        let message = format!("{name}: the product {product}; the examiner finds: {}", in_words(&second));
        return Err(CommandError::product(message).hint("one of the two is wrong: please report it with this file"));
    }
    let facts = product.map_err(|why| CommandError::product(format!("{name}: refused: {why}")))?;
    let version = facts.version();
    writeln!(out, "{name}: accepted: version {version}, signed by the key of {}", args.key.display())?;
    writeln!(out, "image SHA-256  {}", hex(&facts.sha256))?;
    Ok(())
}

/// Parser, hash and signature check as nodes run them; the reason when one refuses.
fn product_verdict(bytes: &[u8], key: &VerifyingKey) -> Result<ImageFacts, String> {
    let facts = parse_slice(bytes, Extent::File).map_err(|error| error.to_string())?;
    let signed = facts.signed();
    let hash = sha256(bytes.get(signed.start as usize..signed.end as usize).unwrap_or_default());
    if hash != facts.sha256 {
        return Err(format!("hash is {}, the image states {}", hex(&hash), hex(&facts.sha256)));
    }
    let Some(signature) = &facts.signature else {
        return Err("it is not signed".into());
    };
    if verify_p256(&PublicKey(signer::sec1(key)), &hash, signature) {
        return Ok(facts);
    }
    let other = facts.key_hash.is_some_and(|stated| stated != signer::key_hash(key));
    Err(if other { "it says itself that another key signed it" } else { "the signature does not verify" }.into())
}

fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Valid => "valid".into(),
        Verdict::Unjudged => "not judged".into(),
        Verdict::WrongKey => "another key signed it".into(),
        Verdict::BadSignature => "the signature does not verify".into(),
        Verdict::Unsigned => "not signed".into(),
        Verdict::HashMismatch => "the hash is wrong".into(),
        Verdict::Malformed { offset, what } => format!("malformed at {offset:#x}: {what}"),
    }
}
