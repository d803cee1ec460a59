//! Thread receivers: the image by CoAP, over a scripted node.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod rig;

use mk_gateway::{Carrier, Class, GatewayRecord};
use mk_wire::coap::{Block, Code, Encoder, Kind, Message as Coap, Token, option};
use mk_wire::distribution::{Message, Phase, RetrievedPhase, Status};
use mk_wire::fwid::mk_fwid_bytes;
use mk_wire::north::{Notice, Order};
use mk_wire::time::Duration;
use mk_wire::update;
use mk_wire::vendor::{self, Confirm};
use rig::mesh_node::Behaviour::*;
use rig::{NEW, OLD, Rig, node};
use rstest::rstest;

fn thread(n: u16) -> mk_wire::Addr {
    node(0x400 + n)
}

#[rstest]
#[case::one(1, 0, 0)]
#[case::four(4, 0, 0)]
#[case::four_with_one_datagram_in_twenty_lost(4, 0, 50)]
#[case::beside_the_mesh(3, 3, 0)]
fn thread_receivers_fetch_verify_and_run_the_image(#[case] nodes: usize, #[case] mesh: usize, #[case] loss: u64) {
    let mut rig = Rig::ready(&vec![Good; mesh], nodes);
    rig.run_for(Duration::from_secs(5));
    rig.loss = loss;
    assert_eq!(rig.status(Rig::start()), Status::Success);
    assert_eq!(rig.run_to_end(), Phase::Completed);
    for stub in &rig.thread {
        assert_eq!(stub.received, rig.image);
        assert_eq!((stub.running, rig.report(stub.address).phase), (NEW, RetrievedPhase::ApplySuccess));
        let of_node = |record: &&GatewayRecord| match record {
            GatewayRecord::MetadataDelivered { node, accepted, .. } => *node == stub.address && *accepted,
            GatewayRecord::TransferComplete { node, .. } => *node == stub.address,
            _ => false,
        };
        assert_eq!(rig.log.iter().filter(of_node).count(), 2);
    }
    assert!(rig.mesh.iter().all(|stub| stub.running == NEW));
}

#[test]
fn a_node_that_registers_late_is_offered_the_image_then() {
    // The stub asks for the manifest when it first runs, after Start.
    let mut rig = Rig::ready(&[], 1);
    rig.ask(Rig::start());
    assert_eq!(rig.run_to_end(), Phase::Completed);
}

#[test]
fn a_refusal_is_known_from_the_report_and_costs_no_image_octet() {
    let mut rig = Rig::ready(&[], 2);
    rig.thread[0].refuses = true;
    rig.ask(Rig::start());
    assert_eq!(rig.run_to_end(), Phase::Completed);
    let report = rig.report(thread(0));
    assert_eq!((report.phase, report.update_status), (RetrievedPhase::Idle, update::Status::MetadataCheckFailed));
    assert!(rig.thread[0].asked.is_empty());
    let refused = |r: &GatewayRecord| matches!(r, GatewayRecord::MetadataDelivered { node, accepted: false, .. } if *node == thread(0));
    assert!(rig.log.iter().any(refused));
}

#[test]
fn a_silent_node_is_given_up_after_the_patience_and_the_others_go_on() {
    let mut rig = Rig::ready(&[], 2);
    rig.thread[1].silent = true;
    rig.ask(Rig::start());
    assert_eq!(rig.run_to_end(), Phase::Completed);
    let report = rig.report(thread(1));
    assert_eq!((report.phase, report.update_status), (RetrievedPhase::Unknown, update::Status::InternalError));
    assert_eq!(rig.report(thread(0)).phase, RetrievedPhase::ApplySuccess);
}

#[test]
fn a_node_that_reboots_goes_on_at_its_offset_under_the_same_etag() {
    let mut rig = Rig::ready(&[], 1);
    rig.ask(Rig::start());
    assert!(rig.run_until(Duration::from_secs(600), |rig| rig.thread[0].received.len() >= 5_000));
    let held = rig.thread[0].received.len() as u32;
    let now = rig.now;
    rig.thread[0].reboot(now);
    rig.thread[0].asked.clear();
    assert_eq!(rig.run_to_end(), Phase::Completed);
    assert_eq!(rig.thread[0].asked[0], held);
    assert_eq!(rig.thread[0].received, rig.image);
}

