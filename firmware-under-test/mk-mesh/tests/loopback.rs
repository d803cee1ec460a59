//! Stacks that talk to each other over a bad air: what arrives, arrives once, in full and unaltered.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use common::air::{Air, CALM, Got, Station, TestStack, Weather, settings};
use common::{Memory, N1};
use mk_mesh::{
    BearerKind, Destination, Event, Header, KeyUse, MeshSettings, NetworkKey, NodeStack, Outcome, Pacing, Progress,
    Record, SendError, Stamp, States, Transmit, network,
};
use mk_wire::Addr;
use mk_wire::access::network_pdus;
use mk_wire::time::Duration;
use rstest::rstest;

const GROUP: Addr = Addr(0xC000);
const MINUTE: Duration = Duration::from_secs(60);
/// PDUs overtake each other: a delay is up to four segment intervals.
const STORM: Weather = Weather { loss_permille: 200, jitter: Duration::from_millis(40) };

/// A vendor message of that length: no layer below knows it.
fn text(length: usize, tag: u8) -> Vec<u8> {
    (0..length).map(|at| if at == 0 { 0xC1 } else { (at as u8).wrapping_mul(31).wrapping_add(tag) }).collect()
}

fn application(to: u16) -> Destination {
    Destination::application(Addr(to))
}

fn texts(got: &[Got]) -> Vec<Vec<u8>> {
    got.iter().map(|got| got.access.clone()).collect()
}

// --- sizes, losses, order ------------------------------------------------------------------------------------------------

#[rstest]
fn messages_of_all_sizes_arrive_once_in_full_over_a_storm(
    #[values(KeyUse::Application, KeyUse::Device)] key: KeyUse,
    #[values(false, true)] long_mic: bool,
) {
    let with = |address| MeshSettings { long_mic, ..settings(address) };
    let mut air = Air::with(&[with(1), with(2)], STORM, 7);
    let lengths: Vec<usize> = (1..=24).chain([31, 32, 33, 100, 188, 189, 365, 372, 376, 377, 379, 380]).collect();
    for (tag, &length) in lengths.iter().enumerate() {
        let to = Destination { key, ..application(2) };
        let now = air.now;
        air.stations[0].stack.send(now, to, &text(length, tag as u8)).unwrap();
        air.settle(MINUTE);
    }
    let want: Vec<_> = lengths.iter().enumerate().map(|(tag, &length)| text(length, tag as u8)).collect();
    // A short message is sent three times and no more; what is segmented is acknowledged.
    let arrived = texts(&air.stations[1].got);
    let segmented = |texts: &[Vec<u8>]| texts.iter().filter(|text| text.len() > 11).cloned().collect::<Vec<_>>();
    assert_eq!(segmented(&arrived), segmented(&want));
    assert!(arrived.iter().all(|text| want.contains(text)));
    let mut once = arrived.clone();
    once.dedup();
    assert_eq!(once.len(), arrived.len());
    assert!(arrived.len() + 2 >= want.len(), "{} of {} arrived", arrived.len(), want.len());
    assert!(air.stations[1].got.iter().all(|got| got.key == key && got.from == Addr(1) && got.to == Addr(2)));
    assert!(!air.stations[0].events.iter().any(|event| matches!(event, Event::Undelivered { .. })));
}

#[rstest]
#[case::calm(CALM, 0)]
#[case::shuffled(Weather { loss_permille: 0, jitter: Duration::from_millis(40) }, 0)]
#[case::lossy(Weather { loss_permille: 100, jitter: Duration::from_millis(5) }, 4)]
fn a_group_gets_each_message_once(#[case] weather: Weather, #[case] rounds: u8) {
    let mut sender = settings(1);
    sender.states.sar_transmitter.multicast_retransmissions = rounds;
    let mut air = Air::with(&[sender, settings(2), settings(3)], weather, 3);
    let want: Vec<_> = (0..6).map(|tag| text(60 + 64 * usize::from(tag), tag)).collect();
    for message in &want {
        let now = air.now;
        air.stations[0].stack.send(now, application(GROUP.0), message).unwrap();
        air.settle(MINUTE);
    }
    for station in &air.stations[1..] {
        assert_eq!(texts(&station.got), want);
        assert!(station.got.iter().all(|got| got.to == GROUP));
    }
    // Nobody acknowledges what goes to a group.
    assert!(air.sent.iter().all(|(_, by, ..)| *by == 0));
}

