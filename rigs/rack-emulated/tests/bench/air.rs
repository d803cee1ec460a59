//! The radio medium: rings in the nodes' RAM, loss, hooks, and the co-processor of the gateway.

use crate::{
    Rule, programs,
    rig::{PATIENCE, Rig, wait},
};
use hil_model::Power;
use mk_wire::radio_link::{AD_MESH_MESSAGE, Decoder, Frame, Pdu, VERSION, WINDOW};
use rack_emulated::{AirSettings, BenchEventKind, MediumHook, MediumPeer};
use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    time::{Duration, Instant},
};

pub const RULES: &[Rule] = &[
    ("a_frame_of_the_gateway_reaches_every_node_and_comes_back", to_all_and_back),
    ("a_hook_decides_for_each_receiver", hook),
    ("a_link_that_loses_everything_carries_nothing", loss),
    ("a_mailbox_that_is_not_as_agreed_is_refused", refused),
    ("a_full_ring_drops_and_counts", overrun),
    ("every_one_of_many_frames_is_accounted_for", rate),
];

/// A gateway on the co-processor's tty.
struct Gateway {
    file: File,
    decoder: Decoder,
}

impl Gateway {
    fn open(rig: &Rig) -> Self {
        let path = rig.bench.radio_tty();
        let file = File::options().read(true).write(true).custom_flags(0o4000).open(path).unwrap();
        Self { file, decoder: Decoder::new() }
    }

    fn say(&mut self, frame: &Frame) {
        self.file.write_all(&frame.encode()).unwrap();
    }

    fn send(&mut self, id: u16, pdu: &[u8]) {
        self.say(&Frame::Transmit { id, ad_type: AD_MESH_MESSAGE, pdu: Pdu::from_slice(pdu).unwrap() });
    }

    /// Frames until there are so many, or none for so long.
    fn hear(&mut self, count: usize, quiet: Duration) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut last = Instant::now();
        let mut chunk = [0; 1024];
        while frames.len() < count && last.elapsed() < quiet {
            match self.file.read(&mut chunk) {
                Ok(n) => {
                    for octet in &chunk[..n] {
                        frames.extend(self.decoder.push(*octet).and_then(Result::ok));
                    }
                    last = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("radio: {error}"),
            }
        }
        frames
    }
}

fn nodes_on_the_air(nodes: usize) -> Rig {
    let rig = Rig::running(programs::RADIO, nodes);
    let mut up = 0;
    rig.event("radios", |kind| {
        up += usize::from(matches!(kind, BenchEventKind::RadioUp { mailbox: 0x2000_0000 }));
        (up == nodes).then_some(())
    });
    rig
}

fn received(pdu: &[u8]) -> Frame {
    Frame::Received { ad_type: AD_MESH_MESSAGE, rssi_dbm: -60, pdu: Pdu::from_slice(pdu).unwrap() }
}

fn to_all_and_back() {
    let rig = nodes_on_the_air(2);
    let mut gateway = Gateway::open(&rig);
    gateway.say(&Frame::Query);
    assert_eq!(gateway.hear(1, PATIENCE), [Frame::Hello { version: VERSION, window: WINDOW }]);
    // A frame that nobody echoes.
    gateway.send(7, &[1, 2, 3]);
    assert_eq!(gateway.hear(1, PATIENCE), [Frame::Sent { id: 7 }]);
    wait("both", || (0..2).all(|node| rig.bench.status(node).unwrap().radio_received == 1));
    // What starts with 0x55 is echoed; the nodes do not hear each other, or it would never end.
    let pdu: Vec<u8> = (0..29).map(|n| 0x55 + n).collect();
    rig.bench.set_air(AirSettings {
        link_loss_permille: [(0, 1), (1, 0)]
            .into_iter()
            .map(|(a, b)| ((MediumPeer::Node(a), MediumPeer::Node(b)), 1000))
            .collect(),
        ..AirSettings::default()
    });
    gateway.send(8, &pdu);
    let heard = gateway.hear(3, PATIENCE);
    assert!(heard.contains(&Frame::Sent { id: 8 }));
    assert_eq!(heard.iter().filter(|frame| **frame == received(&pdu)).count(), 2, "{heard:?}");
    let air = rig.bench.air();
    assert_eq!((air.sent, air.lost), (4, 2));
}

/// Drops everything to node 0, alters what goes to node 1, and lets the radio hear it late.
struct Meddler;

