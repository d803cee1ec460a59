//! `no-event`: the other side of `event`; pattern and monitor live there.

pub use super::event::NotSeen;
