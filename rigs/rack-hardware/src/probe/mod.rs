//! The debug probe of one board, from the harness's side: each operation runs in the probe process and has a deadline.
//!
//! What does not answer in time is ended, with its process, and reported as a [`Fault::Deadline`] that names the operation;
//! the next operation starts a new process and has to attach again. Erases nothing that was not named: a locked part is
//! [`Fault::Locked`], and opening it takes [`Probe::erase_everything`].

mod classify;
pub mod protocol;
pub mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use protocol::{AttachTo, Chunk, Failure, Octets, PROTOCOL, Reply, Request};
pub use protocol::{CoreState, FlashStage, ProbeSeen};

use crate::boards::BoardDriver;
use crate::error::Fault;
use crate::identity::ProbeSelector;

/// Longest answer taken, octets.
const MOST_LINE: u64 = 32 * 1024 * 1024;
/// Octets of the process's last words that are kept.
const LAST_WORDS: usize = 2_000;
/// The name of the hidden command.
pub const WORKER_COMMAND: &str = "probe-worker";
/// Names another program than this one for the probe process; for test programs, which have no commands.
pub const WORKER_VARIABLE: &str = "HIL_PROBE_WORKER";

/// How to start a probe process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

impl WorkerCommand {
    /// The hidden command of this very program, or what `HIL_PROBE_WORKER` names.
    ///
    /// # Errors
    /// The system cannot say what this program is.
    pub fn this_program() -> Result<Self, Fault> {
        if let Some(program) = std::env::var_os(WORKER_VARIABLE) {
            return Ok(Self { program: program.into(), args: Vec::new() });
        }
        let program = std::env::current_exe().map_err(|e| Fault::Worker { why: format!("this program: {e}") })?;
        Ok(Self { program, args: vec![WORKER_COMMAND.into()] })
    }
}

/// How long each kind of operation may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    /// Starting the process, looking for probes.
    pub start: Duration,
    /// Attaching.
    pub attach: Duration,
    /// Halt, run, reset, status, small reads and writes.
    pub quick: Duration,
    /// Added for each 64 KiB read.
    pub read_64k: Duration,
    /// Added for each 4 KiB erased or written and read back.
    pub flash_4k: Duration,
    /// Erasing a whole part in order to open it.
    pub erase_everything: Duration,
}

impl Default for Deadlines {
    /// For boards behind USB probes at 1 MHz, with room.
    fn default() -> Self {
        Self {
            start: Duration::from_secs(10),
            attach: Duration::from_secs(15),
            quick: Duration::from_secs(5),
            read_64k: Duration::from_secs(3),
            flash_4k: Duration::from_millis(1_500),
            erase_everything: Duration::from_secs(60),
        }
    }
}

/// A run of octets and where it goes, as the probe sees addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlashPart {
    /// First address.
    pub address: u32,
    /// What to write.
    pub octets: Vec<u8>,
}

/// How far a flash operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashProgress {
    /// At what.
    pub stage: FlashStage,
    /// Octets done of this stage.
    pub done: u64,
    /// Octets in all of this stage.
    pub total: u64,
}

/// Where flash progress goes.
pub type ProgressSink<'a> = &'a mut (dyn FnMut(FlashProgress) + Send);

/// How the core stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreStatus {
    /// What it does.
    pub state: CoreState,
    /// Program counter, where it is stopped.
    pub pc: Option<u32>,
}

/// What was attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Name of the probe.
    pub probe: String,
    /// Name of the chip.
    pub chip: String,
}

/// How to attach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Hold the core in reset while attaching, so that firmware does not start first.
    pub under_reset: bool,
}

/// The probe of one board.
#[derive(Debug)]
pub struct Probe {
    selector: String,
    driver: &'static BoardDriver,
    speed_khz: Option<u32>,
    worker: Worker,
    deadlines: Deadlines,
}

impl Probe {
    /// A probe that is not attached. No process runs yet.
    #[must_use]
    pub fn new(
        selector: &ProbeSelector,
        driver: &'static BoardDriver,
        speed_khz: Option<u32>,
        command: WorkerCommand,
        deadlines: Deadlines,
    ) -> Self {
        let worker = Worker { command, running: None };
        Self { selector: selector.to_string(), driver, speed_khz, worker, deadlines }
    }

