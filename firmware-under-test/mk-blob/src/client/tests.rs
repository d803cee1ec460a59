//! Decisions of section 6, one by one: whom to ask, whom to drop, what to ignore.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use mk_wire::AccessMessage;
use mk_wire::blob::{BlobId, BlockStatus, MissingChunks, Phase, Status, Transfer, TransferStatus};
use rstest::rstest;
use std::string::String;
use std::vec::Vec;

const ID: BlobId = BlobId(7);
const GROUP: Addr = Addr(0xC001);
const A: Addr = Addr(0x0101);
const B: Addr = Addr(0x0102);
const C: Addr = Addr(0x0103);

/// Two blocks of 1,024 and 452 octets in chunks of 100: 11 and 5.
fn config() -> Config {
    Config {
        blob_id: ID,
        size: 1476,
        mode: TransferMode::Push,
        ttl: 5,
        timeout_base: 0,
        mtu: 380,
        group: Some(GROUP),
        own_address: Addr(1),
        ask_capabilities: false,
        sizes: Some(Sizes { block_size_log: 10, chunk_size: 100 }),
        policy: Policy {
            repeat: Repeat::Polls { status_wait: Duration::from_millis(800), status_polls: 2, group_above: 1 },
            settle: Duration::from_millis(60),
            block_retries: 2,
        },
    }
}

struct Zeros;

impl BlobSource for Zeros {
    fn read(&mut self, _offset: u32, out: &mut [u8]) {
        out.fill(0);
    }
}

struct Bench {
    client: BlobClient<4>,
    now: Instant,
}

impl Bench {
    fn new(config: Config, targets: &[Addr]) -> Self {
        let mut client = BlobClient::new(config, targets.iter().copied()).unwrap();
        client.start(Instant::from_ticks(0));
        Bench { client, now: Instant::from_ticks(0) }
    }

    /// The next message as "receiver name", or nothing.
    fn poll(&mut self) -> Option<String> {
        let mut out = [0; 380];
        let sent = self.client.poll_transmit(self.now, true, &mut Zeros, &mut out)?;
        let Ok(AccessMessage::Blob(message)) = AccessMessage::decode(&out[..sent.len]) else { panic!("undecodable") };
        let name = match message {
            Message::TransferStart(_) => String::from("start"),
            Message::BlockStart(start) => std::format!("block {}", start.block),
            Message::Chunk(chunk) => std::format!("chunk {}", chunk.number),
            Message::BlockGet => String::from("get"),
            Message::TransferGet => String::from("end"),
            Message::TransferCancel(_) => String::from("cancel"),
            Message::InformationGet => String::from("information"),
            other => panic!("{other:?}"),
        };
        Some(std::format!("{} {name}", sent.to))
    }

    /// Everything that is sent without waiting.
    fn poll_all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.poll()).collect()
    }

    fn wait(&mut self) -> Vec<String> {
        self.now = self.client.next_wakeup().unwrap().max(self.now);
        self.poll_all()
    }

    fn transfer_status(&mut self, from: Addr, status: Status, phase: Phase, missing: u8) {
        let (blob_id, running) = match phase {
            Phase::Inactive => (None, false),
            Phase::WaitingForStart => (Some(ID), false),
            _ => (Some(ID), true),
        };
        let missing = [missing];
        let transfer = Transfer { size: 1476, block_size_log: 10, mtu: 380, blocks_missing: &missing };
        let answer =
            TransferStatus { status, mode: TransferMode::Push, phase, blob_id, transfer: running.then_some(transfer) };
        self.client.on_message(self.now, from, &Message::TransferStatus(answer));
    }

    fn started(&mut self, targets: &[Addr]) {
        for target in targets {
            self.transfer_status(*target, Status::Success, Phase::WaitingForBlock, 0b11);
        }
    }

    fn block_status(&mut self, from: Addr, status: Status, block: u16, missing: MissingChunks<'_>) {
        let answer = BlockStatus { status, block, chunk_size: 100, missing };
        self.client.on_message(self.now, from, &Message::BlockStatus(answer));
    }

    fn state_of(&self, addr: Addr) -> TargetState {
        self.client.targets().iter().find(|target| target.addr() == addr).unwrap().state()
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }
}

