//! The oracle: nine invariants (design, section 3) that hold in every scenario and every explored seed.
//!
//! Each rule is a monitor in its own file. A rule is told every event, in order, and closes with one [`Finding`]:
//! *Broken* with the events that show it, *Holds*, or *Unproven* where the evidence it needs is not in the ledger. No
//! rule trusts the word of the party it judges where a rack can offer an independent witness, and no rule reads
//! anything but events and [`Context`]: what the plan fixed beforehand.
//!
//! An unproven rule weighs only where the rack could have given the evidence ([`RuleInfo::needs`]): a rack without a
//! debug port cannot fail to show bank bytes. Either way the finding is in the report.

mod airtime;
mod configuration;
mod context;
mod recovery;
mod rejection;
mod running_bank;
mod signature;
mod stages;
mod tally;
#[cfg(test)]
mod testing;
mod trial;
mod witness;

pub use context::Context;

use hil_model::record::Conclusion;
use hil_model::{Capability, Event, Finding};

/// A monitor of one invariant.
trait Rule {
    /// Take note of an event.
    fn on_event(&mut self, event: &Event);
    /// Say how the invariant stands at the end.
    fn close(self: Box<Self>) -> Finding;
}

/// One rule, for manuals and for the judge.
pub struct RuleInfo {
    /// Its name in findings: `oracle-1` to `oracle-9`.
    pub name: &'static str,
    /// The invariant, in a line.
    pub invariant: &'static str,
    /// What a rack must offer to witness it.
    pub needs: &'static [Capability],
    /// The monitor.
    make: fn(&Context) -> Box<dyn Rule>,
}

/// Every rule, in order.
pub const RULES: &[RuleInfo] = &[
    signature::INFO,
    recovery::INFO,
    running_bank::INFO,
    configuration::INFO,
    rejection::INFO,
    trial::INFO,
    stages::INFO,
    airtime::INFO,
    witness::INFO,
];

/// All nine rules over one run.
pub struct Oracle {
    rules: Vec<Box<dyn Rule>>,
}

impl Oracle {
    /// Nine fresh monitors.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self { rules: RULES.iter().map(|info| (info.make)(context)).collect() }
    }

    /// Take note of an event.
    pub fn on_event(&mut self, event: &Event) {
        for rule in &mut self.rules {
            rule.on_event(event);
        }
    }

    /// The findings of all nine, in their order.
    #[must_use]
    pub fn close(self) -> Vec<Finding> {
        self.rules.into_iter().map(Rule::close).collect()
    }

    /// The findings over a whole ledger.
    #[must_use]
    pub fn judge(context: &Context, events: &[Event]) -> Vec<Finding> {
        let mut oracle = Self::new(context);
        for event in events {
            oracle.on_event(event);
        }
        oracle.close()
    }
}

/// Whether an unproven finding of an oracle rule weighs on this rack: the rack could have given the evidence.
#[must_use]
pub fn weighs(context: &Context, finding: &Finding) -> bool {
    finding.conclusion == Conclusion::Unproven
        && RULES
            .iter()
            .find(|info| info.name == finding.rule)
            .is_some_and(|info| info.needs.iter().all(|need| context.capabilities.contains(need)))
}
