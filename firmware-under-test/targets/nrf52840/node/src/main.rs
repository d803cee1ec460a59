//! The application of the MK-NODE, as it is released. Fixture images of this board are in `fixtures/fixture-softdevice`.
#![no_std]
#![no_main]

#[path = "../../../build_record.rs"]
mod build_record;

use cortex_m_rt::entry;
use mk_node::Parts;
use node::Image;

/// Behaviour in the build record, until the forge writes another.
const BEHAVIOUR: &str = "app";

static IMAGE: Image = Image {
    name: "",
    parts: Parts::product,
    at_boot: || {},
    while_running: |_started, _now| {},
    next_wakeup: |_started| None,
};

#[entry]
fn main() -> ! {
    node::run(&IMAGE)
}
