//! MK-NODE on an nRF52840-DK: SEGGER on-board probe, S140 SoftDevice, 8 MiB of QSPI flash.
//!
//! Revision F parts (build code Fxx) open their debug port only while UICR.APPROTECT holds 0x5A, and an erased UICR is a
//! locked one from the next reset on. So the word is written in the session that writes the firmware, and never by an
//! implicit erase-all.

use super::{BoardDriver, ConfigurationWord, ExternalFlash, ResetKind};

/// FICR.DEVICEID[0] and [1].
const DEVICE_ID: u32 = 0x1000_0060;
/// UICR.APPROTECT.
const APPROTECT: u32 = 0x1000_1208;
/// Where execute-in-place shows the QSPI flash.
const XIP: u32 = 0x1200_0000;

pub(super) static DRIVER: BoardDriver = BoardDriver {
    name: "nrf52840-dk",
    chip: "nRF52840_xxAA",
    target_yaml: None,
    table: "mk-node-s140",
    listed: true,
    device_id_at: DEVICE_ID,
    external: ExternalFlash::ReadWindow { window: XIP },
    sector: 0x1000,
    configuration: &[ConfigurationWord {
        address: APPROTECT,
        value: 0x0000_005A,
        erased: 0xFFFF_FFFF,
        why: "UICR.APPROTECT: without it a revision F part locks its debug port at the next reset",
    }],
    reset_ladder: &[ResetKind::Soft, ResetKind::Pin, ResetKind::Power],
    baud: 115_200,
    console_interface: 0,
    usual_probes: &[(0x1366, 0x1051), (0x1366, 0x1015), (0x1366, 0x1061)],
    speed_khz: Some(4_000),
};
