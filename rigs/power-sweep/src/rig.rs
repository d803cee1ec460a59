//! A board on the flash model, as the bootloader sees it.

use std::convert::Infallible;

use mk_boot::{
    ConfigVersion, Extent, FlashFault, Geometry, Hardware, KeyStore, Memory, PublicKey, crypto,
    hardware::FlashOperation,
};
use virtual_flash::{ContentKey, FlashArray, Memo, MemoCounts, PageStore, PowerSupply, Timing};

/// What a signature check is about: key, digest, signature.
type Claim = ([u8; 65], [u8; 32], Vec<u8>);

/// A board with pages of `PAGE` octets. Digests and verdicts are remembered by content; the signature checks themselves are
/// real.
#[derive(Clone, Debug)]
pub struct Rig<const PAGE: usize> {
    /// Bank A and the journal.
    pub internal: FlashArray<PAGE, 1>,
    /// The two slots. Reads whole words, as QSPI does.
    pub external: FlashArray<PAGE, 4>,
    geometry: &'static Geometry,
    key: Option<PublicKey>,
    config_version: Option<u16>,
    digests: Memo<ContentKey, [u8; 32]>,
    verdicts: Memo<Claim, bool>,
}

impl<const PAGE: usize> Rig<PAGE> {
    /// A blank board.
    #[must_use]
    pub fn new(geometry: &'static Geometry, key: [u8; 65], config_version: Option<u16>) -> Self {
        let store = PageStore::new(PAGE);
        let supply = PowerSupply::new();
        Self {
            internal: FlashArray::new("internal", geometry.internal_size(), &store, &supply, Timing::INSTANT),
            external: FlashArray::new("external", geometry.external_size(), &store, &supply, Timing::INSTANT),
            geometry,
            key: Some(PublicKey(key)),
            config_version,
            digests: Memo::new(),
            verdicts: Memo::new(),
        }
    }

    /// The power of both memories.
    #[must_use]
    pub const fn supply(&self) -> &PowerSupply {
        self.internal.supply()
    }

    /// Provisions another key, or none.
    pub fn set_key(&mut self, key: Option<[u8; 65]>) {
        self.key = key.map(PublicKey);
    }

    /// Works every digest and every verdict out anew from now on.
    pub fn switch_memos_off(&mut self) {
        self.digests = Memo::switched_off();
        self.verdicts = Memo::switched_off();
    }

    /// SHA-256 runs, real and remembered.
    #[must_use]
    pub const fn digest_counts(&self) -> MemoCounts {
        self.digests.counts()
    }

    /// ECDSA checks, real and remembered.
    #[must_use]
    pub const fn ecdsa_counts(&self) -> MemoCounts {
        self.verdicts.counts()
    }
}

impl<const PAGE: usize> KeyStore for Rig<PAGE> {
    fn key(&mut self) -> Option<PublicKey> {
        self.key
    }
}

impl<const PAGE: usize> ConfigVersion for Rig<PAGE> {
    fn config_version(&mut self) -> Option<u16> {
        self.config_version
    }
}

impl<const PAGE: usize> Hardware for Rig<PAGE> {
    type Internal = FlashArray<PAGE, 1>;
    type External = FlashArray<PAGE, 4>;

    fn geometry(&self) -> &'static Geometry {
        self.geometry
    }

    fn internal(&mut self) -> &mut Self::Internal {
        &mut self.internal
    }

    fn external(&mut self) -> &mut Self::External {
        &mut self.external
    }

    fn feed_watchdog(&mut self) {}

    fn sha256(&mut self, extents: &[Extent]) -> Result<[u8; 32], FlashFault> {
        // A board without power hashes nothing, whatever was remembered.
        if let (true, Some(first)) = (self.supply().is_dark(), extents.first()) {
            return Err(FlashFault { memory: first.memory, operation: FlashOperation::Read, address: first.address });
        }
        let mut key = ContentKey::default();
        for extent in extents {
            key.append(match extent.memory {
                Memory::Internal => self.internal.content_key(extent.address, extent.length),
                Memory::External => self.external.content_key(extent.address, extent.length),
            });
        }
        let mut digests = std::mem::take(&mut self.digests);
        let digest = digests.get_or_try(key, || crypto::sha256(self, extents));
        self.digests = digests;
        digest
    }

    fn verify_p256(&mut self, key: &PublicKey, digest: &[u8; 32], signature: &[u8]) -> bool {
        self.verdicts
            .get_or_try((key.0, *digest, signature.to_vec()), || {
                Ok::<_, Infallible>(crypto::verify_p256(key, digest, signature))
            })
            .unwrap_or(false)
    }
}
