//! The MeshOS process: campaigns, their operators, and the gateways that carry them out.
//!
//! [`mk_campaign::Campaign`] decides; this process keeps its journal, gives it a clock that goes on over restarts, and
//! speaks HTTP with gateways and operators. It holds one campaign at a time; a new one needs the last one to have ended.

mod core;
mod http;
mod links;
mod store;

pub use self::links::GatewayAt;
pub use self::store::StoreError;

use self::core::{Current, Input, Machine};
use self::http::Front;
use self::links::Link;
use self::store::{Found, Store};
use crate::api::form::parse_addr;
use crate::api::{EventId, MeshosEvent};
use crate::args::{Args, ArgsError, Takes};
use crate::client::{Client, ClientError};
use crate::clock::Clock;
use crate::disk::{self, DiskError, Hold};
use crate::feed::Feed;
use crate::gateway::ANY_PORT;
use crate::http::{Events, serve};
use crate::process::{self, Announcement, begin_life};
use mk_campaign::Parts;
use mk_wire::Addr;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// Inputs that wait for the machine's thread at most.
const MOST_WAITING: usize = 1_024;

/// What a MeshOS process is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The gateways.
    pub gateways: Vec<GatewayAt>,
    /// Folder for what has to survive; made if need be.
    pub data: PathBuf,
    /// Where to listen; port 0 for any that is free.
    pub listen: SocketAddr,
    /// End when standard input ends.
    pub die_with_parent: bool,
    /// The parts the campaign is put together from.
    pub parts: MeshosParts,
}

/// [`Parts`] with a form for messages.
#[derive(Clone, Copy, Default)]
pub struct MeshosParts(pub Parts);

impl std::fmt::Debug for MeshosParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MeshosParts")
    }
}

impl Settings {
    /// Reads a command line, without the program's name: `--gateway ADDRESS=URL` for each gateway, `--data DIR`,
    /// `--listen ADDRESS:PORT`, `--die-with-parent`.
    ///
    /// # Errors
    /// Anything that is not understood.
    pub fn from_args(words: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let options = [
            ("gateway", Takes::Values),
            ("data", Takes::Value),
            ("listen", Takes::Value),
            ("die-with-parent", Takes::Nothing),
        ];
        let args = Args::read(words, &options)?;
        let wrong = |what: String| ArgsError::Option { name: "gateway".to_owned(), what };
        let mut gateways: Vec<GatewayAt> = Vec::new();
        for text in args.all("gateway") {
            let (address, url) = text
                .split_once('=')
                .and_then(|(address, url)| Some((parse_addr(address)?, url)))
                .ok_or_else(|| wrong(format!("{text:?}: expected ADDRESS=URL, as 0001=http://127.0.0.1:9001")))?;
            if !address.is_unicast() || gateways.iter().any(|known| known.address == address) {
                return Err(wrong(format!("{address} is not unicast, or given twice")));
            }
            let client = Client::new(url).map_err(|error| wrong(error.to_string()))?;
            gateways.push(GatewayAt { address, url: client.url().to_owned() });
        }
        if gateways.is_empty() {
            return Err(wrong("is missing".to_owned()));
        }
        Ok(Self {
            gateways,
            data: args.required("data")?.into(),
            listen: args.parsed("listen", ANY_PORT)?,
            die_with_parent: args.has("die-with-parent"),
            parts: MeshosParts::default(),
        })
    }
}

/// A MeshOS process that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum MeshosError {
    /// The command line.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// A gateway's URL.
    #[error(transparent)]
    Gateway(#[from] ClientError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The campaign's files.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    process::run_to_end("mk-meshosd", async { run(Settings::from_args(words)?).await })
}

/// Works until SIGTERM, SIGINT or, if so set, the end of standard input; announces where it listens on standard output.
///
/// # Errors
/// It cannot start, or the disk fails.
pub async fn run(settings: Settings) -> Result<(), MeshosError> {
    let die_with_parent = settings.die_with_parent;
    let mut running = start(settings).await?;
    Announcement::of(running.address()).print();
    tokio::select! {
        told = process::told_to_end(die_with_parent) => {
            told.map_err(|error| MeshosError::System { what: "signal handlers", error })?;
        }
        () = running.ended_by_itself() => {}
    }
    running.stop().await
}

/// MeshOS at work.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    inputs: SyncSender<Input>,
    ending: watch::Sender<bool>,
    machine: JoinHandle<Result<(), StoreError>>,
    machine_ended: oneshot::Receiver<()>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    _hold: Hold,
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

    async fn ended_by_itself(&mut self) {
        // A sender that is dropped is a thread that ended.
        drop((&mut self.machine_ended).await);
    }

    /// Ends it cleanly: what was polled is written, readers of events are given the last one.
    ///
    /// # Errors
    /// The disk failed, now or before.
    pub async fn stop(self) -> Result<(), MeshosError> {
        let Self { inputs, machine, server, ending, .. } = self;
        let joined = tokio::task::spawn_blocking(move || {
            // Full of other inputs: it takes them and comes to this one. Gone: it has ended.
            let _ = inputs.send(Input::End);
            machine.join()
        });
        let machine = joined.await.map_err(|_| MeshosError::Thread("closing"))?;
        ending.send_replace(true);
        let served = server.await.map_err(|_| MeshosError::Thread("HTTP"))?;
        machine.map_err(|_| MeshosError::Thread("machine"))??;
        served.map_err(|error| MeshosError::System { what: "connections", error })
    }
}

