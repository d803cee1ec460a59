//! Board drivers: what a kind of board is, one file each.
//!
//! A driver is data: names, addresses, steps. It holds no connection and does nothing; [`crate::board`] does. A new kind
//! of board is a file here and a line in [`BOARD_DRIVERS`].

mod emulated;
mod nrf52840_dk;

use mk_boot::geometry::{Geometry, Memory, by_name};

/// The kinds of boards there are.
pub const BOARD_DRIVERS: &[&BoardDriver] = &[&nrf52840_dk::DRIVER, &emulated::DRIVER];

/// One step of the reset ladder, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResetKind {
    /// The core's system reset request, through the probe.
    Soft,
    /// The reset pin, through the probe.
    Pin,
    /// Power off and on.
    Power,
}

impl ResetKind {
    /// Its name on the command line and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Pin => "pin",
            Self::Power => "power",
        }
    }
}

/// How the external flash is reached through the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternalFlash {
    /// It is in the memory map and can be read and written like internal flash.
    Mapped {
        /// Where its first octet is.
        window: u32,
    },
    /// It can be read through a window while the firmware keeps the window open, and cannot be written by the probe.
    ReadWindow {
        /// Where its first octet is.
        window: u32,
    },
}

/// A word that has to be in the part's configuration memory before the debug port stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigurationWord {
    /// Address of the word.
    pub address: u32,
    /// What it must hold.
    pub value: u32,
    /// What it holds on an erased part: only that may be overwritten without an erase.
    pub erased: u32,
    /// Why, for messages.
    pub why: &'static str,
}

/// A kind of board.
#[derive(Debug, PartialEq, Eq)]
pub struct BoardDriver {
    /// Its name in rack files.
    pub name: &'static str,
    /// Its name for the probe library.
    pub chip: &'static str,
    /// The description of the chip, where the library has none of its own.
    pub target_yaml: Option<&'static str>,
    /// Its flash map: a table in `firmware-under-test/boards`.
    pub table: &'static str,
    /// Whether a rack file can list such boards; the emulated bench makes its own.
    pub listed: bool,
    /// Where the chip's device id is: two words in a row.
    pub device_id_at: u32,
    /// How the external flash is reached.
    pub external: ExternalFlash,
    /// Erase unit of the probe's flash routine, octets.
    pub sector: u32,
    /// Words that keep the debug port open.
    pub configuration: &'static [ConfigurationWord],
    /// Steps that are tried in turn when a board does not come back.
    pub reset_ladder: &'static [ResetKind],
    /// Rate of its console.
    pub baud: u32,
    /// Interface number of its console on its own USB device, where that is fixed.
    pub console_interface: u8,
    /// USB vendor and products of probes that usually sit on it, for `hil doctor --suggest`.
    pub usual_probes: &'static [(u16, u16)],
    /// Clock of the debug port, kHz; `None` leaves the probe's own.
    pub speed_khz: Option<u32>,
}

impl BoardDriver {
    /// The driver of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        BOARD_DRIVERS.iter().copied().find(|driver| driver.name == name)
    }

    /// Names of all drivers, in the table's order.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        BOARD_DRIVERS.iter().map(|driver| driver.name)
    }

    /// Its flash map. `None` would be a driver that names no table, which a test rules out.
    #[must_use]
    pub fn geometry(&self) -> Option<&'static Geometry> {
        by_name(self.table)
    }

    /// Where the probe sees an address of one of the two memories.
    #[must_use]
    pub const fn probe_address(&self, memory: Memory, address: u32) -> u32 {
        match (memory, self.external) {
            (Memory::Internal, _) => address,
            (Memory::External, ExternalFlash::Mapped { window } | ExternalFlash::ReadWindow { window }) => {
                window + address
            }
        }
    }

    /// Whether the probe can write the external flash.
    #[must_use]
    pub const fn writes_external(&self) -> bool {
        matches!(self.external, ExternalFlash::Mapped { .. })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn every_driver_has_a_table_whose_pages_its_flash_routine_can_erase() {
        for driver in BOARD_DRIVERS {
            let table = driver.geometry().unwrap();
            assert_eq!(table.page_size % driver.sector, 0, "{}", driver.name);
            assert_eq!(BoardDriver::named(driver.name), Some(*driver));
            assert!(driver.reset_ladder.is_sorted(), "{}: mildest first", driver.name);
        }
    }

    #[test]
    fn external_addresses_go_through_the_window() {
        let driver = BoardDriver::named("mk-node-emulated").unwrap();
        assert_eq!(driver.probe_address(Memory::External, 0x74000), 0x17_4000);
        assert_eq!(driver.probe_address(Memory::Internal, 0x10000), 0x1_0000);
        let driver = BoardDriver::named("nrf52840-dk").unwrap();
        assert_eq!(driver.probe_address(Memory::External, 0x9_0000), 0x1209_0000);
    }
}
