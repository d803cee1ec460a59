//! The Thread side against a scripted border router (protocol sheet section 14.3).

use mk_wire::{
    AccessMessage, Addr, Reason, Version,
    coap::{Block, Code, Encoder, Kind, Message, Token, option},
    metadata::FirmwareMetadata,
    time::Duration,
    update::Phase,
    vendor::{self, BootOutcome, ConfirmAck, LightSet},
};
use rstest::rstest;

use crate::bench::{Bench, GATEWAY, Image, ImageSpec, image, signed};
use mk_node::{Carrier, TraceEvent};

/// What happens to the answer to an image request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Twist {
    None,
    /// No answer at all.
    Silent,
    Code(Code, u32),
    WrongNumber,
    Short,
    TooLong,
    LastTooEarly,
    NoEtag,
    OtherEtag,
    OtherSize2,
    SmallerBlocks,
    LargerBlocks,
    Separate,
}

/// The border router.
struct Router {
    image: Image,
    manifest: Vec<u8>,
    etag: Vec<u8>,
    /// For the n-th image request from now on.
    script: Vec<(usize, Twist)>,
    /// Twist of every image request that the script does not name.
    otherwise: Twist,
    requests: usize,
    /// Block numbers and sizes asked for, in order.
    asked: Vec<(u32, u32)>,
    observer: Option<Token>,
    sequence: u32,
    message_id: u16,
    deaf: bool,
    posted: Vec<vendor::Message>,
}

impl Router {
    fn new(image: Image) -> Self {
        Router {
            manifest: image.metadata.to_bytes().to_vec(),
            etag: image.metadata.sha256[..8].to_vec(),
            image,
            script: vec![],
            otherwise: Twist::None,
            requests: 0,
            asked: vec![],
            observer: None,
            sequence: 1,
            message_id: 0x7000,
            deaf: false,
            posted: vec![],
        }
    }

    fn twist(&mut self) -> Twist {
        let number = self.requests;
        self.requests += 1;
        self.script.iter().find(|(at, _)| *at == number).map_or(self.otherwise, |(_, twist)| *twist)
    }

