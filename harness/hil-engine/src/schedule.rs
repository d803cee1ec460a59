//! When the actions of a plan are due: at a time, or after the n-th event that a trigger matches.
//!
//! Holds no rack and applies nothing; the run loop asks what is due. The judge runs the same schedule over a recorded
//! ledger to find actions that were never released.

use hil_model::{Event, Span, Time, TimedAction, Trigger, When};
use std::collections::BTreeSet;

/// A triggered action that waits for its event.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    action: usize,
    trigger: Trigger,
    left: u16,
    delay: Span,
}

/// What is due and what is waited for. Indices are places in the plan's list of actions.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Released actions by time; the order of the plan decides between equals.
    released: BTreeSet<(Time, usize)>,
    waiting: Vec<Waiting>,
}

impl Schedule {
    /// The schedule of a list of actions.
    #[must_use]
    pub fn new(actions: &[TimedAction]) -> Self {
        let mut schedule = Self { released: BTreeSet::new(), waiting: Vec::new() };
        for (action, timed) in actions.iter().enumerate() {
            match timed.when {
                When::At(time) => {
                    schedule.released.insert((time, action));
                }
                When::After { trigger, nth, delay } => {
                    schedule.waiting.push(Waiting { action, trigger, left: nth.max(1), delay });
                }
            }
        }
        schedule
    }

    /// Take note of an event: actions it releases become due after their delay.
    pub fn on_event(&mut self, event: &Event) {
        let released = &mut self.released;
        self.waiting.retain_mut(|waiting| {
            if !waiting.trigger.matches(event) {
                return true;
            }
            waiting.left -= 1;
            if waiting.left > 0 {
                return true;
            }
            released.insert((event.at + waiting.delay, waiting.action));
            false
        });
    }

    /// The next action that is due at `now` or before, with the time it was due.
    pub fn take_due(&mut self, now: Time) -> Option<usize> {
        let &(at, action) = self.released.first()?;
        if at > now {
            return None;
        }
        self.released.remove(&(at, action));
        Some(action)
    }

    /// When the next released action is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.released.first().map(|(at, _)| *at)
    }

    /// Whether no released action is left. Actions whose trigger never came do not count.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.released.is_empty()
    }

    /// Actions that were not applied: those whose trigger never came, and those due later than the run lasted.
    #[must_use]
    pub fn missed(&self) -> Vec<usize> {
        let mut missed: Vec<usize> = self.waiting.iter().map(|w| w.action).collect();
        missed.extend(self.released.iter().map(|(_, action)| *action));
        missed.sort_unstable();
        missed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use hil_model::{About, Action, Fact, NodeId, Witness};

    fn timed(when: When) -> TimedAction {
        TimedAction { when, action: Action::ProbeRead(NodeId(1)), fault: None }
    }

    fn paused(at: u64) -> Event {
        let fact =
            Fact::CampaignPaused { stage: hil_model::StageIndex(1), reason: String::new(), confirmed: 0, targeted: 0 };
        Event::new(Time(at), About::Campaign, Witness::Meshos, fact)
    }

    #[test]
    fn the_nth_event_releases_after_its_delay() {
        let after = |nth, delay| timed(When::After { trigger: Trigger::CampaignPaused, nth, delay: Span(delay) });
        let mut schedule = Schedule::new(&[after(2, 5), after(1, 0), timed(When::At(Time(3)))]);
        assert_eq!(schedule.take_due(Time(2)), None);
        assert_eq!(schedule.take_due(Time(3)), Some(2));
        schedule.on_event(&paused(10));
        assert_eq!((schedule.next_due(), schedule.take_due(Time(10))), (Some(Time(10)), Some(1)));
        assert!(schedule.idle());
        assert_eq!(schedule.missed(), [0]);
        schedule.on_event(&paused(20));
        assert_eq!(schedule.take_due(Time(24)), None);
        assert_eq!(schedule.take_due(Time(25)), Some(0));
        assert!(schedule.missed().is_empty());
    }

    #[test]
    fn equal_times_keep_the_order_of_the_plan() {
        let mut schedule = Schedule::new(&[timed(When::At(Time(1))), timed(When::At(Time(1)))]);
        assert_eq!((schedule.take_due(Time(1)), schedule.take_due(Time(1))), (Some(0), Some(1)));
    }
}