#[test]
fn a_gateway_that_dies_serves_the_same_image_from_the_same_offset() {
    for after in [1_000, 5_000, 20_000, 40_000] {
        let mut rig = Rig::ready(&[], 1);
        rig.run_for(Duration::from_secs(3));
        rig.ask(Rig::start());
        rig.run_until(Duration::from_secs(600), |rig| rig.thread[0].received.len() >= after);
        rig.restart();
        assert_eq!(rig.run_to_end(), Phase::Completed, "after {after} octets");
        assert_eq!(rig.thread[0].received, rig.image);
    }
}

/// The answer to Apply is lost, or the gateway dies before it has it: the repetition meets a node that is back already.
#[rstest]
fn an_apply_that_is_asked_twice_still_ends_in_success(#[values(false, true)] restart: bool) {
    let mut rig = Rig::ready(&[], 1);
    rig.ask(Rig::start());
    let asked = |rig: &Rig| {
        rig.sent.iter().any(|sent| Coap::decode(&sent.bytes).is_ok_and(|message| message.options.path_is("fw/apply")))
    };
    assert!(rig.run_until(Duration::from_secs(600), asked));
    if restart {
        rig.restart();
    } else {
        rig.loss = 1_000;
        rig.run_for(Duration::from_secs(25));
        rig.loss = 0;
    }
    assert_eq!(rig.run_to_end(), Phase::Completed);
    assert!(restart || rig.thread[0].apply_posts > 1);
}

#[test]
fn suspended_means_later_and_cancelled_means_gone() {
    let mut rig = Rig::ready(&[], 1);
    rig.ask(Rig::start());
    assert!(rig.run_until(Duration::from_secs(600), |rig| rig.thread[0].received.len() >= 5_000));
    rig.ask(Message::Suspend);
    let held = rig.thread[0].received.len();
    rig.run_for(Duration::from_secs(1_000));
    assert!(rig.thread[0].received.len() <= held + 256 && rig.thread[0].later.contains(&60));
    assert_eq!(rig.phase(), Phase::TransferSuspended);
    rig.ask(Rig::start());
    assert!(rig.run_until(Duration::from_secs(600), |rig| rig.thread[0].received.len() >= 10_000));
    rig.ask(Message::Cancel);
    assert_eq!(rig.phase(), Phase::Idle);
    rig.run_for(Duration::from_secs(300));
    assert_eq!(rig.thread[0].phase, update::Phase::Idle);
    assert_eq!(rig.report(thread(0)).phase, RetrievedPhase::TransferCanceled);
}

#[test]
fn a_closed_window_means_later_and_its_time_does_not_count_against_the_node() {
    let mut rig = Rig::ready(&[], 1);
    rig.ask(Rig::start());
    assert!(rig.run_until(Duration::from_secs(600), |rig| rig.thread[0].received.len() >= 5_000));
    rig.order(&Order::Window { open: false });
    let data = |rig: &Rig| rig.sent.iter().filter(|sent| sent.class == Class::Data).count();
    let before = data(&rig);
    rig.run_for(Duration::from_secs(8 * 3_600));
    assert_eq!(data(&rig), before);
    assert_eq!(rig.report(thread(0)).phase, RetrievedPhase::TransferActive);
    rig.order(&Order::Window { open: true });
    assert_eq!(rig.run_to_end(), Phase::Completed);
}

#[test]
fn over_budget_a_node_is_told_when_to_come_back() {
    let mut rig = Rig::ready(&[Good], 6);
    rig.order(&Order::Throttle { permille: 20 });
    rig.ask(Rig::start());
    rig.run_for(Duration::from_secs(60));
    let told: Vec<u32> = rig.thread.iter().flat_map(|stub| stub.later.iter().copied()).collect();
    assert!(!told.is_empty() && told.iter().all(|seconds| (1..=60).contains(seconds)), "{told:?}");
}

