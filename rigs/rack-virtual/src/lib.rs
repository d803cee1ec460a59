//! The virtual rack: the product's firmware crates in a deterministic discrete-event simulation, behind the rack port.
//!
//! Boards, flash, air, gateways and the campaign process are simulated; bootloader, node, gateway and campaign are the
//! real crates, and they cannot tell. The rack never decides what the product would do, and it never reads wall time or
//! anything else that could differ between two runs of one seed.

mod air;
mod air_level;
#[cfg(test)]
mod calibration;
mod gateways;
mod hardware;
mod kernel;
mod life;
mod link_air;
mod meshos;
mod mutants;
mod place;
mod probe;
mod rack;
mod random;
mod scenes;
mod slab;
mod stack_air;
mod world;

pub use air_level::AirReport;
pub use rack::VirtualRack;
pub use stack_air::MOST_NODES as MOST_FULL_STACKS;
