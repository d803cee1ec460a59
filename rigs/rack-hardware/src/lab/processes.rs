//! The gateway and MeshOS processes of a rack: started with their files, listened to, killed and started again.
//!
//! They are other programs: the harness has no way into them but HTTP, signals and the serial link of the gateway.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hil_model::{Fleet, GatewayId, NodeId, Profile};
use mk_linux::api::{GatewayEvent, Health, MeshosEvent};
use mk_linux::client::{Client, EventReader, Item};
use mk_linux::gateway::{Member, NetworkFile, NetworkNode, Tuning};
use mk_linux::process::Announcement;
use mk_wire::Addr;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use super::input::{Input, Inputs};
use crate::definition::MeshKeys;

/// Longest wait for a process to say where it listens, and until it is ready.
const START: Duration = Duration::from_secs(15);
/// Between two looks at a process that is starting.
const LOOK: Duration = Duration::from_millis(20);
/// Address of MeshOS in the distribution models.
const MESHOS: Addr = Addr(0x7F01);
/// Name of the hidden command of the gateway.
pub const GATEWAY_COMMAND: &str = "gateway-process";
/// Name of the hidden command of MeshOS.
pub const MESHOS_COMMAND: &str = "meshos-process";

/// A process could not be started, or does not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct ProcessError {
    /// Which.
    pub name: String,
    /// What was seen.
    pub why: String,
}

/// A process and what it takes to start it again.
#[derive(Debug)]
pub struct Process {
    /// Its name in messages.
    pub name: String,
    program: PathBuf,
    args: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
    /// Where it listens: the same over restarts.
    pub url: String,
}

impl Process {
    /// Starts a process that takes `--listen`, and waits until it says where it listens.
    fn start(name: String, program: &Path, args: Vec<OsString>, log: PathBuf) -> Result<Self, ProcessError> {
        let mut process =
            Self { name, program: program.to_owned(), args, log, child: None, url: "127.0.0.1:0".to_owned() };
        process.launch()?;
        Ok(process)
    }

    fn error(&self, why: impl std::fmt::Display) -> ProcessError {
        ProcessError { name: self.name.clone(), why: why.to_string() }
    }

    fn launch(&mut self) -> Result<(), ProcessError> {
        let listen = self.url.trim_start_matches("http://").to_owned();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| self.error(format!("{}: {error}", self.log.display())))?;
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .args(["--listen", &listen, "--die-with-parent"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // A group of its own: an interrupt at the terminal is the harness's to pass on.
            .process_group(0)
            .spawn()
            .map_err(|error| self.error(format!("{}: {error}", self.program.display())))?;
        let Some(stdout) = child.stdout.take() else { return Err(self.error("no pipe")) };
        let (said, line) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ended = BufReader::new(stdout).read_line(&mut text);
            let _gone = said.send(text);
        });
        self.child = Some(child);
        let text = line.recv_timeout(START).map_err(|_| self.error("did not say where it listens"))?;
        match Announcement::read(&text) {
            Some(announcement) => {
                self.url = announcement.listening;
                Ok(())
            }
            None => {
                let last = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last = last.lines().last().unwrap_or("it said nothing").to_owned();
                self.kill();
                Err(self.error(last))
            }
        }
    }

    /// Starts it again where it listened before.
    ///
    /// # Errors
    /// It does not start.
    pub fn again(&mut self) -> Result<(), ProcessError> {
        self.launch()
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Either it has ended already, or it ends now.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }

    /// Whether it ended although nobody killed it.
    pub fn lost(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)) | Err(_)))
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It is not within 15 s, or has ended.
    pub fn wait_ready(&mut self, runtime: &Handle) -> Result<(), ProcessError> {
        let mut client = Client::new(&self.url).map_err(|error| self.error(error))?;
        let until = Instant::now() + START;
        let mut last = String::new();
        while Instant::now() < until {
            if self.lost() {
                return Err(self.error("ended while it started"));
            }
            match runtime.block_on(client.get::<Health>("/healthz")) {
                Ok(Health { ok: true, .. }) => return Ok(()),
                Ok(health) => last = health.state,
                Err(error) => last = error.to_string(),
            }
            std::thread::sleep(LOOK);
        }
        Err(self.error(format!("not ready within {} s: {last}", START.as_secs())))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What gateway processes are told.
#[derive(Debug, Clone)]
pub struct NetworkPlan<'a> {
    /// Sizes and paces.
    pub profile: &'a Profile,
    /// Keys.
    pub mesh: &'a MeshKeys,
    /// Nodes.
    pub fleet: &'a Fleet,
    /// Shorter waits than the product's, for small images on a bench.
    pub brisk: bool,
}