#[test]
fn messages_to_one_receiver_keep_their_order_whatever_their_length() {
    let mut air = Air::new(&[1, 2], Weather { loss_permille: 100, jitter: Duration::from_millis(15) }, 1);
    let want = [text(100, 0), text(5, 1), text(300, 2), text(6, 3), text(7, 4), text(20, 5)];
    let now = air.now;
    want.iter().for_each(|message| air.stations[0].stack.send(now, application(2), message).unwrap());
    air.settle(MINUTE);
    assert_eq!(texts(&air.stations[1].got), want);
}

#[test]
fn both_directions_and_several_receivers_go_on_at_the_same_time() {
    let mut air = Air::new(&[1, 2, 3], STORM, 11);
    let now = air.now;
    for (from, to) in [(0, 2_u16), (0, 3), (1, 1), (1, 3), (2, 1), (2, 2)] {
        air.stations[from].stack.send(now, application(to), &text(200, to as u8)).unwrap();
    }
    air.settle(MINUTE);
    for (at, own) in [(0, 1_u8), (1, 2), (2, 3)] {
        assert_eq!(texts(&air.stations[at].got), [text(200, own), text(200, own)]);
    }
}

#[rstest]
#[case(11, 1)]
#[case(12, 2)]
#[case(20, 2)]
#[case(21, 3)]
#[case(188, 16)]
#[case(380, 32)]
fn a_message_costs_the_pdus_that_the_sheet_says(#[case] length: usize, #[case] pdus: usize) {
    let mut air = Air::new(&[1, 2], CALM, 1);
    let pacing = Pacing::Data { spacing: Duration::from_millis(10) };
    let now = air.now;
    air.stations[0].stack.send(now, Destination { pacing, ..application(GROUP.0) }, &text(length, 0)).unwrap();
    air.settle(MINUTE);
    assert_eq!((air.sent.len(), network_pdus(length, false)), (pdus, pdus));
    assert_eq!(texts(&air.stations[1].got), [text(length, 0)]);
}

#[test]
fn data_leaves_at_its_spacing_and_once() {
    let mut air = Air::new(&[1, 2], CALM, 1);
    let spacing = Duration::from_micros(23_500);
    let now = air.now;
    let to = Destination { pacing: Pacing::Data { spacing }, ..application(GROUP.0) };
    air.stations[0].stack.send(now, to, &text(100, 0)).unwrap();
    air.settle(MINUTE);
    let times: Vec<_> = air.sent.iter().map(|(at, ..)| *at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == spacing), "{times:?}");
    assert_eq!(times.len(), 9);
}

#[test]
fn control_is_sent_as_often_as_the_network_transmit_state_says() {
    let mut air = Air::new(&[1, 2], CALM, 1);
    let now = air.now;
    air.stations[0].stack.send(now, application(GROUP.0), &text(4, 0)).unwrap();
    air.settle(MINUTE);
    let times: Vec<_> = air.sent.iter().map(|(at, ..)| (*at - now).as_millis()).collect();
    assert_eq!(times, [0, 20, 40]);
    assert!(air.sent.windows(2).all(|pair| pair[0].3 == pair[1].3));
}

