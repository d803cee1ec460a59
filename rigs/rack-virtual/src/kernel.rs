//! The event queue of the simulation: a hierarchical timer wheel ordered by (time, insertion).
//!
//! Insertion and removal cost a few nanoseconds whatever the number of pending events; a heap of the 1,000-node
//! campaign would cost ten times that. The wheel knows nothing of what its items mean.

use hil_model::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nanoseconds of one tick, as a power of two: about 17 ms. Items of one tick are ordered exactly, by a small heap; a
/// shorter tick would only make periodic traffic pass through one more level.
const TICK_LOG: u32 = 24;
/// Slots of a level, as a power of two.
const SLOT_LOG: u32 = 6;
const SLOTS: usize = 1 << SLOT_LOG;
/// Levels: 7 x 6 bits cover every tick that a 64-bit time can have (40 bits).
const LEVELS: usize = 7;

struct Entry<T> {
    at: Time,
    order: u64,
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl<T> Eq for Entry<T> {}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

struct Level<T> {
    occupied: u64,
    slots: Vec<Vec<Entry<T>>>,
}

/// A queue of items, each due at a time.
pub struct Wheel<T> {
    levels: Vec<Level<T>>,
    /// Items of the current tick, and any inserted for an earlier time.
    ready: BinaryHeap<Reverse<Entry<T>>>,
    tick: u64,
    order: u64,
    /// Emptied slot, kept for its memory.
    spare: Vec<Entry<T>>,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        let level = || Level { occupied: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect() };
        Self {
            levels: (0..LEVELS).map(|_| level()).collect(),
            ready: BinaryHeap::new(),
            tick: 0,
            order: 0,
            spare: Vec::new(),
        }
    }
}

impl<T> Wheel<T> {
    /// Adds an item due at `at`. Items of the same time come out in the order they went in.
    pub fn insert(&mut self, at: Time, item: T) {
        self.order += 1;
        self.place(Entry { at, order: self.order, item });
    }

    fn place(&mut self, entry: Entry<T>) {
        let tick = entry.at.0 >> TICK_LOG;
        if tick <= self.tick {
            self.ready.push(Reverse(entry));
            return;
        }
        // The level is that of the highest group of six bits in which the tick differs from now.
        let level = ((u64::BITS - 1 - (tick ^ self.tick).leading_zeros()) / SLOT_LOG) as usize;
        let slot = (tick >> (level as u32 * SLOT_LOG)) as usize % SLOTS;
        let level = &mut self.levels[level];
        level.occupied |= 1 << slot;
        level.slots[slot].push(entry);
    }

    /// Takes the first item due at or before `until`, with its time.
    pub fn pop_until(&mut self, until: Time) -> Option<(Time, T)> {
        loop {
            if let Some(Reverse(first)) = self.ready.peek() {
                if first.at > until {
                    return None;
                }
                let Reverse(entry) = self.ready.pop()?;
                return Some((entry.at, entry.item));
            }
            if !self.advance(until.0 >> TICK_LOG) {
                return None;
            }
        }
    }

    /// Moves the current tick to the next occupied slot, unless that lies after `limit`. True when it moved.
    fn advance(&mut self, limit: u64) -> bool {
        for index in 0..LEVELS {
            let shift = index as u32 * SLOT_LOG;
            let now = (self.tick >> shift) as usize % SLOTS;
            // Slots after the current one; the current one itself was emptied when it was entered.
            let later = if now == SLOTS - 1 { 0 } else { self.levels[index].occupied & (u64::MAX << (now + 1)) };
            if later == 0 {
                continue;
            }
            let slot = later.trailing_zeros() as usize;
            let above = shift + SLOT_LOG;
            let base = if above >= u64::BITS { 0 } else { (self.tick >> above) << above };
            let start = base + ((slot as u64) << shift);
            if start > limit {
                return false;
            }
            self.tick = start;
            let level = &mut self.levels[index];
            level.occupied &= !(1 << slot);
            let mut entries = core::mem::replace(&mut level.slots[slot], core::mem::take(&mut self.spare));
            for entry in entries.drain(..) {
                self.place(entry);
            }
            self.spare = entries;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn items_of_one_time_keep_their_order() {
        let mut wheel = Wheel::default();
        for i in 0..10 {
            wheel.insert(Time(5_000_000), i);
        }
        let out: Vec<_> = std::iter::from_fn(|| wheel.pop_until(Time::NEVER)).map(|(_, i)| i).collect();
        assert_eq!(out, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_later_than_asked_comes_out() {
        let mut wheel = Wheel::default();
        wheel.insert(Time(1_000_000_000), 1);
        assert_eq!(wheel.pop_until(Time(999_999_999)), None);
        wheel.insert(Time(500), 0);
        assert_eq!(wheel.pop_until(Time(1_000_000_000)), Some((Time(500), 0)));
        assert_eq!(wheel.pop_until(Time(1_000_000_000)), Some((Time(1_000_000_000), 1)));
        assert_eq!(wheel.pop_until(Time::NEVER), None);
    }

    proptest! {
        /// The wheel gives out what a sorted list would, with insertions between the removals.
        #[test]
        fn it_agrees_with_a_sorted_list(steps in prop::collection::vec((any::<bool>(), 0_u32..64, any::<u64>()), 1..200)) {
            let mut wheel = Wheel::default();
            let mut list: Vec<(Time, usize)> = Vec::new();
            let mut now = Time::ZERO;
            for (i, (insert, shift, value)) in steps.into_iter().enumerate() {
                if insert {
                    let at = Time(now.0.saturating_add(value >> shift));
                    wheel.insert(at, i);
                    list.push((at, i));
                } else if let Some((at, item)) = wheel.pop_until(Time::NEVER) {
                    list.sort();
                    prop_assert_eq!((at, item), list.remove(0));
                    now = at;
                } else {
                    prop_assert!(list.is_empty());
                }
            }
            list.sort();
            for want in list {
                prop_assert_eq!(wheel.pop_until(Time::NEVER), Some(want));
            }
            prop_assert_eq!(wheel.pop_until(Time::NEVER), None);
        }
    }
}
