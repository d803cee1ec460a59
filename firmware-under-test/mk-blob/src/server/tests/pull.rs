//! What Pull mode adds to the table.

use super::*;

fn report(bytes: &[u8]) -> Vec<u16> {
    match AccessMessage::decode(bytes) {
        Ok(AccessMessage::Blob(Message::PartialBlockReport(list))) => list.iter(11).collect(),
        other => panic!("no Partial Block Report: {other:?}"),
    }
}

#[test]
fn pull_reports_the_first_missing_chunks_at_each_interval() {
    let mut bench = Bench::pull_at(Phase::WaitingForChunk);
    assert_eq!(bench.pass(Duration::from_micros(9_999_999)), None);
    let reply = bench.pass(Duration::from_micros(1)).unwrap();
    assert_eq!((reply.to, report(&reply.message)), (CLIENT, std::vec![1, 2, 3, 4]));
    bench.chunk(2, 100);
    bench.chunk(3, 100);
    assert_eq!(bench.pass(Duration::from_secs(9)), None, "a chunk restarts the interval");
    assert_eq!(report(&bench.pass(Duration::from_secs(1)).unwrap().message), [1, 4, 5, 6]);
}

#[test]
fn pull_tells_the_end_of_a_block_at_once() {
    let mut bench = Bench::pull_at(Phase::WaitingForChunk);
    (1..10).for_each(|number| assert_eq!(bench.chunk(number, 100), None));
    assert_eq!(report(&bench.chunk(10, 24).unwrap()), [0u16; 0]);
    assert_eq!(bench.pass(Duration::from_secs(15)), None);
}

#[test]
fn pull_answers_block_messages_with_lists() {
    let mut bench = Bench::pull_at(Phase::WaitingForBlock);
    let all: Vec<u8> = (0..11).collect();
    bench.block_status_with(Message::BlockStart(BlockStart { block: 0, chunk_size: 100 }), |status| {
        assert_eq!(status.missing, MissingChunks::Encoded(&all));
    });
    bench.whole_block(0);
    bench.block_status_with(Message::BlockGet, |status| assert_eq!(status.missing, MissingChunks::Encoded(&[])));
}

#[test]
fn pull_keeps_reporting_the_last_block_until_it_times_out_complete() {
    let mut bench = Bench::pull_at(Phase::WaitingForBlock);
    (0..3).for_each(|block| bench.whole_block(block));
    bench.events();
    assert_eq!(report(&bench.pass(Duration::from_secs(10)).unwrap().message), [0u16; 0]);
    assert_eq!(report(&bench.pass(Duration::from_secs(10)).unwrap().message), [0u16; 0]);
    assert_eq!(bench.pass(Duration::from_secs(10)), None);
    assert_eq!((bench.server.phase(), bench.events()), (Phase::Complete, std::vec![ServerEvent::Completed]));
}