/// One datagram from a node that is nobody's receiver, and the answer's code.
fn ask(rig: &mut Rig, id: u16, build: impl FnOnce(Encoder<'_>) -> Encoder<'_>, code: Code) -> Code {
    let mut buffer = [0; 128];
    let encoder = Encoder::new(&mut buffer, Kind::Confirmable, code, id, Token::new(b"t").unwrap());
    let len = build(encoder).finish().unwrap();
    let now = rig.now;
    rig.sent.clear();
    rig.gateway.on_coap(now, node(0x4FF), &buffer[..len]);
    let sent = rig.gateway.poll_transmit(now).unwrap();
    let answer = Coap::decode(sent.bytes).unwrap();
    assert_eq!((sent.carrier, answer.kind, answer.message_id), (Carrier::Thread, Kind::Acknowledgement, id));
    answer.code
}

#[test]
fn requests_that_make_no_sense_get_the_code_that_says_why() {
    let mut rig = Rig::ready(&[], 0);
    assert_eq!(ask(&mut rig, 1, |e| e, Code::GET), Code::NOT_FOUND);
    assert_eq!(ask(&mut rig, 2, |e| e.path("fw/manifest"), Code::GET), Code::CONTENT);
    assert_eq!(ask(&mut rig, 3, |e| e.path("fw/manifest"), Code::POST), Code::METHOD_NOT_ALLOWED);
    assert_eq!(ask(&mut rig, 4, |e| e.path("fw/image"), Code::GET), Code::NOT_FOUND);
    assert_eq!(ask(&mut rig, 5, |e| e.path("mk").payload(&[1, 2]), Code::POST), Code::BAD_REQUEST);
    assert_eq!(ask(&mut rig, 6, |e| e.path("mk"), Code::GET), Code::METHOD_NOT_ALLOWED);
    assert_eq!(ask(&mut rig, 7, |e| e.option(9, &[]).path("fw/image"), Code::GET), Code::BAD_OPTION);
}

#[test]
fn a_block_past_the_end_is_a_bad_request() {
    let mut rig = Rig::ready(&[], 1);
    rig.ask(Rig::start());
    let now = rig.now;
    let block = Block::at_offset(20_224, 4).unwrap();
    let mut buffer = [0; 64];
    let encoder = Encoder::new(&mut buffer, Kind::Confirmable, Code::GET, 9, Token::default());
    let len = encoder.path("fw/image").block(option::BLOCK2, block).finish().unwrap();
    rig.gateway.on_coap(now, thread(0), &buffer[..len]);
    let sent = rig.gateway.poll_transmit(now).unwrap();
    assert_eq!(Coap::decode(sent.bytes).unwrap().code, Code::BAD_REQUEST);
}

#[test]
fn a_confirmation_over_coap_is_acknowledged_each_time_and_counted_once() {
    let mut rig = Rig::new(&[], 1);
    let confirm = Confirm { boot_count: 9, fwid: mk_fwid_bytes(vendor::COMPANY_ID, NEW) };
    let post = rig.thread[0].post(vendor::Message::Confirm(confirm));
    let again = rig.thread[0].post(vendor::Message::Confirm(confirm));
    let now = rig.now;
    // The second datagram is a retransmission, the third a new message of a node that missed the acknowledgement.
    for datagram in [&post, &post] {
        rig.gateway.on_coap(now, thread(0), datagram);
    }
    rig.run_for(Duration::from_secs(5));
    let now = rig.now;
    rig.gateway.on_coap(now, thread(0), &again);
    rig.run_for(Duration::from_secs(5));
    let acks =
        rig.thread[0].heard.iter().filter(|m| matches!(m, vendor::Message::ConfirmAck(ack) if ack.boot_count == 9));
    assert_eq!(acks.count(), 2);
    let counted =
        rig.notices.iter().filter(|n| matches!(n, Notice::Confirmed { boot_count: 9, version, .. } if *version == NEW));
    assert_eq!(counted.count(), 1);
}

#[test]
fn a_node_without_an_answer_is_asked_five_times_and_no_more() {
    let mut rig = Rig::new(&[], 1);
    rig.thread[0].silent = true;
    rig.order(&Order::RequestReport { node: thread(0) });
    let start = rig.now;
    rig.run_for(Duration::from_secs(300));
    let times: Vec<u64> = rig.sent.iter().map(|sent| (sent.at - start).as_millis()).collect();
    assert_eq!(times.len(), 5);
    let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((2_000..=3_000).contains(&waits[0]));
    for pair in waits.windows(2) {
        assert!(pair[1].abs_diff(pair[0] * 2) <= 1, "{waits:?}");
    }
}

#[test]
fn nodes_outside_the_distribution_see_no_offer() {
    let mut rig = Rig::ready(&[Good], 1);
    rig.run_for(Duration::from_secs(2));
    assert_eq!(rig.status(Message::ReceiversDeleteAll), Status::Success);
    let octets = mk_wire::distribution::ReceiverEntry { address: node(1), image_index: 0 }.to_bytes();
    let set = mk_wire::distribution::ReceiverSet::from_bytes(&octets).unwrap();
    assert_eq!(rig.status(Message::ReceiversAdd(set)), Status::Success);
    rig.ask(Rig::start());
    assert_eq!(rig.run_to_end(), Phase::Completed);
    assert_eq!((rig.thread[0].running, rig.thread[0].asked.len()), (OLD, 0));
}
