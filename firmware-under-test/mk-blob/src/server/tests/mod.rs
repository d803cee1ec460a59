//! The state table of section 5, row by row.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod pull;

use super::*;
use mk_wire::AccessMessage;
use mk_wire::access::Buffer;
use mk_wire::blob::{BlockStatus, MissingChunks, TransferStatus};
use mk_wire::time::Duration;
use rstest::rstest;
use std::vec::Vec;

const ID: BlobId = BlobId(0x27d6_b77b_fb52_c28a);
const OTHER_ID: BlobId = BlobId(1);
const CLIENT: Addr = Addr(0x0001);
/// Three blocks of 1,024, 1,024 and 452 octets; chunks of 100: 11, 11 and 5.
const START: TransferStart =
    TransferStart { mode: TransferMode::Push, blob_id: ID, size: 2500, block_size_log: 10, client_mtu: 380 };
const CHUNK_SIZE: u16 = 100;
const TIMEOUT_BASE: u16 = 2;
const T_SRV: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Sink {
    chunks: Vec<(u32, usize)>,
    begun: Vec<(u32, u32)>,
    ended: Vec<(u16, u32, u32)>,
    refuse_transfer: bool,
    refuse_begin: bool,
    refuse_end: bool,
}

impl BlockSink for Sink {
    fn begin_transfer(&mut self, _size: u32) -> Result<(), SinkError> {
        if self.refuse_transfer { Err(SinkError) } else { Ok(()) }
    }

    fn begin_block(&mut self, offset: u32, len: u32) -> Result<(), SinkError> {
        self.begun.push((offset, len));
        if self.refuse_begin { Err(SinkError) } else { Ok(()) }
    }

    fn chunk(&mut self, offset_in_block: u32, data: &[u8]) {
        self.chunks.push((offset_in_block, data.len()));
    }

    fn end_block(&mut self, block: u16, offset: u32, len: u32) -> Result<(), SinkError> {
        self.ended.push((block, offset, len));
        if self.refuse_end { Err(SinkError) } else { Ok(()) }
    }
}

/// A server, its storage and a clock.
struct Bench {
    server: BlobServer,
    sink: Sink,
    now: Instant,
    mode: TransferMode,
}

fn capabilities() -> Capabilities {
    Capabilities {
        min_block_size_log: 8,
        max_block_size_log: 12,
        max_total_chunks: 256,
        max_chunk_size: 377,
        max_blob_size: 524_288,
        server_mtu: 380,
        push: true,
        pull: true,
    }
}

impl Bench {
    fn new() -> Self {
        let server = BlobServer::new(capabilities(), PullPolicy::default());
        Bench { server, sink: Sink::default(), now: Instant::from_ticks(0), mode: TransferMode::Push }
    }

    /// A server brought to a phase; Waiting For Chunk is block 0 with chunk 0 received.
    fn at(phase: Phase) -> Self {
        Self::new().brought_to(phase)
    }

    fn pull_at(phase: Phase) -> Self {
        Bench { mode: TransferMode::Pull, ..Self::new() }.brought_to(phase)
    }

    fn brought_to(mut self, phase: Phase) -> Self {
        if phase == Phase::Inactive {
            return self;
        }
        self.server.expect(self.now, ID, 7, TIMEOUT_BASE, CLIENT).unwrap();
        if phase == Phase::WaitingForStart {
            return self;
        }
        let start = TransferStart { mode: self.mode, ..START };
        assert_eq!(self.transfer_status(Message::TransferStart(start)).0, Status::Success);
        match phase {
            Phase::WaitingForChunk => {
                self.block_start(0, CHUNK_SIZE);
                self.chunk(0, 100);
            }
            Phase::Complete => {
                (0..3).for_each(|block| self.whole_block(block));
                if self.mode == TransferMode::Pull {
                    self.send(Message::TransferGet);
                }
            }
            Phase::Suspended => {
                self.whole_block(0);
                self.pass(T_SRV);
            }
            Phase::Inactive | Phase::WaitingForStart | Phase::WaitingForBlock => {}
        }
        self.events();
        assert_eq!(self.server.phase(), phase);
        self
    }

