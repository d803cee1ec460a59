//! The thread that owns the gateway's machine, its mesh stack, its files and the radio link, and feeds them one input after
//! the other.
//!
//! Order of outputs is what makes a crash harmless: journal records are on the disk before anything that follows from
//! them is told, sent or answered. A message is only made when the stack can take it and the radio works, so that the
//! throttle, which pays at that moment, is never ahead of the air.

use super::mesh::Mesh;
use super::meter::Meter;
use super::radio::{Link, Meaning, RadioInput};
use super::store::Journal;
use crate::api::gateway::{GatewayEvent, GatewayState, Orders, ReceiverState, Taken};
use crate::clock::Clock;
use crate::disk::DiskError;
use crate::feed::Feed;
use mk_gateway::{Carrier, Gateway, GatewayRecord};
use mk_mesh::{BearerKind, Event};
use mk_wire::Addr;
use mk_wire::distribution::Phase;
use mk_wire::radio_link::{AD_MESH_BEACON, AD_MESH_MESSAGE};
use mk_wire::time::{Duration, Instant};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use tokio::sync::oneshot;

/// Inputs taken before outputs are looked at.
const MOST_INPUTS: usize = 64;
/// Rounds of handing outputs on at one time; what is left goes on with the next round.
const MOST_ROUNDS: usize = 10_000;
/// Senders whose last batch is remembered.
const MOST_SENDERS: usize = 32;
/// Shortest and longest wait for an input.
const WAIT: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_micros(300), std::time::Duration::from_secs(1));
/// Time between two looks at the machine while it has something to send and nothing can be sent.
const BLOCKED: Duration = Duration::from_millis(20);

/// Something for the thread.
pub enum Input {
    /// Orders of MeshOS.
    Orders(Orders, oneshot::Sender<Taken>),
    /// Where does everything stand?
    State(oneshot::Sender<GatewayState>),
    /// From the port's thread.
    Radio(RadioInput),
    /// End.
    End,
}

/// The thread's belongings.
pub struct Machine {
    pub address: Addr,
    pub clock: Clock,
    pub feed: Arc<Feed>,
    pub gateway: Gateway,
    pub mesh: Mesh,
    pub link: Link,
    pub journal: Journal,
    pub meter: Meter,
    /// The last batch of each sender.
    pub batches: VecDeque<(String, u64)>,
    /// Events that wait until what they tell is on the disk.
    pub untold: Vec<GatewayEvent>,
    /// Answers that wait for the same.
    pub answers: Vec<(oneshot::Sender<Taken>, Taken)>,
}

