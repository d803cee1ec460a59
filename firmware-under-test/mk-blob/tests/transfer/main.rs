//! Client and servers against each other: over a channel that loses messages, and octet for octet against a recording.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod lossy;
mod recorded;
mod world;