/// A wake-up that comes 100 ms late: how many segments leave at once, of a train that is 2 ms or 10 ms apart.
#[rstest]
#[case::no_air_to_share(Some(Duration::from_millis(2)), 6)]
#[case::a_distance_is_a_distance(None, 1)]
fn a_late_wake_up_is_made_up_for_within_10_ms_and_only_where_there_is_no_air_to_share(
    #[case] segment_interval: Option<Duration>,
    #[case] want: usize,
) {
    let mut air = Air::with(&[MeshSettings { segment_interval, ..settings(1) }], CALM, 1);
    let spacing = segment_interval.unwrap_or(Duration::from_millis(10));
    let mut now = air.now;
    let Station { stack, memory, .. } = &mut air.stations[0];
    let to = Destination { pacing: Pacing::Data { spacing }, ..application(GROUP.0) };
    stack.send(now, to, &text(380, 0)).unwrap();
    stack.persist(now, memory).unwrap();
    let mut at_once = |now| std::iter::from_fn(|| stack.poll_pdu(now)).count();
    assert_eq!(at_once(now), 1);
    now += Duration::from_millis(100);
    assert_eq!(at_once(now), want);
    now += spacing;
    assert_eq!(at_once(now), 1);
}

// --- refusals ------------------------------------------------------------------------------------------------------------

#[rstest]
#[case::empty(application(2), 0, SendError::Length(0))]
#[case::too_long(application(2), 381, SendError::Length(381))]
#[case::to_nobody(application(0), 5, SendError::Destination(Addr(0)))]
#[case::to_itself(application(1), 5, SendError::Destination(Addr(1)))]
#[case::to_a_label(application(0x8001), 5, SendError::Destination(Addr(0x8001)))]
#[case::ttl_of_one(Destination { ttl: 1, ..application(2) }, 5, SendError::Ttl(1))]
#[case::ttl_too_high(Destination { ttl: 0x80, ..application(2) }, 5, SendError::Ttl(0x80))]
fn what_cannot_be_sent_is_refused(#[case] to: Destination, #[case] length: usize, #[case] want: SendError) {
    let mut air = Air::new(&[1], CALM, 1);
    let now = air.now;
    assert_eq!(air.stations[0].stack.send(now, to, &text(length, 0)), Err(want));
    air.run_for(Duration::from_secs(1));
    assert!(air.sent.is_empty());
}

#[rstest]
#[case::long(100, 4)]
#[case::short(5, 8)]
fn places_are_limited_and_free_again_after_sending(#[case] length: usize, #[case] places: usize) {
    let mut air = Air::new(&[1, 2], CALM, 1);
    let now = air.now;
    for _ in 0..places {
        assert!(air.stations[0].stack.has_room(length));
        air.stations[0].stack.send(now, application(2), &text(length, 0)).unwrap();
    }
    assert!(!air.stations[0].stack.has_room(length));
    assert_eq!(air.stations[0].stack.send(now, application(2), &text(length, 0)), Err(SendError::Full));
    air.settle(MINUTE);
    assert!(air.stations[0].stack.has_room(length));
    assert_eq!(air.stations[1].got.len(), places);
}

#[test]
fn nobody_there_is_noticed_and_does_not_hold_up_the_next() {
    let mut air = Air::new(&[1, 2], CALM, 1);
    let now = air.now;
    air.stations[0].stack.send(now, application(9), &text(50, 0)).unwrap();
    air.stations[0].stack.send(now, application(2), &text(50, 1)).unwrap();
    air.settle(MINUTE);
    let events = &air.stations[0].events;
    assert!(events.contains(&Event::Undelivered { to: Addr(9), refused: false }), "{events:?}");
    assert!(events.contains(&Event::Delivered { to: Addr(2) }));
    assert_eq!(texts(&air.stations[1].got), [text(50, 1)]);
}

#[test]
fn messages_that_nobody_fetches_hold_their_places_and_the_rest_is_refused() {
    let mut air = Air::new(&[1, 2], CALM, 1);
    let now = air.now;
    let mut sent = vec![];
    for tag in 0..6 {
        let to = Destination { pacing: Pacing::Data { spacing: Duration::from_millis(10) }, ..application(GROUP.0) };
        air.stations[0].stack.send(now, to, &text(40, tag)).unwrap();
        air.settle(MINUTE);
        sent.append(&mut air.sent);
    }
    let mut deaf = Station::new(now, &settings(2), Memory::default());
    let outcomes: Vec<_> = sent.iter().map(|(_, _, _, pdu)| deaf.stack.on_pdu(now, pdu, -60, &|_| true)).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Message).count(), 4);
    assert!(outcomes.contains(&Outcome::NoRoom));
    deaf.fetch();
    assert_eq!(texts(&deaf.got), [0, 1, 2, 3].map(|tag| text(40, tag)));
}

