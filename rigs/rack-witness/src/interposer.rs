//! The interposer: rules that act on messages between the sender's and the receiver's port.
//!
//! It matches what was decoded, acts on the message whole, and compares the octets at the receiving port: what it
//! reports is the proof that a fault was injected. It never looks at what the product makes of it.

use crate::message::{AirMessage, fingerprint};
use hil_model::fact::{Fact, Interposition};
use hil_model::{AirEffect, AirRule, HoldUntil, MessageKind, Party, Receivers, RuleId, Span, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Interpositions of one rule on one receiver that become events; what follows is only counted. A rule that silences
/// a node for a whole transfer would otherwise fill the ledger.
const EVENTS_PER_RECEIVER: u32 = 32;

/// One delivery that is to happen.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// How much later than now.
    pub delay: Span,
    /// What is delivered.
    pub bytes: Arc<[u8]>,
    /// The event to record when it is delivered.
    pub record: Option<Fact>,
    /// A copy under the sequence number of a message that was delivered before: the network layer of a mesh receiver
    /// drops it. What was held back goes out under a new number, as the interposer has the network's keys.
    pub copy: bool,
}

/// What becomes of a message at one receiver.
#[derive(Debug, Default)]
pub struct Decision {
    /// Deliveries in order; none: nothing is heard now.
    pub deliveries: Vec<Delivery>,
    /// Events to record now.
    pub records: Vec<Fact>,
}

#[derive(Debug)]
struct Active {
    rule: AirRule,
    /// Messages acted on, by receiver.
    acted: BTreeMap<Party, u32>,
    /// Messages held back for reordering, by receiver, with the number of messages that still overtake them.
    held: BTreeMap<Party, Vec<(u8, Delivery)>>,
}

/// The rules in force.
#[derive(Debug, Default)]
pub struct Interposer {
    active: Vec<Active>,
    /// Bit per kind that some rule acts on: most messages concern none.
    kinds: u32,
}

impl Interposer {
    /// Adds a rule. A later rule acts only on what earlier ones left alone.
    pub fn add(&mut self, rule: AirRule) {
        self.kinds |= 1 << rule.matches.kind as u32;
        self.active.push(Active { rule, acted: BTreeMap::new(), held: BTreeMap::new() });
    }

    /// Removes a rule; messages it holds for reordering are lost, as on a real air.
    pub fn remove(&mut self, id: RuleId) {
        self.active.retain(|a| a.rule.id != id);
        self.kinds = self.active.iter().fold(0, |kinds, a| kinds | 1 << a.rule.matches.kind as u32);
    }

    /// Whether there is no rule at all.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.kinds == 0
    }

    /// Whether any rule can act on messages of this kind.
    #[must_use]
    pub const fn concerns(&self, kind: MessageKind) -> bool {
        self.kinds & (1 << kind as u32) != 0
    }

    /// Whether a rule names this message, for one receiver at least.
    #[must_use]
    pub fn acts_on(&self, message: &AirMessage) -> bool {
        self.concerns(message.kind) && self.active.iter().any(|a| covers(&a.rule, message))
    }

    /// Whether any rule could act on a message between these two, whatever its kind.
    #[must_use]
    pub fn may_concern(&self, from: Party, receiver: Party) -> bool {
        let named = |nodes: &[hil_model::NodeId]| {
            [receiver, from].iter().any(|p| matches!(p, Party::Node(n) if nodes.contains(n)))
        };
        self.active.iter().any(|a| {
            let m = &a.rule.matches;
            let receives = match &m.receivers {
                Receivers::All => true,
                Receivers::Only(nodes) => named(nodes),
            };
            receives && m.from.is_none_or(|p| p.covers(from)) && sends(from, m.kind)
        })
    }

    /// What `receiver` gets of `message`. `trial_started` is when the sender's trial image was started, if it runs one.
    pub fn decide(
        &mut self,
        now: Time,
        message: &AirMessage,
        receiver: Party,
        trial_started: Option<Time>,
    ) -> Option<Decision> {
        let active = self.active.iter_mut().find(|a| {
            covers(&a.rule, message)
                && receives(&a.rule.matches.receivers, receiver, message)
                && a.rule.limit.is_none_or(|limit| a.acted.get(&receiver).copied().unwrap_or(0) < limit)
        })?;
        Some(active.act(now, message, receiver, trial_started))
    }
}

fn covers(rule: &AirRule, message: &AirMessage) -> bool {
    let m = &rule.matches;
    m.kind == message.kind
        && m.from.is_none_or(|from| from.covers(message.from))
        && m.block.is_none_or(|block| message.block == Some(block))
        && m.chunks.is_none_or(|(first, last)| message.chunk.is_some_and(|c| (first..=last).contains(&c)))
}

