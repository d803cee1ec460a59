//! What the board gives to `mk-boot` and `mk-node`.

use crate::{GEOMETRY, Watchdog, clock, qspi::External};
use embedded_storage::nor_flash::NorFlash;
use mk_boot::{ConfigVersion, Geometry, Hardware, KeyStore, PublicKey, crypto};
use mk_node::NodeHardware;
use mk_wire::time::Duration;

/// The board, over whatever may touch the internal flash: the controller itself, or the SoftDevice.
pub struct Board<I> {
    internal: I,
    external: External<'static>,
    watchdog: Watchdog,
    block: &'static mut [u8],
    temperature_centi_c: i16,
    entropy: u64,
    signature_checks: u8,
    signature_time: Duration,
}

impl<I: NorFlash> Board<I> {
    /// The board. The application gives it RAM for a BLOB block, the bootloader none.
    #[must_use]
    pub fn new(internal: I, external: External<'static>, watchdog: Watchdog, block: &'static mut [u8]) -> Self {
        Self {
            internal,
            external,
            watchdog,
            block,
            temperature_centi_c: 0,
            entropy: 0,
            signature_checks: 0,
            signature_time: Duration::from_ticks(0),
        }
    }

    /// Random octets of the chip, for the node's delays.
    pub fn set_entropy(&mut self, entropy: u64) {
        self.entropy = entropy;
    }

    /// What the chip's sensor says.
    pub fn set_temperature(&mut self, centi_c: i16) {
        self.temperature_centi_c = centi_c;
    }

    /// Signatures verified, and the time it took.
    #[must_use]
    pub const fn signature_checks(&self) -> (u8, Duration) {
        (self.signature_checks, self.signature_time)
    }
}

impl<I: NorFlash> KeyStore for Board<I> {
    fn key(&mut self) -> Option<PublicKey> {
        mk_app::handover::key(&mut self.internal, GEOMETRY.key_page)
    }
}

impl<I: NorFlash> ConfigVersion for Board<I> {
    fn config_version(&mut self) -> Option<u16> {
        mk_node::config::stored_version(&mut self.internal, GEOMETRY.config)
    }
}

impl<I: NorFlash> Hardware for Board<I> {
    type Internal = I;
    type External = External<'static>;

    fn geometry(&self) -> &'static Geometry {
        &GEOMETRY
    }

    fn internal(&mut self) -> &mut I {
        &mut self.internal
    }

    fn external(&mut self) -> &mut External<'static> {
        &mut self.external
    }

    fn feed_watchdog(&mut self) {
        self.watchdog.feed();
    }

    fn verify_p256(&mut self, key: &PublicKey, digest: &[u8; 32], signature: &[u8]) -> bool {
        let before = clock::now();
        let verifies = crypto::verify_p256(key, digest, signature);
        self.signature_checks = self.signature_checks.saturating_add(1);
        let took = clock::now().checked_duration_since(before).unwrap_or(Duration::from_ticks(0));
        self.signature_time = self.signature_time + took;
        verifies
    }
}

impl<I: NorFlash> NodeHardware for Board<I> {
    fn block_buffer(&mut self) -> &mut [u8] {
        self.block
    }

    fn temperature_centi_c(&mut self) -> i16 {
        self.temperature_centi_c
    }

    fn entropy(&mut self) -> u64 {
        self.entropy
    }
}
