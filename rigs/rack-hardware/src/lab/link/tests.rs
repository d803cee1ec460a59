#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
use super::*;
use hil_model::{AirEffect, AirMatch, AirRule, FaultId, MessageKind, Receivers, RuleId};
use mk_wire::Addr;
use rack_witness::air::{NetworkKeys, Tap, TapSettings};

const KEYS: ([u8; 16], [u8; 16]) = ([7; 16], [8; 16]);

fn desk() -> Desk {
    let keys = NetworkKeys::new(&KEYS.0, &KEYS.1, 0);
    let tap = Tap::new(keys, TapSettings { copies: 1, slack_pdus: 9 });
    Desk::new(GatewayId(1), SharedTap::new(tap))
}

fn transmit(id: u16, pdu: &[u8]) -> Frame {
    Frame::Transmit { id, ad_type: AD_MESH_MESSAGE, pdu: Pdu::from_slice(pdu).unwrap() }
}

/// Update Apply, unsegmented.
fn apply_pdu(seq: u32) -> Vec<u8> {
    let keys = NetworkKeys::new(&KEYS.0, &KEYS.1, 0);
    let message = mk_wire::access::AccessMessage::Update(mk_wire::update::Message::Apply);
    keys.whole_message(Addr(1), Addr(0x0101), seq, &message.to_buffer().unwrap()).unwrap()
}

fn drop_applies() -> AirRule {
    AirRule {
        id: RuleId(1),
        fault: FaultId(0),
        matches: AirMatch {
            kind: MessageKind::UpdateApply,
            from: None,
            block: None,
            chunks: None,
            receivers: Receivers::All,
        },
        effect: AirEffect::Drop,
        limit: None,
    }
}

#[test]
fn what_no_rule_names_passes_and_its_end_comes_back_under_the_gateway_s_number() {
    let mut desk = desk();
    desk.said_by_gateway(Time(1), transmit(40, &[1, 2, 3]));
    let due = desk.due(Time(1));
    let [(Side::Radio, Frame::Transmit { id, pdu, .. })] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!(pdu.as_slice(), [1, 2, 3]);
    desk.said_by_radio(Time(2), Frame::Sent { id: *id });
    assert_eq!(desk.due(Time(2)), [(Side::Gateway, Frame::Sent { id: 40 })]);
}

#[test]
fn a_dropped_transmission_is_answered_and_never_sent() {
    let mut desk = desk();
    desk.tap.lock().add_rule(drop_applies());
    desk.said_by_gateway(Time(1), transmit(5, &apply_pdu(9)));
    assert_eq!(desk.due(Time(1)), [(Side::Gateway, Frame::Sent { id: 5 })]);
    let facts = desk.tap.lock().take_facts(Time(1));
    assert_eq!(facts.len(), 1, "and it is proven");
}

#[test]
fn the_radio_s_own_words_pass() {
    let mut desk = desk();
    desk.said_by_gateway(Time(1), Frame::Query);
    desk.said_by_radio(Time(1), Frame::Hello { version: 1, window: 8 });
    let sides: Vec<Side> = desk.due(Time(1)).into_iter().map(|(side, _)| side).collect();
    assert_eq!(sides, [Side::Radio, Side::Gateway]);
}
