//! What watches a run: proofs, expectations and (in the engine) the oracle share this shape.

use crate::plan::Plan;
use hil_model::{Event, Finding};

/// Most events that a finding cites.
pub const MOST_CITED: usize = 16;

/// Watches events one by one and closes with a finding that cites them.
///
/// Monitors keep state of bounded size; they never see the ledger as a whole, so that a run of a thousand nodes costs
/// each of them one call per event.
pub trait Monitor: Send {
    /// The name its finding will carry.
    fn rule(&self) -> &str;

    /// Take notice of an event. Events come in the order of the ledger, with `seq` set.
    fn on_event(&mut self, event: &Event);

    /// True when no later event can change the finding. Most rules are about the end and never settle early.
    fn settled(&self) -> bool {
        false
    }

    /// The finding after the last event. Called once.
    fn close(&self, plan: &Plan) -> Finding;
}

/// Adds an event to a citation, up to [`MOST_CITED`].
pub fn cite(events: &mut Vec<u64>, seq: u64) {
    if events.len() < MOST_CITED {
        events.push(seq);
    }
}
