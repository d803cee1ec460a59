//! Rules of the node, told on a bench with a real bootloader, real images and a flash that can lose power.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bench;
mod config_cuts;
mod first_boots;
mod flash;
mod life;
mod reporting;
mod resets;
mod rows;
mod thread;
