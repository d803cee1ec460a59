//! The link-level air (radio model, section 12, level 1): every node loses each segment of its gateway independently.
//!
//! Losses are drawn by geometric skipping over the segments of a train, so that the cost follows the losses and not the
//! deliveries, while the outcome stays exact per segment. Messages, bitmaps, status rounds and retransmissions are real:
//! they are the firmware's. Relays, collisions and live traffic on the same channel are in the loss figure only.

use crate::air_level::{Air, Building, Handed, Landing, Load, Missed, Way};
use crate::place::LinkBudget;
use crate::random::{Purpose, Stream};
use hil_model::{Seed, Span, Time};

/// Effective loss of a segment by throttle: permille of the channel, probability in 32-bit fixed point.
const LOSS: [(u16, f64); 5] = [(200, 2e-7), (400, 2e-7), (600, 5e-7), (800, 7.5e-6), (1000, 7.5e-5)];

/// One in 32-bit fixed point.
const TWO_TO_32: f64 = 4_294_967_296.0;

/// Mean time a relay or sender needs for one PDU (radio model, section 3).
pub const HOP: Span = Span::micros(9_200);
/// One acknowledgement wait of a unicast segmented message (section 5).
const SEGMENT_ACK: Span = Span::millis(180);
/// Time of an unsegmented control message over the relays to the last receiver of a group.
const GROUP_LATENCY: Span = Span::millis(30);
/// Times that the network layer sends a control message of a gateway.
const REPEATS: u8 = 3;

/// The air of the building at link level: one [`LinkAir`] per gateway, as if their channels had nothing to do with each
/// other.
#[derive(Debug)]
pub struct LinkLevel {
    gateways: Vec<LinkAir>,
    budgets: Vec<LinkBudget>,
    segment_interval: Span,
}

impl LinkLevel {
    /// The air of a building.
    #[must_use]
    pub fn new(building: Building) -> Self {
        let Building { seed, gateways, budgets, segment_interval } = building;
        let air = |(id, throttle): (hil_model::GatewayId, u16)| {
            LinkAir::new(seed, id.0, budgets.len(), load_permille(throttle, segment_interval))
        };
        Self { gateways: gateways.into_iter().map(air).collect(), budgets, segment_interval }
    }

    /// The air of a building that loses each segment with this probability.
    #[cfg(test)]
    pub fn with_loss(building: Building, probability: f64) -> Self {
        let mut level = Self::new(building);
        for air in &mut level.gateways {
            air.threshold = (probability * TWO_TO_32).round() as u32;
            air.tracks = (0..air.tracks.len()).map(|node| air.track(node, 0)).collect();
            air.up = (0..air.up.len()).map(|node| air.track(node, 1 << 40)).collect();
        }
        level
    }

    fn latency(&self, load: Load, budget: LinkBudget) -> Span {
        match load {
            Load::Train { pdus, spacing } => spacing.times(u64::from(pdus)),
            Load::Access { pdus, group } => {
                let relays = if group { GROUP_LATENCY } else { Span::ZERO };
                unicast_latency(budget, pdus, self.segment_interval) + relays
            }
            Load::Datagram { octets } => datagram_latency(octets, budget.hops),
        }
    }

    fn down(&mut self, gateway: usize, load: Load, to: &[u16]) -> (Span, Missed) {
        let air = &mut self.gateways[gateway];
        let pdus = load.pdus();
        let lost: Vec<u16> = if let Load::Train { .. } = load {
            let first = air.send(pdus);
            to.iter().copied().filter(|&node| !air.heard(usize::from(node), first, pdus)).collect()
        } else {
            to.iter().copied().filter(|&node| !air.unicast_heard(usize::from(node), pdus, REPEATS)).collect()
        };
        let budget = match *to {
            [only] => self.budgets[usize::from(only)],
            _ => LinkBudget { hops: 3, rssi_dbm: 0 },
        };
        let missed = match lost.len() {
            0 => Missed::Nobody,
            n if n == to.len() => Missed::Everybody,
            _ => Missed::Some(lost),
        };
        (self.latency(load, budget), missed)
    }

    fn up(&mut self, gateway: usize, load: Load, from: u16) -> (Span, Missed) {
        let node = usize::from(from);
        let heard = self.gateways[gateway].unicast_heard(node, load.pdus(), 1);
        (self.latency(load, self.budgets[node]), if heard { Missed::Nobody } else { Missed::Everybody })
    }
}

impl Air for LinkLevel {
    fn set_throttle(&mut self, gateway: usize, permille: u16) {
        self.gateways[gateway].set_throttle(load_permille(permille, self.segment_interval));
    }

    fn begin_train(&mut self, gateway: usize, nodes: &[u16]) {
        self.gateways[gateway].begin_train(nodes);
    }

