//! NOR flash as the product sees it, and as a rig needs it: erase sets bits, writing clears them, every word write and
//! page erase is one operation that the power can be cut in, and everything is counted.
//!
//! Pages are shared by content through a [`PageStore`], so that a hundred nodes with the same image cost the memory of one,
//! and a digest over the same content is worked out once ([`Memo`]). Everything is `Send` and nothing is global: a rack owns
//! its store and may live on any one thread.
//!
//! Refuses: to forget. A word written a third time since its page was erased, a misaligned or out-of-bounds call and an
//! operation after the power is gone are typed errors and stay visible in the counters.

mod array;
mod fault;
mod memo;
mod power;
mod store;
mod traits;

pub use array::{Activity, FlashArray, FlashError, Timing, WriteLimit};
pub use fault::{FaultMode, StuckBit};
pub use memo::{ContentKey, Memo, MemoCounts};
pub use power::{Fired, LoggedOperation, OperationKind, PowerCut, PowerSupply, TearModel, Witness};
pub use store::{PageId, PageStore};
