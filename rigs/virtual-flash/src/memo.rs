//! Results remembered by content: a digest over the same pages, or a verdict over the same digest, is worked out once.
//!
//! Keys are compared in full, never by a hash of them, so a remembered result is exactly as good as a fresh one. A memo can
//! be switched off; a run must not differ by it.

use std::collections::BTreeMap;

use crate::store::PageId;

/// The content of one or more stretches of flash, as page ids. Equal keys of one store mean equal octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ContentKey {
    pub(crate) pages: Vec<PageId>,
    /// Offset in the first page and length, per stretch.
    pub(crate) stretches: Vec<(u32, u32)>,
}

impl ContentKey {
    /// The key of both stretches, in order.
    pub fn append(&mut self, mut other: Self) {
        self.pages.append(&mut other.pages);
        self.stretches.append(&mut other.stretches);
    }
}

/// How often a memo had to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MemoCounts {
    /// Results that were worked out.
    pub real: u64,
    /// Results that were remembered.
    pub remembered: u64,
}

/// Results by key.
#[derive(Clone, Debug)]
pub struct Memo<K, V> {
    results: BTreeMap<K, V>,
    counts: MemoCounts,
    enabled: bool,
}

impl<K: Ord, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self { results: BTreeMap::new(), counts: MemoCounts::default(), enabled: true }
    }
}

/// Results kept at most; then the memo starts again.
const MAX_RESULTS: usize = 1 << 16;

impl<K: Ord, V: Clone> Memo<K, V> {
    /// An empty memo.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A memo that remembers nothing: every result is worked out.
    #[must_use]
    pub fn switched_off() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    /// The remembered result of `key`, or that of `work`, which is remembered if it is `Ok`.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn get_or_try<E>(&mut self, key: K, work: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        if self.enabled
            && let Some(known) = self.results.get(&key)
        {
            self.counts.remembered += 1;
            return Ok(known.clone());
        }
        let result = work()?;
        self.counts.real += 1;
        if self.enabled {
            if self.results.len() >= MAX_RESULTS {
                self.results.clear();
            }
            self.results.insert(key, result.clone());
        }
        Ok(result)
    }

    /// Real and remembered results so far.
    #[must_use]
    pub const fn counts(&self) -> MemoCounts {
        self.counts
    }
}
