//! The whole pass from reset to jump: look, decide, act, look again.
//!
//! Safe against a power cut at every flash operation, because every act is either one journal record or a copy that can be
//! repeated, and because nothing is remembered outside the flash: a boot after a cut starts from what is there. What has
//! to be put in order differently on another product (checks, engine, roll-back policy) comes in as parts of a
//! [`Composition`]; there are no switches in here.

use heapless::Vec;
use mk_wire::{Reason, image::ImageFacts};

use crate::{
    checks::{Check, INSTALL_CHECKS, RETURN_CHECKS, RUN_CHECKS},
    decide::{BootDecision, BootInputs, Unconfirmed, Verdict, decide},
    engine::{CopyInstall, Engine, copy_out},
    geometry::{Area, Slot},
    hardware::{FlashFault, Hardware},
    inspect::{find, judge},
    journal::{Journal, Outcome, Phase, Record},
};

/// Copies tried in one boot before the next best thing is done.
pub const MAX_PASSES: u8 = 2;

/// Decisions in one boot at most: a request, two passes, a roll-back, two passes, and the records between them are ten.
pub const MAX_STEPS: usize = 16;

/// Why the core came out of reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCause {
    /// Power came up, or a brown-out.
    PowerOn,
    /// The reset pin, or a debug probe.
    Pin,
    /// Firmware asked for it.
    Software,
    /// The watchdog expired.
    Watchdog,
    /// The core locked up.
    Lockup,
}

/// What is done with an image that ran and did not confirm.
pub trait RollbackPolicy: Sync {
    /// Asked once per reset while the image is unconfirmed.
    fn unconfirmed(&self, cause: ResetCause) -> Unconfirmed;
}

/// The product's policy: `Started` is written right before the jump, so whatever reset comes then, the image had its
/// chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneChance;

impl RollbackPolicy for OneChance {
    fn unconfirmed(&self, _cause: ResetCause) -> Unconfirmed {
        Unconfirmed::RollBack
    }
}

/// The parts a bootloader is put together from. A board's `main` uses [`Composition::product`].
#[derive(Clone, Copy)]
pub struct Composition<'a, E = CopyInstall> {
    /// In this order, before an install.
    pub install_checks: &'a [&'a dyn Check],
    /// In this order, before bank A runs.
    pub run_checks: &'a [&'a dyn Check],
    /// In this order, before a roll-back relies on the golden image.
    pub return_checks: &'a [&'a dyn Check],
    /// What happens to an unconfirmed image.
    pub rollback: &'a dyn RollbackPolicy,
    /// How an image gets into bank A.
    pub engine: E,
}

impl Composition<'static, CopyInstall> {
    /// The released product.
    #[must_use]
    pub fn product() -> Self {
        Self {
            install_checks: INSTALL_CHECKS,
            run_checks: RUN_CHECKS,
            return_checks: RETURN_CHECKS,
            rollback: &OneChance,
            engine: CopyInstall,
        }
    }
}

/// How boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Jump to bank A.
    Application {
        /// The image is on trial: reload the watchdog right before the jump, nothing feeds it until it confirms.
        trial: bool,
    },
    /// Nothing here can run.
    StayInBootloader(Reason),
}

/// What boot found, did and decided.
#[derive(Clone, Debug)]
pub struct BootReport {
    /// What happens now.
    pub run: Run,
    /// Why the core was reset.
    pub cause: ResetCause,
    /// The state as it stands in the journal; `None` when nothing could ever be adopted.
    pub record: Option<Record>,
    /// The image in bank A, if it proved itself.
    pub image: Option<ImageFacts>,
    /// Every decision of this boot, in order.
    pub decisions: Vec<BootDecision, MAX_STEPS>,
}

impl BootReport {
    /// How the last request ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.record.map_or(Outcome::None, |record| record.outcome)
    }

    /// Why it was rejected, rolled back or kept.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.record.map_or(Reason::None, |record| record.reason)
    }
}

