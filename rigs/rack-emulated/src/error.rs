//! What can go wrong on the bench, said so that somebody knows what to do. A product that misbehaves is never an error
//! here: a crash, a hang or a lockup of the firmware is an event.

use std::{io, path::PathBuf, time::Duration};

/// A bench that cannot start, or an order it cannot carry out.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A program that the bench needs is not there.
    #[error("{program} is not installed: {remedy}")]
    Missing {
        /// Its name.
        program: &'static str,
        /// What to install.
        remedy: &'static str,
    },
    /// Settings that cannot be met.
    #[error("{what}: {reason}")]
    Settings {
        /// Which setting.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// A file or directory of the bench.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was to be done with it.
        what: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no such node.
    #[error("node {node} of a bench of {nodes}")]
    UnknownNode {
        /// As asked for.
        node: usize,
        /// How many there are.
        nodes: usize,
    },
    /// A machine did not do what it was told.
    #[error("{node}: {source}")]
    Machine {
        /// Name of its node.
        node: String,
        /// What happened.
        source: MachineError,
    },
    /// The thread of a node did not answer in time.
    #[error("{node} did not {what} within {} ms", deadline.as_millis())]
    Deadline {
        /// Name of the node.
        node: String,
        /// What it was told to do.
        what: &'static str,
        /// How long it had.
        deadline: Duration,
    },
    /// The thread of a node has ended.
    #[error("{node}: the bench no longer runs this node")]
    Stopped {
        /// Name of the node.
        node: String,
    },
}

/// A QEMU process, or a connection to it, that does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The process could not be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// Which program.
        program: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The process has ended.
    #[error("QEMU ended while {doing}{}", last_words(.words))]
    Ended {
        /// What was going on.
        doing: &'static str,
        /// The last lines it wrote.
        words: Vec<String>,
    },
    /// A connection failed.
    #[error("{link} connection failed while {doing}: {source}")]
    Link {
        /// Which connection.
        link: &'static str,
        /// What was going on.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// No answer in time.
    #[error("no answer on the {link} connection within {} ms while {doing}", deadline.as_millis())]
    Deadline {
        /// Which connection.
        link: &'static str,
        /// What was going on.
        doing: &'static str,
        /// How long it had.
        deadline: Duration,
    },
    /// An answer that says no.
    #[error("{link} refused {request}: {answer}")]
    Refused {
        /// Which connection.
        link: &'static str,
        /// The start of the request.
        request: String,
        /// What came back.
        answer: String,
    },
    /// The node has no power.
    #[error("the node has no power")]
    NoPower,
    /// The flash file.
    #[error("flash file: {0}")]
    Flash(#[source] io::Error),
    /// A pty, or the socket of the virtual probe.
    #[error("{what}: {source}")]
    Port {
        /// Which one.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl MachineError {
    /// A connection that failed.
    pub(crate) fn link(link: &'static str, doing: &'static str, source: io::Error) -> Self {
        Self::Link { link, doing, source }
    }

    /// A request that was refused; long ones are cut.
    pub(crate) fn refused(link: &'static str, request: &str, answer: &str) -> Self {
        let cut = |text: &str| text.trim_end().chars().take(80).collect::<String>();
        Self::Refused { link, request: cut(request), answer: cut(answer) }
    }
}

fn last_words(words: &[String]) -> String {
    words.first().map(|line| format!(": {line}")).unwrap_or_default()
}
