//! What a sweep found, and the proof that it swept.

use std::{collections::BTreeMap, fmt};

use mk_boot::journal::Phase;
use virtual_flash::{Fired, MemoCounts, TearModel};

use crate::journey::{End, Journey};

/// Where the power went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Number of the operation within the journey, or within the boot after the first cut.
    pub operation: usize,
    /// How it was torn.
    pub tear: TearModel,
    /// The proof: address, octets before and after.
    pub fired: Fired,
}

/// What is wrong with a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The journal said something that it said neither before nor after the operation.
    #[error("the journal says {0:?}, which is neither the state before the operation nor after it")]
    ThirdState(Option<Phase>),
    /// Boot gave an error with the power on.
    #[error("boot failed: {0}")]
    BootFailed(mk_boot::FlashFault),
    /// Boot ended in a way that is not allowed, or bank A does not hold what boot says.
    #[error("expected {expected:?}, found {found:?}")]
    WrongEnd {
        /// The only allowed end.
        expected: Option<End>,
        /// What was found; `None`: claim and octets do not fit each other.
        found: Option<End>,
    },
    /// The node did not live on as it must after that end.
    #[error("after {after:?} the next boots went wrong")]
    LifeAfter {
        /// The end it had reached.
        after: End,
    },
    /// A word was written more often than the part allows.
    #[error("a word was written a third time")]
    OverWritten,
    /// The journey wrote to the external flash.
    #[error("a slot was written")]
    SlotWritten,
}

/// A point that is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// In which journey.
    pub journey: Journey,
    /// The first cut.
    pub first: Option<Cut>,
    /// The second cut, during the boot after the first.
    pub second: Option<Cut>,
    /// What is wrong.
    pub wrong: Wrong,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.journey.name(), self.wrong)?;
        for cut in [&self.first, &self.second].into_iter().flatten() {
            write!(
                formatter,
                "; cut at operation {} ({} {:#x}, {})",
                cut.operation,
                cut.fired.memory,
                cut.fired.address,
                cut.tear.name()
            )?;
        }
        Ok(())
    }
}

/// One journey.
#[derive(Clone, Debug, Default)]
pub struct JourneyReport {
    /// Flash operations of the journey without a cut.
    pub operations: usize,
    /// Single cuts: operations times tear models.
    pub single_expected: u64,
    /// Single cuts that were applied.
    pub single_fired: u64,
    /// Pairs of cuts that were planned.
    pub double_expected: u64,
    /// Pairs of cuts that were applied.
    pub double_fired: u64,
    /// How the points ended.
    pub ends: BTreeMap<End, u64>,
}

/// The whole sweep.
#[derive(Clone, Debug, Default)]
pub struct SweepReport {
    /// Per journey.
    pub journeys: BTreeMap<Journey, JourneyReport>,
    /// The first wrong points of each journey, at most [`SweepReport::MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// All wrong points.
    pub wrong_points: u64,
    /// ECDSA checks: one real check per distinct key, digest and signature.
    pub ecdsa: MemoCounts,
    /// SHA-256 runs.
    pub digests: MemoCounts,
}

impl SweepReport {
    /// Findings that are kept in full, per journey.
    pub const MAX_FINDINGS: usize = 20;

    /// Points tried.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.journeys.values().map(|journey| journey.single_fired + journey.double_fired).sum()
    }

    /// Whether every planned cut was applied, every point is right, and signatures were really checked.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.wrong_points == 0
            && self.points() > 0
            && self.ecdsa.real > 0
            && self.journeys.values().all(|journey| {
                journey.single_fired == journey.single_expected && journey.double_fired == journey.double_expected
            })
    }

    pub(crate) fn wrong(&mut self, finding: Finding) {
        self.wrong_points += 1;
        let kept = self.findings.iter().filter(|kept| kept.journey == finding.journey).count();
        if kept < Self::MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

impl fmt::Display for SweepReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (journey, report) in &self.journeys {
            write!(
                formatter,
                "{:<10} {:>7} operations, single cuts {} of {} fired",
                journey.name(),
                report.operations,
                report.single_fired,
                report.single_expected
            )?;
            if report.double_expected > 0 {
                write!(formatter, ", double cuts {} of {} fired", report.double_fired, report.double_expected)?;
            }
            writeln!(formatter)?;
            for (end, count) in &report.ends {
                writeln!(formatter, "           {count:>9} ended {end:?}")?;
            }
        }
        writeln!(
            formatter,
            "{} points, {} wrong; ECDSA checks {} real, {} remembered; SHA-256 {} real, {} remembered",
            self.points(),
            self.wrong_points,
            self.ecdsa.real,
            self.ecdsa.remembered,
            self.digests.real,
            self.digests.remembered
        )?;
        for finding in &self.findings {
            writeln!(formatter, "  {finding}")?;
        }
        Ok(())
    }
}
