//! What becomes of a message at a receiver.

use super::hearing::{Heard, Hearing, Part};
use super::keys::{MessageId, NetworkKeys};
use crate::interposer::{Delivery, Interposer};
use crate::message::AirMessage;
use crate::meter::Meter;
use hil_model::fact::Fact;
use hil_model::{About, AirRule, GatewayId, NodeId, Party, RuleId, Span, Time};
use mk_wire::Addr;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Messages remembered per tap with what became of them at a receiver; the oldest is forgotten first.
const MOST_FATES: usize = 1_024;
/// Between two PDUs of a message that is delivered anew.
const SPACING: Span = Span::millis(1);

/// What a tap is told.
#[derive(Debug, Clone, Copy)]
pub struct TapSettings {
    /// Estimated copies of an originated PDU on the air, as the gateway's own throttle reckons.
    pub copies: u16,
    /// PDUs beyond the throttle that may fall into one second: bucket, radio window and the jitter of a real line.
    pub slack_pdus: u16,
}

/// A PDU that goes on, and how much later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// From now.
    pub after: Span,
    /// What is delivered.
    pub pdu: Vec<u8>,
}

/// One PDU of a message, kept until the message is decided upon.
#[derive(Debug, Clone)]
struct Kept {
    part: Part,
    pdu: Arc<[u8]>,
}

/// What became of a message at a receiver.
#[derive(Debug)]
enum Fate {
    /// Not whole yet, and a rule may act on it.
    Waiting(Vec<Kept>),
    /// No rule acted.
    Passes,
    /// Nothing is delivered, or not now.
    Stopped,
    /// This upper transport PDU is delivered in its place.
    Replaced(Vec<u8>),
}

#[derive(Debug)]
struct Record {
    fate: Fate,
    /// The PDUs that made it whole, for late deliveries.
    kept: Vec<Kept>,
    message: Option<Arc<AirMessage>>,
    order: u64,
}

/// The tap.
#[derive(Debug)]
pub struct Tap {
    keys: NetworkKeys,
    settings: TapSettings,
    hearing: Hearing,
    rules: Interposer,
    meters: BTreeMap<GatewayId, Meter>,
    fates: BTreeMap<(Party, MessageId), Record>,
    /// When the trial that a node runs was started.
    trials: BTreeMap<NodeId, Time>,
    /// Highest sequence number seen of each sender.
    last_seq: BTreeMap<Addr, u32>,
    facts: Vec<(Time, About, Fact)>,
    count: u64,
}

/// Whose address it is.
#[must_use]
pub const fn party(address: Addr) -> Party {
    match NodeId::from_unicast(address.0) {
        Some(node) => Party::Node(node),
        None => Party::Gateway(GatewayId(address.0)),
    }
}

impl Tap {
    /// A tap without rules.
    #[must_use]
    pub fn new(keys: NetworkKeys, settings: TapSettings) -> Self {
        Self {
            keys,
            settings,
            hearing: Hearing::default(),
            rules: Interposer::default(),
            meters: BTreeMap::new(),
            fates: BTreeMap::new(),
            trials: BTreeMap::new(),
            last_seq: BTreeMap::new(),
            facts: Vec::new(),
            count: 0,
        }
    }

    /// Adds a rule.
    pub fn add_rule(&mut self, rule: AirRule) {
        self.rules.add(rule);
    }

    /// Removes a rule.
    pub fn remove_rule(&mut self, id: RuleId) {
        self.rules.remove(id);
    }

