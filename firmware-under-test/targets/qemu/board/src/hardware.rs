//! What the emulated board gives to `mk-boot` and `mk-node`.

use crate::{Clock, GEOMETRY, Watchdog, flash::Nvmc, reset};
use mk_boot::{ConfigVersion, Geometry, Hardware, KeyStore, PublicKey, crypto};
use mk_node::NodeHardware;
use mk_wire::time::{Duration, Instant};

/// The board. The application gives it a block buffer, the bootloader none.
pub struct Board {
    internal: Nvmc,
    external: Nvmc,
    watchdog: Option<Watchdog>,
    clock: Clock,
    block: &'static mut [u8],
    boot_count: u32,
    signature_checks: u8,
    signature_time: Duration,
}

impl Board {
    /// The board, with RAM for a BLOB block.
    #[must_use]
    pub fn new(clock: Clock, block: &'static mut [u8]) -> Self {
        Self {
            internal: Nvmc::internal(),
            external: Nvmc::external(),
            watchdog: None,
            clock,
            block,
            boot_count: 0,
            signature_checks: 0,
            signature_time: Duration::from_ticks(0),
        }
    }

    /// From now on this watchdog is fed.
    pub fn watch(&mut self, watchdog: Watchdog) {
        self.watchdog = Some(watchdog);
    }

    /// Reloads the watchdog, whenever the last reload was: right before a jump.
    pub fn reload_watchdog(&mut self) {
        let now = self.now();
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.reload(now);
        }
    }

    /// Starts of this board: makes its random numbers differ from boot to boot.
    pub fn set_boot_count(&mut self, boot_count: u32) {
        self.boot_count = boot_count;
    }

    /// Time since the reset.
    pub fn now(&mut self) -> Instant {
        self.clock.now()
    }

    /// The clock.
    pub fn clock(&mut self) -> &mut Clock {
        &mut self.clock
    }

    /// Signatures verified, and the time it took.
    #[must_use]
    pub const fn signature_checks(&self) -> (u8, Duration) {
        (self.signature_checks, self.signature_time)
    }
}

impl KeyStore for Board {
    fn key(&mut self) -> Option<PublicKey> {
        mk_app::handover::key(&mut self.internal, GEOMETRY.key_page)
    }
}

impl ConfigVersion for Board {
    fn config_version(&mut self) -> Option<u16> {
        mk_node::config::stored_version(&mut self.internal, GEOMETRY.config)
    }
}

impl Hardware for Board {
    type Internal = Nvmc;
    type External = Nvmc;

    fn geometry(&self) -> &'static Geometry {
        &GEOMETRY
    }

    fn internal(&mut self) -> &mut Nvmc {
        &mut self.internal
    }

    fn external(&mut self) -> &mut Nvmc {
        &mut self.external
    }

    fn feed_watchdog(&mut self) {
        let now = self.now();
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed(now);
        }
    }

    fn verify_p256(&mut self, key: &PublicKey, digest: &[u8; 32], signature: &[u8]) -> bool {
        let before = self.now();
        let verifies = crypto::verify_p256(key, digest, signature);
        self.signature_checks = self.signature_checks.saturating_add(1);
        self.signature_time = self.signature_time + (self.now() - before);
        verifies
    }
}

impl NodeHardware for Board {
    fn block_buffer(&mut self) -> &mut [u8] {
        self.block
    }

    fn temperature_centi_c(&mut self) -> i16 {
        // There is no sensor in the emulator: a room, a little different for every board.
        2_100 + (reset::unique_id() % 200) as i16
    }

    fn entropy(&mut self) -> u64 {
        // Differs between boards and boots, and is the same when a run is repeated.
        reset::unique_id().rotate_left(32) ^ u64::from(self.boot_count) ^ 0x9E37_79B9_7F4A_7C15
    }
}
