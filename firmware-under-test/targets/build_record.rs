//! The build record: what an image says of itself in its payload, at a fixed place behind the vector table.
//!
//! The forge writes behaviour and version of the planned image over it; here it only keeps the place.
#![allow(unsafe_code, reason = "naming a link section asks for it: nothing else is put there")]

use crate::BEHAVIOUR as NAME;

const MAGIC: &[u8; 8] = b"MKBUILD1";
const BEHAVIOUR: usize = 32;
const VERSION: usize = 8;

#[unsafe(link_section = ".build_record")]
#[used]
static BUILD_RECORD: [u8; MAGIC.len() + BEHAVIOUR + VERSION] = record();

const fn record() -> [u8; MAGIC.len() + BEHAVIOUR + VERSION] {
    let mut record = [0; MAGIC.len() + BEHAVIOUR + VERSION];
    let mut at = 0;
    while at < MAGIC.len() {
        record[at] = MAGIC[at];
        at += 1;
    }
    let behaviour = NAME.as_bytes();
    let mut from = 0;
    while from < behaviour.len() {
        record[at + from] = behaviour[from];
        from += 1;
    }
    record
}
