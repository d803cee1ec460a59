//! What bootloader and application say on the debug UART, as trace records.

use crate::{app::AppError, console::Piece};
use mk_boot::{BootReport, ResetCause, Run, boot::MAX_STEPS, decide::BootDecision, journal::Outcome};
use mk_node::StartError;
use mk_wire::{
    Reason, Version,
    time::Instant,
    trace::{
        self, BootVerdict, ConfirmationStage, MAX_FRAME, MigrationStage, TraceEvent, TraceRecord, cut_text,
        encode_frame,
    },
    vendor::BootOutcome,
};

/// A record as it goes over the UART.
pub type Frame = heapless::Vec<u8, MAX_FRAME>;

/// Numbers the records of one program since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracer {
    sequence: u8,
}

impl Tracer {
    /// A program that has said nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { sequence: 0 }
    }

    /// A program that has said `sequence` records.
    #[must_use]
    pub const fn from_sequence(sequence: u8) -> Self {
        Self { sequence }
    }

    /// The next record.
    pub fn frame(&mut self, now: Instant, event: TraceEvent) -> Frame {
        let uptime_ms = u32::try_from(now.as_ticks() / 1_000).unwrap_or(u32::MAX);
        let record = TraceRecord { sequence: self.sequence, uptime_ms, event };
        self.sequence = self.sequence.wrapping_add(1);
        encode_frame(&record)
    }
}

/// What the bootloader has to say once it has decided.
#[derive(Clone, Copy, Debug)]
pub struct BootFacts {
    /// Starts, this one included.
    pub boot_count: u32,
    /// Version of the image that the journal's outcome speaks of, while its slot still holds it.
    pub about: Option<Version>,
    /// Signatures that were verified.
    pub signature_checks: u8,
    /// Since the bootloader's start.
    pub took_ms: u32,
}

/// The records of one boot, in order: what the journal says, what this pass came to, and the jump.
#[must_use]
pub fn boot_events(report: &BootReport, facts: BootFacts) -> heapless::Vec<TraceEvent, 3> {
    let none = Version::new(0, 0, 0);
    let running = report.image.as_ref().map_or(none, |image| image.version());
    let trial = report.run == Run::Application { trial: true };
    let outcome = match report.outcome() {
        _ if trial => BootOutcome::FirstBoot,
        Outcome::None => BootOutcome::None,
        Outcome::Confirmed | Outcome::Kept | Outcome::Restored => BootOutcome::Confirmed,
        Outcome::Rejected => BootOutcome::Rejected,
        Outcome::RolledBack => BootOutcome::RolledBack,
    };
    let about = match outcome {
        BootOutcome::Rejected | BootOutcome::RolledBack => facts.about.unwrap_or(none),
        BootOutcome::None | BootOutcome::FirstBoot | BootOutcome::Confirmed | BootOutcome::Unconfirmed => running,
    };
    let (verdict, reason) = verdict(report);
    let mut events = heapless::Vec::new();
    // Three fit.
    let _ = events.push(TraceEvent::Boot {
        boot_count: facts.boot_count,
        outcome,
        reason: report.reason(),
        running,
        about,
    });
    let cause = reset_cause(report.cause);
    let BootFacts { signature_checks, took_ms, .. } = facts;
    let _ = events.push(TraceEvent::BootPass { verdict, cause, reason, signature_checks, took_ms });
    if let (Run::Application { trial }, Some(image)) = (report.run, &report.image) {
        let (config_version, sha256) = (image.config_migration_version, image.sha256);
        let _ = events.push(TraceEvent::ImageJump { trial, version: running, config_version, sha256 });
    }
    events
}

