#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
use super::keys::MessageId;
use super::*;
use hil_model::fact::{Fact, Interposition};
use hil_model::{
    AirEffect, AirMatch, AirRule, FaultId, GatewayId, HoldUntil, MessageKind, NodeId, Party, Receivers, RuleId, Span,
    Time,
};
use mk_mesh::lower::{SegmentHeader, seq_zero};
use mk_mesh::network::Header;
use mk_wire::Addr;
use rstest::rstest;

const NET: [u8; 16] = [1; 16];
const APP: [u8; 16] = [2; 16];
const GATEWAY: Addr = Addr(1);
const GROUP: Addr = Addr(0xC001);
const N1: Party = Party::Node(NodeId(1));
const N2: Party = Party::Node(NodeId(2));
const GW: Party = Party::Gateway(GatewayId(1));

fn keys() -> NetworkKeys {
    NetworkKeys::new(&NET, &APP, 0)
}

fn tap() -> Tap {
    Tap::new(keys(), TapSettings { copies: 1, slack_pdus: 9 })
}

/// The PDUs of a message, segmented if it does not fit one.
fn pdus(src: Addr, dst: Addr, seq: u32, access: &[u8]) -> Vec<Vec<u8>> {
    if access.len() <= 11 {
        return vec![keys().whole_message(src, dst, seq, access).unwrap()];
    }
    let id = MessageId { src, dst, iv_index: 0, seq };
    let aid = mk_mesh::ApplicationKey::new(&APP).aid();
    let upper = keys().upper(&id, Some(aid), false, access).unwrap();
    let last = (upper.len().div_ceil(12) - 1) as u8;
    let segment = |n: u8| {
        let header = Header { control: false, ttl: 5, seq: seq + u32::from(n), src, dst };
        let place = SegmentHeader { aid: Some(aid), long_mic: false, seq_zero: seq_zero(seq), segment: n, last };
        keys().seal_segment(&id, &header, &place, &upper).unwrap()
    };
    (0..=last).map(segment).collect()
}

fn block_start(block: u16) -> Vec<u8> {
    let mut access = vec![0x83, 0x04];
    access.extend(block.to_le_bytes());
    access.extend(185_u16.to_le_bytes());
    access
}

fn apply() -> Vec<u8> {
    let message = mk_wire::access::AccessMessage::Update(mk_wire::update::Message::Apply);
    message.to_buffer().unwrap().to_vec()
}

fn chunk(number: u16, len: usize) -> Vec<u8> {
    let mut access = vec![0x66];
    access.extend(number.to_le_bytes());
    access.extend((0..len).map(|i| i as u8));
    access
}

fn rule(kind: MessageKind, effect: AirEffect, only: &[u16]) -> AirRule {
    let receivers =
        if only.is_empty() { Receivers::All } else { Receivers::Only(only.iter().map(|n| NodeId(*n)).collect()) };
    let matches = AirMatch { kind, from: None, block: None, chunks: None, receivers };
    AirRule { id: RuleId(1), fault: FaultId(0), matches, effect, limit: None }
}

/// Sends PDUs and collects what arrives at each receiver, with its delay.
fn send(tap: &mut Tap, now: Time, pdus: &[Vec<u8>], to: &[Party]) -> Vec<Vec<Passage>> {
    let mut arrived = vec![Vec::new(); to.len()];
    for pdu in pdus {
        let heard = tap.hear(now, pdu);
        for (place, receiver) in to.iter().enumerate() {
            arrived[place].extend(tap.pass(now, &heard, *receiver));
        }
    }
    arrived
}

/// What a receiver reads out of the PDUs that arrived.
fn read(passages: &[Passage]) -> Option<Vec<u8>> {
    let mut hearing = Hearing::default();
    let heard = passages.iter().filter_map(|p| hearing.hear(Time::ZERO, &keys(), &p.pdu).0.part);
    heard.filter_map(|part| part.message).next_back().map(|message| message.bytes.to_vec())
}

fn octets(passages: &[Passage]) -> Vec<Vec<u8>> {
    passages.iter().map(|p| p.pdu.clone()).collect()
}

