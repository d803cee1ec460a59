//! The gateway process: firmware distributor and collector of confirmations between MeshOS and the mesh.
//!
//! [`mk_gateway::Gateway`] decides, [`mk_mesh::Stack`] encrypts and segments; this process gives them the radio
//! co-processor's serial port, a folder for what has to survive, and HTTP. It serves mesh nodes only: there is no Thread
//! radio here.

mod core;
mod http;
mod mesh;
mod meter;
mod network;
mod radio;
mod store;

pub use self::network::{Member, Network, NetworkError, NetworkFile, NetworkNode, Tuning};

use self::core::{Input, Machine};
use self::http::Front;
use self::mesh::Mesh;
use self::meter::Meter;
use self::radio::{Link, PortControl, keep_port};
use self::store::{Journal, MeshLog};
use crate::api::GatewayEvent;
use crate::args::{Args, ArgsError, Takes};
use crate::clock::Clock;
use crate::disk::{DiskError, Hold};
use crate::feed::Feed;
use crate::http::{Events, serve};
use crate::process::{self, Announcement, begin_life};
use mk_gateway::Gateway;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// Inputs that wait for the machine's thread at most.
const MOST_WAITING: usize = 1_024;

/// What a gateway process is told when it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The network file.
    pub network: PathBuf,
    /// Serial port of the radio co-processor.
    pub radio: PathBuf,
    /// Its speed in baud.
    pub baud: u32,
    /// Folder for what has to survive; made if need be.
    pub data: PathBuf,
    /// Where to listen; port 0 for any that is free.
    pub listen: SocketAddr,
    /// End when standard input ends.
    pub die_with_parent: bool,
}

/// Where a process listens unless told otherwise: this machine only, any free port.
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Settings {
    /// Reads a command line, without the program's name.
    ///
    /// # Errors
    /// Anything that is not understood.
    pub fn from_args(words: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let options = [
            ("network", Takes::Value),
            ("radio", Takes::Value),
            ("baud", Takes::Value),
            ("data", Takes::Value),
            ("listen", Takes::Value),
            ("die-with-parent", Takes::Nothing),
        ];
        let args = Args::read(words, &options)?;
        Ok(Self {
            network: args.required("network")?.into(),
            radio: args.required("radio")?.into(),
            baud: args.parsed("baud", 115_200)?,
            data: args.required("data")?.into(),
            listen: args.parsed("listen", ANY_PORT)?,
            die_with_parent: args.has("die-with-parent"),
        })
    }
}

/// A gateway process that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The command line.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The network file.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The port cannot be listened on.
    #[error("cannot listen on {address}: {error}; port 0 takes any that is free")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// The system refuses a thread, a signal handler or a connection.
    #[error("the system refuses {what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// A thread of the process is gone: a mistake in this program.
    #[error("the {0} thread ended by itself; please report what was on standard error")]
    Thread(&'static str),
}

/// The process: reads the command line (without the program's name), announces where it listens, and works until it is
/// told to end.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    process::run_to_end("mk-gatewayd", async { run(Settings::from_args(words)?).await })
}

/// Works until SIGTERM, SIGINT or, if so set, the end of standard input; announces where it listens on standard output.
///
/// # Errors
/// It cannot start, or the disk fails.
pub async fn run(settings: Settings) -> Result<(), GatewayError> {
    let die_with_parent = settings.die_with_parent;
    let mut running = start(settings).await?;
    Announcement::of(running.address()).print();
    tokio::select! {
        told = process::told_to_end(die_with_parent) => {
            told.map_err(|error| GatewayError::System { what: "signal handlers", error })?;
        }
        () = running.ended_by_itself() => {}
    }
    running.stop().await
}