    fn send(&mut self, message: Message<'_>) -> Option<Buffer> {
        let reply = self.server.on_message(self.now, CLIENT, &message, &mut self.sink)?;
        assert_eq!(reply.to, CLIENT);
        Some(reply.message)
    }

    /// Status, phase and missing blocks of the answer.
    fn transfer_status(&mut self, message: Message<'_>) -> (Status, Phase, Option<u8>) {
        let bytes = self.send(message).unwrap();
        let Ok(AccessMessage::Blob(Message::TransferStatus(status))) = AccessMessage::decode(&bytes) else {
            panic!("no Transfer Status");
        };
        let TransferStatus { status, phase, transfer, .. } = status;
        (status, phase, transfer.map(|transfer| transfer.blocks_missing[0]))
    }

    fn block_status_with<T>(&mut self, message: Message<'_>, read: impl FnOnce(BlockStatus<'_>) -> T) -> T {
        let bytes = self.send(message).unwrap();
        match AccessMessage::decode(&bytes) {
            Ok(AccessMessage::Blob(Message::BlockStatus(status))) => read(status),
            other => panic!("no Block Status: {other:?}"),
        }
    }

    /// Status and number of missing chunks.
    fn block_start(&mut self, block: u16, chunk_size: u16) -> (Status, usize) {
        self.block_status_with(Message::BlockStart(BlockStart { block, chunk_size }), |status| {
            (status.status, status.missing.iter(11).count())
        })
    }

    fn chunk(&mut self, number: u16, len: usize) -> Option<Buffer> {
        self.send(Message::Chunk(Chunk { number, data: &[0xAB; 377][..len] }))
    }

    fn whole_block(&mut self, block: u16) {
        assert_eq!(self.block_start(block, CHUNK_SIZE).0, Status::Success);
        let (chunks, last) = if block == 2 { (5, 52) } else { (11, 24) };
        for number in 0..chunks - 1 {
            self.chunk(number, 100);
        }
        self.chunk(chunks - 1, last);
    }

    fn pass(&mut self, time: Duration) -> Option<Reply> {
        self.now += time;
        self.server.on_timer(self.now)
    }

    fn events(&mut self) -> Vec<ServerEvent> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }
}

const PHASES: [Phase; 6] = [
    Phase::Inactive,
    Phase::WaitingForStart,
    Phase::WaitingForBlock,
    Phase::WaitingForChunk,
    Phase::Complete,
    Phase::Suspended,
];

#[rstest]
#[case(Phase::Inactive, Ok(Expected::Fresh))]
#[case(Phase::WaitingForStart, Err(Busy))]
#[case(Phase::WaitingForBlock, Err(Busy))]
#[case(Phase::WaitingForChunk, Err(Busy))]
#[case(Phase::Complete, Ok(Expected::Fresh))]
#[case(Phase::Suspended, Ok(Expected::Fresh))]
fn another_blob_is_expected_only_while_none_is_under_way(#[case] phase: Phase, #[case] result: Result<Expected, Busy>) {
    let mut bench = Bench::at(phase);
    assert_eq!(bench.server.expect(bench.now, OTHER_ID, 7, TIMEOUT_BASE, CLIENT), result);
    assert_eq!(bench.server.phase(), if result.is_ok() { Phase::WaitingForStart } else { phase });
}

#[test]
fn the_suspended_blob_expected_again_keeps_its_blocks() {
    let mut bench = Bench::at(Phase::Suspended);
    assert_eq!(bench.server.expect(bench.now, ID, 7, TIMEOUT_BASE, CLIENT), Ok(Expected::Resumes));
    assert_eq!((bench.server.phase(), bench.server.progress()), (Phase::Suspended, (1, 3)));
}

