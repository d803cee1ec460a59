//! The target end of serial wire debug, bit by bit: as much as a probe driver uses before it turns to whole transfers.

/// What the line leads to.
pub(crate) trait DebugPort {
    /// Reads a register of the debug port.
    fn read(&mut self, register: u8) -> u32;
    /// Writes one.
    fn write(&mut self, register: u8, value: u32);
    /// Reads a register of the selected access port; `None` is a fault.
    fn read_access_port(&mut self, register: u8) -> Option<u32>;
    /// Writes one.
    fn write_access_port(&mut self, register: u8, value: u32) -> Option<()>;
}

/// High for so many clocks, the line is reset.
const RESET_CLOCKS: u32 = 50;
const ACK_OK: u64 = 0b001;
const ACK_FAULT: u64 = 0b100;

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Idle,
    /// Bits of a request so far.
    Request {
        bits: u8,
        value: u8,
    },
    /// A write was acknowledged; its data comes.
    Acknowledged {
        request: Request,
    },
    Data {
        request: Request,
        bits: u8,
        value: u64,
    },
    /// Acknowledge, data and parity that the target drives.
    Driving(u64),
    /// Something made no sense: silence until the line is reset.
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    access_port: bool,
    register: u8,
}

/// State of the line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    state: State,
    ones: u32,
    /// The value of the last read through an access port, which the next one returns.
    posted: u32,
}

impl Line {
    /// Bits that the probe drives, first bit lowest. Without power there is no port and nothing happens.
    pub fn drive(&mut self, mut port: Option<&mut dyn DebugPort>, bits: u64, count: u32) {
        for index in 0..count.min(64) {
            let bit = bits >> index & 1 == 1;
            self.ones = if bit { self.ones.saturating_add(1) } else { 0 };
            match (&mut port, self.ones >= RESET_CLOCKS) {
                (Some(port), false) => self.state = self.next(*port, bit),
                (Some(_), true) => self.state = State::Idle,
                (None, _) => self.state = State::Lost,
            }
        }
    }

    fn next(&mut self, port: &mut dyn DebugPort, bit: bool) -> State {
        match self.state {
            State::Idle | State::Driving(_) if !bit => State::Idle,
            State::Idle | State::Driving(_) => State::Request { bits: 1, value: 1 },
            State::Request { bits, value } => {
                let value = value | u8::from(bit) << bits;
                if bits < 7 { State::Request { bits: bits + 1, value } } else { self.request(port, value) }
            }
            State::Acknowledged { request } => State::Data { request, bits: 1, value: u64::from(bit) },
            State::Data { request, bits, value } => {
                let value = value | u64::from(bit) << bits;
                if bits < 32 {
                    return State::Data { request, bits: bits + 1, value };
                }
                let (data, parity) = (value as u32, (value >> 32) as u32);
                if data.count_ones() & 1 == parity {
                    if request.access_port {
                        // A fault shows at the next transfer, which this driver does not make on this way.
                        let _ = port.write_access_port(request.register, data);
                    } else {
                        port.write(request.register, data);
                    }
                }
                State::Idle
            }
            State::Lost => State::Lost,
        }
    }

    fn request(&mut self, port: &mut dyn DebugPort, head: u8) -> State {
        let request = Request { access_port: head & 2 != 0, register: head >> 1 & 0xC };
        let read = head & 4 != 0;
        let parity = (head >> 1 & 0xF).count_ones() & 1 == u32::from(head >> 5 & 1);
        if head & 0xC1 != 0x81 || !parity {
            return State::Lost;
        }
        if !read {
            return State::Acknowledged { request };
        }
        let value = match (request.access_port, request.register) {
            (false, 0xC) => Some(self.posted),
            (false, register) => Some(port.read(register)),
            (true, register) => port.read_access_port(register).map(|value| std::mem::replace(&mut self.posted, value)),
        };
        State::Driving(match value {
            Some(value) => ACK_OK | u64::from(value) << 3 | u64::from(value.count_ones() & 1) << 35,
            None => ACK_FAULT,
        })
    }

    /// Bits that the target drives. A line that nobody drives is high.
    pub fn sample(&mut self, count: u32) -> u64 {
        let mask = if count >= 64 { u64::MAX } else { (1 << count) - 1 };
        match &mut self.state {
            State::Acknowledged { .. } => ACK_OK & mask,
            State::Driving(value) => {
                let bits = *value & mask;
                *value = value.checked_shr(count).unwrap_or(0);
                bits
            }
            State::Idle | State::Request { .. } | State::Data { .. } | State::Lost => mask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Port {
        written: Vec<(u8, u32)>,
    }

    impl DebugPort for Port {
        fn read(&mut self, register: u8) -> u32 {
            0x0BB1_1477 + u32::from(register)
        }
        fn write(&mut self, register: u8, value: u32) {
            self.written.push((register, value));
        }
        fn read_access_port(&mut self, _: u8) -> Option<u32> {
            None
        }
        fn write_access_port(&mut self, _: u8, _: u32) -> Option<()> {
            None
        }
    }

    const READ_DPIDR: u64 = 0xA5;
    const WRITE_SELECT: u64 = 0xB1;

    #[test]
    fn a_read_is_acknowledged_and_carries_its_parity() {
        let (mut line, mut port) = (Line::default(), Port::default());
        line.drive(Some(&mut port), READ_DPIDR, 8);
        assert_eq!(line.sample(3), ACK_OK);
        assert_eq!(line.sample(32), 0x0BB1_1477);
        assert_eq!(line.sample(1), u64::from(0x0BB1_1477u32.count_ones() & 1));
    }

    #[test]
    fn a_write_with_the_wrong_parity_is_not_taken() {
        for (parity, taken) in [(1, true), (0, false)] {
            let (mut line, mut port) = (Line::default(), Port::default());
            line.drive(Some(&mut port), WRITE_SELECT, 8);
            assert_eq!(line.sample(3), ACK_OK);
            line.drive(Some(&mut port), 0x0100_0000, 32);
            line.drive(Some(&mut port), parity, 1);
            assert_eq!(port.written == [(8, 0x0100_0000)], taken);
        }
    }

    #[test]
    fn nonsense_is_answered_only_after_a_line_reset() {
        let (mut line, mut port) = (Line::default(), Port::default());
        line.drive(Some(&mut port), READ_DPIDR ^ 0x20, 8);
        assert_eq!(line.sample(3), 7);
        line.drive(Some(&mut port), READ_DPIDR, 8);
        assert_eq!(line.sample(3), 7);
        line.drive(Some(&mut port), u64::MAX, 50);
        line.drive(Some(&mut port), 0, 2);
        line.drive(Some(&mut port), READ_DPIDR, 8);
        assert_eq!(line.sample(3), ACK_OK);
    }

    #[test]
    fn without_power_nobody_answers() {
        let mut line = Line::default();
        line.drive(None, u64::MAX, 50);
        line.drive(None, READ_DPIDR, 8);
        assert_eq!(line.sample(3), 7);
    }

    #[test]
    fn a_failed_access_is_a_fault() {
        let (mut line, mut port) = (Line::default(), Port::default());
        // Read of access port register 0.
        line.drive(Some(&mut port), 0x87, 8);
        assert_eq!(line.sample(3), ACK_FAULT);
    }
}
