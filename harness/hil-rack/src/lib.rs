//! The port behind which every rack stands. The engine drives a rack through [`Rack`] and knows no concrete one.
//!
//! The rack owns time: [`Rack::observe`] returns when something happened or when the deadline came; a virtual rack
//! jumps there, a real one waits. What every rack has to keep to is written down as tests in [`conformance`].

pub mod conformance;

use hil_model::{Action, Event, FaultId, Provision, RackManifest, Time};

/// The rack failed; nothing can be said of the product. Each kind says what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RackError {
    /// A part of the rack does not answer or misbehaves.
    #[error("{part}: {what}; {next}")]
    Broken {
        /// Which part.
        part: String,
        /// What was seen.
        what: String,
        /// What to do.
        next: String,
    },
    /// The action cannot be done on this rack or in its present state. A plan bound to the rack's capabilities does
    /// not ask for it: this is a fault of plan or rack, never of the product.
    #[error("cannot {action}: {why}")]
    Refused {
        /// What was asked.
        action: String,
        /// Why not.
        why: String,
    },
    /// A wait came to its deadline.
    #[error("{what} took longer than {limit}; {next}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The deadline.
        limit: hil_model::Span,
        /// What to do.
        next: String,
    },
}

/// What came of a call to [`Rack::observe`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// New events, oldest first; their `seq` is not set.
    pub events: Vec<Event>,
    /// The rack's time now.
    pub now: Time,
    /// Nothing but periodic traffic is due any more: no transfer, trial, soak, restart or armed rule is under way.
    pub quiet: bool,
}

/// A rack of nodes and gateways.
pub trait Rack {
    /// What it is and can do. Asks no board; fixed for the life of the value.
    fn manifest(&self) -> &RackManifest;

    /// Put every node, gateway and the campaign into the state that `provision` describes, at time zero.
    ///
    /// # Errors
    /// The rack could not be prepared.
    fn prepare(&mut self, provision: &Provision) -> Result<(), RackError>;

    /// Do one thing now. Its visible effects come as events.
    ///
    /// # Errors
    /// The rack could not do it.
    fn apply(&mut self, action: &Action, fault: Option<FaultId>) -> Result<(), RackError>;

    /// Let time run until something observable happened or `until` is reached, whichever is first.
    ///
    /// All events of one instant come together, so that an action released by one of them acts at that instant.
    ///
    /// # Errors
    /// The rack failed meanwhile. Events seen before stay available from the next call.
    fn observe(&mut self, until: Time) -> Result<Observation, RackError>;

    /// Read the final evidence: a `Banks` event with `Moment::Final` for every node that can be read.
    ///
    /// # Errors
    /// The evidence could not be read.
    fn collect(&mut self) -> Result<Vec<Event>, RackError>;

    /// Free everything that was claimed. Called after errors too, and more than once: what is free stays free, and
    /// [`Rack::prepare`] may follow.
    fn release(&mut self);
}
