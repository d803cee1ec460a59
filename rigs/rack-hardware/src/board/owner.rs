//! The owner of a board: holds probe, console, switch and locks, and answers requests one after another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mk_wire::identity::Identity;
use mk_wire::trace::ResetCause;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::pump::{Pump, quarantine};
use super::{Ask, BoardEvent, BoardFact, BoardSettings, PowerAction, ProgressSender, RebootWatch, Standing};
use crate::boards::ResetKind;
use crate::console::{self, Console};
use crate::definition::BoardDefinition;
use crate::error::{BoardError, Fault, Part};
use crate::identity::{DeviceId, PortIdentity, Purpose, Sighting};
use crate::locks::{Holder, Lock};
use crate::power::{self, PowerSwitch, Presence, SelfTest, SelfTestLimits, SharedSwitch};
use crate::probe::{AttachOptions, Attached, CoreState, CoreStatus, FlashPart, FlashProgress, Probe};
use crate::provision::ProvisionPlan;

/// Between a failed attach and the second attempt: on-board probes come back anew when touched right after plug-in.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the reader of a console may take to end.
const READER_END: Duration = Duration::from_secs(1);
/// How long a bootloader may take to say why it was started, after the board is back.
const BOOT: Duration = Duration::from_secs(2);
/// Between two looks for a port that is to come back.
const LOOK: Duration = Duration::from_millis(100);

pub(super) struct Owner {
    definition: Arc<BoardDefinition>,
    settings: BoardSettings,
    identity_page: u32,
    link: Link,
    console: Option<Console>,
    pump: Option<JoinHandle<()>>,
    power: Option<SharedSwitch>,
    reboots: Arc<Mutex<RebootWatch>>,
    reset: Arc<Mutex<Option<ResetCause>>>,
    may_close: Arc<AtomicBool>,
    standing: Arc<watch::Sender<Standing>>,
    events: mpsc::Sender<BoardEvent>,
    locks: Vec<Lock>,
}

/// The probe, and whether it is attached.
struct Link {
    probe: Probe,
    attached: bool,
}

impl Link {
    async fn attach(&mut self, options: AttachOptions) -> Result<Attached, Fault> {
        let attached = match self.probe.attach(options).await {
            Err(Fault::Absent { .. } | Fault::NoTarget { .. } | Fault::LinkLost { .. } | Fault::Deadline { .. }) => {
                tokio::time::sleep(SETTLE).await;
                self.probe.attach(options).await
            }
            attached => attached,
        };
        self.attached = attached.is_ok();
        attached
    }

    async fn ready(&mut self) -> Result<&mut Probe, Fault> {
        if !self.attached {
            self.attach(AttachOptions::default()).await?;
        }
        Ok(&mut self.probe)
    }

    async fn detach(&mut self) {
        self.probe.detach().await;
        self.attached = false;
    }

    /// A fault after which the probe has to attach again.
    const fn note(&mut self, fault: &Fault) {
        if matches!(
            fault,
            Fault::Deadline { .. }
                | Fault::LinkLost { .. }
                | Fault::Worker { .. }
                | Fault::NoTarget { .. }
                | Fault::Absent { .. }
        ) {
            self.attached = false;
        }
    }
}

impl Presence for Link {
    async fn present(&mut self) -> bool {
        self.detach().await;
        let there = self.probe.attach(AttachOptions::default()).await.is_ok();
        self.detach().await;
        there
    }
}