/// One boot, from reset to the decision what to run.
///
/// # Errors
/// The journal could not be read or written. A board treats this as [`Run::StayInBootloader`].
pub fn boot<H: Hardware, E: Engine<H>>(
    hw: &mut H,
    composition: &Composition<'_, E>,
    cause: ResetCause,
) -> Result<BootReport, FlashFault> {
    let mut pass = Pass { hw, composition, cause, passes: 0, healed: false };
    let mut decisions = Vec::new();
    loop {
        pass.hw.feed_watchdog();
        let journal = Journal::of(pass.hw);
        let record = journal.load(pass.hw)?;
        let decision = decide(&pass.look(record));
        if decisions.push(decision).is_err() {
            return Ok(pass.report(Run::StayInBootloader(Reason::InstallFailed), record, decisions));
        }
        let record = pass.act(record, decision)?;
        let run = match decision {
            BootDecision::Run => Run::Application { trial: false },
            BootDecision::RunTrial => Run::Application { trial: true },
            BootDecision::Stay(reason) => Run::StayInBootloader(reason),
            BootDecision::Adopt { .. }
            | BootDecision::MakeGolden
            | BootDecision::Reject(_)
            | BootDecision::BeginInstall
            | BootDecision::CopyTarget
            | BootDecision::Installed
            | BootDecision::BeginRollBack(_)
            | BootDecision::CopyGolden
            | BootDecision::RolledBack
            | BootDecision::Keep(_) => continue,
        };
        return Ok(pass.report(run, record, decisions));
    }
}

struct Pass<'a, 'c, H, E> {
    hw: &'a mut H,
    composition: &'a Composition<'c, E>,
    cause: ResetCause,
    /// Copies since the last record that began one.
    passes: u8,
    /// Bank A was broken while nothing was going on, and was copied again.
    healed: bool,
}

impl<H: Hardware, E: Engine<H>> Pass<'_, '_, H, E> {
    fn bank_a(&mut self) -> Verdict {
        judge(self.hw, Area::BankA, None, self.composition.run_checks, &[])
    }

    fn golden(&mut self, golden: Option<Slot>, checks: &[&dyn Check]) -> Verdict {
        match golden {
            Some(slot) => judge(self.hw, Area::Slot(slot), None, checks, &[]),
            None => Err(Reason::GoldenInvalid),
        }
    }

    /// Whether bank A claims to be the image in `slot`: cheap, and asked before anything is hashed.
    fn bank_a_claims_to_be(&mut self, slot: Slot) -> bool {
        let (Ok(here), Ok(there)) = (find(self.hw, Area::BankA), find(self.hw, Area::Slot(slot))) else {
            return false;
        };
        here.facts.sha256 == there.facts.sha256
    }

    fn bank_a_is(&mut self, slot: Slot) -> bool {
        self.bank_a_claims_to_be(slot) && self.bank_a().is_ok()
    }

    /// Gathers what the decision needs in this phase, and nothing else.
    fn look(&mut self, record: Option<Record>) -> BootInputs {
        let passes_left = self.passes < MAX_PASSES;
        let Some(record) = record else {
            return self.look_without_journal();
        };
        match record.phase {
            Phase::Idle => {
                let bank_a = self.bank_a();
                let golden = match bank_a {
                    Ok(()) => Ok(()),
                    Err(_) => self.golden(record.golden, self.composition.run_checks),
                };
                BootInputs::Idle { bank_a, golden, golden_known: record.golden.is_some(), passes_left }
            }
            Phase::Pending => BootInputs::Pending {
                request: judge(
                    self.hw,
                    Area::Slot(record.target),
                    record.golden,
                    self.composition.install_checks,
                    self.composition.run_checks,
                ),
            },
            Phase::Install => BootInputs::Install { complete: self.bank_a_is(record.target), passes_left },
            Phase::Trial => BootInputs::Trial { bank_a: self.bank_a() },
            Phase::Started => {
                let policy = self.composition.rollback.unconfirmed(self.cause);
                let bank_a = match policy {
                    Unconfirmed::RollBack => Ok(()),
                    Unconfirmed::RunAgain => self.bank_a(),
                };
                BootInputs::Started { policy, bank_a }
            }
            Phase::Rollback => {
                let complete = record.golden.is_some_and(|slot| self.bank_a_is(slot));
                let golden = if complete { Ok(()) } else { self.golden(record.golden, self.composition.return_checks) };
                // Bank A matters only when golden is no use.
                let bank_a = if golden.is_ok() { Ok(()) } else { self.bank_a() };
                BootInputs::Rollback { complete, bank_a, golden, passes_left }
            }
        }
    }

    fn look_without_journal(&mut self) -> BootInputs {
        let bank_a = self.bank_a();
        let slot = match bank_a {
            Ok(()) => Slot::ALL.into_iter().find(|slot| {
                self.bank_a_claims_to_be(*slot) && self.golden(Some(*slot), self.composition.run_checks).is_ok()
            }),
            Err(_) => self.slot_to_restore_from(),
        };
        BootInputs::Blank { bank_a, slot }
    }

