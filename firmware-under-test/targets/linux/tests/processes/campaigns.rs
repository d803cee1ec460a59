//! Whole campaigns, undisturbed and with each process, the radio and the air going away in the middle.

use crate::rig::{GATEWAY, Rig, begin, state_of, wait_for};
use mk_campaign::{End, Record};
use mk_gateway::GatewayRecord;
use mk_linux::api::gateway::{AirUse, RadioState};
use mk_linux::api::meshos::{CampaignPhase, MeshosState};
use mk_linux::api::{GatewayEvent, MeshosEvent, Stamped};
use mk_linux::client::{Client, EventReader};
use mk_wire::{Addr, Version};

const NEW: Version = Version::new(1, 2, 0);

async fn wait_for_end(meshos_url: &str) -> Vec<MeshosEvent> {
    let mut reader = EventReader::<MeshosEvent>::new(meshos_url).unwrap();
    let mut events = Vec::new();
    let end = wait_for(&mut reader, "end of the campaign", |event| {
        events.push(event.event.clone());
        match &event.event {
            MeshosEvent::Record(Record::Ended { end, .. }) => Some(*end),
            _ => None,
        }
    });
    assert_eq!(end.await, End::Completed, "{events:#?}");
    events
}

/// Waits until so many blocks are done.
async fn wait_for_block(gateway_url: &str, number: u16) {
    let mut reader = EventReader::<GatewayEvent>::new(gateway_url).unwrap();
    wait_for(&mut reader, "finished block", |event: &Stamped<GatewayEvent>| match &event.event {
        GatewayEvent::Record(GatewayRecord::BlockDone { block, .. }) if *block >= number => Some(()),
        _ => None,
    })
    .await;
}

fn every_node_runs_the_new_image(rig: &Rig) {
    for seen in rig.air.look() {
        assert!(seen.runs == NEW && seen.confirmed, "{seen:?}");
    }
}

