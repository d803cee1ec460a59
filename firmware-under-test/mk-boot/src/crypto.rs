//! SHA-256 and ECDSA-P256 in software: what a board without accelerators uses.
//!
//! Signatures are strict DER. High-s signatures are accepted: 71 of the 174 valid Wycheproof DER vectors have one, and the
//! identity of an image is its hash, never its signature octets.

use p256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier};
use sha2::{Digest, Sha256};

use crate::hardware::{Extent, FlashFault, Hardware, PublicKey, read};

/// SHA-256 over the extents in order, read through a small buffer; feeds the watchdog as it goes.
///
/// # Errors
/// The first read that failed.
pub fn sha256<H: Hardware + ?Sized>(hw: &mut H, extents: &[Extent]) -> Result<[u8; 32], FlashFault> {
    const CHUNK: u32 = 512;
    let mut hasher = Sha256::new();
    let mut buffer = [0_u8; CHUNK as usize];
    for extent in extents {
        let mut done = 0;
        while done < extent.length {
            let length = (extent.length - done).min(CHUNK);
            let part = &mut buffer[..length as usize];
            read(hw, extent.memory, extent.address.wrapping_add(done), part)?;
            hasher.update(&*part);
            done += length;
            if done.is_multiple_of(4096) {
                hw.feed_watchdog();
            }
        }
    }
    Ok(hasher.finalize().into())
}

/// Whether the DER signature over `digest` verifies under `key`. A key that is no point of the curve verifies nothing.
#[must_use]
pub fn verify_p256(key: &PublicKey, digest: &[u8; 32], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_bytes(&key.0), Signature::from_der(signature)) else {
        return false;
    };
    key.verify_prehash(digest, &signature).is_ok()
}
