//! What has to work before it can be broken: attach, read, flash, erase, reset, power, console.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fixture_images::{Board, ImageSpec, TestKey, Version};
use hil_model::Span;
use mk_wire::reason::Reason;
use mk_wire::trace::{BootVerdict, ResetCause, TraceEvent, TraceRecord, encode_frame};
use rack_hardware::definition::MeshKeys;
use rack_hardware::power::SelfTestLimits;
use rack_hardware::probe::{AttachOptions, CoreState, FlashPart};
use rack_hardware::provision::Firmware;
use rack_hardware::{BoardFact, Fault, Outfit, PowerAction, ProvisionPlan, Purpose, ResetKind};
use tokio::sync::mpsc;

use crate::Rule;
use crate::rig::{Rig, say};

pub const RULES: &[Rule] = &[
    ("flash_is_written_and_read_back", flash_is_written_and_read_back),
    ("what_a_sector_held_beside_the_new_octets_stays", what_a_sector_held_beside_the_new_octets_stays),
    (
        "a_board_is_provisioned_in_one_session_and_known_afterwards",
        a_board_is_provisioned_in_one_session_and_known_afterwards,
    ),
    ("every_step_of_the_reset_ladder_starts_the_board_anew", every_step_of_the_reset_ladder_starts_the_board_anew),
    ("power_is_cut_and_the_self_test_sees_it", power_is_cut_and_the_self_test_sees_it),
    (
        "a_board_that_says_otherwise_of_its_reset_was_fed_all_the_time",
        a_board_that_says_otherwise_of_its_reset_was_fed_all_the_time,
    ),
    ("the_core_stops_and_goes_on", the_core_stops_and_goes_on),
];

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn flash_is_written_and_read_back() {
    let rig = Rig::new(1, &say(b"hello\n", false));
    let (board, _events) = rig.open(0).unwrap();
    rig.runtime.block_on(async {
        board.attach(AttachOptions::default()).await.unwrap();
        let octets = pattern(256 * 1024);
        let part = FlashPart { address: 0x1_0000, octets: octets.clone() };
        let (progress, mut steps) = mpsc::channel(4_096);
        let start = Instant::now();
        board.flash(vec![part.clone()], Purpose::Provision, Some(progress)).await.unwrap();
        let first = start.elapsed();
        // Again with other octets: the sectors have to be erased this time.
        let turned: Vec<u8> = octets.iter().map(|octet| !octet).collect();
        let start = Instant::now();
        board.flash(vec![FlashPart { octets: turned.clone(), ..part }], Purpose::Provision, None).await.unwrap();
        let rate = 256.0 / start.elapsed().as_secs_f64();
        eprintln!("256 KiB on blank flash in {first:.0?}, again at {rate:.0} KiB/s");
        assert_eq!(board.read(0x1_0000, 256 * 1024).await.unwrap(), turned);
        let mut last = None;
        while let Ok(step) = steps.try_recv() {
            last = Some(step);
        }
        let last = last.unwrap();
        assert_eq!(last.done, last.total, "progress ends at the end");
        board.close().await;
    });
    assert_eq!(rig.bench.flash(0, 0x1_0000..0x1_0004).unwrap(), pattern(4).iter().map(|o| !o).collect::<Vec<_>>());
}

fn what_a_sector_held_beside_the_new_octets_stays() {
    let rig = Rig::new(1, &say(b"hello\n", false));
    let (board, _events) = rig.open(0).unwrap();
    rig.runtime.block_on(async {
        let whole = pattern(4_096);
        let part = |address, octets: &[u8]| vec![FlashPart { address, octets: octets.to_vec() }];
        board.flash(part(0x2_0000, &whole), Purpose::Provision, None).await.unwrap();
        board.flash(part(0x2_0100, &[0xAB; 16]), Purpose::Provision, None).await.unwrap();
        let held = board.read(0x2_0000, 4_096).await.unwrap();
        assert_eq!(
            (&held[..0x100], &held[0x100..0x110], &held[0x110..]),
            (&whole[..0x100], &[0xAB; 16][..], &whole[0x110..])
        );
        board.erase(0x2_0000, 0x1000).await.unwrap();
        assert_eq!(board.read(0x2_0000, 4_096).await.unwrap(), vec![0xFF; 4_096]);
        let part_of_one = board.erase(0x2_0000, 0x800).await.unwrap_err();
        assert!(matches!(part_of_one.fault, Fault::Refused { .. }), "{part_of_one}");
        board.close().await;
    });
}

/// What a node of the rig is provisioned with; its bootloader is a program that talks.
fn plan(rig: &Rig, node: usize, bootloader: &[u8]) -> ProvisionPlan {
    let definition = &rig.boards[node];
    let version = Version { major: 1, minor: 0, revision: 0, build: 0 };
    let spec =
        ImageSpec { size: 32 * 1024, ..ImageSpec::for_board(&Board::named("mk-node-emulated").unwrap(), version) };
    let image = spec.build(&TestKey::release()).unwrap();
    let outfit = Outfit {
        bootloader: Firmware::raw("boot", 0, bootloader.to_vec()),
        softdevice: None,
        image: &image.bytes,
        key: TestKey::release().sec1(),
        mesh: &MeshKeys::default(),
        grace: Span::secs(6),
        report_interval: Span::secs(2),
        segment_interval: Span::millis(1),
        relay: false,
        ttl: 5,
    };
    ProvisionPlan::new(definition.driver, &definition.node, &outfit).unwrap()
}

