//! What a gateway does most often: giving out a chunk, and passing a heartbeat on.
//! `cargo bench -p mk-gateway`. The budget of a chunk is 1 us.
#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up has no figure")]

#[path = "../tests/rig/mod.rs"]
mod rig;

use mk_gateway::Class;
use mk_wire::AccessMessage;
use mk_wire::vendor::{Health, Message};
use rig::mesh_node::Behaviour::Good;
use rig::{GATEWAY, Rig, node};

/// Fewer than a block of 32 KiB has.
const CHUNKS: usize = 100;

fn main() {
    divan::main();
}

/// A hundred chunks of one block, one after the other as the throttle lets them go.
#[divan::bench(sample_size = 1)]
fn chunk(bencher: divan::Bencher<'_, '_>) {
    bencher
        .counter(divan::counter::ItemsCount::new(CHUNKS))
        .with_inputs(|| {
            let mut rig = Rig::new(&[Good, Good], 0);
            rig.image = vec![0x5A; 200_000];
            rig.settings.block_size_log = 15;
            rig.gateway = mk_gateway::Gateway::new(rig.now, rig.settings.clone());
            rig.upload();
            rig.add_receivers();
            rig.ask(Rig::start());
            rig.run_until(rig::ms(60_000), |rig| rig.sent.iter().any(|sent| sent.class == Class::Data));
            rig.gateway.on_timer(rig.now);
            let now = rig.gateway.next_wakeup().unwrap().max(rig.now);
            (rig, now)
        })
        .bench_local_refs(|(rig, now)| {
            for _ in 0..CHUNKS {
                let sent = rig.gateway.poll_transmit(*now).unwrap();
                assert_eq!(sent.class, Class::Data);
                *now += sent.spacing * u32::from(sent.pdus);
                divan::black_box(sent.bytes.len());
            }
        });
}

/// A heartbeat from the mesh to MeshOS.
#[divan::bench(sample_size = 1000)]
fn heartbeat(bencher: divan::Bencher<'_, '_>) {
    let mut rig = Rig::new(&[Good], 0);
    let health = Health { hops: 2, rssi_dbm: -70, uptime_s: 60, degraded: false };
    let bytes = AccessMessage::Vendor(Message::Health(health)).to_buffer().unwrap();
    bencher.bench_local(|| {
        rig.gateway.on_access(rig.now, node(1), GATEWAY, &bytes);
        divan::black_box(rig.gateway.poll_notice())
    });
}