    /// The answers to one datagram of the node.
    fn answer(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let request = Message::decode(datagram).unwrap();
        if !request.code.is_request() {
            return vec![];
        }
        let piggyback = |code: Code, write: &dyn Fn(Encoder<'_>) -> usize| {
            let mut out = vec![0; 1_200];
            let len = {
                let encoder = Encoder::new(&mut out, Kind::Acknowledgement, code, request.message_id, request.token);
                write(encoder)
            };
            out.truncate(len);
            out
        };
        if request.options.path_is("mk") {
            if let Ok(AccessMessage::Vendor(message)) = AccessMessage::decode(request.payload) {
                self.posted.push(message);
            }
            return vec![piggyback(Code::CHANGED, &|e| e.finish().unwrap())];
        }
        if request.options.path_is("fw/manifest") {
            assert_eq!(request.options.observe(), Ok(Some(0)));
            self.observer = Some(request.token);
            let (sequence, body) = (self.sequence, self.manifest.clone());
            return vec![piggyback(Code::CONTENT, &|e| {
                e.uint(option::OBSERVE, sequence).payload(&body).finish().unwrap()
            })];
        }
        assert!(request.options.path_is("fw/image") || request.options.path_is("fw/other"), "{request:?}");
        let block = request.options.block2().unwrap().unwrap();
        self.asked.push((block.num(), block.size()));
        let twist = self.twist();
        let mut etag = self.etag.clone();
        let (mut num, mut szx, mut size2) = (block.num(), block.szx(), self.image.file.len() as u32);
        match twist {
            Twist::Silent => return vec![],
            Twist::Code(code, max_age) => {
                return vec![piggyback(code, &|e| e.uint(option::MAX_AGE, max_age).finish().unwrap())];
            }
            Twist::WrongNumber => num += 1,
            Twist::OtherEtag => {
                etag = vec![9; 8];
                self.etag.clone_from(&etag);
            }
            Twist::OtherSize2 => size2 += 1,
            Twist::SmallerBlocks => (num, szx) = (block.in_smaller(2).unwrap().num(), 2),
            Twist::LargerBlocks => (num, szx) = (num / 2, szx + 1),
            Twist::None | Twist::Short | Twist::TooLong | Twist::LastTooEarly | Twist::NoEtag | Twist::Separate => {}
        }
        let shape = Block::new(num, false, szx).unwrap();
        let start = (shape.offset() as usize).min(self.image.file.len());
        let end = (start + shape.size() as usize).min(self.image.file.len());
        let mut data = self.image.file[start..end].to_vec();
        let mut more = end < self.image.file.len();
        match twist {
            Twist::Short => data.truncate(100),
            Twist::TooLong => data.push(0),
            Twist::LastTooEarly => more = false,
            _ => {}
        }
        let block = Block::new(num, more, szx).unwrap();
        let write = |e: Encoder<'_>| {
            let e = if twist == Twist::NoEtag { e } else { e.option(option::ETAG, &etag) };
            e.block(option::BLOCK2, block).uint(option::SIZE2, size2).payload(&data).finish().unwrap()
        };
        if twist == Twist::Separate {
            self.message_id += 1;
            let empty = piggyback(Code::EMPTY, &|_| 4);
            let mut ack = empty[..4].to_vec();
            ack[0] = 0x60;
            let mut out = vec![0; 1_200];
            let len = write(Encoder::new(&mut out, Kind::Confirmable, Code::CONTENT, self.message_id, request.token));
            out.truncate(len);
            return vec![ack, out];
        }
        vec![piggyback(Code::CONTENT, &write)]
    }

    /// Hands over what is under way until nothing is.
    fn pump(&mut self, bench: &mut Bench) {
        for _ in 0..10_000 {
            let Some(sent) = bench.sent.pop_front() else { return };
            assert_eq!((sent.message.carrier, sent.message.to), (Carrier::Thread, GATEWAY));
            if !self.deaf {
                for answer in self.answer(&sent.message.bytes) {
                    bench.post(GATEWAY, &answer);
                }
            }
        }
        panic!("no end of requests");
    }

    fn run_secs(&mut self, bench: &mut Bench, secs: u64) {
        for _ in 0..secs * 10 {
            bench.run_for(Duration::from_millis(100));
            self.pump(bench);
        }
    }

    /// Tells an observer what the manifest is now; gives the node's answer.
    fn notify(&mut self, bench: &mut Bench) -> Kind {
        self.sequence += 1;
        self.message_id += 1;
        let mut out = vec![0; 300];
        let token = self.observer.unwrap_or(Token::new(&[1]).unwrap());
        let len = Encoder::new(&mut out, Kind::Confirmable, Code::CONTENT, self.message_id, token)
            .uint(option::OBSERVE, self.sequence)
            .payload(&self.manifest)
            .finish()
            .unwrap();
        bench.post(GATEWAY, &out[..len]);
        let reaction = bench
            .sent
            .iter()
            .filter_map(|sent| Message::decode(&sent.message.bytes).ok())
            .find(|m| m.message_id == self.message_id && m.code == Code::EMPTY)
            .unwrap();
        let kind = reaction.kind;
        self.pump(bench);
        kind
    }
}

fn new_image() -> Image {
    image(ImageSpec::new(2))
}

fn fetching() -> (Bench, Router) {
    (Bench::on_thread(), Router::new(new_image()))
}

/// A request of the gateway; gives code and payload of the answer.
fn request(bench: &mut Bench, from: Addr, code: Code, path: &str, payload: &[u8]) -> (Code, Vec<u8>) {
    let mut out = [0; 200];
    let len = Encoder::new(&mut out, Kind::Confirmable, code, 0x4242, Token::new(&[5, 6]).unwrap())
        .path(path)
        .payload(payload)
        .finish()
        .unwrap();
    bench.post(from, &out[..len]);
    let at = bench
        .sent
        .iter()
        .position(|sent| Message::decode(&sent.message.bytes).is_ok_and(|m| m.message_id == 0x4242))
        .expect("an answer");
    let sent = bench.sent.remove(at).unwrap();
    let answer = Message::decode(&sent.message.bytes).unwrap();
    assert_eq!((answer.kind, answer.token.octets(), sent.message.to), (Kind::Acknowledgement, &[5, 6][..], from));
    (answer.code, answer.payload.to_vec())
}

