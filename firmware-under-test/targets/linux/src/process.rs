//! What both processes do as processes: say where they listen, and end when they are told to.
//!
//! The first line on standard output is [`Announcement`] in JSON, so that a parent that asked for any free port learns
//! which one it got. A process ends cleanly on SIGTERM and SIGINT and, with `--die-with-parent`, when its standard input
//! ends, which it does when the parent dies in any way at all.

use crate::disk::{DiskError, Log};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// The first line that a process prints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announcement {
    /// `http://ADDRESS:PORT`.
    pub listening: String,
}

impl Announcement {
    /// Of a server on this address.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        Self { listening: format!("http://{address}") }
    }

    /// Reads the first line of a process; none if it is something else.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }

    /// Prints the line. A parent that went away is noticed elsewhere.
    pub(crate) fn print(&self) {
        if let Ok(line) = serde_json::to_string(self) {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }
}

/// Returns when the process is told to end.
///
/// # Errors
/// The system refuses signal handlers.
pub(crate) async fn told_to_end(die_with_parent: bool) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let orphaned = async {
        match die_with_parent.then(end_of_input) {
            // A sender that is dropped is an input that ended.
            Some(ended) => drop(ended.await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = orphaned => {}
    }
    Ok(())
}

/// Resolves when standard input ends. The reading thread is not waited for: nothing could wake it.
fn end_of_input() -> oneshot::Receiver<()> {
    let (ended, when_ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0; 256];
        while matches!(std::io::stdin().lock().read(&mut ignored), Ok(1..)) {}
        let _ = ended.send(());
    });
    when_ended
}

/// Runs a process to its end on a runtime of its own; errors go to standard error.
pub(crate) fn run_to_end<E: std::fmt::Display>(name: &str, work: impl Future<Output = Result<(), E>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(work);
    // A reader of events that does not take its last octets must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A start of the process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Life {
    life: u32,
    unix_ms: u64,
}

/// Counts the starts of a process in its folder; gives the number of this one, from 1.
pub(crate) fn begin_life(folder: &Path, unix_ms: u64) -> Result<u32, DiskError> {
    let (mut log, lives) = Log::open::<Life>(&folder.join("lives.log"))?;
    let life = lives.last().map_or(0, |last| last.life).saturating_add(1);
    log.append(&Life { life, unix_ms })?;
    log.sync()?;
    Ok(life)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn lives_are_counted_from_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!([(); 3].map(|()| begin_life(folder.path(), 0).unwrap()), [1, 2, 3]);
    }

    #[test]
    fn an_announcement_is_read_back_and_nothing_else_is() {
        let announcement = Announcement::of(SocketAddr::from(([127, 0, 0, 1], 8081)));
        assert_eq!(announcement.listening, "http://127.0.0.1:8081");
        assert_eq!(Announcement::read("{\"listening\":\"http://127.0.0.1:8081\"}\n"), Some(announcement));
        assert_eq!(Announcement::read("mk-gatewayd: cannot start"), None);
    }
}