#[rstest]
#[case(Phase::Inactive, Status::WrongPhase)]
#[case(Phase::WaitingForStart, Status::WrongBlobId)]
#[case(Phase::WaitingForBlock, Status::WrongBlobId)]
#[case(Phase::WaitingForChunk, Status::WrongBlobId)]
#[case(Phase::Complete, Status::WrongBlobId)]
#[case(Phase::Suspended, Status::WrongBlobId)]
fn transfer_start_with_another_id_changes_nothing(#[case] phase: Phase, #[case] status: Status) {
    let mut bench = Bench::at(phase);
    let before = bench.server.saved();
    let start = TransferStart { blob_id: OTHER_ID, ..START };
    assert_eq!(bench.transfer_status(Message::TransferStart(start)).0, status);
    assert_eq!((bench.server.phase(), bench.server.saved()), (phase, before));
}

#[test]
fn transfer_start_without_mode_is_ignored_in_every_phase() {
    for phase in PHASES {
        let start = TransferStart { mode: TransferMode::None, ..START };
        assert_eq!(Bench::at(phase).send(Message::TransferStart(start)), None);
    }
}

#[rstest]
#[case::fits(START, Status::Success)]
#[case::largest_blob(TransferStart { size: 524_288, ..START }, Status::Success)]
#[case::one_octet_too_large(TransferStart { size: 524_289, ..START }, Status::BlobTooLarge)]
#[case::empty(TransferStart { size: 0, ..START }, Status::InvalidParameter)]
#[case::smallest_block(TransferStart { block_size_log: 8, ..START }, Status::Success)]
#[case::block_too_small(TransferStart { block_size_log: 7, ..START }, Status::InvalidBlockSize)]
#[case::largest_block(TransferStart { block_size_log: 12, ..START }, Status::Success)]
#[case::block_too_large(TransferStart { block_size_log: 13, ..START }, Status::InvalidBlockSize)]
#[case::as_many_blocks_as_are_tracked(TransferStart { size: 262_144, block_size_log: 8, ..START }, Status::Success)]
#[case::one_block_too_many(TransferStart { size: 262_145, block_size_log: 8, ..START }, Status::InvalidParameter)]
#[case::bitmap_fits_the_mtu(TransferStart { size: 8 * 256, block_size_log: 8, client_mtu: 20, ..START }, Status::Success)]
#[case::bitmap_exceeds_the_mtu(TransferStart { size: 8 * 256 + 1, block_size_log: 8, client_mtu: 20, ..START }, Status::InvalidParameter)]
#[case::too_large_comes_before_block_size(TransferStart { size: 524_289, block_size_log: 7, ..START }, Status::BlobTooLarge)]
fn transfer_start_is_checked_in_order(#[case] start: TransferStart, #[case] status: Status) {
    let mut bench = Bench::at(Phase::WaitingForStart);
    let accepted = status == Status::Success;
    let phase = if accepted { Phase::WaitingForBlock } else { Phase::WaitingForStart };
    let answer = bench.transfer_status(Message::TransferStart(start));
    assert_eq!((answer.0, answer.1), (status, phase));
    assert_eq!(bench.events(), if accepted { std::vec![ServerEvent::Started] } else { std::vec![] });
    assert_eq!(bench.server.progress().0, 0);
}

#[test]
fn transfer_start_without_storage_is_an_internal_error_before_the_mode_is_looked_at() {
    let mut bench = Bench::at(Phase::WaitingForStart);
    bench.server.capabilities.push = false;
    bench.sink.refuse_transfer = true;
    assert_eq!(bench.transfer_status(Message::TransferStart(START)).0, Status::InternalError);
    bench.sink.refuse_transfer = false;
    assert_eq!(bench.transfer_status(Message::TransferStart(START)).0, Status::UnsupportedMode);
}

#[rstest]
#[case(Phase::WaitingForBlock, Phase::WaitingForBlock, 0b111)]
#[case(Phase::WaitingForChunk, Phase::WaitingForChunk, 0b111)]
#[case(Phase::Complete, Phase::Complete, 0)]
#[case::resumes(Phase::Suspended, Phase::WaitingForBlock, 0b110)]
fn the_same_transfer_start_again_is_a_success(#[case] phase: Phase, #[case] then: Phase, #[case] missing: u8) {
    let mut bench = Bench::at(phase);
    assert_eq!(bench.transfer_status(Message::TransferStart(START)), (Status::Success, then, Some(missing)));
    let resumed = phase == Phase::Suspended;
    assert_eq!(bench.events(), if resumed { std::vec![ServerEvent::Resumed] } else { std::vec![] });
    if resumed {
        assert_eq!(bench.server.next_wakeup(), Some(bench.now + T_SRV));
    }
}

