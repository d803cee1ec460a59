//! The hand at one board: asks the board's owner one thing after the other. What is found comes back as [`Input`]s, so that
//! nobody waits for it.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc as queue;

use super::dump::{FlashDump, Stretch};
use super::input::{Input, Inputs};
use crate::board::{self, BoardEvent, BoardFact, BoardHandle, BoardSettings};
use crate::boards::ResetKind;
use crate::definition::BoardDefinition;
use crate::error::BoardError;
use crate::identity::Purpose;
use crate::probe::{AttachOptions, FlashPart};
use crate::provision::ProvisionPlan;

/// Orders that may wait at one hand.
const QUEUE: usize = 64;

/// What a hand is told.
#[derive(Debug)]
pub enum Order {
    /// Make it the node of this plan; it runs afterwards.
    Provision {
        /// The plan.
        plan: Arc<ProvisionPlan>,
        /// Read the banks afterwards.
        read: bool,
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
    /// Switch its power.
    Power(board::PowerAction),
}

/// What came of an order.
#[derive(Debug)]
pub enum Done {
    /// Provisioned, with the banks where they were asked for.
    Provisioned(Option<Box<FlashDump>>),
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
    /// Switched.
    Switched,
}

/// The hand's other end.
#[derive(Debug)]
pub struct Hand {
    orders: queue::Sender<Order>,
    board: BoardHandle,
}

impl Hand {
    /// Opens the board at `place` and starts its hand.
    ///
    /// # Errors
    /// The board is locked by another process, or its console cannot be opened.
    pub fn start(
        runtime: &Handle,
        place: usize,
        definition: &BoardDefinition,
        settings: &BoardSettings,
        inputs: Inputs,
    ) -> Result<Self, BoardError> {
        let (orders, receiver) = queue::channel(QUEUE);
        let _inside = runtime.enter();
        let (board, events) = board::open(definition.clone(), None, settings)?;
        let task = Task { place, board: board.clone(), inputs: inputs.clone(), attached: false };
        runtime.spawn(task.run(receiver));
        runtime.spawn(listen(place, events, inputs));
        Ok(Self { orders, board })
    }

    /// Gives an order. False if the hand is gone or has too much to do.
    #[must_use]
    pub fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    /// Lets go of the board.
    pub async fn close(&self) {
        self.board.close().await;
    }
}

struct Task {
    place: usize,
    board: BoardHandle,
    inputs: Inputs,
    attached: bool,
}

impl Task {
    async fn run(mut self, mut orders: queue::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            let done = self.carry_out(order).await;
            let place = self.place;
            self.inputs.send(match done {
                Ok(done) => Input::Done { place, at: Instant::now(), done },
                Err(error) => {
                    self.attached = false;
                    Input::Failed { place, error }
                }
            });
        }
    }

    async fn attach(&mut self) -> Result<(), BoardError> {
        if !self.attached {
            self.board.attach(AttachOptions::default()).await?;
            self.attached = true;
        }
        Ok(())
    }

    async fn carry_out(&mut self, order: Order) -> Result<Done, BoardError> {
        match order {
            Order::Provision { plan, read } => {
                self.attach().await?;
                self.board.provision(plan, Purpose::Provision, None).await?;
                let dump = if read { Some(Box::new(self.read().await?)) } else { None };
                Ok(Done::Provisioned(dump))
            }
            Order::Start => {
                self.attach().await?;
                self.board.reset(ResetKind::Soft, false).await?;
                Ok(Done::Started)
            }
            Order::Read { token } => {
                self.attach().await?;
                let dump = Box::new(self.read().await?);
                Ok(Done::Read { token, dump })
            }
            Order::Alter { token, stretch, offset, mask } => {
                self.attach().await?;
                let driver = self.board.definition().driver;
                let address = driver.probe_address(stretch.memory, stretch.region.start + offset);
                let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
                let before = self.board.read(address, length).await?;
                let octets: Vec<u8> = before.iter().zip(&mask).map(|(b, m)| b ^ m).collect();
                self.board.flash(vec![FlashPart { address, octets }], Purpose::Use, None).await?;
                let after = self.board.read(address, length).await?;
                // Flashing stopped the core in the middle of what it did; it goes on from there.
                self.board.run().await?;
                Ok(Done::Altered { token, before, after })
            }
            Order::Power(action) => {
                // Without power there is nothing to hold on to.
                self.attached = false;
                self.board.power(action).await?;
                Ok(Done::Switched)
            }
        }
    }

    async fn read(&mut self) -> Result<FlashDump, BoardError> {
        let table = self.board.geometry();
        let mut dump = FlashDump::blank(table);
        for Stretch { memory, region } in FlashDump::stretches(table) {
            let octets = self.board.read_region(memory, region).await?;
            dump.put(memory, region.start, &octets);
        }
        Ok(dump)
    }
}

/// Passes on what the board says by itself.
async fn listen(place: usize, mut events: queue::Receiver<BoardEvent>, inputs: Inputs) {
    while let Some(BoardEvent { at, what }) = events.recv().await {
        match what {
            BoardFact::Trace(record) => inputs.send(Input::Trace { place, at, record: Box::new(record) }),
            BoardFact::Text(text) => inputs.send(Input::Text { place, at, text }),
            // Counted by the owner, which takes the board out of service where it is too much.
            BoardFact::Garbage { .. } => {}
            BoardFact::Quarantined(error) => inputs.send(Input::Failed { place, error }),
            BoardFact::Lost { events } => {
                let text = format!("{events} events of the console came too fast; its log has them");
                inputs.send(Input::Text { place, at, text });
            }
        }
        if inputs.closed() {
            break;
        }
    }
}
