//! What every part of the node needs while it handles one call.

use mk_wire::time::Instant;

use crate::{effect::Effects, parts::Parts};

/// One call of the node.
pub(crate) struct Context<'a, H: 'static> {
    /// Now.
    pub now: Instant,
    /// The board.
    pub hw: &'a mut H,
    /// The parts the node was put together from.
    pub parts: &'a Parts<H>,
    /// Where effects go.
    pub effects: &'a mut Effects,
    /// Schema of the configuration in use.
    pub schema: u16,
}
