//! The sweep itself.

use std::collections::BTreeSet;

use mk_boot::{
    Composition, Hardware, ResetCause, Slot, boot,
    engine::Engine,
    journal::Record,
    update::{self, Confirmation, UpdateError},
};
use virtual_flash::{ContentKey, FlashArray, LoggedOperation, TearModel};

use crate::{
    journey::{End, Held, Journey, end_of, state},
    report::{Cut, Finding, JourneyReport, SweepReport, Wrong},
    rig::Rig,
    scene::Scene,
};

/// Which pairs of cuts are tried: the second one falls in the boot after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubleCuts {
    /// None.
    None,
    /// After every `stride`-th first cut, the second at each of the next `window` operations, and `random` more anywhere
    /// behind. Second tears take turns, so that a pair costs one point.
    Window {
        /// First cuts taken: every how many.
        stride: usize,
        /// Operations after the first cut that are cut.
        window: usize,
        /// Second cuts at random places behind the window, per first cut.
        random: usize,
    },
    /// Every pair of operations in every pair of tears.
    All,
}

/// What to sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepOptions {
    /// Seed of torn bits and random pairs.
    pub seed: u64,
    /// Every how many operations a single cut falls; 1: at every one.
    pub stride: usize,
    /// Pairs.
    pub double: DoubleCuts,
}

impl Default for SweepOptions {
    fn default() -> Self {
        Self { seed: 1, stride: 1, double: DoubleCuts::None }
    }
}

/// Sweeps all four journeys from a scene.
///
/// # Errors
/// A journey that fails without any cut: then there is nothing to sweep.
pub fn sweep<const PAGE: usize, E: Engine<Rig<PAGE>>>(
    scene: &Scene<PAGE>,
    composition: &Composition<'_, E>,
    options: SweepOptions,
) -> Result<SweepReport, UpdateError> {
    let mut sweep = Sweep {
        scene,
        composition,
        options,
        rig: scene.rig.clone(),
        seen: BTreeSet::new(),
        report: SweepReport::default(),
    };
    for journey in Journey::ALL {
        sweep.journey(journey)?;
    }
    sweep.report.ecdsa = sweep.rig.ecdsa_counts();
    sweep.report.digests = sweep.rig.digest_counts();
    Ok(sweep.report)
}

struct Sweep<'a, 'c, const PAGE: usize, E> {
    scene: &'a Scene<PAGE>,
    composition: &'a Composition<'c, E>,
    options: SweepOptions,
    rig: Rig<PAGE>,
    /// End states, octet for octet, that were found to live on well.
    seen: BTreeSet<(ContentKey, End)>,
    report: SweepReport,
}

impl<const PAGE: usize, E: Engine<Rig<PAGE>>> Sweep<'_, '_, PAGE, E> {
    fn journey(&mut self, journey: Journey) -> Result<(), UpdateError> {
        self.rig.internal.clone_from(&self.scene.rig.internal);
        self.rig.external.clone_from(&self.scene.rig.external);
        journey.prepare(&mut self.rig, self.composition)?;
        let mut base = self.rig.internal.clone();
        let slots_before = self.rig.external.total_activity();

        self.rig.internal.record_operations(true);
        journey.travel(&mut self.rig, self.composition)?;
        let log = self.rig.internal.take_log();
        self.rig.internal.record_operations(false);
        if self.rig.external.total_activity() != slots_before {
            self.report.wrong(Finding { journey, first: None, second: None, wrong: Wrong::SlotWritten });
        }
        self.report.journeys.insert(journey, JourneyReport { operations: log.len(), ..JourneyReport::default() });

        let tears = TearModel::all(self.options.seed);
        self.restore(&base);
        let mut before = state(&mut self.rig)?;
        for (number, operation) in log.iter().enumerate() {
            let after = self.done_whole(&base, operation, before)?;
            if number % self.options.stride.max(1) == 0 {
                for tear in tears {
                    self.single(journey, &base, (number, operation), tear, [before, after])?;
                }
            }
            base.apply(operation).map_err(|_| UpdateError::NoState)?;
            before = after;
        }
        Ok(())
    }

    /// What the journal says once an operation is done whole: the only other state there may be.
    fn done_whole(
        &mut self,
        base: &FlashArray<PAGE, 1>,
        operation: &LoggedOperation,
        before: Option<Record>,
    ) -> Result<Option<Record>, UpdateError> {
        self.restore(base);
        if !self.touches_journal(operation) {
            return Ok(before);
        }
        self.rig.internal.apply(operation).map_err(|_| UpdateError::NoState)?;
        Ok(state(&mut self.rig)?)
    }

