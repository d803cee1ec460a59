//! The console on pseudo-terminals, and ports found in a made folder.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use serialport::TTYPort;
use std::os::unix::fs::symlink;

/// The far end of a port, and the identity of the near end.
fn pair() -> (TTYPort, TTYPort, PortIdentity) {
    let (far, near) = TTYPort::pair().unwrap();
    let identity = PortIdentity::Device(near.name().unwrap().into());
    (far, near, identity)
}

fn collect(events: &mut mpsc::Receiver<ConsoleEvent>, octets: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < octets {
        match events.blocking_recv().unwrap() {
            ConsoleEvent::Octets { octets, .. } => all.extend(octets),
            ConsoleEvent::Idle => {}
            ConsoleEvent::Closed { fault } => panic!("{fault}"),
        }
    }
    all
}

#[test]
fn every_octet_is_in_the_log_as_it_came() {
    let (mut far, near, identity) = pair();
    drop(near);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("boards/n01.log");
    let (_console, mut events) = Console::open(&identity, 115_200, Some(&log)).unwrap();
    let sent: Vec<u8> = (0..=255).collect();
    far.write_all(&sent).unwrap();
    assert_eq!(collect(&mut events, sent.len()), sent);
    assert_eq!(fs::read(&log).unwrap(), sent);
}

#[test]
fn what_is_sent_arrives() {
    let (mut far, near, identity) = pair();
    drop(near);
    let (mut console, _events) = Console::open(&identity, 115_200, None).unwrap();
    console.send(b"hello").unwrap();
    let mut got = [0; 5];
    far.set_timeout(Duration::from_secs(2)).unwrap();
    far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
}

#[test]
fn a_port_that_somebody_holds_is_busy() {
    let (_far, near, identity) = pair();
    drop(near);
    let _first = Console::open(&identity, 115_200, None).unwrap();
    let second = Console::open(&identity, 115_200, None).map(|_| ());
    assert!(matches!(second, Err(Fault::Busy { .. })), "{second:?}");
}

#[test]
fn a_port_that_is_not_there_is_absent() {
    let nowhere = Console::open(&PortIdentity::Device("/dev/nowhere-at-all".into()), 115_200, None).map(|_| ());
    assert!(matches!(nowhere, Err(Fault::Absent { .. })), "{nowhere:?}");
    let usb = PortIdentity::Usb { serial: "nobody has this".to_owned(), interface: 0 };
    assert_eq!(find(&usb), Err(Fault::Absent { name: "USB serial nobody has this, interface 0".to_owned() }));
}

#[test]
fn a_port_that_goes_away_says_so() {
    let (far, near, identity) = pair();
    drop(near);
    let (_console, mut events) = Console::open(&identity, 115_200, None).unwrap();
    drop(far);
    loop {
        match events.blocking_recv().unwrap() {
            ConsoleEvent::Closed { fault: Fault::LinkLost { .. } } => break,
            ConsoleEvent::Idle => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The kernel's folder for a device with two ports, as an on-board probe has: the order of ttys says nothing.
fn made_folder(root: &Path) -> (PathBuf, PathBuf) {
    let device = root.join("devices/usb1/1-1");
    let write = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(device.join("serial"), "000683459357\n");
    write(device.join("idVendor"), "1366\n");
    write(device.join("idProduct"), "1051\n");
    write(device.join("product"), "J-Link\n");
    for (interface, tty) in [("1-1:1.0", "ttyACM1"), ("1-1:1.2", "ttyACM0")] {
        let number = interface.rsplit('.').next().unwrap();
        write(device.join(interface).join("bInterfaceNumber"), &format!("0{number}\n"));
        let class = root.join("class/tty").join(tty);
        fs::create_dir_all(&class).unwrap();
        symlink(device.join(interface), class.join("device")).unwrap();
    }
    fs::create_dir_all(root.join("class/tty/tty0")).unwrap();
    (root.join("class/tty"), PathBuf::from("/dev"))
}

#[test]
fn ports_are_told_apart_by_interface_number_whatever_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let (class, devices) = made_folder(folder.path());
    let mut ports = usb_ports_below(&class, &devices);
    ports.sort_by_key(|port| port.interface);
    let seen: Vec<_> = ports.iter().map(|p| (p.interface, p.path.to_str().unwrap(), p.serial.as_str())).collect();
    assert_eq!(seen, [(0, "/dev/ttyACM1", "000683459357"), (2, "/dev/ttyACM0", "000683459357")]);
}