#[rstest]
#[case::fits(config(), &[A, B, C], None)]
#[case::empty(Config { size: 0, ..config() }, &[A], Some(ConfigError::Empty))]
#[case::no_targets(config(), &[], Some(ConfigError::NoTargets))]
#[case::as_many_as_fit(config(), &[A, B, C, Addr(4)], None)]
#[case::one_too_many(config(), &[A, B, C, Addr(4), Addr(5)], Some(ConfigError::TooManyTargets { limit: 4 }))]
#[case::group_as_target(config(), &[GROUP], Some(ConfigError::TargetAddress { addr: GROUP }))]
#[case::twice(config(), &[A, B, A], Some(ConfigError::TargetAddress { addr: A }))]
#[case::unicast_as_group(Config { group: Some(A), ..config() }, &[A], Some(ConfigError::Group { addr: A }))]
#[case::no_mode(Config { mode: TransferMode::None, ..config() }, &[A], Some(ConfigError::Prohibited))]
#[case::largest_ttl(Config { ttl: 0x7F, ..config() }, &[A], None)]
#[case::ttl_prohibited(Config { ttl: 0x80, ..config() }, &[A], Some(ConfigError::Prohibited))]
#[case::no_sizes(Config { sizes: None, ..config() }, &[A], Some(ConfigError::NoSizes))]
fn a_transfer_that_cannot_be_made_is_refused(
    #[case] config: Config,
    #[case] targets: &[Addr],
    #[case] error: Option<ConfigError>,
) {
    assert_eq!(BlobClient::<4>::new(config, targets.iter().copied()).err(), error);
}

#[rstest]
#[case::most_chunks(12, 16, true)]
#[case::too_many_chunks(12, 15, false)]
#[case::largest_chunk(12, 377, true)]
#[case::chunk_over_mtu(12, 378, false)]
#[case::smallest_block(6, 64, true)]
#[case::block_too_small(5, 64, false)]
fn sizes_are_checked_before_anything_is_sent(#[case] log: u8, #[case] chunk_size: u16, #[case] possible: bool) {
    let sizes = Sizes { block_size_log: log, chunk_size };
    let error = BlobClient::<4>::new(Config { sizes: Some(sizes), ..config() }, [A]).err();
    assert_eq!(error, (!possible).then_some(ConfigError::Sizes { sizes }));
}

#[rstest]
#[case::most_blocks(1024 * 64, true)]
#[case::one_too_many(1024 * 64 + 1, false)]
fn no_more_blocks_than_can_be_tracked(#[case] size: u32, #[case] possible: bool) {
    let sizes = Some(Sizes { block_size_log: 6, chunk_size: 64 });
    assert_eq!(BlobClient::<4>::new(Config { size, sizes, ..config() }, [A]).is_ok(), possible);
}

#[test]
fn many_silent_targets_are_asked_by_group_and_few_by_unicast() {
    let mut bench = Bench::new(config(), &[A, B, C]);
    assert_eq!(bench.poll_all(), ["c001 start"]);
    bench.started(&[A]);
    assert_eq!(bench.wait(), ["c001 start"], "two are silent, one is the limit");
    bench.started(&[B]);
    assert_eq!(bench.wait(), ["0103 start"]);
    bench.started(&[C]);
    assert_eq!(bench.poll_all(), ["c001 block 0"]);
}

#[test]
fn without_a_group_each_silent_target_is_asked_in_turn() {
    let mut bench = Bench::new(Config { group: None, ..config() }, &[C, A, B]);
    assert_eq!(bench.poll_all(), ["0101 start", "0102 start", "0103 start"]);
    bench.started(&[A]);
    assert_eq!(bench.wait(), ["0102 start", "0103 start"]);
}

#[test]
fn a_target_is_dropped_after_the_last_poll_and_not_before() {
    let mut bench = Bench::new(config(), &[A, B]);
    bench.poll_all();
    bench.started(&[A]);
    assert_eq!(bench.wait(), ["0102 start"]);
    assert_eq!(bench.wait(), ["0102 start"]);
    assert_eq!(bench.state_of(B), TargetState::Active);
    assert_eq!(bench.now, Instant::from_ticks(1_600_000));
    assert_eq!(bench.wait(), ["c001 block 0"]);
    assert_eq!(bench.now, Instant::from_ticks(2_400_000));
    assert_eq!(bench.state_of(B), TargetState::Dropped(DropReason::Timeout));
}

