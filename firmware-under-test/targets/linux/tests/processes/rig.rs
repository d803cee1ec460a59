//! A gateway and MeshOS over an air, each in a folder of its own: in this process, or as programs that can be killed.

use crate::air::{APP_KEY, Air, NET_KEY, device_key, package};
use crate::bench::ImageSpec;
use mk_campaign::policy::RadioPolicy;
use mk_campaign::{Carrier, HealthPolicy, NodeInfo, NodeKind, Policy, StagePolicy, StageSize, Timing};
use mk_linux::api::Stamped;
use mk_linux::api::gateway::GatewayState;
use mk_linux::api::meshos::{CampaignAccepted, CampaignRequest};
use mk_linux::client::{Client, EventReader, Item};
use mk_linux::gateway::{self, Member, NetworkFile, NetworkNode, Tuning};
use mk_linux::meshos::{self, GatewayAt, MeshosParts};
use mk_linux::process::Announcement;
use mk_wire::Addr;
use mk_wire::time::Duration;
use serde::de::DeserializeOwned;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::time::timeout;

pub const GATEWAY: Addr = Addr(0x0001);
/// Longest wait for anything.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

pub struct Rig {
    pub folder: tempfile::TempDir,
    pub nodes: Vec<Addr>,
    pub air: Air,
}

impl Rig {
    pub fn new(nodes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes: Vec<Addr> = (0..nodes).map(|n| Addr(0x0101 + n as u16)).collect();
        let air = Air::with_nodes(&nodes, folder.path());
        let rig = Self { folder, nodes, air };
        std::fs::write(rig.network(), serde_json::to_vec(&rig.network_file()).unwrap()).unwrap();
        rig
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn network(&self) -> PathBuf {
        self.path("network.json")
    }

    fn network_file(&self) -> NetworkFile {
        let node = |address: &Addr| NetworkNode { address: *address, device_key: device_key(*address), floor: 1 };
        NetworkFile {
            net_key: NET_KEY,
            app_key: APP_KEY,
            iv_index: 0,
            gateway: Member { address: GATEWAY, device_key: device_key(GATEWAY) },
            initiator: Addr(0x7FFF),
            nodes: self.nodes.iter().map(node).collect(),
            tuning: Tuning {
                segment_interval_ms: Some(1),
                copies_estimate: Some(1),
                throttle_permille: Some(1_000),
                settle_ms: Some(30),
                status_wait_ms: Some(300),
                verify_interval_ms: Some(100),
                apply_interval_ms: Some(200),
                ..Tuning::default()
            },
        }
    }

    pub fn gateway_settings(&self) -> gateway::Settings {
        gateway::Settings {
            network: self.network(),
            radio: self.air.port.clone(),
            baud: 115_200,
            data: self.path("gateway"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            die_with_parent: false,
        }
    }

    pub async fn start_gateway(&self) -> gateway::Running {
        gateway::start(self.gateway_settings()).await.unwrap()
    }

    pub async fn start_meshos(&self, gateway_url: &str) -> meshos::Running {
        let settings = meshos::Settings {
            gateways: vec![GatewayAt { address: GATEWAY, url: gateway_url.to_owned() }],
            data: self.path("meshos"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            die_with_parent: false,
            parts: MeshosParts::default(),
        };
        meshos::start(settings).await.unwrap()
    }

    /// The gateway as a program.
    pub fn spawn_gateway(&self, listen: &str) -> Program {
        Program::start(self.gateway_command(Command::new(env!("CARGO_BIN_EXE_mk-gatewayd"))), listen)
    }

    /// The same on a disk that is full after so many KiB of any file.
    pub fn spawn_gateway_on_full_disk(&self, kib: u32) -> Program {
        let mut command = Command::new("bash");
        let limited = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_mk-gatewayd")]).stderr(Stdio::piped());
        Program::start(self.gateway_command(command), "127.0.0.1:0")
    }

    fn gateway_command(&self, mut command: Command) -> Command {
        let settings = self.gateway_settings();
        command.arg("--network").arg(&settings.network).arg("--radio").arg(&settings.radio);
        command.arg("--data").arg(&settings.data);
        command
    }

    /// MeshOS as a program.
    pub fn spawn_meshos(&self, gateway_url: &str, listen: &str) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mk-meshosd"));
        command.arg("--gateway").arg(format!("{GATEWAY}={gateway_url}")).arg("--data").arg(self.path("meshos"));
        Program::start(command, listen)
    }

    /// A campaign to version 1.2.0 for every node, in one stage.
    pub fn campaign(&self, payload: usize, soak_ms: u64) -> CampaignRequest {
        let node = |addr: &Addr| NodeInfo {
            addr: *addr,
            floor: 1,
            kind: NodeKind::Luminaire,
            carrier: Carrier::Mesh,
            gateway: GATEWAY,
        };
        CampaignRequest {
            policy: Policy {
                stages: vec![StagePolicy { size: StageSize::Rest, soak: Duration::from_millis(soak_ms) }],
                success_permille: 1_000,
                throttle_permille: 1_000,
                grace: Duration::from_secs(5),
                health: HealthPolicy { report_interval: Duration::from_secs(3_600), ..HealthPolicy::default() },
                radio: RadioPolicy { timeout_base: 0, ..RadioPolicy::default() },
                timing: Timing {
                    poll_interval: Duration::from_millis(200),
                    round_interval: Duration::from_millis(200),
                    answer_wait: Duration::from_millis(1_000),
                    settle_margin: Duration::from_secs(5),
                    gateway_wait: Duration::from_millis(1_000),
                    ..Timing::default()
                },
                ..Policy::default()
            },
            nodes: self.nodes.iter().map(node).collect(),
            package: package(ImageSpec { payload, ..ImageSpec::new(2) }),
            rollback: Some(package(ImageSpec::new(1))),
        }
    }
}

pub async fn begin(meshos_url: &str, request: &CampaignRequest) -> CampaignAccepted {
    Client::new(meshos_url).unwrap().post("/campaign", request).await.unwrap()
}

pub async fn state_of(gateway_url: &str) -> GatewayState {
    Client::new(gateway_url).unwrap().get("/state").await.unwrap()
}

/// Reads events until one fits; connects again where the process is started anew.
pub async fn wait_for<E: DeserializeOwned, T>(
    reader: &mut EventReader<E>,
    what: &str,
    mut fits: impl FnMut(&Stamped<E>) -> Option<T>,
) -> T {
    let found = timeout(PATIENCE, async {
        loop {
            match reader.next().await {
                Ok(Item::Event(event)) => {
                    if let Some(found) = fits(&event) {
                        return found;
                    }
                }
                Ok(Item::Gap(_)) => {}
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

/// A process of its own.
pub struct Program {
    child: Child,
    pub url: String,
}

impl Program {
    fn start(mut command: Command, listen: &str) -> Self {
        command.args(["--listen", listen, "--die-with-parent"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = Announcement::read(&line).expect("an announcement").listening;
        Self { child, url }
    }

    /// Where it listens, for another start in the same place.
    pub fn listen(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// What it said on standard error.
    pub fn said(&mut self) -> String {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// As a power cut.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Closes the pipe that tells it that its parent lives.
    pub fn orphan(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("process {} does not end", self.id());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends SIGTERM.
pub fn terminate(program: &Program) {
    assert!(Command::new("kill").arg(program.id().to_string()).status().unwrap().success());
}

/// An order-only look into a folder.
pub fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}
