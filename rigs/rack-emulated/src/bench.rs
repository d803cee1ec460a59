//! The bench: nodes, medium and radio of an emulated rack under one roof, started together and gone together.

use crate::{
    bmp::{Probe, USB_ID},
    console::{Console, LineFault},
    error::{BenchError, MachineError},
    event::{BenchEvent, ResetReason},
    flash::NodeFlash,
    machine::MachineKind,
    mailbox::Frame,
    medium::{AirCounts, AirOrder, AirSettings, Medium, MediumHook, MediumPeer, MediumPort, orders, queue},
    node::{EventSink, Node, NodeHandle, NodeStatus, Order, Parts},
    process,
    pty::Pty,
    wake::Waker,
};
use hil_model::Power;
use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, channel, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Events kept for a listener that is slow.
const EVENTS: usize = 16_384;
/// Most nodes of a bench.
const NODES: usize = 128;
/// Folders of sockets are called this, the number of the process, and something unique. Socket paths have to be short.
const SOCKETS: &str = "mkq";
/// Time for an order; a machine start is the longest.
const ORDER: Duration = Duration::from_secs(30);

/// A node to be emulated.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Names its flash file, its tty and its thread: letters, digits and hyphens.
    pub name: String,
    /// What the bench writes where the firmware looks for a chip id.
    pub unique_id: u64,
    /// Which machine.
    pub machine: MachineKind,
    /// Whether it has power from the start.
    pub powered: bool,
}

impl NodeSettings {
    /// A node of the usual kind, with power.
    #[must_use]
    pub fn new(name: &str, unique_id: u64) -> Self {
        Self { name: name.to_owned(), unique_id, machine: MachineKind::Node, powered: true }
    }
}

/// A bench to be started.
#[derive(Clone, Debug)]
pub struct BenchSettings {
    /// The nodes.
    pub nodes: Vec<NodeSettings>,
    /// Where flash files and links to the ttys are. Flash files found there are used.
    pub dir: PathBuf,
    /// Of loss and of what is random in a torn flash operation.
    pub seed: u64,
    /// The air.
    pub air: AirSettings,
    /// QEMU processes started at the same time; they take each other's processor.
    pub start_together: usize,
}

impl BenchSettings {
    /// `count` nodes `n01`, `n02`, ... with files in `dir`.
    #[must_use]
    pub fn new(dir: &Path, count: usize) -> Self {
        let node = |n| NodeSettings::new(&format!("n{n:02}"), 0x4D4B_0000_0000_0000 | n as u64);
        Self {
            nodes: (1..=count).map(node).collect(),
            dir: dir.to_owned(),
            seed: 1,
            air: AirSettings::default(),
            start_together: thread::available_parallelism().map_or(2, usize::from).max(2),
        }
    }
}

/// A running bench. Dropping it ends every QEMU process; flash files stay.
#[derive(Debug)]
pub struct Bench {
    nodes: Vec<NodeHandle>,
    medium: MediumPort,
    medium_thread: Option<JoinHandle<()>>,
    air: Arc<Mutex<AirCounts>>,
    radio_tty: PathBuf,
    events: Mutex<Receiver<BenchEvent>>,
    lost_events: Arc<AtomicU64>,
    start: Instant,
    /// Sockets of QEMU; gone with the bench.
    _sockets: tempfile::TempDir,
}

