//! What to do next, as a pure function of what is known: the table below, row by row.
//!
//! | journal phase | known | decision |
//! | --- | --- | --- |
//! | none | bank A proves itself | adopt it; golden is the slot that holds its copy, if one does |
//! | none | bank A broken, a slot proves itself | adopt that slot as golden (bank A is then restored from it) |
//! | none | bank A broken, no slot either | stay |
//! | Idle | bank A proves itself, golden is known | run |
//! | Idle | bank A proves itself, no golden, passes left | make golden from bank A |
//! | Idle | bank A proves itself, no golden, no pass left | run (updates are refused until there is one) |
//! | Idle | broken, golden proves itself, passes left | copy golden |
//! | Idle | broken, golden proves itself, no pass left | stay (install failed) |
//! | Idle | broken, golden broken | stay |
//! | Pending | request accepted | begin install |
//! | Pending | request refused | reject with that reason; bank A is not touched (a golden that is broken is forgotten) |
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
        /// Whether the journal names a golden slot at all.
        golden_known: bool,
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
    /// Copy bank A to the slot that is to be golden, and record it.
    MakeGolden,
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

        BootInputs::Idle { bank_a: Ok(()), golden_known: false, passes_left: true, .. } => BootDecision::MakeGolden,
        BootInputs::Idle { bank_a: Ok(()), .. } => BootDecision::Run,
        BootInputs::Idle { bank_a: Err(_), golden: Ok(()), passes_left: true, .. } => BootDecision::CopyGolden,
        BootInputs::Idle { bank_a: Err(_), golden: Ok(()), passes_left: false, .. } => {
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use std::vec::Vec;

    use super::*;

    const GOOD: Verdict = Ok(());
    const BAD: Verdict = Err(Reason::HashMismatch);

    #[rstest]
    #[case::factory(BootInputs::Blank { bank_a: GOOD, slot: Some(Slot::Zero) }, BootDecision::Adopt { golden: Some(Slot::Zero) })]
    #[case::factory_without_a_copy(BootInputs::Blank { bank_a: GOOD, slot: None }, BootDecision::Adopt { golden: None })]
    #[case::journal_and_bank_lost(BootInputs::Blank { bank_a: BAD, slot: Some(Slot::One) }, BootDecision::Adopt { golden: Some(Slot::One) })]
    #[case::nothing_left(BootInputs::Blank { bank_a: BAD, slot: None }, BootDecision::Stay(Reason::HashMismatch))]
    #[case::every_day(BootInputs::Idle { bank_a: GOOD, golden: GOOD, golden_known: true, passes_left: true }, BootDecision::Run)]
    #[case::no_golden_yet(BootInputs::Idle { bank_a: GOOD, golden: GOOD, golden_known: false, passes_left: true }, BootDecision::MakeGolden)]
    #[case::no_golden_to_be_had(BootInputs::Idle { bank_a: GOOD, golden: GOOD, golden_known: false, passes_left: false }, BootDecision::Run)]
    #[case::bit_rot(BootInputs::Idle { bank_a: BAD, golden: GOOD, golden_known: true, passes_left: true }, BootDecision::CopyGolden)]
    #[case::bank_that_takes_no_copy(BootInputs::Idle { bank_a: BAD, golden: GOOD, golden_known: true, passes_left: false }, BootDecision::Stay(Reason::InstallFailed))]
    #[case::both_broken(BootInputs::Idle { bank_a: BAD, golden: BAD, golden_known: true, passes_left: true }, BootDecision::Stay(Reason::HashMismatch))]
    #[case::good_request(BootInputs::Pending { request: GOOD }, BootDecision::BeginInstall)]
    #[case::bad_request(BootInputs::Pending { request: Err(Reason::MigrationRequired) }, BootDecision::Reject(Reason::MigrationRequired))]
    #[case::installed(BootInputs::Install { complete: true, passes_left: false }, BootDecision::Installed)]
    #[case::half_installed(BootInputs::Install { complete: false, passes_left: true }, BootDecision::CopyTarget)]
    #[case::cannot_install(BootInputs::Install { complete: false, passes_left: false }, BootDecision::BeginRollBack(Reason::InstallFailed))]
    #[case::first_run(BootInputs::Trial { bank_a: GOOD }, BootDecision::RunTrial)]
    #[case::rotten_before_the_first_run(BootInputs::Trial { bank_a: BAD }, BootDecision::BeginRollBack(Reason::BankCorrupted))]
    #[case::no_confirmation(BootInputs::Started { policy: Unconfirmed::RollBack, bank_a: GOOD }, BootDecision::BeginRollBack(Reason::NotConfirmedInTime))]
    #[case::another_chance(BootInputs::Started { policy: Unconfirmed::RunAgain, bank_a: GOOD }, BootDecision::RunTrial)]
    #[case::no_chance_for_a_broken_one(BootInputs::Started { policy: Unconfirmed::RunAgain, bank_a: BAD }, BootDecision::BeginRollBack(Reason::BankCorrupted))]
    #[case::rolled_back(BootInputs::Rollback { complete: true, bank_a: GOOD, golden: GOOD, passes_left: false }, BootDecision::RolledBack)]
    #[case::rolling_back(BootInputs::Rollback { complete: false, bank_a: BAD, golden: GOOD, passes_left: true }, BootDecision::CopyGolden)]
    #[case::cannot_roll_back(BootInputs::Rollback { complete: false, bank_a: BAD, golden: GOOD, passes_left: false }, BootDecision::Stay(Reason::InstallFailed))]
    #[case::nothing_to_go_back_to(BootInputs::Rollback { complete: false, bank_a: GOOD, golden: BAD, passes_left: true }, BootDecision::Keep(Reason::GoldenInvalid))]
    #[case::nothing_anywhere(BootInputs::Rollback { complete: false, bank_a: BAD, golden: BAD, passes_left: true }, BootDecision::Stay(Reason::GoldenInvalid))]
    fn a_row_of_the_table(#[case] inputs: BootInputs, #[case] decision: BootDecision) {
        assert_eq!(decide(&inputs), decision);
    }

    /// Every input there is, but for the reason inside a refusal, which is only passed on.
    fn every_input() -> Vec<BootInputs> {
        let verdicts: Vec<Verdict> =
            [Ok(())].into_iter().chain(Reason::ALL.iter().map(|reason| Err(*reason))).collect();
        let mut all = Vec::new();
        for &bank_a in &verdicts {
            for slot in [None, Some(Slot::Zero), Some(Slot::One)] {
                all.push(BootInputs::Blank { bank_a, slot });
            }
            all.push(BootInputs::Pending { request: bank_a });
            all.push(BootInputs::Trial { bank_a });
            for policy in [Unconfirmed::RollBack, Unconfirmed::RunAgain] {
                all.push(BootInputs::Started { policy, bank_a });
            }
            for &golden in &verdicts {
                for flags in 0..4_u8 {
                    let (one, two) = (flags & 1 != 0, flags & 2 != 0);
                    all.push(BootInputs::Idle { bank_a, golden, golden_known: one, passes_left: two });
                    all.push(BootInputs::Rollback { complete: one, bank_a, golden, passes_left: two });
                    all.push(BootInputs::Install { complete: one, passes_left: two });
                }
            }
        }
        all
    }

    #[test]
    fn nothing_runs_that_did_not_prove_itself_in_this_very_look() {
        for inputs in every_input() {
            match decide(&inputs) {
                BootDecision::Run => assert!(matches!(inputs, BootInputs::Idle { bank_a: Ok(()), .. }), "{inputs:?}"),
                BootDecision::RunTrial => assert!(
                    matches!(inputs, BootInputs::Trial { bank_a: Ok(()) } | BootInputs::Started { bank_a: Ok(()), .. }),
                    "{inputs:?}"
                ),
                _ => {}
            }
        }
    }

    #[test]
    fn bank_a_is_written_only_in_the_phases_that_announced_it_or_when_it_is_broken_anyway() {
        for inputs in every_input() {
            match decide(&inputs) {
                BootDecision::CopyTarget => assert!(matches!(inputs, BootInputs::Install { complete: false, .. })),
                BootDecision::CopyGolden => assert!(matches!(
                    inputs,
                    BootInputs::Rollback { complete: false, golden: Ok(()), .. }
                        | BootInputs::Idle { bank_a: Err(_), golden: Ok(()), .. }
                )),
                _ => {}
            }
        }
    }

    #[test]
    fn copies_end_when_no_pass_is_left() {
        for inputs in every_input() {
            if let BootInputs::Idle { passes_left: false, .. }
            | BootInputs::Install { passes_left: false, .. }
            | BootInputs::Rollback { passes_left: false, .. } = inputs
            {
                let decision = decide(&inputs);
                assert!(
                    !matches!(decision, BootDecision::CopyTarget | BootDecision::CopyGolden | BootDecision::MakeGolden),
                    "{inputs:?} {decision:?}"
                );
            }
        }
    }

    #[test]
    fn a_refusal_is_passed_on_with_its_own_reason() {
        for reason in Reason::ALL {
            assert_eq!(decide(&BootInputs::Pending { request: Err(*reason) }), BootDecision::Reject(*reason));
        }
    }
}
