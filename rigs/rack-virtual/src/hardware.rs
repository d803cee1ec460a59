//! The simulated board under a node: two flash memories, a key, a sensor. It implements what a target implements and
//! nothing more; the firmware cannot tell it from a board.
//!
//! Digests and signature checks are remembered by content, as a part with an accelerator would answer faster. A run with
//! the memory switched off gives the same ledger.

use crate::random::Stream;
use mk_boot::geometry::{Geometry, Memory};
use mk_boot::hardware::{ConfigVersion, Extent, FlashFault, Hardware, KeyStore, PublicKey};
use mk_node::NodeHardware;
use std::cell::RefCell;
use std::rc::Rc;
use virtual_flash::{ContentKey, FlashArray, Memo, MemoCounts, PageStore, PowerSupply, Timing};

/// Octets of RAM for one BLOB block.
const BLOCK_BUFFER: usize = 32 * 1024;

/// What all boards of a rack share: flash pages by content, and results by content.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Flash pages.
    pub pages: PageStore,
    digests: Rc<RefCell<Memo<ContentKey, [u8; 32]>>>,
    checks: Rc<RefCell<Memo<SignatureCheck, bool>>>,
}

/// Key, digest and signature of one check.
type SignatureCheck = ([u8; 65], [u8; 32], Vec<u8>);

impl Shared {
    /// Shared state for boards of `page_size`; `remember` is false to work every result out afresh.
    #[must_use]
    pub fn new(page_size: u32, remember: bool) -> Self {
        Self {
            pages: PageStore::new(page_size as usize),
            digests: Rc::new(RefCell::new(if remember { Memo::new() } else { Memo::switched_off() })),
            checks: Rc::new(RefCell::new(if remember { Memo::new() } else { Memo::switched_off() })),
        }
    }

    /// Signature checks that were worked out and remembered.
    #[must_use]
    pub fn signature_checks(&self) -> MemoCounts {
        self.checks.borrow().counts()
    }
}

/// One board.
#[derive(Debug)]
pub struct VirtualBoard {
    geometry: &'static Geometry,
    /// Internal flash, whole: absolute addresses.
    pub internal: FlashArray,
    /// External flash.
    pub external: FlashArray,
    /// Power of both memories.
    pub supply: PowerSupply,
    shared: Shared,
    key: Option<PublicKey>,
    sensor: Stream,
    entropy: Stream,
    /// RAM for a block, there only while one is received.
    block: Option<Box<[u8]>>,
    /// The watchdog was fed since it was last looked at.
    fed: bool,
}

impl VirtualBoard {
    /// A board with blank flash.
    #[must_use]
    pub fn new(
        geometry: &'static Geometry,
        shared: &Shared,
        key: Option<PublicKey>,
        sensor: Stream,
        entropy: Stream,
    ) -> Self {
        let supply = PowerSupply::new();
        let timing = |t: &mk_boot::geometry::FlashTiming| Timing::from_us(t.erase_us, t.write_us, t.write_unit);
        let array = |name, size, t| FlashArray::new(name, size, &shared.pages, &supply, timing(t));
        Self {
            geometry,
            internal: array("internal", geometry.internal_size(), &geometry.internal_timing),
            external: array("external", geometry.external_size(), &geometry.external_timing),
            supply,
            shared: shared.clone(),
            key,
            sensor,
            entropy,
            block: None,
            fed: false,
        }
    }

    /// Time that flash operations took since last asked, in nanoseconds of the board.
    pub const fn take_busy_ns(&mut self) -> u64 {
        self.internal.take_busy_ns() + self.external.take_busy_ns()
    }

    /// Whether the watchdog was fed since last asked.
    pub const fn take_fed(&mut self) -> bool {
        core::mem::replace(&mut self.fed, false)
    }

    /// Forgets what RAM held.
    pub fn lose_ram(&mut self) {
        self.block = None;
    }

    /// Gives back the memory of the block buffer between transfers.
    pub fn drop_block_buffer(&mut self) {
        self.block = None;
    }

    /// The board's table.
    #[must_use]
    pub const fn table(&self) -> &'static Geometry {
        self.geometry
    }

    fn content(&mut self, extents: &[Extent]) -> ContentKey {
        let mut key = ContentKey::default();
        for extent in extents {
            let flash = match extent.memory {
                Memory::Internal => &mut self.internal,
                Memory::External => &mut self.external,
            };
            key.append(flash.content_key(extent.address, extent.length));
        }
        key
    }
}

impl KeyStore for VirtualBoard {
    fn key(&mut self) -> Option<PublicKey> {
        self.key
    }
}

impl ConfigVersion for VirtualBoard {
    fn config_version(&mut self) -> Option<u16> {
        let region = self.geometry.config;
        mk_node::config::stored_version(&mut self.internal, region)
    }
}

impl Hardware for VirtualBoard {
    type Internal = FlashArray;
    type External = FlashArray;

    fn geometry(&self) -> &'static Geometry {
        self.geometry
    }

    fn internal(&mut self) -> &mut FlashArray {
        &mut self.internal
    }

    fn external(&mut self) -> &mut FlashArray {
        &mut self.external
    }

    fn feed_watchdog(&mut self) {
        self.fed = true;
    }

    fn sha256(&mut self, extents: &[Extent]) -> Result<[u8; 32], FlashFault> {
        if self.supply.is_dark() {
            return mk_boot::crypto::sha256(self, extents);
        }
        let key = self.content(extents);
        let digests = Rc::clone(&self.shared.digests);
        let mut digests = digests.borrow_mut();
        digests.get_or_try(key, || mk_boot::crypto::sha256(self, extents))
    }

    fn verify_p256(&mut self, key: &PublicKey, digest: &[u8; 32], signature: &[u8]) -> bool {
        let check = (key.0, *digest, signature.to_vec());
        let work = || Ok::<_, core::convert::Infallible>(mk_boot::crypto::verify_p256(key, digest, signature));
        match self.shared.checks.borrow_mut().get_or_try(check, work) {
            Ok(verdict) => verdict,
            Err(never) => match never {},
        }
    }
}

impl NodeHardware for VirtualBoard {
    fn block_buffer(&mut self) -> &mut [u8] {
        self.block.get_or_insert_with(|| vec![0xFF; BLOCK_BUFFER].into_boxed_slice())
    }

    fn temperature_centi_c(&mut self) -> i16 {
        // A room: 18 to 26 degrees.
        1_800 + self.sensor.below(800) as i16
    }

    fn entropy(&mut self) -> u64 {
        self.entropy.next()
    }
}
