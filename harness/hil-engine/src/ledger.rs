//! The ledger: every observation of a run, in order, as JSON Lines. It is the only truth: verdicts, reports and replays
//! are functions of it.
//!
//! Refuses to edit: an event that was appended keeps its place and its bytes. The reader refuses gaps and foreign lines
//! and says in which line they are; only a torn *last* line, the trace of a run that was killed, is reported and left out.

use hil_model::{Digest, Event};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};

/// Longest line that is read, in octets. The longest real one lists the nodes of a 32,000-node stage.
pub const MAX_LINE: usize = 1 << 20;

/// Most events in a ledger.
pub const MAX_EVENTS: usize = 8_000_000;

/// A text that is not a ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A line that is no event.
    #[error("line {line}: not an event: {why}")]
    NotAnEvent {
        /// Line, from 1.
        line: usize,
        /// What the parser said.
        why: String,
    },
    /// An event out of its place: lines are missing, repeated or from another run.
    #[error("line {line}: event {found} where event {expected} belongs; lines are missing or repeated")]
    OutOfPlace {
        /// Line, from 1.
        line: usize,
        /// The number that belongs there.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// A line that is longer than any event.
    #[error("line {line}: {octets} octets; no event is longer than {MAX_LINE}")]
    LineTooLong {
        /// Line, from 1.
        line: usize,
        /// Its length.
        octets: usize,
    },
    /// More events than a run can have.
    #[error("line {line}: more than {MAX_EVENTS} events")]
    TooManyEvents {
        /// Line, from 1.
        line: usize,
    },
    /// A line that is not UTF-8.
    #[error("line {line}: not UTF-8 after {valid} octets")]
    NotText {
        /// Line, from 1.
        line: usize,
        /// Octets before the first wrong one.
        valid: usize,
    },
}

/// The append-only list of events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    events: Vec<Event>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub const fn new() -> Self {
        Self { events: Vec::new() }
    }

    /// Append an event and give it its place. Returns the event as it now stands.
    pub fn append(&mut self, mut event: Event) -> &Event {
        event.seq = self.events.len() as u64;
        let at = self.events.len();
        self.events.push(event);
        &self.events[at]
    }

    /// All events, oldest first; the `seq` of each is its index.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The events, for a record.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// SHA-256 over the ledger as written. The same scenario, rack and seed give the same digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hash = HashWriter(Sha256::new());
        match write(&self.events, &mut hash) {
            Ok(()) | Err(_) => Digest(hash.0.finalize().into()),
        }
    }
}

/// Feeds a hash; never fails.
struct HashWriter(Sha256);

impl Write for HashWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.update(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Write events as JSON Lines.
///
/// # Errors
/// What the writer returns.
pub fn write(events: &[Event], out: &mut dyn Write) -> io::Result<()> {
    events.iter().try_for_each(|event| write_one(event, out))
}

/// Write one event as one line.
///
/// # Errors
/// What the writer returns.
pub fn write_one(event: &Event, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, event).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// A ledger that was read, and what was left out.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadLedger {
    /// The events.
    pub ledger: Ledger,
    /// Line, from 1, of a last line that broke off; it was left out.
    pub torn_line: Option<usize>,
}

/// Read a ledger.
///
/// # Errors
/// The first line that is no event or not in its place. A last line without its end, as a killed run leaves behind, is
/// no error.
pub fn read(bytes: &[u8]) -> Result<ReadLedger, LedgerError> {
    let mut ledger = Ledger::new();
    let mut rest = bytes;
    let mut line = 0;
    while !rest.is_empty() {
        line += 1;
        let (text, ended) = match rest.iter().position(|&b| b == b'\n') {
            Some(end) => (&rest[..end], true),
            None => (rest, false),
        };
        rest = &rest[(text.len() + usize::from(ended)).min(rest.len())..];
        match read_line(text, line, ledger.events.len()) {
            Ok(event) => ledger.events.push(event),
            Err(LedgerError::NotAnEvent { .. } | LedgerError::NotText { .. }) if !ended => {
                return Ok(ReadLedger { ledger, torn_line: Some(line) });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ReadLedger { ledger, torn_line: None })
}

fn read_line(text: &[u8], line: usize, place: usize) -> Result<Event, LedgerError> {
    if text.len() > MAX_LINE {
        return Err(LedgerError::LineTooLong { line, octets: text.len() });
    }
    if place >= MAX_EVENTS {
        return Err(LedgerError::TooManyEvents { line });
    }
    let text = core::str::from_utf8(text).map_err(|error| LedgerError::NotText { line, valid: error.valid_up_to() })?;
    let event: Event =
        serde_json::from_str(text).map_err(|error| LedgerError::NotAnEvent { line, why: error.to_string() })?;
    if event.seq == place as u64 {
        Ok(event)
    } else {
        Err(LedgerError::OutOfPlace { line, expected: place as u64, found: event.seq })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use hil_model::{About, Fact, Time, Witness};
    use proptest::prelude::*;

    fn sample() -> Ledger {
        let mut ledger = Ledger::new();
        for text in ["one", "two \u{1b}[31m \u{0}", "three\nfour"] {
            let fact = Fact::ConsoleLine { text: text.to_owned() };
            ledger.append(Event::new(Time(7), About::Rack, Witness::Console, fact));
        }
        ledger
    }

    fn bytes(ledger: &Ledger) -> Vec<u8> {
        let mut out = Vec::new();
        write(ledger.events(), &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let ledger = sample();
        let read = read(&bytes(&ledger)).unwrap();
        assert_eq!(read, ReadLedger { ledger: ledger.clone(), torn_line: None });
        assert_eq!(read.ledger.digest(), ledger.digest());
    }

    #[test]
    fn a_torn_last_line_is_reported_and_the_rest_read() {
        let whole = bytes(&sample());
        let second_end = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(1).unwrap().0;
        for cut in second_end + 2..whole.len() - 1 {
            let read = read(&whole[..cut]).unwrap();
            assert_eq!((read.ledger.events().len(), read.torn_line), (2, Some(3)), "cut at {cut}");
        }
    }

    #[test]
    fn a_bad_line_in_the_middle_is_named() {
        let text = String::from_utf8(bytes(&sample())).unwrap();
        let broken = text.replacen("\"seq\":1", "\"sq\":1", 1);
        assert!(matches!(read(broken.as_bytes()), Err(LedgerError::NotAnEvent { line: 2, .. })));
        let swapped = text.replacen("\"seq\":1", "\"seq\":5", 1);
        assert_eq!(read(swapped.as_bytes()), Err(LedgerError::OutOfPlace { line: 2, expected: 1, found: 5 }));
        let long = vec![b' '; MAX_LINE + 1];
        assert_eq!(read(&long), Err(LedgerError::LineTooLong { line: 1, octets: MAX_LINE + 1 }));
        assert!(matches!(read(b"\xFF\n"), Err(LedgerError::NotText { line: 1, valid: 0 })));
    }

    #[test]
    fn another_order_has_another_digest() {
        let one = sample();
        let mut two = Ledger::new();
        for event in one.events().iter().rev() {
            two.append(event.clone());
        }
        assert_ne!(one.digest(), two.digest());
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
