//! What a node says of itself without being asked: the node report after a boot, heartbeats, application reports.
//!
//! A boot report is sent [`BOOT_REPORTS`] times with growing gaps, because nothing acknowledges it on the mesh; over CoAP
//! its acknowledgement ends the series. A refusal is reported once at once; a gateway that missed it asks.

use mk_boot::{BootReport, Run, journal::Outcome};
use mk_wire::{
    Reason, Version,
    time::{Duration, Instant},
    update,
    vendor::BootOutcome,
};

use crate::{random::Random, settings::earliest};

/// How often a boot report is sent.
pub(crate) const BOOT_REPORTS: u8 = 4;

/// Gap after the first of them; each further one is three times as long.
const FIRST_GAP: Duration = Duration::from_secs(10);

/// From boot or news to its report: at least this, and at most [`LATEST`].
const EARLIEST: Duration = Duration::from_millis(500);
const LATEST: Duration = Duration::from_millis(2_500);

/// What is known about the last request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    pub outcome: BootOutcome,
    pub reason: Reason,
    pub about: Version,
}

impl Verdict {
    /// What boot decided. `about` is the image of the last request, where its slot still holds it.
    pub fn of_boot(boot: &BootReport, running: Version, about: Option<Version>) -> Self {
        let trial = boot.run == Run::Application { trial: true };
        let outcome = match boot.outcome() {
            _ if trial => BootOutcome::Unconfirmed,
            Outcome::None => BootOutcome::None,
            // Kept and restored images run and are what the journal wants: the reason says what happened.
            Outcome::Confirmed | Outcome::Kept | Outcome::Restored => BootOutcome::Confirmed,
            Outcome::Rejected => BootOutcome::Rejected,
            Outcome::RolledBack => BootOutcome::RolledBack,
        };
        let about = match outcome {
            BootOutcome::Rejected | BootOutcome::RolledBack => about.unwrap_or(Version::new(0, 0, 0)),
            BootOutcome::None | BootOutcome::FirstBoot | BootOutcome::Confirmed | BootOutcome::Unconfirmed => running,
        };
        Verdict { outcome, reason: boot.reason(), about }
    }

    /// An update was refused before anything was installed.
    pub fn refused(reason: Reason, about: Version) -> Self {
        Verdict { outcome: BootOutcome::Rejected, reason, about }
    }

    /// The version that was refused or rolled back.
    pub fn refused_version(&self) -> Option<Version> {
        match self.outcome {
            BootOutcome::RolledBack | BootOutcome::Rejected => Some(self.about),
            BootOutcome::None | BootOutcome::FirstBoot | BootOutcome::Confirmed | BootOutcome::Unconfirmed => None,
        }
    }

    /// The running image was kept.
    pub fn confirmed(running: Version) -> Self {
        Verdict { outcome: BootOutcome::Confirmed, reason: Reason::None, about: running }
    }
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// A node report.
    Report,
    /// A heartbeat.
    Health,
    /// An application report.
    Application,
}

/// When to say what.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// The series of boot reports: the next one, how many are left, and the gap after it.
    series_at: Option<Instant>,
    series_left: u8,
    gap: Duration,
    /// A report for a reason of its own.
    news_at: Option<Instant>,
    health_at: Instant,
    application_at: Instant,
    interval: Duration,
}

impl Schedule {
    pub fn new(now: Instant, interval: Duration, random: &mut Random) -> Self {
        // An interval of nothing would never let the clock go on.
        let interval = interval.max(Duration::from_millis(100));
        // Heartbeat and application report share their phase: one wake-up sends both.
        let first = now + random.between(Duration::from_ticks(0), interval);
        Schedule {
            series_at: Some(now + random.between(EARLIEST, LATEST)),
            series_left: BOOT_REPORTS,
            gap: FIRST_GAP,
            news_at: None,
            health_at: first,
            application_at: first,
            interval,
        }
    }

    /// One report soon: a refusal, or other news.
    pub fn report_soon(&mut self, now: Instant, random: &mut Random) {
        let soon = now + random.between(EARLIEST, LATEST);
        self.news_at = earliest(self.news_at, Some(soon));
    }

    /// The gateway has a report: the series is over. News that came since is still told.
    pub fn report_arrived(&mut self) {
        self.series_at = None;
        self.series_left = 0;
    }

    /// The next thing that is due, moved on to its next time.
    pub fn take(&mut self, now: Instant) -> Option<Due> {
        if self.series_at.is_some_and(|at| at <= now) {
            self.series_left = self.series_left.saturating_sub(1);
            self.series_at = (self.series_left > 0).then_some(now + self.gap);
            self.gap *= 3;
            return Some(Due::Report);
        }
        if self.news_at.is_some_and(|at| at <= now) {
            self.news_at = None;
            return Some(Due::Report);
        }
        if self.health_at <= now {
            self.health_at = next(self.health_at, now, self.interval);
            return Some(Due::Health);
        }
        if self.application_at <= now {
            self.application_at = next(self.application_at, now, self.interval);
            return Some(Due::Application);
        }
        None
    }

    pub fn next_wakeup(&self) -> Option<Instant> {
        let reports = earliest(self.series_at, self.news_at);
        earliest(reports, Some(self.health_at.min(self.application_at)))
    }
}

/// The next time of a series; a caller that slept through some of them does not make up for them.
fn next(last: Instant, now: Instant, interval: Duration) -> Instant {
    let next = last + interval;
    if next > now { next } else { now + interval }
}

/// What a report needs to know of the rest of the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub running: Version,
    pub config_version: u16,
    pub boot_count: u32,
    pub phase: update::Phase,
}

impl Facts {
    pub fn report(&self, verdict: Verdict) -> mk_wire::vendor::Report {
        mk_wire::vendor::Report {
            running: self.running,
            config_version: self.config_version,
            boot_count: self.boot_count,
            outcome: verdict.outcome,
            reason: verdict.reason,
            about: verdict.about,
            update_phase: self.phase,
        }
    }
}
