//! Reports, heartbeats, lighting and subscriptions.

use mk_wire::{
    AccessMessage, Addr,
    config::{Message as ConfigMessage, ModelId, Status, Subscription},
    time::Duration,
    update,
    vendor::{BootOutcome, LightSet, Message},
};
use rstest::rstest;

use crate::bench::{Bench, GATEWAY, INTERVAL, ImageSpec, NODE, image};
use mk_node::config::{Config, ConfigV3};

const GROUP: Addr = Addr(0xC0DE);

fn count(messages: &[Message], which: fn(&Message) -> bool) -> usize {
    messages.iter().filter(|m| which(m)).count()
}

fn messages(bench: &mut Bench) -> Vec<Message> {
    bench.vendor_messages().into_iter().map(|(_, m)| m).collect()
}

#[test]
fn a_boot_is_reported_four_times_with_growing_gaps() {
    let mut bench = Bench::new();
    bench.run_secs(600);
    let at: Vec<_> = bench
        .vendor_messages()
        .into_iter()
        .filter(|(_, m)| matches!(m, Message::Report(_)))
        .map(|(at, _)| at)
        .collect();
    let gaps: Vec<_> = at.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(gaps, [10, 30, 90]);
}

#[test]
fn the_factory_image_reports_that_nothing_else_ever_ran() {
    let mut bench = Bench::new();
    let report = bench.report();
    assert_eq!((report.outcome, report.config_version, report.boot_count), (BootOutcome::None, 1, 1));
}

#[rstest]
#[case::as_provisioned(0, INTERVAL.as_secs())]
#[case::as_the_user_chose(600, 600)]
fn heartbeat_and_application_report_come_once_per_interval(#[case] chosen_s: u16, #[case] secs: u64) {
    let config = ConfigV3 {
        address: NODE.0,
        level: 9,
        groups: heapless::Vec::new(),
        scenes: [0; 4],
        report_interval_s: chosen_s,
        calibration_centi_c: -50,
    };
    let mut bench = Bench::with(ImageSpec::new(1).config(3, None), Some(Config::V3(config)));
    bench.run_secs(secs * 10);
    let sent = messages(&mut bench);
    assert_eq!(count(&sent, |m| matches!(m, Message::Health(_))), 10);
    let reports: Vec<_> =
        sent.iter().filter_map(|m| if let Message::AppReport(r) = m { Some(*r) } else { None }).collect();
    assert_eq!(reports.len(), 10);
    assert!(reports.iter().all(|r| (r.temperature_centi_c, r.light_level) == (2_100, 9)));
}

#[test]
fn a_heartbeat_carries_hops_and_strength_of_the_last_gateway_message() {
    let mut bench = Bench::new();
    bench.tell(NODE, Message::ReportGet);
    bench.run_for(INTERVAL);
    let sent = messages(&mut bench);
    let health = sent.iter().find_map(|m| if let Message::Health(h) = m { Some(*h) } else { None }).unwrap();
    assert_eq!((health.hops, health.rssi_dbm, health.degraded), (2, -60, false));
}

#[test]
fn lighting_goes_on_during_an_update() {
    let mut bench = Bench::new();
    let new = image(ImageSpec::new(2));
    bench.start(&new);
    bench.begin_transfer(&new);
    for (tid, level) in [(1, 10), (2, 20)] {
        bench.send_block(&new, u16::from(tid) - 1);
        bench.hand(
            Addr(0x0105),
            NODE,
            &AccessMessage::Vendor(Message::LightSet(LightSet { level, tid })).to_buffer().unwrap(),
        );
        assert_eq!(bench.node().light_level(), level);
    }
    // A repeat of an older press changes nothing.
    bench.tell(NODE, Message::LightSet(LightSet { level: 99, tid: 3 }));
    bench.tell(NODE, Message::LightSet(LightSet { level: 50, tid: 3 }));
    assert_eq!(bench.node().light_level(), 99);
    assert_eq!(bench.phase(), update::Phase::TransferActive);
}

fn subscribe(bench: &mut Bench, subscription: Subscription, add: bool) -> Status {
    let message = if add {
        ConfigMessage::SubscriptionAdd(subscription)
    } else {
        ConfigMessage::SubscriptionDelete(subscription)
    };
    let answer = bench.ask(message).expect("an answer");
    match AccessMessage::decode(&answer.bytes).unwrap() {
        AccessMessage::Config(ConfigMessage::SubscriptionStatus { status, subscription: of }) => {
            assert_eq!(of, subscription);
            status
        }
        other => panic!("{other:?}"),
    }
}