/// Whether a party ever sends messages of this kind.
const fn sends(from: Party, kind: MessageKind) -> bool {
    let node = matches!(from, Party::Node(_) | Party::AnyNode);
    match kind {
        MessageKind::Chunk
        | MessageKind::BlockStart
        | MessageKind::BlockGet
        | MessageKind::UpdateStart
        | MessageKind::UpdateApply
        | MessageKind::ConfirmAck => !node,
        MessageKind::BlockStatus
        | MessageKind::UpdateStatus
        | MessageKind::Confirm
        | MessageKind::Health
        | MessageKind::AppReport => node,
        MessageKind::Transfer
        | MessageKind::UpdateOther
        | MessageKind::Report
        | MessageKind::Light
        | MessageKind::CoapBlock
        | MessageKind::CoapOther
        | MessageKind::Other => true,
    }
}

/// For messages of a node the rule's node list names the sender, since their receiver is the gateway.
fn receives(receivers: &Receivers, receiver: Party, message: &AirMessage) -> bool {
    match receivers {
        Receivers::All => true,
        Receivers::Only(nodes) => {
            [receiver, message.from].iter().any(|p| matches!(p, Party::Node(n) if nodes.contains(n)))
        }
    }
}

impl Active {
    fn act(&mut self, now: Time, message: &AirMessage, receiver: Party, trial_started: Option<Time>) -> Decision {
        let acted = self.acted.entry(receiver).or_default();
        *acted += 1;
        let loud = *acted <= EVENTS_PER_RECEIVER;
        let fact = |did, delivered: Option<&[u8]>| loud.then(|| self.rule.fact(message, receiver, did, delivered));
        let plain = |delay, record| Delivery { delay, bytes: Arc::clone(&message.bytes), record, copy: false };
        let copied = |delivery: Delivery| Delivery { copy: true, ..delivery };
        let now_unchanged = || plain(Span::ZERO, None);
        let mut decision = Decision::default();
        match &self.rule.effect {
            AirEffect::Drop => decision.records.extend(fact(Interposition::Dropped, None)),
            AirEffect::Alter { offset, mask, repeat } => {
                let bytes = alter(message, usize::from(*offset), mask, *repeat);
                let record = fact(Interposition::Altered, Some(&bytes));
                decision.deliveries.push(Delivery { delay: Span::ZERO, bytes, record, copy: false });
            }
            AirEffect::Delay(until) => {
                let delay = match until {
                    HoldUntil::For(span) => *span,
                    HoldUntil::AfterTrialStart(span) => trial_started.map_or(Span::ZERO, |t| (t + *span).since(now)),
                };
                if delay == Span::ZERO {
                    decision.deliveries.push(now_unchanged());
                } else {
                    decision.records.extend(fact(Interposition::Held, None));
                    decision.deliveries.push(plain(delay, fact(Interposition::Released, Some(&message.bytes))));
                }
            }
            AirEffect::Duplicate { copies, spacing } => {
                decision.deliveries.push(now_unchanged());
                decision.deliveries.extend(
                    (1..=u64::from(*copies)).map(|n| {
                        copied(plain(spacing.times(n), fact(Interposition::Duplicated, Some(&message.bytes))))
                    }),
                );
            }
            AirEffect::Replay(after) => {
                decision.deliveries.push(now_unchanged());
                decision.deliveries.push(copied(plain(*after, fact(Interposition::Replayed, Some(&message.bytes)))));
            }
            AirEffect::Reorder { after } => {
                let late = plain(Span::ZERO, fact(Interposition::Reordered, Some(&message.bytes)));
                self.reorder(receiver, *after, late, now_unchanged(), &mut decision);
            }
        }
        decision
    }

    /// Every other message is held until `after` later ones have passed it.
    fn reorder(&mut self, receiver: Party, after: u8, late: Delivery, passing: Delivery, decision: &mut Decision) {
        let held = self.held.entry(receiver).or_default();
        if held.is_empty() {
            held.push((after.clamp(1, 16), late));
            return;
        }
        decision.deliveries.push(passing);
        for (left, _) in held.iter_mut() {
            *left -= 1;
        }
        decision.deliveries.extend(held.extract_if(.., |(left, _)| *left == 0).map(|(_, delivery)| delivery));
    }
}

trait Report {
    fn fact(&self, message: &AirMessage, to: Party, did: Interposition, delivered: Option<&[u8]>) -> Fact;
}

impl Report for AirRule {
    fn fact(&self, message: &AirMessage, to: Party, did: Interposition, delivered: Option<&[u8]>) -> Fact {
        let changed = delivered.map_or(0, |d| message.bytes.iter().zip(d).filter(|(a, b)| a != b).count());
        Fact::Interposed {
            rule: self.id,
            fault: self.fault,
            did,
            kind: message.kind,
            from: message.from,
            // All at once is nobody in particular.
            to: (!matches!(to, Party::AnyNode | Party::AnyGateway)).then_some(to),
            block: message.block,
            chunk: message.chunk,
            sent: message.fingerprint(),
            delivered: delivered.map(fingerprint),
            changed: changed as u16,
        }
    }
}

