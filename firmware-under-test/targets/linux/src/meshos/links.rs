//! The links to the gateways: each has a task that follows its events and one that carries orders to it.
//!
//! Orders wait in a bounded queue while a gateway is away, oldest dropped first: the campaign asks again for whatever it
//! still wants. A batch that was sent and not answered is sent again under its number, and a gateway carries it out once.

use super::core::Input;
use crate::api::gateway::{Orders, Taken};
use crate::api::{EventId, GatewayEvent};
use crate::client::{Client, EventReader, Item};
use mk_wire::Addr;
use mk_wire::north::{Notice, Order};
use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Orders that wait for one gateway at most.
const MOST_WAITING: usize = 4_096;
/// First and longest wait before a gateway is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Wait for a place in the queue of the machine's thread.
const QUEUE_WAIT: Duration = Duration::from_millis(5);

/// A gateway and where it listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayAt {
    /// Its unicast address.
    pub address: Addr,
    /// `http://HOST:PORT`.
    pub url: String,
}

/// What the machine's thread needs of a link.
#[derive(Debug)]
pub struct Link {
    pub at: GatewayAt,
    pub connected: bool,
    waiting: Arc<Waiting>,
}

/// Orders that wait.
#[derive(Debug, Default)]
struct Waiting {
    orders: Mutex<VecDeque<Order>>,
    more: Notify,
}

impl Waiting {
    fn orders(&self) -> MutexGuard<'_, VecDeque<Order>> {
        // Every change of the queue leaves it whole.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Opens a link on the present runtime: its tasks work until `ending`. `last` is the event that an earlier life of
    /// this process, which ended before `began_unix_ms`, had last.
    pub fn open(
        at: GatewayAt,
        sender: String,
        last: Option<EventId>,
        inputs: SyncSender<Input>,
        ending: watch::Receiver<bool>,
        began_unix_ms: u64,
    ) -> Result<Self, crate::client::ClientError> {
        let waiting = Arc::new(Waiting::default());
        let reader = EventReader::new(&at.url)?;
        // Without a place to go on from, what was said before this process lived is no news.
        let reader = if last.is_some() { reader.after(last) } else { reader.only_new() };
        let client = Client::new(&at.url)?;
        tokio::spawn(follow(at.address, reader, inputs, ending.clone(), began_unix_ms));
        tokio::spawn(carry(client, sender, Arc::clone(&waiting), ending));
        Ok(Self { at, connected: false, waiting })
    }

    /// Queues an order; says how many had to be dropped for it.
    pub fn send(&self, order: Order) -> usize {
        let mut orders = self.waiting.orders();
        let mut dropped = 0;
        while orders.len() >= MOST_WAITING {
            // Windows and throttles are said once: they go last.
            let least = orders.iter().position(|order| matches!(order, Order::Access(_) | Order::RequestReport { .. }));
            orders.remove(least.unwrap_or(0));
            dropped += 1;
        }
        orders.push_back(order);
        drop(orders);
        self.waiting.more.notify_one();
        dropped
    }

    /// Orders that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.orders().len()
    }
}

async fn back_off(wait: &mut Duration) {
    tokio::time::sleep(*wait).await;
    *wait = (*wait * 2).min(BACK_OFF.1);
}

/// Gives an input to the machine's thread, waiting for a place; false when that thread is gone.
async fn give(inputs: &SyncSender<Input>, mut input: Input) -> bool {
    loop {
        match inputs.try_send(input) {
            Ok(()) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(back)) => input = back,
        }
        tokio::time::sleep(QUEUE_WAIT).await;
    }
}

/// Follows a gateway's events.
async fn follow(
    address: Addr,
    mut reader: EventReader<GatewayEvent>,
    inputs: SyncSender<Input>,
    mut ending: watch::Receiver<bool>,
    began_unix_ms: u64,
) {
    let mut wait = BACK_OFF.0;
    let mut connected = false;
    loop {
        let next = async {
            if !connected {
                reader.connect().await?;
                return Ok(None);
            }
            reader.next().await.map(Some)
        };
        let next = tokio::select! {
            next = next => next,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        let input = match next {
            Ok(None) => {
                (connected, wait) = (true, BACK_OFF.0);
                Input::Connected { address }
            }
            Ok(Some(Item::Event(event))) => match event.event {
                // Answers to requests of an earlier life of this process are nobody's any more.
                GatewayEvent::Notice(Notice::Access(_)) if event.unix_ms < began_unix_ms => continue,
                GatewayEvent::Notice(notice) => Input::Notice { address, id: event.id, notice },
                GatewayEvent::Started { .. }
                | GatewayEvent::Radio(_)
                | GatewayEvent::Record(_)
                | GatewayEvent::Heard { .. }
                | GatewayEvent::Air(_)
                | GatewayEvent::Undelivered { .. }
                | GatewayEvent::IvIndex { .. }
                | GatewayEvent::Orders { .. }
                | GatewayEvent::Stopping => continue,
            },
            // What was missed, the campaign asks for again.
            Ok(Some(Item::Gap(_))) => continue,
            Err(error) => {
                let was_connected = std::mem::take(&mut connected);
                if was_connected && !give(&inputs, Input::Lost { address, reason: error.to_string() }).await {
                    return;
                }
                tokio::select! {
                    () = back_off(&mut wait) => continue,
                    _ = ending.wait_for(|ending| *ending) => return,
                }
            }
        };
        if !give(&inputs, input).await {
            return;
        }
    }
}

/// Carries orders to a gateway.
async fn carry(mut client: Client, sender: String, waiting: Arc<Waiting>, mut ending: watch::Receiver<bool>) {
    let mut batch = 0;
    loop {
        let orders: Vec<Order> = {
            let mut orders = waiting.orders();
            let count = orders.len().min(Orders::MOST);
            orders.drain(..count).collect()
        };
        if orders.is_empty() {
            tokio::select! {
                () = waiting.more.notified() => continue,
                _ = ending.wait_for(|ending| *ending) => return,
            }
        }
        batch += 1;
        let request = Orders { sender: sender.clone(), batch, orders };
        let sent = async {
            let mut wait = BACK_OFF.0;
            loop {
                match client.post::<_, Taken>("/orders", &request).await {
                    // Refused: the gateway knows what it does not want, and repeating it is no use.
                    Ok(_) => return,
                    Err(error) if error.is_refusal() => return,
                    Err(_) => back_off(&mut wait).await,
                }
            }
        };
        tokio::select! {
            () = sent => {}
            _ = ending.wait_for(|ending| *ending) => return,
        }
    }
}
