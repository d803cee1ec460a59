//! The hand at one board: a task that owns its probe and its console and does one thing after the other. What it finds
//! comes back as [`Input`]s, so that nobody waits for it.

use std::path::PathBuf;
use std::time::Instant;

use mk_boot::geometry::{Geometry, Memory};

use tokio::sync::mpsc as queue;

use super::dump::{FlashDump, Stretch};
use super::input::{Input, Inputs};
use crate::console::{Console, ConsoleEvent};
use crate::definition::BoardDefinition;
use crate::error::{BoardError, Fault, Part};
use crate::identity::{DeviceId, Sighting};
use crate::probe::{AttachOptions, Deadlines, FlashPart, Probe, WorkerCommand};
use crate::trace::{TraceItem, TraceReader};

/// Orders that may wait at one hand.
const QUEUE: usize = 64;
/// Longest stretch of equal octets between two differences that is still written in one go.
const GAP: usize = 4_096;

/// What a hand is told.
#[derive(Debug)]
pub enum Order {
    /// Write whatever differs from this picture, read all of it back, and stop the core before its first instruction.
    Provision {
        /// The whole flash as it shall be.
        picture: Box<FlashDump>,
        /// The part is known to be blank: nothing has to be read first.
        blank: bool,
        /// Read all of it back at the end; what is written is read back in any case.
        read_back: bool,
    },
    /// Start the core anew.
    Start,
    /// Read what a snapshot of the banks needs.
    Read {
        /// Comes back with the result.
        token: u64,
    },
    /// Change octets of flash, behind the firmware's back.
    Alter {
        /// Comes back with the result.
        token: u64,
        /// Where.
        stretch: Stretch,
        /// Octet offset in it.
        offset: u32,
        /// XORed.
        mask: Vec<u8>,
    },
}

/// What came of an order.
#[derive(Debug)]
pub enum Done {
    /// Provisioned, with the flash as read back.
    Provisioned(Box<FlashDump>),
    /// Started.
    Started,
    /// Read.
    Read {
        /// Of the order.
        token: u64,
        /// The flash.
        dump: Box<FlashDump>,
    },
    /// Altered.
    Altered {
        /// Of the order.
        token: u64,
        /// Octets before.
        before: Vec<u8>,
        /// Octets after.
        after: Vec<u8>,
    },
}

/// The hand's other end.
#[derive(Debug)]
pub struct Hand {
    orders: queue::Sender<Order>,
}

impl Hand {
    /// Starts a hand for the board at `place`, which reads its console at once. `log` gets every octet of it.
    pub fn start(
        runtime: &tokio::runtime::Handle,
        place: usize,
        board: &BoardDefinition,
        worker: WorkerCommand,
        log: Option<PathBuf>,
        inputs: Inputs,
    ) -> Self {
        let (orders, receiver) = queue::channel(QUEUE);
        let deadlines = Deadlines::default();
        let probe = Probe::new(&board.identity.probe, board.driver, board.speed_khz, worker, deadlines);
        let task = Task { place, board: board.clone(), probe, attached: false, inputs: inputs.clone() };
        runtime.spawn(task.run(receiver));
        runtime.spawn(listen(place, board.clone(), log, inputs));
        Self { orders }
    }

    /// Gives an order. False if the hand is gone or has too much to do.
    #[must_use]
    pub fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }
}

struct Task {
    place: usize,
    board: BoardDefinition,
    probe: Probe,
    attached: bool,
    inputs: Inputs,
}

