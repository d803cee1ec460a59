//! The debug UART: console text and trace frames, mixed. Sends only; nothing on this board takes orders from a console.

use crate::regs::{UART_BAUDRATE, UART_ENABLE, UART_STARTTX, UART_TXD, UART_TXDRDY};
use mk_app::console::{self, Piece};

/// 115,200 baud.
const BAUD_115200: u32 = 0x01D7_E000;
/// On.
const ENABLED: u32 = 4;
/// At 115,200 baud an octet takes 87 us: after this many looks nobody takes octets any more, and one is dropped.
const MAX_POLLS: u32 = 1_000_000;

/// The UART.
#[derive(Clone, Copy, Debug)]
pub struct Uart;

impl Uart {
    /// Switches it on. May be called again, by the program after the bootloader.
    #[must_use]
    pub fn start() -> Self {
        UART_BAUDRATE.write(BAUD_115200);
        UART_ENABLE.write(ENABLED);
        UART_STARTTX.write(1);
        Self
    }

    /// Sends octets as they are.
    pub fn send(self, octets: &[u8]) {
        for octet in octets {
            UART_TXDRDY.write(0);
            UART_TXD.write(u32::from(*octet));
            // Losing an octet is better than hanging: nothing in the firmware depends on what is printed.
            let _sent = (0..MAX_POLLS).any(|_| UART_TXDRDY.read() != 0);
        }
    }

    /// Sends a line.
    pub fn line(self, pieces: &[Piece<'_>]) {
        console::line(pieces, |octets| self.send(octets));
    }
}