fn alter(message: &AirMessage, offset: usize, mask: &[u8], repeat: bool) -> Arc<[u8]> {
    let mut bytes = message.bytes.to_vec();
    let data = &mut bytes[message.data()];
    let start = offset.min(data.len());
    let target = data[start..].iter_mut();
    if repeat {
        target.zip(mask.iter().cycle()).for_each(|(octet, m)| *octet ^= m);
    } else {
        target.zip(mask).for_each(|(octet, m)| *octet ^= m);
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::message::{Carrier, classify_access};
    use hil_model::{AirMatch, FaultId, GatewayId, NodeId};
    use rstest::rstest;

    fn chunk(number: u16, block: u32) -> AirMessage {
        let bytes: Arc<[u8]> = [0x66, number as u8, (number >> 8) as u8, 1, 2, 3, 4].into();
        let (kind, block, chunk) = classify_access(&bytes, Some(block));
        AirMessage { from: Party::Gateway(GatewayId(1)), carrier: Carrier::Mesh, bytes, kind, block, chunk }
    }

    fn rule(effect: AirEffect) -> AirRule {
        AirRule {
            id: RuleId(1),
            fault: FaultId(0),
            matches: AirMatch {
                kind: MessageKind::Chunk,
                from: None,
                block: Some(2),
                chunks: Some((5, 6)),
                receivers: Receivers::Only(vec![NodeId(3)]),
            },
            effect,
            limit: None,
        }
    }

    const N3: Party = Party::Node(NodeId(3));

    fn decide(effect: AirEffect, message: &AirMessage, receiver: Party) -> Option<Decision> {
        let mut interposer = Interposer::default();
        interposer.add(rule(effect));
        interposer.decide(Time::ZERO, message, receiver, None)
    }

    #[rstest]
    #[case::block_before(chunk(5, 1), N3)]
    #[case::chunk_before(chunk(4, 2), N3)]
    #[case::chunk_after(chunk(7, 2), N3)]
    #[case::other_node(chunk(5, 2), Party::Node(NodeId(4)))]
    fn what_a_rule_does_not_name_is_left_alone(#[case] message: AirMessage, #[case] receiver: Party) {
        assert!(decide(AirEffect::Drop, &message, receiver).is_none());
    }

    #[rstest]
    #[case(chunk(5, 2))]
    #[case(chunk(6, 2))]
    fn a_dropped_message_is_proven_and_not_delivered(#[case] message: AirMessage) {
        let decision = decide(AirEffect::Drop, &message, N3).unwrap();
        assert!(decision.deliveries.is_empty());
        assert!(matches!(
            decision.records[..],
            [Fact::Interposed { did: Interposition::Dropped, delivered: None, .. }]
        ));
    }

    #[test]
    fn an_altered_chunk_keeps_its_number_and_the_proof_counts_the_octets() {
        let decision =
            decide(AirEffect::Alter { offset: 1, mask: vec![0xFF], repeat: true }, &chunk(5, 2), N3).unwrap();
        assert_eq!(*decision.deliveries[0].bytes, [0x66, 5, 0, 1, !2, !3, !4]);
        let Some(Fact::Interposed { changed, sent, delivered, .. }) = decision.deliveries[0].record.clone() else {
            panic!("no proof")
        };
        assert_eq!(changed, 3);
        assert_ne!(Some(sent), delivered);
    }

    #[test]
    fn an_alteration_past_the_end_changes_and_claims_nothing() {
        let decision = decide(AirEffect::Alter { offset: 99, mask: vec![1], repeat: false }, &chunk(5, 2), N3).unwrap();
        assert!(matches!(decision.deliveries[0].record, Some(Fact::Interposed { changed: 0, .. })));
    }

    #[test]
    fn a_held_message_is_released_at_the_time_after_the_trial_began() {
        let mut interposer = Interposer::default();
        interposer.add(rule(AirEffect::Delay(HoldUntil::AfterTrialStart(Span::secs(119)))));
        let decision = interposer.decide(Time(4_000_000_000), &chunk(5, 2), N3, Some(Time(3_000_000_000))).unwrap();
        assert_eq!(decision.deliveries[0].delay, Span::secs(118));
        assert_eq!(decision.records.len(), 1);
    }

    #[test]
    fn reordering_lets_later_messages_pass() {
        let mut interposer = Interposer::default();
        interposer.add(rule(AirEffect::Reorder { after: 1 }));
        let first = interposer.decide(Time::ZERO, &chunk(5, 2), N3, None).unwrap();
        assert!(first.deliveries.is_empty());
        let second = interposer.decide(Time::ZERO, &chunk(6, 2), N3, None).unwrap();
        let order: Vec<u8> = second.deliveries.iter().map(|d| d.bytes[1]).collect();
        assert_eq!(order, [6, 5]);
    }

    #[test]
    fn a_limit_counts_per_receiver_and_a_removed_rule_acts_no_more() {
        let mut interposer = Interposer::default();
        interposer.add(AirRule { limit: Some(1), ..rule(AirEffect::Drop) });
        assert!(interposer.decide(Time::ZERO, &chunk(5, 2), N3, None).is_some());
        assert!(interposer.decide(Time::ZERO, &chunk(5, 2), N3, None).is_none());
        interposer.add(AirRule { id: RuleId(2), ..rule(AirEffect::Drop) });
        interposer.remove(RuleId(2));
        assert!(interposer.decide(Time::ZERO, &chunk(5, 2), N3, None).is_none());
        assert!(interposer.concerns(MessageKind::Chunk));
    }
}
