//! Locks around probes, ports and switches, across processes: who holds one, since when, and free when the holder dies.
//!
//! A lock is an exclusive `flock` on a file in one folder of the machine; the kernel frees it with the process, however that
//! ends. What is written in the file only tells others who it is. No lock is ever broken by force.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::Fault;

/// Longest note that a lock file holds, octets.
const MOST_OCTETS: u64 = 4096;

/// Who holds a lock, as written by the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// What it runs, such as `hil run --rack lab.yaml`.
    pub command: String,
    /// Since when, seconds since 1970.
    pub since_s: u64,
}

impl Holder {
    /// This process.
    #[must_use]
    pub fn this(command: &str) -> Self {
        Self { pid: std::process::id(), command: command.chars().take(512).collect(), since_s: now_s() }
    }

    /// How long it has been held.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_secs(now_s().saturating_sub(self.since_s))
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} (`{}`) for {}", self.pid, self.command, words(self.age()))
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn words(age: Duration) -> String {
    match age.as_secs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3_600),
    }
}

/// The folder of a machine's locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFolder(PathBuf);

impl Default for LockFolder {
    /// One for the machine: all users have to see each other's locks.
    fn default() -> Self {
        Self(std::env::temp_dir().join("hil-locks"))
    }
}

/// A lock that is held. Dropping it frees it.
#[derive(Debug)]
pub struct Lock {
    /// What is locked.
    pub name: String,
    /// Open as long as the lock is held.
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is being started holds a copy until it runs its own program.
        let _freed = self.file.unlock();
    }
}

impl LockFolder {
    /// Another folder, for tests.
    #[must_use]
    pub const fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Takes the lock of `name`.
    ///
    /// # Errors
    /// [`Fault::Busy`] with the holder, or [`Fault::Io`].
    pub fn take(&self, name: &str, holder: &Holder) -> Result<Lock, Fault> {
        let path = self.path(name);
        let failed = |error: io::Error| Fault::Io { why: format!("lock {}: {error}", path.display()) };
        let mut file = self.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read(&mut file).map(|holder| holder.to_string());
                return Err(Fault::Busy { name: name.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let note = serde_json::to_string(holder).unwrap_or_default();
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(note.as_bytes())).map_err(failed)?;
        Ok(Lock { name: name.to_owned(), file })
    }

    /// Who holds the lock of `name`; `None` when nobody does.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn holder(&self, name: &str) -> Result<Option<Holder>, Fault> {
        let path = self.path(name);
        let failed = |error: io::Error| Fault::Io { why: format!("lock {}: {error}", path.display()) };
        if !path.exists() {
            return Ok(None);
        }
        let mut file = self.open(&path).map_err(failed)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read(&mut file).unwrap_or_else(|| Holder {
                pid: 0,
                command: "unknown".to_owned(),
                since_s: now_s(),
            }))),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        // Two names never meet in one file: what is not plain is written as its number.
        let mut file = String::with_capacity(name.len() + 5);
        for octet in name.bytes() {
            if octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'.' {
                file.push(char::from(octet));
            } else {
                file.push_str(&format!("_{octet:02x}"));
            }
        }
        self.0.join(format!("{file}.lock"))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        fs::create_dir_all(&self.0)?;
        shared(&self.0, 0o1777);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        shared(path, 0o666);
        Ok(file)
    }
}

/// Lets other users of the machine see and take the lock. It is its maker's to do: for others this fails, and is done.
#[cfg(unix)]
fn shared(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let _not_ours = fs::set_permissions(path, fs::Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn shared(_path: &Path, _mode: u32) {}

fn read(file: &mut File) -> Option<Holder> {
    let mut note = String::new();
    file.rewind().ok()?;
    file.take(MOST_OCTETS).read_to_string(&mut note).ok()?;
    serde_json::from_str(&note).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn the_second_one_learns_who_was_first_and_gets_it_when_that_one_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let locks = LockFolder::at(folder.path().join("locks"));
        let first = locks.take("probe 1366:1051:1", &Holder::this("hil run")).unwrap();
        let Err(Fault::Busy { holder: Some(holder), .. }) =
            locks.take("probe 1366:1051:1", &Holder::this("hil doctor"))
        else {
            panic!("taken twice")
        };
        assert!(holder.contains("hil run") && holder.contains(&std::process::id().to_string()), "{holder}");
        assert_eq!(locks.holder("probe 1366:1051:1").unwrap().unwrap().command, "hil run");
        drop(first);
        assert_eq!(locks.holder("probe 1366:1051:1").unwrap(), None);
        locks.take("probe 1366:1051:1", &Holder::this("hil doctor")).unwrap();
    }

    #[test]
    fn different_names_are_different_locks() {
        let folder = tempfile::tempdir().unwrap();
        let locks = LockFolder::at(folder.path().to_owned());
        let _a = locks.take("port a/b", &Holder::this("x")).unwrap();
        let _b = locks.take("port a_b", &Holder::this("x")).unwrap();
        let _c = locks.take("port a_2fb", &Holder::this("x")).unwrap();
    }

    #[test]
    fn a_holder_that_was_killed_holds_nothing() {
        // `sh` inherits the open file and dies with it, as a holder does.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let script = format!("exec 9>{0}; flock -n 9 && echo ready && exec sleep 60", path.display());
        let mut child = std::process::Command::new("sh")
            .args(["-c", &script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        child.stdout.take().unwrap().read_exact(&mut line).unwrap();
        let locks = LockFolder::at(folder.path().to_owned());
        assert!(matches!(locks.take("x", &Holder::this("hil run")), Err(Fault::Busy { .. })));
        child.kill().unwrap();
        child.wait().unwrap();
        locks.take("x", &Holder::this("hil run")).unwrap();
    }
}