#[test]
fn the_zephyr_policy_asks_five_times_and_drops_after_t_cli() {
    let policy = Policy { repeat: Repeat::FifthsOfTimeout, ..config().policy };
    let mut bench = Bench::new(Config { policy, ..config() }, &[A, B]);
    assert_eq!(bench.poll_all(), ["c001 start"]);
    bench.started(&[A]);
    for _ in 0..4 {
        assert_eq!(bench.wait(), ["c001 start"], "to the group again although one is silent");
    }
    assert_eq!(bench.wait(), ["c001 block 0"]);
    // T_cli = 10 s x 2 + 100 ms x 5.
    assert_eq!(bench.now, Instant::from_ticks(20_500_000));
    assert_eq!(bench.state_of(B), TargetState::Dropped(DropReason::Timeout));
}

#[rstest]
#[case::refused(Status::BlobTooLarge, Phase::WaitingForStart, Some(DropReason::Status(Status::BlobTooLarge)))]
#[case::not_expected(Status::WrongPhase, Phase::Inactive, Some(DropReason::Status(Status::WrongPhase)))]
#[case::wrong_phase(Status::Success, Phase::Suspended, Some(DropReason::WrongPhase(Phase::Suspended)))]
#[case::between_blocks(Status::Success, Phase::WaitingForBlock, None)]
#[case::resumed_inside_a_block(Status::Success, Phase::WaitingForChunk, None)]
#[case::had_it_before(Status::Success, Phase::Complete, None)]
fn transfer_start_answers(#[case] status: Status, #[case] phase: Phase, #[case] dropped: Option<DropReason>) {
    let mut bench = Bench::new(config(), &[A, B]);
    bench.poll_all();
    bench.transfer_status(A, status, phase, if phase == Phase::Complete { 0 } else { 0b11 });
    assert_eq!(bench.state_of(A), dropped.map_or(TargetState::Active, TargetState::Dropped));
    let event = dropped.map(|why| ClientEvent::TargetDropped { addr: A, why });
    assert_eq!(bench.events().contains(&event.unwrap_or(ClientEvent::Failed)), dropped.is_some());
}

#[test]
fn with_every_target_refusing_the_transfer_fails_and_does_not_suspend() {
    let mut bench = Bench::new(config(), &[A, B]);
    bench.poll_all();
    for target in [A, B] {
        bench.transfer_status(target, Status::BlobTooLarge, Phase::WaitingForStart, 0);
    }
    assert_eq!(bench.poll_all(), [""; 0]);
    assert_eq!(bench.client.state(), ClientState::Failed);
    assert_eq!(bench.events().last(), Some(&ClientEvent::Failed));
}

#[test]
fn only_blocks_that_somebody_misses_are_sent() {
    let mut bench = Bench::new(config(), &[A, B]);
    bench.poll_all();
    bench.transfer_status(A, Status::Success, Phase::WaitingForBlock, 0b10);
    bench.transfer_status(B, Status::Success, Phase::Complete, 0b00);
    assert_eq!(bench.poll_all(), ["c001 block 1"]);
    assert_eq!(bench.client.progress(), (1, 2));
}

/// Two targets that wait for the chunks of block 0.
fn inside_block_0() -> Bench {
    let mut bench = Bench::new(config(), &[A, B]);
    bench.poll_all();
    bench.started(&[A, B]);
    assert_eq!(bench.poll_all(), ["c001 block 0"]);
    bench.block_status(A, Status::Success, 0, MissingChunks::All);
    bench.block_status(B, Status::Success, 0, MissingChunks::All);
    bench
}