    /// Attaches. The core keeps running, or begins anew where it was held in reset.
    ///
    /// # Errors
    /// [`Fault::Absent`], [`Fault::Busy`], [`Fault::Locked`], [`Fault::NoTarget`], [`Fault::Deadline`] and others.
    pub async fn attach(&mut self, options: AttachOptions) -> Result<Attached, Fault> {
        self.attach_to(options, false, self.deadlines.attach, "attach").await
    }

    /// Opens a locked part by erasing everything on it: firmware, keys, configuration, evidence. Attaches.
    ///
    /// # Errors
    /// As [`Probe::attach`].
    pub async fn erase_everything(&mut self) -> Result<Attached, Fault> {
        let limit = self.deadlines.erase_everything;
        self.attach_to(AttachOptions { under_reset: false }, true, limit, "erase everything").await
    }

    async fn attach_to(
        &mut self,
        options: AttachOptions,
        erase_all: bool,
        limit: Duration,
        operation: &str,
    ) -> Result<Attached, Fault> {
        self.ensure_started().await?;
        let request = Request::Attach(AttachTo {
            selector: self.selector.clone(),
            chip: self.driver.chip.to_owned(),
            target_yaml: self.driver.target_yaml.map(str::to_owned),
            speed_khz: self.speed_khz,
            under_reset: options.under_reset,
            erase_all,
        });
        match self.ask(&request, limit, operation).await? {
            Reply::Attached { probe, chip } => Ok(Attached { probe, chip }),
            other => Err(unexpected(operation, &other)),
        }
    }

    /// Lets go of the probe and ends its process; the core runs on.
    pub async fn detach(&mut self) {
        if self.worker.running.is_some() {
            // Whether it answers or not, the process ends.
            let _answer = self.ask(&Request::Detach, self.deadlines.quick, "detach").await;
        }
        self.worker.end().await;
    }

    /// Reads memory.
    ///
    /// # Errors
    /// [`Fault::LinkLost`], [`Fault::Deadline`] and others.
    pub async fn read(&mut self, address: u32, length: u32) -> Result<Vec<u8>, Fault> {
        let limit = self.deadlines.quick + self.deadlines.read_64k * (length / 65_536);
        let operation = format!("read {length} octets at {address:#010x}");
        match self.ask(&Request::Read { address, length }, limit, &operation).await? {
            Reply::Octets { octets: Octets(octets) } if octets.len() == length as usize => Ok(octets),
            other => Err(unexpected(&operation, &other)),
        }
    }

    /// Writes RAM or registers.
    ///
    /// # Errors
    /// As [`Probe::read`].
    pub async fn write(&mut self, address: u32, octets: &[u8]) -> Result<(), Fault> {
        let operation = format!("write {} octets at {address:#010x}", octets.len());
        let request = Request::Write(Chunk { address, octets: Octets(octets.to_vec()) });
        self.done(&request, self.deadlines.quick, &operation, None).await
    }

    /// Writes flash and reads it back. Sectors are erased as needed; what a sector held beside the new octets is kept. The
    /// core is left stopped: reset it.
    ///
    /// # Errors
    /// [`Fault::Flash`], [`Fault::Verify`], and as [`Probe::read`].
    pub async fn flash(&mut self, parts: &[FlashPart], progress: Option<ProgressSink<'_>>) -> Result<(), Fault> {
        let sectors: usize = parts.iter().map(|part| part.octets.len() / 4096 + 2).sum();
        let limit = self.deadlines.quick + self.deadlines.flash_4k * u32::try_from(sectors).unwrap_or(u32::MAX);
        let total: usize = parts.iter().map(|part| part.octets.len()).sum();
        let chunks =
            parts.iter().map(|part| Chunk { address: part.address, octets: Octets(part.octets.clone()) }).collect();
        self.done(&Request::Flash { chunks }, limit, &format!("flash {total} octets"), progress).await
    }

    /// Erases whole sectors.
    ///
    /// # Errors
    /// [`Fault::Refused`] for part of a sector, and as [`Probe::flash`].
    pub async fn erase(&mut self, start: u32, length: u32) -> Result<(), Fault> {
        let (sector, action) = (self.driver.sector, format!("erase {length} octets at {start:#010x}"));
        if !start.is_multiple_of(sector) || !length.is_multiple_of(sector) || length == 0 {
            return Err(Fault::Refused { action, why: format!("sectors have {sector} octets") });
        }
        let limit = self.deadlines.quick + self.deadlines.flash_4k * (length / 4096);
        self.done(&Request::Erase { start, length }, limit, &action, None).await
    }

