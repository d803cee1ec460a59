//! The schemas of the configuration, oldest first. A schema never changes once it was released: a new field is a new
//! schema and a handler in [`crate::migrate`].

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Lighting groups that a node can belong to.
pub const MAX_GROUPS: usize = 8;
/// Scenes that a node remembers.
pub const SCENES: usize = 4;
/// The newest schema of this firmware.
pub const NEWEST_SCHEMA: u16 = 3;

/// Schema 1.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigV1 {
    /// Unicast address at commissioning.
    pub address: u16,
    /// Light level after power-up, 0 off to 255 full.
    pub level: u8,
}

/// Schema 2: groups and scenes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigV2 {
    /// Unicast address at commissioning.
    pub address: u16,
    /// Light level after power-up.
    pub level: u8,
    /// Lighting groups.
    pub groups: Vec<u16, MAX_GROUPS>,
    /// Light level of each scene.
    pub scenes: [u8; SCENES],
}

/// Schema 3: report interval and calibration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigV3 {
    /// Unicast address at commissioning.
    pub address: u16,
    /// Light level after power-up.
    pub level: u8,
    /// Lighting groups.
    pub groups: Vec<u16, MAX_GROUPS>,
    /// Light level of each scene.
    pub scenes: [u8; SCENES],
    /// Seconds between two reports; 0 for what the node was provisioned with.
    pub report_interval_s: u16,
    /// Added to the temperature sensor, in hundredths of a degree Celsius.
    pub calibration_centi_c: i16,
}

/// A configuration of some schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Config {
    /// Schema 1.
    V1(ConfigV1),
    /// Schema 2.
    V2(ConfigV2),
    /// Schema 3.
    V3(ConfigV3),
}

/// What every schema knows, and what therefore must be the same before and after any update or roll-back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserSettings {
    /// Unicast address at commissioning.
    pub address: u16,
    /// Light level after power-up.
    pub level: u8,
}

impl Config {
    /// What a node starts with that nobody commissioned; `None` for a schema this firmware does not know.
    #[must_use]
    pub fn factory(schema: u16, address: u16) -> Option<Self> {
        let level = u8::MAX;
        let (groups, scenes) = (Vec::new(), [u8::MAX, 128, 64, 0]);
        Some(match schema {
            1 => Config::V1(ConfigV1 { address, level }),
            2 => Config::V2(ConfigV2 { address, level, groups, scenes }),
            3 => Config::V3(ConfigV3 { address, level, groups, scenes, report_interval_s: 0, calibration_centi_c: 0 }),
            _ => return None,
        })
    }

    /// Its schema.
    #[must_use]
    pub const fn schema(&self) -> u16 {
        match self {
            Config::V1(_) => 1,
            Config::V2(_) => 2,
            Config::V3(_) => 3,
        }
    }

    /// What every schema knows.
    #[must_use]
    pub const fn user_settings(&self) -> UserSettings {
        match self {
            Config::V1(c) => UserSettings { address: c.address, level: c.level },
            Config::V2(c) => UserSettings { address: c.address, level: c.level },
            Config::V3(c) => UserSettings { address: c.address, level: c.level },
        }
    }

    /// Seconds between two reports, where the schema and the user name them.
    #[must_use]
    pub const fn report_interval_s(&self) -> Option<u16> {
        match self {
            Config::V1(_) | Config::V2(_) => None,
            Config::V3(c) if c.report_interval_s == 0 => None,
            Config::V3(c) => Some(c.report_interval_s),
        }
    }

    /// Does the light belong to this lighting group?
    #[must_use]
    pub fn in_group(&self, group: u16) -> bool {
        match self {
            Config::V1(_) => false,
            Config::V2(c) => c.groups.contains(&group),
            Config::V3(c) => c.groups.contains(&group),
        }
    }

    /// Correction of the temperature sensor, in hundredths of a degree Celsius.
    #[must_use]
    pub const fn calibration_centi_c(&self) -> i16 {
        match self {
            Config::V1(_) | Config::V2(_) => 0,
            Config::V3(c) => c.calibration_centi_c,
        }
    }

    /// Writes the fields, without the schema; returns their octets.
    pub(crate) fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o mut [u8], postcard::Error> {
        match self {
            Config::V1(c) => postcard::to_slice(c, out),
            Config::V2(c) => postcard::to_slice(c, out),
            Config::V3(c) => postcard::to_slice(c, out),
        }
    }

    /// Reads fields that fill `bytes`.
    pub(crate) fn decode(schema: u16, bytes: &[u8]) -> Result<Self, ConfigError> {
        let read = match schema {
            1 => whole(bytes).map(Config::V1),
            2 => whole(bytes).map(Config::V2),
            3 => whole(bytes).map(Config::V3),
            _ => None,
        };
        read.ok_or(ConfigError::Undecodable { schema })
    }
}

/// A value that fills `bytes`: what a longer record holds beyond it would be lost silently.
fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        Ok(_) | Err(_) => None,
    }
}