#[test]
fn a_round_is_every_chunk_then_a_pause_then_block_get() {
    let mut bench = inside_block_0();
    let sent = bench.poll_all();
    assert_eq!((sent.len(), sent[0].as_str(), sent[10].as_str()), (11, "c001 chunk 0", "c001 chunk 10"));
    bench.now += Duration::from_micros(59_999);
    assert_eq!(bench.poll_all(), [""; 0]);
    bench.now += Duration::from_micros(1);
    assert_eq!(bench.poll_all(), ["c001 get"]);
}

#[test]
fn chunks_wait_for_permission_and_say_how_long_they_are() {
    let mut bench = inside_block_0();
    let mut out = [0; 380];
    assert!(bench.client.poll_transmit(bench.now, false, &mut Zeros, &mut out).is_none());
    assert_eq!((bench.client.next_chunk_len(), bench.client.next_wakeup()), (Some(103), None));
    for _ in 0..10 {
        bench.poll();
    }
    assert_eq!(bench.client.next_chunk_len(), Some(3 + 24));
}

/// After the first round of block 0, with Block Get sent.
fn asked_for_block_0() -> Bench {
    let mut bench = inside_block_0();
    bench.poll_all();
    assert_eq!(bench.wait(), ["c001 get"]);
    bench
}

#[test]
fn the_union_of_what_is_missing_is_sent_again() {
    let mut bench = asked_for_block_0();
    bench.block_status(A, Status::Success, 0, MissingChunks::Encoded(&[3, 7]));
    bench.block_status(B, Status::Success, 0, MissingChunks::Bitmap(&[0b1000_0010, 0b0000_0000]));
    assert_eq!(bench.poll_all(), ["c001 chunk 1", "c001 chunk 3", "c001 chunk 7"]);
    assert!(bench.events().contains(&ClientEvent::RoundDone { block: 0, round: 1, missing: 3, silent: 0 }));
}

#[test]
fn a_target_that_has_the_block_is_not_waited_for_again() {
    let mut bench = asked_for_block_0();
    bench.block_status(A, Status::Success, 0, MissingChunks::None);
    bench.block_status(B, Status::Success, 0, MissingChunks::Encoded(&[3]));
    assert_eq!(bench.poll_all(), ["c001 chunk 3"]);
    assert_eq!(bench.wait(), ["c001 get"]);
    bench.block_status(B, Status::Success, 0, MissingChunks::None);
    assert_eq!(bench.poll_all(), ["c001 block 1"]);
    let done = ClientEvent::BlockDone { block: 0, rounds: 2, chunks_sent: 12, resent: 1 };
    assert!(bench.events().contains(&done));
}

#[test]
fn answers_naming_another_block_are_ignored() {
    let mut bench = asked_for_block_0();
    bench.block_status(A, Status::Success, 1, MissingChunks::None);
    bench.block_status(A, Status::InvalidBlockNumber, 1, MissingChunks::None);
    assert_eq!((bench.state_of(A), bench.client.silent()), (TargetState::Active, 2));
}

#[test]
fn an_overtaken_answer_does_not_bring_chunks_back() {
    let mut bench = asked_for_block_0();
    bench.block_status(A, Status::Success, 0, MissingChunks::Encoded(&[3]));
    bench.block_status(B, Status::Success, 0, MissingChunks::None);
    bench.poll_all();
    assert_eq!(bench.wait(), ["c001 get"]);
    // The answer to the Block Start of long ago.
    bench.block_status(A, Status::Success, 0, MissingChunks::All);
    bench.block_status(B, Status::Success, 0, MissingChunks::All);
    assert_eq!(bench.poll_all(), ["c001 block 1"], "after two rounds A is given up for chunk 3, not for 11 chunks");
    assert!(bench.events().contains(&ClientEvent::RoundDone { block: 0, round: 2, missing: 1, silent: 0 }));
}

#[test]
fn lists_that_do_not_fit_the_block_are_no_answer() {
    let mut bench = asked_for_block_0();
    bench.block_status(A, Status::Success, 0, MissingChunks::Encoded(&[11]));
    bench.block_status(A, Status::Success, 0, MissingChunks::Bitmap(&[0xFF]));
    bench.block_status(A, Status::Success, 0, MissingChunks::Bitmap(&[0xFF, 0x08]));
    assert_eq!(bench.client.silent(), 2);
}

