//! What a fixture image does differently. The product's parts unless a feature says otherwise.
//!
//! One source for all boards, included by the crate of the binary, whose features these are: the firmware crates have none, a
//! fixture puts other parts together or stops at the right moment.

use mk_node::{
    NodeHardware, Parts,
    first_boot::{Confirmer, Step, Trial},
    migrate::{HandlerFailed, MIGRATIONS, Migration},
};
use mk_wire::time::{Duration, Instant};

/// Which one this is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fixture {
    Product,
    NeverConfirm,
    CrashAtBoot,
    CrashLoop,
    Hang,
    Degraded,
    MigrationFails,
}

const FIXTURE: Fixture = if cfg!(feature = "fx-never-confirm") {
    Fixture::NeverConfirm
} else if cfg!(feature = "fx-crash-at-boot") {
    Fixture::CrashAtBoot
} else if cfg!(feature = "fx-crash-loop") {
    Fixture::CrashLoop
} else if cfg!(feature = "fx-hang") {
    Fixture::Hang
} else if cfg!(feature = "fx-degraded") {
    Fixture::Degraded
} else if cfg!(feature = "fx-migration-fails") {
    Fixture::MigrationFails
} else {
    Fixture::Product
};

/// Its name in the first line on the console.
pub const NAME: &str = match FIXTURE {
    Fixture::Product => "",
    Fixture::NeverConfirm => ", fixture: never confirms",
    Fixture::CrashAtBoot => ", fixture: crashes at boot",
    Fixture::CrashLoop => ", fixture: crashes after its start",
    Fixture::Hang => ", fixture: hangs",
    Fixture::Degraded => ", fixture: degraded",
    Fixture::MigrationFails => ", fixture: migration fails",
};

/// Behaviour in the build record, until the forge writes another.
pub const BEHAVIOUR: &str = match FIXTURE {
    Fixture::Product => "app",
    Fixture::NeverConfirm => "never-confirm",
    Fixture::CrashAtBoot => "crash",
    Fixture::CrashLoop => "crash-loop",
    Fixture::Hang => "hang",
    Fixture::Degraded => "degraded",
    Fixture::MigrationFails => "migration-fails",
};

/// How long after its start the image that crashes does so: before it can confirm.
const CRASH_AFTER: Duration = Duration::from_millis(700);

/// Before anything else.
pub fn at_boot() {
    match FIXTURE {
        Fixture::CrashAtBoot => cortex_m::asm::udf(),
        // Nothing can wake the core but a reset, and the host's core stays free.
        Fixture::Hang => loop {
            cortex_m::interrupt::disable();
            cortex_m::asm::wfi();
        },
        Fixture::Product | Fixture::NeverConfirm | Fixture::CrashLoop | Fixture::Degraded | Fixture::MigrationFails => {
        }
    }
}

/// In every turn of the main loop of an application that started at `started`.
pub fn while_running(started: Instant, now: Instant) {
    if FIXTURE == Fixture::CrashLoop && now >= started + CRASH_AFTER {
        cortex_m::asm::udf();
    }
}

/// When [`while_running`] has something to do.
pub fn next_wakeup(started: Instant) -> Option<Instant> {
    (FIXTURE == Fixture::CrashLoop).then(|| started + CRASH_AFTER)
}

/// What the node is put together from.
pub fn parts<H: NodeHardware>() -> Parts<H> {
    let mut parts = Parts::product();
    match FIXTURE {
        Fixture::NeverConfirm => parts.confirmer = &Silent,
        Fixture::Degraded => parts.degraded = true,
        Fixture::MigrationFails => parts.migrations = BROKEN_MIGRATIONS,
        Fixture::Product | Fixture::CrashAtBoot | Fixture::CrashLoop | Fixture::Hang => {}
    }
    parts
}

/// Never says that it runs.
struct Silent;

impl<H> Confirmer<H> for Silent {
    fn next(&self, _trial: &Trial, _hw: &mut H) -> Step {
        Step::Wait
    }
}

/// The second handler fails, so that the first leaves its result behind.
static BROKEN_MIGRATIONS: &[Migration] = &[MIGRATIONS[0], Migration { from: 2, to: 3, handler: fail }];

fn fail(_old: &mk_node::config::Config) -> Result<mk_node::config::Config, HandlerFailed> {
    Err(HandlerFailed)
}
