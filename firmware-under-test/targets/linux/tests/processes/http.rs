//! What the processes do with requests that are wrong, too large or repeated, and readers that come back.

use crate::rig::{GATEWAY, PATIENCE, Rig, wait_for};
use mk_linux::api::gateway::{Orders, Taken};
use mk_linux::api::{GatewayEvent, Refusal};
use mk_linux::client::{Client, EventReader, Item};
use mk_wire::north::Order;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Sends octets as they are; the status and the body of the answer.
async fn raw(url: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A refusal may come before all of the request was taken.
    let _ = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

async fn post(url: &str, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    raw(url, &format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"))
        .await
}

async fn get(url: &str, path: &str, header: &str) -> (u16, String) {
    raw(url, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n")).await
}

fn refusal(answer: &(u16, String), status: u16) -> Refusal {
    assert_eq!(answer.0, status, "{answer:?}");
    let refusal: Refusal = serde_json::from_str(&answer.1).unwrap_or_else(|_| panic!("{answer:?}"));
    assert!(!refusal.error.is_empty() && !refusal.next.is_empty(), "{refusal:?}");
    refusal
}

#[tokio::test]
async fn bad_requests_are_refused_with_place_and_next_step() {
    let rig = Rig::new(1);
    let gateway = rig.start_gateway().await;
    let meshos = rig.start_meshos(&gateway.url()).await;
    let (gateway_url, meshos_url) = (gateway.url(), meshos.url());
    for (body, place) in [
        ("", "EOF"),
        ("{\"orders\":", "EOF"),
        ("not json", "expected"),
        ("{\"orders\":[{\"trottle\":{}}]}", "orders[0]"),
        ("{\"orders\":[{\"throttle\":{\"permille\":70000}}]}", "orders[0].throttle.permille"),
        ("{\"orders\":[{\"throttle\":{\"permille\":2000}}]}", "orders[0]"),
        ("{\"orders\":[{\"access\":\"****\"}]}", "orders[0].access"),
        ("{\"orders\":[]}{}", "trailing"),
    ] {
        let refusal = refusal(&post(&gateway_url, "/orders", body).await, 400);
        assert!(refusal.error.contains(place), "{body}: {refusal:?}");
    }
    for (body, place) in [
        ("{\"policy\":{\"stages\":[{\"size\":\"most\",\"soak_ms\":1}]}}", "policy.stages[0].size"),
        ("{\"policy\":{},\"nodes\":[{\"address\":\"no\"}]}", "nodes[0].address"),
        ("[]", "nodes"),
    ] {
        let refusal = refusal(&post(&meshos_url, "/campaign", body).await, 400);
        assert!(refusal.error.contains(place) || place == "nodes", "{body}: {refusal:?}");
    }
    refusal(&post(&meshos_url, "/orders", "{\"order\":\"stop\"}").await, 400);
    refusal(&post(&meshos_url, "/orders", "{\"order\":\"pause\"}").await, 409);
    refusal(&get(&meshos_url, "/journal", "").await, 409);
    for url in [&gateway_url, &meshos_url] {
        refusal(&get(url, "/nothing", "").await, 404);
        refusal(&get(url, "/orders", "").await, 405);
        refusal(&get(url, "/events?from=yesterday", "").await, 400);
        refusal(&get(url, "/events", "Last-Event-ID: seven\r\n").await, 400);
        let most = if url == &gateway_url { Orders::MOST_OCTETS } else { 1_024 };
        let head =
            format!("POST /orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", most + 1);
        refusal(&raw(url, &head).await, 413);
    }
    // Longer than it says it is.
    let chunk = "x".repeat(64 * 1024);
    let chunked = format!(
        "POST /orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n{chunk}\r\n0\r\n\r\n"
    );
    refusal(&raw(&meshos_url, &chunked).await, 413);
    meshos.stop().await.unwrap();
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_carried_out_once() {
    let rig = Rig::new(1);
    let gateway = rig.start_gateway().await;
    let mut client = Client::new(&gateway.url()).unwrap();
    let batch = |sender: &str, batch, permille| Orders {
        sender: sender.to_owned(),
        batch,
        orders: vec![Order::Throttle { permille }],
    };
    let batches = [batch("a", 1, 100), batch("a", 1, 100), batch("a", 2, 200), batch("b", 1, 300), batch("a", 1, 400)];
    let mut taken = Vec::new();
    for batch in &batches {
        taken.push(client.post::<_, Taken>("/orders", batch).await.unwrap().taken);
    }
    assert_eq!(taken, [1, 0, 1, 1, 0]);
    assert_eq!(crate::rig::state_of(&gateway.url()).await.throttle_permille, 300);
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was_and_learns_of_a_restart() {
    let rig = Rig::new(1);
    let gateway = rig.start_gateway().await;
    let url = gateway.url();
    let mut first = EventReader::<GatewayEvent>::new(&url).unwrap();
    let Item::Event(started) = first.next().await.unwrap() else { panic!("a gap") };
    assert!(matches!(started.event, GatewayEvent::Started { address: GATEWAY, records: 0 }));
    let mut client = Client::new(&url).unwrap();
    let order = Orders { sender: String::new(), batch: 0, orders: vec![Order::Throttle { permille: 123 }] };
    let _: Taken = client.post("/orders", &order).await.unwrap();
    let mut again = EventReader::<GatewayEvent>::new(&url).unwrap().after(first.last());
    let Item::Event(next) = again.next().await.unwrap() else { panic!("a gap") };
    assert_eq!((next.id.life, next.id.number), (1, started.id.number + 1));
    assert!(next.ms >= started.ms && next.unix_ms >= started.unix_ms);
    let throttled = |event: &GatewayEvent| {
        matches!(event, GatewayEvent::Record(mk_gateway::GatewayRecord::ThrottleSet { permille: 123 }))
    };
    wait_for(&mut again, "record", |event| throttled(&event.event).then_some(())).await;

    // The stream ends with the process; with its next life comes a gap, then everything of that life.
    let last = again.last();
    gateway.stop().await.unwrap();
    wait_for(&mut first, "last event", |event| (event.event == GatewayEvent::Stopping).then_some(())).await;
    let gateway = rig.start_gateway().await;
    let mut resumed = EventReader::<GatewayEvent>::new(&gateway.url()).unwrap().after(last);
    let Item::Gap(gap) = resumed.next().await.unwrap() else { panic!("no gap") };
    assert_eq!((Some(gap.after), gap.next.life, gap.next.number), (last, 2, 1));
    let Item::Event(event) = resumed.next().await.unwrap() else { panic!("another gap") };
    assert!(matches!(event.event, GatewayEvent::Started { records: 1, .. }), "{event:?}");
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn readers_of_events_are_bounded() {
    let rig = Rig::new(1);
    let gateway = rig.start_gateway().await;
    let mut readers = Vec::new();
    let refused = loop {
        let mut reader = EventReader::<GatewayEvent>::new(&gateway.url()).unwrap();
        match reader.connect().await {
            Ok(()) => readers.push(reader),
            Err(error) => break error,
        }
        assert!(readers.len() <= 32);
    };
    assert_eq!(readers.len(), 32);
    assert!(refused.to_string().contains("close one"), "{refused}");
    gateway.stop().await.unwrap();
}

/// Neither those who connect and say nothing nor those who stop in the middle keep others, or the end, waiting.
#[tokio::test]
async fn connections_that_ask_for_nothing_are_in_nobodys_way() {
    let rig = Rig::new(1);
    let gateway = rig.start_gateway().await;
    let mut idle = Vec::new();
    for number in 0..40 {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{").await.unwrap();
        }
        idle.push(stream);
    }
    assert_eq!(crate::rig::state_of(&gateway.url()).await.life, 1);
    timeout(std::time::Duration::from_secs(10), gateway.stop()).await.unwrap().unwrap();
}
