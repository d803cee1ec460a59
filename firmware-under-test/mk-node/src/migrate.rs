//! Migration handlers: how a configuration of one schema becomes one of the next.
//!
//! Handlers belong to the new image and run before its application starts (design section 5.3). Each takes a record to the
//! next newer schema; the node chains them and stores the result of every step as the trial record, so that a migration cut
//! anywhere is taken up again at the step it had reached. The confirmed record is only read. A handler that fails leaves
//! whatever steps succeeded in a trial record that dies with the roll-back.

use crate::config::{Config, ConfigV2, ConfigV3, SCENES};

/// A handler gave up: the record cannot be brought to the next schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("migration handler failed")]
pub struct HandlerFailed;

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Schema it takes.
    pub from: u16,
    /// Schema it gives; newer.
    pub to: u16,
    /// The handler. Gets a record of schema `from`, has to give one of schema `to`.
    pub handler: fn(&Config) -> Result<Config, HandlerFailed>,
}

/// The product's handlers.
pub const MIGRATIONS: &[Migration] =
    &[Migration { from: 1, to: 2, handler: add_groups }, Migration { from: 2, to: 3, handler: add_reports }];

/// Steps in one migration at most: no two handlers of a chain may lead to the same schema, and schemas only grow.
pub(crate) const MAX_STEPS: usize = 16;

fn add_groups(old: &Config) -> Result<Config, HandlerFailed> {
    let Config::V1(old) = old else { return Err(HandlerFailed) };
    // Scenes start as a fade from the level the user had chosen.
    let scenes: [u8; SCENES] = [old.level, old.level / 2, old.level / 4, 0];
    Ok(Config::V2(ConfigV2 { address: old.address, level: old.level, groups: heapless::Vec::new(), scenes }))
}

fn add_reports(old: &Config) -> Result<Config, HandlerFailed> {
    let Config::V2(old) = old else { return Err(HandlerFailed) };
    Ok(Config::V3(ConfigV3 {
        address: old.address,
        level: old.level,
        groups: old.groups.clone(),
        scenes: old.scenes,
        report_interval_s: 0,
        calibration_centi_c: 0,
    }))
}

/// The step that leads on from `schema` without passing `wanted`.
pub(crate) fn next_step(migrations: &[Migration], schema: u16, wanted: u16) -> Option<&Migration> {
    migrations.iter().find(|step| step.from == schema && step.to > schema && step.to <= wanted)
}
