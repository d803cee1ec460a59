//! Tiny programs for the emulated node, as words with the assembly they were made from. They need no ARM toolchain.

/// Sleeps.
///
/// ```text
///     .word 0x2003f000, 9
/// 1:  wfi
///     b 1b
/// ```
pub const IDLE: &[u32] = &[
    0x2003_F000, 0x0000_0009, 0xE7FD_BF30,
];

/// Erases the 4 KiB page at 0x10000, writes 256 words there and a dot on the console behind each, then an exclamation mark.
///
/// ```text
///     .word 0x2003f000, 9
///     ldr r0, =0x40002500     @ UART on
///     movs r1, #4
///     str r1, [r0]
///     ldr r0, =0x40002000
///     movs r1, #1
///     str r1, [r0, #8]
///     ldr r7, =0x4001e400     @ NVMC
///     ldr r6, =0x4000251c     @ TXD
///     ldr r2, =0x10000
///     movs r5, #1
///     lsls r5, r5, #8         @ CONFIG is 0x104 behind
///     adds r5, #4
///     movs r1, #2             @ erase enable
///     str r1, [r7, r5]
///     adds r5, #4             @ ERASEPAGE
///     movs r4, #4
///     movs r3, r2
///     movs r1, #1
///     lsls r1, r1, #10
/// 1:  str r3, [r7, r5]        @ four times 1 KiB
///     adds r3, r3, r1
///     subs r4, #1
///     bne 1b
///     subs r5, #4
///     movs r1, #1             @ write enable
///     str r1, [r7, r5]
///     movs r3, #0
/// 2:  ldr r1, =0xa5000000
///     orrs r1, r3
///     str r1, [r2]            @ word n
///     adds r2, #4
///     movs r1, #46
///     str r1, [r6]            @ a dot on the console
///     adds r3, #1
///     lsrs r1, r3, #8         @ 256 words
///     beq 2b
///     movs r1, #0
///     str r1, [r7, r5]
///     movs r1, #33
///     str r1, [r6]            @ an exclamation mark
/// 3:  wfi
///     b 3b
///     .ltorg
/// ```
pub const WRITER: &[u32] = &[
    0x2003_F000, 0x0000_0009, 0x2104_4814, 0x4814_6001, 0x6081_2101, 0x4E14_4F13, 0x2501_4A14, 0x3504_022D,
    0x5179_2102, 0x2404_3504, 0x2101_0013, 0x517B_0289, 0x3C01_185B, 0x3D04_D1FB, 0x5179_2101, 0x490C_2300,
    0x6011_4319, 0x212E_3204, 0x3301_6031, 0xD0F6_0A19, 0x5179_2100, 0x6031_2121, 0xE7FD_BF30, 0x4000_2500,
    0x4000_2000, 0x4001_E400, 0x4000_251C, 0x0001_0000, 0xA500_0000,
];

/// Locks up: its HardFault handler faults.
///
/// ```text
///     .word 0x2003f000, 0x11, 0, 0x11
/// 1:  udf #0                  @ also the handler of HardFault: lockup
///     b 1b
/// ```
pub const CRASH: &[u32] = &[
    0x2003_F000, 0x0000_0011, 0x0000_0000, 0x0000_0011, 0xE7FD_DE00,
];

