//! First-boot confirmations, reports and samples on their way to MeshOS.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod rig;

use mk_gateway::GatewayRecord;
use mk_wire::fwid::mk_fwid_bytes;
use mk_wire::north::{Notice, Order};
use mk_wire::vendor::{AppReport, Confirm, Health, Message};
use mk_wire::{AccessMessage, Addr, vendor};
use rig::mesh_node::Behaviour::Good;
use rig::{GATEWAY, NEW, Rig, ms, node};
use rstest::rstest;

fn hear(rig: &mut Rig, from: Addr, to: Addr, message: Message) {
    let bytes = AccessMessage::Vendor(message).to_buffer().unwrap();
    let now = rig.now;
    rig.gateway.on_access(now, from, to, &bytes);
}

fn confirm(boot_count: u32) -> Message {
    Message::Confirm(Confirm { boot_count, fwid: mk_fwid_bytes(vendor::COMPANY_ID, NEW) })
}

fn acks(rig: &Rig, boot_count: u32) -> usize {
    let ack = AccessMessage::Vendor(Message::ConfirmAck(vendor::ConfirmAck { boot_count })).to_buffer().unwrap();
    rig.sent.iter().filter(|sent| sent.bytes == ack[..] && sent.to == node(1)).count()
}

fn confirmed(rig: &Rig) -> Vec<u32> {
    rig.notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Confirmed { boot_count, .. } => Some(*boot_count),
            _ => None,
        })
        .collect()
}

#[test]
fn a_confirmation_is_acknowledged_each_time_it_is_heard_and_passed_on_once_per_boot() {
    let mut rig = Rig::new(&[Good], 0);
    for boot_count in [4, 4, 4, 5, 5] {
        hear(&mut rig, node(1), GATEWAY, confirm(boot_count));
        rig.run_for(ms(100));
    }
    assert_eq!((acks(&rig, 4), acks(&rig, 5)), (3, 2));
    assert_eq!(confirmed(&rig), [4, 5]);
    let heard = rig.log.iter().filter(|r| matches!(r, GatewayRecord::ConfirmationHeard { .. })).count();
    let acked = rig.log.iter().filter(|r| matches!(r, GatewayRecord::ConfirmationAcked { .. })).count();
    assert_eq!((heard, acked), (2, 5));
}

#[test]
fn a_confirmation_is_counted_over_a_restart() {
    let mut rig = Rig::new(&[Good], 0);
    hear(&mut rig, node(1), GATEWAY, confirm(4));
    rig.run_for(ms(100));
    rig.restart();
    hear(&mut rig, node(1), GATEWAY, confirm(4));
    rig.run_for(ms(100));
    assert_eq!((confirmed(&rig), acks(&rig, 4)), (vec![4], 2));
}

#[test]
fn a_confirmation_that_meshos_had_not_taken_is_given_after_the_restart() {
    let mut rig = Rig::new(&[Good], 0);
    hear(&mut rig, node(1), GATEWAY, confirm(4));
    // The record is on disk; the process dies before the notice is taken.
    rig.disk.push(rig.gateway.poll_journal().unwrap());
    rig.restart();
    assert_eq!(confirmed(&rig), [4]);
    rig.restart();
    assert_eq!(confirmed(&rig), [4]);
}

#[rstest]
#[case::for_us(node(1), GATEWAY, 1)]
#[case::for_a_group(node(1), Addr(0xC100), 1)]
#[case::for_somebody_else(node(1), node(2), 0)]
#[case::from_no_element(Addr(0xC000), GATEWAY, 0)]
fn only_messages_for_this_gateway_count(#[case] from: Addr, #[case] to: Addr, #[case] notices: usize) {
    let mut rig = Rig::new(&[Good], 0);
    let health = Health { hops: 2, rssi_dbm: -70, uptime_s: 60, degraded: false };
    hear(&mut rig, from, to, Message::Health(health));
    rig.run_for(ms(100));
    assert_eq!(rig.notices.len(), notices);
}

#[test]
fn samples_are_dropped_when_nobody_takes_them_and_confirmations_are_not() {
    let mut rig = Rig::new(&[Good], 0);
    for n in 0..20_000 {
        let sample = AppReport { temperature_centi_c: 2_150, light_level: 9, energy_wh: n };
        hear(&mut rig, node(1), GATEWAY, Message::AppReport(sample));
    }
    hear(&mut rig, node(1), GATEWAY, confirm(4));
    rig.run_for(ms(100));
    assert_eq!((rig.notices.len(), confirmed(&rig)), (16_384 + 1, vec![4]));
}

#[test]
fn a_report_is_requested_over_the_mesh() {
    let mut rig = Rig::new(&[Good], 0);
    rig.order(&Order::RequestReport { node: node(1) });
    let get = AccessMessage::Vendor(Message::ReportGet).to_buffer().unwrap();
    assert!(rig.sent.iter().any(|sent| sent.to == node(1) && sent.bytes == get[..]));
}

#[test]
fn garbage_is_ignored() {
    let mut rig = Rig::new(&[Good], 1);
    let now = rig.now;
    for len in 0..600 {
        let bytes: Vec<u8> = (0..len).map(|i| (i * len) as u8).collect();
        rig.gateway.on_access(now, node(1), GATEWAY, &bytes);
        rig.gateway.on_coap(now, node(0x400), &bytes);
    }
    rig.run_for(ms(100));
    assert!(rig.notices.is_empty());
}
