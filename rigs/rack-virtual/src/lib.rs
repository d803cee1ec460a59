//! Discrete-event rack: the firmware crates in virtual time
