//! What a stack has to keep over a power cut, as records that are written ahead of what they permit, and the port through
//! which it is kept: flash pages on a board ([`crate::MeshFlash`]), a file on a gateway.

use crate::replay::Stamp;
use crate::states::States;
use mk_wire::Addr;

/// Where a network is with its IV index, and how far the node's sequence numbers are reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The newest IV index.
    pub iv_index: u32,
    /// IV Update in progress: the node still sends under the index before.
    pub updating: bool,
    /// Hours that the node has spent in this state, at least.
    pub hours: u16,
    /// Sequence numbers below this one may have been used.
    pub reserved: u32,
}

/// Something to keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// IV index and sequence numbers, in one record: a new index begins numbers anew, and neither may be kept without the
    /// other.
    Progress(Progress),
    /// The last message accepted from a source.
    Accepted {
        /// Who.
        source: Addr,
        /// Its number.
        stamp: Stamp,
    },
    /// The states of the lower layers that can be configured.
    States(States),
}

/// Keeps records. A later record replaces an earlier one of its kind (and source).
pub trait Storage {
    /// Why it could not.
    type Error;

    /// Gives every record that is still of use, in any order.
    ///
    /// # Errors
    /// The medium failed. A torn record is not an error: it was never kept.
    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), Self::Error>;

    /// Keeps a record. When this returns the record has to survive a power cut.
    ///
    /// # Errors
    /// The medium failed; the record may or may not have been kept.
    fn save(&mut self, record: &Record) -> Result<(), Self::Error>;
}
