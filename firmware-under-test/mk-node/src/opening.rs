//! Opening the configuration at start: which record the application works with, and the migrations that come before it.
//!
//! Everything here can be cut anywhere and is taken up again at the next start: a step is one store, and the confirmed
//! record changes in one store only, at confirmation ([`keep`]) or when that store was cut off after the journal already
//! said *confirmed*.

use mk_boot::{BootReport, Hardware, Run, journal::Outcome, update};
use mk_wire::Reason;

use crate::{
    config::{self, Config, ConfigError, ConfigLayout, Record},
    effect::{Effects, StartError, TraceEvent},
    migrate::{self, Migration},
    settings::Settings,
};

/// The configuration in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Opened {
    /// The record.
    pub record: Record,
    /// It is the confirmed record. If not, [`keep`] makes it so.
    pub confirmed: bool,
}

/// Where the records lie on this board.
pub(crate) fn layout<H: Hardware>(hw: &H) -> ConfigLayout {
    let geometry = hw.geometry();
    ConfigLayout::new(geometry.config, geometry.page_size)
}

/// Opens the configuration for this firmware, migrating it where that is due.
pub(crate) fn open<H: Hardware>(
    settings: &Settings,
    migrations: &[Migration],
    boot: &BootReport,
    hw: &mut H,
    effects: &mut Effects,
) -> Result<Opened, StartError> {
    let origin = Origin::of(boot);
    let opened = match pick(settings, migrations, origin, hw, effects) {
        Ok(opened) => opened,
        Err(error) => {
            if origin.trial {
                give_trial_up(error, hw)?;
            }
            return Err(error);
        }
    };
    effects.trace(TraceEvent::ConfigOpened { schema: opened.record.config.schema(), trial: !opened.confirmed });
    Ok(opened)
}

/// Makes the record in use the confirmed one. Call after the boot journal says *confirmed*, never before: a cut between
/// the two is made good at the next start, the other order could roll back to an image that does not know the record.
pub(crate) fn keep<H: Hardware>(opened: &mut Opened, hw: &mut H) -> Result<(), ConfigError> {
    let layout = layout(hw);
    if opened.confirmed {
        return config::mend(hw.internal(), layout, &opened.record);
    }
    config::store_confirmed(hw.internal(), layout, &opened.record)?;
    opened.confirmed = true;
    Ok(())
}

/// What boot says about the running image.
#[derive(Clone, Copy)]
struct Origin {
    trial: bool,
    /// The running image came by an install request and was kept.
    kept: bool,
    request: u32,
}

impl Origin {
    fn of(boot: &BootReport) -> Self {
        let trial = match boot.run {
            Run::Application { trial } => trial,
            Run::StayInBootloader(_) => false,
        };
        let kept = match boot.outcome() {
            Outcome::Confirmed | Outcome::Kept => true,
            Outcome::None | Outcome::Rejected | Outcome::RolledBack | Outcome::Restored => false,
        };
        Origin { trial, kept: kept && !trial, request: boot.record.map_or(0, |record| record.request) }
    }

    /// Was this trial record made by this request, from this confirmed record?
    fn made(self, trial: &Record, confirmed: Option<&Record>) -> bool {
        self.request != 0
            && trial.request == self.request
            && trial.base == confirmed.map_or(0, |record| record.sequence)
    }
}

fn pick<H: Hardware>(
    settings: &Settings,
    migrations: &[Migration],
    origin: Origin,
    hw: &mut H,
    effects: &mut Effects,
) -> Result<Opened, StartError> {
    let (layout, made_for) = (layout(hw), settings.firmware.config_version);
    let confirmed = config::load_confirmed(hw.internal(), layout)?;
    let live = if origin.trial || origin.kept {
        config::load_trial(hw.internal(), layout)?.filter(|trial| origin.made(trial, confirmed.as_ref()))
    } else {
        None
    };
    let base = confirmed.as_ref().map_or(0, |record| record.sequence);
    let was_confirmed = live.is_none() && confirmed.is_some();
    let start = match live.or(confirmed) {
        Some(record) => record,
        None => {
            let config = Config::factory(made_for, settings.address.0)
                .ok_or(StartError::Migration { from: config::NEWEST_SCHEMA, to: made_for })?;
            Record { sequence: 1, request: origin.request, base: 0, config }
        }
    };
    let stored = start.config.schema();
    if stored > made_for {
        return Err(StartError::ConfigTooNew { stored, made_for });
    }
    let mut opened = Opened { record: start, confirmed: was_confirmed };
    if stored < made_for {
        let next = Record { sequence: base.wrapping_add(1), request: origin.request, base, ..opened.record };
        opened = Opened { record: migrated(next, migrations, made_for, hw, effects)?, confirmed: false };
    }
    if !origin.trial {
        keep(&mut opened, hw)?;
    }
    Ok(opened)
}

/// Takes `record` to `wanted`, step by step.
fn migrated<H: Hardware>(
    mut record: Record,
    migrations: &[Migration],
    wanted: u16,
    hw: &mut H,
    effects: &mut Effects,
) -> Result<Record, StartError> {
    let layout = layout(hw);
    for _ in 0..migrate::MAX_STEPS {
        let from = record.config.schema();
        if from == wanted {
            return Ok(record);
        }
        let step = migrate::next_step(migrations, from, wanted);
        let made = step.and_then(|step| (step.handler)(&record.config).ok().filter(|made| made.schema() == step.to));
        let Some(config) = made else {
            effects.trace(TraceEvent::Migration { from, to: step.map_or(wanted, |step| step.to), ok: false });
            return Err(StartError::Migration { from, to: wanted });
        };
        let to = config.schema();
        record.config = config;
        config::store_trial(hw.internal(), layout, &record)?;
        effects.trace(TraceEvent::Migration { from, to, ok: true });
    }
    Err(StartError::Migration { from: record.config.schema(), to: wanted })
}

/// Tells boot why the trial ends, where boot could not know it.
fn give_trial_up<H: Hardware>(error: StartError, hw: &mut H) -> Result<(), StartError> {
    match error {
        StartError::Migration { .. } | StartError::ConfigTooNew { .. } => {
            update::abandon_trial(hw, Reason::MigrationFailed).map_err(|_| StartError::Flash)
        }
        // Without a record in the journal boot rolls back all the same, at the next reset.
        StartError::Config(_) | StartError::Flash | StartError::Unusable => Ok(()),
    }
}
