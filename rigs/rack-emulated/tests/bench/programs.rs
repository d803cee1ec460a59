//! Tiny programs for the emulated node, as words with the assembly they were made from. They need no ARM toolchain.

/// Sleeps.
///
/// ```text
///     .word 0x2003f000, 9
/// 1:  wfi
///     b 1b
/// ```
pub const IDLE: &[u32] = &[0x2003F000, 0x00000009, 0xE7FDBF30];

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
    0x2003F000, 0x00000009, 0x21044814, 0x48146001, 0x60812101, 0x4E144F13, 0x25014A14, 0x3504022D, 0x51792102,
    0x24043504, 0x21010013, 0x517B0289, 0x3C01185B, 0x3D04D1FB, 0x51792101, 0x490C2300, 0x60114319, 0x212E3204,
    0x33016031, 0xD0F60A19, 0x51792100, 0x60312121, 0xE7FDBF30, 0x40002500, 0x40002000, 0x4001E400, 0x4000251C,
    0x00010000, 0xA5000000,
];

/// Locks up: its HardFault handler faults.
///
/// ```text
///     .word 0x2003f000, 0x11, 0, 0x11
/// 1:  udf #0                  @ also the handler of HardFault: lockup
///     b 1b
/// ```
pub const CRASH: &[u32] = &[0x2003F000, 0x00000011, 0x00000000, 0x00000011, 0xE7FDDE00];

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
    0x2003F000, 0x00000011, 0x00000000, 0x0000003D, 0x6801480B, 0x2204480B, 0x480B6002, 0x60022201, 0x3130480A,
    0x29306001, 0x4809D106, 0x60012101, 0x4A094808, 0xDE006002, 0xE7FDBF30, 0x0000DE00, 0x2003FFFC, 0x40002500,
    0x40002008, 0x4000251C, 0x4001E504, 0x00020000, 0x600DDA7A,
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
    0x2003F000, 0x00000009, 0x6801480E, 0x2204480E, 0x480E6002, 0x60022201, 0x3130480D, 0x29306001, 0x480CD103,
    0x6001490C, 0x2934E009, 0x480BD107, 0x6001490B, 0x2101480B, 0xB6726001, 0xBF30E7FE, 0x0000E7FD, 0x2003FFFC,
    0x40002500, 0x40002008, 0x4000251C, 0xE000ED0C, 0x05FA0004, 0x40010504, 0x00001FFF, 0x40010000,
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
    0x2003F000, 0x00000009, 0x22044809, 0x48096002, 0x60022201, 0x23006082, 0x02242401, 0x4D063408, 0x59014E06,
    0xD0FC2900, 0x68295103, 0xE7F86031, 0x40002500, 0x40002000, 0x40002518, 0x4000251C,
];

/// For the second machine, at 0x10000000: makes RAM at 0x00200000 Non-secure, and lets Non-secure code read the address that is
/// at 0x38000000. Result at +4, SFSR at +8, and at +12 what became of it: 1 read, 2 fault.
///
/// ```text
///     .word 0x38020000, 0x10000011, 0, 0x10000081
///     ldr r0, =0x58007000     @ memory protection controller of the code RAM
///     ldr r1, [r0]
///     bic r1, #0x100          @ no automatic increment
///     str r1, [r0]
///     ldr r2, [r0, #0x14]
///     and r2, #15
///     adds r2, #5
///     movs r3, #32
///     lsls r3, r2             @ octets of 32 blocks
///     ldr r4, =0x200000
///     ldr r5, =0x400000
///     mvn r7, #0
/// 1:  udiv r6, r4, r3         @ 2 MiB up to 4 MiB are Non-secure
///     str r6, [r0, #0x18]
///     str r7, [r0, #0x1c]
///     adds r4, r3
///     cmp r4, r5
///     blo 1b
///     ldr r0, =0xe000edd0     @ and in the security attribution unit all below 4 MiB
///     movs r1, #0
///     str r1, [r0, #8]
///     str r1, [r0, #12]
///     ldr r1, =0x003fffe1
///     str r1, [r0, #16]
///     movs r1, #1
///     str r1, [r0]
///     ldr r0, =0x00200000     @ Non-secure code: ldr r0, [r0]; bx lr
///     ldr r1, =0x47706800
///     str r1, [r0]
///     ldr r1, =0x600dc0de     @ Non-secure data
///     str r1, [r0, #0x100]
///     ldr r1, =0x00210000
///     msr msp_ns, r1
///     dsb
///     isb
///     b 2f
///     .balign 128
///     ldr r4, =0x38000000     @ HardFault: why
///     ldr r0, =0xe000ede4
///     ldr r1, [r0]
///     str r1, [r4, #8]
///     movs r1, #2
///     str r1, [r4, #12]
/// 3:  wfi
///     b 3b
/// 2:  ldr r4, =0x38000000
///     ldr r1, =0x00200000
///     ldr r0, [r4]            @ the address to be read
///     blxns r1
///     str r0, [r4, #4]
///     movs r1, #1
///     str r1, [r4, #12]
/// 4:  wfi
///     b 4b
///     .ltorg
/// ```
pub const TRUSTZONE: &[u32] = &[
    0x38020000, 0x10000011, 0x00000000, 0x10000081, 0x68014825, 0x7180F421, 0x69426001, 0x020FF002, 0x23203205,
    0xF44F4093, 0xF44F1400, 0xF06F0580, 0xFBB40700, 0x6186F6F3, 0x18E461C7, 0xD3F842AC, 0x2100481A, 0x60C16081,
    0x61014919, 0x60012101, 0x1000F44F, 0x60014917, 0xF8C04917, 0xF44F1100, 0xF3811104, 0xF3BF8888, 0xF3BF8F4F,
    0xE0108F6F, 0x8000F3AF, 0x8000F3AF, 0x8000F3AF, 0x8000F3AF, 0x5460F04F, 0x6801480D, 0x210260A1, 0xBF3060E1,
    0xF04FE7FD, 0xF44F5460, 0x68201100, 0x6060478C, 0x60E12101, 0xE7FDBF30, 0x58007000, 0xE000EDD0, 0x003FFFE1,
    0x47706800, 0x600DC0DE, 0xE000EDE4,
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
    0x2003F000, 0x00000049, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000,
    0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x00000079,
    0x491E481D, 0x21106001, 0x21406041, 0x21006081, 0x610160C1, 0x61816141, 0x61C14919, 0x62014919, 0x21024A19,
    0x4A196011, 0xBF306010, 0x46C0E7FD, 0x4811B5F0, 0x69826941, 0xD01B4291, 0x4013233F, 0x43632424, 0x18ED6A05,
    0x792E3201, 0xD10F2E55, 0x270F68C3, 0x4367401F, 0x19F669C6, 0x59EC2720, 0x3F0451F4, 0x3301D5FB, 0x4C0960C3,
    0x60272701, 0xE7DF6182, 0x0000BDF0, 0x20000000, 0x4D4B5241, 0x20001000, 0x20002000, 0xE000E100, 0x40001F00,
    0x40001008,
];

/// The octets of a program.
pub fn octets(program: &[u32]) -> Vec<u8> {
    program.iter().flat_map(|word| word.to_le_bytes()).collect()
}