// --- replay --------------------------------------------------------------------------------------------------------------

/// Everything that was ever on the air is played back: to the running node, and to the node after a restart.
#[rstest]
fn what_was_heard_before_is_refused_also_after_a_restart(#[values(false, true)] restart: bool) {
    let mut air = Air::new(&[1, 2], Weather { loss_permille: 0, jitter: Duration::from_millis(40) }, 5);
    for tag in 0..20 {
        let now = air.now;
        let (to, length) = if tag % 2 == 0 { (2, 5 + usize::from(tag)) } else { (GROUP.0, 30 + usize::from(tag)) };
        air.stations[0].stack.send(now, application(to), &text(length, tag)).unwrap();
        air.settle(MINUTE);
    }
    let now = air.now;
    let mut station = air.stations.remove(1);
    assert_eq!(station.got.len(), 20);
    let heard = core::mem::take(&mut station.heard);
    if restart {
        station.stack.before_reset();
        station.stack.persist(now, &mut station.memory).unwrap();
        station = Station::new(now, &settings(2), station.memory);
    }
    station.got.clear();
    let mut reversed = heard.clone();
    reversed.reverse();
    for pdu in heard.iter().chain(&reversed) {
        station.hear(now, pdu);
    }
    assert_eq!(station.got, []);
}

/// Somebody kept every PDU of a message that this node did not hear, and plays it after a newer message.
#[test]
fn a_message_that_was_missed_is_not_accepted_once_a_newer_one_was() {
    let mut air = Air::new(&[1], CALM, 1);
    for length in [30, 5] {
        let now = air.now;
        air.stations[0].stack.send(now, application(GROUP.0), &text(length, 0)).unwrap();
        air.settle(MINUTE);
    }
    let pdus: Vec<_> = air.sent.iter().map(|(_, _, _, pdu)| pdu.clone()).collect();
    let (kept, newer) = pdus.split_at(pdus.len() - 1);
    let hears = |newer_first: bool| {
        let now = air.now;
        let mut station = Station::new(now, &settings(2), Memory::default());
        let order = if newer_first { [newer, kept] } else { [kept, newer] };
        order.concat().iter().for_each(|pdu| assert_ne!(station.hear(now, pdu), Outcome::NotForUs));
        texts(&station.got)
    };
    assert_eq!(hears(false), [text(30, 0), text(5, 0)]);
    assert_eq!(hears(true), [text(5, 0)]);
}

#[test]
fn a_stranger_is_refused_when_the_replay_list_is_full() {
    let now = Air::new(&[], CALM, 1).now;
    let stamp = Stamp { iv_index: 5, seq: 0 };
    let full = (0x10..0x18).map(|source| Record::Accepted { source: Addr(source), stamp }).collect();
    let mut listener = Station::new(now, &settings(2), Memory(full));
    let mut air = Air::new(&[1, 0x17], CALM, 1);
    for (at, want) in [(0, Outcome::Stranger), (1, Outcome::Message)] {
        // The number 0 was used before.
        let _ = air.stations[at].stack.send(air.now, application(2), &text(5, 0));
        let _ = air.stations[at].stack.send(air.now, application(2), &text(5, 1));
        air.settle(MINUTE);
        let last = air.sent.last().unwrap().3.clone();
        assert_eq!(listener.hear(now, &last), want);
    }
}

// --- relay ---------------------------------------------------------------------------------------------------------------

fn relay_line(relay: bool, ttl: u8, weather: Weather) -> Air {
    let mut middle = settings(2);
    (middle.states.relay, middle.states.relay_retransmit) = (relay, Transmit::new(2, 20));
    let mut ends = [settings(1), settings(3)];
    ends.iter_mut().for_each(|end| end.states.default_ttl = ttl);
    middle.states.default_ttl = ttl;
    let [first, last] = ends;
    let mut air = Air::with(&[first, middle, last], weather, 2);
    air.deaf.push((0, 2));
    air
}

