//! What readers of `/events` are told: a bounded ring of events, each with its name and time, for any number of readers.
//!
//! The thread that owns a machine writes and never waits; readers follow at their own pace and are told of a gap when
//! they come too late. Nothing is kept over a restart: the life in an event's name says so.

use crate::api::{EventId, Gap, Stamped};
use crate::clock::Clock;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Events kept.
const MOST_EVENTS: usize = 100_000;
/// Octets of events kept.
const MOST_OCTETS: usize = 64 << 20;

/// One event as it is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its name.
    pub id: EventId,
    /// Its kind.
    pub kind: &'static str,
    /// A line of JSON.
    pub json: Arc<str>,
}

/// What a reader gets next.
#[derive(Clone, Debug)]
pub enum Next {
    /// An event.
    Event(Told),
    /// Events are missing before the next one.
    Gap(Gap),
    /// Nothing yet.
    Wait,
    /// Nothing ever again.
    End,
}

/// The ring.
#[derive(Debug)]
pub struct Feed {
    clock: Clock,
    life: u32,
    ring: Mutex<Ring>,
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Told>,
    octets: usize,
    last: u64,
    ended: bool,
}

/// A reader's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The last event had.
    after: EventId,
}

impl Feed {
    /// A feed of the life `life`.
    pub fn new(clock: Clock, life: u32) -> Self {
        Self { clock, life, ring: Mutex::default(), news: watch::Sender::new(0) }
    }

    /// Starts of the process so far.
    pub const fn life(&self) -> u32 {
        self.life
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Every change of the ring leaves it whole.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells readers of an event.
    pub fn tell<E: Serialize>(&self, kind: &'static str, event: E) {
        let mut ring = self.ring();
        let id = EventId { life: self.life, number: ring.last + 1 };
        let stamped = Stamped { id, ms: self.clock.ms(), unix_ms: self.clock.unix_us() / 1_000, event };
        // Every event type of this crate has a form in JSON.
        let Ok(json) = serde_json::to_string(&stamped) else { return };
        ring.last = id.number;
        ring.octets += json.len();
        ring.events.push_back(Told { id, kind, json: json.into() });
        while ring.events.len() > MOST_EVENTS || ring.octets > MOST_OCTETS {
            let Some(oldest) = ring.events.pop_front() else { break };
            ring.octets = ring.octets.saturating_sub(oldest.json.len());
        }
        let last = ring.last;
        drop(ring);
        self.news.send_replace(last);
    }

    /// Tells readers that nothing more comes.
    pub fn end(&self) {
        self.ring().ended = true;
        self.news.send_modify(|_| ());
    }

    /// The place of a reader that wants everything kept.
    pub const fn beginning(&self) -> Place {
        Place { after: EventId { life: self.life, number: 0 } }
    }

    /// The place of a reader that wants only what is new.
    pub fn now(&self) -> Place {
        Place { after: EventId { life: self.life, number: self.ring().last } }
    }

    /// The place of a reader that had events up to `after`.
    pub const fn resumed(after: EventId) -> Place {
        Place { after }
    }

    /// What comes next at a place, which moves on.
    pub fn next(&self, place: &mut Place) -> Next {
        let ring = self.ring();
        let first = ring.events.front().map_or(ring.last + 1, |event| event.id.number);
        let after = place.after;
        let is_ours = after.life == self.life && after.number <= ring.last;
        if !is_ours || after.number + 1 < first {
            // Another life's events, or events no longer kept. Only a resuming or a slow reader comes here.
            let next = EventId { life: self.life, number: first };
            place.after = EventId { life: self.life, number: first - 1 };
            return Next::Gap(Gap { after, next });
        }
        let at = usize::try_from(after.number + 1 - first).unwrap_or(usize::MAX);
        match ring.events.get(at) {
            Some(event) => {
                place.after = event.id;
                Next::Event(event.clone())
            }
            None if ring.ended => Next::End,
            None => Next::Wait,
        }
    }

    /// Wakes when there may be news.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    fn feed(events: u64) -> Feed {
        let feed = Feed::new(Clock::start(), 3);
        for number in 0..events {
            feed.tell("number", number);
        }
        feed
    }

    fn read(feed: &Feed, mut place: Place) -> (Vec<u64>, Option<Gap>) {
        let (mut numbers, mut gap) = (Vec::new(), None);
        loop {
            match feed.next(&mut place) {
                Next::Event(event) => numbers.push(event.id.number),
                Next::Gap(found) => gap = Some(found),
                Next::Wait | Next::End => return (numbers, gap),
            }
        }
    }

    fn id(life: u32, number: u64) -> EventId {
        EventId { life, number }
    }

    #[rstest]
    #[case::all(id(3, 0), &[1, 2, 3], false)]
    #[case::some(id(3, 2), &[3], false)]
    #[case::none(id(3, 3), &[], false)]
    #[case::earlier_life(id(2, 2), &[1, 2, 3], true)]
    #[case::never_told(id(3, 9), &[1, 2, 3], true)]
    fn a_reader_gets_what_came_after_its_last(#[case] after: EventId, #[case] want: &[u64], #[case] has_gap: bool) {
        let (numbers, gap) = read(&feed(3), Feed::resumed(after));
        assert_eq!(numbers, want);
        assert_eq!(gap, has_gap.then_some(Gap { after, next: id(3, 1) }));
    }

    #[test]
    fn only_what_is_new_is_told_from_now() {
        let feed = feed(3);
        let place = feed.now();
        feed.tell("number", 4);
        assert_eq!(read(&feed, place), (vec![4], None));
    }

    #[test]
    fn a_reader_that_comes_too_late_is_told_of_the_gap() {
        let feed = feed(MOST_EVENTS as u64 + 2);
        let (numbers, gap) = read(&feed, feed.beginning());
        assert_eq!((numbers.first(), numbers.len()), (Some(&3), MOST_EVENTS));
        assert_eq!(gap.unwrap().next, id(3, 3));
    }

    #[test]
    fn an_ended_feed_is_read_to_its_end() {
        let feed = feed(1);
        feed.end();
        let mut place = feed.beginning();
        assert!(matches!(feed.next(&mut place), Next::Event(_)));
        assert!(matches!(feed.next(&mut place), Next::End));
    }
}
