//! Gateway and MeshOS as Linux processes.
//!
//! The deciding is done by the sans-IO machines of `mk-gateway`, `mk-campaign` and `mk-mesh`; this crate gives them what they
//! refuse to have: a clock, a serial port to the radio co-processor, files that survive a crash, and HTTP with server-sent
//! events between them, operators and whoever watches. It decides nothing about updates, interprets no image, and has no
//! entry for a test: what a harness wants to know, every reader of `/events` is told.
//!
//! Each process is one thread that owns its machine and its files, fed through one bounded queue; HTTP runs beside it.
//! [`gateway::main`] and [`meshos::main`] are the processes, [`gateway::run`] and [`meshos::run`] the same with checked
//! settings, [`client`] speaks to them, and [`api`] says what is spoken.

pub mod api;
mod args;
pub mod client;
mod clock;
pub mod disk;
mod feed;
pub mod gateway;
mod http;
pub mod meshos;
pub mod process;