#[rstest]
#[case::names_the_block(0)]
#[case::no_block_set(0xFFFF)]
fn a_refusal_drops_the_target(#[case] block: u16) {
    let mut bench = asked_for_block_0();
    bench.block_status(A, Status::InformationUnavailable, block, MissingChunks::All);
    let why = DropReason::Status(Status::InformationUnavailable);
    assert_eq!(bench.state_of(A), TargetState::Dropped(why));
}

#[test]
fn a_target_still_incomplete_after_the_last_round_is_dropped() {
    let mut bench = asked_for_block_0();
    bench.block_status(A, Status::Success, 0, MissingChunks::None);
    bench.block_status(B, Status::Success, 0, MissingChunks::Encoded(&[3]));
    bench.poll_all();
    bench.wait();
    assert_eq!(bench.state_of(B), TargetState::Active);
    bench.block_status(B, Status::Success, 0, MissingChunks::Encoded(&[3]));
    assert_eq!(bench.poll_all(), ["c001 block 1"]);
    assert_eq!(bench.state_of(B), TargetState::Dropped(DropReason::Incomplete));
}

#[test]
fn the_last_transfer_get_decides_who_is_complete() {
    let mut bench = Bench::new(config(), &[A, B, C]);
    bench.poll_all();
    for target in [A, B, C] {
        bench.transfer_status(target, Status::Success, Phase::Complete, 0);
    }
    assert_eq!(bench.poll_all(), ["c001 end"]);
    bench.transfer_status(A, Status::Success, Phase::Complete, 0);
    bench.transfer_status(B, Status::Success, Phase::Suspended, 1);
    // Perhaps an old answer: asked again, and dropped when it stays at that.
    bench.transfer_status(C, Status::Success, Phase::WaitingForBlock, 1);
    assert_eq!(bench.wait(), ["0103 end"]);
    assert_eq!(bench.wait(), ["0103 end"]);
    assert_eq!(bench.wait(), [""; 0]);
    assert_eq!(bench.client.state(), ClientState::Completed);
    assert_eq!(bench.state_of(A), TargetState::Complete);
    assert_eq!(bench.state_of(B), TargetState::Dropped(DropReason::WrongPhase(Phase::Suspended)));
    assert_eq!(bench.state_of(C), TargetState::Dropped(DropReason::Timeout));
}

#[test]
fn the_client_itself_is_no_target() {
    let mut bench = Bench::new(Config { own_address: A, ..config() }, &[A, B]);
    bench.poll_all();
    bench.started(&[B]);
    assert_eq!(bench.poll_all(), ["c001 block 0"]);
    assert_eq!(bench.state_of(A), TargetState::OwnAddress);
    let mut alone = Bench::new(Config { own_address: A, ..config() }, &[A]);
    assert_eq!(alone.poll_all(), [""; 0]);
    assert_eq!(alone.client.state(), ClientState::Completed);
}

#[test]
fn drops_are_never_lost_however_many_there_are() {
    let mut bench = Bench::new(config(), &[A, B, C, Addr(4)]);
    bench.poll_all();
    for target in [A, B, C, Addr(4)] {
        bench.client.drop_target(target, DropReason::Timeout);
    }
    bench.poll_all();
    let events = bench.events();
    assert_eq!(events.iter().filter(|event| matches!(event, ClientEvent::TargetDropped { .. })).count(), 4);
    assert_eq!(events.last(), Some(&ClientEvent::Suspended));
}

#[test]
fn strangers_are_ignored() {
    let mut bench = asked_for_block_0();
    bench.block_status(Addr(0x0777), Status::Success, 0, MissingChunks::None);
    bench.transfer_status(Addr(0x0777), Status::Success, Phase::Complete, 0);
    assert_eq!(bench.client.silent(), 2);
}

#[rstest]
#[case(0, 0, 20_000)]
#[case(10, 2, 120_200)]
#[case::default_ttl_counts_raw(0, 0xFF, 45_500)]
fn t_cli_follows_the_formula(#[case] base: u16, #[case] ttl: u8, #[case] milliseconds: u64) {
    assert_eq!(client_timeout(base, ttl), Duration::from_millis(milliseconds));
}