    fn touches_journal(&self, operation: &LoggedOperation) -> bool {
        self.rig.geometry().journal.contains(operation.address)
    }

    fn single(
        &mut self,
        journey: Journey,
        base: &FlashArray<PAGE, 1>,
        (number, operation): (usize, &LoggedOperation),
        tear: TearModel,
        states: [Option<Record>; 2],
    ) -> Result<(), UpdateError> {
        self.counts(journey).single_expected += 1;
        self.restore(base);
        let Ok(fired) = self.rig.internal.apply_torn(operation, tear) else {
            return Ok(());
        };
        self.counts(journey).single_fired += 1;
        let double = self.wants_double(number);
        let torn = double.then(|| self.rig.internal.clone());
        let cut = Cut { operation: number, tear, fired };
        self.rig.internal.record_operations(double);
        let verdict = self.judge(journey, states);
        let log = self.rig.internal.take_log();
        self.rig.internal.record_operations(false);
        if let Err(wrong) = verdict {
            self.report.wrong(Finding { journey, first: Some(cut), second: None, wrong });
            return Ok(());
        }
        match torn {
            Some(torn) => self.doubles(journey, torn, &cut, &log),
            None => Ok(()),
        }
    }

    fn wants_double(&self, number: usize) -> bool {
        match self.options.double {
            DoubleCuts::None => false,
            DoubleCuts::Window { stride, .. } => number.is_multiple_of(stride.max(1)),
            DoubleCuts::All => true,
        }
    }

    /// Second cuts in the boot whose operations are `log`, starting from the torn flash.
    fn doubles(
        &mut self,
        journey: Journey,
        mut base: FlashArray<PAGE, 1>,
        first: &Cut,
        log: &[LoggedOperation],
    ) -> Result<(), UpdateError> {
        let chosen = self.second_cuts(first, log.len());
        let tears = TearModel::all(self.options.seed ^ 0x5EC0_4D00);
        self.restore(&base);
        let mut before = state(&mut self.rig)?;
        for (number, operation) in log.iter().enumerate() {
            let after = self.done_whole(&base, operation, before)?;
            let some: &[TearModel] = match self.options.double {
                DoubleCuts::All => &tears,
                DoubleCuts::Window { .. } if chosen.contains(&number) => {
                    let turn = (first.operation + number) % tears.len();
                    &tears[turn..=turn]
                }
                DoubleCuts::Window { .. } | DoubleCuts::None => &[],
            };
            for tear in some {
                self.counts(journey).double_expected += 1;
                self.restore(&base);
                let Ok(fired) = self.rig.internal.apply_torn(operation, *tear) else { continue };
                self.counts(journey).double_fired += 1;
                if let Err(wrong) = self.judge(journey, [before, after]) {
                    let second = Cut { operation: number, tear: *tear, fired };
                    self.report.wrong(Finding { journey, first: Some(first.clone()), second: Some(second), wrong });
                }
            }
            base.apply(operation).map_err(|_| UpdateError::NoState)?;
            before = after;
            if chosen.last().is_some_and(|last| *last <= number) && self.options.double != DoubleCuts::All {
                break;
            }
        }
        Ok(())
    }

    fn second_cuts(&self, first: &Cut, operations: usize) -> BTreeSet<usize> {
        match self.options.double {
            DoubleCuts::None => BTreeSet::new(),
            DoubleCuts::All => (0..operations).collect(),
            DoubleCuts::Window { window, random, .. } => {
                let mut chosen: BTreeSet<usize> = (0..operations.min(window)).collect();
                let mut draw = self.options.seed ^ (first.operation as u64) << 8;
                for _ in 0..random {
                    draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    if operations > 0 {
                        chosen.insert((draw >> 33) as usize % operations);
                    }
                }
                chosen
            }
        }
    }

