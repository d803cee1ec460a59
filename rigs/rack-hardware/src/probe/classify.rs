//! What kind of failure an error of the probe library is. The library has one tree of errors per driver and architecture,
//! part of it private: known branches are matched, the rest is told by the words it uses.

use std::error::Error as _;
use std::io;

use probe_rs::Error;
use probe_rs::architecture::arm::ArmError;
use probe_rs::flashing::FlashError;
use probe_rs::probe::{DebugProbeError, ProbeCreationError};

use super::protocol::Failure;

/// The kind, and all messages down to the cause.
pub(super) fn library_failure(error: &Error) -> (Failure, String) {
    let why = chain(error);
    let failure = match error {
        Error::MissingPermissions(_) => Failure::Locked,
        Error::Arm(error) => arm(error, &why),
        Error::Probe(error) => probe(error, &why),
        _ => by_words(&why),
    };
    (failure, why)
}

/// The same for an error of a flash operation.
pub(super) fn flash_failure(error: &FlashError) -> (Failure, String) {
    let why = chain(error);
    let told = by_words(&why);
    if told != Failure::Other {
        return (told, why);
    }
    let address = |address: u64| u32::try_from(address).ok();
    let failure = match error {
        FlashError::EraseFailed { sector_address, .. } => Failure::Flash { address: address(*sector_address) },
        FlashError::PageWrite { page_address, .. } => Failure::Flash { address: address(*page_address) },
        FlashError::NoSuitableNvm { range, .. } => Failure::Flash { address: address(range.start) },
        FlashError::Core(error) | FlashError::ResetAndHalt(error) | FlashError::Run(error) => library_failure(error).0,
        _ => Failure::Flash { address: None },
    };
    (failure, why)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut why = error.to_string();
    let mut cause = error.source();
    let mut depth = 0;
    while let Some(error) = cause.filter(|_| depth < 12) {
        let said = error.to_string();
        if !why.contains(&said) {
            why.push_str(": ");
            why.push_str(&said);
        }
        cause = error.source();
        depth += 1;
    }
    // The library writes some of its messages over several lines.
    why.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn arm(error: &ArmError, why: &str) -> Failure {
    match error {
        ArmError::MissingPermissions(_) => Failure::Locked,
        ArmError::NoTargetResponse { .. } | ArmError::NoArmTarget => match by_words(why) {
            Failure::LinkLost => Failure::LinkLost,
            _ => Failure::NoTarget,
        },
        ArmError::Probe(error) => probe(error, why),
        _ => by_words(why),
    }
}

fn probe(error: &DebugProbeError, why: &str) -> Failure {
    match error {
        DebugProbeError::ProbeCouldNotBeCreated(creation) => creation_failure(creation, why),
        DebugProbeError::Usb(error) => system(error),
        DebugProbeError::TargetNotFound => Failure::NoTarget,
        DebugProbeError::NotImplemented { .. }
        | DebugProbeError::CommandNotSupportedByProbe { .. }
        | DebugProbeError::UnsupportedSpeed(_) => Failure::Refused,
        _ => by_words(why),
    }
}

fn creation_failure(error: &ProbeCreationError, why: &str) -> Failure {
    match error {
        ProbeCreationError::NotFound => Failure::Absent,
        // Among them a system without any USB at all.
        ProbeCreationError::Usb(_) if why.contains("not found") => Failure::Absent,
        ProbeCreationError::Usb(error) => system(error),
        ProbeCreationError::CouldNotOpen => {
            if error.source().is_some() {
                by_words(why)
            } else {
                Failure::Forbidden
            }
        }
        _ => match by_words(why) {
            Failure::Other => Failure::Absent,
            told => told,
        },
    }
}

fn system(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::Forbidden,
        io::ErrorKind::NotFound => Failure::Absent,
        io::ErrorKind::ResourceBusy | io::ErrorKind::AddrInUse => Failure::Busy,
        _ => Failure::LinkLost,
    }
}

/// Words of messages whose types are private, and what they mean.
const WORDS: &[(&str, Failure)] = &[
    ("erase_all", Failure::Locked),
    ("missing permission", Failure::Locked),
    ("access denied", Failure::Forbidden),
    ("permission denied", Failure::Forbidden),
    ("resource busy", Failure::Busy),
    ("device or resource busy", Failure::Busy),
    // The Black Magic driver's word for any error of its link.
    ("probe error", Failure::LinkLost),
    ("broken pipe", Failure::LinkLost),
    ("connection reset", Failure::LinkLost),
    ("connection aborted", Failure::LinkLost),
    ("no such device", Failure::LinkLost),
    ("device disconnected", Failure::LinkLost),
    ("failed to fill whole buffer", Failure::LinkLost),
    ("unexpected end of file", Failure::LinkLost),
    ("locked up", Failure::LockedUp),
    ("lockup", Failure::LockedUp),
    ("no target responded", Failure::NoTarget),
    ("target did not respond", Failure::NoTarget),
];

fn by_words(why: &str) -> Failure {
    let why = why.to_ascii_lowercase();
    WORDS.iter().find(|(words, _)| why.contains(words)).map_or(Failure::Other, |(_, failure)| failure.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Error::MissingPermissions("erase_all".to_owned()), Failure::Locked)]
    #[case(Error::Arm(ArmError::MissingPermissions("erase_all".to_owned())), Failure::Locked)]
    #[case(Error::Probe(DebugProbeError::ProbeCouldNotBeCreated(ProbeCreationError::NotFound)), Failure::Absent)]
    #[case(Error::Probe(DebugProbeError::Usb(io::ErrorKind::PermissionDenied.into())), Failure::Forbidden)]
    #[case(Error::Probe(DebugProbeError::Usb(io::ErrorKind::BrokenPipe.into())), Failure::LinkLost)]
    #[case(Error::Other("An error occurred: Probe error Connection reset by peer".to_owned()), Failure::LinkLost)]
    #[case(Error::Probe(DebugProbeError::TargetNotFound), Failure::NoTarget)]
    #[case(Error::Other("whatever".to_owned()), Failure::Other)]
    fn errors_of_the_library_have_a_kind(#[case] error: Error, #[case] want: Failure) {
        assert_eq!(library_failure(&error).0, want);
    }
}
