//! The virtual debug probe: a Black Magic Probe speaking its remote protocol, version 4. One request in, one answer out;
//! the sockets are the caller's.

use crate::{
    debug::Core,
    error::MachineError,
    hex,
    swd::{DebugPort, Line},
};

/// USB identification of the probe that this one is.
pub(crate) const USB_ID: &str = "1d50:6018";
/// Octets in a memory request.
const MAX_MEMORY: usize = 4096;
/// Octets of a request; a longer one is noise.
const MAX_REQUEST: usize = 2 * MAX_MEMORY + 64;
const CLOCK_HZ: u32 = 4_000_000;

const OK: &[u8] = b"&K0#";
const PARAMETER: &[u8] = b"&P1#";
const NOT_SUPPORTED: &[u8] = b"&N0#";
const FAULT: &[u8] = b"&E4#";

/// The probe of one node.
#[derive(Debug)]
pub(crate) struct Probe {
    line: Line,
    clock_hz: u32,
    input: Vec<u8>,
    name: String,
}

/// Digits of a request, taken from the left.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn take(&mut self, count: usize) -> Option<u64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        hex::number(digits)
    }

    fn rest(&mut self) -> Option<u64> {
        hex::number(std::mem::take(&mut self.0))
    }
}

fn value(value: u32) -> Vec<u8> {
    format!("&K{value:08x}#").into_bytes()
}

fn done(result: Result<(), MachineError>) -> Vec<u8> {
    if result.is_ok() { OK.to_vec() } else { FAULT.to_vec() }
}

impl Probe {
    pub fn new(name: &str) -> Self {
        Self { line: Line::default(), clock_hz: CLOCK_HZ, input: Vec::new(), name: name.to_owned() }
    }

    /// A new debugger is there.
    pub fn opened(&mut self) {
        self.line = Line::default();
        self.input.clear();
    }

    /// Takes octets from the debugger and returns the answers to the requests they complete. `core` is absent while the
    /// node has no power.
    pub fn receive(&mut self, octets: &[u8], mut core: Option<&mut Core>) -> Vec<u8> {
        self.input.extend_from_slice(octets);
        let mut answers = Vec::new();
        loop {
            // A request runs from '!' to '#'; what comes before is noise.
            let start = self.input.iter().position(|octet| *octet == b'!').unwrap_or(self.input.len());
            self.input.drain(..start);
            let Some(end) = self.input.iter().position(|octet| *octet == b'#') else { break };
            let request: Vec<u8> = self.input.drain(..=end).collect();
            answers.extend(self.answer(&request[1..end], core.as_deref_mut()));
        }
        if self.input.len() > MAX_REQUEST {
            self.input.clear();
        }
        answers
    }

    fn answer(&mut self, request: &[u8], core: Option<&mut Core>) -> Vec<u8> {
        let (kind, digits) = request.split_at(request.len().min(2));
        let digits = Digits(digits);
        match kind.first() {
            Some(b'A') => match core {
                Some(core) => transfer(kind, digits, core).unwrap_or_else(|| PARAMETER.to_vec()),
                None => FAULT.to_vec(),
            },
            Some(b'S') => self.bits(kind, digits, core).unwrap_or_else(|| PARAMETER.to_vec()),
            _ => self.general(kind, digits, core).unwrap_or_else(|| PARAMETER.to_vec()),
        }
    }

    fn general(&mut self, kind: &[u8], mut digits: Digits<'_>, core: Option<&mut Core>) -> Option<Vec<u8>> {
        Some(match kind {
            b"GA" => format!("&KEmulated {}#", self.name).into_bytes(),
            // Protocol version 4, of which the accelerated ADIv5 transfers are offered.
            b"HC" => b"&K4#".to_vec(),
            b"HA" => b"&K1#".to_vec(),
            b"GF" => {
                self.clock_hz = digits.take(8)? as u32;
                OK.to_vec()
            }
            b"Gf" => format!("&K{:x}#", self.clock_hz / 1000).into_bytes(),
            b"GZ" => match core {
                Some(core) => done(core.reset_pin(digits.0.first() == Some(&b'1'))),
                None => OK.to_vec(),
            },
            b"GV" | b"GP" | b"GE" => OK.to_vec(),
            _ => NOT_SUPPORTED.to_vec(),
        })
    }

    fn bits(&mut self, kind: &[u8], mut digits: Digits<'_>, core: Option<&mut Core>) -> Option<Vec<u8>> {
        let mut port = core.map(|core| core as &mut dyn DebugPort);
        Some(match kind {
            b"SS" => OK.to_vec(),
            b"So" | b"SO" => {
                let count = digits.take(2)? as u32;
                let bits = digits.rest()?;
                self.line.drive(port.as_deref_mut().map(|port| port as _), bits, count);
                if kind == b"SO" {
                    self.line.drive(port, u64::from(bits.count_ones() & 1), 1);
                }
                OK.to_vec()
            }
            b"Si" => format!("&K{:x}#", self.line.sample(digits.take(2)? as u32)).into_bytes(),
            _ => NOT_SUPPORTED.to_vec(),
        })
    }
}

