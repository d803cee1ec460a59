//! The probe process: the only place that touches the probe library. It does what it is told, one request at a time, and
//! keeps no deadline of its own; whoever started it ends it when it hangs.
//!
//! It ends when its standard input does, so it never outlives a harness that was killed. It erases nothing that was not
//! named, and gives the permission to erase a whole part only where the request does.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use probe_rs::config::Registry;
use probe_rs::flashing::{DownloadOptions, FlashError, FlashProgress, ProgressEvent, ProgressOperation, erase};
use probe_rs::probe::list::{Accessibility, Lister};
use probe_rs::probe::{DebugProbeSelector, Probe, WireProtocol};
use probe_rs::{CoreStatus, MemoryInterface, Permissions, Session};

use super::classify::{flash_failure, library_failure};
use super::protocol::{AttachTo, Chunk, CoreState, Failure, FlashStage, Octets, PROTOCOL, ProbeSeen, Reply, Request};

/// Longest request taken, octets: all of a part's flash in base64, and some.
const MOST_LINE: usize = 32 * 1024 * 1024;
/// Most octets read in one request.
const MOST_READ: u32 = 8 * 1024 * 1024;
/// How long a core may take to stop.
const HALT: Duration = Duration::from_millis(500);
/// How long the reset pin is held low.
const RESET_PULSE: Duration = Duration::from_millis(20);

/// A failure and what the library said.
type Failed = (Failure, String);

/// Runs the probe process on standard input and output until the input ends.
///
/// # Errors
/// Writing an answer failed: nobody is there any more.
pub fn run() -> io::Result<()> {
    let requests = lines();
    let mut out = io::stdout().lock();
    let mut worker = Worker { attached: None };
    for line in requests {
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) => worker.answer(request, &mut |progress| send(&mut out, &progress)),
            Err(error) => failed((Failure::Refused, format!("not a request: {error}"))),
        };
        send(&mut out, &reply)?;
    }
    Ok(())
}

fn send(out: &mut impl Write, reply: &Reply) -> io::Result<()> {
    serde_json::to_writer(&mut *out, reply)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn failed((failure, why): Failed) -> Reply {
    Reply::Failed { failure, why }
}

/// Requests, read by a thread of its own: when the input ends while an operation hangs, the process ends all the same.
fn lines() -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = io::Read::take(&mut input, MOST_LINE as u64).read_until(b'\n', &mut line);
            let whole = line.last() == Some(&b'\n');
            let text = String::from_utf8(line);
            match (read, text) {
                (Ok(octets), Ok(text)) if octets > 0 && whole => {
                    if sender.send(text).is_err() {
                        return;
                    }
                }
                // The end, an error, or half a line: nobody is there any more.
                _ => std::process::exit(0),
            }
        }
    });
    receiver
}

struct Worker {
    attached: Option<(Session, AttachTo)>,
}

impl Worker {
    fn answer(&mut self, request: Request, progress: &mut dyn FnMut(Reply) -> io::Result<()>) -> Reply {
        let result = match request {
            Request::Hello => Ok(Reply::Hello { protocol: PROTOCOL }),
            Request::List => Ok(Reply::Probes { probes: list() }),
            Request::Attach(to) => self.attach(to),
            Request::Detach => {
                self.attached = None;
                Ok(Reply::Done)
            }
            Request::Read { address, length } => self.read(address, length),
            Request::Write(chunk) => self.write(&chunk),
            Request::Flash { chunks } => self.flash(&chunks, progress),
            Request::Erase { start, length } => self.erase(start, length),
            Request::Halt => self.core(|core| core.halt(HALT).map(|_| ())),
            Request::Run => self.core(|core| core.run()),
            Request::Reset { halt: true } => self.core(|core| core.reset_and_halt(HALT).map(|_| ())),
            Request::Reset { halt: false } => self.core(|core| core.reset()),
            Request::ResetPin => self.reset_pin(),
            Request::Status => self.core(|_| Ok(())),
        };
        result.unwrap_or_else(failed)
    }

    fn attach(&mut self, to: AttachTo) -> Result<Reply, Failed> {
        self.attached = None;
        let (session, probe) = attach(&to)?;
        let chip = session.target().name.clone();
        self.attached = Some((session, to));
        Ok(Reply::Attached { probe, chip })
    }

    fn session(&mut self) -> Result<&mut Session, Failed> {
        let nobody = || (Failure::Refused, "not attached".to_owned());
        self.attached.as_mut().map(|(session, _)| session).ok_or_else(nobody)
    }

