//! What makes a board itself: its probe by exact serial, its port by USB serial and interface number, its chip by device
//! id, its node by provisioned address.
//!
//! Nothing here goes by the order in which devices were found: `/dev/ttyACM0` is somebody else after the next reboot. All
//! four are compared before anything is written ([`BoardIdentity::compare`]).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use mk_wire::identity::{Identity, IdentityError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::Fault;

/// A text that is no identity of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}; write {example}")]
pub struct BadIdentity {
    /// What was written.
    pub text: String,
    /// What it should be.
    pub wanted: &'static str,
    /// A right one.
    pub example: &'static str,
}

/// One probe: `VID:PID:SERIAL` or `VID:PID-INTERFACE:SERIAL`, hexadecimal ids, the serial compared as an exact string
/// (leading zeros count). A Black Magic Probe over TCP has `HOST:PORT` for its serial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeSelector {
    /// USB vendor.
    pub vendor: u16,
    /// USB product.
    pub product: u16,
    /// USB interface, where one device is several probes.
    pub interface: Option<u8>,
    /// Serial number, never empty.
    pub serial: String,
}

impl fmt::Display for ProbeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.product)?;
        if let Some(interface) = self.interface {
            write!(f, "-{interface}")?;
        }
        write!(f, ":{}", self.serial)
    }
}

impl FromStr for ProbeSelector {
    type Err = BadIdentity;

    fn from_str(text: &str) -> Result<Self, BadIdentity> {
        let parse = || {
            let mut parts = text.splitn(3, ':');
            let (vendor, product, serial) = (parts.next()?, parts.next()?, parts.next()?);
            let (product, interface) = match product.split_once('-') {
                Some((product, interface)) => (product, Some(interface.parse().ok()?)),
                None => (product, None),
            };
            let id = |digits: &str| (digits.len() == 4).then(|| u16::from_str_radix(digits, 16).ok())?;
            let sound = !serial.is_empty() && serial.len() <= 128 && !serial.chars().any(|c| c.is_control());
            sound.then_some(())?;
            Some(Self { vendor: id(vendor)?, product: id(product)?, interface, serial: serial.to_owned() })
        };
        parse().ok_or_else(|| BadIdentity {
            text: text.to_owned(),
            wanted: "one probe",
            example: "`VID:PID:SERIAL` with the serial in full, such as `1366:1051:000683459357`",
        })
    }
}

/// The device id of a chip: two words of its factory information, low word first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u64);

impl DeviceId {
    /// From the eight octets as they lie in memory.
    #[must_use]
    pub const fn from_octets(octets: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(octets))
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for DeviceId {
    type Err = BadIdentity;

    fn from_str(text: &str) -> Result<Self, BadIdentity> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or_else(|| BadIdentity {
            text: text.to_owned(),
            wanted: "a device id",
            example: "16 hexadecimal digits, as `hil doctor` prints them",
        })
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}
as_text!(ProbeSelector);
as_text!(DeviceId);

/// One serial port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortIdentity {
    /// A port of a USB device.
    Usb {
        /// The device's serial number, an exact string.
        serial: String,
        /// Interface number of the port's control interface.
        interface: u8,
    },
    /// A pseudo-terminal of the emulated bench, which has no USB behind it. No rack file can say this.
    Device(PathBuf),
}

impl fmt::Display for PortIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usb { serial, interface } => write!(f, "USB serial {serial}, interface {interface}"),
            Self::Device(path) => write!(f, "{}", path.display()),
        }
    }
}

/// All that makes a board itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardIdentity {
    /// Its probe.
    pub probe: ProbeSelector,
    /// Its console.
    pub console: PortIdentity,
    /// Its chip.
    pub device_id: DeviceId,
    /// Its unicast address, once it is provisioned.
    pub address: u16,
}

/// What the probe read of a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Of its chip.
    pub device_id: DeviceId,
    /// Of its identity page.
    pub identity: Result<Identity, IdentityError>,
}

/// What is about to be done with a board; it decides how much of its identity has to be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Use it as the node that it is provisioned as.
    Use,
    /// Provision it: an erased identity page is what a new board has, another node's is a mistake.
    Provision,
    /// Provision it whatever node it was, on somebody's explicit word.
    Readdress,
}