impl Bench {
    /// Starts everything and waits until every node with power runs.
    ///
    /// # Errors
    ///
    /// If QEMU is missing, a setting cannot be met, a file cannot be made or a machine does not start.
    pub fn start(settings: BenchSettings) -> Result<Self, BenchError> {
        process::installed()?;
        check(&settings)?;
        let BenchSettings { nodes, dir, seed, air, start_together } = settings;
        let file = |what, path: &Path| {
            let path = path.to_owned();
            move |source| BenchError::File { what, path, source }
        };
        fs::create_dir_all(&dir).map_err(file("cannot make directory", &dir))?;
        sweep(&std::env::temp_dir());
        let sockets = tempfile::Builder::new()
            .prefix(&format!("{SOCKETS}{}-", std::process::id()))
            .tempdir()
            .map_err(file("cannot make a directory in", &std::env::temp_dir()))?;
        let start = Instant::now();
        let (sender, events) = sync_channel(EVENTS);
        let sink = EventSink { start, sender, lost: Arc::default() };
        let (air_orders, air_receiver) = orders();
        let air_waker = Waker::new().map_err(file("cannot wake a thread for", &dir))?;
        let medium = MediumPort { from: MediumPeer::Radio, orders: air_orders, waker: air_waker.clone() };

        let mut built = Vec::new();
        let mut receiving = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let port = MediumPort { from: MediumPeer::Node(index), ..medium.clone() };
            let folder = sockets.path().join(index.to_string());
            fs::create_dir(&folder).map_err(file("cannot make directory", &folder))?;
            let (handle, node, receiver) = build(index, node, &dir, folder, seed, &sink, port)?;
            receiving.push(receiver);
            built.push((handle, node));
        }
        let radio_tty = dir.join("radio.tty");
        let tty = Pty::new(&radio_tty).map_err(file("cannot make the tty", &radio_tty))?;
        let medium_state = Medium::new(sink.clone(), seed, air, air_receiver, air_waker, receiving, tty);
        let counts = Arc::clone(&medium_state.counts);
        let medium_thread = spawn("medium".to_owned(), move || medium_state.run())?;

