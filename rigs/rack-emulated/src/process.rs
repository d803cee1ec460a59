//! Starts one QEMU process and connects everything to it. It ends with the thread that started it, however that ends:
//! `setpriv` asks the kernel to kill it then, which also covers a harness that is killed itself.

use crate::{
    error::{BenchError, MachineError},
    gdb::Gdb,
    link::Link,
    machine::Machine,
    qmp::Qmp,
    qtest::Qtest,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::{
    ffi::OsStr,
    fs, io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

const QEMU: &str = "qemu-system-arm";
const SETPRIV: &str = "setpriv";

/// Whether what the bench needs is installed; the error says what is missing and what to install.
///
/// # Errors
///
/// [`BenchError::Missing`].
pub fn installed() -> Result<(), BenchError> {
    found_in(&std::env::var_os("PATH").unwrap_or_default())
}

fn found_in(path: &OsStr) -> Result<(), BenchError> {
    let found = |program: &str| std::env::split_paths(path).any(|folder| folder.join(program).is_file());
    for (program, remedy) in [
        (QEMU, "install the package qemu-system-arm (Debian, Ubuntu: apt-get install qemu-system-arm)"),
        (SETPRIV, "install the package util-linux"),
    ] {
        if !found(program) {
            return Err(BenchError::Missing { program, remedy });
        }
    }
    Ok(())
}

/// A QEMU process, halted before its first instruction.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub qtest: Qtest,
    pub gdb: Gdb,
    pub qmp: Qmp,
    pub uart: UnixStream,
}

impl Process {
    /// Starts a machine with its sockets in `folder`. The standard error output, which carries the trace of stores, is
    /// the caller's to read at once and to the end: QEMU stands still when nobody reads it.
    pub fn start(machine: &Machine, folder: &Path) -> Result<(Self, ChildStderr, OwnedFd), MachineError> {
        let socket = |name: &str| folder.join(name);
        for name in ["qtest", "qmp", "gdb", "u0"] {
            match fs::remove_file(socket(name)) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(MachineError::Port { what: "the socket of an earlier QEMU", source });
                }
                _ => {}
            }
        }
        let chardev = |name: &str| format!("socket,id={name},path={},server=on,wait=off", socket(name).display());
        let mut command = Command::new(SETPRIV);
        command.args(["--pdeathsig", "KILL", "--", QEMU]).args(machine.arguments);
        command.args(["-nodefaults", "-display", "none", "-S"]);
        command.args(["-chardev", &chardev("gdb"), "-gdb", "chardev:gdb"]);
        command.args(["-chardev", &chardev("qmp"), "-mon", "chardev=qmp,mode=control"]);
        command.args(["-qtest", &format!("unix:{},server=on,wait=off", socket("qtest").display())]);
        command.args(["-qtest-log", "/dev/null"]);
        command.args(["-chardev", &chardev("u0"), "-serial", "chardev:u0"]);
        // A reset that the firmware asks for may only stop the machine, see `Qmp::hold_resets`.
        command.args(["-action", "shutdown=pause"]);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let failed = |source| MachineError::Spawn { program: QEMU, source };
        let mut child = command.spawn().map_err(failed)?;
        let connected = Self::connect(&mut child, folder);
        let handle = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0))
            .ok_or_else(|| io::Error::other("a process without a number"))
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from))
            .map_err(failed);
        match (connected, handle, child.stderr.take()) {
            (Ok((qtest, qmp, gdb, uart)), Ok(handle), Some(trace)) => {
                Ok((Self { child, qtest, gdb, qmp, uart }, trace, handle))
            }
            (connected, handle, trace) => {
                let _ = child.kill();
                let _ = child.wait();
                let error = match (connected, handle) {
                    (Err(error), _) | (_, Err(error)) => error,
                    _ => failed(io::Error::other("no standard error output")),
                };
                Err(match (error, trace) {
                    (MachineError::Ended { doing, .. }, Some(trace)) => {
                        MachineError::Ended { doing, words: all_lines(trace) }
                    }
                    (error, _) => error,
                })
            }
        }
    }

    fn connect(child: &mut Child, folder: &Path) -> Result<(Qtest, Qmp, Gdb, UnixStream), MachineError> {
        let mut alive = || match child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(MachineError::Ended { doing: "starting", words: Vec::new() }),
        };
        let socket = |name: &str| -> PathBuf { folder.join(name) };
        let qtest = Qtest::new(Link::connect(&socket("qtest"), "qtest", &mut alive)?);
        let qmp = Qmp::new(Link::connect(&socket("qmp"), "QMP", &mut alive)?)?;
        let gdb = Gdb::new(Link::connect(&socket("gdb"), "gdb", &mut alive)?)?;
        let uart = UnixStream::connect(socket("u0"))
            .and_then(|uart| uart.set_nonblocking(true).map(|()| uart))
            .map_err(|source| MachineError::link("UART", "connecting", source))?;
        Ok((qtest, qmp, gdb, uart))
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process that did not start had to say.
fn all_lines(mut trace: ChildStderr) -> Vec<String> {
    use std::io::Read;
    let mut text = Vec::new();
    let _ = trace.by_ref().take(4096).read_to_end(&mut text);
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_what_to_install() {
        let folder = tempfile::tempdir().unwrap();
        let without = found_in(folder.path().as_os_str()).unwrap_err();
        assert!(without.to_string().contains("apt-get install qemu-system-arm"), "{without}");
        fs::write(folder.path().join(QEMU), "").unwrap();
        let without = found_in(folder.path().as_os_str()).unwrap_err();
        assert!(without.to_string().contains("util-linux"), "{without}");
        fs::write(folder.path().join(SETPRIV), "").unwrap();
        found_in(folder.path().as_os_str()).unwrap();
    }
}