#[test]
fn an_image_is_fetched_verified_applied_and_confirmed() {
    let (mut bench, mut router) = fetching();
    router.run_secs(&mut bench, 10);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded, "{:?}", bench.traces);
    let blocks = router.image.file.len().div_ceil(256) as u32;
    assert_eq!(router.asked, (0..blocks).map(|num| (num, 256)).collect::<Vec<_>>());
    let told = router
        .posted
        .iter()
        .any(|m| matches!(m, vendor::Message::Report(report) if report.update_phase == Phase::VerificationSucceeded));
    assert!(told, "the gateway learns of the verdict without asking: {:?}", router.posted);
    let (code, status) = request(&mut bench, GATEWAY, Code::POST, "fw/apply", &[]);
    assert_eq!((code, &status[..3]), (Code::CHANGED, &[0x83, 0x10, 6 << 5][..]));
    bench.run_secs(1);
    assert_eq!(bench.runs(), Version::new(1, 2, 0));
    assert_eq!(
        request(&mut bench, GATEWAY, Code::GET, "fw/version", &[]),
        (Code::CONTENT, vec![0xFF, 0xFF, 1, 2, 0, 0, 0, 0, 0, 0])
    );
    router.run_secs(&mut bench, 5);
    let confirm = router.posted.iter().find_map(|m| if let vendor::Message::Confirm(c) = m { Some(*c) } else { None });
    let ack = vendor::Message::ConfirmAck(ConfirmAck { boot_count: confirm.unwrap().boot_count });
    let ack = AccessMessage::Vendor(ack).to_buffer().unwrap();
    assert_eq!(request(&mut bench, GATEWAY, Code::POST, "mk", &ack).0, Code::CHANGED);
    assert!(bench.node().is_confirmed());
    // What runs is not fetched again, however often it is offered.
    let asked = router.asked.len();
    router.notify(&mut bench);
    router.run_secs(&mut bench, 30);
    assert_eq!((router.asked.len(), bench.phase()), (asked, Phase::Idle));
}

#[test]
fn after_a_reset_the_fetch_goes_on_at_the_first_page_it_lacks() {
    let (mut bench, mut router) = fetching();
    // 16 blocks of 256 octets fill a page; the 35th is in the third page.
    router.script = vec![(35, Twist::Silent)];
    router.otherwise = Twist::None;
    router.run_secs(&mut bench, 6);
    assert_eq!(router.asked.last(), Some(&(35, 256)));
    bench.boot();
    bench.sent.clear();
    assert_eq!(bench.phase(), Phase::TransferError);
    router.asked.clear();
    let erased = bench.board.external.erased.len();
    router.run_secs(&mut bench, 10);
    assert_eq!(router.asked.first(), Some(&(32, 256)), "{:?}", bench.traces);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
    assert_eq!(bench.board.external.erased[erased..], [0x9000 + 0x2000]);
}

#[test]
fn after_a_reset_another_etag_means_starting_over() {
    let (mut bench, mut router) = fetching();
    router.script = vec![(35, Twist::Silent)];
    router.run_secs(&mut bench, 6);
    bench.boot();
    bench.sent.clear();
    router.asked.clear();
    router.etag = vec![1, 2, 3];
    router.run_secs(&mut bench, 10);
    assert_eq!(router.asked[..3], [(32, 256), (0, 256), (1, 256)]);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
}

#[test]
fn an_etag_that_changes_mid_way_means_starting_over() {
    let (mut bench, mut router) = fetching();
    router.script = vec![(20, Twist::OtherEtag)];
    router.run_secs(&mut bench, 10);
    assert_eq!(router.asked[19..23], [(19, 256), (20, 256), (0, 256), (1, 256)]);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
}

#[test]
fn a_manifest_that_changes_mid_way_is_checked_before_anything_else_is_erased() {
    let (mut bench, mut router) = fetching();
    router.script = vec![(20, Twist::Silent)];
    router.run_secs(&mut bench, 5);
    let other = signed(FirmwareMetadata { config_migration_version: 9, ..image(ImageSpec::new(3)).metadata });
    router.manifest = other.to_bytes().to_vec();
    let (operations, erased) = (bench.operations(), bench.board.external.erased.len());
    router.notify(&mut bench);
    assert!(bench.traces.contains(&TraceEvent::MetadataRefused(Reason::MigrationRequired)));
    assert_eq!((bench.operations(), bench.board.external.erased.len()), (operations, erased));
}

#[rstest]
#[case::wrong_number(Twist::WrongNumber)]
#[case::short_with_more(Twist::Short)]
#[case::longer_than_a_block(Twist::TooLong)]
#[case::the_end_too_early(Twist::LastTooEarly)]
#[case::no_etag(Twist::NoEtag)]
#[case::another_size(Twist::OtherSize2)]
#[case::larger_blocks_than_asked_for(Twist::LargerBlocks)]
#[case::past_the_end(Twist::Code(Code::BAD_REQUEST, 1))]
#[case::bad_option(Twist::Code(Code::BAD_OPTION, 1))]
fn a_bad_answer_is_asked_for_again_and_three_in_a_row_fail(#[case] twist: Twist) {
    let (mut bench, mut router) = fetching();
    router.script = vec![(5, twist), (6, twist), (20, twist)];
    router.run_secs(&mut bench, 10);
    assert_eq!(router.asked[5..8], [(5, 256); 3]);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded, "{:?}", bench.traces);

    let (mut bench, mut router) = fetching();
    router.script = vec![(5, twist), (6, twist), (7, twist)];
    router.run_secs(&mut bench, 20);
    assert_eq!((router.asked.len(), bench.phase()), (8, Phase::TransferError));
    // The next notification takes it up where it stood.
    router.script.clear();
    router.notify(&mut bench);
    router.run_secs(&mut bench, 5);
    assert_eq!((router.asked[8], bench.phase()), ((0, 256), Phase::VerificationSucceeded));
}

