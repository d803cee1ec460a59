//! Gateway and MeshOS as processes, over a simulated co-processor and nodes that run natively behind it. Real time.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod air;
#[allow(dead_code, reason = "the bench of a node's own tests, of which these use a part")]
#[path = "../../../../mk-node/tests/node/bench.rs"]
mod bench;
mod campaigns;
#[allow(dead_code, reason = "the bench of a node's own tests, of which these use a part")]
#[path = "../../../../mk-node/tests/node/flash.rs"]
mod flash;
mod http;
mod life;
mod rig;
