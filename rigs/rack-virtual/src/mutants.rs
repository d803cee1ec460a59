//! What nodes and campaign are assembled from: the product's parts, the parts of fixture images, and the wrong parts of
//! the canaries. The firmware has no hook for any of this: a board's `main` chooses parts, and so does this module.

use crate::hardware::VirtualBoard;
use hil_model::{Behaviour, Composition};
use mk_boot::boot::{OneChance, ResetCause, RollbackPolicy};
use mk_boot::checks::{
    BoardId, Check, ConfigMigration, EcdsaSignature, GoldenSound, HeaderBounds, INSTALL_CHECKS, RUN_CHECKS, SignedHash,
    VersionFloor,
};
use mk_boot::decide::Unconfirmed;
use mk_boot::engine::CopyInstall;
use mk_boot::hardware::Hardware;
use mk_campaign::{MinimumShare, ThresholdRule};
use mk_node::config::Config;
use mk_node::first_boot::{Confirmer, Step, Trial};
use mk_node::migrate::{HandlerFailed, Migration};
use mk_node::staging::{Block, PageStager, StageError, Stager};
use mk_node::{NodeHardware, Parts};
use mk_wire::time::Duration;

/// Checks before an install, without the signature.
static INSTALL_UNSIGNED: &[&dyn Check] =
    &[&HeaderBounds, &BoardId, &ConfigMigration, &VersionFloor, &SignedHash, &GoldenSound];
/// Checks before bank A runs, without the signature.
static RUN_UNSIGNED: &[&dyn Check] = &[&HeaderBounds, &BoardId, &SignedHash];
/// Checks before a roll-back, without the signature.
static RETURN_UNSIGNED: &[&dyn Check] = &[&HeaderBounds, &BoardId, &ConfigMigration, &SignedHash];
/// Checks before an install, the signature before the migration.
static INSTALL_SIGNATURE_FIRST: &[&dyn Check] =
    &[&HeaderBounds, &BoardId, &SignedHash, &EcdsaSignature, &ConfigMigration, &VersionFloor, &GoldenSound];

/// Never gives an unconfirmed image up.
struct ForEver;

impl RollbackPolicy for ForEver {
    fn unconfirmed(&self, _cause: ResetCause) -> Unconfirmed {
        Unconfirmed::RunAgain
    }
}

/// Says that it runs, and keeps itself without waiting for an answer.
struct Unasked;

impl<H> Confirmer<H> for Unasked {
    fn next(&self, trial: &Trial, _hw: &mut H) -> Step {
        if trial.sent > 0 { Step::Confirm } else { Step::SendAfter(Duration::from_secs(1)) }
    }
}

/// Never says that it runs.
struct Silent;

impl<H> Confirmer<H> for Silent {
    fn next(&self, _trial: &Trial, _hw: &mut H) -> Step {
        Step::Wait
    }
}

/// Puts what arrives into the running bank as well as into staging.
struct IntoRunningBank;

impl Stager<VirtualBoard> for IntoRunningBank {
    fn begin(&self, hw: &mut VirtualBoard, block: Block) -> Result<(), StageError> {
        PageStager.begin(hw, block)?;
        let (bank, page) = (hw.geometry().bank_a, hw.geometry().page_size);
        let from = bank.start + block.offset;
        let to = from + block.len.next_multiple_of(page);
        hw.internal.erase(from, to.min(bank.end())).map_err(|_| StageError::Flash)
    }

    fn chunk(&self, hw: &mut VirtualBoard, block: Block, offset_in_block: u32, data: &[u8]) -> Result<(), StageError> {
        PageStager.chunk(hw, block, offset_in_block, data)
    }

    fn finish(&self, hw: &mut VirtualBoard, block: Block) -> Result<(), StageError> {
        PageStager.finish(hw, block)?;
        let mut bytes = hw.block_buffer()[..block.len as usize].to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0xFF);
        let address = hw.geometry().bank_a.start + block.offset;
        hw.internal.write(address, &bytes).map_err(|_| StageError::Flash)
    }
}

/// Takes any stage for good.
struct AnyShare;

impl ThresholdRule for AnyShare {
    fn met(&self, _confirmed: u32, _targeted: u32, _success_permille: u16) -> bool {
        true
    }
}

fn fails(_old: &Config) -> Result<Config, HandlerFailed> {
    Err(HandlerFailed)
}

/// Handlers of which the second fails, so that the first leaves its result behind.
static BROKEN_MIGRATIONS: &[Migration] =
    &[mk_node::migrate::MIGRATIONS[0], Migration { from: 2, to: 3, handler: fails }];

/// The bootloader of a composition.
#[must_use]
pub fn bootloader(composition: Composition) -> mk_boot::Composition<'static, CopyInstall> {
    let product = mk_boot::Composition::product();
    match composition {
        Composition::SkipsSignature => mk_boot::Composition {
            install_checks: INSTALL_UNSIGNED,
            run_checks: RUN_UNSIGNED,
            return_checks: RETURN_UNSIGNED,
            ..product
        },
        Composition::SignatureBeforeMigration => {
            mk_boot::Composition { install_checks: INSTALL_SIGNATURE_FIRST, ..product }
        }
        Composition::NeverRollsBack => mk_boot::Composition { rollback: &ForEver, ..product },
        Composition::Product
        | Composition::WritesRunningBank
        | Composition::IgnoresThreshold
        | Composition::ConfirmsWithoutAck => mk_boot::Composition { rollback: &OneChance, ..product },
    }
}

/// The application of a composition, running an image of that behaviour.
#[must_use]
pub fn application(composition: Composition, behaviour: Behaviour) -> Parts<VirtualBoard> {
    let mut parts = Parts::product();
    match composition {
        Composition::SkipsSignature => {
            parts.install_checks = INSTALL_UNSIGNED;
            parts.run_checks = RUN_UNSIGNED;
        }
        Composition::SignatureBeforeMigration => parts.install_checks = INSTALL_SIGNATURE_FIRST,
        Composition::WritesRunningBank => parts.stager = &IntoRunningBank,
        Composition::ConfirmsWithoutAck => parts.confirmer = &Unasked,
        Composition::Product | Composition::NeverRollsBack | Composition::IgnoresThreshold => {
            parts.install_checks = INSTALL_CHECKS;
            parts.run_checks = RUN_CHECKS;
        }
    }
    match behaviour {
        Behaviour::NeverConfirms => parts.confirmer = &Silent,
        Behaviour::Degraded => parts.degraded = true,
        Behaviour::MigrationFails => parts.migrations = BROKEN_MIGRATIONS,
        Behaviour::Normal | Behaviour::CrashesAtBoot | Behaviour::CrashLoops | Behaviour::HangsAtBoot => {}
    }
    parts
}

/// The campaign machine of a composition.
#[must_use]
pub fn campaign(composition: Composition) -> mk_campaign::Parts {
    match composition {
        Composition::IgnoresThreshold => mk_campaign::Parts { threshold: &AnyShare },
        Composition::Product
        | Composition::SkipsSignature
        | Composition::SignatureBeforeMigration
        | Composition::NeverRollsBack
        | Composition::WritesRunningBank
        | Composition::ConfirmsWithoutAck => mk_campaign::Parts { threshold: &MinimumShare },
    }
}
