//! The debug UART: console text and trace frames, mixed. Sends only, and waits until all is sent.

use crate::regs;
use mk_app::console::{self, Piece};

/// The UART.
#[derive(Clone, Copy, Debug)]
pub struct Uart;

impl Uart {
    /// Switches it on. May be called again, by the program after the bootloader.
    #[must_use]
    pub fn start() -> Self {
        regs::start_uart();
        Self
    }

    /// Sends octets as they are.
    pub fn send(self, octets: &[u8]) {
        regs::send(octets);
    }

    /// Sends a line.
    pub fn line(self, pieces: &[Piece<'_>]) {
        console::line(pieces, |octets| self.send(octets));
    }
}
