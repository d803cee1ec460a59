//! The IV index (section 12.5): the update procedure, following beacons, recovery after a long absence.
//!
//! Decides only. What a change means for sequence numbers and who is told is the stack's.

use crate::beacon::Beacon;
use crate::record::Progress;
use mk_wire::time::Instant;

/// Hours that each of the two states lasts at least.
pub const MIN_HOURS: u16 = 96;
/// Hours between two recoveries at least.
const RECOVERY_HOURS: u16 = 192;
/// An IV index this far ahead is still followed.
const MAX_AHEAD: u32 = 42;
/// From this sequence number on a node starts an update by itself: a quarter of the numbers is left.
pub const UPDATE_AT_SEQ: u32 = 0xC0_0000;
/// Hours are kept this often, so that restarts do not begin the count again and again.
const KEEP_EVERY_HOURS: u16 = 24;

/// What a beacon or the time led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IvChange {
    /// Nothing.
    None,
    /// The receivable indices changed; messages are still sent under the old one.
    Started,
    /// Messages are sent under a new index: sequence numbers begin anew.
    Moved,
}

/// The state of the procedure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IvState {
    index: u32,
    updating: bool,
    /// Begin of this state, or of this start of the program.
    since: Instant,
    /// Hours in this state before that.
    hours_before: u16,
    /// Hours at the last recovery count on from here: none within 192 h.
    recovered: Option<Instant>,
    /// A beacon has ended the update while segmented messages were on their way: done when they are through.
    ending: bool,
}

impl IvState {
    /// A node just provisioned, which may follow at once: it cannot know how long the network has been in its state.
    #[must_use]
    pub const fn provisioned(now: Instant, index: u32) -> Self {
        IvState { index, updating: false, since: now, hours_before: MIN_HOURS, recovered: None, ending: false }
    }

    /// Goes on with what was kept.
    #[must_use]
    pub const fn resume(now: Instant, kept: &Progress) -> Self {
        IvState {
            index: kept.iv_index,
            // Index 0 has none before it.
            updating: kept.updating && kept.iv_index > 0,
            since: now,
            hours_before: kept.hours,
            recovered: None,
            ending: false,
        }
    }

    /// The newest index; PDUs of this and the one before are accepted.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Is an update in progress?
    #[must_use]
    pub const fn updating(&self) -> bool {
        self.updating
    }

    /// The index under which messages are sent.
    #[must_use]
    pub const fn transmit(&self) -> u32 {
        if self.updating { self.index.saturating_sub(1) } else { self.index }
    }

    /// Whole hours in the present state, at least.
    #[must_use]
    pub fn hours(&self, now: Instant) -> u16 {
        let passed = now.checked_duration_since(self.since).map_or(0, |passed| passed.as_hours());
        self.hours_before.saturating_add(u16::try_from(passed).unwrap_or(u16::MAX))
    }

    /// The hours worth keeping: in steps, and no further than anything asks for.
    #[must_use]
    pub fn hours_to_keep(&self, now: Instant) -> u16 {
        let hours = self.hours(now).min(MIN_HOURS);
        hours - hours % KEEP_EVERY_HOURS
    }

    /// When [`IvState::tick`] or the hours kept may change next.
    #[must_use]
    pub fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        let hours = self.hours(now);
        if hours >= MIN_HOURS {
            return None;
        }
        let next = hours - hours % KEEP_EVERY_HOURS + KEEP_EVERY_HOURS;
        Some(self.since + mk_wire::time::Duration::from_hours(u64::from(next.saturating_sub(self.hours_before))))
    }

    fn set(&mut self, now: Instant, index: u32, updating: bool) -> IvChange {
        let before = self.transmit();
        (self.index, self.updating, self.since, self.hours_before) = (index, updating, now, 0);
        self.ending = false;
        if self.transmit() == before { IvChange::Started } else { IvChange::Moved }
    }

    /// Follows an authenticated beacon. `sending` says that segmented messages are on their way: their segments have to
    /// keep the index they began with.
    pub fn on_beacon(&mut self, now: Instant, beacon: &Beacon, sending: bool) -> IvChange {
        let ahead = match beacon.iv_index.checked_sub(self.index) {
            Some(ahead) if ahead <= MAX_AHEAD && (beacon.iv_index > 0 || !beacon.updating) => ahead,
            Some(_) | None => return IvChange::None,
        };
        let long_enough = self.hours(now) >= MIN_HOURS;
        match (ahead, self.updating, beacon.updating) {
            (0, true, false) if long_enough && sending => {
                self.ending = true;
                IvChange::None
            }
            (0, true, false) if long_enough => self.set(now, beacon.iv_index, false),
            (0, _, _) => IvChange::None,
            // While one update is in progress the next cannot have begun, unless this node slept through the rest.
            (1, false, true) if long_enough => self.set(now, beacon.iv_index, true),
            (1, false, true) => IvChange::None,
            _ => self.recover(now, beacon, sending),
        }
    }

    fn recover(&mut self, now: Instant, beacon: &Beacon, sending: bool) -> IvChange {
        let hours = |since: Instant| now.checked_duration_since(since).map_or(0, |passed| passed.as_hours());
        let too_soon = self.recovered.is_some_and(|at| hours(at) < u64::from(RECOVERY_HOURS));
        if too_soon || sending {
            return IvChange::None;
        }
        self.recovered = Some(now);
        self.set(now, beacon.iv_index, beacon.updating)
    }

    /// Starts an update when `next_seq` says that numbers run out, and ends one that has lasted long enough.
    pub fn tick(&mut self, now: Instant, next_seq: u32, sending: bool) -> IvChange {
        if self.hours(now) < MIN_HOURS {
            return IvChange::None;
        }
        if self.updating {
            // Whoever began it ends it after its time; a follower is told by a beacon, at the latest by its own clock.
            return if sending { IvChange::None } else { self.set(now, self.index, false) };
        }
        match self.index.checked_add(1) {
            Some(next) if next_seq >= UPDATE_AT_SEQ => self.set(now, next, true),
            Some(_) | None => IvChange::None,
        }
    }

    /// Segmented messages are through: ends an update that a beacon has ended.
    pub fn idle(&mut self, now: Instant) -> IvChange {
        if self.ending { self.set(now, self.index, false) } else { IvChange::None }
    }

    /// What its beacon says.
    #[must_use]
    pub const fn beacon(&self) -> Beacon {
        Beacon { key_refresh: false, updating: self.updating, iv_index: self.index }
    }
}
