//! Power cuts at every flash operation of what touches the configuration, with five kinds of torn operation.

use std::{cell::RefCell, rc::Rc};

use mk_wire::{Reason, Version, update::Phase, vendor::BootOutcome};
use rstest::rstest;

use crate::{
    bench::{BOARD, Bench, ImageSpec, NODE, image},
    flash::{RamFlash, Supply, Tear},
};
use mk_node::{
    TraceEvent,
    config::{self, Config, ConfigV1, UserSettings},
};

const TEARS: [Tear; 6] = [Tear::NotDone, Tear::Done, Tear::Partly, Tear::OtherPart, Tear::Random(1), Tear::Random(2)];
const USER: UserSettings = UserSettings { address: NODE.0, level: 77 };

fn chosen() -> Config {
    Config::V1(ConfigV1 { address: USER.address, level: USER.level })
}

fn config_of(level: u8) -> Config {
    Config::V1(ConfigV1 { address: NODE.0, level })
}

/// Enough stores to fill every page several times: migrations between pages, erases, the lot.
#[test]
fn a_store_cut_anywhere_leaves_the_old_record_or_the_new_one() {
    let supply = Rc::new(RefCell::new(Supply::default()));
    let mut flash = RamFlash::new(BOARD.internal_size() as usize, &supply);
    config::provision(&mut flash, BOARD.config, &config_of(0)).unwrap();
    let (mut cuts, mut erases) = (0, 0);
    for n in 1..900_u32 {
        let before = flash.clone();
        let first = supply.borrow().operations;
        config::provision(&mut flash, BOARD.config, &config_of(n as u8)).unwrap();
        let operations = supply.borrow().operations - first;
        let erased = flash.erased.len() - before.erased.len();
        // The stores that turn a page are the interesting ones; of the others a few will do.
        if erased == 0 && n % 60 != 0 {
            continue;
        }
        erases += erased;
        for at in 0..operations {
            for tear in TEARS {
                let mut torn = before.clone();
                torn.supply = Rc::new(RefCell::new(Supply { cut: Some((at, tear)), ..Supply::default() }));
                assert!(config::provision(&mut torn, BOARD.config, &config_of(n as u8)).is_err());
                torn.supply = Rc::new(RefCell::new(Supply::default()));
                let found = config::read_state(&mut torn, BOARD.config);
                let level = found.ok().flatten().and_then(|state| state.user).map(|user| user.level);
                assert!(
                    level == Some(n as u8) || level == Some((n - 1) as u8),
                    "store {n}, operation {at} of {operations}, {tear:?}: {found:?}"
                );
                // And it still takes records.
                config::provision(&mut torn, BOARD.config, &config_of(250)).unwrap();
                let after = config::read_state(&mut torn, BOARD.config).unwrap().unwrap();
                assert_eq!(after.user.unwrap().level, 250, "store {n}, operation {at}, {tear:?}");
                cuts += 1;
            }
        }
    }
    assert!(erases >= 3 && cuts > 500, "{erases} erases, {cuts} cuts");
}

/// Brings a node with an image of schema 3 to the reset that installs it.
fn about_to_migrate() -> Bench {
    let mut bench = Bench::with(ImageSpec::new(1), Some(chosen()));
    bench.stage(&image(ImageSpec::new(2).config(3, Some(1))));
    bench
}

/// Counts the operations of what `act` does, then cuts each of them in a fresh bench.
fn sweep(
    prepare: impl Fn() -> Bench,
    act: impl Fn(&mut Bench),
    mut judge: impl FnMut(&mut Bench, usize, Tear),
) -> usize {
    let mut good = prepare();
    let first = good.operations();
    act(&mut good);
    let operations = good.operations() - first;
    for at in 0..operations {
        for tear in TEARS {
            let mut bench = prepare();
            bench.cut_after(at, tear);
            act(&mut bench);
            assert!(bench.is_dark(), "operation {at} never came");
            bench.power_up();
            judge(&mut bench, at, tear);
        }
    }
    operations
}

#[test]
fn a_trial_cut_during_its_migration_rolls_back_to_an_untouched_configuration() {
    // Boot writes Started before the jump, so whatever reset comes in the trial, the old image returns.
    let mut prepared = about_to_migrate();
    prepared.apply();
    assert_eq!(prepared.runs(), Version::new(1, 2, 0));
    let steps = prepared.traces.iter().filter(|trace| matches!(trace, TraceEvent::Migration { ok: true, .. })).count();
    assert_eq!(steps, 2, "{:?}", prepared.traces);

    let before = about_to_migrate().config_state().unwrap();
    assert_eq!((before.schema, before.user), (1, Some(USER)));
    // The last operations before the node runs are those of the migration: cut the last forty of the boot.
    let mut good = about_to_migrate();
    let first = good.operations();
    good.apply();
    let operations = good.operations() - first;
    for at in operations - 40..operations {
        for tear in TEARS {
            let mut bench = about_to_migrate();
            bench.cut_after(at, tear);
            bench.apply();
            assert!(bench.is_dark());
            bench.power_up();
            // A cut before Started was written starts the trial now; one after it ended the trial.
            if bench.runs() == Version::new(1, 2, 0) {
                assert_eq!(bench.report().config_version, 3);
                bench.boot();
            }
            assert_eq!(bench.runs(), Version::new(1, 1, 0), "{at} {tear:?}");
            assert_eq!(bench.config_state().unwrap(), before, "{at} {tear:?}");
            assert!(bench.node.is_some(), "{:?}", bench.last_start);
        }
    }
}

