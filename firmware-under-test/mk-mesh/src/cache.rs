//! The network message cache: what was heard lately, so that copies over other relays are neither relayed nor handled
//! again (section 12.5). It forgets the oldest; the replay list is what protects.

use mk_wire::Addr;

/// Messages remembered.
const REMEMBERED: usize = 64;

/// Recent PDUs.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Source, sequence number and low bit of the IV index in one word; 0 is nobody's, because a source is never 0.
    seen: [u64; REMEMBERED],
    next: usize,
}

const fn word(src: Addr, seq: u32, iv_index: u32) -> u64 {
    (src.0 as u64) << 32 | ((iv_index & 1) as u64) << 24 | seq as u64
}

impl Cache {
    pub const fn new() -> Self {
        Cache { seen: [0; REMEMBERED], next: 0 }
    }

    pub fn contains(&self, src: Addr, seq: u32, iv_index: u32) -> bool {
        self.seen.contains(&word(src, seq, iv_index))
    }

    pub fn insert(&mut self, src: Addr, seq: u32, iv_index: u32) {
        self.seen[self.next % REMEMBERED] = word(src, seq, iv_index);
        self.next = (self.next + 1) % REMEMBERED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_64_are_known_and_one_more_makes_the_oldest_unknown() {
        let mut cache = Cache::new();
        for seq in 0..64 {
            cache.insert(Addr(1), seq, 7);
        }
        assert!((0..64).all(|seq| cache.contains(Addr(1), seq, 7)));
        cache.insert(Addr(1), 64, 7);
        assert!(!cache.contains(Addr(1), 0, 7) && cache.contains(Addr(1), 64, 7));
    }

    #[test]
    fn another_source_or_iv_index_is_another_message() {
        let mut cache = Cache::new();
        cache.insert(Addr(1), 5, 7);
        assert!(!cache.contains(Addr(2), 5, 7) && !cache.contains(Addr(1), 5, 8) && !cache.contains(Addr(1), 6, 7));
    }
}
