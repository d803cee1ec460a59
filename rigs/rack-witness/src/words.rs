//! From the firmware's words to the harness's. Nothing is judged here, only renamed.

use hil_model::fact::{self, UpdatePhase};
use hil_model::{NodeId, Span, Time, Version};
use mk_wire::distribution::RetrievedPhase;
use mk_wire::time::{Duration, Instant};
use mk_wire::{Addr, Reason, update, vendor};

/// A version.
#[must_use]
pub const fn version(v: mk_wire::Version) -> Version {
    Version { major: v.major, minor: v.minor, revision: v.revision, build: v.build }
}

/// A version, for the firmware.
#[must_use]
pub const fn wire_version(v: Version) -> mk_wire::Version {
    mk_wire::Version { major: v.major, minor: v.minor, revision: v.revision, build: v.build }
}

/// Firmware time of a rack time; firmware counts microseconds.
#[must_use]
pub const fn instant(t: Time) -> Instant {
    Instant::from_ticks(t.0 / 1_000)
}

/// Rack time of a firmware time.
#[must_use]
pub const fn time(i: Instant) -> Time {
    Time(i.as_ticks().saturating_mul(1_000))
}

/// A firmware duration.
#[must_use]
pub const fn duration(s: Span) -> Duration {
    Duration::from_ticks(s.0 / 1_000)
}

/// A span.
#[must_use]
pub const fn span(d: Duration) -> Span {
    Span(d.as_ticks().saturating_mul(1_000))
}

/// The node behind an address.
#[must_use]
pub const fn node(a: Addr) -> Option<NodeId> {
    NodeId::from_unicast(a.0)
}

/// The address of a node.
#[must_use]
pub const fn addr(n: NodeId) -> Addr {
    Addr(n.unicast())
}

/// The reason's text; none where there is nothing to say.
#[must_use]
pub fn reason(r: Reason) -> Option<String> {
    (r != Reason::None).then(|| r.text().to_owned())
}

/// A phase of the update server.
#[must_use]
pub const fn phase(p: update::Phase) -> UpdatePhase {
    match p {
        update::Phase::Idle => UpdatePhase::Idle,
        update::Phase::TransferError => UpdatePhase::TransferError,
        update::Phase::TransferActive => UpdatePhase::TransferActive,
        update::Phase::VerifyingUpdate => UpdatePhase::Verifying,
        update::Phase::VerificationSucceeded => UpdatePhase::VerificationSucceeded,
        update::Phase::VerificationFailed => UpdatePhase::VerificationFailed,
        update::Phase::ApplyingUpdate => UpdatePhase::Applying,
    }
}

/// A phase as retrieved by the distributor.
#[must_use]
pub const fn retrieved(p: RetrievedPhase) -> UpdatePhase {
    match p {
        RetrievedPhase::Idle => UpdatePhase::Idle,
        RetrievedPhase::TransferError => UpdatePhase::TransferError,
        RetrievedPhase::TransferActive => UpdatePhase::TransferActive,
        RetrievedPhase::VerifyingUpdate => UpdatePhase::Verifying,
        RetrievedPhase::VerificationSucceeded => UpdatePhase::VerificationSucceeded,
        RetrievedPhase::VerificationFailed => UpdatePhase::VerificationFailed,
        RetrievedPhase::ApplyingUpdate => UpdatePhase::Applying,
        RetrievedPhase::TransferCanceled => UpdatePhase::TransferCanceled,
        RetrievedPhase::ApplySuccess => UpdatePhase::ApplySuccess,
        RetrievedPhase::ApplyFailed => UpdatePhase::ApplyFailed,
        RetrievedPhase::Unknown => UpdatePhase::Unknown,
    }
}

/// What a report says of the last update, for an operator.
#[must_use]
pub fn report_says(report: &vendor::Report) -> String {
    if let Some(reason) = reason(report.reason) {
        return reason;
    }
    let outcome = match report.outcome {
        vendor::BootOutcome::None => "no update yet",
        vendor::BootOutcome::FirstBoot => "first boot",
        vendor::BootOutcome::Confirmed => "confirmed",
        vendor::BootOutcome::Unconfirmed => "trial, not confirmed",
        vendor::BootOutcome::RolledBack => "rolled back",
        vendor::BootOutcome::Rejected => "rejected",
    };
    outcome.to_owned()
}

/// Cause of a reset, as the bootloader reads it.
#[must_use]
pub const fn boot_cause(cause: fact::ResetCause) -> mk_boot::ResetCause {
    match cause {
        fact::ResetCause::PowerOn => mk_boot::ResetCause::PowerOn,
        fact::ResetCause::Pin => mk_boot::ResetCause::Pin,
        fact::ResetCause::Software => mk_boot::ResetCause::Software,
        fact::ResetCause::Watchdog => mk_boot::ResetCause::Watchdog,
        fact::ResetCause::Lockup => mk_boot::ResetCause::Lockup,
    }
}