    /// Stops the core.
    ///
    /// # Errors
    /// As [`Probe::read`].
    pub async fn halt(&mut self) -> Result<CoreStatus, Fault> {
        self.core(&Request::Halt, "halt").await
    }

    /// Lets the core run.
    ///
    /// # Errors
    /// As [`Probe::read`].
    pub async fn run(&mut self) -> Result<CoreStatus, Fault> {
        self.core(&Request::Run, "run").await
    }

    /// Resets the core by its system reset request.
    ///
    /// # Errors
    /// As [`Probe::read`].
    pub async fn reset(&mut self, halt: bool) -> Result<CoreStatus, Fault> {
        self.core(&Request::Reset { halt }, "reset").await
    }

    /// Pulses the reset pin.
    ///
    /// # Errors
    /// [`Fault::Refused`] where the probe has no such pin, and as [`Probe::attach`].
    pub async fn reset_pin(&mut self) -> Result<CoreStatus, Fault> {
        let limit = self.deadlines.attach;
        match self.ask(&Request::ResetPin, limit, "pulse the reset pin").await? {
            Reply::Core { state, pc } => Ok(CoreStatus { state, pc }),
            other => Err(unexpected("reset pin", &other)),
        }
    }

    /// What the core does.
    ///
    /// # Errors
    /// As [`Probe::read`].
    pub async fn status(&mut self) -> Result<CoreStatus, Fault> {
        self.core(&Request::Status, "status").await
    }

    async fn core(&mut self, request: &Request, operation: &str) -> Result<CoreStatus, Fault> {
        match self.ask(request, self.deadlines.quick, operation).await? {
            Reply::Core { state, pc } => Ok(CoreStatus { state, pc }),
            other => Err(unexpected(operation, &other)),
        }
    }

    async fn done(
        &mut self,
        request: &Request,
        limit: Duration,
        operation: &str,
        progress: Option<ProgressSink<'_>>,
    ) -> Result<(), Fault> {
        match self.worker.ask(request, limit, operation, progress).await {
            Ok(Reply::Done) => Ok(()),
            Ok(Reply::Failed { failure, why }) => Err(self.fault(failure, why, operation)),
            Ok(other) => Err(unexpected(operation, &other)),
            Err(fault) => Err(fault),
        }
    }

    async fn ask(&mut self, request: &Request, limit: Duration, operation: &str) -> Result<Reply, Fault> {
        match self.worker.ask(request, limit, operation, None).await? {
            Reply::Failed { failure, why } => Err(self.fault(failure, why, operation)),
            reply => Ok(reply),
        }
    }

    async fn ensure_started(&mut self) -> Result<(), Fault> {
        self.worker.ensure_started(self.deadlines.start).await
    }

    fn fault(&self, failure: Failure, why: String, operation: &str) -> Fault {
        let name = self.selector.clone();
        match failure {
            Failure::Absent => Fault::Absent { name },
            Failure::Forbidden => Fault::Forbidden { name },
            Failure::Busy => Fault::Busy { name, holder: None },
            Failure::Locked => Fault::Locked,
            Failure::LinkLost => Fault::LinkLost { during: operation.to_owned(), why },
            Failure::NoTarget => Fault::NoTarget { why },
            Failure::Verify { address } => Fault::Verify { address },
            Failure::Flash { address } => Fault::Flash { address, why },
            Failure::LockedUp => Fault::LockedUp { pc: None },
            Failure::Refused => Fault::Refused { action: operation.to_owned(), why },
            Failure::Other => Fault::Worker { why: format!("{operation}: {why}") },
        }
    }
}

/// Probes that are plugged into this machine.
///
/// # Errors
/// [`Fault::Worker`] or [`Fault::Deadline`].
pub async fn list_probes(command: WorkerCommand, limit: Duration) -> Result<Vec<ProbeSeen>, Fault> {
    let mut worker = Worker { command, running: None };
    worker.ensure_started(limit).await?;
    let reply = worker.ask(&Request::List, limit, "look for probes", None).await?;
    worker.end().await;
    match reply {
        Reply::Probes { probes } => Ok(probes),
        other => Err(unexpected("look for probes", &other)),
    }
}

fn unexpected(operation: &str, reply: &Reply) -> Fault {
    Fault::Worker { why: format!("{operation}: an answer to another question: {reply:.80?}") }
}

