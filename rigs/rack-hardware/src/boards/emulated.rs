//! MK-NODE emulated by QEMU: a Cortex-M0 with an nRF-style flash controller and 2 MiB of flash, the upper half standing for
//! the external part, behind a Black Magic Probe over TCP.
//!
//! The chip's device id is two words that the bench keeps at the end of RAM: QEMU's factory information is the same for all.

use super::{BoardDriver, ExternalFlash, ResetKind};

/// What the bench keeps at the end of RAM: device id, then the reset reason.
const DEVICE_ID: u32 = 0x2003_FFF4;
/// First octet of the upper half of flash.
const EXTERNAL: u32 = 0x0010_0000;

pub(super) static DRIVER: BoardDriver = BoardDriver {
    name: "mk-node-emulated",
    chip: "MK-NODE-EMULATED",
    target_yaml: Some(include_str!("mk-node-emulated.yaml")),
    table: "mk-node-emulated",
    listed: false,
    device_id_at: DEVICE_ID,
    external: ExternalFlash::Mapped { window: EXTERNAL },
    sector: 0x1000,
    configuration: &[],
    reset_ladder: &[ResetKind::Soft, ResetKind::Pin, ResetKind::Power],
    baud: 115_200,
    console_interface: 0,
    usual_probes: &[(0x1d50, 0x6018)],
    speed_khz: None,
};
