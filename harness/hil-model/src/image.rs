//! What the harness says of images and banks, from its own reading of the bytes, never from the node's word.

use crate::ids::Digest;
use core::fmt;
use core::str::FromStr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of an image in MCUboot's shape; written `1.2.3+4`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct Version {
    /// Major number.
    pub major: u8,
    /// Minor number.
    pub minor: u8,
    /// Revision.
    pub revision: u16,
    /// Build number.
    pub build: u32,
}

impl Version {
    /// A version with build number 0.
    #[must_use]
    pub const fn new(major: u8, minor: u8, revision: u16) -> Self {
        Self { major, minor, revision, build: 0 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.revision)?;
        if self.build == 0 { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

/// A text that is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version; write major.minor.revision or major.minor.revision+build (`1.2.0`)")]
pub struct BadVersion(pub String);

impl FromStr for Version {
    type Err = BadVersion;
    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.to_owned());
        let (core, build) = text.split_once('+').map_or((text, Some(0)), |(c, b)| (c, b.parse().ok()));
        let mut parts = core.split('.');
        let version = (|| {
            let major = parts.next()?.parse().ok()?;
            let minor = parts.next()?.parse().ok()?;
            let revision = parts.next()?.parse().ok()?;
            parts.next().is_none().then_some(Self { major, minor, revision, build: build? })
        })();
        version.ok_or_else(bad)
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Name of an image within a plan, such as `running` or `candidate`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ImageLabel(pub String);

/// Places in flash that the probe reads. Bank B is the pair of slots; which one is staging is the journal's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BankArea {
    /// The running bank.
    A,
    /// External slot 0.
    Slot0,
    /// External slot 1.
    Slot1,
    /// The slot that is staging at the moment of the action.
    Staging,
    /// The slot that is golden at the moment of the action.
    Golden,
    /// The configuration partition.
    Config,
    /// The boot journal.
    Journal,
}

/// What the independent examiner found in a bank's bytes under the provisioned key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageCheck {
    /// Complete, hash right, signature valid under the provisioned key.
    Valid,
    /// Erased flash.
    Empty,
    /// No well-formed image.
    Malformed,
    /// Bytes differ from their hash.
    HashMismatch,
    /// Signature does not verify under the provisioned key.
    BadSignature,
    /// No signature.
    Unsigned,
}

/// One bank as read by the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct BankState {
    /// SHA-256 over all bytes of the bank.
    pub digest: Digest,
    /// The examiner's finding.
    pub check: ImageCheck,
    /// Version in the header, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// `config_migration_version` of the image, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<u16>,
}

/// How a fixture image behaves once it runs. The build id inside its payload names the behaviour; the bytes decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// The product: confirms, reports, serves updates.
    Normal,
    /// Runs, but never sends its first-boot confirmation.
    NeverConfirms,
    /// Crashes right after the jump, every time.
    CrashesAtBoot,
    /// Runs for a while, crashes, and would do so for ever.
    CrashLoops,
    /// Masks interrupts and spins until the watchdog fires.
    HangsAtBoot,
    /// Confirms, then reports itself degraded.
    Degraded,
    /// Its migration handler fails half-way.
    MigrationFails,
}

impl Behaviour {
    /// Every behaviour, in order.
    pub const ALL: [Self; 7] = [
        Self::Normal,
        Self::NeverConfirms,
        Self::CrashesAtBoot,
        Self::CrashLoops,
        Self::HangsAtBoot,
        Self::Degraded,
        Self::MigrationFails,
    ];

    /// The build id that an image of this behaviour carries in its payload; at most 32 octets.
    #[must_use]
    pub const fn build_id(self) -> &'static str {
        match self {
            Self::Normal => "mk-node",
            Self::NeverConfirms => "fx-never-confirms",
            Self::CrashesAtBoot => "fx-crashes-at-boot",
            Self::CrashLoops => "fx-crash-loops",
            Self::HangsAtBoot => "fx-hangs-at-boot",
            Self::Degraded => "fx-degraded",
            Self::MigrationFails => "fx-migration-fails",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("1.2.3", Some(Version { major: 1, minor: 2, revision: 3, build: 0 }))]
    #[case("1.2.3+4", Some(Version { major: 1, minor: 2, revision: 3, build: 4 }))]
    #[case("256.0.0", None)]
    #[case("1.2", None)]
    #[case("1.2.3.4", None)]
    #[case("1.2.3+", None)]
    fn versions_are_strict(#[case] text: &str, #[case] want: Option<Version>) {
        assert_eq!(text.parse::<Version>().ok(), want);
        if let Some(version) = want {
            assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }
    }
}