/// Says the reset reason as a digit. After power-on it writes a word of flash and locks up; after anything else it sleeps.
///
/// ```text
///     .word 0x2003f000, 0x11, 0, 0x3d
///     ldr r0, =0x2003fffc
///     ldr r1, [r0]            @ reset reason
///     ldr r0, =0x40002500
///     movs r2, #4
///     str r2, [r0]
///     ldr r0, =0x40002008
///     movs r2, #1
///     str r2, [r0]
///     ldr r0, =0x4000251c
///     adds r1, #48
///     str r1, [r0]            @ as a digit
///     cmp r1, #48
///     bne 1f
///     ldr r0, =0x4001e504     @ write a word, then crash
///     movs r1, #1
///     str r1, [r0]
///     ldr r0, =0x20000
///     ldr r2, =0x600dda7a
///     str r2, [r0]
///     udf #0
/// 1:  wfi
///     b 1b
///     udf #0                  @ HardFault handler
///     .ltorg
/// ```
pub const CRASH_ONCE: &[u32] = &[
    0x2003_F000, 0x0000_0011, 0x0000_0000, 0x0000_003D, 0x6801_480B, 0x2204_480B, 0x480B_6002, 0x6002_2201,
    0x3130_480A, 0x2930_6001, 0x4809_D106, 0x6001_2101, 0x4A09_4808, 0xDE00_6002, 0xE7FD_BF30, 0x0000_DE00,
    0x2003_FFFC, 0x4000_2500, 0x4000_2008, 0x4000_251C, 0x4001_E504, 0x0002_0000, 0x600D_DA7A,
];

/// Says the reset reason as a digit. After power-on it asks for a soft reset; after that it starts a watchdog of 0.25 s and hangs with interrupts masked; then it sleeps.
///
/// ```text
///     .word 0x2003f000, 9
///     ldr r0, =0x2003fffc
///     ldr r1, [r0]            @ reset reason
///     ldr r0, =0x40002500
///     movs r2, #4
///     str r2, [r0]
///     ldr r0, =0x40002008
///     movs r2, #1
///     str r2, [r0]
///     ldr r0, =0x4000251c
///     adds r1, #48
///     str r1, [r0]            @ as a digit
///     cmp r1, #48
///     bne 1f
///     ldr r0, =0xe000ed0c     @ power-on: soft reset
///     ldr r1, =0x05fa0004
///     str r1, [r0]
///     b 2f
/// 1:  cmp r1, #52
///     bne 2f
///     ldr r0, =0x40010504     @ soft reset: watchdog of 0.25 s, and hang
///     ldr r1, =8191
///     str r1, [r0]
///     ldr r0, =0x40010000
///     movs r1, #1
///     str r1, [r0]
///     cpsid i
/// 3:  b 3b
/// 2:  wfi
///     b 2b
///     .ltorg
/// ```
pub const REASONS: &[u32] = &[
    0x2003_F000, 0x0000_0009, 0x6801_480E, 0x2204_480E, 0x480E_6002, 0x6002_2201, 0x3130_480D, 0x2930_6001,
    0x480C_D103, 0x6001_490C, 0x2934_E009, 0x480B_D107, 0x6001_490B, 0x2101_480B, 0xB672_6001, 0xBF30_E7FE,
    0x0000_E7FD, 0x2003_FFFC, 0x4000_2500, 0x4000_2008, 0x4000_251C, 0xE000_ED0C, 0x05FA_0004, 0x4001_0504,
    0x0000_1FFF, 0x4001_0000,
];

/// Sends back what it receives on the console.
///
/// ```text
///     .word 0x2003f000, 9
///     ldr r0, =0x40002500
///     movs r2, #4
///     str r2, [r0]
///     ldr r0, =0x40002000
///     movs r2, #1
///     str r2, [r0]            @ STARTRX
///     str r2, [r0, #8]        @ STARTTX
///     movs r3, #0
///     movs r4, #1
///     lsls r4, r4, #8
///     adds r4, #8             @ EVENTS_RXDRDY is 0x108
///     ldr r5, =0x40002518     @ RXD
///     ldr r6, =0x4000251c     @ TXD
/// 1:  ldr r1, [r0, r4]
///     cmp r1, #0
///     beq 1b
///     str r3, [r0, r4]
///     ldr r1, [r5]
///     str r1, [r6]
///     b 1b
///     .ltorg
/// ```
pub const ECHO: &[u32] = &[
    0x2003_F000, 0x0000_0009, 0x2204_4809, 0x4809_6002, 0x6002_2201, 0x2300_6082, 0x0224_2401, 0x4D06_3408,
    0x5901_4E06, 0xD0FC_2900, 0x6829_5103, 0xE7F8_6031, 0x4000_2500, 0x4000_2000, 0x4000_2518, 0x4000_251C,
];