    fn read(&mut self, address: u32, length: u32) -> Result<Reply, Failed> {
        if length > MOST_READ {
            return Err((Failure::Refused, format!("{length} octets at once; the limit is {MOST_READ}")));
        }
        let session = self.session()?;
        let octets = read(session, address, length)?;
        Ok(Reply::Octets { octets: Octets(octets) })
    }

    fn write(&mut self, chunk: &Chunk) -> Result<Reply, Failed> {
        let mut core = self.session()?.core(0).map_err(|e| library_failure(&e))?;
        core.write(u64::from(chunk.address), &chunk.octets.0).map_err(|e| library_failure(&e))?;
        core.flush().map_err(|e| library_failure(&e))?;
        Ok(Reply::Done)
    }

    fn flash(&mut self, chunks: &[Chunk], progress: &mut dyn FnMut(Reply) -> io::Result<()>) -> Result<Reply, Failed> {
        let session = self.session()?;
        let mut loader = session.target().flash_loader();
        for chunk in chunks {
            loader.add_data(u64::from(chunk.address), &chunk.octets.0).map_err(|e| flash_failure(&e))?;
        }
        let mut count = Count::default();
        let mut options = DownloadOptions::default();
        // What a touched sector held beside the new octets stays.
        options.keep_unwritten_bytes = true;
        options.progress = FlashProgress::new(|event| {
            if let Some(reply) = count.of(&event) {
                // An answer that reaches nobody is noticed when the next one is sent.
                let _lost = progress(reply);
            }
        });
        loader.commit(session, options).map_err(|e| flash_failure(&e))?;
        let total: u64 = chunks.iter().map(|chunk| chunk.octets.0.len() as u64).sum();
        let mut done = 0;
        for chunk in chunks {
            verify(session, chunk)?;
            done += chunk.octets.0.len() as u64;
            let _lost = progress(Reply::Progress { stage: FlashStage::Verify, done, total });
        }
        Ok(Reply::Done)
    }

    fn erase(&mut self, start: u32, length: u32) -> Result<Reply, Failed> {
        let end =
            start.checked_add(length).ok_or((Failure::Refused, "the range leaves the address space".to_owned()))?;
        let session = self.session()?;
        let erased: Result<(), FlashError> =
            erase(session, &mut FlashProgress::empty(), u64::from(start), u64::from(end), false);
        erased.map_err(|e| flash_failure(&e))?;
        verify(session, &Chunk { address: start, octets: Octets(vec![0xFF; length as usize]) })?;
        Ok(Reply::Done)
    }