/// What this pass of the bootloader came to, and why.
#[must_use]
pub fn verdict(report: &BootReport) -> (BootVerdict, Reason) {
    let did = |wanted: fn(&BootDecision) -> bool| report.decisions.iter().take(MAX_STEPS).any(wanted);
    match report.run {
        Run::StayInBootloader(reason) => (BootVerdict::Stuck, reason),
        Run::Application { trial: true } => (BootVerdict::Trial, Reason::None),
        Run::Application { trial: false } if did(|d| matches!(d, BootDecision::Reject(_))) => {
            (BootVerdict::Rejected, report.reason())
        }
        Run::Application { trial: false } if did(|d| matches!(d, BootDecision::RolledBack)) => {
            (BootVerdict::RolledBack, report.reason())
        }
        Run::Application { trial: false } if did(|d| matches!(d, BootDecision::CopyGolden)) => {
            (BootVerdict::Healed, report.reason())
        }
        Run::Application { trial: false } => (BootVerdict::Normal, Reason::None),
    }
}

const fn reset_cause(cause: ResetCause) -> trace::ResetCause {
    match cause {
        ResetCause::PowerOn => trace::ResetCause::PowerOn,
        ResetCause::Pin => trace::ResetCause::Pin,
        ResetCause::Software => trace::ResetCause::Software,
        ResetCause::Watchdog => trace::ResetCause::Watchdog,
        ResetCause::Lockup => trace::ResetCause::Lockup,
    }
}

/// A line of the node as a record; `None` for lines that were lost, which a gap in the numbers shows anyway.
#[must_use]
pub fn node_event(event: mk_node::TraceEvent) -> Option<TraceEvent> {
    Some(match event {
        mk_node::TraceEvent::ConfigOpened { schema, .. } => TraceEvent::ConfigOpened { version: schema },
        mk_node::TraceEvent::Migration { from, to, ok } => {
            let stage = if ok { MigrationStage::Done } else { MigrationStage::Failed };
            TraceEvent::Migration { from, to, stage }
        }
        mk_node::TraceEvent::Phase { phase, reason } => TraceEvent::Phase { phase, reason },
        mk_node::TraceEvent::MetadataRefused(reason) => {
            TraceEvent::Phase { phase: mk_wire::update::Phase::Idle, reason }
        }
        mk_node::TraceEvent::Confirmed { boot_count } => {
            TraceEvent::Confirmation { boot_count, stage: ConfirmationStage::Recorded }
        }
        mk_node::TraceEvent::FlashFault => TraceEvent::FlashFault,
        mk_node::TraceEvent::Lost { .. } => return None,
    })
}

/// What a start that failed leaves to say: the node that would have said it does not exist.
#[must_use]
pub fn start_event(error: AppError) -> TraceEvent {
    match error {
        AppError::Node(StartError::Migration { from, to }) => {
            TraceEvent::Migration { from, to, stage: MigrationStage::Failed }
        }
        AppError::Node(StartError::ConfigTooNew { stored, made_for }) => {
            TraceEvent::Migration { from: stored, to: made_for, stage: MigrationStage::Failed }
        }
        AppError::Node(StartError::Config(_) | StartError::Flash | StartError::Unusable) | AppError::Mesh => {
            TraceEvent::FlashFault
        }
    }
}

/// The record of a panic or a fault.
#[must_use]
pub fn panic_event(line: u32, text: &str) -> TraceEvent {
    TraceEvent::Panic { line, text: cut_text(text) }
}