    /// The power is back: one boot, and what became of the node.
    fn judge(&mut self, journey: Journey, states: [Option<Record>; 2]) -> Result<(), Wrong> {
        let found = state(&mut self.rig).map_err(Wrong::BootFailed)?;
        if !states.contains(&found) {
            return Err(Wrong::ThirdState(found.map(|record| record.phase)));
        }
        let violations = self.rig.internal.violations();
        let report = boot(&mut self.rig, self.composition, ResetCause::PowerOn).map_err(Wrong::BootFailed)?;
        if self.rig.internal.violations() != violations {
            return Err(Wrong::OverWritten);
        }
        let held = self.scene.held(&self.rig);
        let end = end_of(&report, held);
        let expected = found.and_then(|record| Journey::expected_end(record.phase, record.outcome));
        match (end, expected) {
            (Some(end), Some(expected)) if end == expected => {
                *self.counts(journey).ends.entry(end).or_default() += 1;
                self.live_on(end)
            }
            (found, expected) => Err(Wrong::WrongEnd { expected, found }),
        }
    }

    /// After the first boot, the next ones. A state that is octet for octet one that lived on well does so again.
    fn live_on(&mut self, end: End) -> Result<(), Wrong> {
        let geometry = self.rig.geometry();
        let mut key = self.rig.internal.content_key(geometry.bank_a.start, self.scene.used);
        key.append(self.rig.internal.content_key(geometry.trailer().start, geometry.trailer().length));
        key.append(self.rig.internal.content_key(geometry.journal.start, geometry.journal.length));
        if self.seen.contains(&(key.clone(), end)) {
            return Ok(());
        }
        let here = self.rig.internal.clone();
        self.rig.internal.record_operations(false);
        let lives = self.next_boots(end, &here);
        self.rig.internal = here;
        if lives {
            self.seen.insert((key, end));
            Ok(())
        } else {
            Err(Wrong::LifeAfter { after: end })
        }
    }

    fn next_boots(&mut self, end: End, here: &FlashArray<PAGE, 1>) -> bool {
        match end {
            // A settled node boots the same image for ever and writes nothing.
            End::OldUndisturbed | End::RolledBack => self.boots_quietly(Held::Old) && self.updates_again(here),
            End::NewConfirmed => self.boots_quietly(Held::New),
            // A trial ends well when it is confirmed, and in a roll-back when it is not.
            End::NewOnTrial => {
                let confirmed = update::confirm(&mut self.rig) == Ok(Confirmation::Confirmed)
                    && self.boots_quietly(Held::New)
                    && update::confirm(&mut self.rig) == Ok(Confirmation::AlreadyConfirmed)
                    && update::staging_slot(&mut self.rig) == Ok(Slot::Zero);
                self.rig.internal.clone_from(here);
                let rolled_back = boot(&mut self.rig, self.composition, ResetCause::Watchdog)
                    .is_ok_and(|report| end_of(&report, self.scene.held(&self.rig)) == Some(End::RolledBack))
                    && matches!(update::confirm(&mut self.rig), Err(UpdateError::NotOnTrial(_)))
                    && self.boots_quietly(Held::Old);
                confirmed && rolled_back
            }
        }
    }

    fn boots_quietly(&mut self, held: Held) -> bool {
        let operations = self.rig.supply().operations();
        let runs = boot(&mut self.rig, self.composition, ResetCause::PowerOn)
            .is_ok_and(|report| report.run == mk_boot::Run::Application { trial: false });
        runs && self.scene.held(&self.rig) == held && self.rig.supply().operations() == operations
    }

    /// The staged image can still be asked for and comes up on trial.
    fn updates_again(&mut self, here: &FlashArray<PAGE, 1>) -> bool {
        let asked = update::request_install(&mut self.rig).is_ok();
        let installed = boot(&mut self.rig, self.composition, ResetCause::Software)
            .is_ok_and(|report| end_of(&report, self.scene.held(&self.rig)) == Some(End::NewOnTrial));
        self.rig.internal.clone_from(here);
        asked && installed
    }

    /// Takes back every page that a journey can touch.
    fn restore(&mut self, base: &FlashArray<PAGE, 1>) {
        let geometry = self.rig.geometry();
        let payload = geometry.bank_a.start..geometry.bank_a.start + self.scene.used;
        for range in [payload, geometry.trailer().start..geometry.trailer().end()] {
            self.rig.internal.restore_from(base, range);
        }
        self.rig.internal.restore_from(base, geometry.journal.start..geometry.journal.end());
        // No journey of the product writes a slot; one that does must not spoil the next point.
        if self.rig.external.total_activity() != self.scene.rig.external.total_activity() {
            self.rig.external.clone_from(&self.scene.rig.external);
        }
    }

    fn counts(&mut self, journey: Journey) -> &mut JourneyReport {
        self.report.journeys.entry(journey).or_default()
    }
}
