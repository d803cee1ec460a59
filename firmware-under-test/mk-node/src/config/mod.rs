//! The configuration of a node: user settings that survive every update and every roll-back.
//!
//! Two records lie in the config region: the *confirmed* one, that the confirmed image works with, and beside it the *trial*
//! one, that a migration makes for an image on trial. The schema version is inside each record, so no record can be read
//! with another record's version. A confirmation makes the trial record the confirmed one by a single store; a roll-back
//! does nothing at all, because the confirmed record was never touched. A trial record belongs to one install request of
//! the boot journal and to one confirmed record; any other is dead and is never looked at.
//!
//! Refuses: to write while only asked to read a record, to guess a record that does not decode, and to hold anything that
//! changes with live traffic (the light level in use is not stored, only the one after power-up).

mod flash;
mod layout;
mod record;
mod schema;

pub(crate) use flash::{Key, Store};
pub use layout::ConfigLayout;
pub use record::{ConfigState, provision, read_state, stored_version};
pub(crate) use record::{Record, load_confirmed, load_trial, mend, store_confirmed, store_trial};
pub use schema::{Config, ConfigV1, ConfigV2, ConfigV3, MAX_GROUPS, NEWEST_SCHEMA, SCENES, UserSettings};

/// Why the config store did not do what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Reading, writing or erasing failed.
    #[error("flash fault")]
    Flash,
    /// The store's pages contradict each other and could not be repaired.
    #[error("store is corrupt")]
    Corrupt,
    /// A record does not decode as the schema that it states.
    #[error("record of schema {schema} does not decode")]
    Undecodable {
        /// The schema stated.
        schema: u16,
    },
    /// The region has fewer than seven pages, or is not aligned to them.
    #[error("config region too small or not aligned")]
    Region,
    /// No room for the record.
    #[error("config region full")]
    Full,
}