impl Machine {
    /// Works until told to end.
    ///
    /// # Errors
    /// The disk failed: nothing may be sent that is not written down.
    pub fn run(mut self, inputs: &Receiver<Input>) -> Result<(), DiskError> {
        let mut goes_on = true;
        while goes_on {
            self.pump()?;
            goes_on = match inputs.recv_timeout(self.wait()) {
                Ok(input) => self.take(input) && self.take_waiting(inputs),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            self.do_what_is_due();
        }
        self.pump()?;
        self.mesh.before_end(self.clock.now())?;
        self.tell(GatewayEvent::Stopping);
        self.feed.end();
        Ok(())
    }

    fn take_waiting(&mut self, inputs: &Receiver<Input>) -> bool {
        for _ in 0..MOST_INPUTS {
            match inputs.try_recv() {
                Ok(input) => {
                    if !self.take(input) {
                        return false;
                    }
                }
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
        true
    }

    fn tell(&self, event: GatewayEvent) {
        self.feed.tell(event.name(), event);
    }

    /// Takes an input; false: the end.
    fn take(&mut self, input: Input) -> bool {
        let now = self.clock.now();
        match input {
            Input::Orders(orders, answer) => self.on_orders(now, &orders, answer),
            Input::State(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.state(now));
            }
            Input::Radio(input) => self.on_radio(now, input),
            Input::End => return false,
        }
        true
    }

    fn on_orders(&mut self, now: Instant, orders: &Orders, answer: oneshot::Sender<Taken>) {
        let known = self.batches.iter().position(|(sender, _)| *sender == orders.sender);
        let repeated = known.and_then(|at| self.batches.get(at)).is_some_and(|(_, last)| *last >= orders.batch);
        if !orders.sender.is_empty() {
            if repeated {
                self.answers.push((answer, Taken { taken: 0 }));
                return;
            }
            known.and_then(|at| self.batches.remove(at));
            while self.batches.len() >= MOST_SENDERS {
                self.batches.pop_front();
            }
            self.batches.push_back((orders.sender.clone(), orders.batch));
        }
        for order in &orders.orders {
            self.gateway.on_order(now, order);
        }
        self.tell(GatewayEvent::Orders { count: orders.orders.len() });
        self.answers.push((answer, Taken { taken: orders.orders.len() }));
    }

    fn on_radio(&mut self, now: Instant, input: RadioInput) {
        match input {
            RadioInput::Opened(port) => self.link.on_opened(now, port),
            RadioInput::Closed { reason, next } => {
                let lost = self.link.on_closed(reason, next);
                self.meter.lost(lost);
            }
            RadioInput::Frames(frames, discarded) => {
                self.link.set_discarded(discarded);
                for frame in frames {
                    match self.link.on_frame(frame) {
                        Meaning::Sent(load) => self.meter.sent(now, load),
                        Meaning::Message { pdu, rssi_dbm } => {
                            self.meter.received();
                            self.mesh.on_pdu(now, &pdu, rssi_dbm);
                            // One PDU completes one message at most, and the stack keeps few.
                            self.hand_up(now);
                        }
                        Meaning::Beacon { octets } => self.mesh.on_beacon(now, &octets),
                        Meaning::Ready { lost } => self.meter.lost(lost),
                        Meaning::Nothing => {}
                    }
                }
            }
        }
    }

    fn hand_up(&mut self, now: Instant) {
        while let Some(message) = self.mesh.poll_message() {
            self.tell(GatewayEvent::Heard {
                from: message.from,
                to: message.to,
                opcode: opcode(&message.access),
                octets: u16::try_from(message.access.len()).unwrap_or(u16::MAX),
                hops: message.hops,
                rssi_dbm: message.rssi_dbm,
            });
            self.gateway.on_access(now, message.from, message.to, &message.access);
        }
    }

    fn do_what_is_due(&mut self) {
        let now = self.clock.now();
        if self.gateway.next_wakeup().is_some_and(|at| at <= now) {
            self.gateway.on_timer(now);
        }
        let given_up = self.link.on_timer(now);
        self.meter.lost(given_up);
    }

    /// Hands every output on: journal first, then notices and messages.
    fn pump(&mut self) -> Result<(), DiskError> {
        for _ in 0..MOST_ROUNDS {
            let now = self.clock.now();
            if let Some(record) = self.gateway.poll_journal() {
                self.write(now, record)?;
                continue;
            }
            self.journal.sync()?;
            for event in std::mem::take(&mut self.untold) {
                self.tell(event);
            }
            for (answer, taken) in self.answers.drain(..) {
                let _ = answer.send(taken);
            }
            if let Some(notice) = self.gateway.poll_notice() {
                self.tell(GatewayEvent::Notice(notice));
                continue;
            }
            if !self.send_one(now) {
                break;
            }
        }
        let now = self.clock.now();
        self.mesh.persist(now)?;
        while self.link.has_room() {
            let Some((bearer, load)) = self.mesh.poll_pdu(now) else { break };
            let ad_type = match bearer.kind {
                BearerKind::Message => AD_MESH_MESSAGE,
                BearerKind::Beacon => AD_MESH_BEACON,
            };
            self.link.transmit(now, ad_type, &bearer.octets, load);
        }
        self.mesh.persist(now)?;
        self.tell_news();
        Ok(())
    }

    fn tell_news(&mut self) {
        while let Some(event) = self.mesh.poll_event() {
            match event {
                Event::Undelivered { to, refused } => self.tell(GatewayEvent::Undelivered { to, refused }),
                Event::IvIndex { index, updating } => self.tell(GatewayEvent::IvIndex { index, updating }),
                Event::Delivered { .. } | Event::Heartbeat { .. } | Event::Configured => {}
            }
        }
        if let Some(state) = self.link.news() {
            self.tell(GatewayEvent::Radio(state));
        }
    }

    /// Hands one message of the machine to the stack, if there is one and it can be sent.
    fn send_one(&mut self, now: Instant) -> bool {
        if !self.can_send(now) {
            return false;
        }
        let Some(message) = self.gateway.poll_transmit(now) else { return false };
        match message.carrier {
            // There was room. A message that cannot be sent at all is as good as lost on the air.
            Carrier::Mesh => drop(self.mesh.send(now, &message)),
            // This gateway has no Thread radio; the directory lists none, so nothing comes here.
            Carrier::Thread => {}
        }
        true
    }

    /// One data message at a time: the next one only when every PDU of the last is on the air.
    fn can_send(&self, now: Instant) -> bool {
        let data_under_way = self.mesh.has_data() || self.link.data_handed() > 0;
        let only_control = !self.gateway.throttle().allows(now);
        self.link.state().is_ready() && self.mesh.has_room() && (!data_under_way || only_control)
    }

    /// Writes a record of the machine's state down; every record is told once what came before it is on the disk.
    fn write(&mut self, now: Instant, record: GatewayRecord) -> Result<(), DiskError> {
        if ends_interval(&record) {
            let throttle = self.gateway.throttle().permille();
            self.untold.extend(self.meter.report(now, throttle).map(GatewayEvent::Air));
        }
        if record.is_state() {
            self.journal.append(self.clock.unix_us() / 1_000, &record)?;
        }
        self.untold.push(GatewayEvent::Record(without_image(record)));
        Ok(())
    }

    fn wait(&self) -> std::time::Duration {
        let now = self.clock.now();
        let blocked = !self.can_send(now);
        let gateway = self.gateway.next_wakeup().map(|at| if blocked { at.max(now + BLOCKED) } else { at });
        // Without room, the co-processor's next word is what wakes.
        let mesh = self.mesh.next_wakeup(now).filter(|_| self.link.has_room());
        let due = [gateway, mesh, self.link.next_wakeup()].into_iter().flatten().min();
        due.map_or(WAIT.1, |at| self.clock.until(at).clamp(WAIT.0, WAIT.1))
    }

    fn state(&self, now: Instant) -> GatewayState {
        let receivers = self.gateway.receivers().map(|receiver| ReceiverState {
            node: receiver.address,
            phase: receiver.phase,
            percent: receiver.percent,
        });
        GatewayState {
            address: self.address,
            life: self.feed.life(),
            uptime_ms: now.as_ticks() / 1_000,
            radio: self.link.state().clone(),
            phase: self.gateway.phase(),
            throttle_permille: self.gateway.throttle().permille(),
            window_open: self.gateway.throttle().is_open(),
            receivers: receivers.collect(),
            radio_discarded: self.link.discarded(),
            sequence: self.mesh.sequence(),
            journal_octets: self.journal.octets(),
        }
    }
}

/// Does this record end an interval of which the use of the air is told?
fn ends_interval(record: &GatewayRecord) -> bool {
    match record {
        GatewayRecord::ThrottleSet { .. } | GatewayRecord::BlockDone { .. } => true,
        GatewayRecord::DistributionPhase { phase } => *phase != Phase::TransferActive,
        GatewayRecord::ImageStored { .. }
        | GatewayRecord::ImageDeleted { .. }
        | GatewayRecord::ImagesDeleted
        | GatewayRecord::ReceiversAdded { .. }
        | GatewayRecord::ReceiversDeleted
        | GatewayRecord::WindowSet { .. }
        | GatewayRecord::DistributionStarted { .. }
        | GatewayRecord::ReceiverPhase { .. }
        | GatewayRecord::ObserverAdded { .. }
        | GatewayRecord::ObserverRemoved { .. }
        | GatewayRecord::ConfirmationHeard { .. }
        | GatewayRecord::ConfirmationPassedOn { .. }
        | GatewayRecord::ConfirmationAcked { .. }
        | GatewayRecord::MetadataDelivered { .. }
        | GatewayRecord::TransferComplete { .. }
        | GatewayRecord::ReportHeard { .. } => false,
    }
}

/// The record for readers, who have no use for the octets of an image.
fn without_image(record: GatewayRecord) -> GatewayRecord {
    match record {
        GatewayRecord::ImageStored { fwid, metadata, image: _ } => {
            GatewayRecord::ImageStored { fwid, metadata, image: Vec::new() }
        }
        other => other,
    }
}

/// The opcode of an access message as a number.
fn opcode(access: &[u8]) -> u32 {
    let length = match access.first() {
        None => 0,
        Some(first) if first & 0x80 == 0 => 1,
        Some(first) if first & 0x40 == 0 => 2,
        Some(_) => 3,
    };
    access.iter().take(length).fold(0, |opcode, octet| opcode << 8 | u32::from(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[0x66, 1, 0], 0x66)]
    #[case(&[0x83, 0x04, 0], 0x8304)]
    #[case(&[0xC3, 0xFF, 0xFF, 9], 0xC3FFFF)]
    #[case(&[], 0)]
    #[case(&[0xC3], 0xC3)]
    fn an_opcode_has_one_to_three_octets(#[case] access: &[u8], #[case] want: u32) {
        assert_eq!(opcode(access), want);
    }

    #[test]
    fn readers_are_spared_the_image() {
        let fwid = mk_wire::Fwid::of_version(0xFFFF, mk_wire::Version::new(1, 0, 0));
        let record = GatewayRecord::ImageStored { fwid: fwid.clone(), metadata: vec![1], image: vec![2; 9] };
        assert_eq!(without_image(record), GatewayRecord::ImageStored { fwid, metadata: vec![1], image: Vec::new() });
    }
}