/// A probe process, while there is one.
#[derive(Debug)]
struct Worker {
    command: WorkerCommand,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last_words: Arc<Mutex<Vec<u8>>>,
    /// Collects them.
    listener: Option<JoinHandle<()>>,
}

impl Worker {
    async fn ensure_started(&mut self, limit: Duration) -> Result<(), Fault> {
        if self.running.is_some() {
            return Ok(());
        }
        let failed = |why: String| Fault::Worker { why };
        let mut child = Command::new(&self.command.program)
            .args(&self.command.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", self.command.program.display())))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { return Err(failed("it has no pipes".to_owned())) };
        let last_words = Arc::new(Mutex::new(Vec::new()));
        let listener = child.stderr.take().map(|mut stderr| {
            let words = Arc::clone(&last_words);
            tokio::spawn(async move {
                let mut buffer = [0; 512];
                while let Ok(octets @ 1..) = stderr.read(&mut buffer).await {
                    let Ok(mut words) = words.lock() else { return };
                    words.extend_from_slice(&buffer[..octets]);
                    let over = words.len().saturating_sub(LAST_WORDS);
                    words.drain(..over);
                }
            })
        });
        self.running = Some(Running { child, input, output: BufReader::new(output), last_words, listener });
        match self.ask(&Request::Hello, limit, "start the probe process", None).await? {
            Reply::Hello { protocol: PROTOCOL } => Ok(()),
            other => {
                self.end().await;
                Err(failed(format!("{} is of another build: {other:?}", self.command.program.display())))
            }
        }
    }

    async fn ask(
        &mut self,
        request: &Request,
        limit: Duration,
        operation: &str,
        mut progress: Option<ProgressSink<'_>>,
    ) -> Result<Reply, Fault> {
        let Some(running) = &mut self.running else {
            return Err(Fault::Refused { action: operation.to_owned(), why: "the probe is not attached".to_owned() });
        };
        let answered = timeout(limit, async {
            running.send(request).await?;
            loop {
                match running.receive().await? {
                    Reply::Progress { stage, done, total } => {
                        if let Some(sink) = &mut progress {
                            sink(FlashProgress { stage, done, total });
                        }
                    }
                    reply => return Ok(reply),
                }
            }
        })
        .await;
        match answered {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(why)) => Err(Fault::Worker { why: format!("{operation}: {}", self.post_mortem(why).await) }),
            Err(_elapsed) => {
                self.end().await;
                Err(Fault::Deadline { operation: operation.to_owned(), limit })
            }
        }
    }

    /// Ends a process that misbehaved, and says how it ended.
    async fn post_mortem(&mut self, why: String) -> String {
        let Some(mut running) = self.running.take() else { return why };
        drop(running.input);
        let status = timeout(Duration::from_secs(1), running.child.wait()).await;
        let ended = match status {
            Ok(Ok(status)) => format!("{why} ({status})"),
            Ok(Err(error)) => format!("{why} ({error})"),
            Err(_still_running) => {
                let _gone = running.child.kill().await;
                format!("{why} (ended by force)")
            }
        };
        if let Some(listener) = running.listener {
            // It ends with the process; a grandchild that keeps the pipe open is not waited for.
            let _heard = timeout(Duration::from_millis(300), listener).await;
        }
        let words =
            running.last_words.lock().map(|words| String::from_utf8_lossy(&words).into_owned()).unwrap_or_default();
        match words.trim() {
            "" => ended,
            words => format!("{ended}: {words}"),
        }
    }

    async fn end(&mut self) {
        if let Some(mut running) = self.running.take() {
            // It may be gone already.
            let _gone = running.child.kill().await;
        }
    }
}

impl Running {
    async fn send(&mut self, request: &Request) -> Result<(), String> {
        let mut line = serde_json::to_vec(request).map_err(|e| e.to_string())?;
        line.push(b'\n');
        let written = async {
            self.input.write_all(&line).await?;
            self.input.flush().await
        };
        written.await.map_err(|error| format!("it takes no requests: {error}"))
    }

    async fn receive(&mut self) -> Result<Reply, String> {
        let mut line = Vec::new();
        let mut limited = (&mut self.output).take(MOST_LINE);
        let octets = limited.read_until(b'\n', &mut line).await.map_err(|error| format!("no answer: {error}"))?;
        if octets == 0 {
            return Err("it ended without an answer".to_owned());
        }
        serde_json::from_slice(&line)
            .map_err(|error| format!("no answer but {:.60?}: {error}", String::from_utf8_lossy(&line)))
    }
}