#[test]
fn without_a_rule_every_octet_passes_at_once() {
    let sent = pdus(GATEWAY, GROUP, 100, &chunk(3, 185));
    assert_eq!(sent.len(), 16);
    let arrived = send(&mut tap(), Time::ZERO, &sent, &[N1]);
    assert_eq!(octets(&arrived[0]), sent);
    assert!(arrived[0].iter().all(|p| p.after == Span::ZERO));
}

#[rstest]
#[case::short(8)]
#[case::segmented(185)]
fn an_altered_chunk_reaches_one_receiver_correctly_encrypted_and_the_other_as_it_was(#[case] len: usize) {
    let mut tap = tap();
    send(&mut tap, Time::ZERO, &pdus(GATEWAY, GROUP, 90, &block_start(4)), &[N1, N2]);
    let effect = AirEffect::Alter { offset: 0, mask: vec![1], repeat: false };
    let mut rule = rule(MessageKind::Chunk, effect, &[1]);
    rule.matches.block = Some(4);
    rule.matches.chunks = Some((3, 3));
    tap.add_rule(rule);
    let access = chunk(3, len);
    let sent = pdus(GATEWAY, GROUP, 100, &access);
    let arrived = send(&mut tap, Time::ZERO, &sent, &[N1, N2]);
    let mut want = access.clone();
    want[3] ^= 1;
    assert_eq!(read(&arrived[0]), Some(want));
    assert_eq!(octets(&arrived[1]), sent);
    let facts = tap.take_facts(Time::ZERO);
    assert!(matches!(
        facts.as_slice(),
        [(
            _,
            _,
            Fact::Interposed {
                did: Interposition::Altered,
                changed: 1,
                block: Some(4),
                chunk: Some(3),
                to: Some(N1),
                ..
            }
        )]
    ));
    let other = pdus(GATEWAY, GROUP, 200, &chunk(4, len));
    assert_eq!(octets(&send(&mut tap, Time::ZERO, &other, &[N1])[0]), other, "another chunk is left alone");
}

#[test]
fn a_dropped_message_stays_dropped_when_its_segments_come_again() {
    let mut tap = tap();
    tap.add_rule(rule(MessageKind::Confirm, AirEffect::Drop, &[1]));
    let confirm = confirm();
    let sent = pdus(Addr(0x0101), GATEWAY, 50, &confirm);
    assert!(send(&mut tap, Time::ZERO, &sent, &[GW])[0].is_empty());
    // Without an acknowledgement the node's segments come again, under new sequence numbers.
    let id = MessageId { src: Addr(0x0101), dst: GATEWAY, iv_index: 0, seq: 50 };
    let aid = mk_mesh::ApplicationKey::new(&APP).aid();
    let upper = keys().upper(&id, Some(aid), false, &confirm).unwrap();
    let header = Header { control: false, ttl: 5, seq: 60, src: Addr(0x0101), dst: GATEWAY };
    let last = (upper.len().div_ceil(12) - 1) as u8;
    let place = SegmentHeader { aid: Some(aid), long_mic: false, seq_zero: seq_zero(50), segment: 0, last };
    let again = keys().seal_segment(&id, &header, &place, &upper).unwrap();
    assert!(send(&mut tap, Time::ZERO, &[again], &[GW])[0].is_empty());
    assert_eq!(tap.take_facts(Time::ZERO).len(), 1, "one message, one proof");
    let other = pdus(Addr(0x0102), GATEWAY, 50, &confirm);
    assert_eq!(octets(&send(&mut tap, Time::ZERO, &other, &[GW])[0]), other, "another node's passes");
}

fn confirm() -> Vec<u8> {
    let confirm = mk_wire::vendor::Confirm { boot_count: 2, fwid: [9; 10] };
    let message = mk_wire::access::AccessMessage::Vendor(mk_wire::vendor::Message::Confirm(confirm));
    message.to_buffer().unwrap().to_vec()
}

