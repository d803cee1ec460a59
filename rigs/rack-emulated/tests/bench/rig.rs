//! What the tests share: a bench with a program on it, and waiting for what happens there.

use crate::programs::octets;
use hil_model::Power;
use rack_emulated::{Bench, BenchEventKind, BenchSettings, NodeState};
use std::{
    fs::File,
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    time::{Duration, Instant},
};

/// Longest wait for anything, on a host that is very busy.
pub const PATIENCE: Duration = Duration::from_secs(60);
const O_NONBLOCK: i32 = 0o4000;

/// A bench and the folder of its files.
pub struct Rig {
    pub bench: Bench,
    _folder: tempfile::TempDir,
}

/// Settings of a bench without power.
pub fn dark(folder: &tempfile::TempDir, nodes: usize) -> BenchSettings {
    let mut settings = BenchSettings::new(folder.path(), nodes);
    for node in &mut settings.nodes {
        node.powered = false;
    }
    settings
}

impl Rig {
    /// Nodes with a program in their flash, and no power yet.
    pub fn dark(program: &[u32], nodes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::start(dark(&folder, nodes)).unwrap();
        for node in 0..nodes {
            bench.load_flash(node, 0, &octets(program)).unwrap();
        }
        Self { bench, _folder: folder }
    }

    /// Nodes that run a program.
    pub fn running(program: &[u32], nodes: usize) -> Self {
        let rig = Self::dark(program, nodes);
        for node in 0..nodes {
            rig.bench.power(node, Power::On).unwrap();
        }
        rig
    }

    /// Waits for an event, and returns what `wanted` makes of it. Others before it are dropped.
    pub fn event<T>(&self, what: &str, mut wanted: impl FnMut(BenchEventKind) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while Instant::now() < end {
            if let Some(event) = self.bench.next_event(Duration::from_millis(100)) {
                seen.push(format!("{:?}", event.kind));
                if let Some(found) = wanted(event.kind) {
                    return found;
                }
            }
        }
        panic!("no {what} among {seen:#?}");
    }

    /// Opens the console of a node.
    pub fn console(&self, node: usize) -> Console {
        let path = self.bench.tty(node).unwrap();
        let file = File::options().read(true).write(true).custom_flags(O_NONBLOCK).open(path).unwrap();
        Console { file }
    }

    /// Waits until a node does something.
    pub fn state(&self, node: usize, state: NodeState) {
        wait(&format!("{state:?}"), || self.bench.status(node).unwrap().state == state);
    }
}

/// An open console.
pub struct Console {
    pub file: File,
}

impl Console {
    /// What it says until the text has come, or nothing for so long.
    pub fn hear(&mut self, until: &str, quiet: Duration) -> String {
        let mut heard = Vec::new();
        let mut chunk = [0; 4096];
        let mut last = Instant::now();
        while last.elapsed() < quiet {
            match self.file.read(&mut chunk) {
                Ok(n) if n > 0 => {
                    heard.extend_from_slice(&chunk[..n]);
                    last = Instant::now();
                }
                Ok(_) => std::thread::sleep(Duration::from_millis(2)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(2)),
                Err(error) => panic!("console: {error}"),
            }
            if !until.is_empty() && String::from_utf8_lossy(&heard).contains(until) {
                break;
            }
        }
        String::from_utf8_lossy(&heard).into_owned()
    }
}

/// Waits until something is so.
pub fn wait(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
