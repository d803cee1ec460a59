//! The replay protection list (section 12.5): per source the highest sequence number accepted, and the last segmented
//! message. Full means that unknown sources are refused: forgetting one would let its old messages in again.

use heapless::Vec;
use mk_wire::Addr;

/// A sequence number with its IV index: orders a source's messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stamp {
    /// IV index.
    pub iv_index: u32,
    /// Sequence number.
    pub seq: u32,
}

/// One source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    source: Addr,
    /// Highest number accepted.
    last: Stamp,
    /// First segment's number of the newest segmented message that was completed.
    segmented: Option<Stamp>,
    /// Accepted since the entry was last handed out to be stored.
    dirty: bool,
}

/// Why a PDU is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// Not newer than what was accepted.
    Replayed,
    /// A new source, and no room for it.
    Full,
}

/// The list, sorted by source.
#[derive(Debug)]
pub(crate) struct ReplayList<const PEERS: usize> {
    entries: Vec<Entry, PEERS>,
}

impl<const PEERS: usize> ReplayList<PEERS> {
    pub const fn new() -> Self {
        ReplayList { entries: Vec::new() }
    }

    fn find(&self, source: Addr) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&source, |entry| entry.source)
    }

    /// May a PDU of this number be accepted, as a message of its own or as the first one heard of a message?
    pub fn check(&self, source: Addr, stamp: Stamp) -> Result<(), Refusal> {
        match self.find(source) {
            Ok(at) if stamp > self.entries[at].last => Ok(()),
            Ok(_) => Err(Refusal::Replayed),
            // An entry of a past IV index can be replaced: what it protects from is refused by its IV index.
            Err(_) if self.entries.is_full() && !self.has_outdated(stamp.iv_index) => Err(Refusal::Full),
            Err(_) => Ok(()),
        }
    }

    /// May a segmented message that began with this number still be collected?
    pub fn check_segmented(&self, source: Addr, first: Stamp) -> Result<(), Refusal> {
        match self.find(source) {
            Ok(at) if self.entries[at].segmented.is_some_and(|last| first <= last) => Err(Refusal::Replayed),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn has_outdated(&self, iv_index: u32) -> bool {
        self.entries.iter().any(|entry| entry.last.iv_index.saturating_add(1) < iv_index)
    }

    /// A message was accepted: `stamp` is its highest number, `first` that of its first segment if it was segmented.
    /// False if there is no room for the source.
    pub fn accept(&mut self, source: Addr, stamp: Stamp, first: Option<Stamp>) -> bool {
        let at = match self.find(source) {
            Ok(at) => at,
            Err(_) => {
                if self.entries.is_full() {
                    let old = |entry: &Entry| entry.last.iv_index.saturating_add(1) < stamp.iv_index;
                    let Some(old) = self.entries.iter().position(old) else { return false };
                    self.entries.remove(old);
                }
                let entry = Entry { source, last: stamp, segmented: None, dirty: true };
                let at = self.find(source).unwrap_or_else(|at| at);
                if self.entries.insert(at, entry).is_err() {
                    return false;
                }
                at
            }
        };
        let entry = &mut self.entries[at];
        entry.last = entry.last.max(stamp);
        entry.segmented = entry.segmented.max(first);
        entry.dirty = true;
        true
    }

    /// Takes a stored entry back in: everything up to it was accepted once.
    pub fn restore(&mut self, source: Addr, stamp: Stamp) {
        if self.accept(source, stamp, Some(stamp))
            && let Ok(at) = self.find(source)
        {
            self.entries[at].dirty = false;
        }
    }

    /// A source whose entry has changed since it was stored.
    pub fn dirty(&self) -> Option<(Addr, Stamp)> {
        let entry = self.entries.iter().find(|entry| entry.dirty)?;
        Some((entry.source, entry.last))
    }

    /// That entry is stored.
    pub fn stored(&mut self, source: Addr, stamp: Stamp) {
        if let Ok(at) = self.find(source)
            && self.entries[at].last == stamp
        {
            self.entries[at].dirty = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const fn at(iv_index: u32, seq: u32) -> Stamp {
        Stamp { iv_index, seq }
    }

    #[rstest]
    #[case::newer(at(1, 101), Ok(()))]
    #[case::same(at(1, 100), Err(Refusal::Replayed))]
    #[case::older(at(1, 99), Err(Refusal::Replayed))]
    #[case::next_iv_index(at(2, 0), Ok(()))]
    #[case::previous_iv_index(at(0, 0xFF_FFFF), Err(Refusal::Replayed))]
    fn only_newer_numbers_are_accepted(#[case] stamp: Stamp, #[case] want: Result<(), Refusal>) {
        let mut list = ReplayList::<2>::new();
        assert!(list.accept(Addr(5), at(1, 100), None));
        assert_eq!(list.check(Addr(5), stamp), want);
    }

    #[test]
    fn a_full_list_refuses_strangers_until_an_entry_is_two_iv_indices_old() {
        let mut list = ReplayList::<2>::new();
        assert!(list.accept(Addr(5), at(1, 1), None) && list.accept(Addr(6), at(2, 1), None));
        assert_eq!(list.check(Addr(7), at(2, 1)), Err(Refusal::Full));
        assert!(!list.accept(Addr(7), at(2, 1), None));
        assert_eq!(list.check(Addr(6), at(2, 2)), Ok(()));
        assert_eq!(list.check(Addr(7), at(3, 1)), Ok(()));
        assert!(list.accept(Addr(7), at(3, 1), None));
        assert_eq!(list.check(Addr(6), at(2, 1)), Err(Refusal::Replayed));
    }

    #[test]
    fn a_completed_message_is_not_collected_again_and_an_older_one_neither() {
        let mut list = ReplayList::<2>::new();
        assert!(list.accept(Addr(5), at(1, 20), Some(at(1, 10))));
        assert_eq!(list.check_segmented(Addr(5), at(1, 10)), Err(Refusal::Replayed));
        assert_eq!(list.check_segmented(Addr(5), at(1, 9)), Err(Refusal::Replayed));
        assert_eq!(list.check_segmented(Addr(5), at(1, 11)), Ok(()));
    }

    #[test]
    fn what_was_stored_protects_after_a_restart() {
        let mut list = ReplayList::<2>::new();
        assert!(list.accept(Addr(5), at(1, 20), None));
        let (source, stamp) = list.dirty().unwrap_or((Addr(0), at(0, 0)));
        list.stored(source, stamp);
        assert_eq!(list.dirty(), None);
        let mut again = ReplayList::<2>::new();
        again.restore(source, stamp);
        assert_eq!(again.check(Addr(5), at(1, 20)), Err(Refusal::Replayed));
        assert_eq!(again.check_segmented(Addr(5), at(1, 20)), Err(Refusal::Replayed));
        assert_eq!(again.dirty(), None);
    }
}
