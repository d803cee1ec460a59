//! Binding: a scenario, a rack's manifest and a seed become a plan, or the reasons why not.
//!
//! Two kinds of "no" are kept apart. A scenario that contradicts itself is *invalid*, everywhere, and says so at its place
//! in the file. A scenario that asks for what this rack lacks is fine; the rack is told what it lacks and the scenario is
//! skipped there.

mod assemble;
#[cfg(test)]
mod tests;
mod world;

use crate::diagnostic::{Diagnostic, Trouble};
use crate::faults::Before;
use crate::forge::{Forge, Recipe};
use crate::plan::Plan;
use crate::scenario::Scenario;
use fixture_images::Board;
use hil_model::{Capability, Fleet, Profile, RackManifest, Seed, Span, Time};
use std::fmt;

/// How a scenario is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindOptions {
    /// False leaves every stimulus out and keeps every proof: the run must end Inconclusive.
    pub inject: bool,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self { inject: true }
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindError {
    /// The scenario is wrong.
    Invalid(Vec<Diagnostic>),
    /// The rack lacks this; the scenario is skipped there.
    Lacks(Vec<Capability>),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(diagnostics) => {
                let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Lacks(lacking) => {
                let names: Vec<&str> = lacking.iter().map(|capability| capability.name()).collect();
                write!(f, "the rack lacks {}", names.join(", "))
            }
        }
    }
}

impl std::error::Error for BindError {}

/// When the campaign starts: rules of the interposer are in place a second earlier.
pub const CAMPAIGN_START: Time = Time(1_000_000_000);
/// Rack time that a campaign may take beside its soaks, unless the scenario gives a deadline.
const DELIVERY_ALLOWANCE: Span = Span::hours(8);
/// Soaks and waits above this are only sensible where time costs nothing.
const LONG_WAIT: Span = Span::mins(5);
/// Nodes from which on a fleet counts as large.
const LARGE: usize = 100;

/// Binds a scenario to a rack and a seed.
///
/// # Errors
/// [`BindError::Invalid`] with everything that is wrong in the scenario, or [`BindError::Lacks`].
pub fn bind(
    scenario: &Scenario,
    manifest: &RackManifest,
    seed: Seed,
    forge: &Forge,
    options: BindOptions,
) -> Result<Plan, BindError> {
    let binder = Binder { scenario, manifest, seed, forge, options };
    match binder.plan() {
        Err(BindError::Invalid(diagnostics)) => Err(binder.lacking(diagnostics)),
        other => other,
    }
}

#[derive(Clone, Copy)]
struct Binder<'a> {
    scenario: &'a Scenario,
    manifest: &'a RackManifest,
    seed: Seed,
    forge: &'a Forge,
    options: BindOptions,
}

/// Collects what is wrong, with places.
#[derive(Default)]
struct Complaints(Vec<Diagnostic>);

impl Binder<'_> {
    /// What is wrong on a rack with a fleet and an image size of its own may be the rack's want: a node or a block that
    /// is not there. A scenario that is sound on the reference rack is skipped here; one that is not is invalid.
    fn lacking(&self, diagnostics: Vec<Diagnostic>) -> BindError {
        if Board::named(&self.manifest.profile.board).is_err() {
            return BindError::Invalid(diagnostics);
        }
        let fleet = Fleet::building(24, 2, 1, 6, self.scenario.written.running.config_version);
        let all = Capability::ALL.iter().copied().collect();
        let larger = RackManifest { capabilities: all, fleet, ..self.manifest.clone() };
        let reference = RackManifest { profile: Profile::default(), ..larger.clone() };
        for (manifest, want) in [(&larger, Capability::LargeFleet), (&reference, Capability::VirtualTime)] {
            let missing = !self.manifest.capabilities.contains(&want);
            if missing && (Binder { manifest, ..*self }).plan().is_ok() {
                return BindError::Lacks(vec![want]);
            }
        }
        BindError::Invalid(diagnostics)
    }

    fn diagnostic(&self, path: &str, message: String) -> Diagnostic {
        let (line, column) = self.scenario.places.find(path);
        Diagnostic { file: self.scenario.file.clone(), line, column, message }
    }

    fn complain(&self, complaints: &mut Complaints, entry: &str, trouble: Trouble) {
        let path = match trouble.path.as_str() {
            "" => entry.to_owned(),
            inner => format!("{entry}.{inner}"),
        };
        let message = format!("{path}: {}", trouble.message);
        complaints.0.push(self.diagnostic(&path, message));
    }

    /// Invalid if anything was wrong.
    fn stop_if_wrong(&self, complaints: &mut Complaints) -> Result<(), BindError> {
        if complaints.0.is_empty() {
            return Ok(());
        }
        let mut all = std::mem::take(&mut complaints.0);
        all.sort();
        all.dedup();
        Err(BindError::Invalid(all))
    }

    /// The candidate as written, no fault in it.
    fn clean_recipe(&self, size: u32) -> Recipe {
        let (running, candidate) = (&self.scenario.written.running, &self.scenario.written.candidate);
        Recipe {
            board: self.manifest.profile.board.clone(),
            version: candidate.version,
            config_version: candidate.config_version.unwrap_or(running.config_version),
            oldest_migratable: candidate.oldest_migratable,
            security_counter: candidate.security_counter,
            behaviour: candidate.behaviour,
            size,
            seed: 2,
            tampering: None,
            lies: crate::forge::Lies::default(),
        }
    }

    fn running_recipe(&self, size: u32) -> Recipe {
        let running = &self.scenario.written.running;
        Recipe {
            board: self.manifest.profile.board.clone(),
            version: running.version,
            config_version: running.config_version,
            oldest_migratable: None,
            security_counter: None,
            behaviour: hil_model::Behaviour::Normal,
            size,
            seed: 1,
            tampering: None,
            lies: crate::forge::Lies::default(),
        }
    }

    fn before(&self) -> Before {
        let running = &self.scenario.written.running;
        let hil_model::Version { major, minor, revision, build } = running.version;
        let security_counter = fixture_images::Version { major, minor, revision, build }.security_counter();
        Before { config_version: running.config_version, security_counter }
    }
}
