//! Power switches: one trait, one file for each way to switch.
//!
//! A switch is never believed: [`self_test`] demands that the board vanishes and comes back. A hub may say that it switches
//! its ports and keep feeding them, and a board may live on through its signal lines.

mod command;
mod http_relay;
mod manual;
mod ppk2;
mod uhubctl;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use command::run_program;
pub use manual::{Answers, ask_on_terminal};

use mk_wire::trace::ResetCause;

use crate::definition::RawPower;
use crate::error::Fault;

/// How long a switch may take to do it.
pub const SWITCH_LIMIT: Duration = Duration::from_secs(10);
/// How long a person may take, and some.
const PERSON_LIMIT: Duration = Duration::from_secs(310);

/// Something that switches the power of one board. Calls block, at most [`SWITCH_LIMIT`] (a person: five minutes).
pub trait PowerSwitch: Send + fmt::Debug {
    /// What it is, for messages.
    fn describe(&self) -> String;

    /// Switches. Returns when the switch says that it is done, which says nothing of the board.
    ///
    /// # Errors
    /// [`Fault::Power`], [`Fault::Absent`] or [`Fault::Deadline`].
    fn set(&mut self, on: bool) -> Result<(), Fault>;

    /// What the switch says of itself; `None` where it cannot tell.
    ///
    /// # Errors
    /// As [`PowerSwitch::set`].
    fn state(&mut self) -> Result<Option<bool>, Fault>;

    /// Whether a person has to be there.
    fn needs_a_person(&self) -> bool {
        false
    }
}

/// Whether a switch as written makes sense. Touches nothing.
///
/// # Errors
/// What is wrong, in words.
pub fn check(written: &RawPower) -> Result<(), String> {
    match written {
        RawPower::Uhubctl(port) => uhubctl::check(port),
        RawPower::Command(commands) => command::check(commands),
        RawPower::HttpRelay(relay) => http_relay::check(relay),
        RawPower::Ppk2(kit) => ppk2::check(kit),
        RawPower::Manual(_) => Ok(()),
    }
}

/// The switch that was written. Opens nothing yet. `answers` is how a person is asked.
#[must_use]
pub fn open(written: &RawPower, answers: Answers) -> Box<dyn PowerSwitch> {
    match written {
        RawPower::Uhubctl(port) => Box::new(uhubctl::HubPort::new(port)),
        RawPower::Command(commands) => Box::new(command::Commands::new(commands)),
        RawPower::HttpRelay(relay) => Box::new(http_relay::Relay::new(relay)),
        RawPower::Ppk2(kit) => Box::new(ppk2::Kit::new(kit)),
        RawPower::Manual(person) => Box::new(manual::Person::new(person, answers)),
    }
}

/// How a self-test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfTest {
    /// From switching off until the look that found it gone began.
    pub vanished_after: Duration,
    /// From switching on until it was back.
    pub back_after: Duration,
    /// Why the core was reset, as the bootloader says since then; `None` when it was not heard. Anything but power-on means
    /// that the core had been fed all the time.
    pub reset: Option<ResetCause>,
}

impl fmt::Display for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (vanished, back) = (self.vanished_after.as_millis(), self.back_after.as_millis());
        write!(f, "cuts and feeds: vanished after {vanished} ms, back after {back} ms, ")?;
        f.write_str(if self.reset.is_some() { "reset reason power-on" } else { "reset reason not heard" })
    }
}

/// How long a self-test waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfTestLimits {
    /// For the board to vanish.
    pub vanish: Duration,
    /// For the board to come back.
    pub back: Duration,
    /// Between two looks.
    pub look: Duration,
}

impl Default for SelfTestLimits {
    /// A board with large capacitors stays for a second or two, a probe on USB needs some to come back.
    fn default() -> Self {
        Self { vanish: Duration::from_secs(5), back: Duration::from_secs(15), look: Duration::from_millis(100) }
    }
}