impl Owner {
    pub(super) fn new(
        definition: Arc<BoardDefinition>,
        switch: Option<Box<dyn PowerSwitch>>,
        settings: BoardSettings,
        standing: Arc<watch::Sender<Standing>>,
        events: mpsc::Sender<BoardEvent>,
    ) -> Result<Self, BoardError> {
        let name = definition.name();
        let switch = switch.or_else(|| definition.power.as_ref().map(|w| power::open(w, power::ask_on_terminal())));
        let holder = Holder::this(&settings.command);
        let mut wanted =
            vec![format!("probe {}", definition.identity.probe), format!("port {}", definition.identity.console)];
        wanted.extend(switch.as_ref().filter(|s| !s.needs_a_person()).map(|s| format!("power {}", s.describe())));
        let locks: Result<Vec<Lock>, Fault> = wanted.iter().map(|lock| settings.locks.take(lock, &holder)).collect();
        let locks = locks.map_err(|fault| BoardError::new(&name, Part::Lock, fault))?;
        let driver = definition.driver;
        let identity_page = driver.geometry().map_or(0, |geometry| geometry.identity.start);
        let (worker, deadlines) = (settings.worker.clone(), settings.deadlines.clone());
        let probe = Probe::new(&definition.identity.probe, driver, definition.speed_khz, worker, deadlines);
        let mut owner = Self {
            identity_page,
            link: Link { probe, attached: false },
            console: None,
            pump: None,
            power: switch.map(SharedSwitch::new),
            reboots: Arc::new(Mutex::new(RebootWatch::new(settings.reboots))),
            reset: Arc::new(Mutex::new(None)),
            may_close: Arc::new(AtomicBool::new(false)),
            definition,
            settings,
            standing,
            events,
            locks,
        };
        if owner.settings.console {
            owner.open_console().map_err(|fault| BoardError::new(name, Part::Console, fault))?;
        }
        Ok(owner)
    }

    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Ask>) {
        while let Some(request) = requests.recv().await {
            if let Ask::Close(answer) = request {
                self.end().await;
                let _nobody_waits = answer.send(Ok(()));
                return;
            }
            self.answer(request).await;
        }
        self.end().await;
    }

    async fn end(&mut self) {
        self.may_close.store(true, Ordering::SeqCst);
        self.link.detach().await;
        self.close_console().await;
        self.locks.clear();
        self.standing.send_replace(Standing::Closed);
    }

    async fn answer(&mut self, request: Ask) {
        // Whoever asked may have gone away meanwhile.
        macro_rules! reply {
            ($answer:expr, $part:expr, $result:expr) => {{
                let result = $result;
                let result = self.judge($part, result);
                let _nobody_waits = $answer.send(result);
            }};
        }
        match request {
            Ask::Attach(options, answer) => reply!(answer, Part::Probe, self.link.attach(options).await),
            Ask::Detach(answer) => {
                self.link.detach().await;
                reply!(answer, Part::Probe, Ok(()));
            }
            Ask::Sight(answer) => reply!(answer, Part::Probe, self.sight().await),
            Ask::Identify(purpose, answer) => reply!(answer, Part::Board, self.identify(purpose).await),
            Ask::Read(address, length, answer) => reply!(answer, Part::Probe, self.read(address, length).await),
            Ask::Write(address, octets, answer) => reply!(answer, Part::Core, self.write(address, &octets).await),
            Ask::Flash(parts, purpose, progress, answer) => {
                reply!(answer, Part::Flash, self.flash(&parts, purpose, progress).await);
            }
            Ask::Erase(start, length, answer) => reply!(answer, Part::Flash, self.erase(start, length).await),
            Ask::EraseEverything(answer) => reply!(answer, Part::Flash, self.erase_everything().await),
            Ask::Halt(answer) => reply!(answer, Part::Core, self.core(Core::Halt).await),
            Ask::Run(answer) => reply!(answer, Part::Core, self.core(Core::Run).await),
            Ask::Status(answer) => reply!(answer, Part::Core, self.core(Core::Status).await),
            Ask::Reset(kind, halt, answer) => reply!(answer, Part::Core, self.reset(kind, halt).await),
            Ask::Recover(answer) => reply!(answer, Part::Core, self.recover().await),
            Ask::Provision(plan, purpose, progress, answer) => {
                reply!(answer, Part::Flash, self.provision(&plan, purpose, progress).await);
            }
            Ask::Power(action, answer) => reply!(answer, Part::Power, self.switch(action).await),
            Ask::PowerState(answer) => reply!(answer, Part::Power, self.power_state().await),
            Ask::PowerSelfTest(limits, answer) => reply!(answer, Part::Power, self.power_self_test(limits).await),
            Ask::Send(octets, answer) => reply!(answer, Part::Console, self.send(&octets)),
            Ask::OpenConsole(answer) => reply!(answer, Part::Console, self.wait_for_console().await),
            Ask::Close(answer) => reply!(answer, Part::Board, Ok(())),
        }
    }

    /// Names the fault, and takes the board out of service where it has to be.
    fn judge<T>(&mut self, part: Part, result: Result<T, Fault>) -> Result<T, BoardError> {
        result.map_err(|fault| {
            self.link.note(&fault);
            let part = match &fault {
                Fault::Absent { .. } | Fault::Busy { .. } | Fault::Forbidden { .. }
                    if part != Part::Console && part != Part::Power =>
                {
                    Part::Probe
                }
                Fault::LinkLost { .. } | Fault::Locked | Fault::NoTarget { .. } => Part::Probe,
                Fault::LockedUp { .. } => Part::Core,
                Fault::Verify { .. } | Fault::Flash { .. } => Part::Flash,
                _ => part,
            };
            let error = BoardError::new(self.definition.name(), part, fault);
            if error.fault.quarantines() && quarantine(&self.standing, error.clone()) {
                let what = BoardFact::Quarantined(error.clone());
                // A full queue does not keep the standing from being seen.
                let _full = self.events.try_send(BoardEvent { at: Instant::now(), what });
            }
            error
        })
    }

    // --- identity ------------------------------------------------------------------------------------------------------

    async fn sight(&mut self) -> Result<Sighting, Fault> {
        let (at, page) = (self.definition.driver.device_id_at, self.identity_page);
        let probe = self.link.ready().await?;
        let id = probe.read(at, 8).await?;
        let id =
            <[u8; 8]>::try_from(id).map_err(|_| Fault::Worker { why: "eight octets were asked for".to_owned() })?;
        let page = probe.read(page, u32::try_from(Identity::LENGTH).unwrap_or(0)).await?;
        Ok(Sighting { device_id: DeviceId::from_octets(id), identity: Identity::decode(&page) })
    }

    async fn identify(&mut self, purpose: Purpose) -> Result<Sighting, Fault> {
        let seen = self.sight().await?;
        self.definition.identity.compare(&seen, purpose)?;
        Ok(seen)
    }

    // --- memory and core -----------------------------------------------------------------------------------------------

    async fn read(&mut self, address: u32, length: u32) -> Result<Vec<u8>, Fault> {
        self.link.ready().await?.read(address, length).await
    }

    async fn write(&mut self, address: u32, octets: &[u8]) -> Result<(), Fault> {
        self.link.ready().await?.write(address, octets).await
    }

    async fn flash(
        &mut self,
        parts: &[FlashPart],
        purpose: Purpose,
        progress: Option<ProgressSender>,
    ) -> Result<(), Fault> {
        self.identify(purpose).await?;
        self.write_flash(parts, progress).await
    }

    /// Writes, and once more under reset if the part did not do it: long leads, a busy machine, firmware that had locked a
    /// page. A link that broke or an operation that hung is not tried again here: somebody has to look.
    async fn write_flash(&mut self, parts: &[FlashPart], progress: Option<ProgressSender>) -> Result<(), Fault> {
        let mut sink = sink(progress);
        match self.link.ready().await?.flash(parts, Some(&mut sink)).await {
            Err(Fault::Flash { .. }) => {
                self.attach_before_firmware().await?;
                self.link.probe.flash(parts, Some(&mut sink)).await
            }
            written => written,
        }
    }

    /// Attaches with the core stopped at its first instruction: firmware that runs may have locked pages, and its watchdog
    /// would reset the part half-way.
    async fn attach_before_firmware(&mut self) -> Result<(), Fault> {
        if self.link.attach(AttachOptions { under_reset: true }).await.is_err() {
            self.link.attach(AttachOptions::default()).await?;
        }
        self.link.probe.reset(true).await.map(|_status| ())
    }

    async fn erase(&mut self, start: u32, length: u32) -> Result<(), Fault> {
        self.identify(Purpose::Provision).await?;
        self.link.ready().await?.erase(start, length).await
    }

    /// A part that is open is not erased: it is only compared, so that another one's is not lost either.
    async fn erase_everything(&mut self) -> Result<Attached, Fault> {
        self.link.detach().await;
        match self.link.probe.attach(AttachOptions::default()).await {
            Err(Fault::Locked) => {}
            Ok(attached) => {
                self.link.attached = true;
                self.identify(Purpose::Readdress).await?;
                return Ok(attached);
            }
            Err(fault) => return Err(fault),
        }
        let attached = self.link.probe.erase_everything().await?;
        self.link.attached = true;
        Ok(attached)
    }

    async fn core(&mut self, what: Core) -> Result<CoreStatus, Fault> {
        let probe = self.link.ready().await?;
        match what {
            Core::Halt => probe.halt().await,
            Core::Run => probe.run().await,
            Core::Status => probe.status().await,
        }
    }

    fn excuse_a_start(&self) {
        if let Ok(mut watch) = self.reboots.lock() {
            watch.excuse();
        }
    }

    async fn reset(&mut self, kind: ResetKind, halt: bool) -> Result<(), Fault> {
        if !self.definition.driver.reset_ladder.contains(&kind) {
            let why = format!("{} has no such reset", self.definition.driver.name);
            return Err(Fault::Refused { action: format!("do a {} reset", kind.name()), why });
        }
        match kind {
            ResetKind::Soft => {
                self.excuse_a_start();
                self.link.ready().await?.reset(halt).await.map(|_status| ())
            }
            ResetKind::Pin => {
                self.excuse_a_start();
                self.link.ready().await?.reset_pin().await.map(|_status| ())
            }
            ResetKind::Power => self.switch(PowerAction::Cycle).await,
        }
    }

    async fn recover(&mut self) -> Result<ResetKind, Fault> {
        let ladder = self.definition.driver.reset_ladder;
        let mut last = Fault::Refused { action: "recover".to_owned(), why: "there is no reset ladder".to_owned() };
        for &kind in ladder {
            if kind == ResetKind::Power && self.power.is_none() {
                continue;
            }
            let stood = match self.reset(kind, false).await {
                Ok(()) => self.core(Core::Status).await,
                Err(fault) => Err(fault),
            };
            match stood {
                Ok(CoreStatus { state: CoreState::Running | CoreState::Sleeping, .. }) => return Ok(kind),
                Ok(CoreStatus { state: CoreState::LockedUp, pc }) => last = Fault::LockedUp { pc },
                Ok(CoreStatus { state: CoreState::Halted | CoreState::Unknown, .. }) => {
                    last = Fault::NoTarget { why: format!("the core does not run after a {} reset", kind.name()) };
                }
                Err(fault) => {
                    self.link.note(&fault);
                    last = fault;
                }
            }
        }
        Err(last)
    }

    // --- provisioning --------------------------------------------------------------------------------------------------

    async fn provision(
        &mut self,
        plan: &ProvisionPlan,
        purpose: Purpose,
        progress: Option<ProgressSender>,
    ) -> Result<Sighting, Fault> {
        plan.for_board(&self.definition)?;
        self.identify(purpose).await?;
        self.attach_before_firmware().await?;
        for &(start, length) in &plan.erase {
            self.link.probe.erase(start, length).await?;
        }
        self.write_flash(&plan.parts, progress).await?;
        for &word in self.definition.driver.configuration {
            crate::provision::configure(&mut self.link.probe, word).await?;
        }
        self.excuse_a_start();
        self.link.probe.reset(false).await?;
        self.identify(Purpose::Use).await
    }

    // --- power ---------------------------------------------------------------------------------------------------------

    fn power(&self) -> Result<SharedSwitch, Fault> {
        let none =
            || Fault::Refused { action: "switch power".to_owned(), why: "the rack file names no `power`".to_owned() };
        self.power.clone().ok_or_else(none)
    }

    async fn power_state(&mut self) -> Result<Option<bool>, Fault> {
        self.power()?.state().await
    }

    async fn switch(&mut self, action: PowerAction) -> Result<(), Fault> {
        let switch = self.power()?;
        self.link.detach().await;
        self.may_close.store(true, Ordering::SeqCst);
        match action {
            PowerAction::Off => return switch.set(false).await,
            PowerAction::On => {}
            PowerAction::Cycle => {
                switch.set(false).await?;
                tokio::time::sleep(self.settings.power_off_for).await;
            }
        }
        self.excuse_a_start();
        switch.set(true).await?;
        self.wait_for_console().await
    }

    async fn power_self_test(&mut self, limits: SelfTestLimits) -> Result<SelfTest, Fault> {
        let switch = self.power()?;
        self.may_close.store(true, Ordering::SeqCst);
        self.excuse_a_start();
        self.last_reset(true);
        let tested = power::self_test(&switch, limits, &mut self.link).await?;
        self.wait_for_console().await?;
        let start = Instant::now();
        let mut reset = self.last_reset(false);
        while reset.is_none() && start.elapsed() < BOOT {
            tokio::time::sleep(LOOK).await;
            reset = self.last_reset(false);
        }
        match reset {
            None | Some(ResetCause::PowerOn) => Ok(SelfTest { reset, ..tested }),
            Some(cause) => {
                let why = format!("the board came back, but says {cause:?} of its reset: it was fed all the time");
                Err(Fault::Power { why })
            }
        }
    }

    /// What the bootloader said last of the reset; forgotten on request.
    fn last_reset(&self, forget: bool) -> Option<ResetCause> {
        let mut reset = self.reset.lock().ok()?;
        if forget { reset.take() } else { *reset }
    }

    // --- console -------------------------------------------------------------------------------------------------------

    fn send(&mut self, octets: &[u8]) -> Result<(), Fault> {
        let closed = || Fault::Refused { action: "send to the console".to_owned(), why: "it is not open".to_owned() };
        self.console.as_mut().ok_or_else(closed)?.send(octets)
    }

    /// Has the console open, if need be once the port is back. A USB port takes a moment to go, and another to come.
    async fn wait_for_console(&mut self) -> Result<(), Fault> {
        if !self.settings.console {
            return Ok(());
        }
        let limit = self.settings.start_within;
        let start = Instant::now();
        let usb = matches!(self.definition.identity.console, PortIdentity::Usb { .. });
        loop {
            let open = self.console.is_some() && self.pump.as_ref().is_some_and(|pump| !pump.is_finished());
            let there = console::find(&self.definition.identity.console);
            if open && there.is_ok() {
                break;
            }
            if there.is_ok() {
                // A port that was just found may not be ready to be opened.
                if usb {
                    tokio::time::sleep(LOOK).await;
                }
                self.close_console().await;
                match self.open_console() {
                    Ok(()) => break,
                    Err(fault) if start.elapsed() >= limit => return Err(fault),
                    Err(_not_yet) => {}
                }
            }
            if start.elapsed() >= limit {
                let operation = format!("the console {} to come back", self.definition.identity.console);
                return Err(Fault::Deadline { operation, limit });
            }
            tokio::time::sleep(LOOK).await;
        }
        self.may_close.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Closes the port and waits until its reader has let go of it.
    async fn close_console(&mut self) {
        self.console = None;
        if let Some(pump) = self.pump.take() {
            // The pump ends with the reader, which looks every tenth of a second.
            let _ended = tokio::time::timeout(READER_END, pump).await;
        }
    }

    fn open_console(&mut self) -> Result<(), Fault> {
        let log =
            self.settings.logs.as_ref().map(|folder| folder.join(format!("{}.console.log", self.definition.name())));
        let (console, events) = Console::open(&self.definition.identity.console, self.definition.baud, log.as_deref())?;
        let pump = Pump {
            board: self.definition.name(),
            baud: self.definition.baud,
            events: self.events.clone(),
            standing: Arc::clone(&self.standing),
            reboots: Arc::clone(&self.reboots),
            reset: Arc::clone(&self.reset),
            may_close: Arc::clone(&self.may_close),
        };
        self.pump = Some(tokio::spawn(pump.run(events)));
        self.console = Some(console);
        Ok(())
    }
}

/// What is asked of the core.
#[derive(Clone, Copy)]
enum Core {
    Halt,
    Run,
    Status,
}

/// Progress that nobody reads in time is not waited for.
fn sink(progress: Option<ProgressSender>) -> impl FnMut(FlashProgress) + Send {
    move |step| {
        if let Some(progress) = &progress {
            let _slow = progress.try_send(step);
        }
    }
}
