//! The machines that QEMU can be, as data: one table entry each. Everything that differs between them is here.

/// A kind of emulated board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineKind {
    /// Cortex-M0 with the memories and flash controller of the emulated MK-NODE (`boards/mk-node-emulated.toml`).
    Node,
    /// Cortex-M33 with TrustZone-M, for tests of the key store. Its "flash" is RAM: nothing is kept or counted.
    TrustZone,
}

/// Flash behind a Nordic-style controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlashShape {
    /// Octets, from address 0.
    pub size: usize,
    /// What one erase of the emulated controller erases.
    pub unit: usize,
    /// What one erase of the product's board erases: a run of units counts as one operation.
    pub page: usize,
}

/// The bench's own cells at the end of RAM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    /// Two octet pairs of scratch for reading special registers.
    pub scratch: u32,
    /// Two words of unique id.
    pub unique_id: u32,
    /// Reset reason.
    pub reset_reason: u32,
}

/// What a machine is, as QEMU and as a debug probe see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// QEMU arguments that choose it.
    pub arguments: &'static [&'static str],
    /// DP identification.
    pub dpidr: u32,
    /// Identification of the memory access port.
    pub ap_idr: u32,
    /// CSW after reset, and its fixed bits.
    pub csw: u32,
    /// Breakpoint comparators, and whether the unit is of revision 2.
    pub breakpoints: usize,
    /// FPB revision field: 0 or 1.
    pub fpb_revision: u32,
    /// Designer (JEP106 continuation, id) and part in the ROM table.
    pub designer: (u32, u32, u32),
    /// Address of the vector table after reset.
    pub vectors: u32,
    /// An ARMv6-M core: its CONTROL word has no FAULTMASK and BASEPRI.
    pub armv6m: bool,
    /// RAM start and length.
    pub ram: (u32, u32),
    /// The bench's cells in it.
    pub cells: Cells,
    /// Flash that is kept and counted.
    pub flash: Option<FlashShape>,
    /// QEMU path of the interrupt controller, where the bench adds watchdog and radio.
    pub interrupts: Option<&'static str>,
}

/// The RAM cells of the node, agreed with its firmware.
const NODE_CELLS: Cells = Cells { scratch: 0x2003_FFF0, unique_id: 0x2003_FFF4, reset_reason: 0x2003_FFFC };

impl MachineKind {
    /// The table entry.
    pub(crate) const fn machine(self) -> Machine {
        match self {
            Self::Node => Machine {
                arguments: &[
                    "-M",
                    "microbit",
                    "-global",
                    "nrf51-soc.flash-size=2097152",
                    "-global",
                    "nrf51-soc.sram-size=262144",
                ],
                dpidr: 0x0BB1_1477,
                ap_idr: 0x0477_0021,
                csw: 0x0300_0042,
                breakpoints: 4,
                fpb_revision: 0,
                designer: (2, 0x44, 1),
                vectors: 0,
                armv6m: true,
                ram: (0x2000_0000, 0x4_0000),
                cells: NODE_CELLS,
                flash: Some(FlashShape { size: 0x20_0000, unit: 0x400, page: 0x1000 }),
                interrupts: Some("/machine/nrf51/armv6m"),
            },
            Self::TrustZone => Machine {
                arguments: &["-M", "mps2-an505"],
                dpidr: 0x6BA0_2477,
                ap_idr: 0x8477_0001,
                csw: 0x2380_0042,
                breakpoints: 8,
                fpb_revision: 1,
                designer: (4, 0x3B, 0x505),
                vectors: 0x1000_0000,
                armv6m: false,
                ram: (0x3800_0000, 0x4_0000),
                cells: Cells { scratch: 0x3803_FFF0, unique_id: 0x3803_FFF4, reset_reason: 0x3803_FFFC },
                flash: None,
                interrupts: None,
            },
        }
    }
}