/// Announces its radio mailbox, empties the receive ring at each interrupt, and sends back frames that start with 0x55.
///
/// ```text
///     .word 0x2003f000, 0x49
///     .word 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
///     .word 0x79             @ vector 17: interrupt 1
/// start:
///     ldr r0, =0x20000000     @ mailbox
///     ldr r1, =0x4d4b5241
///     str r1, [r0]
///     movs r1, #16
///     str r1, [r0, #4]
///     movs r1, #64
///     str r1, [r0, #8]
///     movs r1, #0
///     str r1, [r0, #12]
///     str r1, [r0, #16]
///     str r1, [r0, #20]
///     str r1, [r0, #24]
///     ldr r1, =0x20001000     @ transmit ring
///     str r1, [r0, #28]
///     ldr r1, =0x20002000     @ receive ring
///     str r1, [r0, #32]
///     ldr r2, =0xe000e100     @ interrupt 1 on
///     movs r1, #2
///     str r1, [r2]
///     ldr r2, =0x40001f00
///     str r0, [r2]            @ announce
/// 1:  wfi
///     b 1b
///     .balign 4
/// irq:
///     push {r4-r7, lr}
///     ldr r0, =0x20000000
/// 2:  ldr r1, [r0, #20]       @ receive head
///     ldr r2, [r0, #24]       @ receive tail
///     cmp r1, r2
///     beq 5f
///     movs r3, #63
///     ands r3, r2
///     movs r4, #36
///     muls r3, r4
///     ldr r5, [r0, #32]
///     adds r5, r5, r3         @ its slot
///     adds r2, #1
///     ldrb r6, [r5, #4]       @ first octet of the PDU
///     cmp r6, #0x55
///     bne 4f                  @ 0x55: send it back
///     ldr r3, [r0, #12]       @ transmit head
///     movs r7, #15
///     ands r7, r3
///     muls r7, r4
///     ldr r6, [r0, #28]
///     adds r6, r6, r7
///     movs r7, #32
/// 3:  ldr r4, [r5, r7]
///     str r4, [r6, r7]
///     subs r7, #4
///     bpl 3b
///     adds r3, #1
///     str r3, [r0, #12]
///     ldr r4, =0x40001008
///     movs r7, #1
///     str r7, [r4]            @ doorbell
/// 4:  str r2, [r0, #24]
///     b 2b
/// 5:  pop {r4-r7, pc}
///     .ltorg
/// ```
pub const RADIO: &[u32] = &[
    0x2003_F000, 0x0000_0049, 0x0000_0000, 0x0000_0000, 0x0000_0000, 0x0000_0000, 0x0000_0000, 0x0000_0000,
    0x0000_0000, 0x0000_0000, 0x0000_0000, 0x0000_0000, 0x0000_0000, 0x0000_0000, 0x0000_0000, 0x0000_0000,
    0x0000_0000, 0x0000_0079, 0x491E_481D, 0x2110_6001, 0x2140_6041, 0x2100_6081, 0x6101_60C1, 0x6181_6141,
    0x61C1_4919, 0x6201_4919, 0x2102_4A19, 0x4A19_6011, 0xBF30_6010, 0x46C0_E7FD, 0x4811_B5F0, 0x6982_6941,
    0xD01B_4291, 0x4013_233F, 0x4363_2424, 0x18ED_6A05, 0x792E_3201, 0xD10F_2E55, 0x270F_68C3, 0x4367_401F,
    0x19F6_69C6, 0x59EC_2720, 0x3F04_51F4, 0x3301_D5FB, 0x4C09_60C3, 0x6027_2701, 0xE7DF_6182, 0x0000_BDF0,
    0x2000_0000, 0x4D4B_5241, 0x2000_1000, 0x2000_2000, 0xE000_E100, 0x4000_1F00, 0x4000_1008,
];

/// The octets of a program.
pub fn octets(program: &[u32]) -> Vec<u8> {
    program.iter().flat_map(|word| word.to_le_bytes()).collect()
}