    /// Whether a rule is in force, or something is still held back.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.rules.is_idle()
    }

    /// A node's trial was started, or is over.
    pub fn set_trial(&mut self, node: NodeId, started: Option<Time>) {
        match started {
            Some(at) => self.trials.insert(node, at),
            None => self.trials.remove(&node),
        };
    }

    /// What was recorded up to `now`, in order of time.
    pub fn take_facts(&mut self, now: Time) -> Vec<(Time, About, Fact)> {
        let mut due: Vec<_> = self.facts.extract_if(.., |(at, ..)| *at <= now).collect();
        due.sort_by_key(|(at, ..)| *at);
        due
    }

    /// When the next record is due.
    #[must_use]
    pub fn next_fact(&self) -> Option<Time> {
        self.facts.iter().map(|(at, ..)| *at).min()
    }

    /// Air use of a gateway since the last report; none when it sent no data.
    pub fn air_use(&mut self, gateway: GatewayId, throttle_permille: u16) -> Option<Fact> {
        self.meters.get_mut(&gateway)?.report(throttle_permille)
    }

    fn meter(&mut self, gateway: GatewayId) -> &mut Meter {
        let TapSettings { copies, slack_pdus } = self.settings;
        self.meters.entry(gateway).or_insert_with(|| Meter::new(copies, slack_pdus))
    }

    /// Hears a transmission. Called once for each, whoever receives it.
    pub fn hear(&mut self, now: Time, pdu: &[u8]) -> Heard {
        let (heard, counted) = self.hearing.hear(now, &self.keys, pdu);
        if let Some(part) = &heard.part {
            let last = self.last_seq.entry(part.header.src).or_default();
            *last = part.header.seq.max(*last);
            if let Party::Gateway(gateway) = party(part.header.src) {
                let meter = self.meter(gateway);
                counted.data.iter().for_each(|at| meter.data(*at, 1, Span::ZERO));
                meter.control(counted.control);
            }
        }
        heard
    }

    /// What `receiver` gets of a transmission. [`Party::AnyNode`] stands for all nodes at once, where the line cannot
    /// tell them apart.
    pub fn pass(&mut self, now: Time, heard: &Heard, receiver: Party) -> Vec<Passage> {
        let as_it_came = || vec![Passage { after: Span::ZERO, pdu: heard.pdu.to_vec() }];
        let Some(part) = &heard.part else { return as_it_came() };
        let from = party(part.header.src);
        if let Party::Gateway(gateway) = from {
            self.meter(gateway).delivered(1, 0);
        }
        let meant = !part.header.dst.is_unicast() || receiver == Party::AnyNode || party(part.header.dst) == receiver;
        // One receiver may be named where the line cannot tell nodes apart: the one the message is for.
        let receiver = match (receiver, party(part.header.dst)) {
            (Party::AnyNode, Party::Node(node)) if part.header.dst.is_unicast() => Party::Node(node),
            (receiver, _) => receiver,
        };
        let key = (receiver, part.id);
        if !meant || (!self.fates.contains_key(&key) && !self.rules.may_concern(from, receiver)) {
            return as_it_came();
        }
        self.on_part(now, heard, part, receiver)
    }

    fn on_part(&mut self, now: Time, heard: &Heard, part: &Part, receiver: Party) -> Vec<Passage> {
        self.forget_oldest();
        self.count += 1;
        let order = self.count;
        let kept = Kept { part: part.clone(), pdu: Arc::clone(&heard.pdu) };
        let record = self.fates.entry((receiver, part.id)).or_insert_with(|| Record {
            fate: Fate::Waiting(Vec::new()),
            kept: Vec::new(),
            message: None,
            order,
        });
        match &mut record.fate {
            Fate::Passes => vec![Passage { after: Span::ZERO, pdu: heard.pdu.to_vec() }],
            Fate::Stopped => Vec::new(),
            Fate::Replaced(upper) => {
                let upper = core::mem::take(upper);
                let again = seal(&self.keys, part, &upper);
                if let Some(Record { fate: Fate::Replaced(place), .. }) = self.fates.get_mut(&(receiver, part.id)) {
                    *place = upper;
                }
                again.into_iter().map(|pdu| Passage { after: Span::ZERO, pdu }).collect()
            }
            Fate::Waiting(waiting) => {
                waiting.push(kept);
                let Some(message) = part.message.clone() else { return Vec::new() };
                let waiting = core::mem::take(waiting);
                self.decide(now, part.id, &message, waiting, receiver)
            }
        }
    }

    /// The message is whole: a rule acts on it, or all of it passes.
    fn decide(
        &mut self,
        now: Time,
        id: MessageId,
        message: &Arc<AirMessage>,
        waiting: Vec<Kept>,
        receiver: Party,
    ) -> Vec<Passage> {
        let trial_started = match message.from {
            Party::Node(node) => self.trials.get(&node).copied(),
            Party::Gateway(_) | Party::AnyNode | Party::AnyGateway => None,
        };
        let Some(decision) = self.rules.decide(now, message, receiver, trial_started) else {
            self.settle(receiver, id, Fate::Passes, Vec::new(), None);
            return originals(&waiting, Span::ZERO);
        };
        let about = about(message.from, receiver);
        self.facts.extend(decision.records.into_iter().map(|fact| (now, about, fact)));
        self.settle(receiver, id, Fate::Stopped, waiting, Some(Arc::clone(message)));
        let mut passages = Vec::new();
        for Delivery { delay, bytes, record, copy } in decision.deliveries {
            self.facts.extend(record.map(|fact| (now + delay, about, fact)));
            passages.extend(self.deliver(receiver, id, &bytes, delay, copy));
        }
        passages
    }

    fn settle(
        &mut self,
        receiver: Party,
        id: MessageId,
        fate: Fate,
        kept: Vec<Kept>,
        message: Option<Arc<AirMessage>>,
    ) {
        if let Some(record) = self.fates.get_mut(&(receiver, id)) {
            record.fate = fate;
            record.kept = kept;
            record.message = message;
        }
    }

    /// The PDUs of one delivery that a rule decided on.
    fn deliver(&mut self, receiver: Party, id: MessageId, bytes: &Arc<[u8]>, delay: Span, copy: bool) -> Vec<Passage> {
        // A delivery of the octets of an earlier message, as reordering makes them, carries that very buffer.
        let held = |record: &Record| record.message.as_ref().is_some_and(|m| Arc::ptr_eq(&m.bytes, bytes));
        let own = self.fates.get(&(receiver, id)).is_some_and(&held);
        let id = if own {
            id
        } else {
            let mut earlier = self.fates.iter().filter(|((to, _), _)| *to == receiver);
            earlier.find(|(_, record)| held(record)).map_or(id, |((_, id), _)| *id)
        };
        let Some(record) = self.fates.get_mut(&(receiver, id)) else { return Vec::new() };
        let unchanged = record.message.as_ref().is_some_and(|m| m.bytes == *bytes);
        if unchanged && (copy || delay == Span::ZERO) {
            if !copy {
                record.fate = Fate::Passes;
            }
            return originals(&record.kept, delay);
        }
        if unchanged {
            return self.renumbered(receiver, id, bytes, delay);
        }
        let Some(first) = record.kept.first() else { return Vec::new() };
        let long_mic = first.part.place.is_some_and(|place| place.long_mic);
        let Some(upper) = self.keys.upper(&id, first.part.aid, long_mic, bytes) else { return Vec::new() };
        let pdus: Vec<Vec<u8>> = record.kept.iter().filter_map(|kept| seal(&self.keys, &kept.part, &upper)).collect();
        record.fate = Fate::Replaced(upper);
        spaced(pdus, delay)
    }

    /// What was held back goes out under the numbers that the sender would use next: under its own, later messages have
    /// made it a replay. The sender's next PDUs, as many as these, are lost to the receiver for the same reason.
    fn renumbered(&mut self, receiver: Party, id: MessageId, bytes: &[u8], delay: Span) -> Vec<Passage> {
        let Some(record) = self.fates.get(&(receiver, id)) else { return Vec::new() };
        let mut parts: BTreeMap<u8, Part> = BTreeMap::new();
        for kept in &record.kept {
            parts.entry(kept.part.place.map_or(0, |place| place.segment)).or_insert_with(|| kept.part.clone());
        }
        // Half a second of the sender's usual traffic may pass before the delivery: room for it.
        let ahead = u32::try_from(delay.as_millis() / 100).unwrap_or(u32::MAX).clamp(8, 2_048);
        let first = self.last_seq.get(&id.src).copied().unwrap_or(id.seq).saturating_add(ahead);
        let fresh = MessageId { seq: first, ..id };
        let Some((_, any)) = parts.first_key_value() else { return Vec::new() };
        let long_mic = any.place.is_some_and(|place| place.long_mic);
        let Some(upper) = self.keys.upper(&fresh, any.aid, long_mic, bytes) else { return Vec::new() };
        let mut pdus = Vec::new();
        for (n, part) in (0_u32..).zip(parts.values()) {
            let mut part = part.clone();
            part.id = fresh;
            part.header.seq = first.saturating_add(n);
            if let Some(place) = &mut part.place {
                place.seq_zero = mk_mesh::lower::seq_zero(first);
            }
            pdus.extend(seal(&self.keys, &part, &upper));
        }
        spaced(pdus, delay)
    }

    fn forget_oldest(&mut self) {
        if self.fates.len() >= MOST_FATES
            && let Some(oldest) = self.fates.iter().min_by_key(|(_, record)| record.order).map(|(key, _)| *key)
        {
            self.fates.remove(&oldest);
        }
    }
}

/// One PDU of a message, with another upper transport PDU in it.
fn seal(keys: &NetworkKeys, part: &Part, upper: &[u8]) -> Option<Vec<u8>> {
    match &part.place {
        Some(place) => keys.seal_segment(&part.id, &part.header, place, upper),
        None => keys.seal_whole(&part.id, &part.header, part.aid, upper),
    }
}

fn originals(kept: &[Kept], delay: Span) -> Vec<Passage> {
    spaced(kept.iter().map(|kept| kept.pdu.to_vec()).collect(), delay)
}

fn spaced(pdus: Vec<Vec<u8>>, delay: Span) -> Vec<Passage> {
    (0..).zip(pdus).map(|(n, pdu)| Passage { after: delay + SPACING.times(n), pdu }).collect()
}

/// Whom an interposition is about: the node at either end.
fn about(from: Party, receiver: Party) -> About {
    match (from, receiver) {
        (Party::Node(id), _) | (_, Party::Node(id)) => About::Node(id),
        (Party::Gateway(id), _) | (_, Party::Gateway(id)) => About::Gateway(id),
        _ => About::Rack,
    }
}