const UPDATE: Subscription = Subscription { element: NODE, group: GROUP, model: ModelId::FIRMWARE_UPDATE_SERVER };
const BLOB: Subscription = Subscription { model: ModelId::BLOB_TRANSFER_SERVER, ..UPDATE };

#[rstest]
#[case::update(UPDATE, Status::Success)]
#[case::vendor(Subscription { model: ModelId::Vendor { company: 0xFFFF, model: 1 }, ..UPDATE }, Status::Success)]
#[case::last_group(Subscription { group: Addr(0xFEFF), ..UPDATE }, Status::Success)]
#[case::fixed_group(Subscription { group: Addr(0xFF00), ..UPDATE }, Status::InvalidAddress)]
#[case::virtual_address(Subscription { group: Addr(0xBFFF), ..UPDATE }, Status::InvalidAddress)]
#[case::unicast(Subscription { group: GATEWAY, ..UPDATE }, Status::InvalidAddress)]
#[case::other_element(Subscription { element: Addr(0x0102), ..UPDATE }, Status::InvalidAddress)]
#[case::no_such_model(Subscription { model: ModelId::Sig(0x1404), ..UPDATE }, Status::InvalidModel)]
fn a_subscription_request_is_answered_with_its_status(#[case] subscription: Subscription, #[case] status: Status) {
    let mut bench = Bench::new();
    assert_eq!(subscribe(&mut bench, subscription, true), status);
    assert_eq!(bench.node().listens_to(subscription.group), status == Status::Success);
}

#[test]
fn a_model_hears_a_group_while_it_is_subscribed_and_also_after_a_reset() {
    let mut bench = Bench::new();
    let get = AccessMessage::Update(update::Message::Get).to_buffer().unwrap();
    let heard = |bench: &mut Bench| {
        bench.sent.clear();
        bench.hand(GATEWAY, GROUP, &get);
        bench.run_for(Duration::from_millis(500));
        bench.sent.iter().filter(|sent| sent.message.bytes[..2] == [0x83, 0x10]).count()
    };
    assert_eq!(heard(&mut bench), 0);
    assert_eq!(subscribe(&mut bench, BLOB, true), Status::Success);
    assert_eq!(heard(&mut bench), 0, "another model of the node listens");
    assert_eq!(subscribe(&mut bench, UPDATE, true), Status::Success);
    assert_eq!(heard(&mut bench), 1);
    let before = bench.operations();
    assert_eq!(subscribe(&mut bench, UPDATE, true), Status::Success);
    assert_eq!(bench.operations(), before, "a repetition writes nothing");
    bench.boot();
    assert_eq!(heard(&mut bench), 1);
    assert_eq!(subscribe(&mut bench, UPDATE, false), Status::Success);
    assert_eq!(heard(&mut bench), 0);
    assert!(bench.node().listens_to(GROUP));
    assert_eq!(subscribe(&mut bench, BLOB, false), Status::Success);
    assert!(!bench.node().listens_to(GROUP));
}

#[test]
fn the_ninth_group_does_not_fit() {
    let mut bench = Bench::new();
    for n in 0..8 {
        assert_eq!(subscribe(&mut bench, Subscription { group: Addr(0xC000 + n), ..UPDATE }, true), Status::Success);
    }
    let ninth = Subscription { group: Addr(0xC008), ..UPDATE };
    assert_eq!(subscribe(&mut bench, ninth, true), Status::InsufficientResources);
    assert_eq!(subscribe(&mut bench, Subscription { group: Addr(0xC000), ..UPDATE }, false), Status::Success);
    assert_eq!(subscribe(&mut bench, ninth, true), Status::Success);
}

#[test]
fn answers_to_a_group_are_spread_and_unicast_ones_come_soon() {
    let mut bench = Bench::new();
    assert_eq!(subscribe(&mut bench, UPDATE, true), Status::Success);
    let get = AccessMessage::Update(update::Message::Get).to_buffer().unwrap();
    let mut waits = |to: Addr| -> Vec<u64> {
        (0..200)
            .map(|_| {
                bench.sent.clear();
                let asked = bench.now;
                bench.hand(GATEWAY, to, &get);
                bench.run_for(Duration::from_millis(500));
                let answer = bench.sent.iter().find(|sent| sent.message.bytes[..2] == [0x83, 0x10]).unwrap();
                (answer.at - asked).as_millis()
            })
            .collect()
    };
    let (group, unicast) = (waits(GROUP), waits(NODE));
    assert!(group.iter().all(|ms| (20..=500).contains(ms)) && group.iter().any(|ms| *ms > 400));
    assert!(unicast.iter().all(|ms| (20..=50).contains(ms)) && unicast.iter().any(|ms| *ms > 40));
}
