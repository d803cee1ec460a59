//! Provisioning plans, judged by the firmware's own readers on a copy of the flash they would make.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::snapshot::Snapshot;
use fixture_images::{Board, ImageSpec, TestKey, Version};
use hil_model::{FloorId, GatewayId, NodeId, NodeType, Protocol};
use mk_boot::geometry::Area;
use mk_boot::hardware::{ConfigVersion as _, KeyStore as _};
use mk_boot::update::image_facts;
use rstest::rstest;

fn node() -> NodeSpec {
    NodeSpec {
        id: NodeId(3),
        floor: FloorId(1),
        kind: NodeType::Luminaire,
        protocol: Protocol::Mesh,
        gateway: GatewayId(1),
        config_version: 2,
    }
}

fn image(driver: &BoardDriver) -> Vec<u8> {
    let board = Board::named(driver.table).unwrap();
    let version = Version { major: 1, minor: 0, revision: 0, build: 0 };
    ImageSpec::for_board(&board, version).build(&TestKey::release()).unwrap().bytes
}

fn plan(driver: &'static BoardDriver, bootloader: Firmware, image: &[u8]) -> Result<ProvisionPlan, Fault> {
    let outfit = Outfit {
        bootloader,
        softdevice: None,
        image,
        key: [4; 65],
        mesh: &MeshKeys::default(),
        grace: Span::secs(6),
        report_interval: Span::secs(2),
        segment_interval: Span::millis(1),
        relay: true,
        ttl: 7,
    };
    ProvisionPlan::new(driver, &node(), &outfit)
}

/// What the board would hold.
fn written(driver: &'static BoardDriver, plan: &ProvisionPlan) -> Snapshot {
    let mut snapshot = Snapshot::erased(driver.geometry().unwrap());
    let external = driver.probe_address(Memory::External, 0);
    for part in &plan.parts {
        let (memory, start) = if part.address >= external {
            (Memory::External, part.address - external)
        } else {
            (Memory::Internal, part.address)
        };
        assert!(snapshot.load(memory, start, &part.octets));
    }
    snapshot
}

#[test]
fn a_provisioned_emulated_board_is_what_the_firmware_reads_as_a_node() {
    let driver = BoardDriver::named("mk-node-emulated").unwrap();
    let file = image(driver);
    let boot = driver.geometry().unwrap().bootloader;
    let plan = plan(driver, Firmware::raw("boot", boot.start, vec![0xAA; 1_000]), &file).unwrap();
    let mut board = written(driver, &plan);
    assert_eq!(board.config_version(), Some(2));
    assert_eq!(board.key().unwrap().0, [4; 65]);
    let page = driver.geometry().unwrap().identity;
    let identity = Identity::decode(board.internal_flash.get(page.start, page.length).unwrap()).unwrap();
    assert_eq!((identity.address, identity.gateway, identity.grace_ms), (Addr(0x0103), Addr(1), 6_000));
    let running = image_facts(&mut board, Area::BankA).unwrap();
    let golden = image_facts(&mut board, Area::Slot(Slot::Zero)).unwrap();
    assert_eq!((running.sha256, running.total_len), (golden.sha256, golden.total_len));
}

#[test]
fn no_two_parts_of_a_plan_meet_and_nothing_is_both_erased_and_written() {
    for driver in crate::BOARD_DRIVERS {
        let boot = driver.geometry().unwrap().bootloader;
        let plan = plan(driver, Firmware::raw("boot", boot.start, vec![0xAA; 1_000]), &image(driver)).unwrap();
        let mut places: Vec<(u32, u32)> = plan.erase.clone();
        places.extend(plan.parts.iter().map(|part| (part.address, part.octets.len() as u32)));
        places.sort_unstable();
        for pair in places.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{}: {pair:#x?}", driver.name);
        }
        assert!(plan.erase.iter().all(|(start, length)| start % driver.sector == 0 && length % driver.sector == 0));
    }
}

#[test]
fn a_part_whose_external_flash_the_probe_cannot_write_gets_its_golden_copy_from_its_bootloader() {
    let driver = BoardDriver::named("nrf52840-dk").unwrap();
    let boot = driver.geometry().unwrap().bootloader;
    let plan = plan(driver, Firmware::raw("boot", boot.start, vec![0xAA; 1_000]), &image(driver)).unwrap();
    assert!(plan.parts.iter().all(|part| part.address < 0x10_0000));
}