#[rstest]
#[case::relayed(true, 5, 1)]
#[case::relay_off(false, 5, 0)]
#[case::two_are_enough(true, 2, 1)]
#[case::zero_stays_here(true, 0, 0)]
fn a_message_goes_over_one_relay(#[case] relay: bool, #[case] ttl: u8, #[case] want: usize) {
    let mut air = relay_line(relay, ttl, CALM);
    let now = air.now;
    air.stations[0].stack.send(now, application(3), &text(150, 0)).unwrap();
    air.settle(MINUTE);
    assert_eq!(air.stations[2].got.len(), want);
    assert!(air.stations[2].got.iter().all(|got| got.hops == 2 && got.access == text(150, 0)));
    assert!(air.stations[1].got.is_empty());
    let delivered = air.stations[0].events.contains(&Event::Delivered { to: Addr(3) });
    assert_eq!(delivered, want == 1);
}

#[rstest]
#[case::last_hop(1, None)]
#[case::one_more(2, Some(1))]
#[case::the_longest_way(0x7F, Some(0x7E))]
fn a_relay_takes_one_from_the_time_to_live_and_stops_at_one(#[case] ttl: u8, #[case] want: Option<u8>) {
    let mut relay = settings(2);
    relay.states.relay = true;
    let now = Air::new(&[], CALM, 1).now;
    let mut station = Station::new(now, &relay, Memory::default());
    let key = NetworkKey::new(&N1);
    let header = Header { control: false, ttl, seq: 7, src: Addr(1), dst: Addr(9) };
    let pdu = network::seal(&key, 5, &header, &[0; 6]).unwrap();
    assert_eq!(station.hear(now, &pdu), Outcome::NotForUs);
    let relayed = station.stack.poll_pdu(now).map(|bearer| network::open(&key, 5, &bearer.octets).unwrap().header);
    assert_eq!(relayed, want.map(|ttl| Header { ttl, ..header }));
}

#[test]
fn a_relay_forwards_each_pdu_once_and_hears_groups_itself() {
    let mut air = relay_line(true, 5, CALM);
    let now = air.now;
    let to = Destination { pacing: Pacing::Data { spacing: Duration::from_millis(10) }, ..application(GROUP.0) };
    air.stations[0].stack.send(now, to, &text(150, 0)).unwrap();
    air.settle(MINUTE);
    assert_eq!((air.stations[1].got.len(), air.stations[2].got.len()), (1, 1));
    assert_eq!((air.stations[1].got[0].hops, air.stations[2].got[0].hops), (1, 2));
    let by = |station| air.sent.iter().filter(|(_, by, ..)| *by == station).count();
    assert_eq!((by(0), by(1), by(2)), (13, 2 * 13, 0));
}

// --- configuration, heartbeat -------------------------------------------------------------------------------------------

#[test]
fn the_lower_layers_are_configured_under_the_device_key_only_and_remember_it() {
    let mut air = Air::new(&[1, 2], CALM, 1);
    for key in [KeyUse::Application, KeyUse::Device] {
        let now = air.now;
        air.stations[0].stack.send(now, Destination { key, ..application(2) }, &[0x80, 0x0D, 9]).unwrap();
        air.settle(MINUTE);
    }
    assert_eq!(air.stations[1].stack.states().default_ttl, 9);
    // Under the application key it is a message as any other.
    assert_eq!(texts(&air.stations[1].got), [vec![0x80, 0x0D, 9]]);
    assert_eq!(texts(&air.stations[0].got), [vec![0x80, 0x0E, 9]]);
    assert_eq!(air.stations[1].events, [Event::Configured]);
    let memory = air.stations[1].memory.clone();
    let again = Station::new(air.now, &settings(2), memory);
    assert_eq!(again.stack.states(), &States { default_ttl: 9, ..States::DEFAULT });
}

#[test]
fn a_heartbeat_tells_the_hops_from_its_own_time_to_live() {
    let mut air = relay_line(true, 5, CALM);
    assert!(air.stations[0].stack.send_heartbeat(Addr(3), 0x40, 1));
    air.settle(MINUTE);
    assert_eq!(air.stations[2].events, [Event::Heartbeat { from: Addr(1), hops: 2, features: 1 }]);
}