/// A gateway at work.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    inputs: SyncSender<Input>,
    control: PortControl,
    ending: watch::Sender<bool>,
    machine: JoinHandle<Result<(), DiskError>>,
    machine_ended: oneshot::Receiver<()>,
    port: JoinHandle<()>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        Announcement::of(self.address).listening
    }

    /// Returns when the machine's thread has ended without being told to: the disk failed.
    async fn ended_by_itself(&mut self) {
        // A sender that is dropped is a thread that ended.
        drop((&mut self.machine_ended).await);
    }

    /// Ends it cleanly: what was polled is written, readers of events are given the last one.
    ///
    /// # Errors
    /// The disk failed, now or before.
    pub async fn stop(self) -> Result<(), GatewayError> {
        self.control.end();
        let Self { inputs, machine, port, server, ending, .. } = self;
        let joined = tokio::task::spawn_blocking(move || {
            // Full of other inputs: it takes them and comes to this one. Gone: it has ended.
            let _ = inputs.send(Input::End);
            drop(inputs);
            (machine.join(), port.join())
        });
        let (machine, port) = joined.await.map_err(|_| GatewayError::Thread("closing"))?;
        ending.send_replace(true);
        let served = server.await.map_err(|_| GatewayError::Thread("HTTP"))?;
        machine.map_err(|_| GatewayError::Thread("machine"))??;
        port.map_err(|_| GatewayError::Thread("radio"))?;
        served.map_err(|error| GatewayError::System { what: "connections", error })
    }
}

/// Starts a gateway on the present runtime.
///
/// # Errors
/// Network file, folder or port cannot be used. A radio that is not there is no error: it is waited for.
pub async fn start(settings: Settings) -> Result<Running, GatewayError> {
    let network = Network::read(&settings.network)?;
    let clock = Clock::start();
    let hold = Hold::take(&settings.data)?;
    let life = begin_life(&settings.data, clock.unix_us() / 1_000)?;
    let (journal, records) = Journal::open(&settings.data, hold)?;
    let now = clock.now();
    let gateway = Gateway::restore(now, network.settings(), records.iter());
    let mesh = Mesh::start(now, &network, MeshLog::open(&settings.data)?)?;
    let listener = TcpListener::bind(settings.listen).await;
    let bound = |error| GatewayError::Listen { address: settings.listen, error };
    let listener = listener.map_err(bound)?;
    let address = listener.local_addr().map_err(bound)?;

    let feed = Arc::new(Feed::new(clock, life));
    let control = PortControl::default();
    let (inputs, waiting) = sync_channel(MOST_WAITING);
    let started = GatewayEvent::Started { address: network.file.gateway.address, records: records.len() as u64 };
    feed.tell(started.name(), started);
    let machine = Machine {
        address: network.file.gateway.address,
        clock,
        feed: Arc::clone(&feed),
        gateway,
        mesh,
        link: Link::new(control.clone()),
        journal,
        meter: Meter::new(now),
        batches: VecDeque::new(),
        untold: Vec::new(),
        answers: Vec::new(),
    };
    let refused = |what| move |error| GatewayError::System { what, error };
    let (on_end, machine_ended) = oneshot::channel();
    let machine = std::thread::Builder::new().name("gateway".to_owned()).spawn(move || {
        let _on_end: oneshot::Sender<()> = on_end;
        machine.run(&waiting)
    });
    let machine = machine.map_err(refused("a thread"))?;
    let radio = inputs.clone();
    let port =
        keep_port(settings.radio, settings.baud, control.clone(), move |input| radio.send(Input::Radio(input)).is_ok());
    let port = port.map_err(refused("a thread"))?;
    let (ending, when_ending) = watch::channel(false);
    let front = Front { inputs: inputs.clone(), events: Events::new(feed, when_ending.clone()) };
    let server = tokio::spawn(serve(listener, http::router(front), when_ending));
    Ok(Running { address, inputs, control, ending, machine, machine_ended, port, server })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_command_line_is_read() {
        let words = ["--network", "n.yaml", "--radio", "/dev/ttyACM0", "--data", "s", "--die-with-parent"];
        let settings = Settings::from_args(words.map(OsString::from)).unwrap();
        assert_eq!(settings.listen, ANY_PORT);
        assert_eq!((settings.baud, settings.die_with_parent), (115_200, true));
        assert!(Settings::from_args([OsString::from("--radio")]).is_err());
    }
}