impl Task {
    async fn run(mut self, mut orders: queue::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            let done = self.carry_out(order).await;
            let place = self.place;
            self.inputs.send(match done {
                Ok(done) => Input::Done { place, at: Instant::now(), done },
                Err((part, fault)) => {
                    // The worker of an operation that failed has ended, or is in no known state.
                    self.attached = false;
                    Input::Failed { place, error: BoardError::new(self.board.name(), part, fault) }
                }
            });
        }
        self.probe.detach().await;
    }

    fn table(&self) -> Result<&'static Geometry, (Part, Fault)> {
        let why = || (Part::Board, Fault::Worker { why: format!("no table {}", self.board.driver.table) });
        self.board.driver.geometry().ok_or_else(why)
    }

    async fn attach(&mut self) -> Result<(), (Part, Fault)> {
        if !self.attached {
            self.probe.attach(AttachOptions::default()).await.map_err(|fault| (Part::Probe, fault))?;
            self.attached = true;
        }
        Ok(())
    }

    async fn carry_out(&mut self, order: Order) -> Result<Done, (Part, Fault)> {
        self.attach().await?;
        match order {
            Order::Provision { picture, blank, read_back } => self.provision(*picture, blank, read_back).await,
            Order::Start => {
                self.probe.reset(false).await.map_err(|fault| (Part::Core, fault))?;
                Ok(Done::Started)
            }
            Order::Read { token } => {
                let dump = Box::new(self.read().await?);
                Ok(Done::Read { token, dump })
            }
            Order::Alter { token, stretch, offset, mask } => {
                let address = self.address(stretch.memory, stretch.region.start + offset);
                let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
                let flash = |fault| (Part::Flash, fault);
                let before = self.probe.read(address, length).await.map_err(flash)?;
                let octets: Vec<u8> = before.iter().zip(&mask).map(|(b, m)| b ^ m).collect();
                self.probe.halt().await.map_err(|fault| (Part::Core, fault))?;
                self.probe.flash(&[FlashPart { address, octets }], None).await.map_err(flash)?;
                let after = self.probe.read(address, length).await.map_err(flash)?;
                Ok(Done::Altered { token, before, after })
            }
        }
    }

    fn address(&self, memory: Memory, address: u32) -> u32 {
        self.board.driver.probe_address(memory, address)
    }

    async fn read(&mut self) -> Result<FlashDump, (Part, Fault)> {
        let table = self.table()?;
        let mut dump = FlashDump::blank(table);
        for Stretch { memory, region } in FlashDump::stretches(table) {
            let address = self.address(memory, region.start);
            let octets = self.probe.read(address, region.length).await.map_err(|fault| (Part::Flash, fault))?;
            dump.put(memory, region.start, &octets);
        }
        Ok(dump)
    }

    /// Chip and address are compared before anything is written.
    async fn identify(&mut self) -> Result<(), (Part, Fault)> {
        let table = self.table()?;
        let probe = |fault| (Part::Probe, fault);
        let id = self.probe.read(self.board.driver.device_id_at, 8).await.map_err(probe)?;
        let id: [u8; 8] = id.try_into().unwrap_or_default();
        let page = self.probe.read(table.identity.start, 128).await.map_err(probe)?;
        let seen = Sighting {
            device_id: DeviceId::from_octets(id),
            identity: mk_wire::identity::Identity::decode(&page),
        };
        self.board.identity.compare(&seen, crate::identity::Purpose::Provision).map_err(|fault| (Part::Board, fault))
    }

    async fn provision(&mut self, picture: FlashDump, blank: bool, read_back: bool) -> Result<Done, (Part, Fault)> {
        let table = self.table()?;
        self.identify().await?;
        self.probe.reset(true).await.map_err(|fault| (Part::Core, fault))?;
        let mut parts = Vec::new();
        let mut there = FlashDump::blank(table);
        for memory in [Memory::Internal, Memory::External] {
            if !blank {
                let region = FlashDump::whole(table, memory);
                let address = self.address(memory, region.start);
                let octets = self.probe.read(address, region.length).await.map_err(|fault| (Part::Flash, fault))?;
                there.put(memory, region.start, &octets);
            }
            for (start, octets) in picture.differences(&there, memory, GAP) {
                parts.push(FlashPart { address: self.address(memory, start), octets });
            }
        }
        if !parts.is_empty() {
            self.probe.flash(&parts, None).await.map_err(|fault| (Part::Flash, fault))?;
        }
        let found = if read_back { self.read().await? } else { picture.clone() };
        for Stretch { memory, region } in FlashDump::stretches(table) {
            let (is, shall) = (found.region(memory, region), picture.region(memory, region));
            if let Some(offset) = is.iter().zip(shall).position(|(is, shall)| is != shall) {
                let address = self.address(memory, region.start + u32::try_from(offset).unwrap_or(0));
                return Err((Part::Flash, Fault::Verify { address }));
            }
        }
        self.probe.reset(true).await.map_err(|fault| (Part::Core, fault))?;
        Ok(Done::Provisioned(Box::new(found)))
    }
}

/// Reads the console and makes records and lines of it.
async fn listen(place: usize, board: BoardDefinition, log: Option<PathBuf>, inputs: Inputs) {
    let failed = |fault| Input::Failed { place, error: BoardError::new(board.name(), Part::Console, fault) };
    let (console, mut events) = match Console::open(&board.identity.console, board.baud, log.as_deref()) {
        Ok(open) => open,
        Err(fault) => {
            inputs.send(failed(fault));
            return;
        }
    };
    let mut reader = TraceReader::new();
    while let Some(event) = events.recv().await {
        match event {
            ConsoleEvent::Octets { at, octets } => {
                for item in reader.push(&octets) {
                    hear(place, at, item, &inputs);
                }
            }
            ConsoleEvent::Idle => {}
            ConsoleEvent::Closed { fault } => {
                inputs.send(failed(fault));
                break;
            }
        }
        if inputs.closed() {
            break;
        }
    }
    drop(console);
}

fn hear(place: usize, at: Instant, item: TraceItem, inputs: &Inputs) {
    match item {
        TraceItem::Record(record) => inputs.send(Input::Trace { place, at, record: Box::new(record) }),
        TraceItem::Text(text) => inputs.send(Input::Text { place, at, text }),
        TraceItem::Garbage { .. } => {}
    }
}