#[rstest]
#[case(-1, 100, false)]
#[case(0, 100, true)]
fn a_bootloader_stays_in_its_place(#[case] shift: i32, #[case] length: usize, #[case] good: bool) {
    let driver = BoardDriver::named("nrf52840-dk").unwrap();
    let boot = driver.geometry().unwrap().bootloader;
    let firmware = |address, length| Firmware::raw("boot", address, vec![0xAA; length]);
    let address = boot.start.checked_add_signed(shift).unwrap();
    assert_eq!(plan(driver, firmware(address, length), &image(driver)).is_ok(), good);
    assert!(plan(driver, firmware(boot.start, boot.length as usize), &image(driver)).is_ok());
    let told = plan(driver, firmware(boot.start, boot.length as usize + 1), &image(driver)).unwrap_err();
    assert!(told.to_string().contains("the bootloader"), "{told}");
}

#[test]
fn a_plan_is_for_one_board() {
    let lab = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../racks/lab-example.yaml")).unwrap();
    let lab = crate::LabDefinition::parse("lab.yaml", "lab", &lab).unwrap();
    let driver = BoardDriver::named("nrf52840-dk").unwrap();
    let boot = driver.geometry().unwrap().bootloader;
    let plan = plan(driver, Firmware::raw("boot", boot.start, vec![0; 4]), &image(driver)).unwrap();
    assert_eq!(plan.for_board(lab.board(NodeId(3)).unwrap()), Ok(()));
    assert!(plan.for_board(lab.board(NodeId(1)).unwrap()).is_err());
}

#[test]
fn intel_hex_is_read_in_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.hex");
    std::fs::write(
        &file,
        ":020000040002F8\n:0400000001020304F2\n:0400040005060708DE\n:0410000009101112B0\n:00000001FF\n",
    )
    .unwrap();
    let read = Firmware::read(&file, 0);
    let want = vec![
        FlashPart { address: 0x2_0000, octets: vec![1, 2, 3, 4, 5, 6, 7, 8] },
        FlashPart { address: 0x2_1000, octets: vec![9, 0x10, 0x11, 0x12] },
    ];
    assert_eq!(read.map(|firmware| firmware.parts), Ok(want));
}

#[test]
fn a_softdevice_with_another_digest_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s140.hex");
    std::fs::write(&file, ":00000001FF\n").unwrap();
    let told = Firmware::softdevice(&SoftDevice { file, sha256: [0; 32] }).unwrap_err();
    assert!(matches!(&told, Fault::WrongFirmware { what, .. } if what.contains("SHA-256")), "{told}");
}

#[test]
fn a_file_that_is_not_there_is_absent() {
    assert!(matches!(Firmware::read(Path::new("no/such/file.bin"), 0), Err(Fault::Absent { .. })));
}

/// A probe behind which the configuration word reads `before`, and 0x5A once it was written.
fn uicr(before: &str, folder: &Path) -> Probe {
    let written = folder.join("written");
    let script = format!(
        r#"while read -r line; do
            case "$line" in
                *hello*) echo '{{"is":"hello","protocol":{}}}';;
                *attach*) echo '{{"is":"attached","probe":"fake","chip":"X"}}';;
                *'"do":"read"'*) if [ -e {w} ]; then echo '{{"is":"octets","octets":"WgAAAA"}}';
                    else echo '{{"is":"octets","octets":"{before}"}}'; fi;;
                *'"do":"write"'*'"address":268440072'*) touch {w}; echo '{{"is":"done"}}';;
                *) echo '{{"is":"done"}}';;
            esac
        done"#,
        crate::probe::protocol::PROTOCOL,
        w = written.display()
    );
    let command = crate::WorkerCommand { program: "bash".into(), args: vec!["-c".into(), script.into()] };
    let driver = BoardDriver::named("nrf52840-dk").unwrap();
    Probe::new(&"1366:1051:1".parse().unwrap(), driver, None, command, crate::probe::Deadlines::default())
}

#[rstest]
#[case::erased_locks_at_the_next_reset("/////w", Ok(()), true)]
#[case::there_already("WgAAAA", Ok(()), false)]
#[case::something_else_takes_an_erase("eFY0Eg", Err("only an erase of everything changes it"), false)]
#[tokio::test]
async fn the_word_that_keeps_the_port_open_is_written_only_over_erased_cells(
    #[case] before: &str,
    #[case] want: Result<(), &str>,
    #[case] writes: bool,
) {
    let folder = tempfile::tempdir().unwrap();
    let mut probe = uicr(before, folder.path());
    probe.attach(crate::probe::AttachOptions::default()).await.unwrap();
    let [word] = BoardDriver::named("nrf52840-dk").unwrap().configuration else { panic!("one word") };
    match (configure(&mut probe, *word).await, want) {
        (Ok(()), Ok(())) => {}
        (Err(fault), Err(part)) => assert!(fault.to_string().contains(part), "{fault}"),
        (got, want) => panic!("{got:?} where {want:?}"),
    }
    assert_eq!(folder.path().join("written").exists(), writes);
    probe.detach().await;
}
