//! The parts a node is put together from, by a board's `main`. The product's are [`Parts::product`]; whoever puts other
//! parts in has built another product, and no switch anywhere tells the two apart.

use mk_boot::checks::{Check, INSTALL_CHECKS, RUN_CHECKS};

use crate::{
    first_boot::{AckedConfirmer, Confirmer},
    hardware::NodeHardware,
    migrate::{MIGRATIONS, Migration},
    staging::{PageStager, Stager},
};

/// The parts of a node.
pub struct Parts<H: 'static> {
    /// What a staged image must pass in the Verifying phase, in this order: boot's own install checks.
    pub install_checks: &'static [&'static dyn Check],
    /// What the golden image must pass for those checks.
    pub run_checks: &'static [&'static dyn Check],
    /// The rule by which a trial image confirms.
    pub confirmer: &'static dyn Confirmer<H>,
    /// Where received octets go.
    pub stager: &'static dyn Stager<H>,
    /// Migration handlers of this firmware.
    pub migrations: &'static [Migration],
    /// The application says in its heartbeat that something is wrong.
    pub degraded: bool,
}

impl<H: NodeHardware> Parts<H> {
    /// The released product.
    #[must_use]
    pub fn product() -> Self {
        Parts {
            install_checks: INSTALL_CHECKS,
            run_checks: RUN_CHECKS,
            confirmer: &AckedConfirmer,
            stager: &PageStager,
            migrations: MIGRATIONS,
            degraded: false,
        }
    }
}

impl<H> Clone for Parts<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Parts<H> {}
