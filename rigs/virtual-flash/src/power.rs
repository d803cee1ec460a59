//! The power of one board: operations are counted over all its flash arrays, and the power can be cut in any one of them.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

/// What is left of the operation in which the power went. Each model works on word writes and on page erases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TearModel {
    /// Nothing: the cut came before it.
    NotDone,
    /// Everything: the cut came after it.
    DoneThenDark,
    /// Any of the bits that were to change, by seed: a word, or a page on erase.
    WordRandomBits(u64),
    /// The first half of the page is erased; of a word, the first two octets are written.
    HalfErasedPage,
    /// The page is erased but for its first word; of a word, all but the first octet is written.
    PageErasedExceptFirstWord,
}

impl TearModel {
    /// All five, with `seed` for the random one.
    #[must_use]
    pub const fn all(seed: u64) -> [Self; 5] {
        [
            Self::NotDone,
            Self::DoneThenDark,
            Self::WordRandomBits(seed),
            Self::HalfErasedPage,
            Self::PageErasedExceptFirstWord,
        ]
    }

    /// Name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotDone => "not done",
            Self::DoneThenDark => "done then dark",
            Self::WordRandomBits(_) => "random bits",
            Self::HalfErasedPage => "half page",
            Self::PageErasedExceptFirstWord => "all but first word",
        }
    }
}

/// A cut to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// Number of the operation it hits, counted from 0 since the supply was made.
    pub at_operation: u64,
    /// What is left of that operation.
    pub tear: TearModel,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Writes one word (the octets given, before the flash combines them with what is there).
    Write([u8; 4]),
    /// Erases one page.
    Erase,
}

/// One operation of a recorded run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedOperation {
    /// Its number over all arrays of the supply.
    pub operation: u64,
    /// Address in its array: of the word, or of the page.
    pub address: u32,
    /// What it does.
    pub kind: OperationKind,
}

/// Octets before and after a torn operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// A word.
    Word {
        /// Before.
        before: [u8; 4],
        /// After.
        after: [u8; 4],
    },
    /// A whole page.
    Page {
        /// Before.
        before: Box<[u8]>,
        /// After.
        after: Box<[u8]>,
    },
}

/// The proof that a cut fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Number of the operation.
    pub operation: u64,
    /// Name of the array that was being operated.
    pub memory: &'static str,
    /// Address in that array.
    pub address: u32,
    /// The tear model.
    pub tear: TearModel,
    /// What it did.
    pub witness: Witness,
}

/// A board's power. A handle: clones are the same supply. Arrays that share one are cut together.
#[derive(Clone, Debug, Default)]
pub struct PowerSupply {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    operations: AtomicU64,
    /// `u64::MAX`: none.
    cut_at: AtomicU64,
    dark: AtomicBool,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    tear: Option<TearModel>,
    fired: Option<Fired>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            operations: AtomicU64::new(0),
            cut_at: AtomicU64::new(u64::MAX),
            dark: AtomicBool::new(false),
            details: Mutex::new(Details::default()),
        }
    }
}

impl PowerSupply {
    /// A supply that is on, with no cut armed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Arms a cut; replaces one that is armed. A cut at a number that has passed already never fires.
    pub fn arm(&self, cut: PowerCut) {
        let mut details = self.details();
        details.tear = Some(cut.tear);
        details.fired = None;
        self.inner.cut_at.store(cut.at_operation, Relaxed);
    }

    /// Takes an armed cut back.
    pub fn disarm(&self) {
        self.inner.cut_at.store(u64::MAX, Relaxed);
    }

    /// Takes the power away between two operations.
    pub fn cut_now(&self) {
        self.inner.dark.store(true, Relaxed);
    }

    /// Gives the power back.
    pub fn power_on(&self) {
        self.inner.dark.store(false, Relaxed);
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        self.inner.dark.load(Relaxed)
    }

    /// Operations done so far, over all arrays; the number of the next one.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.inner.operations.load(Relaxed)
    }

    /// The proof of the last cut that fired since it was armed.
    #[must_use]
    pub fn fired(&self) -> Option<Fired> {
        self.details().fired.clone()
    }

    /// Takes the proof out.
    pub fn take_fired(&self) -> Option<Fired> {
        self.details().fired.take()
    }

    /// Counts up to `wanted` operations in; returns how many may be done whole and, if the cut falls on the one behind
    /// them, its number and tear. That one is counted too.
    pub(crate) fn reserve(&self, wanted: u64) -> (u64, Option<(u64, TearModel)>) {
        let first = self.inner.operations.load(Relaxed);
        let cut_at = self.inner.cut_at.load(Relaxed);
        if cut_at >= first && cut_at - first < wanted {
            let whole = cut_at - first;
            self.inner.operations.store(cut_at + 1, Relaxed);
            self.inner.cut_at.store(u64::MAX, Relaxed);
            self.inner.dark.store(true, Relaxed);
            let tear = self.details().tear.unwrap_or(TearModel::NotDone);
            (whole, Some((cut_at, tear)))
        } else {
            self.inner.operations.store(first + wanted, Relaxed);
            (wanted, None)
        }
    }

    pub(crate) fn set_fired(&self, fired: Fired) {
        self.details().fired = Some(fired);
    }

    fn details(&self) -> MutexGuard<'_, Details> {
        self.inner.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
