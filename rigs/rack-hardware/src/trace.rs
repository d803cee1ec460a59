//! Records and text out of whatever a UART delivers: frames between zero octets, console text around them, garbage, and a
//! start in the middle of a frame.
//!
//! The frames are `mk_wire::trace`'s. Nothing is ever guessed: octets between two zeros are a record with a right CRC, or
//! text, or garbage that is counted.

use mk_wire::trace::{Decoder, TraceRecord};

/// Longest piece kept: several times the longest frame. What goes on without a zero is cut into pieces of this length.
const MOST_TEXT: usize = 512;
/// Octets over which the share of garbage is worked out.
const WINDOW: usize = 512;

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceItem {
    /// A record.
    Record(TraceRecord),
    /// A line of console text, without its end.
    Text(String),
    /// Octets that are neither.
    Garbage {
        /// How many.
        octets: usize,
    },
}

/// Reads items from a stream of octets. Keeps at most one frame and one line.
#[derive(Debug, Default)]
pub struct TraceReader {
    decoder: Decoder,
    /// Octets since the last zero, or since the last piece was cut off.
    pending: Vec<u8>,
    health: Health,
}

/// Shares of what came lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Octets in records and text, of the current window.
    pub good: usize,
    /// Octets in neither.
    pub bad: usize,
}

impl Health {
    /// Octets looked at.
    #[must_use]
    pub const fn octets(&self) -> usize {
        self.good + self.bad
    }

    /// Share of garbage, per cent; `None` before there is enough to tell.
    #[must_use]
    pub const fn garbage_percent(&self) -> Option<u8> {
        if self.octets() < WINDOW / 4 { None } else { Some((self.bad * 100 / self.octets()) as u8) }
    }

    const fn count(&mut self, good: usize, bad: usize) {
        self.good += good;
        self.bad += bad;
        // A window that slides in halves: old octets count for less and less.
        if self.octets() > WINDOW {
            self.good /= 2;
            self.bad /= 2;
        }
    }
}

impl TraceReader {
    /// A reader that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes octets, gives what they complete.
    pub fn push(&mut self, octets: &[u8]) -> Vec<TraceItem> {
        let mut items = Vec::new();
        for &octet in octets {
            let record = self.decoder.push(octet);
            if octet == 0 {
                match record {
                    Some(Ok(record)) => {
                        self.health.count(self.pending.len() + 2, 0);
                        self.pending.clear();
                        items.push(TraceItem::Record(record));
                    }
                    Some(Err(_)) | None => self.give_up(&mut items),
                }
                continue;
            }
            self.pending.push(octet);
            // A line that is text all the way is not held back until the next frame; were it the start of a frame after
            // all, the decoder still has it. What is longer than any frame is none.
            let line = octet == b'\n' && is_text(&self.pending);
            if line || self.pending.len() >= MOST_TEXT {
                self.give_up(&mut items);
            }
        }
        items
    }

    /// Takes note that nothing came for a while: text without an end is given as it stands.
    pub fn idle(&mut self) -> Vec<TraceItem> {
        let mut items = Vec::new();
        if is_text(&self.pending) {
            self.give_up(&mut items);
        }
        items
    }

    /// Shares of garbage and sense lately.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// What stands between two zeros is no record.
    fn give_up(&mut self, items: &mut Vec<TraceItem>) {
        let pending = core::mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        if is_text(&pending) {
            self.health.count(pending.len(), 0);
            let text = String::from_utf8_lossy(&pending);
            items.extend(text.lines().filter(|line| !line.is_empty()).map(|line| TraceItem::Text(line.to_owned())));
        } else {
            self.health.count(0, pending.len());
            items.push(TraceItem::Garbage { octets: pending.len() });
        }
    }
}

/// Whether octets are text that a console prints.
fn is_text(octets: &[u8]) -> bool {
    std::str::from_utf8(octets)
        .is_ok_and(|text| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{1b}')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use mk_wire::trace::{TraceEvent, encode_frame};
    use proptest::prelude::*;

    fn record(sequence: u8) -> TraceRecord {
        TraceRecord { sequence, uptime_ms: 1_000, event: TraceEvent::ConfigOpened { version: 3 } }
    }

    fn records(items: &[TraceItem]) -> Vec<TraceRecord> {
        let record = |item: &TraceItem| match item {
            TraceItem::Record(record) => Some(record.clone()),
            TraceItem::Text(_) | TraceItem::Garbage { .. } => None,
        };
        items.iter().filter_map(record).collect()
    }

    #[test]
    fn text_and_records_share_a_line() {
        let mut stream = b"boot: hello\r\n".to_vec();
        stream.extend(encode_frame(&record(1)));
        stream.extend(b"node: up\n");
        let items = TraceReader::new().push(&stream);
        let text = |text: &str| TraceItem::Text(text.to_owned());
        assert_eq!(items, [text("boot: hello"), TraceItem::Record(record(1)), text("node: up")]);
    }

    #[test]
    fn text_without_an_end_comes_when_the_line_is_idle() {
        let mut reader = TraceReader::new();
        assert_eq!(reader.push(b"prompt> "), []);
        assert_eq!(reader.idle(), [TraceItem::Text("prompt> ".to_owned())]);
        assert_eq!(reader.idle(), []);
    }

    #[test]
    fn a_start_in_the_middle_costs_one_record_and_no_more() {
        let mut stream = encode_frame(&record(1))[4..].to_vec();
        stream.extend(encode_frame(&record(2)));
        let items = TraceReader::new().push(&stream);
        assert_eq!(records(&items), [record(2)]);
    }

    #[test]
    fn garbage_is_counted_and_shows_in_the_share() {
        let mut reader = TraceReader::new();
        assert_eq!(reader.health().garbage_percent(), None);
        reader.push(&[0xF8; 400]);
        reader.push(&[0]);
        assert!(reader.health().garbage_percent().unwrap() > 90);
        for _ in 0..60 {
            reader.push(b"all is well again, and has been for a while\n");
        }
        assert!(reader.health().garbage_percent().unwrap() < 10);
    }

    proptest! {
        #[test]
        fn every_record_after_any_garbage_is_found(
            garbage in proptest::collection::vec(any::<u8>(), 0..700),
            cut in 0..8_usize,
            pieces in 1..9_usize,
        ) {
            let mut stream = garbage;
            stream.extend(&encode_frame(&record(9))[cut..]);
            // The zero in front of a frame ends whatever came before it, so the first whole one is found.
            stream.extend(encode_frame(&record(1)));
            stream.extend(encode_frame(&record(2)));
            let mut reader = TraceReader::new();
            let size = stream.len().div_ceil(pieces);
            let items: Vec<TraceItem> = stream.chunks(size).flat_map(|piece| reader.push(piece)).collect();
            let found = records(&items);
            prop_assert_eq!(&found[found.len() - 2..], &[record(1), record(2)]);
        }

        #[test]
        fn any_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let mut reader = TraceReader::new();
            reader.push(&octets);
            reader.idle();
            let items = reader.push(&encode_frame(&record(3)));
            prop_assert_eq!(records(&items), [record(3)]);
        }
    }
}
