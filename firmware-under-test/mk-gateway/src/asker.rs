//! One acknowledged step: a request is repeated until everybody it concerns has answered, or time is up.
//!
//! The first round goes to the group if there is one; later rounds go to the group while more than
//! [`GROUP_ABOVE`] are silent, and to each silent node by unicast otherwise. What is asked is the caller's business.

use crate::settings::Patience;
use alloc::vec::Vec;
use mk_wire::Addr;
use mk_wire::time::{Duration, Instant};

/// Most silent nodes that are asked one by one (radio model, section 6).
const GROUP_ABOVE: usize = 12;

/// Whom to ask now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// Everybody at once.
    Group(Addr),
    /// The receiver at this place of the list.
    One(usize),
}

/// The step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asker {
    /// Places of the receivers that have not answered.
    silent: Vec<usize>,
    group: Option<Addr>,
    interval: Duration,
    gap: Duration,
    deadline: Instant,
    /// When the next message may go out.
    next_at: Instant,
    /// In a round by unicast: places still to be asked in it.
    round: Vec<usize>,
    rounds: u32,
}

impl Asker {
    /// A step that begins at `now` and asks `places`, every `interval` until `deadline`.
    pub fn new(
        now: Instant,
        places: Vec<usize>,
        group: Option<Addr>,
        interval: Duration,
        deadline: Instant,
        patience: &Patience,
    ) -> Self {
        Asker {
            silent: places,
            group,
            interval,
            gap: patience.unicast_gap,
            deadline,
            next_at: now,
            round: Vec::new(),
            rounds: 0,
        }
    }

    /// Waits one interval before asking for the first time.
    pub fn not_at_once(mut self) -> Self {
        self.next_at += self.interval;
        self
    }

    /// Nobody is silent any more.
    pub fn is_done(&self) -> bool {
        self.silent.is_empty()
    }

    /// Time is up and somebody is silent.
    pub fn is_late(&self, now: Instant) -> bool {
        !self.is_done() && now >= self.deadline
    }

    /// Is this receiver's answer still awaited?
    pub fn awaits(&self, place: usize) -> bool {
        self.silent.contains(&place)
    }

    /// The receivers whose answer is still awaited.
    pub fn silent(&self) -> &[usize] {
        &self.silent
    }

    /// A receiver has answered, or is no longer asked.
    pub fn settle(&mut self, place: usize) {
        self.silent.retain(|silent| *silent != place);
    }

    /// Whom to ask now; poll until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Ask> {
        if now < self.next_at || self.is_done() || now >= self.deadline {
            return None;
        }
        if !self.round.is_empty() {
            // One by one from the end, so that taking a place off is cheap; the order is that of the list.
            while let Some(place) = self.round.pop() {
                if self.awaits(place) {
                    self.next_at = now + if self.round.is_empty() { self.interval } else { self.gap };
                    return Some(Ask::One(place));
                }
            }
            // The rest of the round has answered meanwhile.
            self.next_at = now + self.interval;
            return None;
        }
        self.rounds = self.rounds.saturating_add(1);
        if let Some(group) = self.group
            && (self.rounds == 1 || self.silent.len() > GROUP_ABOVE)
        {
            self.next_at = now + self.interval;
            return Some(Ask::Group(group));
        }
        self.round.extend(self.silent.iter().rev());
        let place = self.round.pop()?;
        self.next_at = now + if self.round.is_empty() { self.interval } else { self.gap };
        Some(Ask::One(place))
    }

    /// When [`Asker::poll`] or [`Asker::is_late`] have something to say next.
    pub fn next_wakeup(&self) -> Option<Instant> {
        (!self.is_done()).then(|| self.next_at.min(self.deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Addr = Addr(0xC001);

    fn asker(count: usize, group: Option<Addr>) -> Asker {
        let interval = Duration::from_secs(4);
        let deadline = at(20_000);
        Asker::new(at(0), (0..count).collect(), group, interval, deadline, &Patience::default())
    }

    fn at(ms: u64) -> Instant {
        Instant::from_ticks(ms * 1_000)
    }

    #[test]
    fn the_group_is_asked_once_and_the_few_silent_ones_one_by_one() {
        let mut asker = asker(14, Some(GROUP));
        assert_eq!(asker.poll(at(0)), Some(Ask::Group(GROUP)));
        assert_eq!(asker.poll(at(3_999)), None);
        asker.settle(0);
        // 13 silent ones are asked together, 12 one by one.
        assert_eq!(asker.poll(at(4_000)), Some(Ask::Group(GROUP)));
        asker.settle(5);
        assert_eq!(asker.poll(at(8_000)), Some(Ask::One(1)));
        assert_eq!(asker.poll(at(8_001)), None, "the next one has to wait for the gap");
        assert_eq!(asker.next_wakeup(), Some(at(8_030)));
        asker.settle(2);
        assert_eq!(asker.poll(at(8_030)), Some(Ask::One(3)), "who answered meanwhile is not asked");
    }

    #[test]
    fn without_a_group_everybody_is_asked_in_turn_and_again_after_the_interval() {
        let mut asker = asker(2, None);
        assert_eq!(asker.poll(at(0)), Some(Ask::One(0)));
        assert_eq!(asker.poll(at(30)), Some(Ask::One(1)));
        assert_eq!(asker.poll(at(4_029)), None);
        assert_eq!(asker.poll(at(4_030)), Some(Ask::One(0)));
    }

    #[test]
    fn the_step_ends_with_the_last_answer_or_at_the_deadline() {
        let mut asker = asker(1, None);
        assert!(!asker.is_late(at(19_999)) && asker.is_late(at(20_000)));
        assert_eq!(asker.poll(at(20_000)), None);
        asker.settle(0);
        assert!(asker.is_done() && !asker.is_late(at(20_000)));
        assert_eq!(asker.next_wakeup(), None);
    }
}