    fn carry(&mut self, now: Time, message: &Handed<'_>, landings: &mut Vec<Landing>) {
        let (after, missed) = match message.way {
            Way::Down(to) => self.down(message.gateway, message.load, to),
            Way::Up(from) => self.up(message.gateway, message.load, from),
        };
        landings.push(Landing { flight: message.flight, at: now + after, missed });
    }
}

/// Loss of a segment at a throttle, log-linear between the figures of the model, as 32-bit fixed point.
#[must_use]
pub fn loss_threshold(throttle_permille: u16) -> u32 {
    let t = throttle_permille.clamp(LOSS[0].0, LOSS[LOSS.len() - 1].0);
    let (low, high) = LOSS
        .windows(2)
        .map(|pair| (pair[0], pair[1]))
        .find(|(_, high)| t <= high.0)
        .unwrap_or((LOSS[LOSS.len() - 2], LOSS[LOSS.len() - 1]));
    let share = f64::from(t - low.0) / f64::from(high.0 - low.0);
    let p = (low.1.ln() + share * (high.1.ln() - low.1.ln())).exp();
    (p * TWO_TO_32).round() as u32
}

/// The throttle whose load a gateway comes to: segments further apart than the least of the standard leave more of the air
/// free than the throttle demands (radio model, section 7 and preset `zephyr`).
fn load_permille(throttle_permille: u16, segment_interval: Span) -> u16 {
    /// The interval for which the table of losses was made.
    const INTERVAL_US: u64 = 10_000;
    let bound = 1_000 * INTERVAL_US / segment_interval.as_micros().max(1);
    throttle_permille.min(u16::try_from(bound).unwrap_or(u16::MAX))
}

/// A train of segments to one node, with the place of its next loss.
#[derive(Debug, Clone)]
struct Track {
    stream: Stream,
    next_loss: u64,
}

/// The air between one gateway and its nodes.
#[derive(Debug)]
pub struct LinkAir {
    seed: Seed,
    gateway: u64,
    threshold: u32,
    train: u64,
    /// Segments of the present train sent so far.
    sent: u64,
    /// By node, in the order of the fleet.
    tracks: Vec<Track>,
    up: Vec<Track>,
    up_sent: Vec<u64>,
}

impl LinkAir {
    /// The air of gateway number `gateway` in a fleet of `nodes`.
    #[must_use]
    pub fn new(seed: Seed, gateway: u16, nodes: usize, throttle_permille: u16) -> Self {
        let gateway = u64::from(gateway);
        let mut air = Self {
            seed,
            gateway,
            threshold: loss_threshold(throttle_permille),
            train: 0,
            sent: 0,
            tracks: Vec::new(),
            up: Vec::new(),
            up_sent: vec![0; nodes],
        };
        air.tracks = (0..nodes).map(|node| air.track(node, 0)).collect();
        air.up = (0..nodes).map(|node| air.track(node, 1 << 40)).collect();
        air
    }

    fn track(&self, node: usize, train: u64) -> Track {
        let entity = (self.gateway << 56) ^ (train << 16) ^ node as u64;
        let mut stream = Stream::new(self.seed, Purpose::Loss, entity);
        let next_loss = stream.skip(self.threshold);
        Track { stream, next_loss }
    }

    /// Changes the loss figure with the throttle; takes effect with the next train.
    pub fn set_throttle(&mut self, permille: u16) {
        self.threshold = loss_threshold(permille);
    }

    /// Begins a train of segments: a round of a block. Streams are keyed by train and node, so that the losses of one
    /// round do not depend on the length of the one before. Only `nodes` can be asked about afterwards.
    pub fn begin_train(&mut self, nodes: &[u16]) {
        self.train += 1;
        self.sent = 0;
        for node in nodes.iter().copied().map(usize::from) {
            self.tracks[node] = self.track(node, self.train);
        }
    }

    /// Sends `segments` of the present train to all; returns the first segment's place for [`Self::heard`].
    pub fn send(&mut self, segments: u16) -> u64 {
        let first = self.sent;
        self.sent += u64::from(segments);
        first
    }

    /// Whether `node` heard all of the `segments` that began at `first`. To be asked once per node, in order of `first`.
    #[inline]
    pub fn heard(&mut self, node: usize, first: u64, segments: u16) -> bool {
        let end = first + u64::from(segments);
        if self.tracks[node].next_loss >= end {
            return true;
        }
        Self::lose(&mut self.tracks[node], self.threshold, end);
        false
    }

    #[cold]
    fn lose(track: &mut Track, threshold: u32, end: u64) {
        while track.next_loss < end {
            track.next_loss = track.next_loss.saturating_add(1).saturating_add(track.stream.skip(threshold));
        }
    }

    /// Whether a message of `segments` from or to a single node got through: control and upstream messages, which are
    /// sent `repeats` times by the network layer.
    pub fn unicast_heard(&mut self, node: usize, segments: u16, repeats: u8) -> bool {
        (0..repeats.max(1)).any(|_| {
            let first = self.up_sent[node];
            let end = first + u64::from(segments);
            self.up_sent[node] = end;
            if self.up[node].next_loss >= end {
                return true;
            }
            Self::lose(&mut self.up[node], self.threshold, end);
            false
        })
    }
}