        let mut bench = Self {
            nodes: Vec::new(),
            medium,
            medium_thread: Some(medium_thread),
            air: counts,
            radio_tty,
            events: Mutex::new(events),
            lost_events: sink.lost,
            start,
            _sockets: sockets,
        };
        for (mut handle, node) in built {
            handle.thread = Some(spawn(handle.name.clone(), move || node.run())?);
            bench.nodes.push(handle);
        }
        let powered: Vec<usize> = (0..nodes.len()).filter(|index| nodes[*index].powered).collect();
        for together in powered.chunks(start_together) {
            let answers: Vec<_> =
                together.iter().map(|index| bench.begin(*index, Order::Power(Power::On))).collect::<Result<_, _>>()?;
            for (index, answer) in together.iter().zip(answers) {
                bench.finish(*index, "start", &answer)?;
            }
        }
        Ok(bench)
    }

    fn node(&self, node: usize) -> Result<&NodeHandle, BenchError> {
        self.nodes.get(node).ok_or(BenchError::UnknownNode { node, nodes: self.nodes.len() })
    }

    fn begin(&self, node: usize, order: Order) -> Result<Receiver<Result<(), MachineError>>, BenchError> {
        let handle = self.node(node)?;
        let (sender, receiver) = channel();
        handle.orders.send((order, sender)).map_err(|_| BenchError::Stopped { node: handle.name.clone() })?;
        handle.waker.wake();
        Ok(receiver)
    }

    fn finish(
        &self,
        node: usize,
        what: &'static str,
        answer: &Receiver<Result<(), MachineError>>,
    ) -> Result<(), BenchError> {
        let name = || self.nodes[node].name.clone();
        match answer.recv_timeout(ORDER) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(BenchError::Machine { node: name(), source }),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                Err(BenchError::Deadline { node: name(), what, deadline: ORDER })
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(BenchError::Stopped { node: name() }),
        }
    }

    fn order(&self, node: usize, what: &'static str, order: Order) -> Result<(), BenchError> {
        let answer = self.begin(node, order)?;
        self.finish(node, what, &answer)
    }

    /// Nodes of the bench.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Name of a node.
    ///
    /// # Errors
    ///
    /// If there is no such node; so do all that take one.
    pub fn name(&self, node: usize) -> Result<&str, BenchError> {
        Ok(&self.node(node)?.name)
    }

    /// The selector by which probe-rs opens the probe of a node: `1d50:6018:127.0.0.1:PORT`.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub fn probe_selector(&self, node: usize) -> Result<String, BenchError> {
        Ok(format!("{USB_ID}:{}", self.node(node)?.probe))
    }

    /// The tty of a node's console.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub fn tty(&self, node: usize) -> Result<&Path, BenchError> {
        Ok(&self.node(node)?.tty)
    }

    /// The tty of the gateway's radio co-processor, which speaks `mk_wire::radio_link`.
    #[must_use]
    pub fn radio_tty(&self) -> &Path {
        &self.radio_tty
    }

    /// What a node is doing and has done.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub fn status(&self, node: usize) -> Result<NodeStatus, BenchError> {
        Ok(self.node(node)?.status())
    }

    /// Switches the power of a node. `CutAtOperation` arms the cut and returns; a [`BenchEvent`] says when it happened.
    ///
    /// # Errors
    ///
    /// If the machine does not start, or has no flash whose operations are counted.
    pub fn power(&self, node: usize, power: Power) -> Result<(), BenchError> {
        self.order(node, "switch its power", Order::Power(power))
    }

    /// Takes an armed power cut back, and a power-on that was to follow.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub fn disarm(&self, node: usize) -> Result<(), BenchError> {
        self.order(node, "disarm", Order::Disarm)
    }

    /// Resets a node by its pin.
    ///
    /// # Errors
    ///
    /// If it has no power.
    pub fn reset(&self, node: usize) -> Result<(), BenchError> {
        self.order(node, "reset", Order::Reset(ResetReason::Pin))
    }

    /// Puts something wrong on the serial line of a node, or takes it away.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub fn line_fault(&self, node: usize, fault: LineFault) -> Result<(), BenchError> {
        self.order(node, "change its serial line", Order::Line(fault))
    }

    /// Plugs or pulls the cable of a node's probe. Pulled, the connection ends and nobody answers at its port.
    ///
    /// # Errors
    ///
    /// If the port has been taken by somebody else meanwhile.
    pub fn probe_cable(&self, node: usize, plugged: bool) -> Result<(), BenchError> {
        self.order(node, "move the cable of its probe", Order::ProbeCable(plugged))
    }

    /// Puts content into the flash of a node that has no power, as a programmer does with the part in its socket.
    ///
    /// # Errors
    ///
    /// If the node has power, or the content goes beyond the flash.
    pub fn load_flash(&self, node: usize, address: u32, octets: &[u8]) -> Result<(), BenchError> {
        self.order(node, "load flash", Order::Load(address, octets.to_vec()))
    }

    /// The content of a node's flash, as it would be after a power cut now.
    ///
    /// # Errors
    ///
    /// If the range is not in the flash.
    pub fn flash(&self, node: usize, range: Range<u32>) -> Result<Vec<u8>, BenchError> {
        let handle = self.node(node)?;
        let flash = handle.flash.as_ref().map(|flash| flash.lock().unwrap_or_else(PoisonError::into_inner));
        let octets = flash.as_ref().and_then(|flash| flash.cells().get(range.start as usize..range.end as usize));
        octets.map(<[u8]>::to_vec).ok_or_else(|| BenchError::Settings {
            what: "flash range",
            reason: format!("{range:#x?} is not in the flash of {}", handle.name),
        })
    }

    /// From now on `hook` decides what arrives where.
    pub fn set_hook(&self, hook: Option<Box<dyn MediumHook>>) {
        self.medium.order(AirOrder::Hook(hook));
    }

    /// From now on the air is like this.
    pub fn set_air(&self, air: AirSettings) {
        self.medium.order(AirOrder::Settings(Box::new(air)));
    }

    /// A frame for one receiver, past loss and hook.
    pub fn inject(&self, to: MediumPeer, ad_type: u8, pdu: &[u8]) {
        self.medium.order(AirOrder::Inject(to, Frame { ad_type, rssi_dbm: 0, pdu: pdu.to_vec() }));
    }

    /// What the air has done.
    #[must_use]
    pub fn air(&self) -> AirCounts {
        *self.air.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event, waiting for one at most so long.
    #[must_use]
    pub fn next_event(&self, wait: Duration) -> Option<BenchEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(wait).ok()
    }

    /// Events that nobody took in time.
    #[must_use]
    pub fn lost_events(&self) -> u64 {
        self.lost_events.load(Ordering::Relaxed)
    }

    /// Since the bench started: the clock of its events.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // All at once, then wait for each: a node without a thread has nothing to stop.
        for node in 0..self.nodes.len() {
            let _ = self.begin(node, Order::Stop);
        }
        self.medium.order(AirOrder::Stop);
        for node in &mut self.nodes {
            if let Some(thread) = node.thread.take() {
                let _ = thread.join();
            }
        }
        if let Some(thread) = self.medium_thread.take() {
            let _ = thread.join();
        }
    }
}

