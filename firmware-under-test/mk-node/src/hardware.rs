//! What a board gives the application on top of what it gives the bootloader.

/// A board, as far as the application needs it.
pub trait NodeHardware: mk_boot::Hardware {
    /// RAM for one BLOB block, owned by the target; its length is the largest block the node accepts (at least 32 KiB on a
    /// product board, and never less than one flash page). It has to keep its octets between two calls.
    fn block_buffer(&mut self) -> &mut [u8];

    /// The temperature sensor, in hundredths of a degree Celsius.
    fn temperature_centi_c(&mut self) -> i16;

    /// A seed for response delays, report phases and CoAP jitter. Need not be secret, should differ between nodes.
    fn entropy(&mut self) -> u64;
}
