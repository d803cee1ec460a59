//! Rack files, right and wrong: every complaint says where.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use rstest::rstest;
use std::path::Path;

const LAB: &str = "\
kind: lab
gateways:
  - { id: 1, radio: { usb-serial: \"G\" } }
boards:
  - node: n01
    driver: nrf52840-dk
    probe: \"1366:1051:000683459357\"
    device-id: 8c6bd5c20b3fd8f1
";

fn parse(text: &str) -> Result<LabDefinition, String> {
    LabDefinition::parse("lab.yaml", "lab", text)
        .map_err(|wrong| wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_example_shows_every_key_and_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../racks/lab-example.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let lab = parse(&text).unwrap();
    assert_eq!((lab.kind, lab.boards.len(), lab.fleet.nodes.len()), (RackKind::Lab, 5, 5));
    assert_eq!(lab.mesh, MeshKeys::default(), "the keys shown are the usual ones");
    assert_eq!(lab.profile, Profile::default(), "the figures shown are the usual ones");
    let drivers: Vec<&str> = lab
        .boards
        .iter()
        .map(|board| match board.power.as_ref().unwrap() {
            RawPower::Uhubctl(_) => "uhubctl",
            RawPower::Command(_) => "command",
            RawPower::HttpRelay(_) => "http-relay",
            RawPower::Ppk2(_) => "ppk2",
            RawPower::Manual(_) => "manual",
        })
        .collect();
    assert_eq!(drivers, ["uhubctl", "http-relay", "command", "ppk2", "manual"], "one of each");
}

#[test]
fn without_a_console_the_probe_s_own_port_is_meant() {
    let lab = parse(LAB).unwrap();
    let board = lab.board(NodeId(1)).unwrap();
    assert_eq!(board.identity.console, PortIdentity::Usb { serial: "000683459357".to_owned(), interface: 0 });
    assert_eq!((board.baud, board.identity.address, board.speed_khz), (115_200, 0x0101, Some(4_000)));
}

#[test]
fn an_emulated_rack_is_a_fleet() {
    let rack = parse("kind: emulated\nfleet: { nodes: 4, loss-permille: 20 }\n").unwrap();
    assert_eq!((rack.fleet.nodes.len(), rack.loss_permille, rack.boards.len()), (4, 20, 0));
    assert_eq!(rack.profile.board, "mk-node-emulated");
}

#[rstest]
#[case("kind: lab\nbords: []\n", "lab.yaml:2:1: unknown field `bords`")]
#[case("kind: emulated\n", "fleet: an emulated rack needs `fleet: { nodes: 4 }`")]
#[case("kind: emulated\nfleet: { nodes: 0 }\n", "lab.yaml:2:10: fleet.nodes: 0 is outside 1 to 200")]
#[case("kind: emulated\nfleet: { nodes: 201 }\n", "lab.yaml:2:10: fleet.nodes: 201 is outside 1 to 200")]
#[case("kind: emulated\nfleet: { nodes: 1, loss-permille: 901 }\n", "fleet.loss-permille: 901 is outside 0 to 900")]
#[case(
    "kind: emulated\nfleet: { nodes: 1 }\nboards: [{ node: n01, driver: x, probe: \"1366:1051:1\" }]\n",
    "lab.yaml:3:1: boards: the emulated bench makes its own"
)]
#[case("kind: virtual\n", "lab.yaml:1:1: kind: a virtual rack has no boards")]
#[case("kind: lab\n", "gateways: a lab has at least one gateway")]
fn a_wrong_rack_file_is_told_where(#[case] text: &str, #[case] want: &str) {
    let wrong = parse(text).unwrap_err();
    assert!(wrong.contains(want), "{wrong}");
}

#[rstest]
#[case(
    "nrf52840-dk",
    "nrf52480-dk",
    "lab.yaml:6:5: boards[0].driver: no driver is called \"nrf52480-dk\"; did you mean \"nrf52840-dk\"?"
)]
#[case("nrf52840-dk", "mk-node-emulated", "no driver is called \"mk-node-emulated\"")]
#[case("    device-id: 8c6bd5c20b3fd8f1\n", "", "lab.yaml:5:5: boards[0]: `device-id` is missing")]
#[case("8c6bd5c20b3fd8f1", "8c6b", "`8c6b` is not a device id")]
#[case("1366:1051:000683459357", "1366:1051", "`1366:1051` is not one probe")]
#[case("node: n01", "node: n02", "boards: nodes run from n01 without a gap; n01 is missing")]
#[case("id: 1,", "id: 9,", "gateways[0].id: 9 is outside 1 to 8")]
#[case("id: 1,", "id: 2,", "boards[0].gateway: there is no gateway 1")]
#[case("    driver:", "    speed-khz: 4\n    driver:", "boards[0].speed-khz: 4 is outside 5 to 50000")]
#[case(
    "    driver:",
    "    power: { ppk2: { usb-serial: x, millivolts: 799 } }\n    driver:",
    "799 mV is outside 800 to 5000"
)]
#[case("    driver:", "    power: { uhubctl: { hub: 1-1, port: 16 } }\n    driver:", "port 16 is outside 1 to 15")]
#[case(
    "    driver:",
    "    power: { command: { on: [], off: [x] } }\n    driver:",
    "`on` is a list: the program, then its arguments"
)]
#[case(
    "    driver:",
    "    power: { http-relay: { on: https://x/, off: http://x/ } }\n    driver:",
    "has to begin with http://HOST"
)]
#[case(
    "    driver:",
    "    console: { usb-serial: x, baud: 300 }\n    driver:",
    "boards[0].console.baud: 300 is outside 1200 to 3000000"
)]
fn a_wrong_board_is_told_where(#[case] right: &str, #[case] wrong: &str, #[case] want: &str) {
    assert!(LAB.contains(right));
    let told = parse(&LAB.replacen(right, wrong, 1)).unwrap_err();
    assert!(told.contains(want), "{told}");
}

#[test]
fn two_boards_share_nothing() {
    let twice = LAB.to_owned() + &LAB[LAB.find("  - node").unwrap()..];
    let told = parse(&twice).unwrap_err();
    for key in ["boards[1].node: n01", "boards[1].probe: probe 1366:1051:000683459357", "boards[1].device-id: chip"] {
        assert!(told.contains(key), "{told}");
    }
}

#[test]
fn device_keys_differ_by_address_and_network() {
    let keys = MeshKeys::default();
    let other = MeshKeys { net_key: MeshKey([7; 16]), ..keys.clone() };
    assert_ne!(keys.device_key(0x0101), keys.device_key(0x0102));
    assert_ne!(keys.device_key(0x0101), other.device_key(0x0101));
    assert_eq!(keys.device_key(0x0101), MeshKeys::default().device_key(0x0101));
}