#[test]
fn smaller_blocks_are_taken_from_the_same_offset() {
    let (mut bench, mut router) = fetching();
    router.script = vec![(3, Twist::SmallerBlocks)];
    router.run_secs(&mut bench, 10);
    assert_eq!(router.asked[..5], [(0, 256), (1, 256), (2, 256), (3, 256), (13, 64)]);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
}

#[test]
fn a_response_of_its_own_is_acknowledged_and_counts() {
    let (mut bench, mut router) = fetching();
    router.otherwise = Twist::Separate;
    router.run_secs(&mut bench, 10);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
}

#[test]
fn five_sends_without_an_answer_then_a_pause_then_the_same_block() {
    let (mut bench, mut router) = fetching();
    router.script = (10..15).map(|n| (n, Twist::Silent)).collect();
    router.run_secs(&mut bench, 60);
    assert_eq!(router.asked[9..15], [[(9, 256)].as_slice(), &[(10, 256); 5]].concat());
    assert_eq!((router.asked.len(), bench.phase()), (15, Phase::TransferActive));
    // The last wait is up to 48 s, the pause 30 s.
    router.run_secs(&mut bench, 120);
    assert_eq!((router.asked[15], bench.phase()), ((10, 256), Phase::VerificationSucceeded));
    let stopped = TraceEvent::Phase { phase: Phase::TransferError, reason: Reason::TransferFailed };
    assert!(bench.traces.contains(&stopped));
}

#[rstest]
#[case::as_stated(20)]
#[case::longer(40)]
fn busy_means_wait_max_age(#[case] max_age: u32) {
    let (mut bench, mut router) = fetching();
    router.script = vec![(5, Twist::Code(Code::SERVICE_UNAVAILABLE, max_age))];
    router.run_secs(&mut bench, 5);
    assert_eq!(router.asked.len(), 6);
    router.run_secs(&mut bench, u64::from(max_age) - 5);
    assert_eq!((router.asked.len(), bench.phase()), (6, Phase::TransferActive));
    router.run_secs(&mut bench, 10);
    assert_eq!((router.asked[6], bench.phase()), ((5, 256), Phase::VerificationSucceeded));
}

#[test]
fn no_image_means_stop_and_report() {
    let (mut bench, mut router) = fetching();
    router.script = vec![(5, Twist::Code(Code::NOT_FOUND, 1))];
    router.run_secs(&mut bench, 60);
    assert_eq!((router.asked.len(), bench.phase()), (6, Phase::TransferError));
    assert!(router.posted.iter().any(|m| matches!(
        m,
        vendor::Message::Report(report) if report.update_phase == Phase::TransferError
    )));
}

#[rstest]
#[case::migration(FirmwareMetadata { config_migration_version: 2, ..new_image().metadata }, Reason::MigrationRequired)]
#[case::signature(FirmwareMetadata { size: 9_999, ..new_image().metadata }, Reason::MetadataSignatureBad)]
fn a_hopeless_offer_is_refused_before_any_request_or_write(#[case] metadata: FirmwareMetadata, #[case] reason: Reason) {
    let (mut bench, mut router) = fetching();
    router.manifest = metadata.to_bytes().to_vec();
    let operations = bench.operations();
    router.run_secs(&mut bench, 700);
    assert_eq!((bench.operations(), router.asked.len(), bench.phase()), (operations, 0, Phase::Idle));
    let refusals = bench.traces.iter().filter(|trace| **trace == TraceEvent::MetadataRefused(reason)).count();
    assert_eq!(refusals, 1, "said once, not at every refresh");
    assert!(router.posted.iter().any(|m| matches!(
        m,
        vendor::Message::Report(r) if (r.outcome, r.reason) == (BootOutcome::Rejected, reason)
    )));
}

#[test]
fn what_was_rolled_back_is_not_fetched_again_unless_the_gateway_asks() {
    let (mut bench, mut router) = fetching();
    router.run_secs(&mut bench, 10);
    request(&mut bench, GATEWAY, Code::POST, "fw/apply", &[]);
    bench.run_secs(1);
    bench.sent.clear();
    bench.boot();
    assert_eq!(bench.runs(), Version::new(1, 1, 0));
    let asked = router.asked.len();
    router.run_secs(&mut bench, 30);
    assert_eq!((router.asked.len(), bench.phase()), (asked, Phase::Idle));
    router.notify(&mut bench);
    router.run_secs(&mut bench, 5);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
}