impl BoardIdentity {
    /// Compares what was read with what the rack file says.
    ///
    /// # Errors
    /// [`Fault::WrongChip`], [`Fault::WrongAddress`] or [`Fault::NotProvisioned`].
    pub fn compare(&self, seen: &Sighting, purpose: Purpose) -> Result<(), Fault> {
        if seen.device_id != self.device_id {
            let (expected, found) = (self.device_id.to_string(), seen.device_id.to_string());
            return Err(Fault::WrongChip { expected, found });
        }
        match (&seen.identity, purpose) {
            (_, Purpose::Readdress) => Ok(()),
            (Ok(identity), Purpose::Use | Purpose::Provision) if identity.address.0 == self.address => Ok(()),
            (Ok(identity), Purpose::Use | Purpose::Provision) => {
                Err(Fault::WrongAddress { expected: self.address, found: identity.address.0 })
            }
            // Damaged or of another layout: whose it was cannot be told any more, and provisioning mends it.
            (Err(_), Purpose::Provision) => Ok(()),
            (Err(why), Purpose::Use) => Err(Fault::NotProvisioned { why: why.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use mk_wire::Addr;
    use mk_wire::identity::MeshKey;
    use rstest::rstest;

    #[rstest]
    #[case("1366:1051:000683459357", true)]
    #[case("0d28:0204-1:99063602000528205c9c5ed0d43a5a4d000000006e052820", true)]
    #[case("1d50:6018:127.0.0.1:4711", true)]
    #[case("1366:1051", false)]
    #[case("1366:1051:", false)]
    #[case("1366::000683459357", false)]
    #[case("13g6:1051:0", false)]
    #[case("1366:1051-x:0", false)]
    fn a_probe_is_named_in_full(#[case] text: &str, #[case] good: bool) {
        let parsed = text.parse::<ProbeSelector>();
        assert_eq!(parsed.is_ok(), good, "{parsed:?}");
        if let Ok(selector) = parsed {
            assert_eq!(selector.to_string(), text);
        }
    }

    #[test]
    fn a_serial_keeps_its_leading_zeros() {
        let selector: ProbeSelector = "1366:1051:000683459357".parse().unwrap();
        assert_eq!(selector.serial, "000683459357");
    }

    fn board() -> BoardIdentity {
        BoardIdentity {
            probe: "1366:1051:1".parse().unwrap(),
            console: PortIdentity::Usb { serial: "1".to_owned(), interface: 0 },
            device_id: DeviceId(7),
            address: 0x0101,
        }
    }

    fn seen(device: u64, address: Option<u16>) -> Sighting {
        let identity = address.map(|address| Identity {
            address: Addr(address),
            gateway: Addr(1),
            relay: true,
            ttl: 7,
            net_key: MeshKey([0; 16]),
            app_key: MeshKey([0; 16]),
            device_key: MeshKey([0; 16]),
            iv_index: 0,
            grace_ms: 1,
            report_interval_ms: 1,
            segment_interval_ms: 1,
        });
        Sighting { device_id: DeviceId(device), identity: identity.ok_or(IdentityError::Erased) }
    }

    #[rstest]
    #[case(7, Some(0x0101), Purpose::Use, true)]
    #[case(7, Some(0x0102), Purpose::Use, false)]
    #[case(7, None, Purpose::Use, false)]
    #[case(7, None, Purpose::Provision, true)]
    #[case(7, Some(0x0102), Purpose::Provision, false)]
    #[case(7, Some(0x0102), Purpose::Readdress, true)]
    #[case(8, Some(0x0101), Purpose::Use, false)]
    #[case(8, None, Purpose::Provision, false)]
    #[case(8, None, Purpose::Readdress, false)]
    fn chip_and_address_are_compared_before_anything_is_written(
        #[case] device: u64,
        #[case] address: Option<u16>,
        #[case] purpose: Purpose,
        #[case] good: bool,
    ) {
        assert_eq!(board().compare(&seen(device, address), purpose).is_ok(), good);
    }
}