// --- IV index ------------------------------------------------------------------------------------------------------------

fn with_progress(address: u16, progress: Progress, air: &Air) -> Station {
    let settings = MeshSettings { beacons: true, ..settings(address) };
    Station::new(air.now, &settings, Memory(vec![Record::Progress(progress)]))
}

/// A whole update: begun by a node that runs out of numbers, followed by the others, ended after four days.
#[test]
fn an_iv_update_goes_through_without_a_message_lost() {
    let mut air = Air::new(&[1, 2], CALM, 1);
    let plenty = Progress { iv_index: 5, updating: false, hours: 96, reserved: 0 };
    air.stations[0] = with_progress(1, Progress { reserved: 0xC0_0000, ..plenty }, &air);
    air.stations[1] = with_progress(2, plenty, &air);
    let hour = Duration::from_hours(1);
    let talk = |air: &mut Air, tag: u8| {
        for (from, to) in [(0, 2), (1, 1)] {
            let now = air.now;
            air.stations[from].stack.send(now, application(to), &text(60, tag)).unwrap();
        }
        air.run_for(MINUTE);
        assert!(air.stations.iter().all(|station| station.got.last().is_some_and(|got| got.access == text(60, tag))));
    };
    talk(&mut air, 0);
    let state = |air: &Air| {
        [0, 1].map(|at: usize| (air.stations[at].stack.iv().index(), air.stations[at].stack.iv().updating()))
    };
    assert_eq!(state(&air), [(6, true); 2]);
    assert!(air.stations[0].stack.sequence().next() > 0xC0_0000, "still under the old index");
    air.run_for(hour * 95);
    assert_eq!(state(&air), [(6, true); 2]);
    talk(&mut air, 1);
    air.run_for(hour * 2);
    assert_eq!(state(&air), [(6, false); 2]);
    talk(&mut air, 2);
    assert!(air.stations[0].stack.sequence().next() < 0x1000, "numbers begin anew");
    let memory = air.stations[0].memory.clone();
    let again = Station::new(air.now, &settings(1), memory);
    assert_eq!(again.stack.iv().index(), 6);
}

#[rstest]
#[case::one_behind(6, true)]
#[case::long_away(47, true)]
#[case::too_long_away(48, false)]
#[case::from_the_past(4, false)]
fn a_node_that_was_away_finds_the_iv_index_in_a_beacon(#[case] network: u32, #[case] found: bool) {
    let mut air = Air::new(&[1, 2], CALM, 1);
    let progress = |iv_index| Progress { iv_index, updating: false, hours: 96, reserved: 100 };
    air.stations[0] = with_progress(1, progress(network), &air);
    air.stations[1] = with_progress(2, progress(5), &air);
    air.deaf.push((1, 1));
    air.run_for(Duration::from_secs(15));
    let want = if found { network } else { 5.max(if network < 5 { 5 } else { 0 }) };
    assert_eq!(air.stations[1].stack.iv().index(), want);
    if found {
        assert_eq!(air.stations[1].stack.sequence().next(), 0);
    }
}

#[test]
fn beacons_are_sent_every_ten_seconds_and_less_where_others_do() {
    let on = |address| MeshSettings { beacons: true, ..settings(address) };
    let count = |stations: &[MeshSettings]| {
        let mut air = Air::with(stations, CALM, 1);
        air.run_for(Duration::from_secs(601));
        assert!(air.sent.iter().all(|(_, _, kind, octets)| *kind == BearerKind::Beacon && octets.len() == 22));
        air.sent.len()
    };
    assert_eq!(count(&[on(1)]), 60);
    assert!(count(&[on(1), on(2), on(3)]) < 110);
}

// --- size ----------------------------------------------------------------------------------------------------------------

/// The budget of a node with 24 KiB of RAM for everything.
#[test]
fn the_stack_of_a_node_is_small() {
    let size = size_of::<NodeStack>();
    assert!(size <= 12 * 1024, "{size}");
    assert!(size_of::<TestStack>() <= 12 * 1024);
}