#[test]
fn a_message_held_until_after_the_trial_s_start_is_released_with_a_number_that_is_new() {
    let mut tap = tap();
    tap.set_trial(NodeId(1), Some(Time(1_000_000_000)));
    let until = HoldUntil::AfterTrialStart(Span::secs(5));
    tap.add_rule(rule(MessageKind::Confirm, AirEffect::Delay(until), &[1]));
    let now = Time(2_000_000_000);
    let arrived = send(&mut tap, now, &pdus(Addr(0x0101), GATEWAY, 50, &confirm()), &[GW]);
    assert_eq!(arrived[0].first().unwrap().after, Span::secs(4));
    assert_eq!(read(&arrived[0]), Some(confirm()));
    let Opened::Segment { header, .. } = keys().open(&arrived[0][0].pdu) else { panic!("a segment") };
    assert!(header.seq > 52);
    let did = |facts: Vec<(Time, _, Fact)>| {
        facts
            .into_iter()
            .map(|(_, _, fact): (_, hil_model::About, _)| match fact {
                Fact::Interposed { did, .. } => did,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(did(tap.take_facts(now)), [Interposition::Held]);
    assert_eq!(tap.next_fact(), Some(Time(6_000_000_000)));
    assert_eq!(did(tap.take_facts(Time(6_000_000_000))), [Interposition::Released]);
}

#[test]
fn a_replay_is_the_same_octets_once_more() {
    let mut tap = tap();
    tap.add_rule(rule(MessageKind::UpdateApply, AirEffect::Replay(Span::secs(1)), &[]));
    let sent = pdus(GATEWAY, Addr(0x0101), 7, &apply());
    let arrived = send(&mut tap, Time::ZERO, &sent, &[N1]);
    let delays: Vec<Span> = arrived[0].iter().map(|p| p.after).collect();
    assert_eq!(delays, [Span::ZERO, Span::secs(1)]);
    assert!(arrived[0].iter().all(|p| p.pdu == sent[0]));
}

#[test]
fn reordering_lets_the_next_message_pass_first() {
    let mut tap = tap();
    tap.add_rule(rule(MessageKind::Chunk, AirEffect::Reorder { after: 1 }, &[1]));
    let (first, second) = (pdus(GATEWAY, GROUP, 10, &chunk(0, 29)), pdus(GATEWAY, GROUP, 20, &chunk(1, 29)));
    assert!(send(&mut tap, Time::ZERO, &first, &[N1])[0].is_empty());
    let arrived = octets(&send(&mut tap, Time::ZERO, &second, &[N1])[0]);
    assert_eq!(arrived, [second, first].concat());
}

#[test]
fn what_is_addressed_to_another_is_no_rule_s_business() {
    let mut tap = tap();
    tap.add_rule(rule(MessageKind::UpdateApply, AirEffect::Drop, &[]));
    let sent = pdus(GATEWAY, Addr(0x0101), 7, &apply());
    let arrived = send(&mut tap, Time::ZERO, &sent, &[N1, N2]);
    assert!(arrived[0].is_empty());
    assert_eq!(octets(&arrived[1]), sent);
}

#[test]
fn foreign_octets_pass() {
    let mut tap = tap();
    tap.add_rule(rule(MessageKind::Chunk, AirEffect::Drop, &[]));
    let sent = vec![vec![0x55; 20], vec![1]];
    assert_eq!(octets(&send(&mut tap, Time::ZERO, &sent, &[N1])[0]), sent);
}

#[test]
fn data_pdus_are_counted_once_however_many_hear_them() {
    let mut tap = tap();
    send(&mut tap, Time::ZERO, &pdus(GATEWAY, GROUP, 90, &block_start(0)), &[N1, N2]);
    send(&mut tap, Time::ZERO, &pdus(GATEWAY, GROUP, 100, &chunk(0, 185)), &[N1, N2]);
    let Some(Fact::AirUse { data_pdus, control_pdus, peak_permille, depth_permille, .. }) =
        tap.air_use(GatewayId(1), 400)
    else {
        panic!("no report")
    };
    assert_eq!((data_pdus, control_pdus, peak_permille), (16, 1, 6));
    assert_eq!(depth_permille, 4);
    assert!(tap.air_use(GatewayId(1), 400).is_none());
}