fn a_board_is_provisioned_in_one_session_and_known_afterwards() {
    let rig = Rig::new(1, &say(b"old\n", false));
    let (board, mut events) = rig.open(0).unwrap();
    let boot = say(b"new\n", false);
    let plan = Arc::new(plan(&rig, 0, &boot));
    rig.runtime.block_on(async {
        assert!(matches!(board.identify(Purpose::Use).await.unwrap_err().fault, Fault::NotProvisioned { .. }));
        let start = Instant::now();
        let seen = board.provision(Arc::clone(&plan), Purpose::Provision, None).await.unwrap();
        eprintln!("provisioned {} octets in {:.0?}", plan.size(), start.elapsed());
        assert_eq!(seen.identity.unwrap().address.0, 0x0101);
        board.holds(&Firmware::raw("boot", 0, boot)).await.unwrap();
        let told = board.holds(&Firmware::raw("boot", 0, vec![0; 16])).await.unwrap_err();
        assert!(matches!(told.fault, Fault::WrongFirmware { .. }), "firmware of another version: {told}");
        let new = async {
            while let Some(event) = events.recv().await {
                if event.what == BoardFact::Text("new".to_owned()) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), new).await.expect("the new bootloader talks");
        board.close().await;
    });
}

fn every_step_of_the_reset_ladder_starts_the_board_anew() {
    let rig = Rig::new(1, &say(b"hello\n", false));
    let (board, _events) = rig.open(0).unwrap();
    rig.runtime.block_on(async {
        for kind in [ResetKind::Soft, ResetKind::Pin, ResetKind::Power] {
            let before = rig.bench.status(0).unwrap().resets;
            board.reset(kind, false).await.unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
            let status = board.status().await.unwrap();
            assert!(matches!(status.state, CoreState::Running | CoreState::Sleeping), "{}: {status:?}", kind.name());
            assert!(rig.bench.status(0).unwrap().resets > before, "{}", kind.name());
        }
        assert_eq!(board.recover().await.unwrap(), ResetKind::Soft);
        board.close().await;
    });
}

/// A bootloader that says so of its reset, whatever it was.
fn says(cause: ResetCause) -> Vec<u8> {
    let (verdict, reason) = (BootVerdict::Normal, Reason::None);
    let event = TraceEvent::BootPass { verdict, cause, reason, signature_checks: 1, took_ms: 1 };
    say(&encode_frame(&TraceRecord { sequence: 0, uptime_ms: 1, event }), false)
}

const LIMITS: SelfTestLimits =
    SelfTestLimits { vanish: Duration::from_secs(3), back: Duration::from_secs(5), look: Duration::from_millis(20) };

fn power_is_cut_and_the_self_test_sees_it() {
    let rig = Rig::new(1, &says(ResetCause::PowerOn));
    let (board, _events) = rig.open(0).unwrap();
    rig.runtime.block_on(async {
        let test = board.power_self_test(LIMITS).await.unwrap();
        assert_eq!(test.reset, Some(ResetCause::PowerOn));
        eprintln!("vanished after {:.0?}, back after {:.0?}", test.vanished_after, test.back_after);
        board.power(PowerAction::Off).await.unwrap();
        assert_eq!(board.power_state().await, Ok(Some(false)));
        board.power(PowerAction::On).await.unwrap();
        assert_eq!(board.power_state().await, Ok(Some(true)));
        assert!(board.status().await.is_ok());
        board.close().await;
    });
}

fn a_board_that_says_otherwise_of_its_reset_was_fed_all_the_time() {
    let rig = Rig::new(1, &says(ResetCause::Watchdog));
    let (board, _events) = rig.open(0).unwrap();
    rig.runtime.block_on(async {
        let error = board.power_self_test(LIMITS).await.unwrap_err();
        assert!(error.to_string().contains("fed all the time"), "{error}");
        board.close().await;
    });
}

fn the_core_stops_and_goes_on() {
    let rig = Rig::new(1, &say(b"hello\n", false));
    let (board, _events) = rig.open(0).unwrap();
    rig.runtime.block_on(async {
        let halted = board.halt().await.unwrap();
        assert_eq!(halted.state, CoreState::Halted);
        assert!(halted.pc.unwrap() < 0x100, "{halted:x?}");
        let before = std::fs::read(rig.log(0)).unwrap_or_default().len();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let stopped = std::fs::read(rig.log(0)).unwrap_or_default().len();
        assert!(stopped - before < 64, "a stopped core says nothing");
        board.run().await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(std::fs::read(rig.log(0)).unwrap().len() > stopped, "it goes on");
        board.write_memory(0x2000_0100, vec![1, 2, 3, 4]).await.unwrap();
        assert_eq!(board.read(0x2000_0100, 4).await.unwrap(), [1, 2, 3, 4]);
        board.close().await;
    });
}