#[test]
fn a_confirmation_cut_anywhere_ends_with_image_and_configuration_that_fit() {
    let prepare = || {
        let mut bench = about_to_migrate();
        bench.apply();
        bench.run_secs(3);
        bench
    };
    let mut outcomes = vec![];
    let operations = sweep(prepare, Bench::acknowledge, |bench, at, tear| {
        let state = bench.config_state().unwrap();
        assert_eq!(state.user, Some(USER), "{at} {tear:?}");
        let (runs, schema) = (bench.runs().minor, state.schema);
        assert!(matches!((runs, schema), (1, 1) | (2, 3)), "{at} {tear:?}: 1.{runs} on schema {schema}");
        assert!(bench.node.is_some(), "{at} {tear:?}: {:?}", bench.last_start);
        let report = bench.report();
        // Kept for lack of a way back would be another reason.
        let told = match runs {
            1 => (BootOutcome::RolledBack, Reason::NotConfirmedInTime),
            _ => (BootOutcome::Confirmed, Reason::None),
        };
        assert_eq!(((report.outcome, report.reason), report.update_phase), (told, Phase::Idle), "{at} {tear:?}");
        outcomes.push(runs);
        // And it stays so.
        bench.boot();
        assert_eq!((bench.runs().minor, bench.config_state().unwrap()), (runs, state));
    });
    assert!(operations > 10, "{operations}");
    assert!(outcomes.contains(&1) && outcomes.contains(&2));
}

#[rstest]
#[case::nothing_stored(None, 3, None, 3)]
#[case::same_schema(Some(1), 1, None, 1)]
#[case::one_step(Some(1), 2, Some(1), 2)]
#[case::two_steps(Some(1), 3, Some(1), 3)]
#[case::last_step(Some(2), 3, Some(1), 3)]
fn after_a_confirmed_update_the_configuration_has_the_schema_of_the_image(
    #[case] stored: Option<u16>,
    #[case] wanted: u16,
    #[case] oldest: Option<u16>,
    #[case] then: u16,
) {
    let old = ImageSpec::new(1).config(stored.unwrap_or(3), None);
    let mut bench = Bench::with(old, stored.map(|schema| Config::factory(schema, NODE.0).unwrap()));
    let before = bench.config_state().unwrap();
    bench.stage(&image(ImageSpec::new(2).config(wanted, oldest)));
    bench.apply();
    assert_eq!(bench.runs().minor, 2);
    assert_eq!(bench.config_state().unwrap(), before, "the confirmed record is not touched before the confirmation");
    bench.acknowledge();
    let after = bench.config_state().unwrap();
    assert_eq!((after.schema, after.user), (then, before.user));
}

#[test]
fn user_settings_survive_migrations_and_a_roll_back() {
    let mut bench = about_to_migrate();
    let before = bench.config_state().unwrap();
    bench.apply();
    assert_eq!(bench.node().light_level(), USER.level);
    bench.boot();
    assert_eq!((bench.runs().minor, bench.config_state().unwrap()), (1, before));
    // A second attempt with another image migrates afresh and is kept.
    bench.stage(&image(ImageSpec::new(3).config(2, Some(1))));
    bench.apply();
    bench.acknowledge();
    let after = bench.config_state().unwrap();
    assert_eq!((bench.runs().minor, after.schema, after.user), (3, 2, Some(USER)));
}

mod broken {
    use mk_node::{
        config::Config,
        migrate::{HandlerFailed, MIGRATIONS, Migration},
    };

    fn fails(_old: &Config) -> Result<Config, HandlerFailed> {
        Err(HandlerFailed)
    }

    fn lies(old: &Config) -> Result<Config, HandlerFailed> {
        Ok(old.clone())
    }

    pub static SECOND_FAILS: &[Migration] = &[MIGRATIONS[0], Migration { from: 2, to: 3, handler: fails }];
    pub static GIVES_THE_WRONG_SCHEMA: &[Migration] = &[MIGRATIONS[0], Migration { from: 2, to: 3, handler: lies }];
    pub static LACKS_A_STEP: &[Migration] = &[MIGRATIONS[0]];
}

#[rstest]
#[case::second_handler_fails(broken::SECOND_FAILS)]
#[case::wrong_schema(broken::GIVES_THE_WRONG_SCHEMA)]
#[case::missing_step(broken::LACKS_A_STEP)]
fn a_handler_that_fails_half_way_ends_in_a_roll_back_that_says_so(
    #[case] migrations: &'static [mk_node::migrate::Migration],
) {
    let mut bench = about_to_migrate();
    let before = bench.config_state().unwrap();
    bench.parts.migrations = migrations;
    bench.apply();
    // The application refused to start; the target resets.
    assert!(bench.node.is_none());
    assert_eq!(bench.last_start, Some(mk_node::StartError::Migration { from: 2, to: 3 }));
    bench.boot();
    assert_eq!((bench.runs().minor, bench.config_state().unwrap()), (1, before));
    let report = bench.report();
    assert_eq!((report.outcome, report.reason), (BootOutcome::RolledBack, Reason::MigrationFailed));
    assert_eq!(report.about, Version::new(1, 2, 0));
}