#[rstest]
#[case::size(TransferStart { size: 2501, ..START })]
#[case::block(TransferStart { block_size_log: 11, ..START })]
#[case::mtu(TransferStart { client_mtu: 379, ..START })]
#[case::mode(TransferStart { mode: TransferMode::Pull, ..START })]
fn a_different_parameter_later_is_the_wrong_phase(#[case] start: TransferStart) {
    for phase in [Phase::WaitingForBlock, Phase::WaitingForChunk, Phase::Complete, Phase::Suspended] {
        let mut bench = Bench::at(phase);
        let answer = bench.transfer_status(Message::TransferStart(start));
        assert_eq!((answer.0, answer.1), (Status::WrongPhase, phase));
    }
}

#[test]
fn an_mtu_above_the_limit_is_the_same_as_the_limit() {
    let mut bench = Bench::at(Phase::WaitingForBlock);
    let start = TransferStart { client_mtu: 384, ..START };
    assert_eq!(bench.transfer_status(Message::TransferStart(start)).0, Status::Success);
}

#[test]
fn transfer_get_is_answered_in_every_phase_and_changes_none() {
    for phase in PHASES {
        let mut bench = Bench::at(phase);
        let answer = bench.transfer_status(Message::TransferGet);
        assert_eq!((answer.0, answer.1, bench.server.phase()), (Status::Success, phase, phase));
    }
}

#[test]
fn transfer_get_ends_a_pull_transfer_that_has_every_block() {
    let mut bench = Bench::pull_at(Phase::WaitingForBlock);
    (0..3).for_each(|block| bench.whole_block(block));
    assert_eq!(bench.server.phase(), Phase::WaitingForBlock);
    assert_eq!(bench.transfer_status(Message::TransferGet), (Status::Success, Phase::Complete, Some(0)));
    assert_eq!(bench.events().last(), Some(&ServerEvent::Completed));
}

#[test]
fn cancel_drops_the_right_transfer_in_every_phase() {
    for phase in PHASES {
        let mut bench = Bench::at(phase);
        let held = phase != Phase::Inactive;
        let wrong = if held { Status::WrongBlobId } else { Status::Success };
        assert_eq!(bench.transfer_status(Message::TransferCancel(OTHER_ID)).0, wrong);
        assert_eq!(bench.server.phase(), phase);
        assert_eq!(bench.transfer_status(Message::TransferCancel(ID)), (Status::Success, Phase::Inactive, None));
        assert_eq!(bench.events(), if held { std::vec![ServerEvent::Cancelled] } else { std::vec![] });
        assert_eq!((bench.server.saved(), bench.server.next_wakeup()), (None, None));
    }
}

#[rstest]
#[case::inactive(Phase::Inactive, 0, 100, Status::WrongPhase, Phase::Inactive)]
#[case::before_start(Phase::WaitingForStart, 0, 100, Status::WrongPhase, Phase::WaitingForStart)]
#[case::new_block(Phase::WaitingForBlock, 1, 100, Status::Success, Phase::WaitingForChunk)]
#[case::last_block(Phase::WaitingForBlock, 2, 100, Status::Success, Phase::WaitingForChunk)]
#[case::block_past_the_end(Phase::WaitingForBlock, 3, 100, Status::InvalidBlockNumber, Phase::WaitingForBlock)]
#[case::smallest_chunk(Phase::WaitingForBlock, 1, 4, Status::Success, Phase::WaitingForChunk)]
#[case::too_many_chunks(Phase::WaitingForBlock, 1, 3, Status::InvalidChunkSize, Phase::WaitingForBlock)]
#[case::no_chunk_size(Phase::WaitingForBlock, 1, 0, Status::InvalidChunkSize, Phase::WaitingForBlock)]
#[case::largest_chunk(Phase::WaitingForBlock, 1, 377, Status::Success, Phase::WaitingForChunk)]
#[case::chunk_too_large(Phase::WaitingForBlock, 1, 378, Status::InvalidChunkSize, Phase::WaitingForBlock)]
#[case::same_block_again(Phase::WaitingForChunk, 0, 100, Status::Success, Phase::WaitingForChunk)]
#[case::different_block(Phase::WaitingForChunk, 1, 100, Status::WrongPhase, Phase::WaitingForChunk)]
#[case::different_size(Phase::WaitingForChunk, 0, 99, Status::WrongPhase, Phase::WaitingForChunk)]
#[case::after_the_end(Phase::Complete, 1, 100, Status::Success, Phase::Complete)]
#[case::suspended(Phase::Suspended, 1, 100, Status::Success, Phase::WaitingForChunk)]
#[case::suspended_and_done(Phase::Suspended, 0, 100, Status::Success, Phase::Suspended)]
fn block_start_by_phase(
    #[case] phase: Phase,
    #[case] block: u16,
    #[case] chunk_size: u16,
    #[case] status: Status,
    #[case] then: Phase,
) {
    let mut bench = Bench::at(phase);
    assert_eq!(bench.block_start(block, chunk_size).0, status);
    assert_eq!(bench.server.phase(), then);
}