/// The record of a hard fault.
#[must_use]
pub fn fault_event(program_counter: u32, link_register: u32) -> TraceEvent {
    let mut text = trace::Text::new();
    let (at, from) = (Piece::Address(program_counter), Piece::Address(link_register));
    for piece in [Piece::Text("hard fault at "), at, Piece::Text(" from "), from] {
        // Digits and text are ASCII, and all four pieces fit.
        let _ = text.push_str(core::str::from_utf8(piece.octets(&mut [0; 10])).unwrap_or("?"));
    }
    TraceEvent::Panic { line: 0, text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use mk_boot::{Slot, journal::Record};
    use rstest::rstest;

    fn report(run: Run, outcome: Outcome, reason: Reason, decisions: &[BootDecision]) -> BootReport {
        let record = Record { outcome, reason, ..Record::factory(Some(Slot::Zero)) };
        let decisions = heapless::Vec::from_slice(decisions).unwrap();
        BootReport { run, cause: ResetCause::Software, record: Some(record), image: None, decisions }
    }

    const RUNS: Run = Run::Application { trial: false };
    const REFUSED: Reason = Reason::SignatureBad;

    #[rstest]
    #[case::nothing_new(RUNS, Outcome::None, &[BootDecision::Run], BootVerdict::Normal)]
    #[case::refused_now(RUNS, Outcome::Rejected, &[BootDecision::Reject(REFUSED), BootDecision::Run], BootVerdict::Rejected)]
    #[case::refused_before(RUNS, Outcome::Rejected, &[BootDecision::Run], BootVerdict::Normal)]
    #[case::rolled_back_now(
        RUNS,
        Outcome::RolledBack,
        &[BootDecision::CopyGolden, BootDecision::RolledBack, BootDecision::Run],
        BootVerdict::RolledBack
    )]
    #[case::rolled_back_before(RUNS, Outcome::RolledBack, &[BootDecision::Run], BootVerdict::Normal)]
    #[case::healed(RUNS, Outcome::Restored, &[BootDecision::CopyGolden, BootDecision::Run], BootVerdict::Healed)]
    #[case::trial(Run::Application { trial: true }, Outcome::None, &[BootDecision::RunTrial], BootVerdict::Trial)]
    #[case::stuck(Run::StayInBootloader(REFUSED), Outcome::None, &[BootDecision::Stay(REFUSED)], BootVerdict::Stuck)]
    fn the_verdict_is_about_this_pass(
        #[case] run: Run,
        #[case] outcome: Outcome,
        #[case] decisions: &[BootDecision],
        #[case] expected: BootVerdict,
    ) {
        let report = report(run, outcome, REFUSED, decisions);
        let (found, reason) = verdict(&report);
        assert_eq!(found, expected);
        let silent = matches!(expected, BootVerdict::Normal | BootVerdict::Trial);
        assert_eq!(reason, if silent { Reason::None } else { REFUSED });
    }

    #[test]
    fn a_bootloader_that_stays_reports_no_jump() {
        let facts = BootFacts { boot_count: 3, about: None, signature_checks: 1, took_ms: 5 };
        let stuck = report(Run::StayInBootloader(REFUSED), Outcome::None, REFUSED, &[]);
        let events = boot_events(&stuck, facts);
        assert_eq!(events.len(), 2);
        assert!(matches!(events[0], TraceEvent::Boot { boot_count: 3, .. }));
        assert!(matches!(events[1], TraceEvent::BootPass { verdict: BootVerdict::Stuck, signature_checks: 1, .. }));
    }

    #[test]
    fn records_are_numbered_and_a_number_can_be_taken_up() {
        let mut tracer = Tracer::from_sequence(255);
        let now = Instant::from_ticks(1_500);
        let mut decoder = trace::Decoder::new();
        let mut numbers = std::vec::Vec::new();
        for _ in 0..2 {
            for octet in tracer.frame(now, TraceEvent::FlashFault) {
                if let Some(record) = decoder.push(octet) {
                    let record = record.unwrap();
                    numbers.push((record.sequence, record.uptime_ms));
                }
            }
        }
        assert_eq!(numbers, [(255, 1), (0, 1)]);
    }

    #[test]
    fn a_migration_that_failed_is_said_though_no_node_started() {
        let failed = start_event(AppError::Node(StartError::Migration { from: 2, to: 3 }));
        assert_eq!(failed, TraceEvent::Migration { from: 2, to: 3, stage: MigrationStage::Failed });
        assert_eq!(start_event(AppError::Mesh), TraceEvent::FlashFault);
    }

    #[test]
    fn a_fault_says_where_it_happened() {
        let TraceEvent::Panic { text, .. } = fault_event(0x1_0204, 0xFFFF_FFF9) else { panic!("no panic record") };
        assert_eq!(text, "hard fault at 00010204 from fffffff9");
    }
}
