//! Any octets in: a typed result, never a panic, and the stack works on.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use common::air::{Station, settings};
use common::{Memory, N1};
use mk_mesh::lower::Lower;
use mk_mesh::{Assembly, Beacon, Destination, Header, NetworkKey, Outcome, network};
use mk_wire::Addr;
use mk_wire::time::{Duration, Instant};
use proptest::prelude::*;

fn address() -> impl Strategy<Value = u16> {
    prop_oneof![Just(1_u16), Just(2), Just(0xC000), Just(0xFFFF), any::<u16>()]
}

/// What an insider with the network key, or a broken peer, can put on the air.
fn insider() -> impl Strategy<Value = (Header, Vec<u8>, u32)> {
    let header = (any::<bool>(), 0_u8..=0x7F, prop_oneof![0_u32..40, 0_u32..=0xFF_FFFF], address(), address());
    let header = header.prop_map(|(control, ttl, seq, src, dst)| Header {
        control,
        ttl,
        seq,
        src: Addr(src & 0x7FFF | 1),
        dst: Addr(dst.max(1)),
    });
    // Mostly segments of few messages, so that sessions are really hit.
    let segment =
        (0_u32..4, 0_u32..4, 0_u32..4, any::<bool>(), 0_usize..13).prop_map(|(zero, segment, last, long, len)| {
            let word = u32::from(long) << 23 | zero << 10 | segment << 5 | last;
            [&[0x80 | 0x40 | 0x26], &word.to_be_bytes()[1..], &vec![0x5A; len][..]].concat()
        });
    let ack = (0_u16..4, any::<u32>())
        .prop_map(|(zero, block)| [&[0], &(zero << 2).to_be_bytes()[..], &block.to_be_bytes()[..]].concat());
    let transport = prop_oneof![segment, ack, prop::collection::vec(any::<u8>(), 1..17)];
    (header, transport, 4_u32..=5)
}

/// The stack still takes, sends and acknowledges a message.
fn works(station: &mut Station, now: Instant) {
    station.fetch();
    let other = Station::new(now, &settings(0x77), Memory::default());
    let mut air = common::air::Air::new(&[], common::air::CALM, 1);
    air.now = now;
    air.stations.push(other);
    air.stations[0].stack.send(now, Destination::application(Addr(2)), &[0xC1; 40]).unwrap();
    air.run_for(Duration::from_secs(60));
    let mut outcomes = vec![];
    for (at, _, _, pdu) in &air.sent {
        outcomes.push(station.hear(*at + Duration::from_secs(60), pdu));
    }
    assert!(outcomes.contains(&Outcome::Message) || outcomes.contains(&Outcome::Stranger), "{outcomes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn octets_of_anybody(octets in prop::collection::vec(any::<u8>(), 0..40), first in prop_oneof![Just(0x68_u8), Just(0xE8), any::<u8>()]) {
        let now = Instant::from_ticks(1_000_000);
        let mut station = Station::new(now, &settings(2), Memory::default());
        let mut octets = octets;
        if let Some(place) = octets.first_mut() {
            *place = first;
        }
        let outcome = station.hear(now, &octets);
        prop_assert!(matches!(outcome, Outcome::Network(_)));
        prop_assert!(station.stack.on_beacon(now, &octets).is_err());
        let key = NetworkKey::new(&N1);
        prop_assert!(Beacon::open(&key, &octets).is_err());
        for control in [false, true] {
            if let Ok(parsed) = Lower::parse(control, &octets) && octets.len() <= 16 {
                let written = parsed.write().unwrap();
                prop_assert_eq!(parsed.is_control(), control);
                prop_assert_eq!(Lower::parse(control, &written), Ok(parsed));
            }
        }
    }

    #[test]
    fn pdus_of_an_insider(pdus in prop::collection::vec((insider(), 0_u64..3_000), 1..60)) {
        let key = NetworkKey::new(&N1);
        let mut now = Instant::from_ticks(1_000_000);
        let mut relay = settings(2);
        relay.states.relay = true;
        let mut station = Station::new(now, &relay, Memory::default());
        station.stack.persist(now, &mut station.memory).unwrap();
        for ((header, transport, iv_index), pause) in pdus {
            now += Duration::from_millis(pause);
            let transport = &transport[..transport.len().min(if header.control { 12 } else { 16 })];
            let pdu = network::seal(&key, iv_index, &header, transport).unwrap();
            let opened = network::open(&key, 5, &pdu).unwrap();
            prop_assert_eq!(&opened.transport[..], transport);
            let _ = Assembly::begin(&opened);
            let _ = station.hear(now, &pdu);
            // Nobody without the application key gets a message through.
            prop_assert!(station.got.is_empty());
            for _ in 0..200 {
                station.stack.persist(now, &mut station.memory).unwrap();
                if station.stack.poll_pdu(now).is_none() {
                    break;
                }
            }
            let next = station.stack.next_wakeup(now);
            prop_assert!(next.is_none_or(|next| next > now), "awake for nothing at {now}: {next:?}");
        }
        works(&mut station, now + Duration::from_secs(60));
    }
}