/// Starts a gateway on the radio at `radio`, with its files in `folder`.
///
/// # Errors
/// It does not start.
pub fn start_gateway(
    program: &(PathBuf, Vec<OsString>),
    id: GatewayId,
    radio: &Path,
    plan: &NetworkPlan<'_>,
    folder: &Path,
) -> Result<Process, ProcessError> {
    let name = format!("gateway {}", id.0);
    let failed = |why: String| ProcessError { name: name.clone(), why };
    let data = folder.join(format!("gateway-{}", id.0));
    std::fs::create_dir_all(&data).map_err(|error| failed(format!("{}: {error}", data.display())))?;
    let file = folder.join(format!("network-{}.json", id.0));
    let network = serde_json::to_vec_pretty(&network(id, plan)).map_err(|error| failed(error.to_string()))?;
    std::fs::write(&file, network).map_err(|error| failed(format!("{}: {error}", file.display())))?;
    let mut args = program.1.clone();
    for (option, value) in [("--network", file.as_path()), ("--data", data.as_path()), ("--radio", radio)] {
        args.extend([OsString::from(option), value.as_os_str().to_owned()]);
    }
    let log = folder.join(format!("gateway-{}.log", id.0));
    Process::start(name, &program.0, args, log)
}

/// Starts MeshOS over these gateways.
///
/// # Errors
/// It does not start.
pub fn start_meshos(
    program: &(PathBuf, Vec<OsString>),
    gateways: &[(GatewayId, String)],
    folder: &Path,
) -> Result<Process, ProcessError> {
    let name = "MeshOS".to_owned();
    let data = folder.join("meshos");
    let failed =
        |error: std::io::Error| ProcessError { name: name.clone(), why: format!("{}: {error}", data.display()) };
    std::fs::create_dir_all(&data).map_err(failed)?;
    let mut args = program.1.clone();
    args.extend([OsString::from("--data"), data.into_os_string()]);
    for (id, url) in gateways {
        args.extend([OsString::from("--gateway"), format!("{}={url}", Addr(id.unicast())).into()]);
    }
    Process::start(name, &program.0, args, folder.join("meshos.log"))
}

fn network(id: GatewayId, plan: &NetworkPlan<'_>) -> NetworkFile {
    let profile = plan.profile;
    let key = |address: u16| plan.mesh.device_key(address).0;
    let nodes = plan.fleet.nodes.iter().filter(|node| node.gateway == id);
    let brisk = |ms: u32| plan.brisk.then_some(ms);
    NetworkFile {
        net_key: plan.mesh.net_key.0,
        app_key: plan.mesh.app_key.0,
        iv_index: 0,
        gateway: Member { address: Addr(id.unicast()), device_key: key(id.unicast()) },
        initiator: MESHOS,
        nodes: nodes
            .map(|node| NetworkNode {
                address: Addr(NodeId::unicast(node.id)),
                device_key: key(node.id.unicast()),
                floor: node.floor.0,
            })
            .collect(),
        tuning: Tuning {
            segment_interval_ms: u32::try_from(profile.segment_interval.as_millis()).ok().map(|ms| ms.max(1)),
            copies_estimate: Some(profile.copies),
            chunk_size: Some(profile.chunk_size),
            block_size_log: Some(profile.block_size_log),
            settle_ms: brisk(100),
            status_wait_ms: brisk(1_000),
            verify_interval_ms: brisk(400),
            apply_interval_ms: brisk(1_000),
            apply_deadline_ms: brisk(30_000),
            ..Tuning::default()
        },
    }
}

/// Passes on what a gateway says, until the run is over.
pub fn follow_gateway(runtime: &Handle, place: usize, url: String, inputs: Inputs) {
    let pass = move |event: GatewayEvent, inputs: &Inputs| {
        inputs.send(Input::Gateway { place, at: Instant::now(), event: Box::new(event) });
    };
    runtime.spawn(follow(url, inputs, pass));
}

/// Passes on what MeshOS says, until the run is over.
pub fn follow_meshos(runtime: &Handle, url: String, inputs: Inputs) {
    let pass = |event: MeshosEvent, inputs: &Inputs| {
        inputs.send(Input::Meshos { at: Instant::now(), event: Box::new(event) });
    };
    runtime.spawn(follow(url, inputs, pass));
}

async fn follow<E: DeserializeOwned>(url: String, inputs: Inputs, pass: impl Fn(E, &Inputs)) {
    let Ok(mut reader) = EventReader::<E>::new(&url) else { return };
    while !inputs.closed() {
        match reader.next().await {
            Ok(Item::Event(event)) => pass(event.event, &inputs),
            // Another life of the process: what it keeps follows.
            Ok(Item::Gap(_)) => {}
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}
