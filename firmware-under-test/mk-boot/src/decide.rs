//! What to do next, as a pure function of what is known: the table below, row by row.
//!
//! | journal phase | known | decision |
//! | --- | --- | --- |
//! | none | bank A proves itself | adopt it; golden is the slot that holds its copy, if one does |
//! | none | bank A broken, a slot proves itself | adopt that slot as golden (bank A is then restored from it) |
//! | none | bank A broken, no slot either | stay |
//! | Idle | bank A proves itself | run |
//! | Idle | broken, golden proves itself, passes left | copy golden |
//! | Idle | broken, golden proves itself, no pass left | stay (install failed) |
//! | Idle | broken, golden broken | stay |
//! | Pending | request accepted | begin install |
//! | Pending | request refused | reject with that reason; bank A is not touched |
//! | Install | bank A proves itself and is the target image | installed: trial |
//! | Install | otherwise, passes left | copy target |
//! | Install | otherwise | begin roll-back (install failed) |
//! | Trial | bank A proves itself | run for the first time |
//! | Trial | bank A broken | begin roll-back |
//! | Started | policy says roll back | begin roll-back (not confirmed in time) |
//! | Started | policy says run again, bank A proves itself | run the trial again |
//! | Started | policy says run again, bank A broken | begin roll-back |
//! | Rollback | bank A proves itself and is the golden image | rolled back |
//! | Rollback | golden proves itself, passes left | copy golden |
//! | Rollback | golden broken, bank A proves itself | keep bank A |
//! | Rollback | otherwise | stay |
//!
//! "Proves itself" means: every check of [`crate::checks::RUN_CHECKS`], hash and signature included, from the octets as
//! they are now. Staying is not a reset loop: the bootloader waits for a probe or a power cycle and then looks again.

use mk_wire::Reason;

use crate::geometry::Slot;

/// Whether an image passed its checks, or the first reason why not.
pub type Verdict = Result<(), Reason>;

/// What the policy wants for an image that ran and did not confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// The product: one chance.
    RollBack,
    /// Start it once more.
    RunAgain,
}

/// What is known, per journal phase: only what the decision needs, so that boot looks at nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootInputs {
    /// No valid journal record: a board from the factory, or a journal that was lost.
    Blank {
        /// Bank A.
        bank_a: Verdict,
        /// If bank A is sound: the slot that holds its copy. If not: a slot to restore it from.
        slot: Option<Slot>,
    },
    /// Nothing is going on.
    Idle {
        /// Bank A.
        bank_a: Verdict,
        /// The golden slot; looked at only when bank A is broken.
        golden: Verdict,
        /// Whether another copy may be tried in this boot.
        passes_left: bool,
    },
    /// The application asked for an install.
    Pending {
        /// The staged image.
        request: Verdict,
    },
    /// Bank A is being written from the target slot.
    Install {
        /// Bank A proves itself and is the target image.
        complete: bool,
        /// Whether another copy may be tried in this boot.
        passes_left: bool,
    },
    /// Bank A is complete, the image never ran.
    Trial {
        /// Bank A.
        bank_a: Verdict,
    },
    /// The image ran and did not confirm.
    Started {
        /// What the policy wants.
        policy: Unconfirmed,
        /// Bank A; looked at only when the policy wants to run it again.
        bank_a: Verdict,
    },
    /// Bank A is being written from the golden slot.
    Rollback {
        /// Bank A proves itself and is the golden image.
        complete: bool,
        /// Bank A, whatever it holds.
        bank_a: Verdict,
        /// The golden slot.
        golden: Verdict,
        /// Whether another copy may be tried in this boot.
        passes_left: bool,
    },
}

/// What boot does next. Every decision but the last three leads to another look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDecision {
    /// Write the first record of the journal.
    Adopt {
        /// The golden slot from now on.
        golden: Option<Slot>,
    },
    /// Record the refusal, leave bank A alone.
    Reject(Reason),
    /// Record that bank A is about to be written from the target slot.
    BeginInstall,
    /// One pass of the engine from the target slot.
    CopyTarget,
    /// Record that bank A is complete.
    Installed,
    /// Record that bank A is about to be written from the golden slot, and why.
    BeginRollBack(Reason),
    /// One pass of the engine from the golden slot.
    CopyGolden,
    /// Record that the old image is back.
    RolledBack,
    /// Record that the unconfirmed image stays, for want of another.
    Keep(Reason),
    /// Run the confirmed image.
    Run,
    /// Record the start of the trial, then run the new image.
    RunTrial,
    /// Stay in the bootloader: nothing here can run.
    Stay(Reason),
}

/// The table of this module. Total and pure.
#[must_use]
pub const fn decide(inputs: &BootInputs) -> BootDecision {
    match *inputs {
        BootInputs::Blank { bank_a: Ok(()), slot } => BootDecision::Adopt { golden: slot },
        BootInputs::Blank { bank_a: Err(_), slot: Some(slot) } => BootDecision::Adopt { golden: Some(slot) },
        BootInputs::Blank { bank_a: Err(reason), slot: None } => BootDecision::Stay(reason),

        BootInputs::Idle { bank_a: Ok(()), .. } => BootDecision::Run,
        BootInputs::Idle { bank_a: Err(_), golden: Ok(()), passes_left: true } => BootDecision::CopyGolden,
        BootInputs::Idle { bank_a: Err(_), golden: Ok(()), passes_left: false } => {
            BootDecision::Stay(Reason::InstallFailed)
        }
        BootInputs::Idle { bank_a: Err(reason), golden: Err(_), .. } => BootDecision::Stay(reason),

        BootInputs::Pending { request: Ok(()) } => BootDecision::BeginInstall,
        BootInputs::Pending { request: Err(reason) } => BootDecision::Reject(reason),

        BootInputs::Install { complete: true, .. } => BootDecision::Installed,
        BootInputs::Install { complete: false, passes_left: true } => BootDecision::CopyTarget,
        BootInputs::Install { complete: false, passes_left: false } => {
            BootDecision::BeginRollBack(Reason::InstallFailed)
        }

        BootInputs::Trial { bank_a: Ok(()) } => BootDecision::RunTrial,
        BootInputs::Trial { bank_a: Err(_) } => BootDecision::BeginRollBack(Reason::BankCorrupted),

        BootInputs::Started { policy: Unconfirmed::RollBack, .. } => {
            BootDecision::BeginRollBack(Reason::NotConfirmedInTime)
        }
        BootInputs::Started { policy: Unconfirmed::RunAgain, bank_a: Ok(()) } => BootDecision::RunTrial,
        BootInputs::Started { policy: Unconfirmed::RunAgain, bank_a: Err(_) } => {
            BootDecision::BeginRollBack(Reason::BankCorrupted)
        }

        BootInputs::Rollback { complete: true, .. } => BootDecision::RolledBack,
        BootInputs::Rollback { complete: false, golden: Ok(()), passes_left: true, .. } => BootDecision::CopyGolden,
        BootInputs::Rollback { complete: false, golden: Ok(()), passes_left: false, .. } => {
            BootDecision::Stay(Reason::InstallFailed)
        }
        BootInputs::Rollback { complete: false, golden: Err(_), bank_a: Ok(()), .. } => {
            BootDecision::Keep(Reason::GoldenInvalid)
        }
        BootInputs::Rollback { complete: false, golden: Err(_), bank_a: Err(_), .. } => {
            BootDecision::Stay(Reason::GoldenInvalid)
        }
    }
}