/// A switch that is used from asynchronous code: calls that block run on a thread of their own, with a deadline.
#[derive(Debug, Clone)]
pub struct SharedSwitch(Arc<Mutex<Box<dyn PowerSwitch>>>);

impl SharedSwitch {
    /// Shares a switch.
    #[must_use]
    pub fn new(switch: Box<dyn PowerSwitch>) -> Self {
        Self(Arc::new(Mutex::new(switch)))
    }

    /// What it is, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        // It is busy for as long as a person takes: then nothing better can be said.
        self.0.try_lock().map_or_else(|_| "a power switch".to_owned(), |switch| switch.describe())
    }

    /// As [`PowerSwitch::set`].
    ///
    /// # Errors
    /// As [`PowerSwitch::set`].
    pub async fn set(&self, on: bool) -> Result<(), Fault> {
        let what = format!("switch {} {}", self.describe(), if on { "on" } else { "off" });
        self.call(what, move |switch| switch.set(on)).await
    }

    /// As [`PowerSwitch::state`].
    ///
    /// # Errors
    /// As [`PowerSwitch::set`].
    pub async fn state(&self) -> Result<Option<bool>, Fault> {
        self.call(format!("ask {}", self.describe()), |switch| switch.state()).await
    }

    async fn call<T: Send + 'static>(
        &self,
        operation: String,
        call: impl FnOnce(&mut dyn PowerSwitch) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let shared = Arc::clone(&self.0);
        let person = shared.try_lock().is_ok_and(|switch| switch.needs_a_person());
        let limit = if person { PERSON_LIMIT } else { SWITCH_LIMIT.saturating_mul(3) };
        let broken = |why: &str| Fault::Power { why: why.to_owned() };
        let called = tokio::task::spawn_blocking(move || match shared.lock() {
            Ok(mut switch) => call(switch.as_mut()),
            Err(_poisoned) => Err(broken("an earlier call to the switch failed")),
        });
        match tokio::time::timeout(limit, called).await {
            Ok(Ok(result)) => result,
            Ok(Err(_panicked)) => Err(broken("the call to the switch failed")),
            Err(_elapsed) => Err(Fault::Deadline { operation, limit }),
        }
    }
}

/// Somebody who can tell whether the board is there.
pub trait Presence: Send {
    /// Looks.
    fn present(&mut self) -> impl Future<Output = bool> + Send;
}

/// Off, until the board has vanished; on, until it is back.
///
/// # Errors
/// [`Fault::Power`] when the board was not there at first, stays although it is off, or does not come back.
pub async fn self_test(
    switch: &SharedSwitch,
    limits: SelfTestLimits,
    board: &mut impl Presence,
) -> Result<SelfTest, Fault> {
    let name = switch.describe();
    let wrong = |why: &str| Fault::Power { why: format!("{name}: {why}") };
    if !board.present().await {
        return Err(wrong("the board was not there before the test"));
    }
    switch.set(false).await?;
    let vanished = wait_until(limits.vanish, limits.look, board, false).await;
    // Whatever was seen, the board gets its power back.
    switch.set(true).await?;
    let Some(vanished_after) = vanished else {
        return Err(wrong(
            "switched off, and the board is still there: the port does not cut power, or the board is fed elsewhere",
        ));
    };
    let Some(back_after) = wait_until(limits.back, limits.look, board, true).await else {
        return Err(wrong("switched on, and the board does not come back"));
    };
    Ok(SelfTest { vanished_after, back_after, reset: None })
}

/// How long it took until the board was there, or gone, if that came in time.
async fn wait_until(limit: Duration, look: Duration, board: &mut impl Presence, there: bool) -> Option<Duration> {
    let start = Instant::now();
    loop {
        // A look at a board that is gone takes its time; one that is back was there only at the end of the look.
        let began = start.elapsed();
        if board.present().await == there {
            return Some(if there { start.elapsed() } else { began });
        }
        if start.elapsed() >= limit {
            return None;
        }
        tokio::time::sleep(look).await;
    }
}

#[cfg(test)]
mod tests;