/// How far each gateway's events were read by the last life; where that is not known, reading begins with what is new.
fn read_places(folder: &Path) -> BTreeMap<Addr, EventId> {
    let octets = disk::read(&folder.join("read"), 1 << 20).unwrap_or_default();
    let places: BTreeMap<String, EventId> = serde_json::from_slice(&octets).unwrap_or_default();
    places.iter().filter_map(|(address, id)| Some((parse_addr(address)?, *id))).collect()
}

/// Starts MeshOS on the present runtime; a campaign that was under way goes on.
///
/// # Errors
/// Folder or port cannot be used. A gateway that is not there is no error: it is waited for.
pub async fn start(settings: Settings) -> Result<Running, MeshosError> {
    let clock = Clock::start();
    let hold = Hold::take(&settings.data)?;
    let began_unix_ms = clock.unix_us() / 1_000;
    let life = begin_life(&settings.data, began_unix_ms)?;
    let feed = Arc::new(Feed::new(clock, life));
    let read = read_places(&settings.data);
    let parts = settings.parts.0;
    let current = take_up(&settings.data, parts, &clock, &feed)?;
    let listener = TcpListener::bind(settings.listen).await;
    let bound = |error| MeshosError::Listen { address: settings.listen, error };
    let listener = listener.map_err(bound)?;
    let address = listener.local_addr().map_err(bound)?;

    let (inputs, waiting) = sync_channel(MOST_WAITING);
    let (ending, when_ending) = watch::channel(false);
    let mut links = Vec::new();
    for at in settings.gateways {
        let last = read.get(&at.address).copied();
        let sender = format!("meshos-{}-{life}", began_unix_ms);
        links.push(Link::open(at, sender, last, inputs.clone(), when_ending.clone(), began_unix_ms)?);
    }
    let folder = settings.data;
    let machine = Machine { folder, clock, feed: Arc::clone(&feed), links, current, parts, read, read_noted: None };
    let (on_end, machine_ended) = oneshot::channel();
    let machine = std::thread::Builder::new().name("meshos".to_owned()).spawn(move || {
        let _on_end: oneshot::Sender<()> = on_end;
        machine.run(&waiting)
    });
    let machine = machine.map_err(|error| MeshosError::System { what: "a thread", error })?;
    let front = Front { inputs: inputs.clone(), events: Events::new(feed, when_ending.clone()) };
    let server = tokio::spawn(serve(listener, http::router(front), when_ending));
    Ok(Running { address, inputs, ending, machine, machine_ended, server, _hold: hold })
}

/// Takes up the campaign on disk. One that cannot be gone on with is told and left alone, so that its operator can look.
fn take_up(folder: &Path, parts: Parts, clock: &Clock, feed: &Feed) -> Result<Option<Current>, MeshosError> {
    let tell = |event: MeshosEvent| feed.tell(event.name(), event);
    let found = match Store::find(folder, parts) {
        Ok(found) => found,
        Err(StoreError::Disk(error @ DiskError::System { .. })) => return Err(error.into()),
        Err(error) => {
            tell(MeshosEvent::Started { campaign: None, records: 0, clock: None });
            let next = "restore its files, or move its folder away; nodes keep what they run".to_owned();
            tell(MeshosEvent::NotResumed { error: error.to_string(), next });
            return Ok(None);
        }
    };
    let Some(Found { store, mut campaign, records, latest }) = found else {
        tell(MeshosEvent::Started { campaign: None, records: 0, clock: None });
        return Ok(None);
    };
    tell(MeshosEvent::Started { campaign: Some(store.number()), records, clock: Some(store.clock()) });
    campaign.on_timer(core::campaign_now(clock, store.clock(), latest));
    Ok(Some(Current { campaign, store, not_before: latest }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    fn settings(gateways: &[&str]) -> Result<Settings, ArgsError> {
        let gateways = gateways.iter().flat_map(|gateway| ["--gateway", *gateway]);
        Settings::from_args(["--data", "s"].into_iter().chain(gateways).map(OsString::from))
    }

    #[test]
    fn gateways_are_read() {
        let settings = settings(&["0001=http://127.0.0.1:9001", "0002=http://127.0.0.1:9002/"]).unwrap();
        assert_eq!(settings.gateways[1], GatewayAt { address: Addr(2), url: "http://127.0.0.1:9002".to_owned() });
    }

    #[rstest]
    #[case::none(&[])]
    #[case::no_url(&["0001"])]
    #[case::not_http(&["0001=127.0.0.1:9001"])]
    #[case::group(&["c001=http://127.0.0.1:9001"])]
    #[case::twice(&["0001=http://127.0.0.1:9001", "1=http://127.0.0.1:9002"])]
    fn a_gateway_that_is_none_is_refused(#[case] gateways: &[&str]) {
        assert!(settings(gateways).is_err());
    }

    #[test]
    fn places_that_cannot_be_read_are_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_places(folder.path()).is_empty());
        std::fs::write(folder.path().join("read"), r#"{"0001":"2-9","x":"1-1"}"#).unwrap();
        assert_eq!(read_places(folder.path()), BTreeMap::from([(Addr(1), EventId { life: 2, number: 9 })]));
    }
}