#[test]
fn block_start_of_a_block_that_is_done_says_none_missing() {
    let mut bench = Bench::at(Phase::WaitingForBlock);
    bench.whole_block(0);
    let begun = bench.sink.begun.len();
    let message = Message::BlockStart(BlockStart { block: 0, chunk_size: 100 });
    bench.block_status_with(message, |status| {
        assert_eq!(status.missing, MissingChunks::None);
        assert_eq!((status.status, status.block, status.chunk_size), (Status::Success, 0, 100));
    });
    assert_eq!((bench.server.phase(), bench.sink.begun.len()), (Phase::WaitingForBlock, begun));
}

#[test]
fn block_start_repeated_keeps_progress() {
    let mut bench = Bench::at(Phase::WaitingForChunk);
    assert_eq!(bench.block_start(0, 100), (Status::Success, 10));
    assert_eq!(bench.sink.begun, [(0, 1024)]);
}

#[test]
fn block_start_without_storage_is_an_internal_error_and_no_block_begins() {
    let mut bench = Bench::at(Phase::WaitingForBlock);
    bench.sink.refuse_begin = true;
    assert_eq!(bench.block_start(1, 100).0, Status::InternalError);
    assert_eq!(bench.server.phase(), Phase::WaitingForBlock);
}

#[rstest]
#[case::middle(1, 100, true)]
#[case::too_short(1, 99, false)]
#[case::too_long(1, 101, false)]
#[case::last(10, 24, true)]
#[case::last_too_long(10, 25, false)]
#[case::last_at_full_size(10, 100, false)]
#[case::past_the_end(11, 24, false)]
fn a_chunk_is_stored_once_if_number_and_length_are_right(
    #[case] number: u16,
    #[case] len: usize,
    #[case] stored: bool,
) {
    let mut bench = Bench::at(Phase::WaitingForChunk);
    for _ in 0..2 {
        assert_eq!(bench.chunk(number, len), None, "a chunk is never answered in Push mode");
    }
    let mut expected = std::vec![(0, 100)];
    expected.extend(stored.then_some((u32::from(number) * 100, len)));
    assert_eq!(bench.sink.chunks, expected);
}

#[test]
fn chunks_in_other_phases_are_dropped() {
    for phase in PHASES.into_iter().filter(|phase| *phase != Phase::WaitingForChunk) {
        let mut bench = Bench::at(phase);
        let before = bench.sink.chunks.len();
        assert_eq!(bench.chunk(0, 100), None);
        assert_eq!(bench.sink.chunks.len(), before);
    }
}

#[test]
fn a_duplicate_chunk_restarts_the_timer_and_a_wrong_one_does_not() {
    let mut bench = Bench::at(Phase::WaitingForChunk);
    bench.pass(Duration::from_secs(20));
    bench.chunk(0, 99);
    assert_eq!(bench.server.next_wakeup(), Some(Instant::from_ticks(0) + T_SRV));
    bench.chunk(0, 100);
    assert_eq!(bench.server.next_wakeup(), Some(bench.now + T_SRV));
}