/// Removes what benches left behind whose process was killed.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(SOCKETS)?.split_once('-')?.0.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Somebody else's, or being removed by another bench: not worth a word.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, BenchError> {
    thread::Builder::new().name(name.clone()).spawn(work).map_err(|source| BenchError::File {
        what: "cannot start the thread of",
        path: name.into(),
        source,
    })
}

fn check(settings: &BenchSettings) -> Result<(), BenchError> {
    let refuse = |what, reason: String| Err(BenchError::Settings { what, reason });
    if settings.nodes.is_empty() || settings.nodes.len() > NODES {
        return refuse("nodes", format!("{} of them, but a bench has 1 to {NODES}", settings.nodes.len()));
    }
    if settings.start_together == 0 {
        return refuse("start_together", "0 machines would never start".to_owned());
    }
    for (index, node) in settings.nodes.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if node.name.is_empty() || !node.name.chars().all(plain) {
            return refuse("name", format!("{:?} names files: letters, digits and hyphens", node.name));
        }
        if settings.nodes[..index].iter().any(|other| other.name == node.name) {
            return refuse("name", format!("{:?} twice", node.name));
        }
    }
    Ok(())
}

/// Makes a node, its handle and its receiving end. Nothing runs yet.
fn build(
    index: usize,
    settings: &NodeSettings,
    dir: &Path,
    folder: PathBuf,
    seed: u64,
    events: &EventSink,
    medium: MediumPort,
) -> Result<(NodeHandle, Node, crate::medium::Receiving), BenchError> {
    let machine = settings.machine.machine();
    let failed = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| BenchError::File { what, path, source }
    };
    let flash_file = dir.join(format!("{}.flash", settings.name));
    let flash = match machine.flash {
        Some(shape) => {
            let flash = NodeFlash::open(&flash_file, shape, seed ^ (index as u64).rotate_left(48))
                .map_err(failed("cannot use flash file", &flash_file))?;
            Some(Arc::new(Mutex::new(flash)))
        }
        None => None,
    };
    let tty = dir.join(format!("{}.tty", settings.name));
    let console = Console::new(&tty).map_err(failed("cannot make the tty", &tty))?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    let listener = listener.map_err(failed("cannot make the probe of", dir))?;
    let probe_address = listener.local_addr().map_err(failed("cannot make the probe of", dir))?;
    let waker = Waker::new().map_err(failed("cannot wake a thread for", dir))?;
    let (orders, order_receiver) = channel();
    let (receiving, air) = queue(waker.clone());
    let status = Arc::new(Mutex::new(NodeStatus::default()));
    let node = Node {
        index,
        machine,
        unique_id: settings.unique_id,
        seed,
        folder,
        flash: flash.clone(),
        orders: order_receiver,
        air,
        medium,
        waker: waker.clone(),
        status: Arc::clone(&status),
        events: events.clone(),
        console,
        listener: Some(listener),
        probe_address,
        probe: Probe::new(&settings.name),
        parts: Parts::default(),
    };
    let handle = NodeHandle {
        name: settings.name.clone(),
        orders,
        waker,
        status,
        flash,
        probe: probe_address,
        tty,
        thread: None,
    };
    Ok((handle, node, receiving))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn only_folders_of_benches_that_are_gone_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let own = format!("{SOCKETS}{}-a", std::process::id());
        // No process has a number this high.
        let gone = format!("{SOCKETS}4194305-b");
        for name in [own.as_str(), &gone, "mkq-c", "other4194305-d"] {
            fs::create_dir_all(folder.path().join(name).join("0")).unwrap();
        }
        sweep(folder.path());
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["mkq-c", own.as_str(), "other4194305-d"]);
    }
}