/// Whole transfers. Every request starts with the index of the device, which is 0; results of reads come with their octets
/// swapped, and so does what `AA` writes.
fn transfer(kind: &[u8], mut digits: Digits<'_>, core: &mut Core) -> Option<Vec<u8>> {
    Some(match kind {
        b"Ad" => {
            digits.take(4)?;
            let register = digits.take(4)? as u8;
            value(DebugPort::read(core, register).swap_bytes())
        }
        b"AR" => {
            digits.take(2)?;
            let read = digits.take(2)? != 0;
            let register = digits.take(4)? as u8;
            let data = digits.take(8)? as u32;
            if read {
                value(DebugPort::read(core, register).swap_bytes())
            } else {
                DebugPort::write(core, register, data);
                OK.to_vec()
            }
        }
        b"Aa" => {
            digits.take(2)?;
            let port = digits.take(2)? as u8;
            match core.access_port(port, digits.take(4)? as u8) {
                Ok(data) => value(data.swap_bytes()),
                Err(_) => FAULT.to_vec(),
            }
        }
        b"AA" => {
            digits.take(2)?;
            let port = digits.take(2)? as u8;
            let register = digits.take(4)? as u8;
            let data = (digits.take(8)? as u32).swap_bytes();
            done(core.set_access_port(port, register, data))
        }
        b"Am" => {
            let (address, length) = memory_head(&mut digits, false)?;
            let mut octets = vec![0; length];
            match core.read(address, &mut octets) {
                Ok(()) => {
                    let mut answer = b"&K".to_vec();
                    hex::append(&mut answer, &octets);
                    answer.push(b'#');
                    answer
                }
                Err(_) => FAULT.to_vec(),
            }
        }
        b"AM" => {
            let (address, length) = memory_head(&mut digits, true)?;
            let mut octets = vec![0; length];
            if digits.0.len() != 2 * length {
                return None;
            }
            hex::read(digits.0, &mut octets)?;
            done(core.write(address, &octets))
        }
        _ => NOT_SUPPORTED.to_vec(),
    })
}

/// Device, access port (only 0 has memory), CSW, for writes an alignment, address and length. CSW and alignment are not
/// used: the driver always asks for octets, and the width follows from length and alignment of the request.
fn memory_head(digits: &mut Digits<'_>, write: bool) -> Option<(u32, usize)> {
    digits.take(2)?;
    let port = digits.take(2)?;
    digits.take(8)?;
    if write {
        digits.take(2)?;
    }
    let address = u32::try_from(digits.take(16)?).ok()?;
    let length = usize::try_from(digits.take(8)?).ok()?;
    (port == 0 && length <= MAX_MEMORY).then_some((address, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(probe: &mut Probe, request: &[u8]) -> String {
        String::from_utf8_lossy(&probe.receive(request, None)).into_owned()
    }

    #[test]
    fn a_request_may_come_in_pieces_and_behind_noise() {
        let mut probe = Probe::new("n01");
        assert_eq!(ask(&mut probe, b"+#!GA#!H"), "&KEmulated n01#");
        assert_eq!(ask(&mut probe, b"C#!HA#"), "&K4#&K1#");
        assert_eq!(ask(&mut probe, b"!GF003d0900#!Gf#"), "&K0#&Kfa0#");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut probe = Probe::new("n01");
        for (request, answer) in [
            (&b"!#"[..], NOT_SUPPORTED),
            (b"!Zz#", NOT_SUPPORTED),
            (b"!GFxyz#", PARAMETER),
            (b"!So#", PARAMETER),
            (b"!Si#", PARAMETER),
        ] {
            assert_eq!(probe.receive(request, None), answer, "{}", String::from_utf8_lossy(request));
        }
    }

    #[test]
    fn a_request_without_an_end_is_forgotten() {
        let mut probe = Probe::new("n01");
        assert_eq!(ask(&mut probe, &[b"!AM".to_vec(), vec![b'0'; MAX_REQUEST]].concat()), "");
        assert_eq!(ask(&mut probe, b"!HC#"), "&K4#");
    }

    #[test]
    fn without_power_transfers_fail_and_the_line_is_silent() {
        let mut probe = Probe::new("n01");
        assert_eq!(probe.receive(b"!Ad00000000#", None), FAULT);
        assert_eq!(ask(&mut probe, b"!So08a5#!Si03#"), "&K0#&K7#");
    }
}