/// Time from the hand-over of a unicast message of `pdus` to its reception over `budget`.
#[must_use]
pub fn unicast_latency(budget: LinkBudget, pdus: u16, segment_interval: Span) -> Span {
    let ack = if pdus > 1 { SEGMENT_ACK } else { Span::ZERO };
    HOP.times(u64::from(budget.hops)) + segment_interval.times(u64::from(pdus.saturating_sub(1))) + ack
}

/// Octets of a fragment's payload, and of MAC, 6LoWPAN and PHY headers around it (radio model, section 10).
const FRAGMENT: usize = 96;
const HEADERS: usize = 37;
/// Compressed IPv6 and UDP headers.
const NETWORK: usize = 10;
/// An octet of 802.15.4 on the air, and the acknowledgement of a frame.
const OCTET_US: u64 = 32;
const ACK_US: u64 = 352;

fn frames(octets: usize) -> usize {
    (octets + NETWORK).div_ceil(FRAGMENT).max(1)
}

/// Air that one CoAP datagram of `octets` occupies on its first hop: its frames and their acknowledgements.
#[must_use]
pub fn datagram_air(octets: usize) -> Span {
    let frames = frames(octets);
    Span::micros(OCTET_US * (octets + NETWORK + HEADERS * frames) as u64 + ACK_US * frames as u64)
}

/// Time of one CoAP datagram of `octets` between border router and a node `hops` away (radio model, section 10): per
/// frame back-off, acknowledgement and turnaround, per octet 32 us, 4 ms of processing at the end.
#[must_use]
pub fn datagram_latency(octets: usize, hops: u8) -> Span {
    const PER_FRAME_US: u64 = 2_440;
    let frames = frames(octets);
    let one_hop = PER_FRAME_US * frames as u64 + OCTET_US * (octets + NETWORK + HEADERS * frames) as u64;
    Span::micros(one_hop * u64::from(hops.max(1)) + 4_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_follows_the_table_and_is_held_at_its_ends() {
        let p = |t| f64::from(loss_threshold(t)) / 4_294_967_296.0;
        assert!((p(1000) / 7.5e-5 - 1.0).abs() < 1e-3 && (p(800) / 7.5e-6 - 1.0).abs() < 1e-3);
        assert!(p(900) > p(800) && p(900) < p(1000));
        assert_eq!(loss_threshold(100), loss_threshold(200));
        assert_eq!(loss_threshold(5000), loss_threshold(1000));
    }

    /// The sparse way loses as many messages as drawing every segment would.
    #[test]
    fn losses_have_the_rate_of_the_model() {
        let (nodes, messages, segments) = (100, 2_000, 16_u16);
        let mut air = LinkAir::new(Seed(11), 1, nodes, 1000);
        let all: Vec<u16> = (0..nodes as u16).collect();
        air.begin_train(&all);
        let mut lost = 0;
        for _ in 0..messages {
            let first = air.send(segments);
            lost += all.iter().filter(|&&n| !air.heard(usize::from(n), first, segments)).count();
        }
        let want = f64::from(messages) * nodes as f64 * f64::from(segments) * 7.5e-5;
        assert!((lost as f64 / want - 1.0).abs() < 0.15, "lost {lost}, want about {want}");
    }

    #[test]
    fn a_train_does_not_depend_on_the_length_of_the_one_before() {
        let losses = |first_length: u16| {
            let mut air = LinkAir::new(Seed(5), 1, 4, 1000);
            air.begin_train(&[0, 1, 2, 3]);
            for _ in 0..first_length {
                let first = air.send(16);
                for node in 0..4 {
                    let _ = air.heard(node, first, 16);
                }
            }
            air.begin_train(&[0, 1, 2, 3]);
            (0..4000)
                .filter(|_| {
                    let first = air.send(16);
                    (0..4).map(|n| air.heard(n, first, 16)).collect::<Vec<_>>().contains(&false)
                })
                .count()
        };
        assert_eq!(losses(10), losses(3_000));
    }

    /// Radio model, section 10: 512 KiB to one node at 1 and 3 hops, minutes, within the model's own tolerance.
    #[test]
    fn thread_downloads_take_what_the_model_says() {
        for (block, hops, want, tolerance) in
            [(64, 1, 2.5, 0.10), (256, 1, 1.1, 0.10), (1024, 1, 0.7, 0.10), (256, 3, 2.9, 0.10)]
        {
            let exchange = datagram_latency(30, hops).0 + datagram_latency(block + 16, hops).0;
            let minutes = (524_288 / block) as f64 * exchange as f64 / 60e9;
            assert!(
                (minutes / want - 1.0).abs() <= tolerance,
                "{block} octets over {hops}: {minutes:.2} min, want {want}"
            );
        }
    }
}
