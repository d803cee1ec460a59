//! Gateway and MeshOS as Linux processes.
//!
//! The deciding is done by the sans-IO machines of `mk-gateway`, `mk-campaign` and `mk-mesh`; this crate gives them what they
//! refuse to have: a clock, a serial port to the radio co-processor, files that survive a crash, and HTTP with server-sent
//! events between them, operators and whoever watches. It decides nothing about updates, interprets no image, and has no
//! entry for a test: what a harness wants to know, every reader of `/events` is told.
//!
//! ```sh
//! mk-gatewayd --network network.yaml --radio /dev/ttyACM0 --data /var/lib/mk-gateway --listen 127.0.0.1:9001
//! mk-meshosd --gateway 0001=http://127.0.0.1:9001 --data /var/lib/mk-meshos --listen 127.0.0.1:9000
//! curl http://127.0.0.1:9000/events
//! ```
//!
//! Nothing is encrypted and nobody is asked who they are: both listen on the loopback interface unless told otherwise, and
//! a building's backhaul needs a proxy or a private network in front of them.
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
