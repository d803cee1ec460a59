//! How the processes start and end.

use crate::rig::{PATIENCE, Rig, size_of, state_of, terminate, wait_for};
use mk_linux::api::gateway::RadioState;
use mk_linux::api::{GatewayEvent, Health};
use mk_linux::client::{Client, EventReader};
use mk_linux::{gateway, process::Announcement};
use std::process::{Command, Stdio};
use tokio::time::timeout;

#[tokio::test]
async fn both_end_cleanly_when_told_to() {
    let rig = Rig::new(1);
    let mut gateway = rig.spawn_gateway("127.0.0.1:0");
    let mut meshos = rig.spawn_meshos(&gateway.url, "127.0.0.1:0");
    let mut reader = EventReader::<GatewayEvent>::new(&gateway.url).unwrap();
    reader.connect().await.unwrap();
    terminate(&meshos);
    terminate(&gateway);
    assert_eq!(meshos.ended().await, Some(0));
    let last = wait_for(&mut reader, "last event", |event| (event.event == GatewayEvent::Stopping).then_some(()));
    last.await;
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn both_end_when_their_parent_does() {
    let rig = Rig::new(1);
    let mut gateway = rig.spawn_gateway("127.0.0.1:0");
    let mut meshos = rig.spawn_meshos(&gateway.url, "127.0.0.1:0");
    gateway.orphan();
    meshos.orphan();
    assert_eq!((gateway.ended().await, meshos.ended().await), (Some(0), Some(0)));
}

#[tokio::test]
async fn a_gateway_says_what_is_wrong_with_its_radio_and_starts_all_the_same() {
    let rig = Rig::new(1);
    rig.air.unplug();
    let settings = rig.gateway_settings();
    let running = gateway::start(settings).await.unwrap();
    let mut client = Client::new(&running.url()).unwrap();
    let unhealthy = client.get::<Health>("/healthz").await.unwrap_err().to_string();
    assert!(unhealthy.contains("503"), "{unhealthy}");
    rig.air.plug();
    let ready = timeout(PATIENCE, async {
        while !state_of(&running.url()).await.radio.is_ready() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        state_of(&running.url()).await.radio
    });
    assert_eq!(ready.await.unwrap(), RadioState::Ready { window: mk_wire::radio_link::WINDOW });
    assert!(client.get::<Health>("/healthz").await.unwrap().ok);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_belongs_to_one_process() {
    let rig = Rig::new(1);
    let first = rig.start_gateway().await;
    let error = gateway::start(rig.gateway_settings()).await.err().unwrap().to_string();
    assert!(error.contains("another process"), "{error}");
    first.stop().await.unwrap();
    rig.start_gateway().await.stop().await.unwrap();
    assert!(size_of(&rig.path("gateway/lives.log")) > 0);
}

#[tokio::test]
async fn a_damaged_journal_is_not_gone_on_with() {
    let rig = Rig::new(1);
    let running = rig.start_gateway().await;
    let order = |permille| mk_linux::api::gateway::Orders {
        sender: String::new(),
        batch: 0,
        orders: vec![mk_wire::north::Order::Throttle { permille }],
    };
    let mut client = Client::new(&running.url()).unwrap();
    for permille in [100, 200] {
        let _: mk_linux::api::gateway::Taken = client.post("/orders", &order(permille)).await.unwrap();
    }
    running.stop().await.unwrap();
    let path = rig.path("gateway/journal.log");
    let mut journal = std::fs::read(&path).unwrap();
    // The end of a line that was being written when the lights went out is cut off ...
    journal.extend(b"deadbeef {\"unix_ms\":1,");
    std::fs::write(&path, &journal).unwrap();
    let running = rig.start_gateway().await;
    assert_eq!(state_of(&running.url()).await.throttle_permille, 200);
    running.stop().await.unwrap();
    // ... but damage further up is not what a crash leaves.
    let mut journal = std::fs::read(&path).unwrap();
    journal[20] ^= 1;
    std::fs::write(&path, &journal).unwrap();
    let error = gateway::start(rig.gateway_settings()).await.err().unwrap().to_string();
    assert!(error.contains("line 1 is damaged"), "{error}");
}

/// What cannot be written down may not happen: the process ends and says why; what it had written is whole.
#[tokio::test]
async fn a_gateway_whose_disk_is_full_ends_and_goes_on_when_there_is_room() {
    let rig = Rig::new(1);
    let mut gateway = rig.spawn_gateway_on_full_disk(2);
    let mut client = Client::new(&gateway.url).unwrap();
    let mut taken = 0;
    for permille in 1..=200 {
        let orders = vec![mk_wire::north::Order::Throttle { permille }];
        let order = mk_linux::api::gateway::Orders { sender: String::new(), batch: 0, orders };
        match client.post::<_, mk_linux::api::gateway::Taken>("/orders", &order).await {
            Ok(_) => taken = permille,
            Err(_) => break,
        }
    }
    assert_eq!(gateway.ended().await, Some(1));
    assert!(gateway.said().contains("cannot append to"), "taken up to {taken}");
    assert!((5..100).contains(&taken), "{taken}");
    let running = rig.start_gateway().await;
    // What was answered is there; the one after it may have been written in full as well.
    let now = state_of(&running.url()).await.throttle_permille;
    assert!(now == taken || now == taken + 1, "{now}, taken up to {taken}");
    running.stop().await.unwrap();
}

#[test]
fn a_program_that_cannot_start_says_why() {
    for (program, args, want) in [
        (env!("CARGO_BIN_EXE_mk-gatewayd"), vec!["--netwrok", "x"], "options are --network"),
        (env!("CARGO_BIN_EXE_mk-gatewayd"), vec!["--network", "/none", "--radio", "r", "--data", "d"], "/none"),
        (env!("CARGO_BIN_EXE_mk-meshosd"), vec!["--data", "d"], "--gateway"),
    ] {
        let ended = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && said.contains(want), "{said}");
        assert_eq!(Announcement::read(&String::from_utf8_lossy(&ended.stdout)), None);
    }
}