#[test]
fn the_last_chunk_ends_the_block_and_the_last_block_the_transfer() {
    let mut bench = Bench::at(Phase::WaitingForBlock);
    bench.whole_block(1);
    assert_eq!(
        (bench.server.phase(), bench.events()),
        (Phase::WaitingForBlock, std::vec![ServerEvent::BlockStored(1)])
    );
    bench.whole_block(0);
    bench.whole_block(2);
    assert_eq!(bench.server.phase(), Phase::Complete);
    let events = bench.events();
    assert_eq!(events, [ServerEvent::BlockStored(0), ServerEvent::BlockStored(2), ServerEvent::Completed]);
    assert_eq!(bench.sink.ended, [(1, 1024, 1024), (0, 0, 1024), (2, 2048, 452)]);
    assert_eq!(bench.server.next_wakeup(), None);
}

#[test]
fn a_block_that_cannot_be_stored_is_missing_and_the_transfer_suspended() {
    let mut bench = Bench::at(Phase::WaitingForBlock);
    bench.whole_block(0);
    bench.events();
    bench.sink.refuse_end = true;
    bench.whole_block(1);
    assert_eq!((bench.server.phase(), bench.server.progress()), (Phase::Suspended, (1, 3)));
    assert_eq!(bench.events(), [ServerEvent::Failed]);
}

#[rstest]
#[case(Phase::Inactive, Status::WrongPhase)]
#[case(Phase::WaitingForStart, Status::WrongPhase)]
#[case(Phase::WaitingForBlock, Status::Success)]
#[case(Phase::WaitingForChunk, Status::Success)]
#[case(Phase::Complete, Status::Success)]
#[case(Phase::Suspended, Status::InformationUnavailable)]
fn block_get_by_phase(#[case] phase: Phase, #[case] status: Status) {
    let mut bench = Bench::at(phase);
    let (code, block) = bench.block_status_with(Message::BlockGet, |answer| (answer.status, answer.block));
    assert_eq!(code, status);
    let set = matches!(phase, Phase::WaitingForChunk | Phase::Complete);
    assert_eq!(block != 0xFFFF, set, "0xFFFF when no block is set");
}

#[test]
fn block_get_takes_the_shortest_list() {
    let mut bench = Bench::at(Phase::WaitingForBlock);
    bench.block_start(0, 100);
    bench.block_status_with(Message::BlockGet, |answer| assert_eq!(answer.missing, MissingChunks::All));
    (0..9).for_each(|number| assert_eq!(bench.chunk(number, 100), None));
    // Chunks 9 and 10: bitmap and list are equally long.
    bench.block_status_with(Message::BlockGet, |answer| {
        assert_eq!(answer.missing, MissingChunks::Bitmap(&[0b0000_0000, 0b0000_0110]));
    });
    bench.chunk(9, 100);
    bench.block_status_with(Message::BlockGet, |answer| assert_eq!(answer.missing, MissingChunks::Encoded(&[10])));
    bench.chunk(10, 24);
    bench.block_status_with(Message::BlockGet, |answer| assert_eq!(answer.missing, MissingChunks::None));
}

#[test]
fn information_get_is_answered_in_every_phase() {
    for phase in PHASES {
        let bytes = Bench::at(phase).send(Message::InformationGet).unwrap();
        let expected = AccessMessage::Blob(Message::InformationStatus(capabilities()));
        assert_eq!(AccessMessage::decode(&bytes), Ok(expected));
    }
}

#[test]
fn waiting_for_start_is_given_up_after_both_timeouts() {
    let mut bench = Bench::at(Phase::WaitingForStart);
    let wait = client_timeout(TIMEOUT_BASE, 7) + T_SRV;
    assert_eq!(bench.server.next_wakeup(), Some(bench.now + wait));
    bench.pass(wait - Duration::from_micros(1));
    assert_eq!(bench.server.phase(), Phase::WaitingForStart);
    bench.pass(Duration::from_micros(1));
    assert_eq!((bench.server.phase(), bench.events()), (Phase::Inactive, std::vec![ServerEvent::Cancelled]));
}