impl MediumHook for Meddler {
    fn carry(&mut self, _: Duration, _: MediumPeer, to: MediumPeer, _: u8, pdu: &[u8]) -> Vec<(Duration, Vec<u8>)> {
        match to {
            MediumPeer::Node(0) => Vec::new(),
            MediumPeer::Node(_) => vec![(Duration::ZERO, vec![0x55, pdu[0]])],
            MediumPeer::Radio => vec![(Duration::from_millis(50), pdu.to_vec()), (Duration::ZERO, vec![9])],
        }
    }
}

fn hook() {
    let rig = nodes_on_the_air(2);
    rig.bench.set_hook(Some(Box::new(Meddler)));
    let mut gateway = Gateway::open(&rig);
    gateway.send(1, &[7]);
    let start = Instant::now();
    // Node 1 hears 55 07 and sends it back, which arrives at the gateway as 9 and, later, as itself.
    assert_eq!(gateway.hear(3, PATIENCE), [Frame::Sent { id: 1 }, received(&[9]), received(&[0x55, 7])]);
    assert!(start.elapsed() >= Duration::from_millis(50));
    let status = |node| rig.bench.status(node).unwrap();
    assert_eq!((status(0).radio_received, status(1).radio_received), (0, 1));
}

fn loss() {
    let rig = nodes_on_the_air(2);
    let link = (MediumPeer::Radio, MediumPeer::Node(1));
    rig.bench.set_air(AirSettings { link_loss_permille: [(link, 1000)].into(), ..AirSettings::default() });
    let mut gateway = Gateway::open(&rig);
    for id in 0..20 {
        gateway.send(id, &[1]);
        assert_eq!(gateway.hear(1, PATIENCE), [Frame::Sent { id }]);
    }
    wait("node 0", || rig.bench.status(0).unwrap().radio_received == 20);
    assert_eq!(rig.bench.status(1).unwrap().radio_received, 0);
    assert_eq!(rig.bench.air().lost, 20);
    rig.bench.power(0, Power::Off).unwrap();
    rig.bench.inject(MediumPeer::Node(0), AD_MESH_MESSAGE, &[1]);
    wait("a frame for nobody", || rig.bench.status(0).unwrap().radio_deaf == 1);
}

fn refused() {
    let mut program = programs::RADIO.to_vec();
    for word in &mut program {
        if *word == 0x4D4B_5241 {
            *word += 1;
        }
    }
    let rig = Rig::running(&program, 1);
    let reason = rig.event("refusal", |kind| match kind {
        BenchEventKind::RadioRefused { reason } => Some(reason),
        _ => None,
    });
    assert_eq!(reason, "the mailbox has no magic number");
    rig.bench.inject(MediumPeer::Node(0), AD_MESH_MESSAGE, &[1]);
    wait("a frame for nobody", || rig.bench.status(0).unwrap().radio_deaf == 1);
}

fn overrun() {
    // The ring is filled faster than interrupts come; what fits and what does not adds up.
    let rig = nodes_on_the_air(1);
    for _ in 0..600 {
        rig.bench.inject(MediumPeer::Node(0), AD_MESH_MESSAGE, &[1; 29]);
    }
    wait("all accounted for", || {
        let (status, air) = (rig.bench.status(0).unwrap(), rig.bench.air());
        status.radio_received + status.radio_overrun + air.overrun == 600
    });
}

fn rate() {
    const NODES: usize = 4;
    const ROUNDS: u64 = 1500;
    let rig = nodes_on_the_air(NODES);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        for node in 0..NODES {
            rig.bench.inject(MediumPeer::Node(node), AD_MESH_MESSAGE, &[1; 29]);
        }
        // As many on the air as a campaign has.
        std::thread::sleep(Duration::from_micros(200));
    }
    let done = |node| {
        let status = rig.bench.status(node).unwrap();
        status.radio_received + status.radio_overrun
    };
    wait("all deliveries", || (0..NODES).map(done).sum::<u64>() + rig.bench.air().overrun == ROUNDS * NODES as u64);
    let received: u64 = (0..NODES).map(|node| rig.bench.status(node).unwrap().radio_received).sum();
    let rate = received as f64 / start.elapsed().as_secs_f64();
    println!("{received} of {} deliveries, {rate:.0} a second", ROUNDS * NODES as u64);
}