    /// Does something with the core, then says how it stands.
    fn core(
        &mut self,
        action: impl FnOnce(&mut probe_rs::Core<'_>) -> Result<(), probe_rs::Error>,
    ) -> Result<Reply, Failed> {
        let mut core = self.session()?.core(0).map_err(|e| library_failure(&e))?;
        action(&mut core).map_err(|e| library_failure(&e))?;
        let state = match core.status().map_err(|e| library_failure(&e))? {
            CoreStatus::Running => CoreState::Running,
            CoreStatus::Halted(_) => CoreState::Halted,
            CoreStatus::LockedUp => CoreState::LockedUp,
            CoreStatus::Sleeping => CoreState::Sleeping,
            CoreStatus::Unknown => CoreState::Unknown,
        };
        let pc = match state {
            CoreState::Halted | CoreState::LockedUp => {
                let counter = core.program_counter().id();
                core.read_core_reg::<u32>(counter).ok()
            }
            CoreState::Running | CoreState::Sleeping | CoreState::Unknown => None,
        };
        Ok(Reply::Core { state, pc })
    }

    fn reset_pin(&mut self) -> Result<Reply, Failed> {
        let nobody = (Failure::Refused, "not attached".to_owned());
        let (session, to) = self.attached.take().ok_or(nobody)?;
        drop(session);
        let mut probe = open(&to)?;
        probe.target_reset_assert().map_err(|e| library_failure(&e.into()))?;
        std::thread::sleep(RESET_PULSE);
        probe.target_reset_deassert().map_err(|e| library_failure(&e.into()))?;
        drop(probe);
        self.attach(AttachTo { under_reset: false, erase_all: false, ..to })?;
        self.core(|_| Ok(()))
    }
}

fn read(session: &mut Session, address: u32, length: u32) -> Result<Vec<u8>, Failed> {
    let mut octets = vec![0; length as usize];
    let mut core = session.core(0).map_err(|e| library_failure(&e))?;
    core.read(u64::from(address), &mut octets).map_err(|e| library_failure(&e))?;
    Ok(octets)
}

/// Reads back what was written; the library's own verification does not say where it differs.
fn verify(session: &mut Session, chunk: &Chunk) -> Result<(), Failed> {
    let want = &chunk.octets.0;
    let length = u32::try_from(want.len()).map_err(|_| (Failure::Refused, "too long".to_owned()))?;
    let found = read(session, chunk.address, length)?;
    match found.iter().zip(want).position(|(found, want)| found != want) {
        None => Ok(()),
        Some(offset) => {
            let address = chunk.address.saturating_add(u32::try_from(offset).unwrap_or(u32::MAX));
            let (is, should) = (found.get(offset).copied(), want.get(offset).copied());
            Err((Failure::Verify { address }, format!("{is:02x?} where {should:02x?} was written")))
        }
    }
}

fn list() -> Vec<ProbeSeen> {
    let items = Lister::new().list_all_with_access();
    items
        .into_iter()
        .map(|item| {
            let info = item.info;
            let interface = info.interface.map(|interface| format!("-{interface}")).unwrap_or_default();
            let serial = info.serial_number.filter(|serial| !serial.is_empty());
            ProbeSeen {
                selector: serial.map(|s| format!("{:04x}:{:04x}{interface}:{s}", info.vendor_id, info.product_id)),
                name: info.identifier,
                accessible: item.accessibility == Accessibility::Accessible,
            }
        })
        .collect()
}

fn open(to: &AttachTo) -> Result<Probe, Failed> {
    let selector: DebugProbeSelector = to
        .selector
        .parse()
        .map_err(|error| (Failure::Refused, format!("`{}` is no probe selector: {error}", to.selector)))?;
    let mut probe = Lister::new().open(selector).map_err(|e| library_failure(&e.into()))?;
    probe.select_protocol(WireProtocol::Swd).map_err(|e| library_failure(&e.into()))?;
    if let Some(speed) = to.speed_khz {
        probe.set_speed(speed).map_err(|e| library_failure(&e.into()))?;
    }
    Ok(probe)
}

fn attach(to: &AttachTo) -> Result<(Session, String), Failed> {
    let registry = match &to.target_yaml {
        // The library's own chips are some megabytes to unpack: not for a chip that brings its description.
        Some(yaml) => {
            let mut registry = Registry::new();
            let added = registry.add_target_family_from_yaml(yaml);
            added.map_err(|error| (Failure::Refused, format!("description of {}: {error}", to.chip)))?;
            registry
        }
        None => Registry::from_builtin_families(),
    };
    let probe = open(to)?;
    let name = probe.get_name();
    let permissions = if to.erase_all { Permissions::new().allow_erase_all() } else { Permissions::new() };
    let session = if to.under_reset {
        probe.attach_under_reset_with_registry(&to.chip, permissions, &registry)
    } else {
        probe.attach_with_registry(&to.chip, permissions, &registry)
    };
    let session = session.map_err(|e| library_failure(&e))?;
    Ok((session, name))
}

/// Counts the library's progress events up to totals.
#[derive(Default)]
struct Count {
    done: [u64; 4],
    total: [u64; 4],
}

impl Count {
    fn of(&mut self, event: &ProgressEvent) -> Option<Reply> {
        match event {
            ProgressEvent::AddProgressBar { operation, total } => {
                self.total[place(*operation)] += total.unwrap_or(0);
                None
            }
            ProgressEvent::Progress { operation, size, .. } => {
                let at = place(*operation);
                self.done[at] += size;
                let total = self.total[at].max(self.done[at]);
                Some(Reply::Progress { stage: stage(*operation), done: self.done[at], total })
            }
            ProgressEvent::FlashLayoutReady { .. }
            | ProgressEvent::Started(_)
            | ProgressEvent::Failed(_)
            | ProgressEvent::Finished(_)
            | ProgressEvent::DiagnosticMessage { .. } => None,
        }
    }
}

const fn place(operation: ProgressOperation) -> usize {
    match operation {
        ProgressOperation::Fill => 0,
        ProgressOperation::Erase => 1,
        ProgressOperation::Program => 2,
        ProgressOperation::Verify => 3,
    }
}

const fn stage(operation: ProgressOperation) -> FlashStage {
    match operation {
        ProgressOperation::Fill => FlashStage::Keep,
        ProgressOperation::Erase => FlashStage::Erase,
        ProgressOperation::Program => FlashStage::Program,
        ProgressOperation::Verify => FlashStage::Verify,
    }
}