    /// With journal and bank A both lost, the older of the images that fit the stored configuration: a staged image that
    /// nobody confirmed is never the older one, and after a confirmed migration the old image does not fit any more.
    fn slot_to_restore_from(&mut self) -> Option<Slot> {
        let mut best: Option<(Slot, mk_wire::Version)> = None;
        for slot in Slot::ALL {
            if self.golden(Some(slot), self.composition.return_checks).is_err() {
                continue;
            }
            let Ok(found) = find(self.hw, Area::Slot(slot)) else { continue };
            if best.is_none_or(|(_, version)| found.facts.version() < version) {
                best = Some((slot, found.facts.version()));
            }
        }
        best.map(|(slot, _)| slot)
    }

    /// Carries a decision out; returns the state as it stands then.
    fn act(&mut self, record: Option<Record>, decision: BootDecision) -> Result<Option<Record>, FlashFault> {
        let current = record.unwrap_or(Record::factory(None));
        let next = match decision {
            BootDecision::Run | BootDecision::Stay(_) => {
                return match self.restored(decision, current) {
                    Some(next) => self.append(next),
                    None => Ok(record),
                };
            }
            BootDecision::CopyTarget => {
                self.copy(current.target);
                return Ok(record);
            }
            BootDecision::CopyGolden => {
                self.healed = current.phase == Phase::Idle;
                if let Some(slot) = current.golden {
                    self.copy(slot);
                }
                return Ok(record);
            }
            BootDecision::Adopt { golden } => Record::factory(golden),
            BootDecision::MakeGolden => {
                self.passes = self.passes.saturating_add(1);
                let slot = current.staging().other();
                let _given_up = copy_out(self.hw, slot);
                // A copy counts when it proves itself, not when copying it went well.
                if !self.bank_a_claims_to_be(slot) || self.golden(Some(slot), self.composition.run_checks).is_err() {
                    return Ok(record);
                }
                Record { golden: Some(slot), ..current }
            }
            BootDecision::Reject(reason) => {
                // A golden image that does not prove itself is no golden image: the next look makes a new one.
                let golden = if reason == Reason::GoldenInvalid { None } else { current.golden };
                Record { phase: Phase::Idle, outcome: Outcome::Rejected, reason, golden, ..current }
            }
            BootDecision::BeginInstall => {
                self.passes = 0;
                Record { phase: Phase::Install, ..current }
            }
            BootDecision::Installed => Record { phase: Phase::Trial, ..current },
            BootDecision::BeginRollBack(reason) => {
                self.passes = 0;
                Record { phase: Phase::Rollback, reason, ..current }
            }
            BootDecision::RolledBack => Record { phase: Phase::Idle, outcome: Outcome::RolledBack, ..current },
            BootDecision::Keep(reason) => {
                Record { phase: Phase::Idle, outcome: Outcome::Kept, reason, golden: Some(current.target), ..current }
            }
            BootDecision::RunTrial => Record { phase: Phase::Started, ..current },
        };
        self.append(next)
    }

    /// The record of a bank A that was restored in this boot and runs now.
    fn restored(&self, decision: BootDecision, current: Record) -> Option<Record> {
        let healed = self.healed && decision == BootDecision::Run;
        let news = current.outcome == Outcome::None || current.outcome == Outcome::Confirmed;
        (healed && news).then_some(Record { outcome: Outcome::Restored, reason: Reason::BankCorrupted, ..current })
    }

    fn append(&mut self, record: Record) -> Result<Option<Record>, FlashFault> {
        Journal::of(self.hw).append(self.hw, record).map(Some)
    }

    /// One pass of the engine. Whether it worked, the next look finds out from bank A itself, so a fault only costs
    /// the pass.
    fn copy(&mut self, from: Slot) {
        self.passes = self.passes.saturating_add(1);
        let _given_up = self.composition.engine.install(self.hw, from);
    }

    fn report(&mut self, run: Run, record: Option<Record>, decisions: Vec<BootDecision, MAX_STEPS>) -> BootReport {
        let image = match run {
            Run::Application { .. } => find(self.hw, Area::BankA).ok().map(|found| found.facts),
            Run::StayInBootloader(_) => None,
        };
        BootReport { run, cause: self.cause, record, image, decisions }
    }
}