#[rstest]
#[case(Phase::WaitingForBlock)]
#[case(Phase::WaitingForChunk)]
fn a_silent_client_suspends_the_transfer_after_t_srv(#[case] phase: Phase) {
    let mut bench = Bench::at(phase);
    bench.pass(T_SRV - Duration::from_micros(1));
    assert_eq!(bench.server.phase(), phase);
    bench.pass(Duration::from_micros(1));
    assert_eq!((bench.server.phase(), bench.events()), (Phase::Suspended, std::vec![ServerEvent::Suspended]));
    assert_eq!(bench.server.next_wakeup(), None);
}

#[test]
fn suspension_loses_the_unfinished_block_only() {
    let mut bench = Bench::at(Phase::WaitingForBlock);
    bench.whole_block(0);
    bench.block_start(1, 100);
    bench.chunk(0, 100);
    bench.pass(T_SRV);
    assert_eq!(bench.server.progress(), (1, 3));
    assert_eq!(bench.block_start(1, 100), (Status::Success, 11));
    assert!(bench.events().ends_with(&[ServerEvent::Suspended, ServerEvent::Resumed]));
}

#[rstest]
#[case::zero(0, 10)]
#[case::ten(10, 110)]
#[case::largest(65_535, 655_360)]
fn t_srv_is_ten_seconds_times_base_plus_one(#[case] base: u16, #[case] seconds: u64) {
    assert_eq!(server_timeout(base), Duration::from_secs(seconds));
}

#[test]
fn answers_carry_the_ttl_of_the_transfer() {
    let mut bench = Bench::at(Phase::Inactive);
    let ttl =
        |bench: &mut Bench, message| bench.server.on_message(bench.now, CLIENT, &message, &mut bench.sink).unwrap().ttl;
    assert_eq!(ttl(&mut bench, Message::TransferGet), DEFAULT_TTL);
    let mut bench = Bench::at(Phase::WaitingForBlock);
    assert_eq!(ttl(&mut bench, Message::BlockGet), 7);
    assert_eq!(ttl(&mut bench, Message::TransferCancel(ID)), 7);
    assert_eq!(ttl(&mut bench, Message::TransferGet), DEFAULT_TTL);
}

#[test]
fn messages_for_clients_are_ignored() {
    let mut bench = Bench::at(Phase::WaitingForChunk);
    assert_eq!(bench.send(Message::InformationStatus(capabilities())), None);
    assert_eq!(bench.send(Message::PartialBlockReport(MissingChunks::None)), None);
}

#[rstest]
#[case(Phase::Inactive, Phase::Inactive, 0)]
#[case(Phase::WaitingForStart, Phase::WaitingForStart, 0)]
#[case(Phase::WaitingForBlock, Phase::Suspended, 0)]
#[case(Phase::WaitingForChunk, Phase::Suspended, 0)]
#[case(Phase::Complete, Phase::Complete, 3)]
#[case(Phase::Suspended, Phase::Suspended, 1)]
fn a_reboot_keeps_finished_blocks(#[case] before: Phase, #[case] after: Phase, #[case] blocks: u16) {
    let saved = Bench::at(before).server.saved();
    let mut server = BlobServer::new(capabilities(), PullPolicy::default());
    if let Some(saved) = &saved {
        server.restore(Instant::from_ticks(1), saved);
    }
    assert_eq!((server.phase(), server.progress().0, server.saved()), (after, blocks, saved));
}

#[test]
fn a_stored_transfer_that_makes_no_sense_is_not_taken_up() {
    let saved = Bench::at(Phase::Suspended).server.saved().unwrap();
    for (size, block_size_log) in [(0, 10), (2500, 5), (2500, 33), (u32::MAX, 6)] {
        let parameters = SavedParameters { size, block_size_log, ..saved.parameters.unwrap() };
        let mut server = BlobServer::new(capabilities(), PullPolicy::default());
        server.restore(Instant::from_ticks(0), &SavedTransfer { parameters: Some(parameters), ..saved });
        assert_eq!(server.phase(), Phase::Inactive);
    }
}
