//! Placeholder until the process is there.
fn main() {}
