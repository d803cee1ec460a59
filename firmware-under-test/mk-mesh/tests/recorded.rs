//! The recorded exchange of section 13 with this stack in both roles: in the place of either side it puts on the air, octet
//! for octet, what the unmodified Zephyr peer did.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use common::{Memory, RECORDED, hex};
use mk_mesh::lower::Lower;
use mk_mesh::{
    BearerKind, Destination, DeviceKey, MeshSettings, NetworkKey, NodeStack, Outcome, OwnDeviceKey, Progress, Record,
    SarReceiver, SarTransmitter, States, Transmit, network,
};
use mk_wire::Addr;
use mk_wire::time::{Duration, Instant};

const DISTRIBUTOR: u16 = 0x0001;
const TARGET: u16 = 0x0101;

/// The states of that peer (section 12.4, Zephyr's defaults), each PDU once.
fn states(ttl: u8) -> States {
    States {
        default_ttl: ttl,
        relay: false,
        network_transmit: Transmit::new(1, 20),
        relay_retransmit: Transmit::new(1, 20),
        sar_transmitter: SarTransmitter { interval_step: 5, unicast_retransmissions: 2, ..SarTransmitter::DEFAULT },
        sar_receiver: SarReceiver { interval_step: 5, ..SarReceiver::DEFAULT },
    }
}

/// A stack whose next sequence number is the recorded one.
fn stack(address: u16, ttl: u8, seq: u32, long_mic: bool, memory: &mut Memory) -> NodeStack {
    let progress = Progress { iv_index: 0, updating: false, hours: 96, reserved: seq };
    memory.0.push(Record::Progress(progress));
    let settings = MeshSettings {
        states: states(ttl),
        long_mic,
        beacons: false,
        ..MeshSettings::new(Addr(address), RECORDED.net_key, RECORDED.app_key, 0)
    };
    let devices = OwnDeviceKey(DeviceKey::new(&RECORDED.device_key));
    let mut stack = NodeStack::start(Instant::from_ticks(0), &settings, devices, memory).unwrap();
    stack.persist(Instant::from_ticks(0), memory).unwrap();
    stack
}

fn headers() -> Vec<network::Header> {
    let key = NetworkKey::new(&RECORDED.net_key);
    RECORDED.pdus.iter().map(|pdu| network::open(&key, 0, &hex(pdu)).unwrap().header).collect()
}

/// Everything that is sent until `until`, with its times in milliseconds.
fn sent(stack: &mut NodeStack, memory: &mut Memory, now: &mut Instant, until: Instant) -> Vec<(u64, Vec<u8>)> {
    let mut out = vec![];
    loop {
        stack.persist(*now, memory).unwrap();
        while let Some(bearer) = stack.poll_pdu(*now) {
            assert_eq!(bearer.kind, BearerKind::Message);
            out.push((now.duration_since_epoch().as_millis(), bearer.octets.to_vec()));
        }
        match stack.next_wakeup(*now).filter(|wake| *wake <= until) {
            Some(wake) => *now = wake.max(*now),
            None => {
                *now = until;
                return out;
            }
        }
    }
}

#[test]
fn in_the_place_of_the_distributor() {
    let headers = headers();
    let mut memory = Memory::default();
    let mut stack = stack(DISTRIBUTOR, headers[0].ttl, headers[0].seq, true, &mut memory);
    let mut now = Instant::from_ticks(0);
    let start = [hex("830d"), hex(RECORDED.update_start)].concat();
    stack.send(now, Destination::application(Addr(TARGET)), &start).unwrap();
    let sent_first = sent(&mut stack, &mut memory, &mut now, Instant::from_ticks(125_000));
    assert_eq!(sent_first.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 60, 120], "Zephyr's segment interval");
    let pdus: Vec<_> = sent_first.into_iter().map(|(_, pdu)| pdu).collect();
    assert_eq!(pdus, [0, 1, 2].map(|n| hex(RECORDED.pdus[n])));
    // The recorded acknowledgement ends it: nothing is sent again.
    assert_eq!(stack.on_pdu(now, &hex(RECORDED.pdus[3]), -50, &|_| false), Outcome::Control);
    assert!(stack.is_idle());
    assert_eq!(stack.on_pdu(now, &hex(RECORDED.pdus[4]), -50, &|_| false), Outcome::Segment);
    assert_eq!(stack.on_pdu(now, &hex(RECORDED.pdus[5]), -50, &|_| false), Outcome::Message);
    let status = stack.poll_message().unwrap();
    assert_eq!((status.from, status.access), (Addr(TARGET), &[hex("8310"), hex(RECORDED.update_status)].concat()[..]));
}

#[test]
fn in_the_place_of_the_target() {
    let headers = headers();
    let (ack, answer) = (headers[3], headers[4]);
    let mut memory = Memory::default();
    let mut target = stack(TARGET, ack.ttl, ack.seq, true, &mut memory);
    let mut now = Instant::from_ticks(0);
    let outcomes = [0, 1, 2].map(|n| {
        now = Instant::from_ticks(n as u64 * 60_000);
        target.on_pdu(now, &hex(RECORDED.pdus[n]), -50, &|_| false)
    });
    assert_eq!(outcomes, [Outcome::Segment, Outcome::Segment, Outcome::Message]);
    let start = target.poll_message().unwrap();
    assert_eq!((start.from, start.to), (Addr(DISTRIBUTOR), Addr(TARGET)));
    assert_eq!(start.access, [hex("830d"), hex(RECORDED.update_start)].concat());
    // Complete is acknowledged at once, under the number that the peer used.
    let acks = sent(&mut target, &mut memory, &mut now, Instant::from_ticks(125_000));
    assert_eq!(acks, [(120, hex(RECORDED.pdus[3]))]);

    let mut memory = Memory::default();
    // The peer's answers carry the short MIC.
    let mut target = stack(TARGET, answer.ttl, answer.seq, false, &mut memory);
    let mut now = Instant::from_ticks(125_000);
    let status = [hex("8310"), hex(RECORDED.update_status)].concat();
    let to = Destination { ttl: answer.ttl, ..Destination::application(Addr(DISTRIBUTOR)) };
    target.send(now, to, &status).unwrap();
    let until = now + Duration::from_millis(100);
    let answers = sent(&mut target, &mut memory, &mut now, until);
    assert_eq!(answers.iter().map(|(_, pdu)| pdu.clone()).collect::<Vec<_>>(), [4, 5].map(|n| hex(RECORDED.pdus[n])));
    // The record has Update Start at 0.349 s and Update Status at 0.516 s: here, too, the answer is under way by then.
    assert!(answers[0].0 <= 516 - 349, "{} ms", answers[0].0);
}

/// What the peer's headers say, so that a change of the record is noticed here and not in the octets.
#[test]
fn the_record_is_the_one_that_is_meant() {
    let headers = headers();
    let line = |n: usize| (headers[n].control, headers[n].src, headers[n].dst);
    for n in 0..3 {
        assert_eq!(line(n), (false, Addr(DISTRIBUTOR), Addr(TARGET)));
        assert_eq!(headers[n].seq, headers[0].seq + n as u32);
    }
    assert_eq!(line(3), (true, Addr(TARGET), Addr(DISTRIBUTOR)));
    assert_eq!(headers[5].seq, headers[4].seq + 1);
    let key = NetworkKey::new(&RECORDED.net_key);
    let first = network::open(&key, 0, &hex(RECORDED.pdus[0])).unwrap();
    let Ok(Lower::Segment { header, .. }) = Lower::parse(false, &first.transport) else { panic!("not a segment") };
    assert_eq!((header.long_mic, header.last), (true, 2));
}
