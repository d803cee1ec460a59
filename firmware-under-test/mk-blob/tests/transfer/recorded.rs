//! The unicast Push of 100 octets that was recorded from a real peer (section 13): same octets from our client and server.

use super::world::{Image, Storage, image};
use mk_blob::client::{BlobClient, ClientEvent, ClientState, Config, Kind, Policy};
use mk_blob::server::{BlobServer, PullPolicy, ServerEvent};
use mk_wire::blob::arithmetic::Sizes;
use mk_wire::blob::{BlobId, Capabilities, Message, TransferMode};
use mk_wire::time::{Duration, Instant};
use mk_wire::{AccessMessage, Addr};

const DISTRIBUTOR: Addr = Addr(0x0001);
const TARGET: Addr = Addr(0x0101);

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn blob_message(octets: &[u8]) -> Message<'_> {
    match AccessMessage::decode(octets) {
        Ok(AccessMessage::Blob(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn client_and_server_exchange_the_recorded_octets() {
    let id = BlobId(u64::from_le_bytes([0x27, 0xd6, 0xb7, 0x7b, 0xfb, 0x52, 0xc2, 0x8a]));
    let config = Config {
        blob_id: id,
        size: 100,
        mode: TransferMode::Push,
        ttl: 2,
        timeout_base: 10,
        mtu: 0x0180,
        group: None,
        own_address: DISTRIBUTOR,
        ask_capabilities: true,
        sizes: None,
        policy: Policy::ZEPHYR,
    };
    // Information Status 08 0c 0001 7901 00000800 7c01 03.
    let capabilities = Capabilities {
        min_block_size_log: 8,
        max_block_size_log: 12,
        max_total_chunks: 256,
        max_chunk_size: 377,
        max_blob_size: 524_288,
        server_mtu: 380,
        push: true,
        pull: true,
    };
    let mut now = Instant::from_ticks(0);
    let mut server = BlobServer::new(capabilities, PullPolicy::default());
    server.expect(now, id, 2, 10, DISTRIBUTOR).unwrap();
    let mut client: BlobClient<1> = BlobClient::new(config, [TARGET]).unwrap();
    let (mut source, mut storage) = (Image(image(100)), Storage::default());
    let mut record = Vec::new();

    client.start(now);
    while client.state() == ClientState::Active {
        let mut out = [0; 380];
        let Some(sent) = client.poll_transmit(now, true, &mut source, &mut out) else {
            now = client.next_wakeup().map_or(now, |at| at.max(now));
            continue;
        };
        assert_eq!((sent.to, sent.ttl), (TARGET, 2));
        now += Duration::from_millis(100);
        match sent.kind {
            Kind::Data => record.push(format!("D chunk of {}", sent.len - 3)),
            Kind::Control => record.push(format!("D {}", hex(&out[..sent.len]))),
        }
        if let Some(reply) = server.on_message(now, DISTRIBUTOR, &blob_message(&out[..sent.len]), &mut storage) {
            assert_eq!((reply.to, reply.ttl), (DISTRIBUTOR, 2));
            record.push(format!("T {}", hex(&reply.message)));
            client.on_message(now, TARGET, &blob_message(&reply.message));
        }
    }

    assert_eq!(
        record,
        [
            "D 8306",
            "T 8307080c00017901000008007c0103",
            "D 83014027d6b77bfb52c28a640000000c8001",
            "T 8303400227d6b77bfb52c28a640000000c7c0101",
            "D 830400007901",
            "T 670000007901",
            "D chunk of 100",
            // From here on the recording says nothing; these follow from section 3.
            "D 8305",
            "T 674000007901",
            "D 8300",
            "T 8303400427d6b77bfb52c28a640000000c7c0100",
        ]
    );
    assert_eq!(storage.flash, source.0);
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    assert_eq!(events.first(), Some(&ClientEvent::SizesChosen(Sizes { block_size_log: 12, chunk_size: 377 })));
    assert_eq!(events.last(), Some(&ClientEvent::Completed));
    let events: Vec<_> = std::iter::from_fn(|| server.poll_event()).collect();
    assert_eq!(events, [ServerEvent::Started, ServerEvent::BlockStored(0), ServerEvent::Completed]);
}