/// Everything a harness makes facts of is among the gateway's events.
#[tokio::test]
async fn a_campaign_updates_two_nodes_and_every_step_is_told() {
    let rig = Rig::new(2);
    let gateway = rig.start_gateway().await;
    let meshos = rig.start_meshos(&gateway.url()).await;
    begin(&meshos.url(), &rig.campaign(16 * 1024, 300)).await;
    let told = wait_for_end(&meshos.url()).await;
    every_node_runs_the_new_image(&rig);
    assert!(rig.air.look().iter().all(|seen| seen.boots == 3), "{:?}", rig.air.look());
    assert!(told.iter().any(|event| matches!(event, MeshosEvent::CampaignStarted { version: NEW, targets: 2, .. })));
    let updated = told.iter().filter(|event| matches!(event, MeshosEvent::Record(Record::NodeOutcome { .. })));
    assert_eq!(updated.count(), 2, "{told:#?}");

    let mut reader = EventReader::<GatewayEvent>::new(&gateway.url()).unwrap();
    let (mut records, mut air, mut heard) = (Vec::new(), AirUse::default(), 0);
    wait_for(&mut reader, "completed distribution", |event| {
        match &event.event {
            GatewayEvent::Record(record) => records.push(record.clone()),
            GatewayEvent::Air(AirUse { data_pdus, peak_data_pdus, lost_pdus, .. }) => {
                air.data_pdus += data_pdus;
                air.lost_pdus += lost_pdus;
                air.peak_data_pdus = air.peak_data_pdus.max(*peak_data_pdus);
            }
            GatewayEvent::Heard { from, hops: 1, .. } if rig.nodes.contains(from) => heard += 1,
            _ => {}
        }
        // Reading the new firmware id back completes a distribution; confirmations may come before or after it.
        let done = GatewayRecord::DistributionPhase { phase: mk_wire::distribution::Phase::Completed };
        let acked = |node: &Addr| {
            records.iter().any(|r| matches!(r, GatewayRecord::ConfirmationAcked { node: of, .. } if of == node))
        };
        (records.contains(&done) && rig.nodes.iter().all(acked)).then_some(())
    })
    .await;
    let count = |fits: &dyn Fn(&GatewayRecord) -> bool| records.iter().filter(|record| fits(record)).count();
    assert_eq!(count(&|r| matches!(r, GatewayRecord::MetadataDelivered { accepted: true, facts: Some(_), .. })), 2);
    assert_eq!(count(&|r| matches!(r, GatewayRecord::TransferComplete { .. })), 2);
    assert_eq!(count(&|r| matches!(r, GatewayRecord::ConfirmationHeard { version: NEW, .. })), 2);
    assert!(count(&|r| matches!(r, GatewayRecord::ConfirmationAcked { .. })) >= 2);
    assert!(count(&|r| matches!(r, GatewayRecord::ImageStored { image, .. } if image.is_empty())) == 1);
    let chunks: u32 = records
        .iter()
        .map(|record| match record {
            GatewayRecord::BlockDone { chunks_sent, .. } => *chunks_sent,
            _ => 0,
        })
        .sum();
    // A chunk of 185 octets takes 16 PDUs; the last one of a block may take fewer.
    let most = u64::from(chunks) * 16;
    assert!(air.data_pdus <= most && air.data_pdus > most * 9 / 10, "{air:?}, {chunks} chunks");
    // One PDU in a millisecond, give or take what the machine was late with.
    assert!((300..=1_020).contains(&air.peak_data_pdus), "{air:?}");
    assert_eq!(air.lost_pdus, 0);
    assert!(heard > 10, "{heard}");
    meshos.stop().await.unwrap();
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_campaign_goes_on_when_the_gateway_is_killed_in_the_transfer() {
    let rig = Rig::new(1);
    let gateway = rig.spawn_gateway("127.0.0.1:0");
    let (url, listen) = (gateway.url.clone(), gateway.listen());
    let meshos = rig.start_meshos(&url).await;
    begin(&meshos.url(), &rig.campaign(16 * 1024, 0)).await;
    wait_for_block(&url, 0).await;
    let before = state_of(&url).await;
    gateway.kill();
    let gateway = rig.spawn_gateway(&listen);
    assert_eq!(gateway.url, url);
    let after = state_of(&url).await;
    assert_eq!((before.life, after.life), (1, 2));
    assert!(after.sequence > before.sequence, "sequence numbers are never used twice");
    wait_for_end(&meshos.url()).await;
    every_node_runs_the_new_image(&rig);
    meshos.stop().await.unwrap();
}

#[tokio::test]
async fn a_campaign_goes_on_when_meshos_is_killed_in_soak() {
    let rig = Rig::new(1);
    let gateway = rig.start_gateway().await;
    let meshos = rig.spawn_meshos(&gateway.url(), "127.0.0.1:0");
    begin(&meshos.url, &rig.campaign(4 * 1024, 1_500)).await;
    let mut reader = EventReader::<MeshosEvent>::new(&meshos.url).unwrap();
    wait_for(&mut reader, "soak", |event| match &event.event {
        MeshosEvent::Record(Record::SoakStarted { .. }) => Some(()),
        _ => None,
    })
    .await;
    let listen = meshos.listen();
    meshos.kill();
    let meshos = rig.spawn_meshos(&gateway.url(), &listen);
    let state: MeshosState = Client::new(&meshos.url).unwrap().get("/state").await.unwrap();
    assert_eq!(state.life, 2);
    assert_eq!(state.campaign.unwrap().phase, CampaignPhase::Soaking);
    let told = wait_for_end(&meshos.url).await;
    assert!(matches!(told.first(), Some(MeshosEvent::Started { campaign: Some(1), records: 4.., clock: Some(_) })));
    let restarted = |event: &MeshosEvent| matches!(event, MeshosEvent::Record(Record::StageStarted { .. }));
    assert!(!told.iter().any(restarted), "{told:#?}");
    every_node_runs_the_new_image(&rig);
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn the_radio_may_go_away_and_come_back() {
    let rig = Rig::new(1);
    let gateway = rig.start_gateway().await;
    let meshos = rig.start_meshos(&gateway.url()).await;
    begin(&meshos.url(), &rig.campaign(16 * 1024, 0)).await;
    wait_for_block(&gateway.url(), 0).await;
    rig.air.unplug();
    let mut reader = EventReader::<GatewayEvent>::new(&gateway.url()).unwrap().only_new();
    let mut absent = None;
    reader.connect().await.unwrap();
    if state_of(&gateway.url()).await.radio.is_ready() {
        wait_for(&mut reader, "loss of the radio", |event| match &event.event {
            GatewayEvent::Radio(state @ RadioState::Absent { next, .. }) => {
                assert!(!next.is_empty());
                absent = Some(state.clone());
                Some(())
            }
            _ => None,
        })
        .await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    rig.air.plug();
    wait_for_end(&meshos.url()).await;
    every_node_runs_the_new_image(&rig);
    assert!(state_of(&gateway.url()).await.radio.is_ready());
    meshos.stop().await.unwrap();
    gateway.stop().await.unwrap();
}

/// One PDU in 37 is lost for everybody: segments are sent again, chunks are asked for again.
#[tokio::test]
async fn losses_on_the_air_are_made_good() {
    let rig = Rig::new(1);
    rig.air.lose_every(Some(37));
    let gateway = rig.start_gateway().await;
    let meshos = rig.start_meshos(&gateway.url()).await;
    begin(&meshos.url(), &rig.campaign(4 * 1024, 0)).await;
    wait_for_end(&meshos.url()).await;
    every_node_runs_the_new_image(&rig);
    meshos.stop().await.unwrap();
    gateway.stop().await.unwrap();
}

/// An order of the operator is journalled and outlives the process.
#[tokio::test]
async fn a_paused_campaign_is_still_paused_after_a_restart_and_can_be_aborted() {
    use mk_linux::api::meshos::OperatorRequest;
    let rig = Rig::new(1);
    let gateway = rig.start_gateway().await;
    let meshos = rig.start_meshos(&gateway.url()).await;
    begin(&meshos.url(), &rig.campaign(4 * 1024, 60_000)).await;
    let mut client = Client::new(&meshos.url()).unwrap();
    let order = |order| OperatorRequest { order };
    let pause = order(mk_campaign::OperatorOrder::Pause);
    let state: MeshosState = client.post("/orders", &pause).await.unwrap();
    assert_eq!(state.campaign.unwrap().phase, CampaignPhase::Paused);
    let again = client.post::<_, MeshosState>("/orders", &pause).await.unwrap_err();
    assert!(again.is_refusal() && again.to_string().contains("409"), "{again}");
    meshos.stop().await.unwrap();

    let meshos = rig.start_meshos(&gateway.url()).await;
    let mut client = Client::new(&meshos.url()).unwrap();
    let state: MeshosState = client.get("/state").await.unwrap();
    assert_eq!(state.campaign.unwrap().phase, CampaignPhase::Paused);
    // A second campaign has to wait for the end of the first.
    let busy = client.post::<_, mk_linux::api::meshos::CampaignAccepted>("/campaign", &rig.campaign(4_096, 0)).await;
    assert!(busy.unwrap_err().to_string().contains("under way"));
    let _: MeshosState = client.post("/orders", &order(mk_campaign::OperatorOrder::Abort)).await.unwrap();
    let mut reader = EventReader::<MeshosEvent>::new(&meshos.url()).unwrap();
    let end = wait_for(&mut reader, "end", |event| match &event.event {
        MeshosEvent::Record(Record::Ended { end, .. }) => Some(*end),
        _ => None,
    });
    assert_eq!(end.await, End::Aborted);
    assert_eq!(begin(&meshos.url(), &rig.campaign(4 * 1024, 0)).await.campaign, 2);
    meshos.stop().await.unwrap();
    gateway.stop().await.unwrap();
}

/// Nodes of a gateway that MeshOS does not know cannot be reached, and their operator is told before anything begins.
#[tokio::test]
async fn nodes_of_an_unknown_gateway_are_refused() {
    let rig = Rig::new(1);
    let gateway = rig.start_gateway().await;
    let meshos = rig.start_meshos(&gateway.url()).await;
    let mut request = rig.campaign(4 * 1024, 0);
    request.nodes[0].gateway = Addr(GATEWAY.0 + 1);
    let refused = Client::new(&meshos.url())
        .unwrap()
        .post::<_, mk_linux::api::meshos::CampaignAccepted>("/campaign", &request)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("gateway 0002") && refused.contains("--gateway"), "{refused}");
    meshos.stop().await.unwrap();
    gateway.stop().await.unwrap();
}