#[test]
fn a_manifest_with_a_path_names_the_image() {
    let (mut bench, mut router) = fetching();
    router.manifest.extend(b"fw/other");
    router.run_secs(&mut bench, 10);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
}

#[test]
fn with_nothing_on_offer_the_node_waits_to_be_told() {
    let (mut bench, mut router) = fetching();
    let offer = core::mem::take(&mut router.manifest);
    router.run_secs(&mut bench, 60);
    assert_eq!((router.asked.len(), bench.phase()), (0, Phase::Idle));
    router.manifest = offer;
    assert_eq!(router.notify(&mut bench), Kind::Acknowledgement);
    router.run_secs(&mut bench, 5);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
}

#[test]
fn a_notification_that_nobody_asked_for_is_reset() {
    let mut bench = Bench::on_thread();
    let mut router = Router::new(new_image());
    assert_eq!(router.notify(&mut bench), Kind::Reset);
    assert_eq!(bench.phase(), Phase::Idle);
}

#[test]
fn a_gateway_that_is_away_is_found_again() {
    let (mut bench, mut router) = fetching();
    router.deaf = true;
    router.run_secs(&mut bench, 300);
    router.deaf = false;
    router.run_secs(&mut bench, 300);
    assert_eq!(bench.phase(), Phase::VerificationSucceeded);
}

#[rstest]
#[case::unknown_path(Code::GET, "fw/x", &[], Code::NOT_FOUND)]
#[case::apply_by_get(Code::GET, "fw/apply", &[], Code::METHOD_NOT_ALLOWED)]
#[case::version_by_post(Code::POST, "fw/version", &[], Code::METHOD_NOT_ALLOWED)]
#[case::message_by_put(Code::PUT, "mk", &[], Code::METHOD_NOT_ALLOWED)]
#[case::no_message(Code::POST, "mk", &[1, 2, 3], Code::BAD_REQUEST)]
#[case::nothing_to_apply(Code::POST, "fw/apply", &[], Code(4 << 5 | 9))]
fn a_request_that_makes_no_sense_is_refused(
    #[case] code: Code,
    #[case] path: &str,
    #[case] payload: &[u8],
    #[case] answer: Code,
) {
    let mut bench = Bench::on_thread();
    assert_eq!(request(&mut bench, GATEWAY, code, path, payload).0, answer);
}

#[test]
fn only_its_own_gateway_may_apply() {
    let (mut bench, mut router) = fetching();
    router.run_secs(&mut bench, 10);
    assert_eq!(request(&mut bench, Addr(2), Code::POST, "fw/apply", &[]).0, Code(4 << 5 | 3));
    bench.run_secs(5);
    assert_eq!((bench.resets, bench.phase()), (0, Phase::VerificationSucceeded));
}

#[test]
fn applying_twice_is_answered_twice_and_resets_once() {
    let (mut bench, mut router) = fetching();
    router.run_secs(&mut bench, 10);
    assert_eq!(request(&mut bench, GATEWAY, Code::POST, "fw/apply", &[]).0, Code::CHANGED);
    assert_eq!(request(&mut bench, GATEWAY, Code::POST, "fw/apply", &[]).0, Code::CHANGED);
    bench.run_secs(10);
    assert_eq!(bench.resets, 1);
}

#[test]
fn lighting_goes_on_during_a_fetch() {
    let (mut bench, mut router) = fetching();
    router.script = vec![(20, Twist::Silent)];
    router.run_secs(&mut bench, 5);
    let set = AccessMessage::Vendor(vendor::Message::LightSet(LightSet { level: 33, tid: 1 })).to_buffer().unwrap();
    assert_eq!(request(&mut bench, Addr(0x0105), Code::POST, "mk", &set).0, Code::CHANGED);
    assert_eq!((bench.node().light_level(), bench.phase()), (33, Phase::TransferActive));
}

#[test]
fn a_ping_is_answered() {
    let mut bench = Bench::on_thread();
    bench.post(GATEWAY, &[0x40, 0, 0x12, 0x34]);
    assert_eq!(bench.sent[0].message.bytes, [0x70, 0, 0x12, 0x34]);
}

#[test]
fn a_mesh_node_ignores_datagrams() {
    let mut bench = Bench::new();
    bench.post(GATEWAY, &[0x40, 0, 0x12, 0x34]);
    assert!(bench.sent.is_empty());
}
