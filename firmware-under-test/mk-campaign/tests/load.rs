//! What a thousand nodes cost MeshOS.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bench;

use bench::{World, at, fleet, secs};
use mk_campaign::status::Activity;
use mk_campaign::{End, Policy};
use mk_wire::north::Notice;
use mk_wire::vendor::{AppReport, Health};
use std::time::{Duration, Instant};

/// 39.8 hours of two notices a minute from a thousand nodes: 4.8 million. The bound is ten times what is promised for one
/// core (0.3 s), because tests share the machine.
#[test]
fn notices_of_a_thousand_nodes_cost_next_to_nothing() {
    let mut world = World::new(Policy::default(), fleet(1000, 10, 1));
    world.beats = false;
    world.start();
    world.run_until(at(800));
    assert!(matches!(world.campaign.activity(), Activity::Soaking { stage: 0, .. }));
    let nodes: Vec<_> = world.nodes.values().map(|node| (node.info.addr, node.info.gateway)).collect();
    let health = Health { hops: 3, rssi_dbm: -60, uptime_s: 0, degraded: false };
    let report = AppReport { temperature_centi_c: 2000, light_level: 1, energy_wh: 1 };
    let begin = Instant::now();
    for minute in 0..39 * 60 + 48 {
        let now = world.now + secs(minute * 60);
        for &(node, gateway) in &nodes {
            let health = Health { uptime_s: (minute * 60) as u32, ..health };
            world.campaign.on_notice(now, gateway, &Notice::Health { node, health });
            world.campaign.on_notice(now, gateway, &Notice::AppReport { node, report });
        }
    }
    let took = begin.elapsed();
    println!("4.8 million notices in {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_thousand_nodes_pass_four_stages() {
    let mut world = World::new(Policy::default(), fleet(1000, 10, 1));
    world.start();
    world.run_until(at(60 * 3600));
    assert_eq!(world.campaign.activity(), Activity::Ended(End::Completed));
    // 1 + 1 + 3 + 7 distributions of at most 100 receivers.
    assert_eq!(world.gateways.values().next().unwrap().started, 12);
    println!("{} records, {} octets", world.records.len(), world.file.len());
}
